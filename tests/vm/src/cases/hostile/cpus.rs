//! What a guest may say about its CPUs, and what several of them may do at once.

use super::random::Dice;
use super::{dies, hostile, is};
use crate::abi::{SWITCHER_4LEVEL, data, hc};
use crate::blobs::cpus::{self, COUNTED, SHARED, own};
use crate::blobs::work;
use crate::crew::Crew;
use crate::guest::{Guest, reason};
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::signals;
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A guest with three CPUs of which two are never started; it makes this call.
fn calls(call: [u64; 4]) -> Guest {
    let mut guest = Guest::new(work::SURVIVED);
    guest.cpus = 3;
    guest.call(call);
    guest
}

/// Hypercalls by all CPUs at once, made at random, while the Launcher takes pages away.
fn at_random(seed: u64) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..10 {
        let mut guest = cpus::guest(cpus::AT_RANDOM, 4);
        for at in (0..256).map(|call| SHARED + PAGE + 32 * call) {
            // Those that end it at once are left out, or most would be short: LGUEST_INIT, CRASH, POWEROFF, and what is unknown.
            const NUMBERS: [u64; 18] = [
                0, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 24, 25, 26,
            ];
            guest.ram.set_word(at, NUMBERS[dice.below(18) as usize]);
            for word in 1..4 {
                guest.ram.set_word(at + 8 * word, dice.nasty());
            }
            if dice.below(2) == 0 {
                // A CPU that there is, or an address space.
                guest.ram.set_word(at + 8, dice.below(4));
            }
        }
        guest.boot()?;
        let (over, ram) = (AtomicBool::new(false), guest.ram.clone());
        std::thread::scope(|s| {
            let run = |device: &crate::device::Device| {
                let _alarm = signals::Alarm::every(60);
                for _ in 0..4 {
                    match device.read(&mut [0; 16]) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(Errno::ENOENT) => {
                            let reason = reason(|buffer| device.read(buffer))?;
                            check!(reason.len() < 1024 && !reason.is_empty(), "{reason:?}");
                        }
                        Err(e) => return Err(format!("read(): {e:?}")),
                    }
                }
                Ok(())
            };
            let threads: Vec<_> = (1..4)
                .map(|cpu| {
                    let device = guest.device().of_cpu(cpu);
                    s.spawn(move || match device.take_cpu() {
                        Ok(8) => run(&device),
                        Err(Errno::ENOENT) => Ok(()),
                        answer => Err(format!("INITIALIZE at {cpu}: {answer:?}")),
                    })
                })
                .collect();
            let thief = s.spawn(|| {
                while !over.load(SeqCst) {
                    ram.discard(FREE + 16 * PAGE, 64 * PAGE);
                    std::thread::yield_now();
                }
            });
            let first = run(guest.device());
            let others = threads.into_iter().map(|it| it.join().expect("no panic"));
            let outcome = others.fold(first, Outcome::and);
            over.store(true, SeqCst);
            thief.join().expect("no panic");
            outcome
        })?;
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cpu in [3, 64, 1 << 32, u64::MAX] {
        cases.push(dies(
            format!("cpus/start-{cpu:#x}"),
            move || calls([hc::START_CPU, cpu, va(BODY), 0]),
            is(&format!("bad CPU {cpu}")),
        ));
    }
    for entry in [1 << 63, 1 << 47, SWITCHER_4LEVEL, u64::MAX >> 1] {
        cases.push(dies(
            format!("cpus/entry-{entry:#x}"),
            move || calls([hc::START_CPU, 1, entry, 0]),
            is(&format!("bad CPU entry {entry:#x}")),
        ));
    }
    for mask in [8, 1 << 63, u64::MAX] {
        cases.push(dies(
            format!("cpus/interrupt-{mask:#x}"),
            move || calls([hc::INTERRUPT_CPU, mask, 1, 0]),
            is(&format!("bad CPUs {mask:#x}")),
        ));
    }
    for irq in [32, 64, 1 << 32, u64::MAX] {
        cases.push(dies(
            format!("cpus/interrupt-number-{irq:#x}"),
            move || calls([hc::INTERRUPT_CPU, 1, irq, 0]),
            is(&format!("bad interrupt {irq}")),
        ));
    }
    cases.extend([
        // Nobody, and CPUs that nobody runs.
        hostile("cpus/interrupt-nobody", || {
            let mut guest = calls([hc::INTERRUPT_CPU, 0, 31, 0]);
            guest.call([hc::INTERRUPT_CPU, 6, 31, 0]);
            guest.run_to_poweroff(0)
        }),
        hostile("cpus/start-what-nobody-runs", || {
            let mut guest = calls([hc::START_CPU, 1, va(BODY), 0]);
            let again = guest.call([hc::START_CPU, 1, va(BODY), 0]);
            guest.run_to_poweroff(0)?;
            same("START_CPU, once more", guest.returned(again), 1)
        }),
        hostile("cpus/an-entry-that-is-nowhere", || {
            let mut guest = Guest::new(work::SPIN);
            guest.cpus = 2;
            guest.call([hc::START_CPU, 1, 0x1234_5000, 7]);
            Crew::start(guest)?.over("unhandled trap 14 at 0x12345000 (0x12345000)")
        }),
        // What stands in the ring behind it is not made, and nothing of the call that brought it about.
        hostile("cpus/stop-through-the-ring", || {
            let mut guest = Guest::new(work::SPIN);
            for (slot, number) in (0..).zip([hc::FLUSH_ASYNC, hc::STOP_CPU, hc::POWEROFF]) {
                let entry = DATA + data::RING + 32 * slot;
                guest.ram.set_word(entry, number);
                let status = DATA + data::RING_STATUS + slot;
                guest.ram.set_bytes(status, &[data::PENDING]);
            }
            guest.call([hc::POWEROFF, 1, 0, 0]);
            guest.boot()?;
            same("how it ends", guest.finish_within(200)?, None)?;
            let marks = [0, 1, 2].map(|slot| guest.ram.byte(DATA + data::RING_STATUS + slot));
            same("the ring", marks, [data::DONE, data::DONE, data::PENDING])
        }),
        hostile("cpus/start-those-that-run", || pester(1)),
        hostile("cpus/interrupts-without-handlers", || pester(2)),
        hostile("cpus/start-and-stop-each-other", || {
            let crew = Crew::start(cpus::guest(cpus::SCUFFLE, 4))?;
            let counted = |cpu| crew.ram.word(own(cpu, COUNTED));
            crew.wait_until("all were started a hundred times", || {
                (0..4).all(|cpu| counted(cpu) > 100)
            })?;
            crew.end("POWEROFF: 0")
        }),
    ]);
    for seed in 1..=4 {
        let name = format!("random/hypercalls-of-four-cpus-{seed}");
        cases.push(hostile(name, move || at_random(seed)));
    }
    cases
}

/// The first CPU of four molests the others, which go on.
fn pester(how: u64) -> Outcome {
    let mut guest = cpus::guest(cpus::PESTER, 4);
    guest.param(1, how);
    let crew = Crew::start(guest)?;
    let counted = |cpu| crew.ram.word(own(cpu, COUNTED));
    for _ in 0..3 {
        let before = [1, 2, 3].map(counted);
        crew.wait_until("the others go on", || {
            (1..4).all(|cpu| counted(cpu) > before[cpu as usize - 1] + 1000)
        })?;
    }
    crew.end("POWEROFF: 0")
}
