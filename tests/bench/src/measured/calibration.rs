//! Does the ruler count right? Code whose length is known, and the CPU's own counter beside it.

use crate::mark::between;
use ruler::operations::{COPIED, LOOP, Operation, TIMES};

/// The time-stamp counter: one tick for each instruction when QEMU counts them (`-icount shift=0`).
fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has it, and Linux lets programs read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn measured_loop() -> u64 {
    let before = ticks();
    // SAFETY: counts a register down.
    unsafe {
        between!(Operation::Loop, ["2: dec {left:e}", "jnz 2b", "nop"], left = inout(reg) (LOOP - 1) / 2 => _,)
    }
    ticks() - before
}

/// Does both, and prints how many ticks the loop took, with the reading of the counter.
pub fn measure() -> Result<(), String> {
    let mut least = u64::MAX;
    let from = vec![1_u8; COPIED as usize];
    let mut to = vec![0_u8; COPIED as usize];
    for _ in 0..TIMES {
        least = least.min(measured_loop());
        // SAFETY: both buffers are COPIED bytes long.
        unsafe {
            between!(Operation::Copy, ["rep movsb"],
                inout("rcx") COPIED => _, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _,)
        }
    }
    assert_eq!(from, to);
    println!("ticks {least}");
    Ok(())
}
