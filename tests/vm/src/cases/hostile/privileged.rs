//! Privileged instructions, one by one, in ring 1 and in ring 3, with and without somebody to take the trap.

use super::{Want, any, dies, hostile, is, starts, survives, trap};
use crate::blobs::{Blob, privileged as p, work};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check};
use crate::layout::*;
use crate::needs::Need;

/// The instruction, and then the end with status 0.
fn then_survive(instruction: Blob) -> Blob {
    Blob::from_bytes([instruction.bytes(), work::SURVIVED.bytes()].concat())
}

/// Ring-1 instructions that must raise this trap, whoever handles it.
const REFUSED: &[(&str, Blob, u64)] = &[
    ("lgdt", p::LGDT, 13),
    ("lidt", p::LIDT, 13),
    ("lldt", p::LLDT, 13),
    ("ltr", p::LTR, 13),
    ("lmsw", p::LMSW, 13),
    ("clts", p::CLTS, 13),
    ("mov-to-cr0", p::MOV_TO_CR0, 13),
    ("mov-to-cr4", p::MOV_TO_CR4, 13),
    ("mov-to-cr8", p::MOV_TO_CR8, 13),
    ("mov-from-cr8", p::MOV_FROM_CR8, 13),
    ("mov-to-dr0", p::MOV_TO_DR0, 13),
    ("mov-to-dr7", p::MOV_TO_DR7, 13),
    ("mov-from-dr6", p::MOV_FROM_DR6, 13),
    ("mov-from-dr7", p::MOV_FROM_DR7, 13),
    ("rdmsr-apic-base", p::RDMSR_APIC_BASE, 13),
    ("rdmsr-unknown", p::RDMSR_UNKNOWN, 13),
    ("rdmsr-star", p::RDMSR_STAR, 13),
    ("wrmsr-apic-base", p::WRMSR_APIC_BASE, 13),
    ("wrmsr-unknown", p::WRMSR_UNKNOWN, 13),
    ("wrmsr-star", p::WRMSR_STAR, 13),
    ("wrmsr-sfmask", p::WRMSR_SFMASK, 13),
    ("wrmsr-efer", p::WRMSR_EFER, 13),
    ("wrmsr-sysenter-cs", p::WRMSR_SYSENTER_CS, 13),
    ("wrmsr-sysenter-eip", p::WRMSR_SYSENTER_EIP, 13),
    ("wrmsr-pat", p::WRMSR_PAT, 13),
    ("wrmsr-tsc", p::WRMSR_TSC, 13),
    ("wrmsr-debugctl", p::WRMSR_DEBUGCTL, 13),
    ("wrmsr-spec-ctrl", p::WRMSR_SPEC_CTRL, 13),
    ("wrmsr-fs-base-not-canonical", p::WRMSR_FS_NONCANONICAL, 13),
    ("wrmsr-gs-base-not-canonical", p::WRMSR_GS_NONCANONICAL, 13),
    (
        "wrmsr-kernel-gs-base-not-canonical",
        p::WRMSR_KERNEL_GS_NONCANONICAL,
        13,
    ),
    ("wbinvd", p::WBINVD, 13),
    ("invd", p::INVD, 13),
    ("sysretq", p::SYSRETQ, 13),
    ("insb", p::INS, 13),
    ("outsb", p::OUTS, 13),
    ("prefixes-too-many", p::PREFIXED_TOO_LONG, 13),
    ("ud2", p::UD2, 6),
    ("rsm", p::RSM, 6),
    ("stac", p::STAC, 6),
    ("clac", p::CLAC, 6),
    ("monitor", p::MONITOR, 6),
    ("mwait", p::MWAIT, 6),
];

/// Instructions of which the CPU model decides whether they are refused (13) or do not exist (6).
const REFUSED_OR_UNKNOWN: &[(&str, Blob)] = &[
    ("invpcid", p::INVPCID),
    ("xsetbv", p::XSETBV),
    ("xsaves", p::XSAVES),
    ("vmcall", p::VMCALL),
    ("vmrun", p::VMRUN),
    ("vmxon", p::VMXON),
    ("stgi", p::STGI),
    ("skinit", p::SKINIT),
    ("sysenter", p::SYSENTER),
    ("sysexit", p::SYSEXIT),
];

/// Instructions that do no harm: they work, or are refused where UMIP or the like says so.
const HARMLESS: &[(&str, Blob)] = &[
    ("sgdt", p::SGDT),
    ("sidt", p::SIDT),
    ("sldt", p::SLDT),
    ("str", p::STR),
    ("smsw", p::SMSW),
    // A CPU refuses these; QEMU takes them, and whatever it then holds must do no harm.
    ("wrgsbase-not-canonical", p::WRGSBASE_NONCANONICAL),
    ("wrfsbase-not-canonical", p::WRFSBASE_NONCANONICAL),
    ("rdtsc", p::RDTSC),
    ("rdpmc", p::RDPMC),
    ("cpuid", p::CPUID),
    ("lar-lsl-verr-verw", p::SELECTORS),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, code, vector) in REFUSED {
        cases.extend(refused(name, *code, *vector, trap(*vector, 0)));
    }
    for (name, code) in REFUSED_OR_UNKNOWN {
        cases.extend(refused(name, *code, 13, any([trap(13, 0), trap(6, 0)])));
    }
    for (name, code) in HARMLESS {
        cases.push(hostile(format!("ring1/{name}"), move || {
            let reason = Guest::new(then_survive(*code)).run()?;
            let fine = reason == "POWEROFF: 0" || any([trap(13, 0), trap(6, 0)]).fits(&reason);
            check!(
                fine,
                "expected POWEROFF: 0 or an unhandled trap 13 or 6, got {reason:?}"
            );
            Ok(())
        }));
        cases.push(hostile(format!("ring3/{name}"), move || {
            in_ring_3(*code, &[6, 13], false)
        }));
    }
    for (name, code, vector) in REFUSED {
        let vectors = if *vector == 13 {
            vec![13, 6]
        } else {
            vec![*vector]
        };
        cases.push(hostile(format!("ring3/{name}"), move || {
            in_ring_3(*code, &vectors, true)
        }));
    }
    for (name, code) in REFUSED_OR_UNKNOWN {
        cases.push(hostile(format!("ring3/{name}"), move || {
            in_ring_3(*code, &[6, 13], true)
        }));
    }
    cases.push(survives("ring1/cli-with-14-prefixes", || {
        Guest::new(then_survive(p::PREFIXED_CLI))
    }));
    cases.push(dies(
        "ring1/syscall-with-no-entry",
        || Guest::new(then_survive(p::SYSCALL)),
        trap(6, 0),
    ));
    cases.push(hostile("ring1/syscall", || {
        // With an entry set: the kernel's own system call arrives there, or is none. The kit's call 0 powers off with RDI.
        let mut guest = Guest::new(then_survive(p::SYSCALL));
        guest.user(work::USER_EXIT).traps();
        let reason = guest.run()?;
        check!(
            reason == "POWEROFF: 0" || reason == "POWEROFF: 106" || trap(6, 0).fits(&reason),
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("ring3/syscall-with-no-entry", || {
        let mut guest = Guest::new(work::ENTER_USER);
        guest.traps().user_without_syscalls(work::USER_EXIT);
        guest.run_to_poweroff(106)?;
        let trap = guest.trap(0);
        check!(
            trap.cs & 3 == 3 && trap.error == 0,
            "expected #UD from ring 3, got {trap:x?}"
        );
        Ok(())
    }));
    cases.push(dies(
        "ring3/syscall-with-no-entry-and-no-handler",
        || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.user_without_syscalls(work::USER_EXIT);
            guest
        },
        Want::Trap(6, 0, USER_VA..USER_VA + PAGE),
    ));
    cases.push(hostile("ring1/icebp", || {
        let mut guest = Guest::new(then_survive(p::ICEBP));
        let reason = guest.run()?;
        // QEMU does not know it.
        check!(
            reason.starts_with("unhandled trap 1 at") || reason.starts_with("unhandled trap 6 at"),
            "got {reason:?}"
        );
        guest = Guest::new(then_survive(p::ICEBP));
        guest.traps();
        let reason = guest.run()?;
        check!(
            reason == "POWEROFF: 101" || reason == "POWEROFF: 106",
            "got {reason:?}"
        );
        Ok(())
    }));
    cases.push(hostile("ring1/int-n", || every_int(false)));
    cases.push(hostile("ring3/int-n", || every_int(true)));
    cases.push(hostile("ring1/every-two-byte-opcode", || {
        // 0f 00 .. 0f ff with a register operand: whatever it does, the guest ends and nobody else notices.
        for opcode in 0..=255 {
            let code = Blob::from_bytes(
                [
                    &[0x0f, opcode, 0xc0, 0x90, 0x90, 0x90, 0x90, 0x90],
                    work::SURVIVED.bytes(),
                ]
                .concat(),
            );
            let mut guest = Guest::new(code);
            guest.traps();
            guest.boot()?;
            guest
                .finish_within(500)
                .map_err(|e| format!("opcode 0f {opcode:02x}: {e}"))?;
        }
        Ok(())
    }));
    let case = survives("ring1/bases-far-from-home", || {
        let mut guest = Guest::new(p::BASE_GAMES);
        guest.interrupts();
        guest
    });
    cases.push(case.needing([Need::Cpu("fsgsbase")]));
    cases.push(dies(
        "ring1/int3-with-no-handler",
        || Guest::new(then_survive(p::INT3)),
        any([
            starts("unhandled trap 3 at"),
            is("unhandled trap 13 at 0xffffffff80014000 (0x1a)"),
        ]),
    ));
    cases
}

/// Ring 1, once with nobody to handle the trap and once with the kit, which must find #GP or #UD at the instruction.
fn refused(name: &'static str, code: Blob, vector: u64, want: Want) -> [Case; 2] {
    [
        dies(
            format!("ring1/{name}"),
            move || Guest::new(then_survive(code)),
            want,
        ),
        hostile(format!("ring1/{name}-handled"), move || {
            let mut guest = Guest::new(then_survive(code));
            guest.traps();
            let reason = guest.run()?;
            check!(
                guest.trap_count() == 1,
                "expected one trap, got {}, and {reason:?}",
                guest.trap_count()
            );
            let trap = guest.trap(0);
            let right = trap.vector == vector || vector == 13 && trap.vector == 6;
            let here = (va(BODY)..va(BODY) + code.bytes().len() as u64).contains(&trap.rip);
            check!(
                right && here && trap.error == 0 && trap.cs == 0x81 && trap.ss == 0x89,
                "expected trap {vector} at the instruction, got {trap:x?}"
            );
            Ok(())
        }),
    ]
}

/// Ring 3: one of these traps, from there; or (unless it must trap) on to the `ud2` behind.
fn in_ring_3(code: Blob, vectors: &[u64], must: bool) -> Outcome {
    let mut guest = Guest::new(work::ENTER_USER);
    guest
        .traps()
        .user(Blob::from_bytes([code.bytes(), p::UD2.bytes()].concat()));
    let reason = guest.run()?;
    check!(
        guest.trap_count() == 1,
        "expected one trap, got {} and {reason:?}: {:x?}",
        guest.trap_count(),
        guest.trap_log()
    );
    let (trap, end) = (guest.trap(0), USER_VA + code.bytes().len() as u64);
    check!(
        trap.cs == 0x33 && trap.ss == 0x2b,
        "expected a trap from ring 3, got {trap:x?}"
    );
    if !must && trap.rip == end {
        return Ok(());
    }
    // What needs the guest kernel's registers faults on its address first: #PF is as good a refusal.
    let right = vectors.contains(&trap.vector) || trap.vector == 14;
    check!(
        right && trap.rip < end,
        "expected trap {vectors:?} before {end:#x}, got {trap:x?}"
    );
    Ok(())
}

/// `int n` for every n but the two that are there for the guest's kernel.
fn every_int(user: bool) -> Outcome {
    for n in (0..=255u8).filter(|n| user || !matches!(n, 0x1b | 0x1f)) {
        let code = [0xcd, n];
        let mut guest = if user {
            let mut guest = Guest::new(work::ENTER_USER);
            guest
                .traps()
                .user(Blob::from_bytes([&code[..], p::UD2.bytes()].concat()));
            guest
        } else {
            let mut guest = Guest::new(Blob::from_bytes(
                [&code[..], work::SURVIVED.bytes()].concat(),
            ));
            guest.traps();
            guest
        };
        let reason = guest.run().map_err(|e| format!("int {n:#x}: {e}"))?;
        let trap = guest.trap(0);
        // QEMU 7.2 puts the number one bit too far to the left.
        let refused = trap.vector == 13
            && (trap.error == u64::from(n) << 3 | 2 || trap.error == u64::from(n) << 4 | 2);
        // Gates that the guest itself opened (to ring 3: 3, 4 and 0x80; to itself also those of DPL 0 or 1).
        let opened = trap.vector == u64::from(n) && (matches!(n, 3 | 4 | 0x80) || !user && n < 32);
        check!(
            guest.trap_count() == 1 && (refused || opened),
            "int {n:#x}: expected #GP({:#x}){}, got {reason:?} and {:x?}",
            u64::from(n) << 3 | 2,
            if matches!(n, 3 | 4 | 0x80) {
                " or its own gate"
            } else {
                ""
            },
            guest.trap_log()
        );
    }
    Ok(())
}
