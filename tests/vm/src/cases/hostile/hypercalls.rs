//! Hypercalls that are not, come too early, come twice, or name what they may not.

use super::{any, dies, hostile, is, starts, survives};
use crate::abi::{data, hc};
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;

/// A guest that makes these calls after LGUEST_INIT.
fn calls(calls: &[[u64; 4]]) -> Guest {
    let mut guest = Guest::new(work::SURVIVED);
    for call in calls {
        guest.call(*call);
    }
    guest
}

/// A guest whose very first calls are these.
fn first(calls: &[[u64; 4]]) -> Guest {
    let mut guest = Guest::bare(work::SURVIVED);
    for call in calls {
        guest.call(*call);
    }
    guest
}

/// A guest that crashes with a text at this address.
fn crash(at: u64, text: &[u8]) -> Guest {
    let guest = calls(&[[hc::CRASH, at, 0, 0]]);
    let room = MEMORY.saturating_sub(at).min(text.len() as u64) as usize;
    guest.ram.set_bytes(at.min(MEMORY), &text[..room]);
    guest
}

/// The async ring with these (status, call) entries from slot 0 on.
fn ring(guest: &Guest, entries: &[(u8, [u64; 4])]) {
    for (slot, (status, call)) in (0..).zip(entries) {
        for (word, value) in (0..).zip(call) {
            guest
                .ram
                .set_word(DATA + data::RING + 32 * slot + 8 * word, *value);
        }
        guest.ram.set_byte(DATA + data::RING_STATUS + slot, *status);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for number in [
        3,
        8,
        16,
        22,
        21,
        31,
        99,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 32 | 11,
        1 << 63 | 11,
    ] {
        let want = format!("Bad hypercall {number}");
        cases.push(dies(
            format!("hypercall/unknown-{number:#x}"),
            move || calls(&[[number, 0, 0, 0]]),
            is(&want),
        ));
    }
    cases.push(dies(
        "hypercall/unknown-all-ones",
        || calls(&[[u64::MAX, 0, 0, 0]]),
        starts("Bad hypercall "),
    ));
    for number in [0, 2, 3, 6, 10, 11, 12, 13, 19, 99] {
        let want = format!("hypercall {number} before LGUEST_INIT");
        cases.push(dies(
            format!("hypercall/{number}-before-init"),
            move || first(&[[number, 0, 0, 0]]),
            is(&want),
        ));
    }
    cases.push(dies(
        "init/twice",
        || calls(&[[hc::LGUEST_INIT, DATA, 0, 0]]),
        is("already have lguest_data"),
    ));
    cases.push(dies(
        "init/twice-elsewhere",
        || calls(&[[hc::LGUEST_INIT, FREE, 0, 0]]),
        is("already have lguest_data"),
    ));
    for (what, at) in [
        ("at-the-limit", MEMORY),
        ("over-the-limit", MEMORY - data::SIZE + 8),
        ("last-word", MEMORY - 8),
        ("far-beyond", 1 << 47),
        ("kernel-address", 0xffff_8880_0000_0000),
        ("wrapping", 0u64.wrapping_sub(data::SIZE - 8)),
        ("all-ones", u64::MAX),
        ("wrapping-to-zero", 0u64.wrapping_sub(data::SIZE)),
        ("page-number-wraps", 1 << 63),
    ] {
        cases.push(dies(
            format!("init/data-{what}"),
            move || first(&[[hc::LGUEST_INIT, at, 0, 0]]),
            starts("bad guest page"),
        ));
    }
    cases.push(survives("init/data-just-below-the-limit", || {
        let guest = first(&[
            [hc::LGUEST_INIT, MEMORY - data::SIZE, 0, 0],
            [hc::FLUSH_ASYNC, 0, 0, 0],
        ]);
        guest
            .ram
            .set_bytes(MEMORY - data::SIZE + data::RING_STATUS, &[0xff; 64]);
        guest
    }));
    cases.push(hostile("init/data-not-aligned", || {
        let mut guest = first(&[
            [hc::LGUEST_INIT, FREE + 0xff3, 0, 0],
            [hc::FLUSH_ASYNC, 0, 0, 0],
        ]);
        guest
            .ram
            .set_bytes(FREE + 0xff3 + data::RING_STATUS, &[0xff; 64]);
        // Refused or served, but nothing between.
        let reason = guest.run()?;
        check!(
            reason.starts_with("bad guest page") || reason == "POWEROFF: 0",
            "got {reason:?}"
        );
        Ok(())
    }));

    cases.push(dies(
        "crash/text",
        || crash(FREE, b"all is lost\0"),
        is("CRASH: all is lost"),
    ));
    cases.push(dies("crash/empty", || crash(FREE, b"\0"), is("CRASH: ")));
    cases.push(hostile("crash/endless-text", || {
        let reason = crash(FREE, &[b'x'; 1000]).run()?;
        let text = reason
            .strip_prefix("CRASH: ")
            .ok_or_else(|| format!("got {reason:?}"))?;
        check!(
            text.len() <= 128 && text.len() >= 100 && text.bytes().all(|b| b == b'x'),
            "got {} bytes: {text:?}",
            text.len()
        );
        Ok(())
    }));
    cases.push(hostile("crash/text-is-not-text", || {
        // Whatever becomes of such bytes: one reason, NUL at its end.
        let mut guest = crash(
            FREE,
            &[0xff, 0x80, 0x1b, b'[', 0xc3, 0x28, 0xf0, 0x9f, 10, 13, 7, 0],
        );
        guest.boot()?;
        let _ = guest.device().read(&mut [0; 16]);
        let mut text = [0xaa; 256];
        let len = guest
            .device()
            .read(&mut text)
            .map_err(|e| format!("reading the reason: {e:?}"))?;
        check!(
            text.starts_with(b"CRASH: ") && text[..len].last() == Some(&0),
            "got {:x?}",
            &text[..len]
        );
        Ok(())
    }));
    cases.push(dies(
        "crash/text-at-the-end-of-memory",
        || crash(MEMORY - 4, b"abc\0"),
        any([starts("CRASH: abc"), starts("bad read address")]),
    ));
    for (what, at) in [
        ("beyond-memory", MEMORY),
        ("kernel-address", 0xffff_8880_0000_0000),
        ("all-ones", u64::MAX),
        ("wraps", 0u64.wrapping_sub(64)),
    ] {
        cases.push(dies(
            format!("crash/text-{what}"),
            move || crash(at, b""),
            any([starts("bad read address"), starts("CRASH: ")]),
        ));
    }

    cases.push(dies(
        "ring/garbage-calls",
        || {
            let guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
            let garbage: Vec<_> = (0..64)
                .map(|i| {
                    (
                        data::PENDING,
                        [0x6666_0000 + i, u64::MAX, u64::MAX, u64::MAX],
                    )
                })
                .collect();
            ring(&guest, &garbage);
            guest
        },
        is("Bad hypercall 1717960704"),
    ));
    cases.push(dies(
        "ring/init-again",
        || {
            let guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
            ring(&guest, &[(data::PENDING, [hc::LGUEST_INIT, DATA, 0, 0])]);
            guest
        },
        is("already have lguest_data"),
    ));
    cases.push(dies(
        "ring/crash",
        || {
            let guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
            guest.ram.set_bytes(FREE, b"from the ring\0");
            ring(&guest, &[(data::PENDING, [hc::CRASH, FREE, 0, 0])]);
            guest
        },
        is("CRASH: from the ring"),
    ));
    cases.push(dies(
        "ring/power-off",
        || {
            let guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
            ring(
                &guest,
                &[
                    (data::PENDING, [hc::POWEROFF, 9, 0, 0]),
                    (data::PENDING, [99, 0, 0, 0]),
                ],
            );
            guest
        },
        is("POWEROFF: 9"),
    ));
    cases.push(hostile("ring/garbage-status", || {
        // Neither free nor pending: the Host may take it for either, and for nothing else.
        for status in [1, 2, 0x7f, 0x80, 0xfe] {
            let mut guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]; 4]);
            ring(&guest, &[(status, [99, 0, 0, 0]); 64]);
            let reason = guest.run()?;
            check!(
                reason == "Bad hypercall 99" || reason == "POWEROFF: 0",
                "status {status:#x}: {reason:?}"
            );
        }
        Ok(())
    }));
    cases.push(hostile("ring/full-before-init", || {
        let mut guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]; 4]);
        ring(&guest, &[(data::PENDING, [hc::FLUSH_TLB, 1, 0, 0]); 64]);
        guest.run_to_poweroff(0)?;
        same(
            "status bytes",
            guest.ram.bytes(DATA + data::RING_STATUS, 64),
            vec![data::DONE; 64],
        )
    }));
    cases.push(survives("ring/halt-and-clock", || {
        let mut guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
        guest.interrupts();
        ring(
            &guest,
            &[
                (data::PENDING, [hc::SET_CLOCKEVENT, 100_000, 0, 0]),
                (data::PENDING, [hc::FLUSH_ASYNC, 0, 0, 0]),
            ],
        );
        guest
    }));
    cases.push(dies(
        "ring/switches-tables",
        || {
            let guest = calls(&[[hc::FLUSH_ASYNC, 0, 0, 0]]);
            ring(&guest, &[(data::PENDING, [hc::NEW_PGTABLE, MEMORY, 0, 0])]);
            guest
        },
        starts("bad "),
    ));

    // Calls whose arguments mean nothing: harmless.
    for (name, call) in [
        ("flush-tlb-2", [hc::FLUSH_TLB, 2, 0, 0]),
        ("flush-tlb-all-ones", [hc::FLUSH_TLB, u64::MAX, 0, 0]),
        ("set-pte-unknown-table", [hc::SET_PTE, FREE, va(0), 0]),
        ("set-pte-table-all-ones", [hc::SET_PTE, u64::MAX, va(0), 0]),
        ("set-pte-not-canonical", [hc::SET_PTE, TABLES, 1 << 63, 0]),
        ("set-table-level-0", [hc::SET_TABLE, TABLES, va(0), 0]),
        ("set-table-level-1", [hc::SET_TABLE, TABLES, va(0), 1]),
        ("set-table-level-5", [hc::SET_TABLE, TABLES, va(0), 5]),
        ("set-table-level-6", [hc::SET_TABLE, TABLES, va(0), 6]),
        (
            "set-table-level-all-ones",
            [hc::SET_TABLE, TABLES, va(0), u64::MAX],
        ),
        (
            "set-table-not-canonical",
            [hc::SET_TABLE, TABLES, 0x1234_8000_0000_0000, 4],
        ),
        (
            "set-table-unknown-table",
            [hc::SET_TABLE, u64::MAX, va(0), 4],
        ),
        (
            "send-interrupts",
            [hc::SEND_INTERRUPTS, u64::MAX, u64::MAX, u64::MAX],
        ),
        (
            "flush-async",
            [hc::FLUSH_ASYNC, u64::MAX, u64::MAX, u64::MAX],
        ),
        ("idt-index-64", [hc::LOAD_IDT_ENTRY, 64, u64::MAX, u64::MAX]),
        (
            "idt-index-255",
            [hc::LOAD_IDT_ENTRY, 255, u64::MAX, u64::MAX],
        ),
        (
            "idt-index-256",
            [hc::LOAD_IDT_ENTRY, 256, u64::MAX, u64::MAX],
        ),
        (
            "idt-index-high-half",
            [hc::LOAD_IDT_ENTRY, 1 << 32, u64::MAX, u64::MAX],
        ),
        (
            "idt-index-all-ones",
            [hc::LOAD_IDT_ENTRY, u64::MAX, u64::MAX, u64::MAX],
        ),
        ("idt-nmi", [hc::LOAD_IDT_ENTRY, 2, u64::MAX, u64::MAX]),
        (
            "idt-double-fault",
            [hc::LOAD_IDT_ENTRY, 8, u64::MAX, u64::MAX],
        ),
        (
            "idt-machine-check",
            [hc::LOAD_IDT_ENTRY, 18, u64::MAX, u64::MAX],
        ),
        (
            "idt-hypercall",
            [hc::LOAD_IDT_ENTRY, 31, u64::MAX, u64::MAX],
        ),
    ] {
        // Refused by ignoring it, or by death for a reason that says so; never worse.
        cases.push(hostile(format!("argument/{name}"), move || harmless(call)));
    }
    cases
}

/// The guest goes on after this call, or dies of a reason that names what was bad.
fn harmless(call: [u64; 4]) -> Outcome {
    let reason = calls(&[call, call]).run()?;
    let fine = ["POWEROFF: 0", "bad ", "attempt to access switcher pages"]
        .iter()
        .any(|text| reason.starts_with(text));
    check!(
        fine,
        "expected the guest to go on, or to die of something bad; got {reason:?}"
    );
    Ok(())
}
