// SPDX-License-Identifier: GPL-2.0

//! `/dev/lguest`: every request that the module understands, as a call.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use thiserror::Error;

use crate::abi::{POWEROFF_REASON, request};

/// The door to the module.
pub const PATH: &str = "/dev/lguest";

/// Room for the longest reason that a Guest can die of.
const REASON_SIZE: usize = 1024;

/// What can go wrong between Launcher and module.
#[derive(Debug, Error)]
pub enum Error {
    /// The module is not loaded.
    #[error(
        "cannot open {PATH}: {0}\nThe lguest module is not loaded. Load it: `insmod lguest.ko` (or `modprobe lguest`)."
    )]
    NotLoaded(io::Error),
    /// The device is there, but not for us.
    #[error("cannot open {PATH}: {0}\nRun this as root, or give yourself access to {PATH}.")]
    Forbidden(io::Error),
    /// Any other failure to open it.
    #[error("cannot open {PATH}: {0}")]
    Open(io::Error),
    /// The module refused to make a Guest.
    #[error("{PATH} would not make the Guest: {0}\nThe kernel log (`dmesg`) may say more.")]
    Initialize(io::Error),
    /// `read()` failed in a way that has no meaning.
    #[error("running the Guest failed: {0}")]
    Run(io::Error),
    /// The module would not look for a DMA buffer.
    #[error("asking for a DMA buffer with key {key:#x} failed: {error}")]
    Buffer {
        /// The key asked for.
        key: u64,
        /// The reason.
        error: io::Error,
    },
    /// The module would not deliver an interrupt.
    #[error("sending interrupt {irq} failed: {error}")]
    Interrupt {
        /// The interrupt's number, which is the Guest's choice.
        irq: u64,
        /// The reason.
        error: io::Error,
    },
    /// The Waker could not stop the Guest, or the Launcher could not let it go on.
    #[error("breaking the Guest out failed: {0}")]
    Break(io::Error),
}

/// Everything that the module must know of a Guest before it can run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Where guest-physical 0 lies in the Launcher.
    pub base: u64,
    /// The first page number that the Guest may not name.
    pub pfn_limit: u64,
    /// Guest-physical address of the first top-level page table.
    pub pgdir: u64,
    /// Virtual address of the first instruction.
    pub start: u64,
    /// Where the Guest's kernel begins in its virtual memory.
    pub page_offset: u64,
}

/// Why the Guest stopped running.
#[derive(Debug, PartialEq)]
pub enum Exit {
    /// It sent DMA to us.
    Dma {
        /// Guest-physical address of the `LguestDma`.
        address: u64,
        /// Whom it is for.
        key: u64,
    },
    /// The Waker broke it out.
    BrokenOut,
    /// It is dead.
    Dead(Death),
}

/// How a Guest ends.
#[derive(Debug, PartialEq)]
pub enum Death {
    /// In good order, with a status.
    PowerOff(u8),
    /// In any other way.
    Killed(String),
}

/// An open `/dev/lguest`: one Guest, or the chance to have one.
pub struct Lguest {
    file: File,
}

impl Lguest {
    /// Opens the device.
    pub fn open() -> Result<Self, Error> {
        let opened = File::options().read(true).write(true).open(PATH);
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotLoaded(error),
            ErrorKind::PermissionDenied => Error::Forbidden(error),
            _ => Error::Open(error),
        })?;
        Ok(Lguest { file })
    }

    /// Makes the Guest. From now on only this thread may run it.
    pub fn initialize(&self, start: &Start) -> Result<(), Error> {
        let words = [
            request::INITIALIZE,
            start.base,
            start.pfn_limit,
            start.pgdir,
            start.start,
            start.page_offset,
        ];
        self.request(&words).map(drop).map_err(Error::Initialize)
    }

    /// Finds a free buffer that the Guest has bound to `key`: its guest-physical address.
    pub fn free_buffer(&self, key: u64) -> Result<Option<u64>, Error> {
        match self.request(&[request::GETDMA, key]) {
            Ok(address) => Ok(Some(address)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Buffer { key, error }),
        }
    }

    /// Raises an interrupt in the Guest.
    pub fn interrupt(&self, irq: u64) -> Result<(), Error> {
        let raised = self.request(&[request::IRQ, irq]);
        raised.map(drop).map_err(|error| Error::Interrupt { irq, error })
    }

    /// Stops the Guest and waits until [`Lguest::let_go_on`]. Any thread may do this.
    ///
    /// A dead Guest has stopped already.
    pub fn break_out(&self) -> Result<(), Error> {
        self.request_break(1)
    }

    /// Ends the wait of whoever broke the Guest out.
    pub fn let_go_on(&self) -> Result<(), Error> {
        self.request_break(0)
    }

    fn request_break(&self, on: u64) -> Result<(), Error> {
        match self.request(&[request::BREAK, on]) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::Break(error)),
            _ => Ok(()),
        }
    }

    /// Runs the Guest until there is something for us to do.
    pub fn run(&self) -> Result<Exit, Error> {
        loop {
            match self.read() {
                Ok(exit) => return Ok(exit),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => return Ok(Exit::BrokenOut),
                    // It died just now. Only the next read says of what.
                    ErrorKind::NotFound => return self.read().map_err(Error::Run),
                    _ => return Err(Error::Run(error)),
                },
            }
        }
    }

    /// One `read()`, which lasts as long as the Guest has no need of us.
    fn read(&self) -> io::Result<Exit> {
        let mut answer = [0; REASON_SIZE];
        let len = (&self.file).read(&mut answer)?;
        Ok(Exit::decode(&answer[..len]))
    }

    /// Writes one request. What comes back is the module's answer, not always a number of bytes.
    fn request(&self, words: &[u64]) -> io::Result<u64> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        loop {
            match (&self.file).write(&bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                answer => return answer.map(|value| value as u64),
            }
        }
    }
}

impl Exit {
    /// Tells DMA, which is two words, from a reason, which is text.
    ///
    /// Text may be sixteen bytes long as well, but its eighth byte is never zero, and no guest-physical address is so
    /// high that its eighth byte is not.
    fn decode(answer: &[u8]) -> Exit {
        if let Ok(words) = <[u8; 16]>::try_from(answer)
            && words[7] == 0
        {
            let (address, key) = words.split_at(8);
            return Exit::Dma {
                address: word(address),
                key: word(key),
            };
        }
        let text = String::from_utf8_lossy(answer);
        Exit::Dead(Death::decode(text.trim_end_matches('\0')))
    }
}

impl Death {
    fn decode(reason: &str) -> Death {
        let status = reason
            .strip_prefix(POWEROFF_REASON)
            .and_then(|status| status.parse().ok());
        match status {
            Some(status) => Death::PowerOff(status),
            None => Death::Killed(reason.to_string()),
        }
    }
}

/// Eight bytes as the word that they are.
fn word(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dma_is_two_words() {
        let answer = [0x1000u64.to_ne_bytes(), 7u64.to_ne_bytes()].concat();
        assert_eq!(
            Exit::decode(&answer),
            Exit::Dma {
                address: 0x1000,
                key: 7
            }
        );
    }

    #[test]
    fn a_reason_of_sixteen_bytes_is_a_reason() {
        let answer = b"Bad hypercall 7\0";
        assert_eq!(answer.len(), 16);
        assert_eq!(
            Exit::decode(answer),
            Exit::Dead(Death::Killed("Bad hypercall 7".into()))
        );
    }

    #[test]
    fn power_off_carries_a_status() {
        assert_eq!(Exit::decode(b"POWEROFF: 42\0"), Exit::Dead(Death::PowerOff(42)));
        assert_eq!(
            Exit::decode(b"POWEROFF: 256\0"),
            Exit::Dead(Death::Killed("POWEROFF: 256".into()))
        );
        assert_eq!(
            Exit::decode(b"CRASH: oh no\0"),
            Exit::Dead(Death::Killed("CRASH: oh no".into()))
        );
    }
}
