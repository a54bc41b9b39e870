//! Memory that is not there, or not for writing, until the test allows it: whoever touches it waits.

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
    pub const IOCTL_WRITEPROTECT: u64 = 0xc018_aa06;
    pub const REGISTER_MODE_MISSING: u64 = 1;
    pub const IOCTL_CONTINUE: u64 = 0xc020_aa07;
    pub const REGISTER_MODE_WP: u64 = 2;
    pub const REGISTER_MODE_MINOR: u64 = 4;
    pub const WRITEPROTECT_MODE_WP: u64 = 1;
    /// Write protection of anonymous pages, and of those of shared memory and of large ones.
    pub const FEATURES_WP: u64 = 1 | 1 << 12;
    /// Faults at pages that a file has already, of shared memory and of large pages.
    pub const FEATURES_MINOR: u64 = 1 << 10 | 1 << 9;
    pub const EVENT_PAGEFAULT: u8 = 0x12;
    /// Byte of a message in which bit 1 says that somebody wanted to write to a protected page, and bit 2 that the file has it.
    pub const FLAGS: usize = 8;
    /// Bytes of a message.
    pub const MSG: usize = 32;
}

/// A stretch of this process's memory whose faults come to us. When this is dropped, whoever waits there goes on.
struct Watched {
    fd: OwnedFd,
    at: u64,
    len: u64,
}

impl Watched {
    fn new(at: u64, len: u64, features: u64, mode: u64) -> Outcome<Self> {
        // One that blocks cannot be polled: whoever polls it is told of an error, at once.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: one integer.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let fd = Errno::result(fd).map_err(|e| format!("userfaultfd: {e}"))?;
        // SAFETY: it was just opened.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let watched = Self { fd, at, len };
        watched.request("UFFDIO_API", uffd::IOCTL_API, &mut [uffd::API, features, 0])?;
        let mut register = [at, len, mode, 0];
        watched.request("UFFDIO_REGISTER", uffd::IOCTL_REGISTER, &mut register)?;
        Ok(watched)
    }

    fn request(&self, name: &str, request: u64, words: &mut [u64]) -> Outcome {
        // SAFETY: `words` is as long as the request wants, and lives across the call.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, words.as_mut_ptr()) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("{name}: {e}"))
    }

    /// Waits until somebody waits for one of the pages; the flags of that fault.
    fn wait_until_wanted(&self) -> Outcome<u8> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(30_000u16)).map_err(|e| e.to_string())?;
        same("somebody touches the page within 30 s", ready, 1)?;
        let mut message = [0; uffd::MSG];
        let len = nix::unistd::read(&self.fd, &mut message).map_err(|e| e.to_string())?;
        same("bytes of a message of userfaultfd's", len, uffd::MSG)?;
        same("its event", message[0], uffd::EVENT_PAGEFAULT)?;
        Ok(message[uffd::FLAGS])
    }
}

/// Whole pages that were taken away from a piece of memory.
pub struct Absent {
    watched: Watched,
    content: Vec<u8>,
}

impl Absent {
    /// Takes `pages` pages away.
    pub fn pages(ram: &Ram, offset: u64, pages: u64) -> Outcome<Self> {
        let len = pages * PAGE;
        let content = ram.bytes(offset, len);
        Self::instead(ram.base() + offset, content, || {
            ram.discard(offset, len);
            Ok(())
        })
    }

    /// Lets `take` take away what is at an address; in its place this content will come.
    pub fn instead(at: u64, content: Vec<u8>, take: impl FnOnce() -> Outcome) -> Outcome<Self> {
        let watched = Watched::new(at, content.len() as u64, 0, uffd::REGISTER_MODE_MISSING)?;
        take()?;
        Ok(Self { watched, content })
    }

    /// Waits until somebody waits for one of the pages.
    pub fn wait_until_wanted(&self) -> Outcome {
        self.watched.wait_until_wanted().map(drop)
    }

    /// Brings all pages, with what was in them.
    pub fn bring(&self) -> Outcome {
        let (from, len) = (self.content.as_ptr() as u64, self.content.len() as u64);
        let mut copy = [self.watched.at, from, len, 0, 0];
        self.watched
            .request("UFFDIO_COPY", uffd::IOCTL_COPY, &mut copy)
    }
}

/// Pages that may be read, and written to only when the test allows it.
pub struct Protected(Watched);

impl Protected {
    /// Protects what is there.
    pub fn pages(at: u64, pages: u64) -> Outcome<Self> {
        let len = pages * PAGE;
        let watched = Watched::new(at, len, uffd::FEATURES_WP, uffd::REGISTER_MODE_WP)?;
        let protected = Self(watched);
        protected.set(uffd::WRITEPROTECT_MODE_WP)?;
        Ok(protected)
    }

    fn set(&self, mode: u64) -> Outcome {
        let mut words = [self.0.at, self.0.len, mode];
        self.0
            .request("UFFDIO_WRITEPROTECT", uffd::IOCTL_WRITEPROTECT, &mut words)
    }

    /// Waits until somebody wants to write.
    pub fn wait_until_wanted(&self) -> Outcome {
        same(
            "bit 1 of the fault's flags",
            self.0.wait_until_wanted()? & 2,
            2,
        )
    }

    /// Allows it.
    pub fn allow(&self) -> Outcome {
        self.set(0)
    }
}

/// Pages that their file has, and that are in no table until the test allows it.
pub struct Untabled(Watched);

impl Untabled {
    /// Lets `take` take these pages out of the tables.
    pub fn pages(at: u64, len: u64, take: impl FnOnce() -> Outcome) -> Outcome<Self> {
        let mode = uffd::REGISTER_MODE_MINOR;
        let watched = Watched::new(at, len, uffd::FEATURES_MINOR, mode)?;
        take()?;
        Ok(Self(watched))
    }

    /// Waits until somebody waits for one of them.
    pub fn wait_until_wanted(&self) -> Outcome {
        same(
            "bit 2 of the fault's flags",
            self.0.wait_until_wanted()? & 4,
            4,
        )
    }

    /// Lets them all into the tables.
    pub fn allow(&self) -> Outcome {
        let mut words = [self.0.at, self.0.len, 0, 0];
        self.0
            .request("UFFDIO_CONTINUE", uffd::IOCTL_CONTINUE, &mut words)
    }
}
