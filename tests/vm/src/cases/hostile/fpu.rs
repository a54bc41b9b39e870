//! Vector and floating-point state: none of it leaks, whoever's it is, and none of it harms the Host.

use super::hostile;
use crate::blobs::{attack, work};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::needs::Need;
use std::arch::asm;

const PATTERN: u64 = 0x5ec2_e75e_c2e7_5ec2;

/// Fills this thread's vector registers with a pattern that must not be seen by any guest.
fn fill_own_registers() {
    // SAFETY: the registers named are declared as changed.
    unsafe {
        asm!(
            "movq xmm0, {0}", "pshufd xmm0, xmm0, 0x44",
            "movdqa xmm5, xmm0", "movdqa xmm7, xmm0", "movdqa xmm15, xmm0",
            in(reg) PATTERN,
            out("xmm0") _, out("xmm5") _, out("xmm7") _, out("xmm15") _,
        );
    }
}

/// What a fresh guest's FXSAVE image holds, as a sentence if it is not the state that a CPU starts with.
fn check_image(guest: &Guest) -> Outcome {
    let image = OUT + 0x400;
    same("x87 control word", guest.ram.word16(image), 0x37f)?;
    same("x87 status word", guest.ram.word16(image + 2), 0)?;
    same("x87 tags", guest.ram.byte(image + 4), 0)?;
    same("MXCSR", guest.ram.word32(image + 24), 0x1f80)?;
    for register in 0..8 {
        let at = image + 32 + 16 * register;
        check!(
            guest.ram.word(at) == 0 && guest.ram.word16(at + 8) == 0,
            "x87 register {register} holds {:#x}",
            guest.ram.word(at)
        );
    }
    for register in 0..16 {
        let at = image + 160 + 16 * register;
        let value = (guest.ram.word(at), guest.ram.word(at + 8));
        check!(
            value == (0, 0),
            "xmm{register} of a fresh guest holds {value:x?}"
        );
    }
    Ok(())
}

fn fresh_guest_is_clean() -> Outcome {
    let mut guest = Guest::bare(work::SURVIVED);
    guest.load(KIT, BODY, work::START_STATE);
    guest.boot()?;
    fill_own_registers();
    let reason = guest.finish()?;
    guest.powered_off(&reason, 0)?;
    check_image(&guest)
}

/// A guest that filled its registers, and now waits after having sent a DMA.
fn messy() -> Outcome<Guest> {
    let mut guest = Guest::new(attack::FPU_MESS);
    guest.dma(DMA, &[(BUFFER, 16)]);
    guest.param(0, PATTERN);
    guest.boot()?;
    same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
    Ok(guest)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        hostile("fpu/no-leak-from-the-launcher", fresh_guest_is_clean),
        hostile("fpu/no-leak-from-another-guest", || {
            let _messy = messy()?;
            fresh_guest_is_clean()
        }),
        hostile("fpu/no-leak-from-a-closed-guest", || {
            drop(messy()?);
            fresh_guest_is_clean()
        }),
        hostile("fpu/errors-waiting", || {
            // All exceptions unmasked and one waiting: not the Launcher's, and not the Host's.
            let guest = messy()?;
            let mut mxcsr = 0u32;
            // SAFETY: stores four bytes where they belong.
            unsafe { asm!("stmxcsr [{0}]", in(reg) &raw mut mxcsr) };
            same("the Launcher's MXCSR", mxcsr & !0x3f, 0x1f80)?;
            let sum: f64 = (0..100)
                .map(|i| std::hint::black_box(f64::from(i) / 3.0))
                .sum();
            check!(
                sum > 1649.0 && sum < 1651.0,
                "the Launcher's own sum is {sum}"
            );
            for _ in 0..20 {
                same("killed by nothing", guest.finish_within(5)?, None)?;
            }
            guest.ram.set_word(STOP, 1);
            guest.powered_off(&guest.finish()?, 0)
        }),
    ];
    let upper_halves = hostile("fpu/upper-halves", || {
        let mut guest = Guest::new(attack::YMM_MESS);
        guest.dma(DMA, &[(BUFFER, 16)]);
        guest.param(0, PATTERN);
        guest.boot()?;
        guest.step()?;
        let mut looker = Guest::new(attack::YMM_LOOK);
        looker.run_to_poweroff(0)?;
        check!(
            (0..12).all(|i| looker.out(i) == 0),
            "another guest's ymm registers: {:x?}",
            (0..12).map(|i| looker.out(i)).collect::<Vec<_>>()
        );
        guest.step()?;
        guest.powered_off(&guest.finish()?, 0)?;
        same(
            "its own, after all that",
            (0..4).map(|i| guest.out(i)).collect(),
            vec![PATTERN; 4],
        )
    });
    cases.push(upper_halves.needing([Need::Cpu("avx")]));
    let rights = hostile("fpu/all-rights-taken-away-by-pkru", || {
        let mut guest = Guest::new(attack::PKRU_MESS);
        guest.dma(DMA, &[(BUFFER, 16)]);
        guest.boot()?;
        let before = pkru();
        same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
        same("the Launcher's PKRU", pkru(), before)?;
        same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
        same("the guest's PKRU", guest.out(0), 0x5555_5555)?;
        guest.powered_off(&guest.finish()?, 0)?;
        let mut next = Guest::new(attack::RDPKRU);
        next.run_to_poweroff(0)?;
        check!(
            next.out(0) != 0x5555_5555,
            "the next guest has the last one's PKRU"
        );
        Ok(())
    });
    cases.push(rights.needing([Need::Cpu("ospke")]));
    cases
}

fn pkru() -> u32 {
    let value;
    // SAFETY: reads a register; only called where the CPU has it.
    unsafe { asm!("rdpkru", in("ecx") 0, out("eax") value, out("edx") _) };
    value
}
