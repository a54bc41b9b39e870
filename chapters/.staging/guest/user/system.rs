// SPDX-License-Identifier: GPL-2.0

//! What a program needs to be one: system calls, a beginning, and a way to fail.

use core::arch::asm;
use core::panic::PanicInfo;

/// Makes a system call.
fn call(number: u64, first: u64, second: u64, third: u64) -> i64 {
    let result;
    // SAFETY: the kernel keeps all registers but RAX; the instruction itself overwrites RCX and R11.
    unsafe {
        asm!(
            "syscall",
            inout("rax") number as i64 => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            out("rcx") _,
            out("r11") _,
        )
    };
    result
}

/// Prints.
#[allow(dead_code)] // Not every program has something to say.
pub fn write(text: &[u8]) -> i64 {
    call(1, 1, text.as_ptr() as u64, text.len() as u64)
}

/// Ends.
pub fn exit(status: u64) -> ! {
    call(60, status, 0, 0);
    unreachable!()
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(101)
}
