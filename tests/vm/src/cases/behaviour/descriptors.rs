//! Descriptors of the guest's own: 32-bit programs, thread-local variables, and what of a table stays when it changes.

use crate::abi::{hc, sel};
use crate::blobs::{Blob, compat};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;

/// Flat 32-bit code of ring 3.
const CODE_32: u64 = 0x00cf_fb00_0000_ffff;
/// Where programs find a word by GS.
const TLS_VA: u64 = USER_VA + 0x2000;
/// In RFLAGS: a trap after each instruction.
const TF: u64 = 0x100;

/// Writable data of ring 3 that begins here.
fn data_at(base: u64) -> u64 {
    0x00cf_f300_0000_ffff | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

/// A guest that enters a 32-bit program, with a word behind GS, and returns from each trap to where it was.
fn compat_guest(program: Blob) -> Guest {
    let mut guest = Guest::new(compat::ENTER_USER_32);
    guest.traps().interrupts().user(program);
    guest.call([hc::SET_DESCRIPTOR, 4, CODE_32, 0]);
    guest.call([hc::SET_DESCRIPTOR, 12, data_at(TLS_VA), 0]);
    guest.ram.set_word(USER + TLS_VA - USER_VA, 0x7153);
    guest.ram.set_word(RESUME, 1);
    guest
}

/// How a 32-bit program ends that begins so.
fn first_trap(program: &[u8]) -> Outcome<crate::guest::Trap> {
    let mut guest = compat_guest(Blob::from_bytes(program.to_vec()));
    guest.ram.set_word(RESUME, 0);
    guest.run()?;
    same("traps", guest.trap_count(), 1)?;
    let trap = guest.trap(0);
    same("cs", trap.cs, sel::USER32_CS)?;
    same("ss", trap.ss, sel::USER_DS)?;
    same("rip", trap.rip, USER_VA)?;
    Ok(trap)
}

/// What the four data segment registers hold when descriptor 12 was loaded into them, the descriptor has changed, and the guest has slept.
fn after_a_sleep(descriptor: u64, change: u64) -> Outcome<[u64; 4]> {
    let mut guest = Guest::new(compat::STALE);
    guest.interrupts();
    guest.call([hc::SET_DESCRIPTOR, 12, descriptor, 0]);
    guest.param(0, change);
    guest.run_to_poweroff(0)?;
    Ok(std::array::from_fn(|index| guest.out(index as u64)))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("compat/computes-and-makes-system-calls", || {
            let mut guest = compat_guest(compat::USER_32);
            guest.run_to_poweroff(0)?;
            let log = guest.trap_log();
            check!(
                log.iter()
                    .all(|t| t.vector == 0x80 && t.cs == 0x23 && t.ss == 0x2b),
                "expected INT 0x80 from 32-bit code only, got {log:x?}"
            );
            same("system calls", guest.trap_count(), TRAP_MAX)
        }),
        Case::new("compat/is-interrupted", || {
            let mut guest = compat_guest(compat::USER_32_COUNTS);
            guest.ram.set_word(REARM, 100_000);
            let ram = guest.ram.clone();
            let thread = std::thread::spawn(move || guest.run_to_poweroff(0));
            let waited = crate::harness::wait_until("it was often interrupted", || {
                thread.is_finished() || ram.word(IRQ_COUNT) > 200
            });
            let cs = ram.word(IRQ_CS);
            ram.set_word32(USER + 0x2004, 1);
            crate::harness::join(thread)?;
            waited?;
            check!(
                matches!(cs, sel::USER32_CS | sel::KERNEL_CS),
                "an interrupt came in {cs:#x}"
            );
            Ok(())
        }),
        Case::new("compat/single-steps", || {
            let mut guest = compat_guest(compat::USER_32);
            guest.param(0, TF);
            guest.run_to_poweroff(0)?;
            let log = guest.trap_log();
            let steps = log.iter().filter(|t| t.vector == 1 && t.cs == 0x23);
            check!(steps.count() > 40, "expected steps, got {log:x?}");
            Ok(())
        }),
        Case::new("compat/syscall-is-no-instruction", || {
            same("vector", first_trap(&[0x0f, 0x05])?.vector, 6)
        }),
        Case::new("compat/sysenter-is-no-way-in", || {
            let trap = first_trap(&[0x0f, 0x34])?;
            check!(matches!(trap.vector, 6 | 13), "got {trap:x?}");
            Ok(())
        }),
        Case::new("compat/overflow-and-bounds", || {
            // mov al, 127; inc al; into
            let mut guest = compat_guest(Blob::from_bytes(vec![0xb0, 127, 0xfe, 0xc0, 0xce]));
            guest.ram.set_word(RESUME, 0);
            guest.run()?;
            same("INTO", guest.trap(0).vector, 4)?;
            // bound eax, ss:[TLS_VA]: 0 is not among 0x7153 and more. (There is nothing in DS yet.)
            let bound = [&[0x36, 0x62, 0x05][..], &(TLS_VA as u32).to_le_bytes()].concat();
            same("BOUND", first_trap(&bound)?.vector, 5)
        }),
        Case::new("descriptors/the-number-of-the-cpu-in-a-limit", || {
            let mut guest = Guest::new(compat::LIMIT);
            guest.traps().user(compat::USER_LIMIT);
            // As Linux has it: read-only, growing downwards, in bytes.
            guest.call([hc::SET_DESCRIPTOR, 15, 0x0040_f500_0000_0000 | 5, 0]);
            guest.run_to_poweroff(5)
        }),
        Case::new("descriptors/emptied-while-loaded", || {
            for base in [0, TLS_VA] {
                for change in [0, CODE_32 & !(2 << 40)] {
                    let selectors = after_a_sleep(data_at(base), change)
                        .map_err(|e| format!("{base:#x}, {change:#x}: {e}"))?;
                    same("the selectors", selectors, [0; 4])?;
                }
            }
            Ok(())
        }),
        Case::new("descriptors/kept-while-they-are-there", || {
            for (base, change) in [(0, 0), (0, TLS_VA), (TLS_VA, 0), (TLS_VA, TLS_VA + 8)] {
                let selectors = after_a_sleep(data_at(base), data_at(change))
                    .map_err(|e| format!("{base:#x}, {change:#x}: {e}"))?;
                same("the selectors", selectors, [0x63; 4])?;
            }
            Ok(())
        }),
    ]
}
