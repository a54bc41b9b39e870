//! Memory that is not there until the test brings it: whoever touches it waits.

use crate::harness::{Outcome, same};
use crate::layout::PAGE;
use crate::ram::Ram;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// From the kernel's `userfaultfd.h`.
mod uffd {
    pub const API: u64 = 0xaa;
    pub const IOCTL_API: u64 = 0xc018_aa3f;
    pub const IOCTL_REGISTER: u64 = 0xc020_aa00;
    pub const IOCTL_COPY: u64 = 0xc028_aa03;
    pub const REGISTER_MODE_MISSING: u64 = 1;
    pub const EVENT_PAGEFAULT: u8 = 0x12;
    /// Bytes of a message.
    pub const MSG: usize = 32;
}

/// Whole pages that were taken away from a piece of memory. When this is dropped, whoever waits for them goes on waiting.
pub struct Absent {
    fd: OwnedFd,
    at: u64,
    content: Vec<u8>,
}

impl Absent {
    /// Takes `pages` pages away.
    pub fn pages(ram: &Ram, offset: u64, pages: u64) -> Outcome<Self> {
        let (at, len) = (ram.base() + offset, pages * PAGE);
        let content = ram.bytes(offset, len);
        // SAFETY: one integer.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let fd = Errno::result(fd).map_err(|e| format!("userfaultfd: {e}"))?;
        // SAFETY: it was just opened.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let absent = Self { fd, at, content };
        absent.request("UFFDIO_API", uffd::IOCTL_API, &mut [uffd::API, 0, 0])?;
        let mut register = [at, len, uffd::REGISTER_MODE_MISSING, 0];
        absent.request("UFFDIO_REGISTER", uffd::IOCTL_REGISTER, &mut register)?;
        ram.discard(offset, len);
        Ok(absent)
    }

    fn request(&self, name: &str, request: u64, words: &mut [u64]) -> Outcome {
        // SAFETY: `words` is as long as the request wants, and lives across the call.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, words.as_mut_ptr()) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("{name}: {e}"))
    }

    /// Waits until somebody waits for one of the pages.
    pub fn wait_until_wanted(&self) -> Outcome {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(30_000u16)).map_err(|e| e.to_string())?;
        same("somebody touches the absent page within 30 s", ready, 1)?;
        let mut message = [0; uffd::MSG];
        let len = nix::unistd::read(&self.fd, &mut message).map_err(|e| e.to_string())?;
        same("bytes of a message of userfaultfd's", len, uffd::MSG)?;
        same("its event", message[0], uffd::EVENT_PAGEFAULT)
    }

    /// Brings all pages, with what was in them.
    pub fn bring(&self) -> Outcome {
        let (from, len) = (self.content.as_ptr() as u64, self.content.len() as u64);
        let mut copy = [self.at, from, len, 0, 0];
        self.request("UFFDIO_COPY", uffd::IOCTL_COPY, &mut copy)
    }
}
