//! LHREQ_EVENTFD, and the hypercall that goes with it.

use super::ready;
use crate::abi::{hc, lhreq};
use crate::blobs::work;
use crate::device::{Answer, Device};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, granted, refused, same};
use nix::errno::Errno::{EBADF, EEXIST, EFAULT, EINVAL, ENOENT, ENOSPC, EPERM};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Some key; any number is one.
const KEY: u64 = 0x12_3457;
/// No file at all.
const NOBODY: u64 = u64::MAX;

/// A new eventfd, which does not wait.
fn eventfd() -> OwnedFd {
    // SAFETY: the descriptor is new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) }
}

/// What was added to it since the last time.
fn added(eventfd: &OwnedFd) -> u64 {
    let mut number = [0; 8];
    match File::from(eventfd.try_clone().expect("dup")).read_exact(&mut number) {
        Ok(()) => u64::from_ne_bytes(number),
        Err(_) => 0,
    }
}

fn listen(guest: &Guest, key: u64, fd: u64) -> Answer {
    guest.device().write(&[lhreq::EVENTFD, key, fd])
}

fn listen_with(guest: &Guest, key: u64, eventfd: &OwnedFd) -> Answer {
    listen(guest, key, eventfd.as_raw_fd() as u64)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/eventfd/no-such-file", || {
            let (guest, eventfd) = (ready()?, eventfd());
            let fd = eventfd.as_raw_fd() as u64;
            for bad in [999, u64::from(u32::MAX), 1 << 31, 1 << 32 | fd, NOBODY - 1] {
                refused(
                    &format!("descriptor {bad:#x}"),
                    listen(&guest, KEY, bad),
                    EBADF,
                )?;
            }
            let file = File::open("/dev/null").map_err(|e| e.to_string())?;
            let other = file.as_raw_fd() as u64;
            refused("another kind of file", listen(&guest, KEY, other), EINVAL)?;
            refused("nobody's key", listen(&guest, KEY, NOBODY), ENOENT)?;
            granted("a good one", listen(&guest, KEY, fd), 24)
        }),
        Case::new("errno/eventfd/short", || {
            let guest = ready()?;
            let short = guest.device().write(&[lhreq::EVENTFD, KEY]);
            refused("without a descriptor", short, EFAULT)?;
            let shorter = guest.device().write(&[lhreq::EVENTFD]);
            refused("without a key", shorter, EFAULT)
        }),
        Case::new("errno/eventfd/one-for-each-key-and-32-keys", || {
            let (guest, eventfd) = (ready()?, eventfd());
            for key in 0..32 {
                granted("a key", listen_with(&guest, key, &eventfd), 24)?;
            }
            refused("key 5 again", listen_with(&guest, 5, &eventfd), EEXIST)?;
            refused("a 33rd key", listen_with(&guest, 32, &eventfd), ENOSPC)?;
            granted("no more for key 5", listen(&guest, 5, NOBODY), 24)?;
            refused("still no more", listen(&guest, 5, NOBODY), ENOENT)?;
            granted("room again", listen_with(&guest, 32, &eventfd), 24)
        }),
        Case::new("errno/eventfd/not-initialised-or-dead", || {
            let words = [lhreq::EVENTFD, KEY, 0];
            refused("not initialised", Device::open().write(&words), EINVAL)?;
            refused("dead", super::dead()?.device().write(&words), ENOENT)
        }),
        Case::new("errno/eventfd/of-another-thread", || {
            let (guest, eventfd) = (ready()?, eventfd());
            let ask = || refused("EVENTFD", listen_with(&guest, KEY, &eventfd), EPERM);
            std::thread::scope(|s| s.spawn(ask).join().expect("no panic"))
        }),
        Case::new("notify/adds-to-the-number-and-goes-on", || {
            let mut guest = Guest::new(work::SURVIVED);
            let calls =
                [KEY, KEY + 1, KEY, 1 << 63 | KEY].map(|key| guest.call([hc::NOTIFY, key, 0, 0]));
            guest.boot()?;
            let (one, other) = (eventfd(), eventfd());
            granted("EVENTFD", listen_with(&guest, KEY, &one), 24)?;
            granted("EVENTFD", listen_with(&guest, 1 << 63 | KEY, &other), 24)?;
            guest.powered_off(&guest.finish()?, 0)?;
            let returned = calls.map(|call| guest.returned(call));
            same("what NOTIFY said", returned, [1, 0, 1, 1])?;
            same("the numbers", [added(&one), added(&other)], [2, 1])
        }),
        Case::new("notify/nobody-listens-any-more", || {
            let mut guest = Guest::new(work::SURVIVED);
            let call = guest.call([hc::NOTIFY, KEY, 0, 0]);
            guest.boot()?;
            let eventfd = eventfd();
            granted("EVENTFD", listen_with(&guest, KEY, &eventfd), 24)?;
            granted("EVENTFD with nobody", listen(&guest, KEY, NOBODY), 24)?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("what NOTIFY said", guest.returned(call), 0)?;
            same("the number", added(&eventfd), 0)
        }),
        Case::new("notify/after-the-file-was-closed", || {
            closed_before_it_runs()
        }),
    ]
}

/// The number lives as long as somebody may add to it.
fn closed_before_it_runs() -> Outcome {
    let mut guest = Guest::new(work::SURVIVED);
    let call = guest.call([hc::NOTIFY, KEY, 0, 0]);
    guest.boot()?;
    let eventfd = eventfd();
    granted("EVENTFD", listen_with(&guest, KEY, &eventfd), 24)?;
    drop(eventfd);
    guest.powered_off(&guest.finish()?, 0)?;
    same("what NOTIFY said", guest.returned(call), 1)
}
