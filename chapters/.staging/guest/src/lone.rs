// SPDX-License-Identifier: GPL-2.0

//! Global state for a kernel with one CPU.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that only one piece of code uses at a time; a second one is a bug and panics.
pub struct Lone<T> {
    in_use: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` hands out one reference at a time, whoever asks.
unsafe impl<T: Send> Sync for Lone<T> {}

impl<T> Lone<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Lone {
            in_use: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Lets `work` use the value.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let was_in_use = self.in_use.swap(true, Ordering::Acquire);
        assert!(!was_in_use, "used twice at a time");
        // SAFETY: `in_use` was false and is true now, so there is no other reference.
        let result = work(unsafe { &mut *self.value.get() });
        self.in_use.store(false, Ordering::Release);
        result
    }
}
