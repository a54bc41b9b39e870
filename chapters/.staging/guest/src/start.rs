// SPDX-License-Identifier: GPL-2.0

//! The first instructions.

use core::arch::naked_asm;

use crate::kernel;
use crate::layout::Phys;

/// Bytes of the kernel's stack.
const SIZE: usize = 32 << 10;

#[repr(C, align(4096))]
struct Stack([u8; SIZE]);

static mut STACK: Stack = Stack([0; SIZE]);

/// The Guest begins here, with the physical address of the boot page in RSI and no stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "lea rsp, [rip + {stack} + {size}]",
        "mov rdi, rsi",
        "xor ebp, ebp",
        "call {main}",
        "ud2",
        stack = sym STACK,
        size = const SIZE,
        main = sym main,
    )
}

extern "C" fn main(boot_page: u64) -> ! {
    kernel(Phys(boot_page))
}
