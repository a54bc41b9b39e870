//! Promises that no Guest may make, and Guests that make one to get at the way by which their page faults visit nobody.

use super::super::behaviour::promise::promised;
use super::{any, dies, hostile, is, starts, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, data, hc, sel};
use crate::blobs::demand::*;
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;
use crate::slot;
use crate::tables::pte;

/// A Guest that has promised, beside another.
fn second_to_promise() -> Guest {
    let (mut guest, _) = promised(0, 0xe);
    guest.param(4, slot::area(super::switcher::OWN) + PAGE - 56);
    guest
}

/// Addresses at which no Guest's kernel has its `LguestData`.
fn data_places() -> [(&'static str, u64); 9] {
    [
        ("not-aligned", va(DATA) + 4),
        ("not-canonical", 0x8000_0000_0000_0000),
        ("not-canonical-5", 0x0080_0000_0000_0000),
        (
            "ends-where-no-address-is",
            0x7fff_ffff_ffff - data::SIZE + 9,
        ),
        ("all-ones", !7),
        ("switcher", slot::area(super::switcher::OWN)),
        ("switcher-far", SWITCHER_4LEVEL + 0x7f_ffff_f000),
        ("switcher-5", SWITCHER_5LEVEL + 0x1000),
        ("ends-in-the-switcher", SWITCHER_4LEVEL - data::SIZE + 8),
    ]
}

/// A Guest that has promised, and whose program's second page fault visits nobody, with its kernel's stack there.
fn with_stack(rsp: u64) -> Guest {
    let mut guest = second_to_promise();
    guest.call([hc::SET_STACK, sel::KERNEL_DS, rsp, 0]);
    guest
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in [2, 3, 1 << 63, u64::MAX] {
        cases.push(dies(
            format!("promise/bits-{bits:#x}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::PROMISE, bits, va(DATA), 0]);
                guest
            },
            is(&format!("bad promise {bits:#x}")),
        ));
    }
    for (name, at) in data_places() {
        cases.push(dies(
            format!("promise/data-{name}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::PROMISE, 1, at, 0]);
                guest
            },
            is(&format!("bad address of lguest_data {at:#x}")),
        ));
    }
    let stacks = [
        ("null", 0),
        ("not-canonical", 0x8000_0000_0000_0000),
        ("nowhere", 0xffff_9000_0000_0000),
        ("read-only", va(FREE) + 0x3_f000),
        ("all-ones", u64::MAX),
        // Among the program's pages: the entry of this one leads nowhere, and the Host must not follow it.
        ("that-leads-nowhere", FIRST_VA + 6 * PAGE),
        ("switcher", slot::area(super::switcher::OWN) + PAGE),
        (
            "switchers-state",
            slot::area(super::switcher::OWN) + 3 * PAGE,
        ),
        (
            "switchers-code",
            slot::area(super::switcher::OWN) + 6 * PAGE,
        ),
        ("switcher-far", SWITCHER_4LEVEL + 0x7f_ffff_f000),
        ("switcher-5", SWITCHER_5LEVEL + 0x1000),
    ];
    for (name, rsp) in stacks {
        cases.push(hostile(format!("promise/stack-{name}"), move || {
            let mut guest = with_stack(rsp);
            guest.tables.map(va(FREE) + 0x3_e000, FREE, pte::P);
            guest.boot()?;
            let reason = guest.finish_within(2000)?;
            let reason = reason.unwrap_or_else(|| "it lives on".into());
            // Ring 1 may write to the Switcher's stack, so a Guest may have its own there.
            let reasons = ["bad stack page", "attempt to access switcher pages"];
            let is_its_own = name == "switcher";
            check!(
                is_its_own || reasons.iter().any(|text| reason.starts_with(text)),
                "expected death by a bad stack, got {reason:?}"
            );
            Ok(())
        }));
    }
    // Where its kernel has nothing, or nothing to be written to, the fault is its kernel's, in ring 1.
    for (name, at) in [
        ("nowhere", 0xffff_9000_0000_0000),
        ("read-only", va(FREE) + 0x3_e000),
    ] {
        cases.push(hostile(format!("promise/data-{name}"), move || {
            let mut guest = second_to_promise();
            guest.tables.map(va(FREE) + 0x3_e000, FREE, pte::P);
            guest.call([hc::PROMISE, 1, at, 0]);
            guest.boot()?;
            guest.finish_within(2000)?;
            let in_kernel = (0..RECORDED).find(|fault| {
                let word = |word| guest.out(RECORDS + RECORD * fault + word);
                word(3) == sel::KERNEL_CS && word(0) >> 12 == (at + 24) >> 12
            });
            check!(in_kernel.is_some(), "no fault of the kernel's at {at:#x}");
            Ok(())
        }));
    }
    // Nobody can come to the landing but by such a fault and find anything: it is the Guest's own code and stack.
    cases.push(dies(
        "promise/jump-to-the-landing",
        || {
            let mut guest = Guest::new(crate::blobs::attack::JUMP);
            guest.param(0, landing(super::switcher::OWN));
            guest
        },
        any([
            trap_anywhere(14, 0),
            starts("attempt to access switcher pages"),
        ]),
    ));
    // What the program has not, its kernel has not either, and is told so.
    cases.push(hostile("promise/kernel-reads-what-leads-nowhere", || {
        let mut guest = second_to_promise();
        guest.load(USER, USER_STACK_TOP, TOUCH_ONE_AND_BACK);
        guest.ram.set_word(RESUME, va(READ_SIXTH));
        guest.run_to_poweroff(0)?;
        let second = |word| guest.out(RECORDS + RECORD + word);
        same("address", second(0), FIRST_VA + 5 * PAGE)?;
        same("ring", second(3), sel::KERNEL_CS)?;
        same("error code", second(1), 0)
    }));
    cases
}

/// Where the landing is in an area.
fn landing(area: usize) -> u64 {
    slot::area(area) + 5 * PAGE + slot::landing().expect("the module has a landing")
}
