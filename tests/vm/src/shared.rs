//! A file whose pages several guests' memories contain.

use crate::harness::Outcome;
use crate::layout::PAGE;
use crate::ram::Ram;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};

/// A file of a few pages.
pub struct Shared(pub File);

impl Shared {
    /// One that has no name.
    pub fn new(pages: u64) -> Outcome<Self> {
        // SAFETY: a string and a flag.
        let fd = unsafe { libc::memfd_create(c"shared".as_ptr(), libc::MFD_CLOEXEC) };
        let fd = Errno::result(fd).map_err(|e| format!("memfd_create: {e}"))?;
        // SAFETY: it was just opened.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(pages * PAGE)
            .map_err(|e| format!("set_len: {e}"))?;
        Ok(Self(file))
    }

    /// Maps one of its pages over one of a guest's memory.
    pub fn map(&self, page: u64, ram: &Ram, at: u64) -> Outcome {
        self.map_as(libc::MAP_SHARED, page, ram, at)
    }

    /// The same with other flags.
    pub fn map_as(&self, flags: i32, page: u64, ram: &Ram, at: u64) -> Outcome {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: it replaces a page of the guest's memory, which is only used by volatile accesses.
        let got = unsafe {
            libc::mmap(
                (ram.base() + at) as *mut libc::c_void,
                PAGE as usize,
                rights,
                flags | libc::MAP_FIXED,
                self.0.as_raw_fd(),
                (page * PAGE) as i64,
            )
        };
        match got {
            libc::MAP_FAILED => Err(format!("mmap: {}", Errno::last())),
            _ => Ok(()),
        }
    }
}

/// Takes what is mapped at a page of a guest's memory away.
pub fn unmap(ram: &Ram, at: u64) -> Outcome {
    // SAFETY: nobody but the guest uses the page any more.
    let done = unsafe { libc::munmap((ram.base() + at) as *mut libc::c_void, PAGE as usize) };
    Errno::result(done)
        .map(drop)
        .map_err(|e| format!("munmap: {e}"))
}
