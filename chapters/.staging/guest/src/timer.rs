// SPDX-License-Identifier: GPL-2.0

//! The clock: interrupt 0, a hundred times a second.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::noirq::wait_for_interrupt;
use crate::traps::Frame;
use crate::{hypercall, program};

/// Ticks in a second.
pub const TICKS_PER_SECOND: u64 = 100;
/// Time between ticks.
const TICK_NANOSECONDS: u64 = 1_000_000_000 / TICKS_PER_SECOND;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Starts the clock.
pub fn start() {
    hypercall::set_timer(TICK_NANOSECONDS);
}

/// Ticks since the start.
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Lets so many ticks pass.
pub fn sleep(ticks_to_pass: u64) {
    let end = ticks().saturating_add(ticks_to_pass);
    while ticks() < end {
        wait_for_interrupt();
    }
}

/// The interrupt. The Host's timer rings once, so we wind it up again.
pub fn tick(frame: &Frame) {
    TICKS.fetch_add(1, Ordering::Relaxed);
    hypercall::set_timer(TICK_NANOSECONDS);
    if frame.interrupts_program() {
        program::charge_tick();
    }
}
