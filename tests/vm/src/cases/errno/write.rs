//! write(): the request word, and the checks that come before a request is looked at.

use super::{UNKNOWN, dead, ready};
use crate::abi::lhreq;
use crate::device::Device;
use crate::harness::{Case, granted, refused};
use crate::ram::Edge;
use nix::errno::Errno::{EFAULT, EINVAL, ENOENT};
use nix::sys::uio::{pwrite, writev};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;

/// Addresses from which nobody reads 8 bytes.
fn unreadable(edge: &Edge) -> [(&'static str, u64); 6] {
    [
        ("null", 0),
        ("a forbidden page", edge.forbidden()),
        ("a word cut by a forbidden page", edge.ending(7)),
        ("the end of user space", 0x7fff_ffff_f000),
        ("a kernel address", 0xffff_8880_0000_0000),
        ("a non-canonical address", 0x8000_0000_0000_0000),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/write/request-unreadable", || {
            let (edge, fresh, ready, dead) = (Edge::new(), Device::open(), ready()?, dead()?);
            for (what, at) in unreadable(&edge) {
                refused(&format!("fresh, {what}"), fresh.write_at(at, 8), EFAULT)?;
                refused(
                    &format!("initialised, {what}"),
                    ready.device().write_at(at, 8),
                    EFAULT,
                )?;
                refused(
                    &format!("dead, {what}"),
                    dead.device().write_at(at, 8),
                    EFAULT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/request-too-short", || {
            let (fresh, ready, dead) = (Device::open(), ready()?, dead()?);
            let words = [lhreq::BREAK, 0];
            for len in 0..8 {
                for (what, device) in [
                    ("fresh", &fresh),
                    ("initialised", ready.device()),
                    ("dead", dead.device()),
                ] {
                    refused(
                        &format!("{what}, {len} bytes"),
                        device.write_at(words.as_ptr() as u64, len),
                        EFAULT,
                    )?;
                }
            }
            Ok(())
        }),
        Case::new("errno/write/not-initialised", || {
            let device = Device::open();
            for request in [lhreq::GETDMA, lhreq::IRQ, lhreq::BREAK]
                .into_iter()
                .chain(UNKNOWN)
            {
                refused(
                    &format!("request {request:#x}"),
                    device.write(&[request, 0]),
                    EINVAL,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/not-initialised-before-arguments", || {
            let (edge, device) = (Edge::new(), Device::open());
            for request in [lhreq::GETDMA, lhreq::IRQ, lhreq::BREAK] {
                refused(
                    &format!("request {request}, no argument"),
                    device.write(&[request]),
                    EINVAL,
                )?;
                let at = edge.words(&[request], 8);
                refused(
                    &format!("request {request}, unreadable argument"),
                    device.write_at(at, 16),
                    EINVAL,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/dead", || {
            let guest = dead()?;
            for request in 0..4 {
                refused(
                    &format!("request {request}"),
                    guest.device().write(&[request, 0, 0, 0, 0, 0]),
                    ENOENT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/dead-before-unknown", || {
            let guest = dead()?;
            for request in UNKNOWN {
                refused(
                    &format!("request {request:#x}"),
                    guest.device().write(&[request, 0]),
                    ENOENT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/dead-before-arguments", || {
            let (edge, guest) = (Edge::new(), dead()?);
            for request in 0..4 {
                refused(
                    &format!("request {request}"),
                    guest.device().write_at(edge.words(&[request], 8), 48),
                    ENOENT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/unknown-request", || {
            let guest = ready()?;
            for request in UNKNOWN {
                refused(
                    &format!("request {request:#x}"),
                    guest.device().write(&[request, 0]),
                    EINVAL,
                )?;
                refused(
                    &format!("request {request:#x} alone"),
                    guest.device().write(&[request]),
                    EINVAL,
                )?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/write/irq", || {
            let (edge, guest) = (Edge::new(), ready()?);
            for irq in 0..32 {
                granted(&format!("irq {irq}"), guest.device().irq(irq), 16)?;
            }
            for irq in [
                32,
                33,
                64,
                255,
                256,
                1 << 32,
                1 << 32 | 1,
                u64::MAX,
                1 << 63,
            ] {
                refused(&format!("irq {irq:#x}"), guest.device().irq(irq), EINVAL)?;
            }
            for good in 8..16 {
                let at = edge.words(&[lhreq::IRQ, 1], good);
                refused(
                    &format!("argument unreadable after {good} bytes"),
                    guest.device().write_at(at, 16),
                    EFAULT,
                )?;
            }
            for len in 8..16 {
                let words = [lhreq::IRQ, 1];
                refused(
                    &format!("{len} bytes"),
                    guest.device().write_at(words.as_ptr() as u64, len),
                    EFAULT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/write/consumes-what-it-needs", || {
            let guest = ready()?;
            granted(
                "IRQ and more words",
                guest.device().write(&[lhreq::IRQ, 3, 77, 78, 79]),
                16,
            )?;
            granted(
                "BREAK off and more words",
                guest.device().write(&[lhreq::BREAK, 0, 77]),
                16,
            )?;
            let device = Device::open();
            let mut words = guest.init.words().to_vec();
            words.extend([1, 2, 3]);
            // The first of them is taken for flags, the second for a number of CPUs.
            granted("INITIALIZE and more words", device.write(&words), 64)
        }),
        Case::new("errno/write/beyond-the-last-cpu", || {
            let guest = ready()?;
            // SAFETY: the guest, and so its descriptor, outlives this.
            let fd = unsafe { BorrowedFd::borrow_raw(guest.device().fd()) };
            let words = [lhreq::IRQ.to_ne_bytes(), 5u64.to_ne_bytes()].concat();
            granted("pwrite at 0", pwrite(fd, &words, 0), 16)?;
            for offset in [1, 4096, 1 << 32, i64::MAX - 100] {
                let answer = pwrite(fd, &words, offset);
                refused(&format!("pwrite at {offset}"), answer, EINVAL)?;
            }
            Ok(())
        }),
        Case::new("errno/write/gathered", || {
            let guest = ready()?;
            // SAFETY: the guest, and so its descriptor, outlives this.
            let fd = unsafe { BorrowedFd::borrow_raw(guest.device().fd()) };
            let (request, irq) = (lhreq::IRQ.to_ne_bytes(), 5u64.to_ne_bytes());
            let pieces = [&request[..3], &request[3..], &irq[..1], &irq[1..]].map(IoSlice::new);
            granted("IRQ in four pieces", writev(fd, &pieces), 16)
        }),
    ]
}
