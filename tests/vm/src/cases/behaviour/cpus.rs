//! Guests with several CPUs at work together: starting and stopping, interrupts between them, what each has for itself.

use crate::abi::{KERNEL_FLAGS, data, dma, sel};
use crate::blobs::cpus::{self, COUNTED, HEARD, SHARED, guest, own};
use crate::bystander::Bystander;
use crate::crew::Crew;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, granted, same};
use crate::host;
use crate::layout::*;
use crate::tables::pte;
use std::time::Instant;

/// How far each has counted.
fn counted(crew: &Crew, cpus: u64) -> Vec<u64> {
    (0..cpus)
        .map(|cpu| crew.ram.word(own(cpu, COUNTED)))
        .collect()
}

/// Runs it to its own end, which must be good.
fn ends(guest: Guest) -> Outcome {
    Crew::start(guest)?.over("POWEROFF: 0")
}

/// A parallel sum under a lock of the guest's.
fn sum(cpus: u64, each: u64) -> Outcome {
    let mut guest = guest(cpus::SUM, cpus);
    guest.param(1, each);
    let ram = guest.ram.clone();
    ends(guest)?;
    same("the sum", ram.word(SHARED + 64), cpus * each)
}

fn round(cpus: u64, rounds: u64) -> Outcome {
    let mut guest = guest(cpus::ROUND, cpus);
    guest.param(1, rounds);
    let ram = guest.ram.clone();
    ends(guest)?;
    for cpu in 0..cpus {
        same(
            "interrupts that a CPU has heard",
            ram.word(own(cpu, HEARD)),
            rounds,
        )?;
    }
    Ok(())
}

fn again() -> Outcome {
    let mut guest = guest(cpus::AGAIN, 2);
    guest.param(1, 500);
    ends(guest)
}

/// The interrupt that a CPU sends reaches the other, and what that has looked up is forgotten.
fn shoot() -> Outcome {
    let mut guest = guest(cpus::SHOOT, 2);
    for number in [1, 2] {
        let page = FREE + 100 * PAGE + PAGE * number;
        guest.tables.map(USER_VA, page, pte::KERNEL);
        guest.ram.set_word(page, number);
        let entry = guest.tables.entry(USER_VA, 1);
        let leads = guest.ram.word(entry);
        guest.param(1, entry).param(1 + number, leads);
    }
    let crew = Crew::start(guest)?;
    // On one CPU of the Host's each waits for the other until its time is over.
    let rounds = if host::cpus().len() > 1 { 500 } else { 20 };
    crew.wait_until("so many rounds", || counted(&crew, 1)[0] > rounds)?;
    crew.end("POWEROFF: 0")
}

fn born() -> Outcome {
    let mut guest = Guest::bare(cpus::BORN);
    guest.cpus = 2;
    let ram = guest.ram.clone();
    ends(guest)?;
    let found: Vec<u64> = (0..11).map(|at| ram.word(OUT + 8 * at)).collect();
    let cr3 = found[8];
    let want = [
        0x1234_5678_9abc_def0,
        0,
        KERNEL_FLAGS,
        sel::KERNEL_CS,
        sel::KERNEL_DS,
        cr3,
        0,
        0,
        cr3,
        0,
        0,
    ];
    check!(found == want, "expected {want:x?}, found {found:x?}");
    same(
        "CPUs that the guest is told of",
        ram.word16(FREE + data::CPUS),
        2,
    )
}

/// All count, and one of them ends it when it is told to.
fn end_by(cpu: u64, cpus: u64) -> Outcome {
    let mut guest = guest(cpus::COUNT_ALL, cpus);
    guest.param(1, cpu);
    let crew = Crew::start(guest)?;
    crew.wait_until("all count", || {
        counted(&crew, cpus).iter().all(|&so_far| so_far > 1000)
    })?;
    crew.end("POWEROFF: 0")
}

/// More CPUs than the Host has spin, and somebody else gets on all the same.
fn spinners() -> Outcome {
    let bystander = Bystander::start()?;
    let cpus = 2 * host::cpus().len() as u64;
    let crew = Crew::start(guest(cpus::COUNT_ALL, cpus))?;
    crew.wait_until("all spin", || {
        counted(&crew, cpus).iter().all(|&so_far| so_far > 0)
    })?;
    for _ in 0..5 {
        let before = counted(&crew, cpus);
        bystander.wait_for_progress()?;
        crew.wait_until("each of them goes on", || {
            let now = counted(&crew, cpus);
            now.iter().zip(&before).all(|(now, before)| now > before)
        })?;
    }
    crew.end("POWEROFF: 0")?;
    bystander.finish()
}

/// The timer of a CPU rings for that CPU, and not before its time: 1 ms for the first, twice as long for each next.
fn own_timers() -> Outcome {
    let mut guest = guest(cpus::TICK_ALL, 4);
    guest.param(1, 100);
    let begun = Instant::now();
    let crew = Crew::start(guest)?;
    crew.wait_until("the first has counted", || counted(&crew, 1)[0] == 100)?;
    let counts = counted(&crew, 4);
    let milliseconds = begun.elapsed().as_millis();
    crew.over("POWEROFF: 0")?;
    let fits = |cpu: usize| counts[cpu] > 0 && u128::from(counts[cpu]) << cpu <= milliseconds;
    check!(
        (0..4).all(fits),
        "they have counted {counts:?} in {milliseconds} ms"
    );
    Ok(())
}

/// Each sends a list, and its own read() tells of it.
fn lists() -> Outcome {
    let mut guest = guest(cpus::SEND_ALL, 2);
    for cpu in 0..2 {
        guest.dma(DMA + cpu * dma::SIZE, &[(BUFFER + 64 * cpu, 16)]);
    }
    guest.boot()?;
    let ram = guest.ram.clone();
    let second = guest.device().of_cpu(1);
    let (tell, told) = std::sync::mpsc::channel();
    let list = |words: &[u8]| {
        let word = |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().expect("8 bytes"));
        (word(0), word(8))
    };
    let thread = std::thread::spawn(move || {
        granted("INITIALIZE at 1", second.take_cpu(), 8)?;
        let mut words = [0; 16];
        granted("read() at 1", second.read(&mut words), 16)?;
        tell.send(()).map_err(|e| e.to_string())?;
        let reason = crate::crew::run(|buffer| second.read(buffer))?;
        Ok((list(&words), reason))
    });
    let mut words = [0; 16];
    granted("read() at 0", guest.device().read(&mut words), 16)?;
    same("what the first has sent", list(&words), (DMA, 0))?;
    let _ = told.recv();
    ram.set_word(STOP, 1);
    guest.powered_off(&guest.finish()?, 0)?;
    let (sent, reason) = crate::harness::join(thread)?;
    same("what the second has sent", sent, (DMA + dma::SIZE, 4))?;
    same(
        "what the second hears at the end",
        reason.as_str(),
        "POWEROFF: 0",
    )
}

/// When all CPUs have stopped, their threads sleep until somebody ends them.
fn all_stop() -> Outcome {
    let crew = Crew::start(guest(cpus::STOP_ALL, 3))?;
    crew.wait_until("all wait", || {
        (0..3).all(|cpu| crew.ram.word(own(cpu, COUNTED)) == 1 && host::sleeps(crew.tid(cpu)))
    })?;
    check!(!crew.is_over(), "one came out: {:?}", crew.over("nothing"));
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cpus/what-a-new-one-finds", born),
        Case::new("cpus/two-make-a-sum", || sum(2, 20_000)),
        Case::new("cpus/four-make-a-sum", || sum(4, 20_000)),
        Case::new("cpus/sixty-four-make-a-sum", || sum(64, 100)),
        Case::new("cpus/two-play-ping-pong", || round(2, 2000)),
        Case::new("cpus/four-go-round", || round(4, 1000)),
        Case::new("cpus/one-stops-and-is-started-again", again),
        Case::new("cpus/all-stop", all_stop),
        Case::new("cpus/an-interrupt-makes-the-other-forget", shoot),
        Case::new("cpus/each-has-its-own-timer", own_timers),
        Case::new("cpus/each-has-its-own-ring", || {
            let mut guest = guest(cpus::RINGS, 4);
            guest.param(1, 200);
            ends(guest)
        }),
        Case::new("cpus/each-sends-for-itself", lists),
        Case::new("cpus/the-first-ends-it", || end_by(0, 4)),
        Case::new("cpus/the-last-ends-it", || end_by(3, 4)),
        Case::new("cpus/those-that-spin-starve-nobody", spinners),
    ]
}
