// SPDX-License-Identifier: GPL-2.0

//! The Switcher in the Launcher's own page tables, as long as a Guest of its needs it there.

use super::{page::direct_map, HostPhys, Switcher, SLOT};
use kernel::{
    bindings,
    mm::Mm,
    prelude::*,
    sync::{aref::ARef, Arc},
    task::Task,
};

/// An address space that has the Switcher in its slot, and how many Guests want it.
pub(super) struct Hooked {
    mm: *mut bindings::mm_struct,
    guests: usize,
}

// SAFETY: The pointer is only compared.
unsafe impl Send for Hooked {}

/// The Switcher's presence in one address space, for one Guest.
///
/// # Invariants
///
/// While this lives, the top-level table of `mm` has the Switcher's entry, and `mm` is not freed.
pub(crate) struct Hook {
    switcher: Arc<Switcher>,
    mm: ARef<Mm>,
}

impl Hook {
    /// Hook the current task's address space.
    pub(crate) fn new(switcher: Arc<Switcher>) -> Result<Self> {
        let mm: ARef<Mm> = match current!().mm() {
            Some(mm) => (&**mm).into(),
            None => return Err(EINVAL),
        };
        {
            let mut hooked = switcher.hooked.lock();
            match hooked.iter_mut().find(|hooked| hooked.mm == mm.as_raw()) {
                Some(hooked) => hooked.guests += 1,
                None => {
                    let mm = mm.as_raw();
                    hooked.push(Hooked { mm, guests: 1 }, GFP_KERNEL)?;
                    // SAFETY: `mm` is alive, and Linux leaves the slot alone. Nothing can be cached
                    // of an entry that was not there.
                    unsafe { slot_entry(mm).write_volatile(switcher.area.host_entry()) };
                }
            }
        }
        // INVARIANT: Hooked above, and `mm` is counted.
        Ok(Self { switcher, mm })
    }

    /// Whether the current task still lives in this address space. EXECVE changes that.
    pub(crate) fn is_current(&self) -> bool {
        current!()
            .mm()
            .is_some_and(|mm| core::ptr::eq(mm.as_raw(), self.mm.as_raw()))
    }

    /// The Switcher that is hooked here.
    pub(crate) fn switcher(&self) -> &Arc<Switcher> {
        &self.switcher
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let mut hooked = self.switcher.hooked.lock();
        let Some(index) = hooked.iter().position(|one| one.mm == self.mm.as_raw()) else {
            return;
        };
        hooked[index].guests -= 1;
        if hooked[index].guests == 0 {
            let _ = hooked.remove(index);
            // SAFETY: By the type invariant `mm` is not freed, even if its last task is gone. CPUs
            // may remember the entry, so the tables behind it stay until the module goes, which
            // flushes them all.
            unsafe { slot_entry(self.mm.as_raw()).write_volatile(0) };
        }
    }
}

/// The entry for the slot in the top-level table of `mm`.
///
/// # Safety
///
/// `mm` must be alive, or at least not freed.
unsafe fn slot_entry(mm: *mut bindings::mm_struct) -> *mut u64 {
    // SAFETY: The table is there as long as `mm` is (it goes in `__mmdrop`), and has 512 entries.
    unsafe { (*mm).__bindgen_anon_1.pgd.cast::<u64>().add(SLOT) }
}

/// Whether somebody else, Xen say, has the slot of the current address space.
pub(super) fn slot_is_taken() -> bool {
    let top = HostPhys(super::cpu::read_cr3() & crate::walk::entry::ADDRESS);
    // SAFETY: CR3 names a page of 512 entries, and the direct map has it.
    unsafe { direct_map(top).cast::<u64>().add(SLOT).read_volatile() != 0 }
}

/// The task that a Guest belongs to: the current one.
pub(crate) fn current_task() -> ARef<Task> {
    let current = current!();
    let task: &Task = &current;
    task.into()
}
