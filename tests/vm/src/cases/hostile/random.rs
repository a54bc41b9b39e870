//! Guests made at random: hypercalls with words that often matter, and code that is no code. From a fixed seed, so that a
//! failure comes back.

use super::hostile;
use crate::blobs::{Blob, work};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check};
use crate::layout::*;
use crate::tables::pte;

/// A generator of numbers: xorshift, which is random enough to surprise.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    /// A word of the kind that finds mistakes.
    pub fn nasty(&mut self) -> u64 {
        const WORDS: [u64; 16] = [
            0,
            1,
            2,
            0x1000,
            DATA,
            DMA,
            FREE,
            MEMORY - 8,
            MEMORY,
            PAGE_OFFSET,
            TABLES,
            0xffff_8000_0000_0000,
            1 << 63,
            u64::MAX,
            0x101,
            0x89,
        ];
        match self.below(4) {
            0 => self.word(),
            1 => self.word() & (MEMORY - 1),
            _ => WORDS[self.below(16) as usize].wrapping_add(self.below(3) * 8),
        }
    }
}

/// Runs it, but not for long; every way to end is right, except those that are not a way for a guest to end.
fn run(guest: &mut Guest) -> Outcome {
    guest.boot()?;
    let _alarm = crate::signals::Alarm::every(60);
    for _ in 0..4 {
        match guest.step()? {
            Event::Died(reason) => {
                check!(
                    !reason.is_empty() && reason.len() < 1024,
                    "a strange reason: {reason:?}"
                );
                return Ok(());
            }
            Event::Signal => return Ok(()),
            Event::Dma { addr, key } => {
                check!(addr < MEMORY, "a DMA list at {addr:#x}, beyond memory");
                let _ = guest.device().get_dma(key);
            }
            Event::Break => return Err("a break that nobody asked for".into()),
        }
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for seed in 1..=8u64 {
        cases.push(hostile(format!("random/hypercalls-{seed}"), move || {
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for round in 0..25 {
                let mut guest = Guest::new(work::SURVIVED);
                if dice.below(2) == 0 {
                    guest.traps().interrupts();
                }
                for _ in 0..40 {
                    // Not those that end it at once, or most would be short.
                    let number =
                        [0, 4, 5, 6, 7, 9, 12, 13, 14, 15, 17, 19][dice.below(12) as usize];
                    guest.call([number, dice.nasty(), dice.nasty(), dice.nasty()]);
                }
                run(&mut guest).map_err(|e| format!("round {round}: {e}"))?;
            }
            Ok(())
        }));
        cases.push(hostile(format!("random/code-{seed}"), move || {
            let mut dice = Dice(seed.wrapping_mul(0xd1b5_4a32_d192_ed03));
            for round in 0..25 {
                let code = (0..64).flat_map(|_| dice.word().to_le_bytes()).collect();
                let mut guest = Guest::new(Blob::from_bytes(code));
                if dice.below(2) == 0 {
                    guest.traps().interrupts();
                }
                run(&mut guest).map_err(|e| format!("round {round}: {e}"))?;
            }
            Ok(())
        }));
        cases.push(hostile(format!("random/tables-{seed}"), move || {
            let mut dice = Dice(seed.wrapping_mul(0xa24b_aed4_963e_e407));
            for round in 0..25 {
                let mut guest = Guest::new(crate::blobs::attack::TOUCH_MANY);
                if dice.below(2) == 0 {
                    guest.traps().interrupts();
                }
                // Scribble over the entries beside those that the guest itself lives by.
                for table in 0..4 {
                    for _ in 0..20 {
                        let slot = 1 + dice.below(500);
                        let frame = if dice.below(4) == 0 {
                            dice.word()
                        } else {
                            dice.below(MEMORY)
                        };
                        let value = frame & pte::FRAME | dice.word() & (0xfff | pte::NX) | pte::P;
                        guest.ram.set_word(TABLES + table * PAGE + 8 * slot, value);
                    }
                }
                let start = [
                    0,
                    0xffff_8080_0000_0000,
                    0xffff_ff80_0000_0000,
                    0xffff_ffff_0000_0000,
                ][dice.below(4) as usize];
                guest
                    .param(0, start)
                    .param(1, 1 << (12 + 9 * dice.below(4)))
                    .param(2, 300)
                    .param(3, 2);
                run(&mut guest).map_err(|e| format!("round {round}: {e}"))?;
            }
            Ok(())
        }));
    }
    cases
}
