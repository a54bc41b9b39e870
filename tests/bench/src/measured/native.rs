//! The Host without any guest: what its own processes pay. The same code runs under User Mode Linux.

use crate::layout::PAGE;
use crate::mark::between;
use crate::ram::Ram;
use ruler::operations::{Operation, TIMES};
use std::fs::File;
use std::os::fd::AsRawFd;

/// The file that everything is written to, in a file system in memory.
const SINK: &str = "/tmp/sink";

/// That file.
pub fn sink() -> Result<File, String> {
    let file = File::create(SINK).map_err(|e| format!("{SINK}: {e}"))?;
    // Its page is there from now on.
    write(&file, &Ram::new(PAGE), 0, PAGE as usize);
    Ok(file)
}

/// Writes a part of some guest's memory to the beginning of the file.
pub fn write(file: &File, from: &Ram, at: u64, len: usize) {
    assert!(
        at + len as u64 <= from.len(),
        "what a guest sends lies in its memory"
    );
    // SAFETY: the kernel only reads, and no farther than the memory goes.
    let written = unsafe {
        libc::pwrite(
            file.as_raw_fd(),
            (from.base() + at) as *const libc::c_void,
            len,
            0,
        )
    };
    assert_eq!(written, len as isize, "a write to memory");
}

fn get_parent() {
    // SAFETY: getppid takes nothing and changes nothing.
    unsafe {
        between!(Operation::SystemCall, ["syscall"],
            inout("rax") libc::SYS_getppid => _, out("rcx") _, out("r11") _,)
    }
}

fn measured_write<const OPERATION: u16>(file: &File, bytes: &[u8]) {
    let written: isize;
    // SAFETY: the kernel only reads the bytes.
    unsafe {
        between!(OPERATION, ["syscall"],
            inout("rax") libc::SYS_pwrite64 as isize => written, in("rdi") file.as_raw_fd(), in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(), in("r10") 0, out("rcx") _, out("r11") _,)
    }
    assert_eq!(written, bytes.len() as isize);
}

// A page that is only read costs no frame and no clearing: the Host has one page of zeroes for all.
fn touch(address: u64) {
    // SAFETY: a byte of a page that is ours.
    unsafe { between!(Operation::DemandFault, ["mov {at}, [{at}]"], at = inout(reg) address => _,) }
}

/// Does what a process can do without a hypervisor.
pub fn measure() -> Result<(), String> {
    let file = sink()?;
    let memory = Ram::new(TIMES * PAGE);
    crate::machine::in_small_pages(&memory)?;
    for page in 0..TIMES {
        get_parent();
        touch(memory.base() + page * PAGE);
        measured_write::<{ Operation::Byte as u16 }>(&file, &[1]);
        measured_write::<{ Operation::Page as u16 }>(&file, &[1; PAGE as usize]);
    }
    Ok(())
}
