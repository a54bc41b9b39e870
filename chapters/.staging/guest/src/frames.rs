// SPDX-License-Identifier: GPL-2.0

//! Free memory, by the page.

use crate::abi::PAGE_SIZE;
use crate::layout::Phys;
use crate::lone::Lone;

/// Hands out pages from the bottom up, and takes them back in the opposite order.
struct Frames {
    next: Phys,
    end: Phys,
}

static FRAMES: Lone<Frames> = Lone::new(Frames {
    next: Phys(0),
    end: Phys(0),
});

/// A moment in the life of the free memory, to which [`release`] returns.
#[derive(Clone, Copy)]
pub struct Mark(Phys);

/// Says what is free: whole pages from `start` to `end`.
pub fn init(start: Phys, end: Phys) {
    FRAMES.with(|frames| *frames = Frames { next: start, end });
}

/// A page of zeroes.
pub fn allocate() -> Option<Phys> {
    let page = FRAMES.with(|frames| {
        let page = frames.next;
        let next = Phys(page.0 + PAGE_SIZE);
        (next <= frames.end).then(|| {
            frames.next = next;
            page
        })
    })?;
    // SAFETY: it was free until now.
    unsafe { page.clear_page() };
    Some(page)
}

/// Remembers what is free now.
pub fn mark() -> Mark {
    FRAMES.with(|frames| Mark(frames.next))
}

/// Takes back all pages that were handed out since `mark`.
pub fn release(mark: Mark) {
    FRAMES.with(|frames| frames.next = mark.0);
}

/// Bytes that are free.
pub fn free() -> u64 {
    FRAMES.with(|frames| frames.end.0.saturating_sub(frames.next.0))
}
