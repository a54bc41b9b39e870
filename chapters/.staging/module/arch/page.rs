// SPDX-License-Identifier: GPL-2.0

//! Pages by their physical address: our own, and the Launcher's while we hold on to them.

use super::HostPhys;
use crate::abi::PAGE_SIZE;
use kernel::{bindings, prelude::*};

/// Where `struct page` says its frame is.
fn frame_address(page: *const bindings::page) -> HostPhys {
    // SAFETY: `vmemmap_base` is set while the kernel boots and never changes.
    let first = unsafe { bindings::vmemmap_base } as usize;
    // `vmemmap` is one array of `struct page`, indexed by frame number.
    let frame = (page as usize).wrapping_sub(first) / size_of::<bindings::page>();
    HostPhys(frame as u64 * PAGE_SIZE)
}

/// The kernel's own address of physical memory.
pub(super) fn direct_map(at: HostPhys) -> *mut u8 {
    // SAFETY: `page_offset_base` is set while the kernel boots and never changes.
    let base = unsafe { bindings::page_offset_base } as usize;
    base.wrapping_add(at.0 as usize) as *mut u8
}

/// A zeroed page that we own, freed on drop.
///
/// # Invariants
///
/// `at` is the direct-map address of one page from the page allocator, which nobody else frees.
pub(super) struct OwnedPage {
    at: *mut u8,
}

// SAFETY: A page belongs to no task or CPU.
unsafe impl Send for OwnedPage {}
// SAFETY: A shared reference only tells where the page is.
unsafe impl Sync for OwnedPage {}

impl OwnedPage {
    /// Allocate it, at the expense of the current task's memory group.
    pub(super) fn new() -> Result<Self> {
        let gfp = bindings::GFP_KERNEL_ACCOUNT | bindings::__GFP_ZERO;
        // SAFETY: No preconditions; 0 is failure.
        let at = unsafe { bindings::get_free_pages_noprof(gfp, 0) } as *mut u8;
        if at.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just allocated, and the allocator gives direct-map addresses.
        Ok(Self { at })
    }

    /// Its physical address.
    pub(super) fn phys(&self) -> HostPhys {
        HostPhys((self.at as usize).wrapping_sub(direct_map(HostPhys(0)) as usize) as u64)
    }

    /// Its bytes, `PAGE_SIZE` of them. What may be done there is up to the caller.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.at
    }

    /// Give the page up to whoever knows its address.
    pub(super) fn into_phys(self) -> HostPhys {
        let phys = self.phys();
        core::mem::forget(self);
        phys
    }

    /// Take it back.
    ///
    /// # Safety
    ///
    /// `phys` must come from [`OwnedPage::into_phys`], and only be taken back once.
    pub(super) unsafe fn from_phys(phys: HostPhys) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            at: direct_map(phys),
        }
    }
}

impl Drop for OwnedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::free_pages(self.at as usize, 0) };
    }
}

/// A page of the Launcher that stays where it is until this is dropped.
///
/// # Invariants
///
/// `page` has been pinned for writing, once for this value.
pub(crate) struct PinnedPage {
    page: *mut bindings::page,
}

// SAFETY: A pin belongs to nobody in particular and may be released from any task.
unsafe impl Send for PinnedPage {}
// SAFETY: There is nothing to do through a shared reference but ask where the page is.
unsafe impl Sync for PinnedPage {}

impl PinnedPage {
    /// Pin the page of the current task at `address`, as for writing: so the Guest and the Launcher
    /// keep seeing the same page even when a private mapping is copied on write.
    pub(crate) fn new(address: usize) -> Result<Self> {
        let mut page = core::ptr::null_mut();
        let flags = bindings::FOLL_WRITE | bindings::FOLL_LONGTERM;
        // SAFETY: `page` has room for the one page asked for. The call checks the address itself.
        let pinned = unsafe { bindings::pin_user_pages_fast(address, 1, flags, &mut page) };
        match pinned {
            1 => Ok(Self { page }),
            error if error < 0 => Err(Error::from_errno(error)),
            _ => Err(EFAULT),
        }
    }

    /// The frame to enter in a shadow page table.
    pub(crate) fn phys(&self) -> HostPhys {
        frame_address(self.page)
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we hold one pin on this page. The Guest may have written.
        unsafe { bindings::unpin_user_pages_dirty_lock(&mut self.page, 1, true) };
    }
}
