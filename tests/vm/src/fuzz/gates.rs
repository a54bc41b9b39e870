//! Gates, descriptors, stacks, system call entries, selectors, flags and MSRs of any kind, each of them used at once.

use super::dice::Dice;
use super::live;
use super::program::{Program, descriptor};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, hc, sel};
use crate::blobs::{blob, kit, work};
use crate::harness::Outcome;
use crate::layout::*;

blob! {
    /// User: a system call, a breakpoint, an interrupt by number, a fault; what comes back goes to ring 1.
    USER_TRAPS = "mov eax, 1",
        "syscall",
        "int3",
        "int 0x80",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "nop",
        "mov eax, 2",
        "syscall",
        "ud2";
}

/// Every selector of a table that a guest may know, and some more.
fn selector(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.below(0x100),
        1 => dice.word() & 0xffff,
        _ => dice.pick(&[
            sel::KERNEL_CS,
            sel::KERNEL_DS,
            sel::USER_CS,
            sel::USER_DS,
            sel::USER32_CS,
        ]),
    }
}

/// An address that a guest might want to be at, or must not.
fn address(dice: &mut Dice) -> u64 {
    match dice.below(64) {
        0 => dice.nasty(),
        1 => SWITCHER_4LEVEL + dice.below(4 << 20),
        2 => SWITCHER_5LEVEL + dice.below(4 << 20),
        3..8 => USER_VA,
        8..16 => va(BODY + dice.below(64)),
        16..24 => kit::SYSCALL_ENTRY,
        _ => kit::stub(dice.below(64)),
    }
}

/// A stack pointer.
fn stack(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => address(dice),
        1 => va(KSTACK_TOP) - dice.below(16),
        2 => va(MEMORY),
        _ => va(KSTACK_TOP),
    }
}

/// An MSR that a kernel may set here, or one that it may not.
fn msr(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.word() & 0x1fff,
        _ => dice.pick(&[
            0xc000_0080,
            0xc000_0081,
            0xc000_0082,
            0xc000_0084,
            0xc000_0100,
            0xc000_0101,
            0xc000_0102,
        ]),
    }
}

pub fn round(dice: &mut Dice) -> Outcome {
    let mut program = Program::default();
    for _ in 0..20 + dice.below(100) {
        match dice.below(20) {
            0..3 => {
                let vector = if dice.one_in(4) {
                    dice.word()
                } else {
                    dice.below(0x82)
                };
                let good = dice.pick(&[0xe, 0xf]);
                let kind = if dice.one_in(100) {
                    dice.below(16)
                } else {
                    good
                };
                let (low, high) = crate::guest::gate(address(dice), kind, dice.below(4));
                // Its selector, its stack and the bits that must be nothing, too.
                let low = if dice.one_in(8) {
                    low ^ 1 << dice.below(64)
                } else {
                    low
                };
                program.call([hc::LOAD_IDT_ENTRY, vector, low, high]);
            }
            3 | 4 => program.call([
                hc::SET_DESCRIPTOR,
                dice.below(16) + dice.below(100) / 99,
                descriptor(dice),
                0,
            ]),
            5 => program.call([
                hc::SET_STACK,
                dice.mostly(sel::KERNEL_DS, 8),
                stack(dice),
                dice.below(4),
            ]),
            6 => {
                program.call([hc::SET_SYSCALL, address(dice), 0, 0]);
                program.user(0);
            }
            7..10 => program.user(dice.word() & 0x24_0cd5),
            10 => program.iret(
                selector(dice),
                0x202 | dice.word() & 0x25_7fd5 & !(1 << 17),
                sel::KERNEL_DS,
                address(dice),
            ),
            11 => program.iret(sel::USER_CS, 0x202, selector(dice) | 3, USER_VA),
            12 | 13 => program.selectors(std::array::from_fn(|_| selector(dice))),
            14 => program.far(selector(dice)),
            15 => program.set_msr(msr(dice), dice.mostly(address(&mut dice.clone()), 4)),
            16 => program.get_msr(msr(dice)),
            17 => program.stack(stack(dice), dice.word()),
            18 => {
                program.interrupts(!dice.one_in(4));
                program.call([hc::SET_CLOCKEVENT, 1 + dice.below(200_000), 0, 0]);
            }
            _ => program.load(dice.nasty()),
        }
    }
    let mut walled = program.guest(dice);
    let guest = &mut walled.guest;
    guest.user(dice.pick(&[USER_TRAPS, USER_TRAPS, work::USER_BACK, work::USER_CALLS]));
    guest.boot()?;
    live(guest)?;
    walled.stands()
}
