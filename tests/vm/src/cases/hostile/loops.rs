//! Guests that never stop by themselves: a signal, a break and a kill must each get through.

use super::{dies, hostile, starts, survives, trap_anywhere};
use crate::blobs::{Blob, attack, privileged, work};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, granted, join, same};
use crate::layout::*;

fn ring1(body: Blob) -> Guest {
    let mut guest = Guest::new(body);
    guest.traps().interrupts();
    guest
}

fn ring3(program: Blob) -> Guest {
    let mut guest = Guest::new(work::ENTER_USER);
    guest.traps().interrupts().user(program);
    guest
}

/// Two gates that lead to each other: the fault of one handler is the other's.
fn faulting_handler() -> Guest {
    let mut guest = Guest::new(privileged::UD2);
    // The handler of #UD is a UD2 that first resets the stack.
    guest.load(FREE, FREE + PAGE, attack::RESET_AND_UD2);
    guest.gate(6, va(FREE), 0xf, 0);
    guest
}

type Build = fn() -> Guest;

const LOOPS: &[(&str, Build)] = &[
    ("ring1-spin", || ring1(work::SPIN)),
    ("ring3-spin", || ring3(work::USER_SPIN)),
    ("hypercalls", || ring1(attack::HCALL_FOREVER)),
    ("emulated", || ring1(attack::CLI_FOREVER)),
    ("traps", || ring1(attack::TRAP_FOREVER)),
    ("handlers-that-fault", faulting_handler),
    ("sleep", || ring1(attack::HALT_FOREVER)),
    ("system-calls", || ring3(attack::USER_CALLS_FOREVER)),
    ("spin-with-timer-storm", || {
        let guest = ring1(work::TICK);
        guest.ram.set_word(REARM, 1);
        guest
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, build) in LOOPS {
        cases.push(hostile(format!("loop/{name}-by-signal"), move || {
            let guest = &mut build();
            guest.boot()?;
            for _ in 0..5 {
                same("read()", guest.finish_within(20)?, None)?;
            }
            Ok(())
        }));
        cases.push(hostile(format!("loop/{name}-by-break"), move || {
            by_break(&mut build())
        }));
        cases.push(hostile(format!("loop/{name}-by-kill"), move || {
            by_kill(*build)
        }));
    }
    cases.push(survives("storm/hypercalls", || {
        let mut guest = Guest::new(work::STORM);
        guest.param(0, 20_000);
        guest
    }));
    cases.push(survives("harmless/cpuid-and-friends", || {
        Guest::new(attack::HARMLESS)
    }));
    // SYSRET's old trap: a system call whose return address is not canonical.
    cases.push(hostile("top-of-user-space/syscall", || {
        let mut guest = ring3(attack::USER_TOP_JUMP);
        let top = 0x7fff_ffff_f000;
        guest.tables.map(top, FREE, crate::tables::pte::USER);
        let reason = guest.run()?;
        check!(
            ["POWEROFF: 113", "POWEROFF: 114", "POWEROFF: 112"].contains(&reason.as_str()),
            "got {reason:?}, {:x?}",
            guest.trap_log()
        );
        same(
            "RCX of the system call",
            guest.ram.word(SYSCALL_LOG),
            0x8000_0000_0000,
        )
    }));
    cases.push(dies(
        "top-of-user-space/runs-off",
        || {
            // Falls over the edge: the next instruction would be at a non-canonical address.
            let mut guest = Guest::new(work::ENTER_USER);
            guest.user(Blob::from_bytes(vec![
                0x48, 0xb8, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0xc6, 0x00, 0x90, 0xff, 0xe0,
            ]));
            guest
                .tables
                .map(0x7fff_ffff_f000, FREE, crate::tables::pte::USER);
            guest
        },
        super::any([
            trap_anywhere(13, 0),
            starts("unhandled trap 14 at 0x800000000000"),
        ]),
    ));
    cases
}

/// A break gets through at any time.
fn by_break(guest: &mut Guest) -> Outcome {
    guest.boot()?;
    for _ in 0..5 {
        let device = guest.device().duplicate();
        let breaker = std::thread::spawn(move || Ok(device.set_break(true)));
        same("read()", guest.step()?, Event::Break)?;
        granted("BREAK off", guest.device().set_break(false), 16)?;
        granted("BREAK on", join(breaker)?, 16)?;
    }
    Ok(())
}

/// SIGKILL gets through, and the Guest goes with its Launcher.
fn by_kill(build: Build) -> Outcome {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    let (from, to) = nix::unistd::pipe().map_err(|e| e.to_string())?;
    // SAFETY: the child runs a guest and ends; the other thread of this case holds no lock that it needs for that but the
    // allocator's, which glibc hands over in good order.
    match unsafe { nix::unistd::fork() }.map_err(|e| e.to_string())? {
        nix::unistd::ForkResult::Child => {
            let mut guest = build();
            let outcome = guest.boot().map(drop).and_then(|()| {
                nix::unistd::write(&to, b"!").map_err(|e| e.to_string())?;
                guest.finish().map(drop)
            });
            crate::harness::runner::report(to, outcome)
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(to);
            let mut byte = [0; 1];
            nix::unistd::read(&from, &mut byte).map_err(|e| e.to_string())?;
            kill(child, Signal::SIGKILL).map_err(|e| e.to_string())?;
            let status = waitpid(child, None).map_err(|e| e.to_string())?;
            check!(
                matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
                "expected it killed, got {status:?}"
            );
            Ok(())
        }
    }
}
