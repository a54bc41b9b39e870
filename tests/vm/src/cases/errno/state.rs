//! LHREQ_SAVE and LHREQ_RESTORE: what they refuse before a state is looked at. What of a state is refused, the cases of `snapshot/` try.

use super::{dead, ready};
use crate::abi::hc;
use crate::abi::lhreq::{RESTORE, SAVE};
use crate::absent::Absent;
use crate::blobs::{attack, work};
use crate::device::Device;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, refused, same};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Edge;
use crate::signals;
use nix::errno::Errno::{E2BIG, EAGAIN, EBUSY, EFAULT, EINTR, EINVAL, ENOENT, EPERM};
use nix::sys::mman::ProtFlags;
use nix::sys::signal::Signal;
use nix::unistd::gettid;

/// The state of a guest's first CPU, as bytes.
fn saved(guest: &Guest) -> Outcome<Vec<u8>> {
    let len = guest
        .device()
        .write(&[SAVE])
        .map_err(|e| format!("SAVE: {e}"))?;
    let mut bytes = vec![0; len];
    same("read()", guest.device().read(&mut bytes), Ok(len))?;
    Ok(bytes)
}

/// A request and what follows it.
fn request(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&number.to_ne_bytes()[..], bytes].concat()
}

fn restore(device: &Device, state: &[u8]) -> crate::device::Answer {
    let all = request(RESTORE, state);
    device.write_at(all.as_ptr() as u64, all.len())
}

/// A guest that has come out because of a page that does not come. A signal has let its Launcher go.
fn waits_for_a_page() -> Outcome<(Guest, Absent)> {
    signals::handle(Signal::SIGUSR1, false);
    let mut guest = Guest::new(attack::READ);
    guest.param(0, va(FREE));
    guest.boot()?;
    let absent = Absent::pages(&guest.ram, FREE, 1)?;
    let outcome = interrupted(&absent, || guest.step())?;
    same("read()", outcome, Event::Signal)?;
    Ok((guest, absent))
}

/// What a call answers that waits for the page until a signal comes.
fn interrupted<T>(absent: &Absent, call: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let waits = gettid();
    std::thread::scope(|s| {
        let other = s.spawn(move || {
            absent.wait_until_wanted()?;
            signals::send(waits, Signal::SIGUSR1)
        });
        let outcome = call();
        other.join().expect("no panic")?;
        outcome
    })
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/save/before-the-guest", || {
            let device = Device::open();
            refused("SAVE", device.write(&[SAVE]), EINVAL)?;
            refused("RESTORE", device.write(&[RESTORE, 0]), EINVAL)
        }),
        Case::new("errno/save/dead", || {
            let guest = dead()?;
            refused("SAVE", guest.device().write(&[SAVE]), ENOENT)?;
            refused("RESTORE", guest.device().write(&[RESTORE, 0]), ENOENT)
        }),
        Case::new("errno/save/another-cpu", || {
            let guest = ready()?;
            for cpu in [1, 64, 1 << 32] {
                let other = guest.device().of_cpu(cpu);
                refused(&format!("SAVE at {cpu}"), other.write(&[SAVE]), EPERM)?;
                let answer = other.write(&[RESTORE, 0]);
                refused(&format!("RESTORE at {cpu}"), answer, EPERM)?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/save/a-list-comes-first", || {
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.boot()?;
            let short = guest.device().read(&mut [0; 8]);
            refused("read() of 8 bytes", short, EFAULT)?;
            refused("SAVE", guest.device().write(&[SAVE]), EAGAIN)?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            saved(&guest)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/save/a-page-does-not-come", || {
            let (guest, absent) = waits_for_a_page()?;
            let answer = interrupted(&absent, || Ok(guest.device().write(&[SAVE])))?;
            refused("SAVE", answer, EAGAIN)?;
            absent.bring()?;
            saved(&guest)?;
            guest.powered_off(&guest.finish()?, 0)
        })
        .needing([Need::USERFAULTFD]),
        Case::new("errno/save/it-dies-of-it", || {
            let (guest, absent) = waits_for_a_page()?;
            drop(absent);
            guest.ram.protect(FREE, PAGE, ProtFlags::PROT_NONE);
            refused("SAVE", guest.device().write(&[SAVE]), ENOENT)?;
            let reason = guest.reason()?;
            check!(reason == "failed to get page 0x100000", "{reason:?}");
            Ok(())
        })
        .needing([Need::USERFAULTFD]),
        Case::new("errno/restore/unreadable", || {
            let (edge, guest, state) = (Edge::new(), ready()?, saved(&ready()?)?);
            let words = [RESTORE, 0, 0, 0];
            for good in 8..32 {
                let at = edge.words(&words, good);
                let answer = guest.device().write_at(at, 32);
                refused(&format!("{good} bytes readable"), answer, EFAULT)?;
            }
            let answer = restore(guest.device(), &state);
            same("the whole", answer, Ok(8 + state.len()))?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/restore/too-long-or-nothing", || {
            let guest = ready()?;
            refused("nothing", restore(guest.device(), &[]), EINVAL)?;
            let much = vec![0; (64 << 10) + 1];
            refused("too much", restore(guest.device(), &much), E2BIG)?;
            // Nobody tells it to begin any more, but by a state that is good.
            same("it waits", guest.finish_within(20)?, None)?;
            let state = saved(&ready()?)?;
            let answer = restore(guest.device(), &state);
            same("a good one", answer, Ok(8 + state.len()))
        }),
        Case::new("errno/restore/begun", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            same("it goes on", guest.finish_within(20)?, None)?;
            let state = saved(&guest)?;
            refused("RESTORE", restore(guest.device(), &state), EBUSY)
        }),
        Case::slow("errno/restore/signal", || {
            // A guest that has bound all that it may: to put it back takes a while.
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 16)]);
            for key in 0..32 {
                guest.call([hc::BIND_DMA, key * PAGE, DMA, 1 << 8 | 3]);
            }
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            let state = saved(&guest)?;
            signals::interrupts("RESTORE", EINTR, |shot| {
                let mut twin = Guest::new(work::SEND);
                twin.boot()?;
                shot.fire();
                let answer = restore(twin.device(), &state);
                shot.over();
                if answer == Err(EINTR) {
                    // Nothing is left of the one that was interrupted, and it can be made again.
                    let again = restore(twin.device(), &state);
                    same("RESTORE, once more", again, Ok(8 + state.len()))?;
                }
                Ok(answer)
            })
        }),
    ]
}
