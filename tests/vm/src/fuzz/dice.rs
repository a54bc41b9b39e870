//! Numbers from a seed: the same seed, the same numbers.

use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL};
use crate::layout::*;

/// A generator of numbers: xorshift, which is random enough to surprise.
#[derive(Clone)]
pub struct Dice(u64);

/// Words at which something begins, ends or wraps.
const BORDERS: [u64; 20] = [
    0,
    1,
    2,
    0x1000,
    DATA,
    DMA,
    FREE,
    TABLES,
    MEMORY - 8,
    MEMORY,
    PAGE_OFFSET,
    SWITCHER_4LEVEL,
    SWITCHER_5LEVEL,
    1 << 32,
    1 << 47,
    1 << 63,
    u64::MAX,
    u64::MAX - 7,
    crate::abi::sel::KERNEL_CS,
    crate::abi::sel::KERNEL_DS,
];

impl Dice {
    /// One for each seed; the numbers of seeds that are close to each other are not.
    pub fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = Self((mixed ^ mixed >> 29).max(1));
        dice.word();
        dice
    }

    /// Another, whose numbers follow from this one's.
    pub fn another(&mut self) -> Self {
        Self::new(self.word())
    }

    /// Any word.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.word() >> 7) % n
    }

    /// Yes, once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A word of the kind that finds mistakes.
    pub fn nasty(&mut self) -> u64 {
        match self.below(8) {
            0 => self.word(),
            1 => self.word() & (MEMORY - 1),
            2 => 1 << self.below(64),
            3 => va(self.word() & (MEMORY - 1)),
            _ => self
                .pick(&BORDERS)
                .wrapping_add(self.below(3) * 8)
                .wrapping_sub(self.below(3) * 8),
        }
    }

    /// What is good, and once in `n` times something nasty.
    pub fn mostly(&mut self, good: u64, n: u64) -> u64 {
        if self.one_in(n) { self.nasty() } else { good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_seed_decides_all_numbers_and_another_seed_others() {
        let first = |seed| (0..8).map(|_| Dice::new(seed).word()).collect::<Vec<_>>();
        assert_eq!(first(7), first(7));
        let all: HashSet<u64> = (0..1000).map(|seed| Dice::new(seed).word()).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn every_number_below_a_limit_comes_up() {
        let mut dice = Dice::new(1);
        let seen: HashSet<u64> = (0..1000).map(|_| dice.below(27)).collect();
        assert_eq!(seen.len(), 27);
    }
}
