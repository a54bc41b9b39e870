// SPDX-License-Identifier: GPL-2.0

//! Page tables that the CPU uses: a tree of pages, as deep as the Host's own.

use super::{
    page::{direct_map, OwnedPage, PinnedPage},
    HostPhys, SLOT,
};
use crate::{
    addr::GuestVirt,
    walk::{entry, Mapping},
};
use kernel::prelude::*;

/// Entries in a table.
pub(super) const ENTRIES: usize = 512;

/// What an entry that leads to another table says; the leaves decide what is allowed.
const TABLE: u64 = entry::PRESENT | entry::WRITABLE | entry::USER | entry::ACCESSED;

/// How many more pages a Guest's tables may take.
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    pub(crate) const fn new(pages: usize) -> Self {
        Self { left: pages }
    }
}

/// A tree of page tables for one Guest address space.
///
/// # Invariants
///
/// - Every present entry above level 1, except number [`SLOT`] of the top, holds the address of an
///   [`OwnedPage`] given up to this tree, whose entries are again of this kind.
/// - Entries at level 1 name pages that the owner of the tree keeps pinned while it lives.
pub(crate) struct Tree {
    top: OwnedPage,
    levels: u32,
}

impl Tree {
    /// An empty tree of 4 or 5 levels.
    pub(super) fn new(levels: u32) -> Result<Self> {
        // INVARIANT: No entry is present.
        Ok(Self {
            top: OwnedPage::new()?,
            levels,
        })
    }

    /// What CR3 must hold to use it.
    pub(super) fn cr3(&self) -> u64 {
        self.top.phys().0
    }

    /// Enter the Switcher's tables in the one slot that is never the Guest's.
    pub(super) fn set_slot(&mut self, tables: u64) {
        // SAFETY: The top is ours, and the entry lies in it.
        unsafe { self.top.as_ptr().cast::<u64>().add(SLOT).write(tables) };
    }

    /// The entry for `address` at `level`. `grow` makes the tables on the way, or declines.
    fn entry_at(
        &self,
        address: GuestVirt,
        level: u32,
        mut grow: impl FnMut() -> Result<OwnedPage>,
    ) -> Result<*mut u64> {
        if address.index(self.levels) == SLOT {
            return Err(EFAULT);
        }
        let mut table = self.top.phys();
        for above in (level + 1..=self.levels).rev() {
            let at = entry_of(table, address.index(above));
            // SAFETY: By the type invariant `at` points into a table of this tree, and `&self` with
            // `&mut self` in every caller that writes keeps others out.
            unsafe {
                if at.read() & entry::PRESENT == 0 {
                    // INVARIANT: The page is empty, and given up to the tree.
                    at.write(grow()?.into_phys().0 | TABLE);
                }
                table = HostPhys(at.read() & entry::ADDRESS);
            }
        }
        Ok(entry_of(table, address.index(level)))
    }

    /// Map one page. `Ok(false)` if the tree says so already.
    ///
    /// `ENOSPC` when the budget is used up, `ENOMEM` when the Host's memory is, `EFAULT` for the slot.
    pub(crate) fn map(
        &mut self,
        address: GuestVirt,
        page: &PinnedPage,
        rights: &Mapping,
        budget: &mut Budget,
    ) -> Result<bool> {
        let at = self.entry_at(address, 1, || {
            budget.left = budget.left.checked_sub(1).ok_or(ENOSPC)?;
            OwnedPage::new()
        })?;
        let mut leaf = page.phys().0 | entry::PRESENT | entry::ACCESSED | entry::DIRTY;
        for (allowed, bit) in [
            (rights.writable, entry::WRITABLE),
            (rights.user, entry::USER),
            (rights.no_execute, entry::NO_EXECUTE),
        ] {
            if allowed {
                leaf |= bit;
            }
        }
        // SAFETY: `entry_at` found it in a table of ours.
        let before = unsafe { at.replace(leaf) };
        Ok(before != leaf)
    }

    /// Forget what stands at `address` on this level, and everything below.
    pub(crate) fn forget(&mut self, address: GuestVirt, level: u32, budget: &mut Budget) {
        if let Ok(at) = self.entry_at(address, level, || Err(ENOENT)) {
            // SAFETY: `entry_at` found it in a table of ours, and nobody else is looking.
            unsafe { drop_entry(at, level, budget) };
        }
    }

    /// Forget everything.
    pub(crate) fn forget_all(&mut self, budget: &mut Budget) {
        for index in (0..ENTRIES).filter(|&index| index != SLOT) {
            // SAFETY: The top is ours, and by the type invariant so is what it leads to.
            unsafe { drop_entry(entry_of(self.top.phys(), index), self.levels, budget) };
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.forget_all(&mut Budget::new(0));
    }
}

fn entry_of(table: HostPhys, index: usize) -> *mut u64 {
    direct_map(table).cast::<u64>().wrapping_add(index)
}

/// Clear an entry and free the tables below it. Ends after `level` steps down, since every table
/// was made one level below the entry that names it.
///
/// # Safety
///
/// `at` must be an entry at `level` of a [`Tree`] that is not in use.
unsafe fn drop_entry(at: *mut u64, level: u32, budget: &mut Budget) {
    // SAFETY: By the requirement it is ours to read and write.
    let old = unsafe { at.replace(0) };
    if old & entry::PRESENT == 0 || level == 1 {
        return;
    }
    let table = HostPhys(old & entry::ADDRESS);
    for index in 0..ENTRIES {
        // SAFETY: By the invariant of `Tree` this is an entry one level further down.
        unsafe { drop_entry(entry_of(table, index), level - 1, budget) };
    }
    // SAFETY: By the invariant of `Tree` the page was given up to it, and `at` no longer names it.
    drop(unsafe { OwnedPage::from_phys(table) });
    budget.left = budget.left.saturating_add(1);
}
