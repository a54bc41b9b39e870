//! Reasons of death that come up where nobody looks for them: when there is no memory, and when the Switcher itself trips.

use super::{any, dies, is, starts, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, hc};
use crate::blobs::{attack, work};
use crate::cgroup::{Group, QuietConsole};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use crate::shared::Shared;
use crate::tables::pte;

/// A list without pieces.
const READY: u64 = DMA + 20 * crate::abi::dma::SIZE;

/// A guest that calls the Launcher, and then does what it is there for.
fn calls_first(mut guest: Guest) -> Outcome<Guest> {
    guest.call([hc::SEND_DMA, 0, READY, 0]);
    guest.boot()?;
    let called = Event::Dma {
        addr: READY,
        key: 0,
    };
    same("read()", guest.step()?, called)?;
    Ok(guest)
}

/// Lets it go on with so little memory. What it dies of is read when there is more.
fn short_of_memory(group: &Group, room: u64, guest: &Guest) -> Outcome<String> {
    let mut answer = [0; 16];
    let ended = group.with_room_for(room, || guest.device().read(&mut answer))?;
    same("read()", ended, Err(nix::errno::Errno::ENOENT))?;
    guest.reason()
}

/// Guests that need memory of the Host's at their first steps, and later: wherever there is none, they die of it, and nobody else.
fn out_of_memory() -> Outcome {
    let (group, _quiet) = (Group::without_killer()?, QuietConsole::new());
    let mut reasons = std::collections::BTreeSet::new();
    for room in (0..128 << 10).step_by(8 << 10) {
        let mut young = Guest::new(work::SURVIVED);
        young.boot()?;
        reasons.insert(short_of_memory(&group, room, &young)?);
        let mut old = Guest::new(work::TOUCH);
        old.param(0, va(FREE)).param(1, 2);
        let old = calls_first(old)?;
        reasons.insert(short_of_memory(&group, room, &old)?);
    }
    for begin in [
        "out of memory allocating pte page",
        "out of memory getting page 0x",
    ] {
        check!(
            reasons.iter().any(|reason| reason.starts_with(begin)),
            "nobody died of {begin:?}, but of {reasons:?}"
        );
    }
    let expected =
        |reason: &String| reason.starts_with("out of memory ") || reason == "POWEROFF: 0";
    check!(reasons.iter().all(expected), "{reasons:?}");
    Guest::new(work::SURVIVED).run_to_poweroff(0)
}

/// What a guest sends to another is copied through memory of the Host's.
fn out_of_memory_to_send() -> Outcome {
    let (group, _quiet) = (Group::without_killer()?, QuietConsole::new());
    const KEY: u64 = 0x28_3000;
    let (shared, ram) = (Shared::new(1)?, Ram::new(MEMORY));
    shared.map(0, &ram, KEY)?;
    let mut guest = Guest::in_memory(work::SEND, ram);
    let pieces: Vec<(u64, u16)> = (0..16).map(|i| (FREE + i * PAGE, 4096)).collect();
    guest.dma(DMA, &pieces);
    guest.ram.set_bytes(FREE, &[7; 16 * PAGE as usize]);
    guest.param(0, KEY);
    let guest = calls_first(guest)?;
    let reason = short_of_memory(&group, 0, &guest)?;
    check!(reason == "out of memory sending DMA", "{reason:?}");
    Guest::new(work::SURVIVED).run_to_poweroff(0)
}

pub(super) fn cases() -> Vec<Case> {
    let short = |name: &str, run: fn() -> Outcome| {
        Case {
            tolerates: &["Call Trace"],
            ..Case::slow(format!("hostile/reason/{name}"), run)
        }
        .needing([Need::MEMORY_GROUPS])
    };
    let mut cases = vec![
        short("out-of-memory", out_of_memory),
        short("out-of-memory-to-send", out_of_memory_to_send),
    ];
    for (name, entry) in [
        ("not-canonical", 1 << 63),
        ("just-over-the-lower-half", 0x8000_0000_0000),
        ("in-the-switcher", SWITCHER_4LEVEL),
        ("in-the-switcher-5", SWITCHER_5LEVEL),
    ] {
        cases.push(dies(
            format!("reason/system-call-entry-{name}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::SET_SYSCALL, entry, 0, 0]);
                guest
            },
            is(&format!("bad system call entry {entry:#x}")),
        ));
    }
    for (name, call, reason) in [
        (
            "array-beyond-memory",
            [hc::BIND_DMA, 20, MEMORY, 1 << 8 | 3],
            format!("bad DMA buffers {MEMORY:#x} count 1"),
        ),
        (
            "stack-page",
            [hc::SET_STACK, 0x89, TARGET, 1],
            format!("bad stack page {:#x}", TARGET - 1),
        ),
        (
            "page-directory",
            [hc::NEW_PGTABLE, MEMORY, 0, 0],
            format!("bad page directory {MEMORY:#x}"),
        ),
        (
            "last-words",
            [hc::CRASH, MEMORY, 0, 0],
            format!("bad read address {MEMORY:#x} len 1"),
        ),
        (
            "list-beyond-memory",
            [hc::SEND_DMA, 0, MEMORY, 0],
            format!("bad read address {MEMORY:#x} len 168"),
        ),
        (
            "entry-of-no-table",
            [hc::SET_ENTRY, MEMORY, 0, 0],
            format!("bad page table {MEMORY:#x} entry 0"),
        ),
    ] {
        cases.push(dies(
            format!("reason/{name}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call(call);
                guest
            },
            is(&reason),
        ));
    }
    for (name, level, entry, reason) in [
        (
            "page-table-entry",
            1,
            MEMORY | pte::KERNEL,
            format!("bad page table entry {:#x}", MEMORY | pte::KERNEL),
        ),
        (
            "page-directory-entry",
            3,
            MEMORY | pte::TABLE,
            format!(
                "bad page directory entry {:#x} at level 3",
                MEMORY | pte::TABLE
            ),
        ),
    ] {
        cases.push(dies(
            format!("reason/{name}"),
            move || {
                let mut guest = Guest::new(attack::READ);
                guest.tables.set(TARGET, level, entry);
                guest.param(0, TARGET);
                guest
            },
            is(&reason),
        ));
    }
    // The Host has emulated an instruction in the last byte of the lower half, and the next one is nowhere: to go there is a trap in
    // ring 0. With LASS, the instruction itself is out of ring 1's reach, and with five levels the next address is as good as others.
    cases.push(dies(
        "reason/the-switcher-trips",
        || {
            let mut guest = Guest::new(attack::JUMP);
            guest.tables.map(TOP, FREE, pte::KERNEL);
            guest.ram.set_byte(FREE + PAGE - 1, CLI);
            guest.param(0, TOP + PAGE - 1);
            guest
        },
        any([
            starts("trap 13 inside the Switcher at 0x"),
            trap_anywhere(13, 0),
            trap_anywhere(14, TOP + PAGE),
        ]),
    ));
    cases
}

/// An address whose tables nothing else uses.
const TARGET: u64 = 0xffff_9000_0000_0000;
/// The last page of the lower half.
const TOP: u64 = 0x7fff_ffff_f000;
/// The instruction that turns interrupts off.
const CLI: u8 = 0xfa;
