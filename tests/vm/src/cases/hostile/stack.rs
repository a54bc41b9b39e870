//! Stacks on which nothing can be pushed.

use super::{any, dies, hostile, starts, trap, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, hc};
use crate::blobs::{attack, privileged, work};
use crate::guest::Guest;
use crate::harness::{Case, check};
use crate::layout::*;
use crate::slot;
use crate::tables::pte;

/// Kernel addresses with nothing behind them, with something read-only, and with something else entirely.
fn stacks() -> [(&'static str, u64); 11] {
    [
        ("not-canonical", 0x8000_0000_0000_0000),
        ("not-canonical-5", 0x0080_0000_0000_0000),
        ("null", 0),
        ("almost-null", 8),
        ("all-ones", u64::MAX),
        ("nowhere", 0xffff_9000_0000_0000),
        ("switcher", slot::area(super::switcher::OWN) + PAGE),
        ("switcher-far", SWITCHER_4LEVEL + 0x7f_ffff_f000),
        ("switcher-5", SWITCHER_5LEVEL + 0x1000),
        ("read-only", va(FREE) + 0x1000),
        ("beyond-memory", va(MEMORY) + 0x1000),
    ]
}

/// What a guest with RSP there may die of: that its stack is bad, or of the trap itself or of one that pushing raised.
const REASONS: &[&str] = &[
    "bad stack page",
    "attempt to access switcher pages",
    "bad ",
    "unhandled trap 12 ",
    "unhandled trap 14 ",
    "unhandled trap 8 ",
];

fn with_stack(at: u64, event: u64) -> Guest {
    let mut guest = Guest::new(attack::BAD_STACK);
    guest.traps().interrupts();
    guest.tables.map(va(FREE), FREE, pte::P);
    guest.ram.set_word(REARM, 200_000);
    guest.param(0, at).param(1, event);
    guest
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, at) in stacks() {
        for (event, what) in [
            (0, "invalid-opcode"),
            (2, "page-fault"),
            (3, "timer"),
            (5, "breakpoint"),
            (6, "push"),
        ] {
            cases.push(hostile(format!("stack/{name}-{what}"), move || {
                let guest = &mut with_stack(at, event);
                guest.boot()?;
                let reason = guest
                    .finish_within(2000)?
                    .unwrap_or_else(|| "it lives on".into());
                // The stack on which the CPU pushes for the Switcher is one on which ring 1 can push, too: by an instruction, or
                // by a trap that reaches it without a visit to the Host.
                if name.starts_with("switcher")
                    && ["POWEROFF: 6", "POWEROFF: 103", "POWEROFF: 106"].contains(&reason.as_str())
                {
                    return Ok(());
                }
                check!(
                    REASONS.iter().any(|text| reason.starts_with(text)),
                    "expected death by a bad stack, got {reason:?}"
                );
                Ok(())
            }));
        }
        // The Host has its own stack for these, and pushes nothing on the guest's.
        cases.push(hostile(format!("stack/{name}-hypercall"), move || {
            with_stack(at, 1).run_to_poweroff(1)
        }));
        cases.push(hostile(format!("stack/{name}-emulated"), move || {
            with_stack(at, 4).run_to_poweroff(4)
        }));
        cases.push(dies(
            format!("stack/{name}-with-no-handler"),
            move || {
                let mut guest = Guest::new(attack::BAD_STACK);
                guest.param(0, at).param(1, 0);
                guest
            },
            trap(6, 0),
        ));
    }
    cases.push(hostile("stack/runs-out", || {
        // A #PF handler that is not there: each fault pushes a frame, until the stack has walked off its mapping.
        let mut guest = Guest::new(attack::FAULT_LOOP);
        guest.gate(14, 0xffff_9000_0000_0000, 0xf, 0);
        guest.boot()?;
        let reason = guest
            .finish_within(20_000)?
            .unwrap_or_else(|| "it lives on".into());
        check!(
            REASONS.iter().any(|text| reason.starts_with(text)),
            "got {reason:?}"
        );
        Ok(())
    }));

    for ss in [0, 3, 0x88, 0x8a, 0x8b, 0x10, 0x18, 0x2b, 0x33, 0x1_0088, !3] {
        cases.push(dies(
            format!("set-stack/segment-{ss:#x}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::SET_STACK, ss, va(KSTACK_TOP), 1]);
                guest
            },
            starts("bad stack segment"),
        ));
    }
    for pages in [3, 4, 1 << 32, 1 << 32 | 1, u64::MAX] {
        cases.push(dies(
            format!("set-stack/pages-{pages:#x}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::SET_STACK, 0x89, va(KSTACK_TOP), pages]);
                guest
            },
            starts("bad stack pages"),
        ));
    }
    for (name, at) in stacks() {
        for pages in [1, 2] {
            cases.push(hostile(format!("set-stack/{name}-{pages}"), move || {
                let mut guest = Guest::new(work::ENTER_USER);
                guest.traps().user(privileged::UD2);
                guest.tables.map(va(FREE), FREE, pte::P);
                guest.call([hc::SET_STACK, 0x89, at, pages]);
                let reason = guest.run()?;
                check!(
                    ["bad stack page", "attempt to access switcher pages", "bad "]
                        .iter()
                        .any(|text| reason.starts_with(text)),
                    "expected death by a bad stack, got {reason:?}"
                );
                Ok(())
            }));
        }
    }
    cases.push(dies(
        "set-stack/never-called",
        || {
            // A trap from ring 3 finds no kernel stack at all.
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps();
            guest.load(USER, USER_STACK_TOP, privileged::UD2);
            for pa in (USER..USER_STACK_TOP).step_by(PAGE as usize) {
                guest.tables.map(USER_VA + pa - USER, pa, pte::USER);
            }
            guest
        },
        any([starts("bad stack"), trap_anywhere(6, 0)]),
    ));
    cases
}
