//! The file's position is the number of a CPU: who may ask what about which.

use super::{dead, ready};
use crate::blobs::{cpus, work};
use crate::crew::Crew;
use crate::device::Device;
use crate::guest::{Guest, reason};
use crate::harness::{Case, Outcome, check, granted, join, refused, wait_until};
use crate::host;
use crate::ram::Edge;
use crate::signals;
use nix::errno::Errno::{self, EAGAIN, EBUSY, EFAULT, EINTR, EINVAL, ENOENT, EPERM};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};

/// A guest with so many CPUs, of which only the first has a runner.
fn several(cpus: u64) -> Outcome<Guest> {
    let mut guest = Guest::new(work::SURVIVED);
    guest.cpus = cpus;
    guest.boot()?;
    Ok(guest)
}

/// Runs a part of a case in another thread.
fn elsewhere(part: impl FnOnce() -> Outcome + Send) -> Outcome {
    std::thread::scope(|s| s.spawn(part).join().expect("no panic"))
}

/// A thread that waits in read() of the second CPU, once.
struct Waiter {
    thread: JoinHandle<Outcome<Result<usize, Errno>>>,
    tid: Pid,
}

impl Waiter {
    /// Starts it, and sees it asleep.
    fn start(guest: &Guest) -> Outcome<Self> {
        let device = guest.device().of_cpu(1);
        let (tell, hear) = channel();
        let thread = spawn(move || {
            granted("INITIALIZE at 1", device.take_cpu(), 8)?;
            tell.send(gettid()).map_err(|e| e.to_string())?;
            Ok(device.read(&mut [0; 64]))
        });
        let Ok(tid) = hear.recv() else {
            return Err(format!("it does not start: {:?}", join(thread)));
        };
        let waiter = Self { thread, tid };
        wait_until("it sleeps in read()", || {
            host::sleeps(tid) || waiter.thread.is_finished()
        })?;
        check!(
            !waiter.thread.is_finished(),
            "read() of a CPU that nobody starts came back: {:?}",
            join(waiter.thread)
        );
        Ok(waiter)
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/cpus/how-many", || {
            let (device, init) = (Device::open(), ready()?.init);
            for cpus in [0, 65, 1 << 32, 1 << 32 | 1, 1 << 63, u64::MAX] {
                let answer = device.initialize_cpus(&init, 0, cpus);
                refused(&format!("INITIALIZE with {cpus:#x} CPUs"), answer, EINVAL)?;
            }
            for cpus in [1, 2, 64] {
                let answer = Device::open().initialize_cpus(&init, 0, cpus);
                granted(&format!("INITIALIZE with {cpus} CPUs"), answer, 64)?;
            }
            // The file that was refused so often is as good as new.
            granted("INITIALIZE", device.initialize_cpus(&init, 0, 4), 64)
        }),
        Case::new("errno/cpus/number-unreadable", || {
            let (edge, init) = (Edge::new(), ready()?.init);
            let words = [&init.words()[..], &[0, 2]].concat();
            for good in 57..64 {
                let at = edge.words(&words, good);
                let answer = Device::open().write_at(at, 64);
                refused(&format!("{good} bytes"), answer, EFAULT)?;
            }
            Ok(())
        }),
        Case::new("errno/cpus/before-the-guest", || {
            let (device, init) = (Device::open().of_cpu(1), ready()?.init);
            refused("INITIALIZE at 1", device.take_cpu(), EINVAL)?;
            refused("INITIALIZE at 1", device.initialize(&init), EINVAL)?;
            refused("IRQ at 1", device.irq(0), EINVAL)?;
            refused("read() at 1", device.read(&mut [0; 16]), EINVAL)
        }),
        Case::new("errno/cpus/each-has-one-runner", || {
            let guest = several(3)?;
            let (first, second) = (guest.device(), guest.device().of_cpu(1));
            refused("INITIALIZE at 0", first.take_cpu(), EBUSY)?;
            elsewhere(|| {
                refused("INITIALIZE at 0 of another", first.take_cpu(), EBUSY)?;
                granted("INITIALIZE at 1", second.take_cpu(), 8)?;
                refused("INITIALIZE at 1, again", second.take_cpu(), EBUSY)
            })?;
            // Its thread is gone, and nobody takes its place.
            refused("INITIALIZE at 1 of another", second.take_cpu(), EBUSY)?;
            refused("read() at 1", second.read(&mut [0; 16]), EPERM)?;
            for cpu in [3, 64, 1 << 32, i64::MAX as u64 - 4096] {
                let device = guest.device().of_cpu(cpu);
                refused(
                    &format!("INITIALIZE at {cpu:#x}"),
                    device.take_cpu(),
                    EINVAL,
                )?;
                refused(
                    &format!("read() at {cpu:#x}"),
                    device.read(&mut [0; 16]),
                    EPERM,
                )?;
                refused(&format!("IRQ at {cpu:#x}"), device.irq(1), EINVAL)?;
                // Buffers are no CPU's.
                refused(&format!("GETDMA at {cpu:#x}"), device.get_dma(0), ENOENT)?;
                let breaks = device.set_break(false);
                refused(&format!("BREAK at {cpu:#x}"), breaks, EINVAL)?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/cpus/not-for-another-process", || {
            let guest = several(2)?;
            super::owner::in_fork(|_| {
                let second = guest.device().of_cpu(1);
                refused("INITIALIZE at 1 of a child", second.take_cpu(), EPERM)
            })
        }),
        Case::new("errno/cpus/only-its-runner", || {
            let guest = several(2)?;
            let second = guest.device().of_cpu(1);
            let all = |whose: &str| {
                refused(
                    &format!("read() at 1 of {whose}"),
                    second.read(&mut [0; 16]),
                    EPERM,
                )
            };
            all("nobody's")?;
            let (ask, asked) = channel();
            let (answer, answered) = channel();
            let mine = guest.device().of_cpu(1);
            let runner = spawn(move || {
                granted("INITIALIZE at 1", mine.take_cpu(), 8)?;
                ask.send(()).map_err(|e| e.to_string())?;
                answered.recv().map_err(|e| e.to_string())?;
                granted("IRQ at 1 of its runner", mine.irq(3), 16)?;
                refused("IRQ 32 at 1 of its runner", mine.irq(32), EINVAL)?;
                refused("GETDMA at 1 of its runner", mine.get_dma(0), ENOENT)?;
                refused(
                    "the runner's read() at 0",
                    mine.of_cpu(0).read(&mut [0; 16]),
                    EPERM,
                )
            });
            asked.recv().map_err(|e| e.to_string())?;
            all("the first's runner")?;
            answer.send(()).map_err(|e| e.to_string())?;
            join(runner)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/cpus/dead-before-all", || {
            let guest = dead()?;
            for cpu in [1, 64] {
                let device = guest.device().of_cpu(cpu);
                for request in 0..4 {
                    let answer = device.write(&[request, 0]);
                    refused(&format!("request {request} at {cpu}"), answer, ENOENT)?;
                }
                refused(
                    &format!("read() at {cpu}"),
                    device.read(&mut [0; 16]),
                    EPERM,
                )?;
            }
            Ok(())
        }),
        Case::new("errno/cpus/one-thread-for-two", || {
            let mut guest = Guest::bare(cpus::BORN);
            guest.cpus = 2;
            guest.boot()?;
            let second = guest.device().of_cpu(1);
            granted("INITIALIZE at 1", second.take_cpu(), 8)?;
            let _alarm = signals::Alarm::every(20);
            let both = [guest.device(), &second];
            for turn in 0.. {
                check!(turn < 200, "by turns, its two CPUs do not come to an end");
                match both[turn % 2].read(&mut [0; 64]) {
                    Err(EINTR) => {}
                    Err(ENOENT) => break,
                    other => return Err(format!("read() at {}: {other:?}", turn % 2)),
                }
            }
            for (cpu, device) in [guest.device(), &second].into_iter().enumerate() {
                let reason = reason(|buffer| device.read(buffer))?;
                check!(reason == "POWEROFF: 0", "CPU {cpu}: {reason:?}");
            }
            Ok(())
        }),
        Case::new("errno/cpus/one-that-waits-takes-a-signal", || {
            signals::handle(Signal::SIGUSR1, false);
            let guest = several(2)?;
            let waiter = Waiter::start(&guest)?;
            signals::send(waiter.tid, Signal::SIGUSR1)?;
            refused("read() at 1", join(waiter.thread)?, EINTR)
        }),
        Case::new("errno/cpus/one-that-waits-is-broken-out", || {
            let guest = several(2)?;
            let waiter = Waiter::start(&guest)?;
            let second = guest.device().of_cpu(1);
            let breaker = spawn(move || Ok(second.set_break(true)));
            refused("read() at 1", join(waiter.thread)?, EAGAIN)?;
            check!(!breaker.is_finished(), "BREAK on at 1 came back before off");
            // Letting another one in is no release.
            granted("BREAK off at 0", guest.device().set_break(false), 16)?;
            check!(!breaker.is_finished(), "BREAK off at 0 let CPU 1 in");
            granted(
                "BREAK off at 1",
                guest.device().of_cpu(1).set_break(false),
                16,
            )?;
            granted("BREAK on at 1", join(breaker)?, 16)
        }),
        Case::new("errno/cpus/one-that-waits-hears-of-the-end", || {
            let guest = several(2)?;
            let waiter = Waiter::start(&guest)?;
            guest.powered_off(&guest.finish()?, 0)?;
            refused("read() at 1", join(waiter.thread)?, ENOENT)
        }),
        Case::new("errno/cpus/a-break-is-for-one", || {
            let guest = cpus::guest(cpus::COUNT_ALL, 3);
            let crew = Crew::start(guest)?;
            let count = |cpu| crew.ram.word(cpus::own(cpu, cpus::COUNTED));
            crew.wait_until("all count", || (0..3).all(|cpu| count(cpu) > 0))?;
            let second = crew.device.of_cpu(1);
            let (tell, told) = channel();
            let breaker = spawn(move || {
                let _ = tell.send(gettid());
                Ok(second.set_break(true))
            });
            let breaking = told.recv().map_err(|e| e.to_string())?;
            crew.wait_until("BREAK on waits", || host::sleeps(breaking))?;
            let further = |cpu, before: [u64; 3]| count(cpu) > before[cpu as usize] + 20_000;
            let counts = || [0, 1, 2].map(count);
            // When it has stood still for a while in which both others went on, it does so for good.
            let mut before = counts();
            for _ in 0..200 {
                crew.wait_until("the others go on", || {
                    further(0, before) && further(2, before)
                })?;
                let now = counts();
                if now[1] == before[1] {
                    break;
                }
                before = now;
            }
            let before = counts();
            crew.wait_until("the others go on", || {
                further(0, before) && further(2, before)
            })?;
            check!(
                count(1) == before[1],
                "CPU 1 went on although it was broken out"
            );
            check!(!breaker.is_finished(), "BREAK on at 1 came back before off");
            let stood = count(1);
            granted("BREAK off at 1", crew.device.of_cpu(1).set_break(false), 16)?;
            granted("BREAK on at 1", join(breaker)?, 16)?;
            crew.wait_until("CPU 1 goes on", || count(1) > stood)?;
            crew.end("POWEROFF: 0")
        }),
        Case::new("errno/cpus/an-interrupt-is-for-one", || {
            let guest = cpus::guest(cpus::SLEEP_ALL, 3);
            let crew = Crew::start(guest)?;
            let word = |cpu, word| crew.ram.word(cpus::own(cpu, word));
            crew.wait_until("all sleep", || {
                (0..3).all(|cpu| word(cpu, cpus::COUNTED) > 0 && host::sleeps(crew.tid(cpu)))
            })?;
            granted("IRQ 5 at 1", crew.device.of_cpu(1).irq(5), 16)?;
            crew.wait_until("CPU 1 hears", || word(1, cpus::HEARD) == 1)?;
            let heard = [0, 1, 2].map(|cpu| word(cpu, cpus::HEARD));
            check!(
                heard == [0, 1, 0],
                "interrupt 5 was heard so often: {heard:?}"
            );
            Ok(())
        }),
    ]
}
