//! Each of them dies of one reason, word by word: reasons that others only come near, and the one for which the Switcher itself trips.

use super::{any, dies, is, starts, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, hc};
use crate::blobs::{attack, work};
use crate::guest::Guest;
use crate::harness::Case;
use crate::layout::*;
use crate::tables::pte;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
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
