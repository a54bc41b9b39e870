//! read(): runs a guest, or tells why it cannot.

use super::dead;
use crate::abi::hc;
use crate::blobs::{attack, work};
use crate::device::Device;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, granted, join, refused, same, wait_until};
use crate::layout::*;
use crate::ram::Edge;
use crate::signals;
use nix::errno::Errno::{EFAULT, EINTR, EINVAL, ENOENT, EPERM};
use nix::sys::signal::Signal;
use nix::sys::uio::{pread, readv};
use nix::unistd::gettid;
use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;

const KEY: u64 = 0x1f_eed0;

/// A guest that is about to send the list at DMA to [`KEY`], and then powers off.
fn sender() -> Outcome<Guest> {
    let mut guest = Guest::new(work::SEND);
    guest.param(0, KEY);
    guest.dma(DMA, &[(BUFFER, 64)]);
    guest.boot()?;
    Ok(guest)
}

/// The reads that are refused while a DMA waits, and do not lose it.
fn too_small(device: &Device, edge: &Edge) -> Outcome {
    for len in 0..16 {
        refused(
            &format!("{len} bytes"),
            device.read(&mut vec![0; len]),
            EFAULT,
        )?;
        refused(
            &format!("{len} of 16 bytes writable"),
            // SAFETY: the page behind the edge is ours, and beyond it nothing is writable.
            unsafe { device.read_at(edge.ending(len as u64), 16) },
            EFAULT,
        )?;
    }
    for at in [0, 0xffff_8880_0000_0000, 0x8000_0000_0000_0000] {
        refused(
            &format!("to {at:#x}"),
            // SAFETY: nothing there is writable.
            unsafe { device.read_at(at, 16) },
            EFAULT,
        )?;
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/read/not-initialised", || {
            let device = Device::open();
            for len in [0, 1, 16, 4096] {
                refused(
                    &format!("{len} bytes"),
                    device.read(&mut vec![0; len]),
                    EINVAL,
                )?;
            }
            // SAFETY: nothing there is writable.
            refused(
                "to a forbidden page",
                unsafe { device.read_at(Edge::new().forbidden(), 16) },
                EINVAL,
            )
        }),
        Case::new("errno/read/death-then-reason", || {
            let mut guest = Guest::new(work::POWEROFF);
            guest.param(0, 42);
            guest.boot()?;
            refused(
                "the read() in which it dies",
                guest.device().read(&mut [0; 100]),
                ENOENT,
            )?;
            for _ in 0..3 {
                let mut text = [0xaa; 100];
                granted("the next one", guest.device().read(&mut text), 13)?;
                same("the reason", &text[..14], b"POWEROFF: 42\0\xaa".as_slice())?;
            }
            Ok(())
        }),
        Case::new("errno/read/reason-cut-to-the-size-asked", || {
            let guest = dead()?;
            let whole = b"POWEROFF: 0\0";
            for len in 0..=whole.len() {
                let mut text = vec![0xaa; len + 1];
                granted(
                    &format!("{len} bytes"),
                    guest.device().read(&mut text[..len]),
                    len,
                )?;
                same(
                    &format!("{len} bytes of the reason"),
                    &text[..len],
                    &whole[..len],
                )?;
                same("the byte behind", text[len], 0xaa)?;
            }
            Ok(())
        }),
        Case::new("errno/read/reason-unwritable", || {
            let (edge, guest) = (Edge::new(), dead()?);
            for len in 0..12 {
                refused(
                    &format!("{len} bytes writable"),
                    // SAFETY: the page behind the edge is ours, and beyond it nothing is writable.
                    unsafe { guest.device().read_at(edge.ending(len), 100) },
                    EFAULT,
                )?;
            }
            granted(
                "just enough",
                // SAFETY: the page behind the edge is ours, and beyond it nothing is writable.
                unsafe { guest.device().read_at(edge.ending(12), 100) },
                12,
            )?;
            for at in [0, 0xffff_8880_0000_0000, 0x8000_0000_0000_0000] {
                refused(
                    &format!("to {at:#x}"),
                    // SAFETY: nothing there is writable.
                    unsafe { guest.device().read_at(at, 100) },
                    EFAULT,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/read/beyond-the-last-cpu", || {
            let guest = dead()?;
            // SAFETY: the guest, and so its descriptor, outlives this.
            let fd = unsafe { BorrowedFd::borrow_raw(guest.device().fd()) };
            let mut text = [0; 100];
            for offset in [1, 4096, 1 << 32, i64::MAX - 100] {
                let answer = pread(fd, &mut text, offset);
                refused(&format!("pread at {offset}"), answer, EPERM)?;
            }
            granted("pread at 0", pread(fd, &mut text, 0), 12)?;
            same("the reason", &text[..12], b"POWEROFF: 0\0".as_slice())
        }),
        Case::new("errno/read/dma", || {
            let guest = sender()?;
            let mut words = [0xaa; 64];
            granted("read()", guest.device().read(&mut words), 16)?;
            same("address", &words[..8], &DMA.to_ne_bytes()[..])?;
            same("key", &words[8..16], &KEY.to_ne_bytes()[..])?;
            check!(
                words[16..].iter().all(|b| *b == 0xaa),
                "more than two words were written"
            );
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/read/dma-scattered", || {
            let guest = sender()?;
            // SAFETY: the guest, and so its descriptor, outlives this.
            let fd = unsafe { BorrowedFd::borrow_raw(guest.device().fd()) };
            let (mut a, mut b) = ([0; 3], [0; 13]);
            granted(
                "readv",
                readv(fd, &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]),
                16,
            )?;
            same(
                "both pieces",
                [&a[..], &b[..]].concat(),
                [DMA.to_ne_bytes(), KEY.to_ne_bytes()].concat(),
            )
        }),
        Case::new("errno/read/dma-not-lost-by-a-small-buffer", || {
            let (edge, guest) = (Edge::new(), sender()?);
            too_small(guest.device(), &edge)?;
            too_small(guest.device(), &edge)?;
            same(
                "a large enough one",
                guest.step()?,
                Event::Dma {
                    addr: DMA,
                    key: KEY,
                },
            )?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/read/dma-to-the-last-bytes-of-a-page", || {
            let (edge, guest) = (Edge::new(), sender()?);
            granted(
                "16 bytes, all writable",
                // SAFETY: the page behind the edge is ours, and beyond it nothing is writable.
                unsafe { guest.device().read_at(edge.ending(16), 16) },
                16,
            )?;
            same("the two words", edge.last_words(2), vec![DMA, KEY])
        }),
        Case::new("errno/read/dma-not-lost-by-a-break-or-a-signal", || {
            signals::handle(Signal::SIGUSR1, false);
            let guest = sender()?;
            refused("too small", guest.device().read(&mut [0; 8]), EFAULT)?;
            let device = guest.device().duplicate();
            let breaker = std::thread::spawn(move || Ok(device.set_break(true)));
            let mut event = guest.step()?;
            // Whichever the Host looks at first: the DMA comes, once.
            if event == Event::Break {
                granted("BREAK off", guest.device().set_break(false), 16)?;
                granted("BREAK on", join(breaker)?, 16)?;
                event = guest.step()?;
            }
            same(
                "the DMA",
                event,
                Event::Dma {
                    addr: DMA,
                    key: KEY,
                },
            )
        }),
        Case::new("errno/read/signal", || {
            signals::handle(Signal::SIGUSR1, false);
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            let (ram, reader) = (guest.ram.clone(), gettid());
            let sender = std::thread::spawn(move || {
                wait_until("the guest counts", || ram.word(COUNT) > 0)?;
                signals::send(reader, Signal::SIGUSR1)
            });
            refused("read()", guest.device().read(&mut [0; 16]), EINTR)?;
            join(sender)?;
            guest.ram.set_word(STOP, 1);
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/read/signal-while-the-guest-sleeps", || {
            signals::handle(Signal::SIGUSR1, false);
            let mut guest = Guest::new(attack::HALT_FOREVER);
            guest.boot()?;
            let reader = gettid();
            let ram = guest.ram.clone();
            let sender = std::thread::spawn(move || {
                wait_until("the guest sleeps", || {
                    ram.word(COUNT) > 0 && crate::host::sleeps(reader)
                })?;
                signals::send(reader, Signal::SIGUSR1)
            });
            refused("read()", guest.device().read(&mut [0; 16]), EINTR)?;
            join(sender)
        }),
        Case::new("errno/read/restarted-after-a-signal", || {
            signals::handle(Signal::SIGUSR1, true);
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            let (ram, reader) = (guest.ram.clone(), gettid());
            let sender = std::thread::spawn(move || {
                for round in 1..=20 {
                    let seen = ram.word(COUNT);
                    wait_until("the guest counts on", || ram.word(COUNT) > seen)?;
                    signals::send(reader, Signal::SIGUSR1)?;
                    wait_until("the signal is handled", || signals::seen() == round)?;
                }
                ram.set_word(STOP, 1);
                Ok(())
            });
            // One single read(), which never says EINTR.
            refused("read()", guest.device().read(&mut [0; 16]), ENOENT)?;
            join(sender)?;
            same("signals handled meanwhile", signals::seen(), 20)?;
            guest.powered_off(&guest.reason()?, 0)
        }),
        Case::new(
            "errno/read/reason-kept-when-it-dies-in-a-short-read",
            || {
                let mut guest = Guest::bare(work::SURVIVED);
                guest.call([hc::HALT, 0, 0, 0]);
                guest.boot()?;
                refused(
                    "a read() of no bytes at all",
                    guest.device().read(&mut []),
                    ENOENT,
                )?;
                same(
                    "the reason",
                    guest.reason()?.as_str(),
                    "hypercall 10 before LGUEST_INIT",
                )
            },
        ),
    ]
}
