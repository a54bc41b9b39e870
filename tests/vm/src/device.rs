//! `/dev/lguest`, as thin as can be: what the kernel answers is what the caller sees.

use crate::abi::lhreq;
use crate::witness;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The device's path.
pub const PATH: &str = "/dev/lguest";

/// What a request answers.
pub type Answer = Result<usize, Errno>;

/// One open file: at most one Guest. What is asked of it is about one CPU of that, the first unless [`Device::of_cpu`] says another.
pub struct Device {
    fd: OwnedFd,
    cpu: u64,
}

/// The five arguments of INITIALIZE.
#[derive(Clone, Copy, Debug)]
pub struct Init {
    /// Where guest-physical 0 lies in this process.
    pub base: u64,
    /// The first page number that the Guest may not use.
    pub pfn_limit: u64,
    /// Guest-physical address of the top-level table.
    pub pgdir: u64,
    /// The first RIP.
    pub start: u64,
    /// Where the guest kernel's addresses begin.
    pub page_offset: u64,
}

impl Init {
    /// Request word and arguments.
    pub fn words(&self) -> [u64; 6] {
        [
            lhreq::INITIALIZE,
            self.base,
            self.pfn_limit,
            self.pgdir,
            self.start,
            self.page_offset,
        ]
    }
}

fn answer(value: isize) -> Answer {
    Errno::result(value).map(|n| n as usize)
}

impl Device {
    /// Opens the device; panics if it cannot be opened.
    pub fn open() -> Self {
        Self::try_open().unwrap_or_else(|e| panic!("open {PATH}: {e}"))
    }

    /// Opens the device.
    pub fn try_open() -> nix::Result<Self> {
        Self::try_open_at(PATH)
    }

    /// Opens the device of another module that acts like ours.
    pub fn open_at(path: &str) -> Self {
        Self::try_open_at(path).unwrap_or_else(|e| panic!("open {path}: {e}"))
    }

    fn try_open_at(path: &str) -> nix::Result<Self> {
        let opened = open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        witness::answered(|| "open", &opened);
        opened.map(Self::from_fd)
    }

    /// Takes over an open descriptor.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, cpu: 0 }
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Another descriptor of the same open file.
    pub fn duplicate(&self) -> Self {
        self.of_cpu(self.cpu)
    }

    /// The same, to speak of another CPU. For the first there is no position to be given.
    pub fn of_cpu(&self, cpu: u64) -> Self {
        let fd = self.fd.try_clone().expect("dup");
        Self { fd, cpu }
    }

    /// `write()` of words.
    pub fn write(&self, words: &[u64]) -> Answer {
        self.write_at(words.as_ptr() as u64, size_of_val(words))
    }

    /// `write()` from any address whatever.
    pub fn write_at(&self, from: u64, len: usize) -> Answer {
        let (at, from) = (from, from as *const libc::c_void);
        // SAFETY: the kernel checks the range, and only reads it.
        let answer = answer(unsafe {
            match self.cpu {
                0 => libc::write(self.fd(), from, len),
                cpu => libc::pwrite(self.fd(), from, len, cpu as libc::off_t),
            }
        });
        witness::answered(|| witness::request(at, len), &answer);
        answer
    }

    /// INITIALIZE.
    pub fn initialize(&self, init: &Init) -> Answer {
        self.write(&init.words())
    }

    /// INITIALIZE with flags.
    pub fn initialize_with(&self, init: &Init, flags: u64) -> Answer {
        self.write(&[&init.words()[..], &[flags]].concat())
    }

    /// INITIALIZE with flags and a number of CPUs.
    pub fn initialize_cpus(&self, init: &Init, flags: u64, cpus: u64) -> Answer {
        self.write(&[&init.words()[..], &[flags, cpus]].concat())
    }

    /// INITIALIZE of another CPU: the calling thread will run it.
    pub fn take_cpu(&self) -> Answer {
        self.write(&[lhreq::INITIALIZE])
    }

    /// GETDMA.
    pub fn get_dma(&self, key: u64) -> Answer {
        self.write(&[lhreq::GETDMA, key])
    }

    /// IRQ.
    pub fn irq(&self, irq: u64) -> Answer {
        self.write(&[lhreq::IRQ, irq])
    }

    /// BREAK.
    pub fn set_break(&self, on: bool) -> Answer {
        self.write(&[lhreq::BREAK, on.into()])
    }

    /// `read()` into a buffer.
    pub fn read(&self, buffer: &mut [u8]) -> Answer {
        // SAFETY: the buffer is ours to write.
        unsafe { self.read_at(buffer.as_mut_ptr() as u64, buffer.len()) }
    }

    /// `read()` to any address.
    ///
    /// # Safety
    /// Whatever of the range is writable belongs to the caller.
    pub unsafe fn read_at(&self, to: u64, len: usize) -> Answer {
        // SAFETY: as the caller promises.
        let answer = answer(unsafe {
            match self.cpu {
                0 => libc::read(self.fd(), to as *mut libc::c_void, len),
                cpu => libc::pread(self.fd(), to as *mut libc::c_void, len, cpu as libc::off_t),
            }
        });
        witness::answered(|| "read", &answer);
        answer
    }
}
