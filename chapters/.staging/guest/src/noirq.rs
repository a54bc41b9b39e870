// SPDX-License-Identifier: GPL-2.0

//! The instructions at which no interrupt may come, and with them everything about the interrupt flag.
//!
//! The flag is a word of memory, `LguestData::irq_enabled`, and it is on in two places only: while a program runs, and
//! while the kernel has nothing to do. No Rust code is ever interrupted, so none needs to be written for that.

use core::arch::{global_asm, naked_asm};
use core::mem::offset_of;
use core::ops::Range;

use crate::abi::{IRQ_ENABLED, LguestData, hypercall, selector};
use crate::host::DATA;
use crate::traps::{Frame, SYSCALL, TRAP_STACK, TrapStack, trap_common};

unsafe extern "C" {
    static noirq_start: u8;
    static noirq_end: u8;
    safe fn syscall_entry();
    safe fn idle();
}

/// Where interrupts have to wait.
pub fn range() -> Range<u64> {
    (&raw const noirq_start).addr() as u64..(&raw const noirq_end).addr() as u64
}

/// The address to which `syscall` in ring 3 leads.
pub fn syscall_address() -> u64 {
    syscall_entry as extern "C" fn() as usize as u64
}

/// Sleeps until there has been an interrupt.
pub fn wait_for_interrupt() {
    idle();
}

// A program's `syscall` arrives with the program's stack pointer, with RIP in RCX and RFLAGS in R11, and with interrupts
// on. Once it has a stack and interrupts are off it becomes a trap like all others.
//
// `idle` lets interrupts in and sleeps. Were an interrupt delivered between the two, the sleep would miss it; so the range
// ends where the hypercall returns to: an interrupt that waits is delivered instead of the sleep.
global_asm!(
    ".pushsection .text.noirq, \"ax\"",
    ".globl noirq_start, noirq_end, syscall_entry, idle",
    "noirq_start:",
    "syscall_entry:",
    "  mov [rip + {user_rsp}], rsp",
    "  lea rsp, [rip + {stack} + {stack_size}]",
    "  mov qword ptr [rip + {data} + {irq_enabled}], 0",
    "  push {user_ds}",
    "  push qword ptr [rip + {user_rsp}]",
    "  push r11",
    "  push {user_cs}",
    "  push rcx",
    "  push 0",
    "  push {syscall}",
    "  jmp {trap_common}",
    "",
    "idle:",
    "  mov eax, {halt}",
    "  mov qword ptr [rip + {data} + {irq_enabled}], {on}",
    "  int {hypercall}",
    "noirq_end:",
    "  mov qword ptr [rip + {data} + {irq_enabled}], 0",
    "  ret",
    ".popsection",
    data = sym DATA,
    user_rsp = sym USER_RSP,
    stack = sym TRAP_STACK,
    stack_size = const size_of::<TrapStack>(),
    trap_common = sym trap_common,
    irq_enabled = const offset_of!(LguestData, irq_enabled),
    on = const IRQ_ENABLED,
    halt = const hypercall::HALT,
    hypercall = const hypercall::VECTOR,
    user_ds = const selector::USER_DS,
    user_cs = const selector::USER_CS,
    syscall = const SYSCALL,
);

/// Where a program's stack pointer waits for the three instructions until it can be pushed.
static USER_RSP: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// The way back from every trap: the stack holds a [`Frame`].
///
/// The frame's interrupt flag becomes ours again, and if something has waited for it, the Host is asked to deliver that.
#[unsafe(naked)]
pub extern "C" fn trap_return() {
    naked_asm!(
        "test qword ptr [rsp + {rflags}], {on}",
        "jz 2f",
        "mov qword ptr [rip + {data} + {irq_enabled}], {on}",
        "cmp qword ptr [rip + {data} + {irq_pending}], 0",
        "je 2f",
        "mov eax, {send_interrupts}",
        "int {hypercall}",
        "2:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        "add rsp, 16", // vector and error code
        "iretq",
        data = sym DATA,
        rflags = const offset_of!(Frame, rflags),
        irq_enabled = const offset_of!(LguestData, irq_enabled),
        irq_pending = const offset_of!(LguestData, irq_pending),
        on = const IRQ_ENABLED,
        send_interrupts = const hypercall::SEND_INTERRUPTS,
        hypercall = const hypercall::VECTOR,
    )
}
