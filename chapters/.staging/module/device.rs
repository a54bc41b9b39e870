// SPDX-License-Identifier: GPL-2.0

//! `/dev/lguest`: everything that the Launcher asks of the Host goes through this file.

use crate::{
    abi::request,
    guest::{Guest, Stop},
};
use kernel::{
    c_str,
    fs::{File, Kiocb},
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// How the device presents itself.
pub(crate) const OPTIONS: MiscDeviceOptions = MiscDeviceOptions {
    name: c_str!("lguest"),
};

/// One open file: at first nothing, after `LHREQ_INITIALIZE` a Guest.
#[pin_data]
pub(crate) struct OpenFile {
    #[pin]
    guest: Mutex<Option<Arc<Guest>>>,
}

#[vtable]
impl MiscDevice for OpenFile {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                guest <- new_mutex!(None, "lguest_file"),
            }),
            GFP_KERNEL,
        )
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        kiocb.file().write(&mut Words { iov })
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        kiocb.file().read(iov)
    }
}

impl OpenFile {
    /// The Guest, if there is one. The lock is not kept: nobody takes a Guest away again.
    fn guest(&self) -> Option<Arc<Guest>> {
        self.guest.lock().clone()
    }

    fn write(&self, words: &mut Words<'_, '_>) -> Result<usize> {
        let request = words.next()?;
        let Some(guest) = self.guest() else {
            return match request {
                request::INITIALIZE => self.initialize(words),
                _ => Err(EINVAL),
            };
        };
        if guest.is_dead() {
            return Err(ENOENT);
        }
        if request != request::BREAK && !guest.is_mine() {
            return Err(EPERM);
        }
        match request {
            request::INITIALIZE => Err(EBUSY),
            request::GETDMA => guest.get_dma(words.next()?),
            request::IRQ => guest.send_irq(words.next()?).and(Ok(2 * WORD)),
            request::BREAK => guest.break_out(words.next()? != 0).and(Ok(2 * WORD)),
            _ => Err(EINVAL),
        }
    }

    fn initialize(&self, words: &mut Words<'_, '_>) -> Result<usize> {
        let mut guest = self.guest.lock();
        if guest.is_some() {
            return Err(EBUSY);
        }
        let mut arguments = [0; 5];
        for argument in &mut arguments {
            *argument = words.next()?;
        }
        *guest = Some(Guest::new(arguments)?);
        Ok((1 + arguments.len()) * WORD)
    }

    fn read(&self, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let guest = self.guest().ok_or(EINVAL)?;
        if !guest.is_mine() {
            return Err(EPERM);
        }
        if let Some(death) = guest.death() {
            let reason = death.reason().ok_or(ENOMEM)?;
            let len = reason.len().min(iov.len());
            return copy_out(iov, &reason[..len]);
        }
        match guest.run()? {
            Stop::Dma { address, key } => {
                let mut words = [0; 2 * WORD];
                words[..WORD].copy_from_slice(&address.to_ne_bytes());
                words[WORD..].copy_from_slice(&key.to_ne_bytes());
                let copied = copy_out(iov, &words)?;
                guest.dma_was_read();
                Ok(copied)
            }
            Stop::BrokenOut => Err(EAGAIN),
            Stop::Signal => Err(ERESTARTSYS),
            Stop::Dead => Err(ENOENT),
        }
    }
}

/// Bytes in a word of the interface.
const WORD: usize = size_of::<u64>();

/// The words of one `write()`.
struct Words<'a, 'data> {
    iov: &'a mut IovIterSource<'data>,
}

impl Words<'_, '_> {
    /// The next word, `EFAULT` if it cannot be read or was not written.
    fn next(&mut self) -> Result<u64> {
        let mut word = [0; WORD];
        match self.iov.copy_from_iter(&mut word) {
            WORD => Ok(u64::from_ne_bytes(word)),
            _ => Err(EFAULT),
        }
    }
}

/// All of `bytes`, or `EFAULT`.
fn copy_out(iov: &mut IovIterDest<'_>, bytes: &[u8]) -> Result<usize> {
    match iov.copy_to_iter(bytes) {
        copied if copied == bytes.len() => Ok(copied),
        _ => Err(EFAULT),
    }
}
