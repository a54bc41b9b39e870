//! Privileged instructions that a kernel needs, done for it by the Host.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use nix::unistd::Pid;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("emulation/results", || {
            let mut guest = Guest::new(work::EMULATED);
            guest.run_to_poweroff(0)?;
            same("irq_enabled after STI", guest.out(0), 0x200)?;
            same("irq_enabled after CLI", guest.out(1), 0)?;
            same("IN of a byte", guest.out(2), 0x1122_3344_5566_77ff)?;
            same("IN of 16 bits", guest.out(3), 0x1122_3344_5566_ffff)?;
            same("IN of 32 bits", guest.out(4), 0xffff_ffff)?;
            same(
                "IN of a byte, port in the instruction",
                guest.out(5),
                0x1122_3344_5566_77ff,
            )?;
            same(
                "IN of 32 bits, port in the instruction",
                guest.out(6),
                0xffff_ffff,
            )?;
            check!(
                guest.out(7) & 0x8000_0001 == 0x8000_0001,
                "CR0 without PE and PG: {:#x}",
                guest.out(7)
            );
            check!(
                guest.out(8) & 0x20 != 0,
                "CR4 without PAE: {:#x}",
                guest.out(8)
            );
            same("CR3", guest.out(9) & !0xfff, guest.tables.top)?;
            same("CR2, written and read", guest.out(10), 0x1234_5678_9abc)?;
            check!(
                guest.out(11) & 0x500 == 0x500,
                "EFER without LME and LMA: {:#x}",
                guest.out(11)
            );
            Ok(())
        }),
        Case::new("emulation/segment-bases", || {
            let mut guest = Guest::new(work::BASES);
            guest.ram.set_word(PARAM, 0x6060);
            guest.ram.set_word(PARAM + 0x100, 0x6161);
            guest.ram.set_word(PARAM + 0x200, 0xf5f5);
            guest.run_to_poweroff(0)?;
            same("gs after WRMSR", guest.out(0), 0x6060)?;
            same("fs after WRMSR", guest.out(1), 0xf5f5)?;
            same("gs after a hypercall", guest.out(2), 0x6060)?;
            same("fs after a hypercall", guest.out(3), 0xf5f5)?;
            same("gs after SWAPGS", guest.out(4), 0x6161)?;
            same("GS_BASE", guest.out(5), va(PARAM + 0x100))?;
            same("KERNEL_GS_BASE", guest.out(6), va(PARAM))?;
            same("FS_BASE", guest.out(7), va(PARAM + 0x200))?;
            same("gs after SWAPGS again", guest.out(8), 0x6060)
        }),
        Case::new("emulation/swap-gs-by-its-gate", || {
            let mut guest = Guest::new(work::SWAP_GS);
            guest.ram.set_word(PARAM, 0x6060);
            guest.ram.set_word(PARAM + 0x100, 0x6161);
            guest.ram.set_word(PARAM + 0x200, 0x6262);
            guest.run_to_poweroff(0)?;
            same("gs after the gate", guest.out(0), 0x6161)?;
            same("KERNEL_GS_BASE", guest.out(1), va(PARAM))?;
            same("gs after SWAPGS", guest.out(2), 0x6060)?;
            same("gs after the gate again", guest.out(3), 0x6161)?;
            same("gs after WRMSR and the gate", guest.out(4), 0x6262)?;
            same("KERNEL_GS_BASE then", guest.out(5), va(PARAM + 0x100))
        }),
        Case::new("emulation/two-guests-swap-gs-on-one-cpu", || {
            host::pin(Pid::from_raw(0), host::cpus()[0])?;
            let rams = [Ram::new(MEMORY), Ram::new(MEMORY)];
            let threads = [0x10, 0x20].map(|word| {
                let ram = rams[word / 0x10 - 1].clone();
                std::thread::spawn(move || {
                    let mut guest = Guest::in_memory(work::SWAP_GS_ON, ram);
                    let word = word as u64;
                    guest.interrupts().param(0, word).param(1, word + 1);
                    guest.run_to_poweroff(0)
                })
            });
            let ended = || threads.iter().any(|thread| thread.is_finished());
            let waited = wait_until("both have swapped often", || {
                ended() || rams.iter().all(|ram| ram.word(COUNT) > 200)
            });
            rams.iter().for_each(|ram| ram.set_word(STOP, 1));
            threads.map(join).into_iter().collect::<Outcome>()?;
            waited
        }),
        Case::new("emulation/hlt", || {
            // HLT; CLI, then the end. Interrupts are off until it sleeps, so none comes too early.
            let code = [&[0xf4, 0xfa], work::SURVIVED.bytes()].concat();
            let mut guest = Guest::new(crate::blobs::Blob::from_bytes(code));
            guest.traps().interrupts();
            guest.call([crate::abi::hc::SET_CLOCKEVENT, 3_000_000, 0, 0]);
            guest.run_to_poweroff(0)?;
            same("interrupt 0", guest.ram.word(IRQ_COUNT), 1)
        }),
    ]
}
