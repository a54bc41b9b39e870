//! The first instruction and the last words.

use crate::abi::{KERNEL_FLAGS, hc, sel};
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;
use crate::tables::pte;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("start/registers", || {
            let mut guest = Guest::bare(work::SURVIVED);
            guest.load(KIT, BODY, work::START_STATE);
            guest.run_to_poweroff(0)?;
            const NAMES: [&str; 16] = [
                "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12",
                "r13", "r14", "r15", "rsp",
            ];
            for (index, name) in (0..).zip(NAMES) {
                same(name, guest.out(index), 0)?;
            }
            // The arithmetic flags are whatever the code before PUSHF left.
            same("rflags", guest.out(16) & !0x8d5, KERNEL_FLAGS & !0x8d5)?;
            same("cs", guest.out(17), sel::KERNEL_CS)?;
            same("ss", guest.out(18), sel::KERNEL_DS)?;
            same("ds", guest.out(19), sel::KERNEL_DS)?;
            same("es", guest.out(20), sel::KERNEL_DS)
        }),
        Case::new("start/boot-page-is-guest-physical-0", || {
            let mut guest = Guest::new(work::TOUCH);
            guest.ram.set_word(0x228, 0xc0de);
            guest.param(0, va(0x228)).param(1, 1);
            guest.run_to_poweroff(0)?;
            same("the word at 0x228", guest.out(0), 0xc0de)
        }),
        Case::new("start/page-offset-elsewhere", || {
            // A guest kernel may live anywhere in the upper half; here its tables map it a second time.
            for offset in [
                0xffff_8080_0000_0000,
                0xffff_8880_0000_0000,
                0xffff_ff80_0000_0000,
            ] {
                let mut guest = Guest::new(work::SURVIVED);
                guest.tables.map(offset, KIT, pte::KERNEL);
                guest.init.start = offset;
                guest.init.page_offset = offset;
                guest
                    .run_to_poweroff(0)
                    .map_err(|e| format!("{offset:#x}: {e}"))?;
            }
            Ok(())
        }),
        Case::new("poweroff/status", || {
            for (status, told) in [
                (0, 0),
                (1, 1),
                (7, 7),
                (255, 255),
                (256, 0),
                (0x1_0000_0003, 3),
                (u64::MAX, 255),
            ] {
                let mut guest = Guest::new(work::POWEROFF);
                guest.param(0, status);
                guest.run_to_poweroff(told)?;
            }
            Ok(())
        }),
        Case::new("poweroff/at-once-after-init", || {
            let mut guest = Guest::new(work::SPIN);
            guest.call([hc::POWEROFF, 3, 0, 0]);
            guest.run_to_poweroff(3)
        }),
        Case::new("guest/several-one-after-another-in-one-thread", || {
            for status in 0..20 {
                let mut guest = Guest::new(work::POWEROFF);
                guest.param(0, status);
                guest.run_to_poweroff(status as u8)?;
            }
            Ok(())
        }),
        Case::new("guest/large-memory", || {
            // Far more than is ever touched; the last page counts as much as the first.
            let memory = 512 << 20;
            let mut guest = Guest::in_memory(work::TOUCH, crate::ram::Ram::new(memory));
            let last = 0xffff_9000_0000_0000;
            guest.tables.map(last, memory - PAGE, pte::KERNEL);
            guest.param(0, last + PAGE - 8).param(1, 3);
            guest.run_to_poweroff(0)?;
            check!(
                guest.ram.word(memory - 8) == 0x5afe,
                "the last word of memory holds {:#x}",
                guest.ram.word(memory - 8)
            );
            Ok(())
        }),
    ]
}
