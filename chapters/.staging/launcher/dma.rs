// SPDX-License-Identifier: GPL-2.0

//! DMA: a list of pieces of the Guest's memory, made by the Guest and therefore doubted word by word.

use std::mem::offset_of;

use thiserror::Error;

use crate::abi::{DMA_SECTIONS, LguestDma, PAGE_SIZE};
use crate::memory::{Memory, OutOfBounds};

/// A list that no honest driver would make.
#[derive(Debug, Error, PartialEq)]
pub enum Error {
    /// The list itself is not in memory.
    #[error("the Guest's DMA list is out of reach: {0}")]
    List(OutOfBounds),
    /// A section is not.
    #[error("bad DMA entry: section {number} of the list at {list:#x}: {len} bytes at {address:#x}")]
    Section {
        /// Where the list lies.
        list: u64,
        /// Which section it is.
        number: usize,
        /// Where the section claims to begin.
        address: u64,
        /// How long it claims to be.
        len: usize,
    },
    /// Nothing can be received with it.
    #[error("the Guest's buffer at {0:#x} has no room")]
    NoRoom(u64),
}

/// A checked piece of the Guest's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Section {
    address: u64,
    len: usize,
}

/// A checked list.
#[derive(Debug)]
pub struct Dma {
    address: u64,
    used_len: u32,
    sections: Vec<Section>,
}

impl Dma {
    /// Reads the list at `address` and checks every section.
    pub fn read(memory: &Memory, address: u64) -> Result<Self, Error> {
        let used_len = field(memory, address, offset_of!(LguestDma, used_len)).map_err(Error::List)?;
        let addresses: [u64; DMA_SECTIONS] =
            field(memory, address, offset_of!(LguestDma, addr)).map_err(Error::List)?;
        let lens: [u16; DMA_SECTIONS] = field(memory, address, offset_of!(LguestDma, len)).map_err(Error::List)?;

        let claims = addresses.into_iter().zip(lens.map(usize::from));
        let mut sections = Vec::new();
        for (number, (start, len)) in claims.take_while(|&(_, len)| len > 0).enumerate() {
            let checked = Section::check(memory, start, len);
            sections.push(checked.ok_or(Error::Section {
                list: address,
                number,
                address: start,
                len,
            })?);
        }
        Ok(Dma {
            address,
            used_len,
            sections,
        })
    }

    /// Bytes transferred; for a buffer that the module has found for us, the interrupt to raise.
    pub fn used_len(&self) -> u32 {
        self.used_len
    }

    /// Bytes that fit into all sections together.
    pub fn capacity(&self) -> usize {
        self.sections.iter().map(|section| section.len).sum()
    }

    /// Collects what the Guest sends.
    pub fn gather(&self, memory: &Memory) -> Result<Vec<u8>, OutOfBounds> {
        let mut bytes = vec![0; self.capacity()];
        let mut rest = &mut bytes[..];
        for section in &self.sections {
            let (piece, others) = rest.split_at_mut(section.len);
            memory.read(section.address, piece)?;
            rest = others;
        }
        Ok(bytes)
    }

    /// Deals out `bytes`, which must fit, to where the Guest wants to receive.
    pub fn scatter(&self, memory: &Memory, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let mut rest = bytes;
        for section in &self.sections {
            let (piece, others) = rest.split_at(section.len.min(rest.len()));
            memory.write(section.address, piece)?;
            rest = others;
        }
        debug_assert!(rest.is_empty());
        Ok(())
    }

    /// Tells the Guest that `used` bytes have been transferred.
    pub fn finish(&self, memory: &Memory, used: usize) -> Result<(), OutOfBounds> {
        memory.put(self.address + offset_of!(LguestDma, used_len) as u64, used as u32)
    }
}

/// Reads one field of the list at `address`, which need not be an address at all.
fn field<T: vm_memory::ByteValued>(memory: &Memory, address: u64, offset: usize) -> Result<T, OutOfBounds> {
    memory.get(address.saturating_add(offset as u64))
}

impl Section {
    /// A section lies in memory, and in a single page.
    fn check(memory: &Memory, address: u64, len: usize) -> Option<Section> {
        let end = address.checked_add(len as u64)?;
        let one_page = address % PAGE_SIZE + len as u64 <= PAGE_SIZE;
        (one_page && end <= memory.pfn_limit() * PAGE_SIZE).then_some(Section { address, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;
    const LIST: u64 = 0x1008;

    fn memory_with(sections: &[(u64, u16)]) -> Memory {
        let memory = Memory::new(SIZE).unwrap();
        for (n, &(address, len)) in (0..).zip(sections) {
            memory.put(LIST + 8 + 8 * n, address).unwrap();
            memory.put(LIST + 136 + 2 * n, len).unwrap();
        }
        memory
    }

    #[test]
    fn gathers_and_scatters() {
        let memory = memory_with(&[(0x3ffe, 2), (0x2000, 3), (0, 0), (0x5000, 7)]);
        let dma = Dma::read(&memory, LIST).unwrap();
        assert_eq!(dma.capacity(), 5);
        dma.scatter(&memory, b"hell").unwrap();
        dma.finish(&memory, 4).unwrap();
        assert_eq!(memory.get::<[u8; 2]>(0x3ffe), Ok(*b"he"));
        assert_eq!(memory.get::<[u8; 3]>(0x2000), Ok(*b"ll\0"));
        assert_eq!(Dma::read(&memory, LIST).unwrap().used_len(), 4);
        assert_eq!(dma.gather(&memory).unwrap(), b"hell\0");
    }

    #[test]
    fn sixteen_sections_and_no_more() {
        let memory = memory_with(&[(0x2000, 4096); 16]);
        assert_eq!(Dma::read(&memory, LIST).unwrap().capacity(), 16 * 4096);
    }

    #[test]
    fn no_section_leaves_its_page_or_the_memory() {
        let last = SIZE + PAGE_SIZE;
        let good = [(0x2000, 4096), (last - 4096, 4096), (last - 1, 1)];
        for section in good {
            assert!(Dma::read(&memory_with(&[section]), LIST).is_ok(), "{section:x?}");
        }
        let bad = [
            (0x2001, 4096),
            (0x2fff, 2),
            (last, 1),
            (last - 1, 2),
            (u64::MAX, 1),
            (u64::MAX - 9, 10),
            (0x2000, 4097),
        ];
        for section in bad {
            let error = Dma::read(&memory_with(&[(0x2000, 1), section]), LIST).unwrap_err();
            assert!(matches!(error, Error::Section { number: 1, .. }), "{section:x?}");
        }
    }

    #[test]
    fn the_list_itself_may_be_a_lie() {
        let memory = Memory::new(SIZE).unwrap();
        let end = SIZE + PAGE_SIZE;
        assert!(Dma::read(&memory, end - 168).is_ok());
        for address in [end - 167, end, u64::MAX, u64::MAX - 167, 1 << 63] {
            assert!(
                matches!(Dma::read(&memory, address), Err(Error::List(_))),
                "{address:#x}"
            );
        }
    }
}
