//! Two CPUs of one guest, each run by a thread of its own: what belongs to one is not the other's, and what they share is.

use crate::abi::data;
use crate::blobs::{Blob, pair};
use crate::cgroup::Short;
use crate::crew::Crew;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, granted};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::tables::pte;
use nix::errno::Errno;

/// A guest whose two CPUs will run.
fn guest(body: Blob) -> Guest {
    let mut guest = Guest::bare(body);
    guest.cpus = 2;
    // The second CPU's `LguestData`: all ring slots are free there, too.
    let free = [0xff; data::RING_SIZE as usize];
    guest.ram.set_bytes(BUFFER + data::RING_STATUS, &free);
    guest
}

/// Waits until both have counted so much further, or have ended.
fn both_count(crew: &Crew, further: u64) -> Outcome {
    let counts = || [0, 8].map(|word| crew.ram.word(COUNT + word));
    let before = counts();
    crew.wait_until("both CPUs have gone on", || {
        let now = counts();
        [0, 1].iter().all(|&cpu| now[cpu] >= before[cpu] + further)
    })
}

/// Runs both until they have counted so far.
fn count(guest: Guest, turns: u64) -> Outcome {
    let crew = Crew::start(guest)?;
    both_count(&crew, turns)?;
    crew.end("POWEROFF: 0")
}

/// A second CPU for which there was no memory comes again when there is some. Linux finds memory for it now and then although its
/// group has none left; then another Guest is asked for one.
fn one_that_failed() -> Outcome {
    let short = Short::new()?;
    for _ in 0..20 {
        let mut guest = guest(pair::REGISTERS);
        let second = guest.boot()?.of_cpu(1);
        let answer = short.during(|| second.take_cpu())?;
        if answer == Ok(8) {
            continue;
        }
        check!(
            answer == Err(Errno::ENOMEM),
            "without memory for a CPU INITIALIZE says {answer:?}"
        );
        return granted("INITIALIZE, when there is memory", second.take_cpu(), 8);
    }
    Err("there was memory for twenty CPUs".to_owned())
}

/// Both look at a page that the Launcher takes away again and again: each time they see that it is empty.
fn taken_back() -> Outcome {
    let crew = Crew::start(guest(pair::WATCH))?;
    let seen = || [0, 8].map(|word| crew.ram.word(OUT + word));
    for round in 1..=200 {
        crew.ram.set_word(FREE, round);
        crew.wait_until("both CPUs see the word", || seen() == [round; 2])?;
        crew.ram.discard(FREE, PAGE);
        both_count(&crew, 2)?;
        check!(
            seen() == [0, 0],
            "round {round}: expected both CPUs to see an empty page, but they see {:?}",
            seen()
        );
    }
    crew.end("POWEROFF: 0")
}

fn death_of_one() -> Outcome {
    let crew = Crew::start(guest(pair::DIE))?;
    both_count(&crew, 1000)?;
    crew.end("Bad hypercall 99")
}

/// The first CPU has so many address spaces, the second stays in the first of them.
fn round(spaces: u64, turns: u64) -> Outcome {
    let mut guest = guest(pair::ROUND);
    let kernel = guest.ram.word(guest.tables.top + 8 * 511);
    guest.param(0, spaces);
    for number in 1..=spaces {
        if number > 1 {
            guest.tables.top = FREE + 4 * PAGE * number;
            guest.ram.set_word(guest.tables.top + 8 * 511, kernel);
            let [upper, middle, lower] = [1, 2, 3].map(|page| guest.tables.top + page * PAGE);
            guest.ram.set_word(guest.tables.top, upper | pte::TABLE);
            guest.ram.set_word(upper, middle | pte::TABLE);
            guest.ram.set_word(middle + 8 * 2, lower | pte::TABLE);
        }
        let page = FREE - PAGE * number;
        guest.tables.map(USER_VA, page, pte::KERNEL);
        guest.ram.set_word(page, number);
        guest.param(number, guest.tables.top);
    }
    count(guest, turns)
}

/// The first CPU changes the entry for USER_VA at this level, and the second hears of it.
fn change(level: u32) -> Outcome {
    let mut guest = guest(pair::CHANGE);
    let mut ways = [1, 2].map(|number| {
        // Tables of its own for each, to be led to by turns.
        guest.tables.set(USER_VA, 4, 0);
        let page = FREE - PAGE * number;
        guest.tables.map(USER_VA, page, pte::KERNEL);
        guest.ram.set_word(page, number);
        let entry = guest.tables.entry(USER_VA, level);
        (entry, guest.ram.word(entry))
    });
    // What is above the entry is now the second's.
    ways.reverse();
    let at = ways[0].0;
    guest.ram.set_word(at, ways[1].1);
    guest
        .param(0, at)
        .param(1, at % PAGE / 8)
        .param(2, ways[0].1)
        .param(3, ways[1].1);
    // On one CPU of the Host's each waits for the other until its time is over.
    count(guest, if host::cpus().len() > 1 { 500 } else { 20 })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("pair/each-has-its-own-registers", || {
            count(guest(pair::REGISTERS), 2000)
        }),
        Case {
            // The kernel's words about a group that has no memory left.
            tolerates: &["Call Trace"],
            ..Case::new(
                "pair/a-cpu-that-came-to-nothing-comes-again",
                one_that_failed,
            )
        }
        .needing([Need::MEMORY_GROUPS]),
        Case::new("pair/what-is-taken-back-is-out-of-both", taken_back),
        Case::new("pair/one-dies-and-both-come-out", death_of_one),
        Case::new("pair/tables-of-one-are-not-the-others", || round(2, 2000)),
        Case::new("pair/tables-are-taken-from-under-the-other", || {
            round(60, 3000)
        }),
    ];
    for level in 1..=4 {
        let name = format!("pair/a-change-at-level-{level}-reaches-the-other");
        cases.push(Case::new(name, move || change(level)));
    }
    cases
}
