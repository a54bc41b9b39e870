// SPDX-License-Identifier: GPL-2.0

//! System calls, with Linux's numbers and registers.

use crate::console;
use crate::program::{self, Outcome};
use crate::traps::Frame;

/// `write(file, address, length)`: only files 1 and 2, which are the console.
const WRITE: u64 = 1;
/// `exit(status)`.
const EXIT: u64 = 60;

/// No such file is open.
const EBADF: u64 = 9;
/// That is not your memory.
const EFAULT: u64 = 14;
/// No such system call.
const ENOSYS: u64 = 38;

/// Serves the call that a program has made: number in RAX, arguments in RDI, RSI, RDX, result in RAX.
pub fn call(frame: &mut Frame) {
    let result = match frame.rax {
        WRITE => write(frame.rdi, frame.rsi, frame.rdx),
        EXIT => program::end(Outcome::Exit(frame.rdi)),
        _ => Err(ENOSYS),
    };
    frame.rax = result.unwrap_or_else(u64::wrapping_neg);
}

fn write(file: u64, address: u64, len: u64) -> Result<u64, u64> {
    if !matches!(file, 1 | 2) {
        return Err(EBADF);
    }
    if !program::read_memory(address, len, console::put) {
        return Err(EFAULT);
    }
    Ok(len)
}
