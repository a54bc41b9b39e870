//! Guests that promise to announce what becomes present, and the faults that then need no Host.

use crate::abi::{IF, hc, sel};
use crate::blobs::cpus;
use crate::blobs::demand::{self, *};
use crate::crew::Crew;
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;
use crate::slot;
use crate::tables::pte;

/// Where the vector of the last exit is: behind the fifteen registers of the frame at the top of the stack page.
fn vector_word() -> u64 {
    slot::area(0) + PAGE - 56
}

/// Ways to announce, as the handler of [`demand`] numbers them.
const SET_PTE: u64 = 0;
const SEVENTH: u64 = 6;
const NEVER: u64 = 7;

/// A guest whose program touches pages that are mapped on demand, and announced in this way.
fn on_demand(announce: u64, kind: u64) -> Guest {
    let mut guest = Guest::new(demand::KERNEL);
    guest.traps().user(demand::TOUCH);
    guest.gate(14, va(HANDLER), kind, 0);
    let table = guest.tables.entry(FIRST_VA, 1) & !(PAGE - 1);
    let top = guest.tables.top;
    guest.param(1, table).param(2, announce).param(3, top);
    guest.param(4, vector_word()).param(5, IF);
    guest
}

/// The same, after its promise. Says which call that was.
pub(in crate::cases) fn promised(announce: u64, kind: u64) -> (Guest, usize) {
    let mut guest = on_demand(announce, kind);
    let call = guest.call([hc::PROMISE, 1, va(DATA), 0]);
    (guest, call)
}

/// What the handler found at each of the first faults, but for the address, and whether a visit of the Host's came before.
fn records(guest: &Guest) -> Vec<(u64, [u64; 10], u64)> {
    (0..guest.out(FAULTS).min(RECORDED))
        .map(|fault| {
            let word = |word| guest.out(RECORDS + RECORD * fault + word);
            (
                word(0),
                std::array::from_fn(|other| word(1 + other as u64)),
                word(11),
            )
        })
        .collect()
}

/// Pages with their addresses in them.
const OLD: u64 = FREE;
const NEW: u64 = FREE + PAGE;
const OTHER_PAGE: u64 = FREE + 2 * PAGE;
/// A page that is used, and written to.
const USED: u64 = pte::KERNEL | pte::A | pte::D;

/// A guest that uses a page, changes its entry to `entry`, and announces `claim`.
fn announcing(entry: u64, claim: u64) -> Guest {
    let mut guest = Guest::new(demand::ANNOUNCE);
    guest.traps();
    for page in [OLD, NEW, OTHER_PAGE] {
        guest.ram.set_word(page, page);
    }
    guest.tables.map(FIRST_VA, OLD, USED);
    let at = guest.tables.entry(FIRST_VA, 1);
    guest.param(0, FIRST_VA).param(1, at).param(2, entry);
    guest.param(3, claim).param(4, vector_word());
    guest
}

/// Why a guest came out last before it read what was announced so. An interrupt of the Host's may come in between: once more then.
fn last_exit(claim: u64) -> Result<u64, String> {
    for _ in 0..50 {
        let mut guest = announcing(NEW | USED, claim);
        guest.run_to_poweroff(0)?;
        same("what it reads", guest.out(0), NEW)?;
        if !(32..256).contains(&guest.out(1)) {
            return Ok(guest.out(1));
        }
    }
    Err("each time an interrupt came in between".to_owned())
}

/// What is announced, and what the guest then reads.
fn announcements() -> Vec<Case> {
    let mut cases = vec![
        Case::new("announced/what-is-used-is-entered", || {
            same("the last exit", last_exit(NEW | USED)?, SENTINEL)
        }),
        Case::new("announced/what-is-not-used-is-forgotten", || {
            same("the last exit", last_exit(NEW | pte::KERNEL)?, 14)
        }),
        Case::new("announced/what-is-not-there-is-a-fault", || {
            announcing(0, NEW | USED).run_to_poweroff(114)
        }),
        Case::new("announced/what-may-not-be-is-a-death", || {
            let reason = announcing(MEMORY | USED, NEW | USED).run()?;
            check!(reason.starts_with("bad page table entry"), "{reason}");
            Ok(())
        }),
    ];
    let claims = [
        ("another-page", OTHER_PAGE | USED),
        ("beyond-memory", MEMORY | USED),
        ("far-beyond-memory", pte::FRAME | USED),
        ("all-ones", u64::MAX),
        ("a-programs-page", NEW | USED | pte::U),
    ];
    cases.extend(claims.into_iter().map(|(name, claim)| {
        Case::new(format!("announced/the-table-counts/{name}"), move || {
            let mut guest = announcing(NEW | USED, claim);
            guest.run_to_poweroff(0)?;
            same("what it reads", guest.out(0), NEW)
        })
    }));
    cases
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = announcements();
    cases.extend([
        Case::new("promise/a-fault-visits-nobody", || {
            let (mut guest, call) = promised(SET_PTE, 0xe);
            guest.run_to_poweroff(0)?;
            same("the promise is used", guest.returned(call), 1)?;
            same("faults", guest.out(FAULTS), TOUCHED)?;
            let [quiet, visited, other] = [QUIET, VISITED, OTHER].map(|word| guest.out(word));
            // One in eight: nobody knows of a group before its first page is there.
            check!(
                quiet >= TOUCHED / 2 && visited <= TOUCHED / 8,
                "{quiet} faults without a visit, {visited} with one, {other} others"
            );
            Ok(())
        }),
        Case::new("promise/without-it-each-fault-visits", || {
            let mut guest = on_demand(SET_PTE, 0xe);
            guest.run_to_poweroff(0)?;
            same("faults", guest.out(FAULTS), TOUCHED)?;
            same("faults without a visit", guest.out(QUIET), 0)
        }),
        Case::new("promise/what-the-handler-finds", || {
            for (kind, flag) in [(0xe, IF), (0xf, IF), (0xe, 0), (0xf, 0)] {
                let (mut guest, _) = promised(SET_PTE, kind);
                guest.param(5, flag);
                guest.run_to_poweroff(0)?;
                let records = records(&guest);
                let quiet = |record: &&(u64, [u64; 10], u64)| record.2 == SENTINEL;
                let visited = |record: &&(u64, [u64; 10], u64)| record.2 == 14;
                let first = records
                    .iter()
                    .find(visited)
                    .ok_or("no fault visited the Host")?;
                check!(
                    records.iter().any(|r| quiet(&r)),
                    "all faults visited the Host"
                );
                for (index, record) in records.iter().enumerate() {
                    same("the address", record.0, FIRST_VA + 8 + PAGE * index as u64)?;
                    same("as by the Host", record.1, first.1)?;
                }
                let [error, _, cs, rflags, rsp, ss, frame, in_handler, ..] = first.1;
                same("error code", error, 6)?;
                same("rings", (cs, ss), (sel::USER_CS, sel::USER_DS))?;
                same("the program's flag", rflags & IF, flag)?;
                same("the program's stack", rsp, USER_STACK_VA)?;
                same("where the frame is", frame, va(KSTACK_TOP) - 48)?;
                let kept = if kind == 0xe { 0 } else { flag };
                same("irq_enabled in the handler", in_handler, kept)?;
            }
            Ok(())
        }),
        Case::new("promise/with-a-timer", || {
            let (mut guest, _) = promised(SET_PTE, 0xe);
            guest.interrupts();
            guest.ram.set_word(REARM, 20_000);
            guest.call([hc::SET_CLOCKEVENT, 20_000, 0, 0]);
            guest.run_to_poweroff(0)?;
            same("faults", guest.out(FAULTS), TOUCHED)
        }),
        Case::new("promise/broken-hurts-who-breaks-it", || {
            // The program's next page has a mark, and nobody takes it away: it faults for ever, in rings 1 and 3.
            let (mut guest, _) = promised(NEVER, 0xe);
            guest.boot()?;
            same("what came of it", guest.finish_within(200)?, None)?;
            let before = guest.out(FAULTS);
            check!(before > TOUCHED, "only {before} faults");
            // It can be broken out, and is mended as soon as it keeps its promise.
            guest.param(2, SEVENTH);
            let reason = guest.finish()?;
            guest.powered_off(&reason, 0)
        }),
        Case::new("promise/taken-back", || {
            let (mut guest, _) = promised(NEVER, 0xe);
            let call = guest.call([hc::PROMISE, 0, 0, 0]);
            guest.run_to_poweroff(0)?;
            same("nothing is used", guest.returned(call), 0)?;
            same("faults without a visit", guest.out(QUIET), 0)
        }),
        Case::new("promise/one-cpu-announces-for-the-other", || {
            let mut guest = cpus::guest(cpus::ANNOUNCE, 2);
            for page in (0..8).map(|page| FREE + 0x9_0000 + page * PAGE) {
                guest.ram.set_word(page, page);
            }
            guest.tables.map(FIRST_VA, FREE + 0x9_0000, pte::KERNEL);
            let table = guest.tables.entry(FIRST_VA, 1);
            guest.param(1, table);
            Crew::start(guest)?.over("POWEROFF: 0")
        }),
        Case::new("promise/a-gate-that-goes-takes-the-way-along", || {
            let (mut guest, _) = promised(SET_PTE, 0xe);
            guest.call([hc::LOAD_IDT_ENTRY, 14, 0, 0]);
            let reason = guest.run()?;
            check!(reason.starts_with("unhandled trap 14 at "), "{reason}");
            Ok(())
        }),
    ]);
    let ways = [
        "set-pte",
        "set-entry",
        "set-table",
        "flush-programs",
        "flush",
        "invlpg",
    ];
    cases.extend(ways.iter().enumerate().map(|(way, name)| {
        Case::new(format!("promise/announced-by/{name}"), move || {
            let (mut guest, _) = promised(way as u64, 0xe);
            guest.run_to_poweroff(0)?;
            same("faults", guest.out(FAULTS), TOUCHED)
        })
    }));
    cases
}
