//! Ring 3 and its system calls.

use crate::abi::sel;
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("syscall/a-thousand-without-the-launcher", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().interrupts().user(work::USER_CALLS);
            guest.boot()?;
            // One single read(), which ends with the guest.
            same(
                "read()",
                guest.step()?,
                crate::guest::Event::Died("POWEROFF: 0".into()),
            )?;
            same("traps", guest.trap_count(), 0)
        }),
        Case::new("syscall/an-entry-counts-at-once", || {
            let mut guest = Guest::new(work::SYSCALL_ON_AND_OFF);
            guest.traps().interrupts().user(work::USER_BACK);
            guest.param(0, crate::blobs::kit::SYSCALL_ENTRY);
            guest.run_to_poweroff(0)?;
            // The calls of every other turn are undefined instructions.
            same("traps", guest.trap_count(), 50)?;
            let undefined = guest.trap_log().iter().all(|trap| trap.vector == 6);
            check!(undefined, "other traps than 6: {:?}", guest.trap_log());
            Ok(())
        }),
        Case::new("syscall/what-the-entry-finds", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().user(work::USER_EXIT);
            guest.run_to_poweroff(0)?;
            let log = |i: u64| guest.ram.word(SYSCALL_LOG + 8 * i);
            same("rcx: the user's rip", log(0), USER_VA + 6)?;
            same("r11: the user's flags", log(1) & !0x8d5, 0x202)?;
            same("rsp: still the user's", log(2), USER_STACK_VA)?;
            same("cs", log(3), sel::KERNEL_CS)?;
            same("ss", log(4), sel::KERNEL_DS)?;
            same("rflags", log(5) & !0x8d5, 0x40202)
        }),
        Case::new("syscall/whatever-rsp-is", || {
            for rsp in [
                0,
                1,
                1 << 63,
                u64::MAX,
                crate::abi::SWITCHER_4LEVEL + 0x1000,
                va(KSTACK_TOP),
            ] {
                // mov rsp, ...; xor eax, eax; xor edi, edi; syscall
                let program = [
                    &[0x48, 0xbc],
                    &rsp.to_le_bytes()[..],
                    &[0x31, 0xc0, 0x31, 0xff, 0x0f, 0x05],
                ]
                .concat();
                let mut guest = Guest::new(work::ENTER_USER);
                guest.traps().user(crate::blobs::Blob::from_bytes(program));
                guest
                    .run_to_poweroff(0)
                    .map_err(|e| format!("rsp {rsp:#x}: {e}"))?;
                same(
                    "rsp, still the user's",
                    guest.ram.word(SYSCALL_LOG + 16),
                    rsp,
                )?;
            }
            Ok(())
        }),
        Case::new("syscall/with-a-timer", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().interrupts().user(work::USER_CALLS);
            guest.ram.set_word(REARM, 50_000);
            guest.ram.set_word(DATA, crate::abi::IF);
            guest.call([crate::abi::hc::SET_CLOCKEVENT, 50_000, 0, 0]);
            guest.run_to_poweroff(0)?;
            same("traps", guest.trap_count(), 0)
        }),
        Case::new("syscall/user-flags-come-through", || {
            // Parameter 0 is or-ed into the user's flags: ID, AC and DF arrive in R11, whatever the entry runs with.
            for flag in [1 << 21, 1 << 18, 1 << 10] {
                let mut guest = Guest::new(work::ENTER_USER);
                guest.traps().user(work::USER_EXIT);
                guest.param(0, flag);
                guest.run_to_poweroff(0)?;
                let (r11, now) = (
                    guest.ram.word(SYSCALL_LOG + 8),
                    guest.ram.word(SYSCALL_LOG + 40),
                );
                check!(r11 & flag != 0, "flag {flag:#x} is not in R11 ({r11:#x})");
                same("flags in the entry", now & !0x8d5, 0x40202)?;
            }
            Ok(())
        }),
    ]
}
