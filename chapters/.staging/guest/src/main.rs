// SPDX-License-Identifier: GPL-2.0

//! The book's own Guest: a kernel for ring 1.

#![no_std]
#![no_main]
#![warn(missing_docs)]
#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

#[path = "../../abi/abi.rs"]
mod abi;
mod elf;
mod panic;
mod shell;
mod syscall;

// What follows talks to the CPU, to the Host, or to memory as such.
#[allow(unsafe_code)]
mod boot;
#[allow(unsafe_code)]
mod bus;
#[allow(unsafe_code)]
mod console;
#[allow(unsafe_code)]
mod frames;
#[allow(unsafe_code)]
mod host;
#[allow(unsafe_code)]
mod hypercall;
#[allow(unsafe_code)]
mod layout;
#[allow(unsafe_code)]
mod lone;
#[allow(unsafe_code)]
mod mem;
#[allow(unsafe_code)]
mod noirq;
#[allow(unsafe_code)]
mod paging;
#[allow(unsafe_code)]
mod program;
#[allow(unsafe_code)]
mod start;
mod timer;
#[allow(unsafe_code)]
mod traps;

use crate::abi::{PAGE_SIZE, device};
use crate::layout::Phys;

/// The life of the kernel, once it has a stack.
fn kernel(boot_page: Phys) -> ! {
    host::introduce();
    traps::init();

    let machine = boot::Machine::read(boot_page);
    frames::init(layout::kernel_end(), machine.free_end);
    paging::take_over(Phys(machine.memory.0 + PAGE_SIZE)).expect("memory for page tables");

    if let Some(device) = bus::find(machine.memory, device::CONSOLE) {
        console::attach(device);
    }
    timer::start();
    greet(&machine);
    shell::run()
}

/// Says who we are.
fn greet(machine: &boot::Machine) {
    let (number, megabytes) = (host::guest_number(), machine.memory.0 >> 20);
    println!("Hello from ring 1. I am Guest {number}, with {megabytes} MiB of memory.");
    match host::tsc_khz() {
        0 => println!("There is no time-stamp counter to be trusted."),
        khz => println!("The time-stamp counter runs at {khz} kHz."),
    }
    println!("My command line is \"{}\".", machine.command_line());
    println!("My page tables are my own now. Type help if you need it.");
}
