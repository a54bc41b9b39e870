//! Page tables that reach for what is not the guest's.

use super::{any, dies, hostile, starts, survives, trap, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, hc};
use crate::blobs::{attack, work};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::tables::pte;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the tests map what should not be mapped: an address whose tables nothing else uses.
const TARGET: u64 = 0xffff_9000_0000_0000;

/// A guest that reads TARGET, whose entry at `level` is this.
fn entry(level: u32, value: u64) -> Guest {
    let mut guest = Guest::new(attack::READ);
    guest.tables.set(TARGET, level, value);
    guest.param(0, TARGET);
    guest
}

/// The same, writing.
fn write_entry(level: u32, value: u64) -> Guest {
    let mut guest = Guest::new(attack::WRITE);
    guest.tables.set(TARGET, level, value);
    guest.param(0, TARGET);
    guest
}

fn bad_table() -> super::Want {
    starts("bad page")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, frame) in [
        ("the-first-frame-beyond", MEMORY),
        ("a-gigabyte-beyond", MEMORY + (1 << 30)),
        ("the-highest-frame", pte::FRAME),
        ("a-frame-that-wraps", 0x000f_ffff_ffff_f000 & !0xff_ffff),
    ] {
        cases.push(dies(
            format!("table/page-at-{what}"),
            move || entry(1, frame | pte::KERNEL),
            starts("bad page table entry"),
        ));
        cases.push(dies(
            format!("table/page-written-at-{what}"),
            move || write_entry(1, frame | pte::KERNEL),
            starts("bad page table entry"),
        ));
        for level in 2..=4 {
            cases.push(dies(
                format!("table/level-{level}-at-{what}"),
                move || entry(level, frame | pte::TABLE),
                bad_table(),
            ));
        }
    }
    cases.push(dies(
        "table/2m-page-beyond",
        || entry(2, (8 << 20) | pte::KERNEL | pte::PS),
        bad_table(),
    ));
    cases.push(hostile("table/2m-page-across-the-limit", || {
        // Only 1 MiB of the page is the guest's: its first word may be read or refused, its last may not.
        let build = |offset| {
            let mut guest = Guest::new(attack::READ);
            guest.init.pfn_limit = (3 << 20) / PAGE;
            guest
                .tables
                .set(TARGET, 2, (2 << 20) | pte::KERNEL | pte::PS);
            guest.param(0, TARGET + offset);
            guest
        };
        let reason = build(0).run()?;
        check!(
            reason == "POWEROFF: 0" || reason.starts_with("bad page"),
            "first word: got {reason:?}"
        );
        for offset in [(1 << 20), (2 << 20) - 8] {
            super::expect_death(build(offset), &bad_table())
                .map_err(|e| format!("offset {offset:#x}: {e}"))?;
        }
        Ok(())
    }));
    cases.push(hostile("table/1g-page", || {
        let reason = entry(3, pte::KERNEL | pte::PS).run()?;
        check!(
            reason == "POWEROFF: 0"
                || reason.starts_with("bad page")
                || reason.starts_with("unhandled trap 14"),
            "first word of it: {reason:?}"
        );
        let mut guest = entry(3, pte::KERNEL | pte::PS);
        guest.param(0, TARGET + MEMORY);
        let reason = guest.run()?;
        check!(
            reason.starts_with("bad page") || reason.starts_with("unhandled trap 14"),
            "beyond the limit: {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("table/top-level-with-the-size-bit", || {
        let reason = entry(4, pte::TABLE | pte::PS | TABLES).run()?;
        check!(
            reason.starts_with("bad page") || reason.starts_with("unhandled trap 14"),
            "{reason:?}"
        );
        Ok(())
    }));
    cases.push(dies("address/not-mapped", || entry(1, 0), trap(14, TARGET)));
    cases.push(dies(
        "address/not-mapped-written",
        || write_entry(1, 0),
        trap(14, TARGET),
    ));
    cases.push(dies(
        "address/read-only-written",
        || write_entry(1, pte::P | FREE),
        trap(14, TARGET),
    ));
    cases.push(dies(
        "address/not-canonical",
        || {
            let mut guest = Guest::new(attack::READ);
            guest.param(0, 1 << 63);
            guest
        },
        trap(13, 0),
    ));
    cases.push(dies(
        "address/jump-not-canonical",
        || {
            let mut guest = Guest::new(attack::JUMP);
            guest.param(0, 1 << 63);
            guest
        },
        trap_anywhere(13, 0),
    ));
    cases.push(dies(
        "address/jump-just-over-the-lower-half",
        || {
            let mut guest = Guest::new(attack::JUMP);
            guest.param(0, 0x8000_0000_0000);
            guest
        },
        any([trap_anywhere(13, 0), trap_anywhere(14, 0x8000_0000_0000)]),
    ));
    cases.push(dies(
        "address/jump-into-nothing",
        || {
            let mut guest = Guest::new(attack::JUMP);
            guest.param(0, TARGET);
            guest
        },
        trap_anywhere(14, TARGET),
    ));
    cases.push(dies(
        "address/jump-to-a-page-not-executable",
        || {
            let mut guest = Guest::new(attack::JUMP);
            guest.tables.map(TARGET, FREE, pte::KERNEL | pte::NX);
            guest.param(0, TARGET);
            guest
        },
        trap_anywhere(14, TARGET),
    ));

    // The Launcher's promise of memory, broken.
    cases.push(hostile("memory/a-hole", || {
        let mut guest = Guest::new(attack::READ);
        guest.param(0, va(FREE));
        guest
            .ram
            .protect(FREE, PAGE, nix::sys::mman::ProtFlags::PROT_NONE);
        let reason = guest.run()?;
        check!(
            reason.starts_with("failed to get page") || reason.starts_with("bad "),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("memory/not-writable", || {
        let mut guest = Guest::new(attack::WRITE);
        guest.param(0, va(FREE));
        guest
            .ram
            .protect(FREE, PAGE, nix::sys::mman::ProtFlags::PROT_READ);
        let reason = guest.run()?;
        check!(
            reason.starts_with("failed to get page") || reason.starts_with("bad "),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("memory/taken-away", taken_away));
    cases.push(hostile("memory/the-page-of-zeroes", || {
        // A page that was only ever read is the Host's one page of zeroes: what a guest writes must not end up there.
        let other = crate::ram::Ram::new(PAGE);
        same("before", other.word(0), 0)?;
        let mut guest = Guest::new(work::TOUCH);
        same("the guest's page before", guest.ram.word(FREE), 0)?;
        guest.param(0, va(FREE)).param(1, 3);
        guest.run_to_poweroff(0)?;
        same("the guest's page", guest.ram.word(FREE), 0x5afe)?;
        same("somebody else's page of zeroes", other.word(0), 0)
    }));

    // NEW_PGTABLE.
    for (what, cr3) in [
        ("at-the-limit", MEMORY),
        ("beyond", MEMORY << 20),
        ("kernel-address", 0xffff_8880_0000_0000),
        ("all-ones", u64::MAX),
        ("page-number-wraps", 1 << 63),
    ] {
        cases.push(dies(
            format!("pgdir/{what}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::NEW_PGTABLE, cr3, 0, 0]);
                guest
            },
            starts("bad "),
        ));
        cases.push(dies(
            format!("pgdir/mov-to-cr3-{what}"),
            move || {
                let mut guest = Guest::new(attack::MOV_CR3);
                guest.param(0, cr3);
                guest
            },
            any([starts("bad "), trap(13, 0)]),
        ));
    }
    cases.push(dies(
        "pgdir/empty",
        || {
            let mut guest = Guest::new(work::SURVIVED);
            guest.call([hc::NEW_PGTABLE, FREE, 0, 0]);
            guest
        },
        starts("unhandled trap 14 at 0xffffffff8001"),
    ));
    cases.push(dies(
        "pgdir/empty-with-handlers",
        || {
            let mut guest = Guest::new(work::SURVIVED);
            guest.traps();
            guest.call([hc::NEW_PGTABLE, FREE, 0, 0]);
            guest
        },
        starts("bad stack page"),
    ));
    cases.push(dies(
        "pgdir/garbage",
        || {
            let mut guest = Guest::new(work::SURVIVED);
            guest.ram.set_bytes(FREE, &[0xa5; 4096]);
            guest.call([hc::NEW_PGTABLE, FREE, 0, 0]);
            guest
        },
        any([starts("bad "), starts("unhandled trap 14")]),
    ));
    cases.push(survives("pgdir/many", || {
        // Far more top-level tables than anybody caches, round after round.
        let mut guest = Guest::new(attack::MANY_TABLES);
        for i in 0..64 {
            guest.ram.set_word(
                FREE + i * PAGE + 511 * 8,
                guest.ram.word(guest.tables.top + 511 * 8),
            );
        }
        guest.param(0, FREE).param(1, 64).param(2, 20);
        guest
    }));
    cases.push(hostile("table/many-addresses", || {
        // Far apart, so that each needs tables of its own in the shadow: bounded there, and right all the same.
        let mut guest = Guest::new(attack::TOUCH_MANY);
        let (level3, level2, level1) = (
            guest.tables.page(),
            guest.tables.page(),
            guest.tables.page(),
        );
        for i in 0..512 {
            guest.ram.set_word(level3 + 8 * i, level2 | pte::TABLE);
            guest.ram.set_word(level2 + 8 * i, level1 | pte::TABLE);
            guest.ram.set_word(level1 + 8 * i, FREE | pte::KERNEL);
        }
        let slot = crate::tables::index(TARGET, 4);
        let at = guest.tables.top + 8 * slot;
        guest.ram.set_word(at, level3 | pte::TABLE);
        guest
            .param(0, TARGET)
            .param(1, 1 << 21)
            .param(2, 4000)
            .param(3, 2);
        guest.run_to_poweroff(0)?;
        same(
            "what 8000 touches of one page left",
            guest.ram.word(FREE),
            8000,
        )
    }));

    // Tables that map themselves.
    cases.push(hostile("recursive/reads-its-own-tables", || {
        let mut guest = recursive(FREE | pte::KERNEL);
        guest.ram.set_word(FREE, 0x600d);
        guest.run_to_poweroff(0)?;
        same(
            "the entry, seen through itself",
            guest.out(0) & !(pte::A | pte::D),
            (FREE + PAGE) | pte::KERNEL,
        )?;
        same("what the changed entry maps", guest.out(1), 0x600d)
    }));
    cases.push(dies(
        "recursive/maps-beyond-the-limit",
        || recursive(MEMORY | pte::KERNEL),
        starts("bad page table entry"),
    ));
    cases.push(dies(
        "recursive/maps-far-beyond-the-limit",
        || recursive(0x000f_ffff_0000_0000 | pte::KERNEL),
        starts("bad page table entry"),
    ));
    cases.push(dies(
        "recursive/writes-the-switchers-slot",
        || {
            let mut guest = Guest::new(attack::READ);
            // The guest's own slot 256: a table of its own, and a read through it.
            guest
                .tables
                .map(SWITCHER_4LEVEL + (500 << 30), FREE, pte::KERNEL);
            guest.param(0, SWITCHER_4LEVEL + (500 << 30));
            guest
        },
        starts("attempt to access switcher pages"),
    ));
    cases.push(dies(
        "recursive/code-as-a-table",
        || {
            let mut guest = Guest::new(attack::READ);
            guest.tables.set(TARGET, 4, KIT | pte::TABLE);
            guest.param(0, TARGET);
            guest
        },
        any([starts("bad page"), starts("unhandled trap 14")]),
    ));

    // Changed behind the Host's back.
    cases.push(survives("table/flips-for-ever", || {
        let mut guest = Guest::new(attack::FLIP);
        guest.traps();
        guest.tables.map(TARGET, FREE, pte::KERNEL);
        let at = guest.tables.entry(TARGET, 1);
        guest
            .param(0, va(at))
            .param(1, 0)
            .param(2, TARGET)
            .param(3, 200);
        guest
    }));
    for (what, value) in [
        ("page", MEMORY | pte::KERNEL | pte::A | pte::D),
        ("highest", pte::FRAME | pte::KERNEL | pte::A | pte::D),
    ] {
        cases.push(dies(
            format!("set-pte/{what}-beyond-the-limit"),
            move || {
                let mut guest = Guest::new(attack::READ);
                guest.tables.set(TARGET, 1, value);
                guest.call([hc::SET_PTE, guest.tables.top, TARGET, value]);
                guest.param(0, TARGET);
                guest
            },
            starts("bad page table entry"),
        ));
        cases.push(hostile(
            format!("set-pte/{what}-beyond-the-limit-said-only-to-the-host"),
            move || {
                // The entry in memory is good, the one told to the Host is not.
                let mut guest = Guest::new(attack::READ);
                guest.tables.map(TARGET, FREE, pte::KERNEL);
                guest.call([hc::SET_PTE, guest.tables.top, TARGET, value]);
                guest.param(0, TARGET);
                let reason = guest.run()?;
                check!(
                    reason.starts_with("bad page table entry")
                        || reason == "POWEROFF: 0" && guest.out(0) == 0,
                    "got {reason:?} and read {:#x}",
                    guest.out(0)
                );
                Ok(())
            },
        ));
    }
    cases.push(hostile("set-pte/into-the-switchers-slot", || {
        let mut guest = Guest::new(attack::READ);
        guest.call([
            hc::SET_PTE,
            guest.tables.top,
            SWITCHER_4LEVEL,
            FREE | pte::KERNEL | pte::A | pte::D,
        ]);
        guest.ram.set_word(FREE, 0x0bad_0bad);
        guest.param(0, SWITCHER_4LEVEL);
        let _ = guest.run()?;
        check!(
            guest.out(0) != 0x0bad_0bad,
            "the guest's page appeared in the Switcher's slot"
        );
        Ok(())
    }));
    for (what, table, index) in [
        ("beyond-the-limit", MEMORY, 0),
        ("inside-a-page", TABLES + 8, 0),
        ("entry-512", TABLES, 512),
        ("entry-all-ones", TABLES, u64::MAX),
    ] {
        cases.push(dies(
            format!("set-entry/{what}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::SET_ENTRY, table, index, 0]);
                guest
            },
            starts("bad page table"),
        ));
    }
    cases.push(hostile("set-entry/of-the-switchers-slot", || {
        let mut guest = Guest::new(work::SURVIVED);
        for index in [0, 255, 256, 257, 511] {
            guest.call([hc::SET_ENTRY, guest.tables.top, index, 0]);
        }
        guest.run_to_poweroff(0)
    }));
    cases.push(Case::new(
        "hostile/table/entry-that-never-stays-marked",
        never_marked,
    ));
    cases.push(hostile("set-table/of-the-switchers-slot", || {
        let mut guest = Guest::new(work::SURVIVED);
        for level in 2..=4 {
            guest.call([hc::SET_TABLE, guest.tables.top, SWITCHER_4LEVEL, level]);
        }
        let reason = guest.run()?;
        check!(
            reason == "POWEROFF: 0" || reason.starts_with("attempt to access switcher pages"),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases
}

/// A guest that finds the entry of TARGET through slot 300 of its own top level and changes it to `value`.
fn recursive(value: u64) -> Guest {
    let mut guest = Guest::new(attack::RECURSIVE);
    guest.tables.map(TARGET, FREE + PAGE, pte::KERNEL);
    let top = guest.tables.top;
    guest.ram.set_word(top + 300 * 8, top | pte::KERNEL);
    // For the entry to be written through the recursion, every table on the way must be one that may be written: they are.
    guest.param(0, 300).param(1, TARGET).param(2, value);
    guest
}

/// The Launcher writes an entry of the guest's tables all the time, never with its mark, while the Host wants to set that. Nobody else
/// runs: there is one CPU for each.
fn never_marked() -> Outcome {
    let mut guest = Guest::new(attack::TOUCH_AND_FORGET);
    let entry = guest.tables.entry(TARGET, 1);
    guest.param(0, TARGET);
    guest.ram.set_word(entry, FREE | pte::KERNEL);
    guest.boot()?;
    let ram = guest.ram.clone();
    let writer = std::thread::spawn(move || {
        // SAFETY: the word lies in the guest's memory, which lives as long as `ram`.
        let word = unsafe { &*((ram.base() + entry) as *const AtomicU64) };
        // Bits 52 to 58 mean nothing to a CPU.
        let values: [u64; 8] = std::array::from_fn(|n| FREE | pte::KERNEL | (n as u64 + 1) << 52);
        for _ in 0..100_000_000 {
            for value in values {
                word.store(value, Relaxed);
            }
        }
        let touched = ram.word(COUNT);
        ram.set_word(STOP, 1);
        check!(touched > 0, "the guest has not touched it once");
        Ok(())
    });
    let reason = guest.finish()?;
    crate::harness::join(writer)?;
    guest.powered_off(&reason, 0)
}

/// The Launcher drops a page that the guest has used; the guest must see one page or the other, and never somebody else's.
fn taken_away() -> Outcome {
    let mut guest = Guest::new(work::COUNT_UP);
    guest.boot()?;
    let ram = guest.ram.clone();
    let thief = std::thread::spawn(move || {
        crate::harness::wait_until("the guest counts", || ram.word(COUNT) > 0)?;
        for _ in 0..20 {
            ram.discard(FREE, MEMORY - FREE);
        }
        ram.set_word(STOP, 1);
        Ok(())
    });
    let reason = guest.finish()?;
    crate::harness::join(thief)?;
    guest.powered_off(&reason, 0)
}
