// SPDX-License-Identifier: GPL-2.0

//! The Guest's first page tables: all its memory, and the page of devices, at its kernel's own addresses.

use thiserror::Error;

use crate::abi::PAGE_SIZE;
use crate::memory::{Memory, OutOfBounds};

/// Entries of a page table.
const ENTRIES: usize = 512;
/// Bytes that one entry of the second level maps at once.
const LARGE_PAGE: u64 = PAGE_SIZE << 9;

/// The entry leads somewhere.
const PRESENT: u64 = 1 << 0;
/// What it leads to may be written.
const WRITABLE: u64 = 1 << 1;
/// It maps a large page rather than lead to another table.
const LARGE: u64 = 1 << 7;
/// The part of an entry that is an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A kernel that asks for addresses it cannot have.
#[derive(Debug, Error, PartialEq)]
pub enum Error {
    /// The kernel is not linked to the top of the address space.
    #[error(
        "the kernel wants physical memory at {0:#x}; it must be linked to an address of the upper half above {1:#x}, in whole pages"
    )]
    Offset(u64, u64),
    /// The window from the kernel's offset to the end of the address space is too small.
    #[error(
        "{0:#x} bytes of memory do not fit between {1:#x} and the end of the address space; give the Guest less by --memory"
    )]
    Window(u64, u64),
}

/// The lowest page offset: the top-level slot after the Switcher's.
const LOWEST_OFFSET: u64 = 0xffff_8080_0000_0000;

/// Page tables, growing downwards from `top` as they are needed. The first one is the top level.
pub struct Tables {
    top: u64,
    tables: Vec<[u64; ENTRIES]>,
}

impl Tables {
    /// Maps the physical addresses from 0 to `end` at `page_offset`. The tables themselves will lie below `top`.
    pub fn linear(page_offset: u64, end: u64, top: u64) -> Result<Self, Error> {
        if page_offset < LOWEST_OFFSET || !page_offset.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Offset(page_offset, LOWEST_OFFSET));
        }
        if end > page_offset.wrapping_neg() {
            return Err(Error::Window(end, page_offset));
        }

        let mut tables = Tables {
            top,
            tables: vec![[0; ENTRIES]],
        };
        let mut physical = 0;
        while physical < end {
            let linear = page_offset + physical;
            let aligned = physical.is_multiple_of(LARGE_PAGE) && linear.is_multiple_of(LARGE_PAGE);
            physical += if aligned && end - physical >= LARGE_PAGE {
                tables.set(linear, 2, physical | LARGE | PRESENT | WRITABLE);
                LARGE_PAGE
            } else {
                tables.set(linear, 1, physical | PRESENT | WRITABLE);
                PAGE_SIZE
            };
        }
        Ok(tables)
    }

    /// Physical address of the top level.
    pub fn root(&self) -> u64 {
        self.address(0)
    }

    /// The lowest physical address that the tables occupy.
    pub fn bottom(&self) -> u64 {
        self.address(self.tables.len() - 1)
    }

    /// Copies the tables to their places.
    pub fn write(&self, memory: &Memory) -> Result<(), OutOfBounds> {
        for (number, table) in self.tables.iter().enumerate() {
            let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            memory.write(self.address(number), &bytes)?;
        }
        Ok(())
    }

    /// Table number `n` lies `n + 1` pages below the top.
    fn address(&self, number: usize) -> u64 {
        self.top - (number as u64 + 1) * PAGE_SIZE
    }

    /// Sets the entry for `linear` at `level`, 1 being the last; makes the tables above it where they are missing.
    fn set(&mut self, linear: u64, level: u32, entry: u64) {
        let mut table = 0;
        for upper in (level + 1..=4).rev() {
            table = self.next(table, index(linear, upper));
        }
        self.tables[table][index(linear, level)] = entry;
    }

    /// Number of the table to which an entry leads.
    fn next(&mut self, table: usize, index: usize) -> usize {
        let entry = self.tables[table][index];
        if entry & PRESENT != 0 {
            return ((self.top - (entry & ADDRESS)) / PAGE_SIZE) as usize - 1;
        }
        let new = self.tables.len();
        self.tables.push([0; ENTRIES]);
        self.tables[table][index] = self.address(new) | PRESENT | WRITABLE;
        new
    }
}

/// Which entry of a table at `level` leads to `linear`.
fn index(linear: u64, level: u32) -> usize {
    (linear >> (12 + 9 * (level - 1))) as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: u64 = 0xffff_ffff_8000_0000;

    /// What the CPU does, on the tables as the Guest's memory holds them: the physical address, and the level found.
    fn walk(memory: &Memory, root: u64, linear: u64) -> Option<(u64, u32)> {
        let mut table = root;
        for level in (1..=4).rev() {
            let entry: u64 = memory.get(table + 8 * index(linear, level) as u64).unwrap();
            if entry & PRESENT == 0 {
                return None;
            }
            assert_ne!(entry & WRITABLE, 0);
            if level == 1 || entry & LARGE != 0 {
                let size = PAGE_SIZE << (9 * (level - 1));
                return Some(((entry & ADDRESS) + linear % size, level));
            }
            table = entry & ADDRESS;
        }
        unreachable!()
    }

    #[test]
    fn every_page_is_where_it_should_be() {
        let memory = Memory::new((4 << 20) + 5 * PAGE_SIZE).unwrap();
        let end = memory.size() + PAGE_SIZE;
        let tables = Tables::linear(OFFSET, end, memory.size()).unwrap();
        tables.write(&memory).unwrap();
        for physical in (0..end).step_by(PAGE_SIZE as usize) {
            let level = if physical < 4 << 20 { 2 } else { 1 };
            assert_eq!(
                walk(&memory, tables.root(), OFFSET + physical + 5),
                Some((physical + 5, level))
            );
        }
        for unmapped in [0, end, OFFSET - PAGE_SIZE, OFFSET + end, u64::MAX] {
            assert_eq!(walk(&memory, tables.root(), unmapped), None, "{unmapped:#x}");
        }
        assert_eq!(tables.bottom(), memory.size() - 4 * PAGE_SIZE);
    }

    #[test]
    fn an_offset_between_large_pages_gets_small_ones() {
        let memory = Memory::new(2 << 20).unwrap();
        let offset = OFFSET + PAGE_SIZE;
        let tables = Tables::linear(offset, 2 << 20, memory.size()).unwrap();
        tables.write(&memory).unwrap();
        assert_eq!(walk(&memory, tables.root(), offset), Some((0, 1)));
        assert_eq!(
            walk(&memory, tables.root(), offset + (2 << 20) - 1),
            Some(((2 << 20) - 1, 1))
        );
    }

    #[test]
    fn offsets_that_cannot_be() {
        for offset in [0, 0x40_0000, 0xffff_8000_0000_0000, OFFSET + 1] {
            assert_eq!(
                Tables::linear(offset, PAGE_SIZE, 1 << 20).err(),
                Some(Error::Offset(offset, LOWEST_OFFSET))
            );
        }
        let end = (2 << 30) + PAGE_SIZE;
        assert_eq!(
            Tables::linear(OFFSET, end, 1 << 20).err(),
            Some(Error::Window(end, OFFSET))
        );
        assert!(Tables::linear(OFFSET, 2 << 30, 2 << 30).is_ok());
    }
}
