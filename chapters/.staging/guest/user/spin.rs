// SPDX-License-Identifier: GPL-2.0

//! Never ends by itself.

#![no_std]
#![no_main]

mod system;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    system::write(b"Round and round we go.\n");
    loop {}
}
