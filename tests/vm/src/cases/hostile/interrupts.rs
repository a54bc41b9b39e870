//! Gates into places where no handler may be, and what happens when they are used.

use super::{any, dies, hostile, starts, survives, trap_anywhere};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, hc};
use crate::blobs::{attack, privileged, work};
use crate::guest::Guest;
use crate::harness::{Case, check};
use crate::layout::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in (0..16).filter(|kind| !matches!(kind, 0xe | 0xf)) {
        cases.push(dies(
            format!("gate/type-{kind:#x}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.gate(6, va(BODY), kind, 0);
                guest
            },
            starts("bad IDT type"),
        ));
    }
    for (name, at) in [
        ("switcher", SWITCHER_4LEVEL),
        ("switcher-code", SWITCHER_4LEVEL + 0x100),
        ("switcher-end", SWITCHER_4LEVEL + 0x7f_ffff_ffff),
        ("not-canonical", 0x8000_0000_0000_0000),
        ("just-over-the-lower-half", 0x8000_0000_0000),
        ("switcher-5", SWITCHER_5LEVEL + 0x100),
    ] {
        for vector in [0, 6, 13, 14, 31 + 1, 63, 0x80] {
            cases.push(dies(
                format!("gate/{vector}-in-{name}"),
                move || {
                    let mut guest = Guest::new(work::SURVIVED);
                    guest.gate(vector, at, 0xe, 0);
                    guest
                },
                starts("bad IDT handler"),
            ));
        }
    }
    cases.push(hostile("gate/handler-nowhere", || {
        let mut guest = Guest::new(privileged::UD2);
        guest.gate(6, 0xffff_9000_0000_0000, 0xf, 0);
        let reason = guest.run()?;
        check!(
            reason.starts_with("unhandled trap 14 at 0xffff9000"),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("gate/handler-in-user-space", || {
        // A handler on a user page: SMEP says no where there is one, else it runs, in ring 1, and that is the guest's affair.
        let mut guest = Guest::new(privileged::UD2);
        guest.user(work::SURVIVED);
        guest.gate(6, USER_VA, 0xf, 0);
        guest.boot()?;
        let reason = guest.finish_within(1000)?.unwrap_or_default();
        check!(
            reason == "POWEROFF: 0"
                || reason.starts_with("unhandled trap 14")
                || reason.starts_with("unhandled trap 13"),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(dies(
        "gate/not-present",
        || {
            let mut guest = Guest::new(privileged::UD2);
            let (low, high) = crate::guest::gate(va(KIT), 0xf, 0);
            guest.call([hc::LOAD_IDT_ENTRY, 6, low & !(1 << 47), high]);
            guest
        },
        any([trap_anywhere(6, 0), starts("bad IDT type")]),
    ));
    cases.push(dies(
        "gate/selector-of-ring-0",
        || {
            // The selector is the guest kernel's whatever the gate says: the handler runs in ring 1, where CLTS is refused.
            let mut guest = Guest::new(privileged::UD2);
            guest.load(FREE, FREE + PAGE, privileged::CLTS);
            let (low, high) = crate::guest::gate(va(FREE), 0xf, 0);
            guest.call([hc::LOAD_IDT_ENTRY, 6, low & !0xffff_0000 | 0x10 << 16, high]);
            guest
        },
        trap_anywhere(13, 0),
    ));
    cases.push(survives("gate/with-a-stack-of-the-host", || {
        // The IST field picks one of the Host's own stacks in the task state: not for the guest to say.
        let mut guest = Guest::new(attack::TAKES_UD);
        for ist in 0..8 {
            let (low, high) = crate::guest::gate(crate::blobs::kit::stub(6), 0xf, 0);
            guest.call([hc::LOAD_IDT_ENTRY, 6, low | ist << 32, high]);
        }
        guest
    }));
    for (name, delta) in [
        ("zero", 0),
        ("one", 1),
        ("hundred", 100),
        ("all-ones", u64::MAX),
        ("negative", 1 << 63),
        ("longest", i64::MAX as u64),
        ("second", 1_000_000_000),
    ] {
        cases.push(survives(format!("clock/{name}-2000-times"), move || {
            let mut guest = Guest::new(attack::CLOCK_STORM);
            guest.interrupts();
            guest.param(0, delta).param(1, 2000);
            guest
        }));
        cases.push(survives(
            format!("clock/{name}-with-no-handler"),
            move || {
                let mut guest = Guest::new(attack::CLOCK_STORM);
                guest.param(0, delta).param(1, 200);
                guest
            },
        ));
        cases.push(hostile(
            format!("clock/{name}-closed-while-it-runs"),
            move || {
                for _ in 0..20 {
                    let mut guest = Guest::new(work::SURVIVED);
                    guest.call([hc::SET_CLOCKEVENT, delta, 0, 0]);
                    guest.run_to_poweroff(0)?;
                }
                Ok(())
            },
        ));
    }
    cases.push(dies(
        "irq-enabled/garbage",
        || {
            // Anything but zero is "on", and a handler that is not there is no reason to die: the interrupt waits.
            let mut guest = Guest::new(work::SURVIVED);
            guest.ram.set_word(DATA, u64::MAX);
            guest.call([hc::SET_CLOCKEVENT, 1, 0, 0]);
            for _ in 0..20 {
                guest.call([hc::FLUSH_ASYNC, 0, 0, 0]);
            }
            guest
        },
        starts("POWEROFF: 0"),
    ));
    cases
}
