//! LHREQ_BREAK: somebody else asks the owner to come out of read().

use super::ready;
use crate::abi::{hc, lhreq};
use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, granted, join, refused, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Edge;
use crate::signals;
use nix::errno::Errno::{EFAULT, EINTR};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread::JoinHandle;

/// Somebody else, who writes BREAK on.
struct Breaker {
    thread: JoinHandle<Outcome<nix::Result<usize>>>,
    tid: Arc<AtomicI32>,
    done: Arc<AtomicBool>,
}

impl Breaker {
    fn start(guest: &Guest) -> Self {
        let device = guest.device().duplicate();
        let (tid, done) = (
            Arc::new(AtomicI32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (its_tid, its_done) = (tid.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            its_tid.store(gettid().as_raw(), SeqCst);
            let answer = device.set_break(true);
            its_done.store(true, SeqCst);
            Ok(answer)
        });
        Self { thread, tid, done }
    }

    fn tid(&self) -> Pid {
        Pid::from_raw(self.tid.load(SeqCst))
    }

    /// Waits until it sleeps in the kernel.
    fn wait_asleep(&self) -> Outcome {
        wait_until("the thread that wants a break sleeps", || {
            self.tid().as_raw() != 0 && (host::sleeps(self.tid()) || self.done())
        })?;
        check!(
            !self.done(),
            "BREAK on came back before anybody wrote BREAK off"
        );
        Ok(())
    }

    fn done(&self) -> bool {
        self.done.load(SeqCst)
    }
}

fn breaks_out(body: crate::blobs::Blob, prepare: fn(&mut Guest)) -> Outcome {
    let mut guest = Guest::new(body);
    prepare(&mut guest);
    guest.boot()?;
    let ram = guest.ram.clone();
    let device = guest.device().duplicate();
    // Comes when the guest is seen to run.
    let breaker = std::thread::spawn(move || {
        wait_until("the guest counts", || ram.word(COUNT) > 0)?;
        Ok(device.set_break(true))
    });
    same("read()", guest.step()?, Event::Break)?;
    granted("BREAK off", guest.device().set_break(false), 16)?;
    granted("BREAK on, once it was off again", join(breaker)?, 16)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/break/argument-unreadable", || {
            let (edge, guest) = (Edge::new(), ready()?);
            for good in 8..16 {
                let at = edge.words(&[lhreq::BREAK, 1], good);
                refused(
                    &format!("{good} bytes readable"),
                    guest.device().write_at(at, 16),
                    EFAULT,
                )?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/off-when-off", || {
            let guest = ready()?;
            granted("BREAK off", guest.device().set_break(false), 16)?;
            granted("again", guest.device().set_break(false), 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/blocks-until-off", || {
            let guest = ready()?;
            let breaker = Breaker::start(&guest);
            breaker.wait_asleep()?;
            for _ in 0..3 {
                same("read() meanwhile", guest.step()?, Event::Break)?;
            }
            check!(!breaker.done(), "BREAK on came back before BREAK off");
            granted("BREAK off", guest.device().set_break(false), 16)?;
            granted("BREAK on", join(breaker.thread)?, 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/any-nonzero-word-is-on", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            for on in [2, 1 << 32, 1 << 63, u64::MAX] {
                let device = guest.device().duplicate();
                let breaker = std::thread::spawn(move || Ok(device.write(&[lhreq::BREAK, on])));
                same(
                    &format!("read(), after {on:#x}"),
                    guest.step()?,
                    Event::Break,
                )?;
                granted("BREAK off", guest.device().set_break(false), 16)?;
                granted(&format!("BREAK {on:#x}"), join(breaker)?, 16)?;
            }
            Ok(())
        }),
        Case::new("errno/break/of-a-busy-guest", || {
            breaks_out(work::COUNT_UP, |_| ())
        }),
        Case::new("errno/break/of-a-sleeping-guest", || {
            breaks_out(crate::blobs::attack::HALT_FOREVER, |guest| {
                guest.interrupts();
            })
        }),
        Case::new("errno/break/then-the-guest-goes-on", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            for _ in 0..50 {
                let seen = guest.ram.word(COUNT);
                let (ram, device) = (guest.ram.clone(), guest.device().duplicate());
                let breaker = std::thread::spawn(move || {
                    wait_until("the guest goes on counting", || ram.word(COUNT) > seen)?;
                    Ok(device.set_break(true))
                });
                same("read()", guest.step()?, Event::Break)?;
                granted("BREAK off", guest.device().set_break(false), 16)?;
                granted("BREAK on", join(breaker)?, 16)?;
            }
            guest.ram.set_word(STOP, 1);
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/interrupted-by-a-signal", || {
            signals::handle(Signal::SIGUSR1, false);
            let guest = ready()?;
            let breaker = Breaker::start(&guest);
            breaker.wait_asleep()?;
            signals::send(breaker.tid(), Signal::SIGUSR1)?;
            refused("BREAK on", join(breaker.thread)?, EINTR)?;
            granted("BREAK off", guest.device().set_break(false), 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/restarted-after-a-signal", || {
            signals::handle(Signal::SIGUSR1, true);
            let guest = ready()?;
            let breaker = Breaker::start(&guest);
            breaker.wait_asleep()?;
            for round in 1..=3 {
                signals::send(breaker.tid(), Signal::SIGUSR1)?;
                wait_until("the signal is handled", || signals::seen() == round)?;
                breaker.wait_asleep()?;
            }
            granted("BREAK off", guest.device().set_break(false), 16)?;
            granted("BREAK on", join(breaker.thread)?, 16)
        }),
        Case::new("errno/break/two-at-once", || {
            let guest = ready()?;
            let breakers = [Breaker::start(&guest), Breaker::start(&guest)];
            for breaker in &breakers {
                breaker.wait_asleep()?;
            }
            same("read()", guest.step()?, Event::Break)?;
            granted("BREAK off", guest.device().set_break(false), 16)?;
            for breaker in breakers {
                granted("BREAK on", join(breaker.thread)?, 16)?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/break/released-by-a-death", || {
            // GETDMA comes upon a list that nobody can use, and the Guest dies of it while somebody waits.
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.dma(DMA + 168, &[(MEMORY, 16)]);
            guest.call([hc::BIND_DMA, 20, DMA + 168, 1 << 8 | 3]);
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            let breaker = Breaker::start(&guest);
            breaker.wait_asleep()?;
            let answer = guest.device().get_dma(20);
            check!(
                answer.is_err(),
                "GETDMA: expected an error, got {answer:x?}"
            );
            granted("BREAK on", join(breaker.thread)?, 16)
        }),
        Case::new("errno/break/close-while-somebody-waits", || {
            // The waiter holds a descriptor of the same file, so the Guest stays; killing the process must still work.
            let guest = ready()?;
            let breaker = Breaker::start(&guest);
            breaker.wait_asleep()?;
            drop(guest);
            check!(
                !breaker.done(),
                "BREAK on came back when another descriptor was closed"
            );
            Ok(())
        }),
    ]
}
