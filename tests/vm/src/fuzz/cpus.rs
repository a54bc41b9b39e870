//! Hypercalls of four CPUs at once, while the Launcher takes pages away.

use super::dice::Dice;
use super::program::{PLAYGROUND, hypercall, lists};
use super::{ends, is_alone};
use crate::abi::hc;
use crate::blobs::cpus::{self, SHARED};
use crate::device::Device;
use crate::guest::{Guest, reason};
use crate::harness::Outcome;
use crate::layout::*;
use crate::signals;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What they call, each beginning somewhere else.
pub fn calls(guest: &Guest, dice: &mut Dice) {
    for at in (0..256).map(|call| SHARED + PAGE + 32 * call) {
        let call = match dice.below(16) {
            0 => [hc::STOP_CPU, 0, 0, 0],
            1 => [hc::HALT, 0, 0, 0],
            _ => hypercall(dice),
        };
        for (n, word) in (0..).zip(call) {
            guest.ram.set_word(at + 8 * n, word);
        }
    }
}

/// A CPU, for a while.
fn run(device: &Device) -> Outcome {
    let _alarm = signals::Alarm::every(25);
    for _ in 0..4 {
        match device.read(&mut [0; 16]) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ENOENT) => {
                let reason = reason(|buffer| device.read(buffer))?;
                if is_alone() {
                    println!("{reason}");
                }
                return ends::is_known(&reason);
            }
            Err(e) => return Err(format!("read(): {e:?}")),
        }
    }
    Ok(())
}

pub fn round(dice: &mut Dice) -> Outcome {
    let mut guest = cpus::guest(cpus::AT_RANDOM, 4);
    calls(&guest, dice);
    lists(&guest, dice);
    guest.boot()?;
    let (over, ram) = (AtomicBool::new(false), guest.ram.clone());
    std::thread::scope(|s| {
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
            signals::block(Signal::SIGALRM);
            while !over.load(SeqCst) {
                ram.discard(PLAYGROUND, 64 * PAGE);
                std::thread::yield_now();
            }
        });
        let first = run(guest.device());
        let others = threads.into_iter().map(|it| it.join().expect("no panic"));
        let outcome = others.fold(first, Outcome::and);
        over.store(true, SeqCst);
        thief.join().expect("no panic");
        outcome
    })
}
