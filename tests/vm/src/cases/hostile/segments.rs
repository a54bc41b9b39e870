//! Selectors: far jumps and calls, IRETQ, segment registers, flags.

use super::{any, dies, hostile, is, starts, survives};
use crate::abi::{hc, sel};
use crate::blobs::{attack, work};
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;
use crate::tables::pte;

const NT: u64 = 1 << 14;
const IOPL: u64 = 3 << 12;
const TF: u64 = 1 << 8;

/// Every descriptor of the Switcher's table and of the Host's by the selectors that might get somewhere, and some beyond.
const FAR_SELECTORS: &[u64] = &[
    0, 1, 3, 0x8, 0x10, 0x11, 0x13, 0x18, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33, 0x38, 0x40, 0x41,
    0x48, 0x50, 0x58, 0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x70, 0x78, 0x7b, 0x80, 0x81, 0x82, 0x83,
    0x88, 0x89, 0x8a, 0x8b, 0x90, 0x130, 0xfff8,
];

/// 32-bit code and data of all rings, which becomes that of ring 3.
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;

/// All descriptors that are the guest's become this one.
fn fill_table(guest: &mut Guest, descriptor: Option<u64>) {
    for index in 0..16 {
        if let Some(descriptor) = descriptor {
            guest.call([hc::SET_DESCRIPTOR, index, descriptor, 0]);
        }
    }
}

/// Ends well, or with a trap that the guest's own kit took (status 100 + vector): never worse.
fn ends_or_traps(guest: &mut Guest) -> crate::harness::Outcome<String> {
    guest.traps().interrupts();
    let reason = guest.run()?;
    let fine = reason == "POWEROFF: 0"
        || [
            "POWEROFF: 110",
            "POWEROFF: 111",
            "POWEROFF: 112",
            "POWEROFF: 113",
            "POWEROFF: 114",
        ]
        .contains(&reason.as_str());
    check!(
        fine,
        "expected the end, or a trap of the guest's own, got {reason:?}"
    );
    Ok(reason)
}

/// Descriptors that no guest may have: name, place, word.
fn bad_wishes() -> Vec<(String, u64, u64)> {
    let system = (0..16).map(|kind| {
        let word = 0x00cf_e000_0000_ffff | kind << 40;
        (format!("system-{kind}"), 4, word)
    });
    let others = [
        ("conforming", 4, 0x00cf_ff00_0000_ffff),
        ("conforming-64-bit", 4, 0x00af_ff00_0000_ffff),
        ("of-64-bits-and-of-32", 4, 0x00ef_fb00_0000_ffff),
        ("of-16-bits", 4, 0x008f_fb00_0000_ffff),
        ("data-of-16-bits", 4, 0x008f_f300_0000_ffff),
        ("data-of-64-bits", 4, 0x00ef_f300_0000_ffff),
        ("of-the-kernel", 16, CODE_32),
        ("beyond-the-table", 18, DATA),
        ("far-beyond-the-table", 1 << 32 | 4, DATA),
        ("at-the-end-of-all", u64::MAX, DATA),
    ];
    let others = others.map(|(name, index, word)| (name.to_owned(), index, word));
    system.chain(others).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, name) in [(0, "jump"), (1, "call")] {
        cases.push(hostile(format!("far/{name}"), move || {
            // As it is at birth; all of it 32-bit code; all of it data.
            let tables = [None, Some(CODE_32), Some(DATA)];
            let all = FAR_SELECTORS.iter().copied();
            for (selector, table) in all.flat_map(|one| tables.map(|table| (one, table))) {
                let mut guest = Guest::new(attack::FAR);
                fill_table(&mut guest, table);
                guest.param(0, selector).param(1, call);
                let reason = ends_or_traps(&mut guest)
                    .map_err(|e| format!("selector {selector:#x}: {e}"))?;
                let own = matches!(selector, 0x80 | 0x81);
                check!(
                    reason != "POWEROFF: 0",
                    "a far {name} to selector {selector:#x} worked"
                );
                // The guest's own code segment is a good target, but at that offset there is nothing; with LASS it is not even
                // looked at, being in the lower half.
                let trap = guest.trap(0);
                let fine = if own {
                    trap.vector == if crate::host::has("lass") { 13 } else { 14 }
                } else {
                    trap.error == selector & !3 && matches!(trap.vector, 11 | 13)
                };
                check!(
                    fine && trap.cs == sel::KERNEL_CS,
                    "selector {selector:#x}: {trap:x?}"
                );
            }
            Ok(())
        }));
    }
    for (name, index, wish) in bad_wishes() {
        cases.push(dies(
            format!("descriptor/{name}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::SET_DESCRIPTOR, index, wish, 0]);
                guest
            },
            is(&format!("bad descriptor {wish:#x} for place {index}")),
        ));
    }
    cases.push(hostile("descriptor/ring-0-and-null-stay", || {
        for table in [CODE_32, DATA, 0] {
            let mut guest = Guest::new(work::SURVIVED);
            fill_table(&mut guest, Some(table));
            guest.run_to_poweroff(0)?;
        }
        Ok(())
    }));
    cases.push(hostile("descriptor/taken-from-a-program", || {
        // Its system call returns to segments that are gone, and the guest's own IRETQ traps.
        let mut guest = Guest::new(work::ENTER_USER);
        guest.traps().user(work::USER_CALLS);
        fill_table(&mut guest, Some(0));
        let reason = guest.run()?;
        check!(reason == "POWEROFF: 113", "got {reason:?}");
        Ok(())
    }));
    for (name, cs) in [
        ("ring-0-code", 0x10),
        ("ring-0-data", 0x18),
        ("own-code-with-rpl-0", 0x80),
        ("own-code-with-rpl-2", 0x82),
        ("null", 0),
        ("task-state", 0x40),
        ("local-table", 0x50),
        ("beyond-the-table", 0xfff8),
        ("32-bit-kernel", 0x8),
        ("own-data", sel::KERNEL_DS),
    ] {
        cases.push(hostile(format!("iretq/{name}"), move || {
            let mut guest = Guest::new(attack::IRET);
            guest
                .param(0, cs)
                .param(1, 0x202)
                .param(2, sel::KERNEL_DS)
                .param(3, 0);
            let reason = ends_or_traps(&mut guest)?;
            check!(reason == "POWEROFF: 113", "expected #GP, got {reason:?}");
            same(
                "the error code names the selector",
                guest.trap(0).error,
                cs & !3,
            )
        }));
    }
    for (name, cs, ss) in [
        ("32-bit-user", 0x23, 0x2b),
        ("user-with-kernel-stack", 0x33, 0x89),
        ("kernel-with-user-stack", 0x81, 0x2b),
        ("kernel-with-ring-0-stack", 0x81, 0x18),
        ("kernel-with-null-stack", 0x81, 1),
        ("kernel-with-null-stack-of-ring-0", 0x81, 0),
    ] {
        cases.push(hostile(format!("iretq/{name}"), move || {
            let mut guest = Guest::new(attack::IRET);
            guest.user(work::USER_EXIT);
            guest
                .param(0, cs)
                .param(1, 0x202)
                .param(2, ss)
                .param(3, if cs & 3 == 3 { USER_VA } else { 0 });
            ends_or_traps(&mut guest).map(drop)
        }));
    }
    for (name, rip) in [
        ("not-canonical", 1 << 63),
        ("just-over-the-lower-half", 0x8000_0000_0000),
        ("nowhere", 0xffff_9000_0000_0000),
    ] {
        cases.push(hostile(format!("iretq/to-{name}"), move || {
            let mut guest = Guest::new(attack::IRET);
            guest
                .param(0, sel::KERNEL_CS)
                .param(1, 0x202)
                .param(2, sel::KERNEL_DS)
                .param(3, rip);
            let reason = ends_or_traps(&mut guest)?;
            check!(
                reason == "POWEROFF: 113" || reason == "POWEROFF: 114",
                "got {reason:?}"
            );
            Ok(())
        }));
    }
    for (name, flags) in [
        ("iopl", IOPL),
        ("if-off", 0),
        ("everything", 0x3f7fd5 & !TF & !NT),
    ] {
        cases.push(hostile(format!("iretq/flags-{name}"), move || {
            let mut guest = Guest::new(attack::IRET);
            guest
                .param(0, sel::KERNEL_CS)
                .param(1, flags | 2)
                .param(2, sel::KERNEL_DS)
                .param(3, 0);
            ends_or_traps(&mut guest).map(drop)
        }));
    }
    for (name, flags) in [
        ("iopl", IOPL),
        ("nested-task", NT),
        ("if-off", 0),
        ("alignment", 1 << 18),
        ("virtual-8086", 3 << 17),
        ("identification", 1 << 21),
        ("direction", 1 << 10),
        ("everything-but-trap", 0x3f7fd5 & !TF),
    ] {
        cases.push(hostile(format!("popf/{name}"), move || {
            let mut guest = Guest::new(attack::POPF);
            guest.param(0, flags | 2);
            ends_or_traps(&mut guest)?;
            check!(guest.out(0) & IOPL == 0, "IOPL became {:#x}", guest.out(0));
            check!(
                guest.out(0) & 0x200 != 0,
                "the real interrupt flag went off: {:#x}",
                guest.out(0)
            );
            Ok(())
        }));
    }
    cases.push(hostile("trap-flag/nobody-handles-it", || {
        let mut guest = Guest::new(attack::POPF);
        guest.param(0, TF | 2);
        let reason = guest.run()?;
        check!(
            reason.starts_with("unhandled trap 1 at 0xffffffff8001"),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("trap-flag/across-a-hypercall", || {
        let mut guest = Guest::new(attack::STEP);
        guest.traps();
        guest.run_to_poweroff(0)?;
        let traps = guest.trap_log();
        check!(
            traps.len() >= 6
                && traps
                    .iter()
                    .all(|t| t.vector == 1 && t.cs == sel::KERNEL_CS),
            "expected single-step traps, got {traps:x?}"
        );
        Ok(())
    }));
    cases.push(hostile("trap-flag/held-back-by-mov-ss", || {
        let mut guest = Guest::new(attack::STEP_MOV_SS);
        guest.traps();
        let reason = guest.run()?;
        // SYSCALL with no entry is #UD, after which the kit (RESUME = 1) returns to it for ever: the log then is full of it.
        let traps = guest.trap_log();
        check!(
            traps
                .iter()
                .all(|t| matches!(t.vector, 1 | 6) && t.cs == sel::KERNEL_CS),
            "{reason:?}, {traps:x?}"
        );
        Ok(())
    }));
    cases.push(hostile("trap-flag/across-a-system-call", || {
        let mut guest = Guest::new(work::ENTER_USER);
        guest.traps().user(attack::USER_STEP);
        guest.ram.set_word(RESUME, 1);
        guest.run_to_poweroff(0)?;
        let traps = guest.trap_log();
        check!(
            !traps.is_empty()
                && traps
                    .iter()
                    .all(|t| t.vector == 1 && matches!(t.cs, 0x33 | 0x81)),
            "{traps:x?}"
        );
        check!(
            traps.iter().any(|t| t.cs == 0x33),
            "no single-step trap from ring 3: {traps:x?}"
        );
        Ok(())
    }));
    cases.push(survives("selectors/all-of-them", || {
        let mut guest = Guest::new(attack::SELECTORS);
        guest.traps();
        guest.param(0, 0).param(1, 0x140);
        guest
    }));
    cases.push(hostile("selectors/null-then-the-timer", || {
        let mut guest = Guest::new(attack::SEGMENT_MESS);
        guest.boot()?;
        same("killed by nothing", guest.finish_within(30)?, None)?;
        guest.ram.set_word(STOP, 1);
        guest.powered_off(&guest.finish()?, 0)
    }));
    cases.push(survives("stack-selector/own", || {
        let mut guest = Guest::new(attack::STACK_SELECTOR);
        guest.traps().interrupts();
        guest.param(0, sel::KERNEL_DS);
        guest
    }));
    for (name, ss) in [
        ("null-of-ring-0", 0),
        ("null-of-ring-1", 1),
        ("null-of-ring-3", 3),
    ] {
        cases.push(hostile(format!("stack-selector/{name}"), move || {
            // A CPU lets ring 1 have the null selector of its own ring and no other, and stays in ring 1. QEMU takes each of
            // them for an order to go to ring 0: the Switcher then finds itself on the guest's stack, and must notice.
            let mut guest = Guest::new(attack::STACK_SELECTOR);
            guest.traps().interrupts();
            guest.param(0, ss);
            let reason = guest.run()?;
            let fine = reason == "POWEROFF: 0"
                || reason == "POWEROFF: 113"
                || reason.contains("the Switcher");
            check!(fine, "got {reason:?}");
            Ok(())
        }));
    }
    cases.push(hostile("stack-selector/null-when-the-host-ticks", || {
        // The interrupt that ends this is the Host's, on QEMU with a frame on the guest's own stack. The guest may
        // be lost then, but the interrupt must not be: its CPU would never tick again. A CPU that obeys its manual loads
        // no null selector of ring 0 into SS in ring 1: #GP.
        let mut guest = Guest::new(attack::STACK_SELECTOR_BUSY);
        guest.traps().param(0, 0);
        let reason = guest.run()?;
        let fine = ["POWEROFF: 0", "POWEROFF: 113"].contains(&reason.as_str())
            || reason.contains("the Switcher");
        check!(fine, "got {reason:?}");
        Ok(())
    }));
    // An emulator may take IRETD for what it was before there were 64 bits, and bring the guest into 16-bit code with the flags
    // that it asked for. It comes out again by what it does there.
    for (name, rflags, code) in [
        ("halts", 0x2_0002, &[0xf4][..]),
        ("halts-with-interrupts-on", 0x2_0202, &[0xf4]),
        ("invalid-opcode", 0x2_0002, &[0x0f, 0x0b]),
        ("breakpoint-to-ring-1", 0x2_3002, &[0xcc]),
        ("waits-for-the-host", 0x2_0202, &[0xeb, 0xfe]),
    ] {
        cases.push(dies(
            format!("virtual-8086/{name}"),
            move || {
                const STACK: u64 = 0x1_0000;
                const CODE: u64 = 0x2_0000;
                let mut guest = Guest::new(attack::IRETD);
                guest.traps().param(0, STACK).param(1, CODE);
                guest.param(2, va(KSTACK_TOP) - 8);
                guest.call([hc::SET_STACK, sel::KERNEL_DS, va(KSTACK_TOP), 2]);
                guest.tables.map(STACK, FREE, pte::KERNEL);
                // The #GP, where there is one, is pushed below.
                guest.tables.map(STACK - PAGE, FREE + 2 * PAGE, pte::KERNEL);
                guest.tables.map(CODE, FREE + PAGE, pte::USER);
                let words = [0, CODE >> 4, rflags, 0x1000, 0, 0, 0, 0, 0];
                for (at, word) in (FREE..).step_by(4).zip(words) {
                    guest.ram.set_word32(at, word as u32);
                }
                guest.ram.set_bytes(FREE + PAGE, code);
                guest
            },
            // A CPU has no such selector.
            any([starts("flags "), is("POWEROFF: 113")]),
        ));
    }
    for (name, ss) in [
        ("ring-0", 0x18),
        ("user", 0x2b),
        ("code", 0x81),
        ("task-state", 0x41),
        ("beyond", 0xfff9),
    ] {
        cases.push(hostile(format!("stack-selector/{name}"), move || {
            let mut guest = Guest::new(attack::STACK_SELECTOR);
            guest.traps();
            guest.param(0, ss);
            let reason = guest.run()?;
            check!(
                [
                    "POWEROFF: 110",
                    "POWEROFF: 111",
                    "POWEROFF: 112",
                    "POWEROFF: 113"
                ]
                .contains(&reason.as_str()),
                "expected a trap of the guest's own, got {reason:?}"
            );
            Ok(())
        }));
    }
    cases
}
