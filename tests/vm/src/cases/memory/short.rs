//! The group of a Launcher has no memory left: Linux refuses what the module asks for. The guest dies of it and says so, or the call is
//! refused and succeeds when there is memory again.

use super::shadow::{REACH, SPARSE};
use crate::abi::lhreq::{RESTORE, SAVE};
use crate::abi::{data, hc};
use crate::blobs::{attack, work};
use crate::cgroup::Short;
use crate::device::Answer;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::needs::Need;
use crate::tables::pte;
use nix::errno::Errno::{ENOMEM, EOPNOTSUPP};

/// How often Linux may find memory nevertheless: it has always a little in advance.
const TRIES: u64 = 20;
/// A list that goes to the Launcher.
const READY: u64 = DMA;

/// A guest that comes out once before its body runs.
fn halfway(mut guest: Guest) -> Outcome<Guest> {
    guest.boot_halfway(READY)?;
    Ok(guest)
}

/// Runs guests without memory until one of them dies, and says of what.
fn dies_without(make: impl Fn() -> Outcome<Guest>) -> Outcome<String> {
    let short = Short::new()?;
    for _ in 0..TRIES {
        let guest = make()?;
        // It ends either way: by a reason, or by its last word.
        let mut reason = [0; 200];
        let end = short.during(|| guest.device().read(&mut reason))?;
        check!(end.is_err(), "read(): {end:?}");
        let reason = guest.reason()?;
        if !reason.starts_with("POWEROFF") {
            return Ok(reason);
        }
    }
    Err(format!("there was memory {TRIES} times"))
}

/// The guest writes to a page that nobody has touched.
fn no_page() -> Outcome {
    let reason = dies_without(|| {
        let mut guest = Guest::new(attack::WRITE);
        guest.param(0, va(FREE)).param(1, 1);
        halfway(guest)
    })?;
    same(
        "the reason",
        reason.as_str(),
        "out of memory getting page 0x100000",
    )
}

/// The guest reads a page that is there, by way of more tables of its own than there are for its shadow.
fn no_tables() -> Outcome {
    const MANY: u64 = 60;
    let reason = dies_without(|| {
        // Its LguestData is beside those tables: so the Host has begun its book of that stretch of memory before there is none.
        let mut guest = Guest::bare(attack::READ_MANY);
        let its_data = FREE + (1 + MANY) * PAGE;
        guest.ram.set_bytes(
            its_data + data::RING_STATUS,
            &[0xff; data::RING_SIZE as usize],
        );
        guest.call([hc::LGUEST_INIT, its_data, 0, 0]);
        for number in 0..MANY {
            let table = FREE + (1 + number) * PAGE;
            guest
                .tables
                .set(SPARSE + number * REACH, 2, table | pte::TABLE);
            guest.ram.set_word(table, FREE | pte::KERNEL);
        }
        guest.param(0, SPARSE).param(1, REACH).param(2, MANY);
        halfway(guest)
    })?;
    same(
        "the reason",
        reason.as_str(),
        "out of memory allocating pte page",
    )
}

/// A request is refused for want of memory, and not when there is some.
fn request(
    make: impl Fn() -> Outcome<Guest>,
    call: impl Fn(&Guest) -> Answer,
    is_right: impl Fn(Answer) -> bool,
) -> Outcome {
    let short = Short::new()?;
    for _ in 0..TRIES {
        let guest = make()?;
        let answer = short.during(|| call(&guest))?;
        if answer == Err(ENOMEM) {
            let again = call(&guest);
            check!(is_right(again), "with memory: {again:?}");
            return Ok(());
        }
    }
    Err(format!("there was memory {TRIES} times"))
}

fn booted() -> Outcome<Guest> {
    let mut guest = Guest::new(work::COUNT_UP);
    guest.boot()?;
    Ok(guest)
}

pub(super) fn cases() -> Vec<Case> {
    let cases = [
        Case::new("short/no-page-for-the-guest", no_page),
        Case::new("short/no-tables-for-the-guest", no_tables),
        Case::new("short/no-state-of-a-cpu", || {
            request(
                booted,
                |guest| guest.device().write(&[SAVE]),
                |answer| answer.is_ok(),
            )
        }),
        Case::new("short/no-cpu-from-a-state", || {
            // It is no state: who has memory sees that.
            let mut state = vec![0; 64 << 10];
            state[..8].copy_from_slice(&RESTORE.to_ne_bytes());
            let restore =
                move |guest: &Guest| guest.device().write_at(state.as_ptr() as u64, state.len());
            request(booted, restore, |answer| answer == Err(EOPNOTSUPP))
        }),
    ];
    cases
        .into_iter()
        .map(|case| {
            Case {
                tolerates: &["Call Trace"],
                ..case
            }
            .needing([Need::MEMORY_GROUPS])
        })
        .collect()
}
