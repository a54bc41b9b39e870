//! LHREQ_GETDMA.

use super::ready;
use crate::abi::{hc, lhreq};
use crate::absent::Absent;
use crate::blobs::work;
use crate::device::Device;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, granted, refused, same};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Edge;
use crate::signals;
use nix::errno::Errno::{EFAULT, EINTR, EINVAL, ENOENT, EPERM};
use nix::sys::signal::Signal;
use nix::unistd::gettid;

/// The key to which [`bound`] binds.
const KEY: u64 = 0x12_3454;
/// The interrupt that goes with it.
const IRQ: u64 = 7;

/// A guest that has bound `number` buffers and waits for its list to come back.
fn bound(number: u64) -> Outcome<Guest> {
    let mut guest = Guest::new(work::SEND);
    for i in 0..number {
        guest.dma(DMA + i * 168, &[(BUFFER + i * 64, 64)]);
    }
    let bind = guest.call([hc::BIND_DMA, KEY, DMA, number << 8 | IRQ]);
    guest.boot()?;
    match guest.step()? {
        Event::Dma { .. } => {}
        event => return Err(format!("a guest that sends: {event:x?}")),
    }
    same("BIND_DMA", guest.returned(bind), 1)?;
    Ok(guest)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/getdma/argument-unreadable", || {
            let (edge, guest) = (Edge::new(), bound(1)?);
            for good in 8..16 {
                let at = edge.words(&[lhreq::GETDMA, KEY], good);
                refused(
                    &format!("{good} bytes readable"),
                    guest.device().write_at(at, 16),
                    EFAULT,
                )?;
                let words = [lhreq::GETDMA, KEY];
                refused(
                    &format!("{good} bytes long"),
                    guest
                        .device()
                        .write_at(words.as_ptr() as u64, good as usize),
                    EFAULT,
                )?;
            }
            same("used_len, after those", guest.ram.word32(DMA), 0)
        }),
        Case::new("errno/getdma/nothing-bound", || {
            let guest = ready()?;
            for key in [0, 1, KEY, MEMORY, u64::MAX] {
                refused(
                    &format!("key {key:#x}"),
                    guest.device().get_dma(key),
                    ENOENT,
                )?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/getdma/another-key", || {
            let guest = bound(1)?;
            for key in [0, KEY + 1, KEY + 4, KEY | 1 << 63, KEY | 1 << 32, u64::MAX] {
                refused(
                    &format!("key {key:#x}"),
                    guest.device().get_dma(key),
                    ENOENT,
                )?;
            }
            granted("the right key", guest.device().get_dma(KEY), DMA as usize)
        }),
        Case::new("errno/getdma/each-buffer-once", || {
            let guest = bound(3)?;
            for i in 0..3 {
                granted(
                    &format!("buffer {i}"),
                    guest.device().get_dma(KEY),
                    (DMA + i * 168) as usize,
                )?;
                same(
                    "used_len holds the interrupt's number",
                    guest.ram.word32(DMA + i * 168),
                    IRQ as u32,
                )?;
            }
            refused("one too many", guest.device().get_dma(KEY), ENOENT)?;
            refused("again", guest.device().get_dma(KEY), ENOENT)?;
            guest.ram.set_word32(DMA + 168, 0);
            granted(
                "one that became free",
                guest.device().get_dma(KEY),
                (DMA + 168) as usize,
            )?;
            refused("and no other", guest.device().get_dma(KEY), ENOENT)
        }),
        Case::new("errno/getdma/all-full", || {
            let guest = bound(4)?;
            for i in 0..4 {
                guest.ram.set_word32(DMA + i * 168, 64);
            }
            refused("all full", guest.device().get_dma(KEY), ENOENT)?;
            for i in 0..4 {
                same("used_len, untouched", guest.ram.word32(DMA + i * 168), 64)?;
            }
            Ok(())
        }),
        Case::new("errno/getdma/not-initialised-dead-or-not-ours", || {
            refused("not initialised", Device::open().get_dma(KEY), EINVAL)?;
            refused("dead", super::dead()?.device().get_dma(KEY), ENOENT)?;
            let guest = ready()?;
            let stranger = |_| refused("a child's", guest.device().get_dma(KEY), EPERM);
            super::owner::in_fork(stranger)
        }),
        Case::new("errno/getdma/signal", || {
            // The list is on a page that does not come.
            signals::handle(Signal::SIGUSR1, false);
            let (guest, waits) = (bound(1)?, gettid());
            let absent = Absent::pages(&guest.ram, DMA, 1)?;
            let answer = std::thread::scope(|s| {
                let other = s.spawn(|| {
                    absent.wait_until_wanted()?;
                    signals::send(waits, Signal::SIGUSR1)
                });
                let answer = guest.device().get_dma(KEY);
                other.join().expect("no panic").map(|()| answer)
            })?;
            refused("GETDMA", answer, EINTR)?;
            absent.bring()?;
            granted(
                "GETDMA, once more",
                guest.device().get_dma(KEY),
                DMA as usize,
            )
        })
        .needing([Need::USERFAULTFD]),
        Case::new("errno/getdma/unbound", || {
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 64)]);
            let bind = guest.call([hc::BIND_DMA, KEY, DMA, 1 << 8 | IRQ]);
            let unbind = guest.call([hc::BIND_DMA, KEY, DMA, 1 << 8]);
            let again = guest.call([hc::BIND_DMA, KEY, DMA, 1 << 8]);
            guest.boot()?;
            guest.step()?;
            same("BIND_DMA", guest.returned(bind), 1)?;
            same("unbinding it", guest.returned(unbind), 1)?;
            same("unbinding what is not bound", guest.returned(again), 0)?;
            refused("unbound", guest.device().get_dma(KEY), ENOENT)
        }),
        Case::new("errno/getdma/after-close-of-another-guest", || {
            // Bindings belong to one guest: the same key in another says nothing here.
            let (one, two) = (bound(1)?, ready()?);
            refused("the other guest's key", two.device().get_dma(KEY), ENOENT)?;
            drop(two);
            granted("its own", one.device().get_dma(KEY), DMA as usize)
        }),
    ]
}
