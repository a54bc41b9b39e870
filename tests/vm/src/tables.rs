//! A test guest's own page tables: four levels, as the guest kernel would build them.

use crate::layout::{MEMORY, PAGE, PAGE_OFFSET, TABLES, TABLES_END};
use crate::ram::Ram;

/// Bits of a page-table entry.
pub mod pte {
    pub const P: u64 = 1;
    pub const W: u64 = 1 << 1;
    pub const U: u64 = 1 << 2;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const PS: u64 = 1 << 7;
    pub const NX: u64 = 1 << 63;
    /// The bits that hold a frame's address.
    pub const FRAME: u64 = 0x000f_ffff_ffff_f000;
    /// A table that restricts nothing.
    pub const TABLE: u64 = P | W | U;
    /// A page of the guest kernel.
    pub const KERNEL: u64 = P | W;
    /// A page of a guest user program.
    pub const USER: u64 = P | W | U;
}

/// Tables under construction in a guest's memory.
pub struct Tables {
    ram: Ram,
    next: u64,
    /// Guest-physical address of the top-level table.
    pub top: u64,
}

/// Index of `va` in a table of `level` (1 = the last).
pub const fn index(va: u64, level: u32) -> u64 {
    va >> (12 + 9 * (level - 1)) & 511
}

impl Tables {
    /// An empty top-level table.
    pub fn new(ram: &Ram) -> Self {
        Self {
            ram: ram.clone(),
            next: TABLES + PAGE,
            top: TABLES,
        }
    }

    /// Tables with the linear map of a guest's usual memory, in pages of 4 KiB.
    pub fn linear(ram: &Ram) -> Self {
        let mut tables = Self::new(ram);
        for pa in (0..ram.len().min(MEMORY)).step_by(PAGE as usize) {
            tables.map(PAGE_OFFSET + pa, pa, pte::KERNEL);
        }
        tables
    }

    /// A fresh page of zeroes for a table.
    pub fn page(&mut self) -> u64 {
        let page = self.next;
        assert!(page < TABLES_END, "too many tables for a test guest");
        self.next += PAGE;
        page
    }

    /// Guest-physical address of the entry of `va` at `level`, with tables made down to there.
    pub fn entry(&mut self, va: u64, level: u32) -> u64 {
        let mut table = self.top;
        for above in (level + 1..=4).rev() {
            let at = table + 8 * index(va, above);
            if self.ram.word(at) & pte::P == 0 {
                let page = self.page();
                self.ram.set_word(at, page | pte::TABLE);
            }
            table = self.ram.word(at) & pte::FRAME;
        }
        table + 8 * index(va, level)
    }

    /// Sets the entry of `va` at `level`.
    pub fn set(&mut self, va: u64, level: u32, value: u64) {
        let at = self.entry(va, level);
        self.ram.set_word(at, value);
    }

    /// Maps a page of 4 KiB.
    pub fn map(&mut self, va: u64, pa: u64, flags: u64) {
        self.set(va, 1, pa | flags);
    }

    /// Maps a page of 2 MiB.
    pub fn map_2m(&mut self, va: u64, pa: u64, flags: u64) {
        self.set(va, 2, pa | flags | pte::PS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_map_reaches_every_page() {
        let ram = Ram::new(MEMORY);
        let mut tables = Tables::linear(&ram);
        let used = tables.next;
        for pa in (0..MEMORY).step_by(PAGE as usize) {
            let entry = tables.entry(PAGE_OFFSET + pa, 1);
            assert_eq!(ram.word(entry), pa | pte::KERNEL);
        }
        assert_eq!(tables.next, used, "walking made tables");
        // One table each of levels 4, 3 and 2, and two of level 1.
        assert_eq!(used, TABLES + 5 * PAGE);
    }

    #[test]
    fn top_of_the_address_space_is_slot_511() {
        assert_eq!(index(PAGE_OFFSET, 4), 511);
        assert_eq!(index(PAGE_OFFSET, 3), 510);
        assert_eq!(index(0x40_1000, 1), 1);
        assert_eq!(index(0x40_1000, 2), 2);
    }
}
