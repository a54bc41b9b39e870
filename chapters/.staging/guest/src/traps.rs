// SPDX-License-Identifier: GPL-2.0

//! Traps: whatever takes the CPU away from what it was doing ends in [`trap`].

use core::arch::{global_asm, naked_asm};

use crate::abi::{FIRST_IRQ_VECTOR, IRQS, PAGE_SIZE};
use crate::noirq::{self, trap_return};
use crate::{host, hypercall, program, syscall, timer};

/// What the stubs and the Host leave on the stack, lowest address first.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// The registers, as `trap_common` pushes them.
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which stub it was.
    pub vector: u64,
    /// What the CPU says about some exceptions; 0 for all else.
    pub error: u64,
    /// The interrupted instruction.
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl Frame {
    /// Was it a program that was interrupted? Then it was in ring 3.
    pub fn interrupts_program(&self) -> bool {
        self.cs & 3 == 3
    }
}

/// Where traps from programs, and their system calls, find room.
#[repr(C, align(4096))]
pub struct TrapStack([u8; 4 * PAGE_SIZE as usize]);

/// The stack; the Host and the system call stub write it.
pub static mut TRAP_STACK: TrapStack = TrapStack([0; 4 * PAGE_SIZE as usize]);

/// Pages of it that the Host may count on.
const HOST_PAGES: u64 = 2;

/// System calls have no vector of their own; this is the one that they had before there was `syscall`.
pub const SYSCALL: u8 = 0x80;

const PAGE_FAULT: u64 = 14;
const TIMER_IRQ: u64 = FIRST_IRQ_VECTOR as u64;
const FIRST_DEVICE_IRQ: u64 = TIMER_IRQ + 1;
const LAST_IRQ: u64 = TIMER_IRQ + IRQS - 1;

/// Distance between stubs.
const STUB_SIZE: u64 = 16;

/// One bit for each exception with an error code: 8, 10 to 14, 17, 21, 29 and 30.
const WITH_ERROR_CODE: u64 = 0x6022_7d00;

unsafe extern "C" {
    static trap_stubs: u8;
}

// Every vector has a stub that pushes its number, above an error code, real or not. The largest takes 14 bytes.
global_asm!(
    ".pushsection .text.stubs, \"ax\"",
    ".balign {size}",
    ".globl trap_stubs",
    "trap_stubs:",
    ".set vector, 0",
    ".rept {count}",
    "  .balign {size}",
    "  .if (({with_error_code} >> vector) & 1) == 0",
    "    pushq $0",
    "  .endif",
    "  pushq $vector",
    "  jmp {trap_common}",
    "  .set vector, vector + 1",
    ".endr",
    ".popsection",
    size = const STUB_SIZE,
    count = const LAST_IRQ + 1,
    with_error_code = const WITH_ERROR_CODE,
    trap_common = sym trap_common,
    options(att_syntax),
);

/// Completes the [`Frame`], puts the vector registers aside and calls [`trap`].
///
/// The Host has aligned the stack before it pushed the first word, and a frame is a multiple of 16 bytes long.
#[unsafe(naked)]
pub extern "C" fn trap_common() {
    naked_asm!(
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, rsp",
        "sub rsp, 512",
        "fxsave64 [rsp]",
        "cld",
        "call {trap}",
        "fxrstor64 [rsp]",
        "add rsp, 512",
        "jmp {trap_return}",
        trap = sym trap,
        trap_return = sym trap_return,
    )
}

const _: () = assert!(size_of::<Frame>().is_multiple_of(16));

/// Tells the Host where everything is.
pub fn init() {
    let stubs = (&raw const trap_stubs).addr() as u64;
    for vector in 0..=LAST_IRQ as u8 {
        // SAFETY: this is the stub for this vector.
        unsafe { hypercall::load_gate(vector, stubs + u64::from(vector) * STUB_SIZE) };
    }
    let top = (&raw const TRAP_STACK).addr() + size_of::<TrapStack>();
    // SAFETY: nothing else uses that stack, and the entry is made for this.
    unsafe {
        hypercall::set_stack(top as u64, HOST_PAGES);
        hypercall::set_syscall(noirq::syscall_address());
    }
}

/// All traps arrive here. Interrupts are off.
extern "C" fn trap(frame: &mut Frame) {
    match frame.vector {
        TIMER_IRQ => timer::tick(frame),
        // An interrupt of a device ends the kernel's sleep, and that is all that it is for.
        FIRST_DEVICE_IRQ..=LAST_IRQ => {}
        number if number == u64::from(SYSCALL) => syscall::call(frame),
        _ if frame.interrupts_program() => program::end(outcome(frame)),
        vector => panic!(
            "trap {vector} at {:#x} in the kernel, error code {:#x}",
            frame.rip, frame.error
        ),
    }
}

/// An exception is the end of the program that raised it, and of nobody else.
fn outcome(frame: &Frame) -> program::Outcome {
    match frame.vector {
        PAGE_FAULT => program::Outcome::BadAddress {
            address: host::fault_address(),
            rip: frame.rip,
        },
        vector => program::Outcome::Exception { vector, rip: frame.rip },
    }
}
