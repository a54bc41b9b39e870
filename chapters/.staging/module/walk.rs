// SPDX-License-Identifier: GPL-2.0

//! Walking the Guest's own page tables, as the CPU would (SDM vol. 3, 4.5).
//!
//! Guests have four levels, whatever the Host has. This file knows nothing about the kernel, so its
//! tests run on any machine.

use crate::addr::{GuestPhys, GuestVirt};

/// Bits of a page-table entry.
pub(crate) mod entry {
    /// There is something here.
    pub(crate) const PRESENT: u64 = 1 << 0;
    /// It may be written.
    pub(crate) const WRITABLE: u64 = 1 << 1;
    /// Ring 3 may use it.
    pub(crate) const USER: u64 = 1 << 2;
    /// Somebody has used it.
    pub(crate) const ACCESSED: u64 = 1 << 5;
    /// Somebody has written to it.
    pub(crate) const DIRTY: u64 = 1 << 6;
    /// At level 2 or 3: not a table but a large page.
    pub(crate) const LARGE: u64 = 1 << 7;
    /// Nothing here may be executed.
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
    /// The address of the next table or page.
    pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of a page fault's error code (SDM vol. 3, 4.7).
pub(crate) mod fault {
    /// There was an entry, but it forbids the access.
    pub(crate) const PRESENT: u64 = 1 << 0;
    /// It was a write.
    pub(crate) const WRITE: u64 = 1 << 1;
    /// It came from ring 3.
    pub(crate) const USER: u64 = 1 << 2;
    /// It was an instruction fetch.
    pub(crate) const FETCH: u64 = 1 << 4;
}

/// Levels of a Guest's tables.
pub(crate) const LEVELS: u32 = 4;

/// What an address leads to: one page of 4 KiB, even inside a large one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mapping {
    /// The page, in the Guest's physical memory.
    pub(crate) page: GuestPhys,
    /// Every level allows writes, and the page is marked dirty already.
    pub(crate) writable: bool,
    /// Every level allows ring 3.
    pub(crate) user: bool,
    /// Some level forbids execution.
    pub(crate) no_execute: bool,
}

/// Why there is no mapping.
#[derive(Debug, PartialEq)]
pub(crate) enum Miss<E> {
    /// A page fault, with its error code: the Guest's own affair.
    Fault(u64),
    /// An entry at this level names memory that the Guest does not have.
    BadEntry(u64, u32),
    /// The tables could not be read or written.
    Memory(E),
}

/// The memory that holds the tables.
pub(crate) trait Tables {
    /// What goes wrong with it.
    type Error;
    /// First frame that does not exist.
    fn pfn_limit(&self) -> u64;
    /// Read the entry at this address.
    fn load(&self, at: GuestPhys) -> Result<u64, Self::Error>;
    /// Write it back.
    fn store(&self, at: GuestPhys, entry: u64) -> Result<(), Self::Error>;
}

/// Follow `address` down from `cr3` for an access described by page-fault bits.
///
/// Marks what it uses as accessed, and the page as dirty if it is written to.
pub(crate) fn walk<T: Tables>(
    tables: &T,
    cr3: GuestPhys,
    address: GuestVirt,
    access: u64,
) -> Result<Mapping, Miss<T::Error>> {
    let (mut writable, mut user, mut no_execute) = (true, true, false);
    let mut table = cr3.get() & entry::ADDRESS;
    let mut level = LEVELS;
    loop {
        let at = GuestPhys::claimed(table | (address.index(level) as u64) << 3);
        let found = tables.load(at).map_err(Miss::Memory)?;
        if found & entry::PRESENT == 0 {
            return Err(Miss::Fault(access & !fault::PRESENT));
        }
        if GuestPhys::claimed(found & entry::ADDRESS).frame() >= tables.pfn_limit() {
            return Err(Miss::BadEntry(found, level));
        }
        writable &= found & entry::WRITABLE != 0;
        user &= found & entry::USER != 0;
        no_execute |= found & entry::NO_EXECUTE != 0;

        let last = level == 1 || (level < LEVELS && found & entry::LARGE != 0);
        if last && forbidden(access, writable, user, no_execute) {
            return Err(Miss::Fault(access | fault::PRESENT));
        }
        let mut used = found | entry::ACCESSED;
        if last && access & fault::WRITE != 0 {
            used |= entry::DIRTY;
        }
        if used != found {
            tables.store(at, used).map_err(Miss::Memory)?;
        }
        if last {
            return Ok(Mapping {
                page: page_within(found, level, address),
                writable: writable && used & entry::DIRTY != 0,
                user,
                no_execute,
            });
        }
        table = found & entry::ADDRESS;
        level -= 1;
    }
}

fn forbidden(access: u64, writable: bool, user: bool, no_execute: bool) -> bool {
    (access & fault::WRITE != 0 && !writable)
        || (access & fault::USER != 0 && !user)
        || (access & fault::FETCH != 0 && no_execute)
}

/// The 4 KiB page of `address` inside the page that `found` maps at `level`.
fn page_within(found: u64, level: u32, address: GuestVirt) -> GuestPhys {
    let size = 1u64 << (12 + 9 * (level - 1));
    let base = found & entry::ADDRESS & !(size - 1);
    GuestPhys::claimed(base | address.get() & (size - 1) & !0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::HashMap};

    /// 256 frames of memory, empty where nothing was stored.
    #[derive(Default)]
    struct Few(RefCell<HashMap<u64, u64>>);

    impl Tables for Few {
        type Error = u64;
        fn pfn_limit(&self) -> u64 {
            256
        }
        fn load(&self, at: GuestPhys) -> Result<u64, u64> {
            if at.frame() >= 256 {
                return Err(at.get());
            }
            Ok(*self.0.borrow().get(&at.get()).unwrap_or(&0))
        }
        fn store(&self, at: GuestPhys, entry: u64) -> Result<(), u64> {
            self.0.borrow_mut().insert(at.get(), entry);
            Ok(())
        }
    }

    const ALL: u64 = entry::PRESENT | entry::WRITABLE | entry::USER;
    const ADDRESS: GuestVirt = GuestVirt::new(0x0000_0080_4020_1abc);
    const CR3: GuestPhys = GuestPhys::claimed(0x1000);

    /// Tables at frames 1 to 4 that map ADDRESS (index 1 at every level) to frame 5.
    fn mapped(leaf: u64) -> Few {
        let few = Few::default();
        for level in 1..4u64 {
            few.0
                .borrow_mut()
                .insert(level << 12 | 8, (level + 1) << 12 | ALL);
        }
        few.0.borrow_mut().insert(0x4008, leaf);
        few
    }

    #[test]
    fn a_read_leads_to_the_page_and_marks_it_accessed() {
        let few = mapped(0x5000 | ALL);
        let found = walk(&few, CR3, ADDRESS, fault::USER).unwrap();
        assert_eq!(found.page, GuestPhys::claimed(0x5000));
        assert!(found.user && !found.no_execute);
        assert!(
            !found.writable,
            "the first write must come back to mark it dirty"
        );
        assert_eq!(
            few.load(GuestPhys::claimed(0x4008)),
            Ok(0x5000 | ALL | entry::ACCESSED)
        );
        assert_eq!(
            few.load(GuestPhys::claimed(0x1008)).unwrap() & entry::ACCESSED,
            entry::ACCESSED
        );
    }

    #[test]
    fn a_write_marks_the_page_dirty() {
        let few = mapped(0x5000 | ALL);
        assert!(walk(&few, CR3, ADDRESS, fault::WRITE).unwrap().writable);
        assert_ne!(
            few.load(GuestPhys::claimed(0x4008)).unwrap() & entry::DIRTY,
            0
        );
    }

    #[test]
    fn what_an_entry_forbids_is_a_protection_fault_and_leaves_no_mark() {
        for (leaf, access) in [
            (0x5000 | ALL & !entry::WRITABLE, fault::WRITE),
            (0x5000 | ALL & !entry::USER, fault::USER),
            (0x5000 | ALL | entry::NO_EXECUTE, fault::FETCH),
        ] {
            let few = mapped(leaf);
            let miss = walk(&few, CR3, ADDRESS, access);
            assert_eq!(miss, Err(Miss::Fault(access | fault::PRESENT)));
            assert_eq!(few.load(GuestPhys::claimed(0x4008)), Ok(leaf));
        }
    }

    #[test]
    fn nothing_there_is_a_fault_without_the_present_bit() {
        assert_eq!(
            walk(&mapped(0), CR3, ADDRESS, fault::WRITE),
            Err(Miss::Fault(fault::WRITE))
        );
    }

    #[test]
    fn an_entry_beyond_the_limit_is_no_fault_but_a_lie() {
        let lie = 256 << 12 | ALL;
        assert_eq!(
            walk(&mapped(lie), CR3, ADDRESS, 0),
            Err(Miss::BadEntry(lie, 1))
        );
        let few = mapped(0x5000 | ALL);
        few.store(GuestPhys::claimed(0x1008), lie).unwrap();
        assert_eq!(walk(&few, CR3, ADDRESS, 0), Err(Miss::BadEntry(lie, 4)));
    }

    #[test]
    fn a_large_page_is_seen_as_the_small_page_inside_it() {
        let few = mapped(0);
        few.store(GuestPhys::claimed(0x3008), ALL | entry::LARGE)
            .unwrap();
        let found = walk(&few, CR3, ADDRESS, 0).unwrap();
        assert_eq!(found.page, GuestPhys::claimed(0x1000));
    }

    #[test]
    fn a_table_that_contains_itself_still_ends_after_four_levels() {
        let few = Few::default();
        few.store(GuestPhys::claimed(0x1008), 0x1000 | ALL).unwrap();
        assert_eq!(walk(&few, CR3, ADDRESS, 0).unwrap().page, CR3);
    }
}
