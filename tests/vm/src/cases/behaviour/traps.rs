//! Traps reflected to the guest kernel: frames, error codes, CR2.

use crate::abi::{IF, KERNEL_FLAGS, lhreq, sel};
use crate::blobs::{Blob, attack, privileged, work};
use crate::guest::{Guest, Trap};
use crate::harness::{Case, Outcome, check, same};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::tables::pte;

const TARGET: u64 = 0xffff_9000_0000_0000;

/// The only trap of a guest that ends by it.
fn only_trap(guest: &mut Guest, vector: u64) -> Outcome<Trap> {
    guest.run_to_poweroff(100 + vector as u8)?;
    same("traps", guest.trap_count(), 1)?;
    same("vector", guest.trap(0).vector, vector)?;
    Ok(guest.trap(0))
}

/// Whether LASS, where the Host has it, forbids the address by its highest bit, before any table is looked at: to programs the
/// upper half, to a kernel the lower one, if it wants to run what is there. (It reads there with AC set.) That is #GP.
fn kept_apart(at: u64, runs: bool, cs: u64) -> bool {
    let upper = at >> 63 == 1;
    host::has("lass")
        && if cs == sel::USER_CS {
            upper
        } else {
            runs && !upper
        }
}

/// A guest kernel that faults by this access: error code, CR2 and RIP.
fn kernel_fault(access: Blob, at: u64, flags: Option<u64>, error: u64) -> Outcome {
    let mut guest = Guest::new(access);
    guest.traps();
    if let Some(flags) = flags {
        guest.tables.map(at & !0xfff, FREE, flags);
    }
    guest.param(0, at);
    if kept_apart(at, error & 0x10 != 0, sel::KERNEL_CS) {
        return same("error code", only_trap(&mut guest, 13)?.error, 0);
    }
    let trap = only_trap(&mut guest, 14)?;
    same("error code", trap.error, error)?;
    same("cr2", trap.cr2, at)?;
    same("cs", trap.cs, sel::KERNEL_CS)
}

/// The same of a user program.
fn user_fault(instruction: &[u8], at: u64, flags: Option<u64>, error: u64) -> Outcome {
    let program = [
        &[0x48, 0xb8],
        &at.to_le_bytes()[..],
        instruction,
        &[0x0f, 0x0b],
    ]
    .concat();
    let mut guest = Guest::new(work::ENTER_USER);
    guest.traps().user(Blob::from_bytes(program));
    if let Some(flags) = flags {
        guest.tables.map(at & !0xfff, FREE, flags);
    }
    let lass = kept_apart(at, false, sel::USER_CS);
    let trap = only_trap(&mut guest, if lass { 13 } else { 14 })?;
    same("error code", trap.error, if lass { 0 } else { error })?;
    same("cr2", trap.cr2, if lass { 0 } else { at })?;
    same("cs", trap.cs, sel::USER_CS)?;
    same("ss", trap.ss, sel::USER_DS)?;
    same("rsp", trap.rsp, USER_STACK_VA)?;
    // On SET_STACK's stack: five words and the error code below its top.
    same("where the frame lies", trap.frame, va(KSTACK_TOP) - 40)
}

const READ: &[u8] = &[0x48, 0x8b, 0x18];
const WRITE: &[u8] = &[0x48, 0x89, 0x18];
const JUMP: &[u8] = &[0xff, 0xe0];
/// A user address that nothing else uses.
const USER_TARGET: u64 = 0x1234_5678_9000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("trap/frame-in-ring-1", || {
            let mut guest = Guest::new(privileged::UD2);
            guest.traps();
            let trap = only_trap(&mut guest, 6)?;
            same("rip", trap.rip, va(BODY))?;
            same("error code (pushed by the kit)", trap.error, 0)?;
            same("cs", trap.cs, sel::KERNEL_CS)?;
            same("ss", trap.ss, sel::KERNEL_DS)?;
            same("rsp", trap.rsp, va(STACK_TOP))?;
            same("where the frame lies", trap.frame, va(STACK_TOP) - 40)?;
            same("the handler's cs", trap.handler_cs, sel::KERNEL_CS)?;
            same(
                "RFLAGS.AC in the handler",
                trap.handler_rflags & (1 << 18),
                KERNEL_FLAGS & (1 << 18),
            )
        }),
        Case::new("trap/frame-shows-irq-enabled", || {
            // A trap that goes through the Host; those that reach ring 1 straight show the CPU's own flag.
            for enabled in [0, IF] {
                let mut guest = Guest::new(privileged::CLTS);
                guest.traps();
                guest.ram.set_word(DATA, enabled);
                let trap = only_trap(&mut guest, 13)?;
                same("RFLAGS.IF in the frame", trap.rflags & IF, enabled)?;
                same(
                    "irq_enabled in the handler of a trap gate",
                    trap.handler_irq_enabled,
                    enabled,
                )?;
            }
            Ok(())
        }),
        Case::new("trap/interrupt-gate-clears-irq-enabled", || {
            let mut guest = Guest::new(privileged::UD2);
            guest.gate(6, crate::blobs::kit::stub(6), 0xe, 0);
            guest.ram.set_word(DATA, IF);
            let trap = only_trap(&mut guest, 6)?;
            same("RFLAGS.IF in the frame", trap.rflags & IF, IF)?;
            same("irq_enabled in the handler", trap.handler_irq_enabled, 0)
        }),
        Case::new("trap/stack-is-aligned-first", || {
            for off in 0..=16 {
                let mut guest = Guest::new(work::MISALIGNED);
                guest.traps();
                guest.param(0, off);
                guest.run_to_poweroff(0)?;
                let (trap, rsp) = (guest.trap(0), guest.out(0));
                same("rsp in the frame", trap.rsp, rsp)?;
                same("where the frame lies", trap.frame, (rsp & !15) - 40)?;
            }
            Ok(())
        }),
        Case::new("trap/divide-error", || {
            // xor edx, edx; xor ecx, ecx; div ecx
            let mut guest = Guest::new(Blob::from_bytes(vec![0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1]));
            guest.traps();
            same("rip", only_trap(&mut guest, 0)?.rip, va(BODY) + 4)
        }),
        Case::new("trap/breakpoint", || {
            let mut guest = Guest::new(privileged::INT3);
            guest.traps();
            same("rip", only_trap(&mut guest, 3)?.rip, va(BODY) + 1)
        }),
        Case::new("trap/breakpoint-in-ring-3", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().user(privileged::INT3);
            let trap = only_trap(&mut guest, 3)?;
            same("rip", trap.rip, USER_VA + 1)?;
            same("cs", trap.cs, sel::USER_CS)
        }),
        Case::new("trap/int-0x80-in-ring-3", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().user(Blob::from_bytes(vec![0xcd, 0x80]));
            let reason = guest.run()?;
            let trap = guest.trap(0);
            // A Host without 32-bit programs gives the vector to a device, and a guest cannot have it. (QEMU 7.2 says so with
            // the number one bit too far to the left.)
            if reason == "POWEROFF: 113" && matches!(trap.error, 0x402 | 0x802) {
                return same("rip", trap.rip, USER_VA);
            }
            guest.powered_off(&reason, 100 + 0x80)?;
            same("rip", trap.rip, USER_VA + 2)?;
            same("where the frame lies", trap.frame, va(KSTACK_TOP) - 40)
        }),
        Case::new("trap/general-protection-in-ring-3", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().user(Blob::from_bytes(vec![0xfa]));
            let trap = only_trap(&mut guest, 13)?;
            same("error code", trap.error, 0)?;
            same("rip", trap.rip, USER_VA)
        }),
        Case::new("fault/kernel-reads-nothing", || {
            kernel_fault(attack::READ, TARGET + 0x123, None, 0)
        }),
        Case::new("fault/kernel-writes-nothing", || {
            kernel_fault(attack::WRITE, TARGET + 0x123, None, 2)
        }),
        Case::new("fault/kernel-writes-read-only", || {
            kernel_fault(attack::WRITE, TARGET + 8, Some(pte::P), 3)
        }),
        Case::new("fault/kernel-runs-no-execute", || {
            kernel_fault(attack::JUMP, TARGET, Some(pte::KERNEL | pte::NX), 0x11)
        }),
        Case::new("fault/kernel-low-address", || {
            kernel_fault(attack::READ, 0, None, 0)
        }),
        Case::new("fault/kernel-jumps-nowhere", || {
            // The instruction bit is only there where no-execute or SMEP is in use, which a 64-bit Host always does.
            kernel_fault(attack::JUMP, TARGET, None, 0x10)
        }),
        Case::new("fault/user-reads-nothing", || {
            user_fault(READ, USER_TARGET, None, 4)
        }),
        Case::new("fault/user-writes-nothing", || {
            user_fault(WRITE, USER_TARGET + 16, None, 6)
        }),
        Case::new("fault/user-writes-read-only", || {
            user_fault(WRITE, USER_TARGET, Some(pte::P | pte::U), 7)
        }),
        Case::new("fault/user-reads-kernel-page", || {
            user_fault(READ, va(FREE), None, 5)
        }),
        Case::new("fault/user-writes-kernel-page", || {
            user_fault(WRITE, va(FREE), None, 7)
        }),
        Case::new("fault/user-jumps-nowhere", || {
            user_fault(JUMP, USER_TARGET, None, 0x14)
        }),
        Case::new("fault/user-runs-no-execute", || {
            user_fault(JUMP, USER_TARGET, Some(pte::USER | pte::NX), 0x15)
        }),
        Case::new("fault/handler-mends-it-and-goes-on", || {
            // The kit returns to the instruction (RESUME = 1) after this thread has mapped what was missing.
            let mut guest = Guest::new(attack::READ);
            guest.traps();
            let at = guest.tables.entry(TARGET, 1);
            guest.ram.set_word(RESUME, 1);
            guest.ram.set_word(FREE, 0xfeed);
            guest.param(0, TARGET);
            guest.boot()?;
            let ram = guest.ram.clone();
            let mender = std::thread::spawn(move || {
                let faulted =
                    crate::harness::wait_until("the guest has faulted", || ram.word(TRAPS) > 3);
                ram.set_word(at, FREE | pte::KERNEL);
                faulted
            });
            let reason = guest.finish()?;
            crate::harness::join(mender)?;
            guest.powered_off(&reason, 0)?;
            same("the word read", guest.out(0), 0xfeed)
        }),
    ];
    let case = Case::new("fault/kernel-runs-user-page", || {
        kernel_fault(attack::JUMP, USER_TARGET, Some(pte::USER), 0x11)
    });
    cases.push(case.needing([Need::Cpu("smep")]));
    cases.push(Case::new("without-smap/no-handler-begins-with-ac", || {
        let mut guest = Guest::bare(work::SURVIVED);
        guest.flags = lhreq::WITHOUT_SMAP;
        guest.load(KIT, BODY, work::START_STATE);
        guest.run_to_poweroff(0)?;
        same("at birth", guest.out(16) & !0x8d5, 0x202)?;

        let mut guest = Guest::new(work::ENTER_USER);
        guest.flags = lhreq::WITHOUT_SMAP;
        guest.traps().user(work::USER_EXIT);
        guest.run_to_poweroff(0)?;
        let entry = guest.ram.word(SYSCALL_LOG + 40);
        same("in a system call", entry & !0x8d5, 0x202)?;

        let mut guest = Guest::new(work::USER_PAGE);
        guest.flags = lhreq::WITHOUT_SMAP;
        guest.traps().param(0, USER_TARGET);
        guest.run()?;
        let trap = guest.trap(0);
        same("the trap", trap.vector, 14)?;
        same("in its handler", trap.handler_rflags & !0x8d5, 0x202)
    }));
    cases.push(Case::new(
        "without-smap/pages-of-programs-are-the-kernels-too",
        || {
            let mut guest = Guest::new(work::USER_PAGE);
            guest.flags = lhreq::WITHOUT_SMAP;
            guest.traps();
            guest.tables.map(USER_TARGET, FREE, pte::USER);
            guest.ram.set_word(FREE, 0xcafe);
            guest.param(0, USER_TARGET);
            let reason = guest.run()?;
            same("read with AC set", guest.out(0), 0xcafe)?;
            same("read with AC clear", reason.as_str(), "POWEROFF: 1")?;

            // jmp [r15 + PARAM]: code on a page of ring 3, in ring 1.
            let jump = [0x41, 0xff, 0xa7, 0x00, 0x20, 0x00, 0x00];
            let jumps = |flags| {
                let mut guest = Guest::new(Blob::from_bytes(jump.to_vec()));
                guest.flags = flags;
                guest.traps();
                guest.tables.map(USER_TARGET, FREE, pte::USER);
                guest.ram.set_bytes(FREE, work::SURVIVED.bytes());
                guest.param(0, USER_TARGET);
                guest
            };
            if host::has("lass") {
                return Ok(());
            }
            jumps(lhreq::WITHOUT_SMAP).run_to_poweroff(0)?;
            if host::has("smep") {
                let mut guest = jumps(0);
                guest.run()?;
                same("without the flag", guest.trap(0).vector, 14)?;
            }
            Ok(())
        },
    ));
    cases.push(Case::new("fault/user-page-and-the-ac-flag", || {
        let mut guest = Guest::new(work::USER_PAGE);
        guest.traps();
        guest.tables.map(USER_TARGET, FREE, pte::USER);
        guest.ram.set_word(FREE, 0xcafe);
        guest.param(0, USER_TARGET);
        // With SMAP the second look, with AC clear, is a fault, with LASS a #GP; without both it is none.
        let reason = guest.run()?;
        same("read with AC set", guest.out(0), 0xcafe)?;
        if host::has("smap") {
            guest.powered_off(&reason, 0)?;
            if host::has("lass") {
                return same(
                    "vector and error code",
                    (guest.trap(0).vector, guest.trap(0).error),
                    (13, 0),
                );
            }
            same("error code", guest.trap(0).error, 1)?;
            same("cr2", guest.trap(0).cr2, USER_TARGET)
        } else {
            check!(reason == "POWEROFF: 1", "got {reason:?}");
            Ok(())
        }
    }));
    cases
}
