//! Guests moved between CPUs, many at once, in many threads.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, wait_until};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use nix::unistd::{Pid, gettid};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// Runs a guest in a thread that is moved from CPU to CPU, until it has counted on after `moves` moves.
fn moved(build: fn(Ram) -> Guest, moves: usize) -> Outcome {
    let ram = Ram::new(MEMORY);
    let tid = Arc::new(AtomicI32::new(0));
    let (its_ram, its_tid) = (ram.clone(), tid.clone());
    let thread = std::thread::spawn(move || {
        its_tid.store(gettid().as_raw(), SeqCst);
        let mut guest = build(its_ram);
        guest.boot()?;
        guest.powered_off(&guest.finish()?, 0)
    });
    wait_until("the thread is there", || tid.load(SeqCst) != 0)?;
    let cpus = host::cpus();
    let mover = || -> Outcome {
        for cpu in cpus.iter().cycle().take(moves) {
            let seen = ram.word(COUNT);
            host::pin(Pid::from_raw(tid.load(SeqCst)), *cpu)?;
            wait_until("the guest counts on", || {
                ram.word(COUNT) > seen || thread.is_finished()
            })?;
        }
        Ok(())
    };
    let moved = mover();
    ram.set_word(STOP, 1);
    join(thread)?;
    moved
}

fn fpu_guest(ram: Ram) -> Guest {
    let mut guest = Guest::in_memory(work::KEEP_FPU, ram);
    guest.param(0, 0x0123_4567_89ab_cdef).param(1, 0x5f80);
    guest
}

fn register_guest(ram: Ram) -> Guest {
    let mut guest = Guest::in_memory(work::KEEP_REGISTERS, ram);
    guest.traps().interrupts();
    guest.ram.set_word(REARM, 300_000);
    guest
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("migration/registers", || moved(register_guest, 200)),
        Case::new("migration/fpu", || moved(fpu_guest, 200)),
        Case::new("fpu/kept-across-exits", || {
            // Two guests with different patterns and control words, turn by turn in one thread.
            let mut guests = Vec::new();
            for (pattern, mxcsr) in [
                (0x0123_4567_89ab_cdef, 0x5f80),
                (0x7654_3210_fedc_ba98, 0x3f80),
            ] {
                let mut guest = Guest::new(work::KEEP_FPU);
                guest.param(0, pattern).param(1, mxcsr);
                guest.boot()?;
                guests.push(guest);
            }
            for _ in 0..30 {
                for guest in &guests {
                    if let Some(reason) = guest.finish_within(3)? {
                        return Err(format!("expected the guest to go on, got {reason:?}"));
                    }
                }
            }
            for guest in &guests {
                check!(guest.ram.word(COUNT) > 0, "a guest never counted");
                guest.ram.set_word(STOP, 1);
                guest.powered_off(&guest.finish()?, 0)?;
            }
            Ok(())
        }),
        Case::new("threads/a-guest-in-each", || {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    std::thread::spawn(|| {
                        for _ in 0..5 {
                            let mut guest = Guest::new(work::SEND_MANY);
                            guest.dma(DMA, &[(BUFFER, 16)]);
                            guest.param(0, 20);
                            guest.boot()?;
                            for _ in 0..20 {
                                guest.step()?;
                                guest.ram.set_word32(DMA, 16);
                            }
                            guest.powered_off(&guest.finish()?, 0)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(join)
        }),
        Case::slow("migration/cpus-go-and-come-back", || {
            let cpu = |number: usize| format!("/sys/devices/system/cpu/cpu{number}/online");
            let bystanders: Vec<_> = (0..3)
                .map(|_| crate::bystander::Bystander::start())
                .collect::<Outcome<_>>()?;
            // CPU 0 stays.
            for number in host::cpus()
                .into_iter()
                .filter(|number| *number != 0 && std::fs::exists(cpu(*number)).unwrap_or(false))
            {
                for state in ["0", "1"] {
                    std::fs::write(cpu(number), state)
                        .map_err(|e| format!("{} := {state}: {e}", cpu(number)))?;
                    for bystander in &bystanders {
                        bystander.wait_for_progress()?;
                    }
                }
            }
            bystanders
                .into_iter()
                .try_for_each(crate::bystander::Bystander::finish)
        })
        .needing([Need::TwoCpus]),
        Case::new("threads/ticking-side-by-side", || {
            let bystanders: Vec<_> = (0..6)
                .map(|_| crate::bystander::Bystander::start())
                .collect::<Outcome<_>>()?;
            for bystander in &bystanders {
                bystander.wait_for_progress()?;
            }
            bystanders
                .into_iter()
                .try_for_each(crate::bystander::Bystander::finish)
        }),
    ]
}
