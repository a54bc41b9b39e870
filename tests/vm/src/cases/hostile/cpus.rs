//! What a guest may say about its CPUs, and what several of them may do at once.

use super::{dies, hostile, is};
use crate::abi::{SWITCHER_4LEVEL, data, hc};
use crate::blobs::cpus::{self, COUNTED, own};
use crate::blobs::work;
use crate::crew::Crew;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, same};
use crate::layout::*;

/// A guest with three CPUs of which two are never started; it makes this call.
fn calls(call: [u64; 4]) -> Guest {
    let mut guest = Guest::new(work::SURVIVED);
    guest.cpus = 3;
    guest.call(call);
    guest
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
