// SPDX-License-Identifier: GPL-2.0

//! The memory that we share with the Host.

use core::cell::UnsafeCell;

use crate::abi::{LguestData, RING_SIZE, RingEntry};
use crate::hypercall;
use crate::layout::Phys;
use crate::noirq;

/// Aligned so that it does not straddle pages.
#[repr(C, align(4096))]
pub struct Shared(UnsafeCell<LguestData>);

// SAFETY: both sides access single words, and only by volatile operations or single instructions.
unsafe impl Sync for Shared {}

/// An entry of the ring of hypercalls that we do not use yet.
const UNUSED: RingEntry = RingEntry {
    rax: 0,
    rdx: 0,
    rbx: 0,
    rcx: 0,
};
/// Says of an entry that there is nothing to do.
const DONE: u8 = 0xff;

/// The one and only. The first instructions of interrupts and system calls use it by name.
pub static DATA: Shared = Shared(UnsafeCell::new(LguestData {
    irq_enabled: 0,
    irq_pending: 0,
    blocked_interrupts: 0,
    cr2: 0,
    time_sec: 0,
    time_nsec: 0,
    noirq_start: 0,
    noirq_end: 0,
    tsc_khz: 0,
    guestid: 0,
    reserved: 0,
    hcall_status: [DONE; RING_SIZE],
    hcalls: [UNUSED; RING_SIZE],
}));

/// Introduces us to the Host. Comes before anything else that needs it.
pub fn introduce() {
    let data = DATA.0.get();
    let range = noirq::range();
    // SAFETY: the Host does not look yet, and afterwards only single words are read or written.
    unsafe {
        (&raw mut (*data).noirq_start).write_volatile(range.start);
        (&raw mut (*data).noirq_end).write_volatile(range.end);
        hypercall::init(Phys::of(data));
    }
}

/// Address of the last page fault.
pub fn fault_address() -> u64 {
    // SAFETY: one word of a static.
    unsafe { (&raw const (*DATA.0.get()).cr2).read_volatile() }
}

/// Frequency of the time-stamp counter; 0 when it cannot be trusted.
pub fn tsc_khz() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const (*DATA.0.get()).tsc_khz).read_volatile() }
}

/// Our number among the Guests of this Host.
pub fn guest_number() -> u16 {
    // SAFETY: as above.
    unsafe { (&raw const (*DATA.0.get()).guestid).read_volatile() }
}
