// SPDX-License-Identifier: GPL-2.0

//! Reading and writing what the Guest believes to be physical memory.
//!
//! It is a stretch of the Launcher's address space. Only the Launcher's thread comes here, in its own
//! system call, so that address space is the current one, and the usual copies to and from user
//! space do the work. They may sleep; nothing here is called with interrupts off.

use crate::{
    abi::PAGE_SIZE,
    addr::GuestPhys,
    kill::{kill, Alive},
};
use kernel::{
    prelude::*,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// User space ends here on every x86-64 Linux with four levels; five only add to it.
const USER_END: u64 = (1 << 47) - PAGE_SIZE;

/// Where the Guest's memory is, and how much there is of it.
pub(crate) struct Memory {
    /// The Launcher's address of guest-physical 0.
    base: u64,
    /// The first frame that is not the Guest's.
    pfn_limit: u64,
}

impl Memory {
    /// Memory as the Launcher claims it: page-aligned, not empty, and inside user space.
    pub(crate) fn new(base: u64, pfn_limit: u64) -> Result<Self> {
        let end = pfn_limit
            .checked_mul(PAGE_SIZE)
            .and_then(|bytes| bytes.checked_add(base))
            .ok_or(EINVAL)?;
        if base % PAGE_SIZE != 0 || pfn_limit == 0 || end > USER_END {
            return Err(EINVAL);
        }
        Ok(Self { base, pfn_limit })
    }

    /// The first frame number that the Guest may not name.
    pub(crate) fn pfn_limit(&self) -> u64 {
        self.pfn_limit
    }

    /// Whether `len` bytes at `at` are the Guest's. They may end exactly at the limit.
    pub(crate) fn contains(&self, at: GuestPhys, len: u64) -> bool {
        at.checked_add(len)
            .is_some_and(|end| end.get() <= self.pfn_limit * PAGE_SIZE)
    }

    /// The Launcher's address of a byte of the Guest.
    pub(crate) fn launcher_address(&self, at: GuestPhys) -> usize {
        (self.base + at.get()) as usize
    }

    fn user_slice(&self, at: GuestPhys, len: usize) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.launcher_address(at)), len)
    }

    /// Copy bytes out of the Guest.
    pub(crate) fn read_bytes(&self, at: GuestPhys, into: &mut [u8]) -> Alive {
        let len = into.len();
        if !self.contains(at, len as u64)
            || self.user_slice(at, len).reader().read_slice(into).is_err()
        {
            kill!("bad read address {:#x} len {}", at.get(), len);
        }
        Ok(())
    }

    /// Read a value of a type for which every bit pattern is one.
    pub(crate) fn read<T: FromBytes>(&self, at: GuestPhys) -> Alive<T> {
        if self.contains(at, size_of::<T>() as u64) {
            if let Ok(value) = self.user_slice(at, size_of::<T>()).reader().read() {
                return Ok(value);
            }
        }
        kill!("bad read address {:#x} len {}", at.get(), size_of::<T>());
    }

    /// Write a value that has no padding to leak.
    pub(crate) fn write<T: AsBytes>(&self, at: GuestPhys, value: &T) -> Alive {
        if self.contains(at, size_of::<T>() as u64)
            && self
                .user_slice(at, size_of::<T>())
                .writer()
                .write(value)
                .is_ok()
        {
            return Ok(());
        }
        kill!("bad write address {:#x} len {}", at.get(), size_of::<T>());
    }
}
