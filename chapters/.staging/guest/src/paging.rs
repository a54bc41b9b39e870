// SPDX-License-Identifier: GPL-2.0

//! Page tables: the kernel's own, and one set for each program that shares the kernel's half.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::abi::PAGE_SIZE;
use crate::layout::{PAGE_OFFSET, Phys, Use};
use crate::{frames, hypercall, layout};

/// Bytes that a large page maps: what one last-level table would.
const LARGE_PAGE: u64 = PAGE_SIZE << 9;
/// Entries of a table.
const ENTRIES: u64 = 512;
/// The first top-level entry of the kernel's half.
const KERNEL_HALF: u64 = 256;
/// The first address that is not a program's.
pub const USER_END: u64 = 1 << 47;

/// An entry of a page table.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(transparent)]
struct Entry(u64);

impl Entry {
    const PRESENT: u64 = 1 << 0;
    const WRITABLE: u64 = 1 << 1;
    const USER: u64 = 1 << 2;
    const LARGE: u64 = 1 << 7;
    const NO_EXECUTE: u64 = 1 << 63;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// An entry that leads to another table. What may be done is decided at the last level.
    fn table(table: Phys, user: bool) -> Entry {
        let user = if user { Entry::USER } else { 0 };
        Entry(table.0 | user | Entry::WRITABLE | Entry::PRESENT)
    }

    /// An entry that maps a page.
    fn page(page: Phys, access: Access) -> Entry {
        Entry(page.0 | access.bits() | Entry::PRESENT)
    }

    fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    fn address(self) -> Phys {
        Phys(self.0 & Entry::ADDRESS)
    }
}

/// What may be done with a page. Nothing may be both written and executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// The kernel may run it.
    KernelCode,
    /// The kernel may read it.
    KernelConstants,
    /// The kernel may read and write it.
    KernelData,
    /// Programs may read and run it.
    UserCode,
    /// Programs may read it.
    UserConstants,
    /// Programs may read and write it.
    UserData,
}

impl Access {
    fn bits(self) -> u64 {
        match self {
            Access::KernelCode => 0,
            Access::KernelConstants => Entry::NO_EXECUTE,
            Access::KernelData => Entry::NO_EXECUTE | Entry::WRITABLE,
            Access::UserCode => Entry::USER,
            Access::UserConstants => Entry::USER | Entry::NO_EXECUTE,
            Access::UserData => Entry::USER | Entry::NO_EXECUTE | Entry::WRITABLE,
        }
    }

    fn is_user(self) -> bool {
        self.bits() & Entry::USER != 0
    }
}

/// Why a page could not be mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapError {
    /// No page left for a table.
    NoMemory,
    /// Something is mapped there already.
    Taken,
}

/// One set of page tables.
pub struct AddressSpace {
    root: Phys,
}

/// The tables without any program, in use whenever none runs.
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);

/// Replaces the Launcher's page tables by our own: physical memory up to `end`, with the kernel inside it protected.
pub fn take_over(end: Phys) -> Result<(), MapError> {
    let mut kernel = AddressSpace::empty()?;
    let mut page = Phys(0);
    while page < end {
        let large = page >= layout::kernel_end() && page.0.is_multiple_of(LARGE_PAGE) && end.0 - page.0 >= LARGE_PAGE;
        if large {
            kernel.map_at(2, page.linear(), page, Access::KernelData)?;
            page.0 += LARGE_PAGE;
        } else {
            kernel.map_at(1, page.linear(), page, kernel_access(page))?;
            page.0 += PAGE_SIZE;
        }
    }
    KERNEL_ROOT.store(kernel.root.0, Ordering::Relaxed);
    leave_program();
    Ok(())
}

/// How the kernel may use a page of its own.
fn kernel_access(page: Phys) -> Access {
    match layout::usage(page) {
        Use::Code => Access::KernelCode,
        Use::Constants => Access::KernelConstants,
        Use::Data => Access::KernelData,
    }
}

/// Goes back to the kernel's own tables.
pub fn leave_program() {
    let root = Phys(KERNEL_ROOT.load(Ordering::Relaxed));
    // SAFETY: `take_over` has made them: they map the kernel where it runs.
    unsafe { hypercall::new_page_tables(root) };
}

impl AddressSpace {
    /// Tables that map nothing.
    fn empty() -> Result<Self, MapError> {
        let root = frames::allocate().ok_or(MapError::NoMemory)?;
        Ok(AddressSpace { root })
    }

    /// Tables for a program: its half empty, the kernel's half shared.
    pub fn for_program() -> Result<Self, MapError> {
        let space = Self::empty()?;
        let kernel = Phys(KERNEL_ROOT.load(Ordering::Relaxed));
        for index in KERNEL_HALF..ENTRIES {
            write_entry(space.root, index, read_entry(kernel, index));
        }
        Ok(space)
    }

    /// Maps one page.
    pub fn map(&mut self, address: u64, page: Phys, access: Access) -> Result<(), MapError> {
        self.map_at(1, address, page, access)
    }

    /// Uses these tables from now on.
    pub fn enter(&self) {
        // SAFETY: the kernel's half is shared, so the kernel stays where it is.
        unsafe { hypercall::new_page_tables(self.root) };
        // The Host may remember what the same page held for an earlier program.
        hypercall::flush_user();
    }

    /// Where a program's byte is in physical memory, if the program may read it.
    pub fn find_user(&self, address: u64) -> Option<Phys> {
        if address >= USER_END {
            return None;
        }
        let mut table = self.root;
        for level in (1..=4).rev() {
            let entry = read_entry(table, index(address, level));
            if !entry.has(Entry::PRESENT) || !entry.has(Entry::USER) {
                return None;
            }
            table = entry.address();
        }
        Some(Phys(table.0 + address % PAGE_SIZE))
    }

    /// Sets the entry for `address` at `level`, and makes the tables on the way to it.
    fn map_at(&mut self, level: u32, address: u64, page: Phys, access: Access) -> Result<(), MapError> {
        let mut table = self.root;
        for upper in (level + 1..=4).rev() {
            table = next_table(table, index(address, upper), access.is_user())?;
        }
        let index = index(address, level);
        if read_entry(table, index).has(Entry::PRESENT) {
            return Err(MapError::Taken);
        }
        let large = if level == 2 { Entry::LARGE } else { 0 };
        write_entry(table, index, Entry(Entry::page(page, access).0 | large));
        Ok(())
    }
}

/// Follows an entry to the table below it, or makes one.
fn next_table(table: Phys, index: u64, user: bool) -> Result<Phys, MapError> {
    let entry = read_entry(table, index);
    if entry.has(Entry::PRESENT) {
        return Ok(entry.address());
    }
    let new = frames::allocate().ok_or(MapError::NoMemory)?;
    write_entry(table, index, Entry::table(new, user));
    Ok(new)
}

/// Which entry of a table at `level`, 1 being the last, leads to `address`.
fn index(address: u64, level: u32) -> u64 {
    (address >> (12 + 9 * (level - 1))) % ENTRIES
}

fn read_entry(table: Phys, index: u64) -> Entry {
    // SAFETY: `table` is a page from `frames` that only this module uses, and 512 entries fill it.
    unsafe { Phys(table.0 + 8 * index).read() }
}

fn write_entry(table: Phys, index: u64, entry: Entry) {
    // SAFETY: as above.
    unsafe { Phys(table.0 + 8 * index).write(entry) }
}

// One top-level entry at least lies between the program's half and the kernel.
const _: () = assert!(PAGE_OFFSET >> 39 & (ENTRIES - 1) > KERNEL_HALF);
