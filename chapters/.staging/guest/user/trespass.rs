// SPDX-License-Identifier: GPL-2.0

//! Reads what belongs to the kernel.

#![no_std]
#![no_main]

mod system;

/// Where the kernel is loaded.
const KERNEL: *const u8 = 0xffff_ffff_8010_0000 as *const u8;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    system::write(b"Let me see what the kernel has there.\n");
    // SAFETY: none. That is the point: it is the page tables that have to stop this.
    let stolen = unsafe { KERNEL.read_volatile() };
    system::exit(stolen.into())
}
