// SPDX-License-Identifier: GPL-2.0

//! Where things are: physical memory, and the kernel in it.

use crate::abi::PAGE_SIZE;

/// All physical memory is seen this much higher, by the Launcher's first page tables as well as by ours.
pub const PAGE_OFFSET: u64 = 0xffff_ffff_8000_0000;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// A guest-physical address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Phys(pub u64);

impl Phys {
    /// Where something of the kernel's lies in physical memory.
    pub fn of<T: ?Sized>(thing: *const T) -> Phys {
        Phys(thing.cast::<u8>().expose_provenance() as u64 - PAGE_OFFSET)
    }

    /// Where the kernel sees this address.
    pub fn linear(self) -> u64 {
        self.0 + PAGE_OFFSET
    }

    /// Reads a plain value.
    ///
    /// # Safety
    /// The address must be inside physical memory, aligned for `T`, and hold a `T`.
    pub unsafe fn read<T: Copy>(self) -> T {
        // SAFETY: all physical memory is mapped at its linear address; the rest is the caller's promise.
        unsafe { core::ptr::with_exposed_provenance::<T>(self.linear() as usize).read_volatile() }
    }

    /// Reads a plain value from where it lies across words.
    ///
    /// # Safety
    /// As for [`Phys::read`], but for the alignment.
    pub unsafe fn read_unaligned<T: Copy>(self) -> T {
        // SAFETY: as above.
        unsafe { core::ptr::with_exposed_provenance::<T>(self.linear() as usize).read_unaligned() }
    }

    /// Fills the page with zeroes.
    ///
    /// # Safety
    /// It must be a page of physical memory that nobody uses.
    pub unsafe fn clear_page(self) {
        let page = core::ptr::with_exposed_provenance_mut::<u8>(self.linear() as usize);
        // SAFETY: as the caller promises.
        unsafe { page.write_bytes(0, PAGE_SIZE as usize) }
    }

    /// Copies `bytes` to this address and what follows.
    ///
    /// # Safety
    /// All of it must be inside physical memory, and nobody may hold a reference to it.
    pub unsafe fn copy_from(self, bytes: &[u8]) {
        let to = core::ptr::with_exposed_provenance_mut::<u8>(self.linear() as usize);
        // SAFETY: as the caller promises.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Writes a plain value.
    ///
    /// # Safety
    /// The address must be inside physical memory and aligned for `T`, and nobody may hold a reference to it.
    pub unsafe fn write<T: Copy>(self, value: T) {
        // SAFETY: as above.
        unsafe { core::ptr::with_exposed_provenance_mut::<T>(self.linear() as usize).write_volatile(value) }
    }
}

/// What a stretch of the kernel's memory is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// Instructions.
    Code,
    /// What never changes.
    Constants,
    /// All else.
    Data,
}

/// What the page at `address` is used for.
pub fn usage(address: Phys) -> Use {
    let text = Phys::of(&raw const __text_start)..Phys::of(&raw const __text_end);
    let rodata = text.end..Phys::of(&raw const __rodata_end);
    if text.contains(&address) {
        Use::Code
    } else if rodata.contains(&address) {
        Use::Constants
    } else {
        Use::Data
    }
}

/// The first page after the kernel.
pub fn kernel_end() -> Phys {
    let end = Phys::of(&raw const __kernel_end);
    debug_assert!(end.0.is_multiple_of(PAGE_SIZE));
    end
}
