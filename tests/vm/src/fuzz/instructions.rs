//! Code that nobody wrote: bytes as they come, and instructions of the kinds that matter with operands as they come, in ring 1 and in ring 3.

use super::dice::Dice;
use super::live;
use super::program::Walled;
use crate::blobs::{Blob, work};
use crate::harness::Outcome;
use crate::layout::*;

/// Opcodes that are privileged, that change what a CPU is, that fault in a way of their own, or that the Host emulates. A `0xff00` stands for a ModRM byte with
/// a memory operand, `0xff01` for one with registers, `0xff02` for a byte, `0xff04` for four.
const INSTRUCTIONS: &[&[u16]] = &[
    &[0x0f, 0x20, 0xff01], // mov from CRn
    &[0x0f, 0x22, 0xff01], // mov to CRn
    &[0x0f, 0x21, 0xff01], // mov from DRn
    &[0x0f, 0x23, 0xff01], // mov to DRn
    &[0x0f, 0x30],         // wrmsr
    &[0x0f, 0x32],         // rdmsr
    &[0x0f, 0x33],         // rdpmc
    &[0x0f, 0x31],         // rdtsc
    &[0x0f, 0x01, 0xf9],   // rdtscp
    &[0x0f, 0x01, 0xff00], // sgdt, sidt, lgdt, lidt, smsw, lmsw, invlpg
    &[0x0f, 0x01, 0xff01], // and what has no memory: vmcall, monitor, clac, xgetbv, swapgs ...
    &[0x0f, 0x00, 0xff01], // sldt, str, lldt, ltr, verr, verw
    &[0x0f, 0x00, 0xff00],
    &[0x0f, 0x02, 0xff01],       // lar
    &[0x0f, 0x03, 0xff01],       // lsl
    &[0x0f, 0x05],               // syscall
    &[0x0f, 0x07],               // sysret
    &[0x0f, 0x34],               // sysenter
    &[0x0f, 0x35],               // sysexit
    &[0x0f, 0x06],               // clts
    &[0x0f, 0x08],               // invd
    &[0x0f, 0x09],               // wbinvd
    &[0x0f, 0x0b],               // ud2
    &[0x0f, 0xa2],               // cpuid
    &[0x0f, 0xa0],               // push fs
    &[0x0f, 0xa1],               // pop fs
    &[0x0f, 0xa9],               // pop gs
    &[0x0f, 0xae, 0xff00],       // fxsave, fxrstor, ldmxcsr, xsave, xrstor, clflush
    &[0x0f, 0xae, 0xff01],       // fences
    &[0x0f, 0xc7, 0xff00],       // cmpxchg8b, xsaves, vmptrld
    &[0x0f, 0xc7, 0xff01],       // rdrand, rdpid
    &[0xf3, 0x0f, 0xae, 0xff01], // rdfsbase, wrgsbase
    &[0x66, 0x0f, 0xae, 0xff01],
    &[0x0f, 0x01, 0xd0],               // xgetbv
    &[0x0f, 0x01, 0xd1],               // xsetbv
    &[0x0f, 0x01, 0xca],               // clac
    &[0x0f, 0x01, 0xcb],               // stac
    &[0x0f, 0x01, 0xf8],               // swapgs
    &[0x66, 0x0f, 0x38, 0x82, 0xff00], // invpcid
    &[0xe4, 0xff02],                   // in
    &[0xe7, 0xff02],                   // out
    &[0xec],
    &[0x66, 0xed],
    &[0xee],
    &[0x6c], // ins
    &[0xf3, 0x6e],
    &[0xf4],       // hlt
    &[0xfa],       // cli
    &[0xfb],       // sti
    &[0xfc],       // cld
    &[0xfd],       // std
    &[0x9c],       // pushf
    &[0x9d],       // popf
    &[0x48, 0xcf], // iretq
    &[0xcb],       // retf
    &[0x48, 0xcb],
    &[0xc3],
    &[0xcc],       // int3
    &[0xf1],       // icebp
    &[0xcd, 0x1f], // a hypercall
    &[0xcd, 0x1f],
    &[0xcd, 0x1b],         // swapgs, as it is here
    &[0xcd, 0xff02],       // int
    &[0xff, 0xff00],       // inc, dec, call, far call, jmp, far jmp, push
    &[0x8c, 0xff01],       // mov from a segment register
    &[0x8e, 0xff01],       // and to one
    &[0x0f, 0xb4, 0xff00], // lfs
    &[0x0f, 0xb5, 0xff00], // lgs
    &[0x8b, 0xff00],
    &[0x89, 0xff00],
    &[0xf3, 0xa4],       // rep movsb
    &[0xf3, 0x48, 0xab], // rep stosq
    &[0xf0, 0x0f, 0xb1, 0xff00],
    &[0xd9, 0xff00], // x87
    &[0xdb, 0xe3],
    &[0x9b],
    &[0x0f, 0x77],
    &[0x0f, 0x10, 0xff00],
    &[0xc5, 0xfc, 0x10, 0xff00], // vmovups
    &[0xc4, 0xe2, 0x7d, 0x18, 0xff00],
    &[0xc8, 0xff02, 0xff02, 0xff02], // enter
    &[0xc9],
    &[0xeb, 0xff02],
    &[0xe8, 0xff04],
    &[0x58], // pop rax
    &[0x5c], // pop rsp
    &[0x54],
    &[0x48, 0x94], // xchg rsp, rax
];
const PREFIXES: &[u8] = &[
    0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x65, 0x40, 0x41, 0x44, 0x48, 0x4c,
];

/// A few of these, with registers that were given words before them.
fn instructions(dice: &mut Dice, code: &mut Vec<u8>) {
    let ends = code.len() + 900;
    while code.len() < ends {
        match dice.below(8) {
            0 | 1 => {
                // mov r64, imm64
                let register = dice.below(16) as u8;
                code.extend([0x48 | register >> 3, 0xb8 | register & 7]);
                let word = match dice.below(4) {
                    0 => dice.nasty(),
                    1 => va(dice.below(MEMORY)),
                    2 => dice.below(32),
                    _ => dice.pick(&[
                        0xc000_0080,
                        0xc000_0081,
                        0xc000_0082,
                        0xc000_0100,
                        0xc000_0101,
                        0x1b,
                        0x10,
                        0x277,
                    ]),
                };
                code.extend(word.to_le_bytes());
            }
            2 => code.extend((0..dice.below(8)).map(|_| dice.word() as u8)),
            _ => one(dice, code),
        }
    }
}

fn one(dice: &mut Dice, code: &mut Vec<u8>) {
    let instruction = dice.pick(INSTRUCTIONS);
    if dice.one_in(6) {
        code.push(dice.pick(PREFIXES));
    }
    for &part in instruction {
        match part {
            0xff00 => {
                // [register], [register + disp32], [rip + disp32], [disp32]: of kinds that need no SIB.
                let modrm = dice.word() as u8 & 0x38 | dice.pick(&[0u8, 3, 6, 7, 0x83, 0x87, 5]);
                code.push(modrm);
                if modrm >> 6 == 2 || modrm & 0xc7 == 5 {
                    code.extend((dice.word() as u32 & 0xffff).to_le_bytes());
                }
            }
            0xff01 => code.push(0xc0 | dice.word() as u8),
            0xff02 => code.push(dice.word() as u8),
            0xff04 => code.extend((dice.word() as u32 & 0x3ff).to_le_bytes()),
            byte => code.push(byte as u8),
        }
    }
}

/// Takes out what an emulated CPU does wrong (H:140, S:070): a null selector in SS makes ring 0 of ring 1 under QEMU, and IRETD goes to 16-bit code with interrupts off. That is no find
/// of ours, and nothing that a Host could survive.
fn tame(code: &mut [u8]) {
    for at in 0..code.len() {
        let next = code.get(at + 1).copied().unwrap_or(0);
        match code[at] {
            0x8e if next >> 3 & 7 == 2 => code[at] = 0x8c,
            0x0f if next == 0xb2 => code[at + 1] = 0xb4,
            0xcf if at == 0 || code[at - 1] != 0x48 => code[at] = 0xc3,
            _ => {}
        }
    }
}

fn code(dice: &mut Dice) -> Blob {
    let mut code = Vec::new();
    match dice.below(3) {
        0 => code.extend((0..64).flat_map(|_| dice.word().to_le_bytes())),
        _ => instructions(dice, &mut code),
    }
    tame(&mut code);
    Blob::from_bytes(code)
}

pub fn round(dice: &mut Dice) -> Outcome {
    let in_ring_3 = dice.one_in(3);
    let body = if in_ring_3 {
        work::ENTER_USER
    } else {
        code(dice)
    };
    let mut walled = Walled::new(body);
    let guest = &mut walled.guest;
    if !dice.one_in(4) {
        guest.traps();
    }
    if !dice.one_in(4) {
        guest.interrupts();
    }
    if in_ring_3 || dice.one_in(2) {
        guest.user(code(dice));
    }
    // Where most traps go on: at the next place, at the body's beginning, somewhere in it.
    let resume = dice.pick(&[0, 1, 1, va(BODY), va(BODY + 8), va(BODY + 64)]);
    guest.ram.set_word(RESUME, resume);
    super::program::lists(guest, dice);
    guest.boot()?;
    live(guest)?;
    walled.stands()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_loads_ss_or_returns_to_sixteen_bits() {
        for seed in 0..200 {
            let code = code(&mut Dice::new(seed));
            let code = code.bytes();
            for (at, pair) in code.windows(2).enumerate() {
                assert!(
                    pair[0] != 0x8e || pair[1] >> 3 & 7 != 2,
                    "seed {seed} at {at}"
                );
                assert!(pair != [0x0f, 0xb2], "seed {seed} at {at}");
                assert!(pair[1] != 0xcf || pair[0] == 0x48, "seed {seed} at {at}");
            }
        }
    }
}
