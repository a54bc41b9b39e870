// SPDX-License-Identifier: GPL-2.0

//! Reads the Guest's kernel, an ELF file, into the Guest's memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use linux_loader::elf::{self, Elf64_Ehdr as FileHeader, Elf64_Phdr as Segment};
use linux_loader::loader::{KernelLoader, elf::Elf};
use thiserror::Error;
use vm_memory::ByteValued;

use crate::memory::Memory;

/// Why a file is no kernel for a Guest.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct Error {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not an ELF executable for x86-64 (`file` tells what it is)")]
    NotElf,
    #[error("nothing to load: it has no segment with contents")]
    Empty,
    #[error("the segments disagree about the distance from physical to virtual addresses")]
    Crooked,
    #[error("a segment ends at {0:#x}, beyond the Guest's {1:#x} bytes; give it more by --memory")]
    TooBig(u64, u64),
    #[error("the entry point {0:#x} lies in no segment")]
    NoEntry(u64),
    #[error("cannot be read: {0}")]
    Load(linux_loader::loader::Error),
}

/// A kernel in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Virtual address of the first instruction.
    pub entry: u64,
    /// What to add to a physical address to get the kernel's virtual one.
    pub page_offset: u64,
    /// The physical addresses that it occupies, its zeroed memory included.
    pub range: Range<u64>,
}

/// Loads the kernel in the file at `path`.
pub fn load(memory: &Memory, path: &Path) -> Result<Kernel, Error> {
    let load = || -> Result<Kernel, Reason> {
        let mut file = File::open(path)?;
        let (entry, segments) = headers(&mut file)?;
        let kernel = place(entry, &segments, memory.size())?;
        Elf::load(memory.map(), None, &mut file, None).map_err(Reason::Load)?;
        Ok(kernel)
    };
    load().map_err(|reason| Error {
        path: path.to_path_buf(),
        reason,
    })
}

/// Reads the entry point, and the segments that want to be loaded.
fn headers(file: &mut (impl Read + Seek)) -> Result<(u64, Vec<Segment>), Reason> {
    let mut header = FileHeader::default();
    file.read_exact(header.as_mut_slice()).map_err(|_| Reason::NotElf)?;
    let magic = [elf::ELFMAG0, elf::ELFMAG1, elf::ELFMAG2, elf::ELFMAG3];
    if header.e_ident[..4] != magic.map(|byte| byte as _) || header.e_machine != EM_X86_64 {
        return Err(Reason::NotElf);
    }

    let mut segments = Vec::new();
    file.seek(SeekFrom::Start(header.e_phoff))?;
    for _ in 0..header.e_phnum {
        let mut segment = Segment::default();
        file.read_exact(segment.as_mut_slice()).map_err(|_| Reason::NotElf)?;
        if segment.p_type == elf::PT_LOAD && segment.p_memsz > 0 {
            segments.push(segment);
        }
    }
    Ok((header.e_entry, segments))
}

/// `e_machine` of a file for x86-64, and its class follows from it.
const EM_X86_64: u16 = 62;

/// Finds out where the kernel lies and where it wants to be seen, and whether it fits.
fn place(entry: u64, segments: &[Segment], memory: u64) -> Result<Kernel, Reason> {
    let first = segments.first().ok_or(Reason::Empty)?;
    let page_offset = first.p_vaddr.wrapping_sub(first.p_paddr);

    let mut range = first.p_paddr..first.p_paddr;
    for segment in segments {
        if segment.p_vaddr.wrapping_sub(segment.p_paddr) != page_offset {
            return Err(Reason::Crooked);
        }
        let end = segment.p_paddr.saturating_add(segment.p_memsz.max(segment.p_filesz));
        if end > memory {
            return Err(Reason::TooBig(end, memory));
        }
        range = range.start.min(segment.p_paddr)..range.end.max(end);
    }

    let entry = virtual_entry(entry, &range, page_offset)?;
    Ok(Kernel {
        entry,
        page_offset,
        range,
    })
}

/// Linux states its entry point as a physical address, most other kernels as a virtual one.
fn virtual_entry(entry: u64, range: &Range<u64>, page_offset: u64) -> Result<u64, Reason> {
    if range.contains(&entry) {
        Ok(entry.wrapping_add(page_offset))
    } else if range.contains(&entry.wrapping_sub(page_offset)) {
        Ok(entry)
    } else {
        Err(Reason::NoEntry(entry))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const OFFSET: u64 = 0xffff_ffff_8000_0000;

    fn segment(paddr: u64, memsz: u64) -> Segment {
        Segment {
            p_type: elf::PT_LOAD,
            p_paddr: paddr,
            p_vaddr: paddr + OFFSET,
            p_memsz: memsz,
            ..Default::default()
        }
    }

    #[test]
    fn a_kernel_with_a_virtual_entry() {
        let segments = [segment(0x10_0000, 0x1000), segment(0x10_2000, 0x3000)];
        let kernel = place(OFFSET + 0x10_0010, &segments, 16 << 20).unwrap();
        let expected = Kernel {
            entry: OFFSET + 0x10_0010,
            page_offset: OFFSET,
            range: 0x10_0000..0x10_5000,
        };
        assert_eq!(kernel, expected);
    }

    #[test]
    fn a_kernel_with_a_physical_entry() {
        let kernel = place(0x10_0010, &[segment(0x10_0000, 0x1000)], 16 << 20).unwrap();
        assert_eq!(kernel.entry, OFFSET + 0x10_0010);
    }

    #[test]
    fn what_cannot_be_placed() {
        let good = segment(0x10_0000, 0x1000);
        let crooked = Segment {
            p_vaddr: 0x1234_0000,
            ..segment(0x20_0000, 0x1000)
        };
        assert!(matches!(place(0x10_0000, &[], 1 << 21), Err(Reason::Empty)));
        assert!(matches!(
            place(0x10_0000, &[good, crooked], 16 << 20),
            Err(Reason::Crooked)
        ));
        assert!(matches!(
            place(0x10_0000, &[good], 0x10_0fff),
            Err(Reason::TooBig(0x10_1000, 0x10_0fff))
        ));
        assert!(matches!(
            place(0x10_1000, &[good], 1 << 21),
            Err(Reason::NoEntry(0x10_1000))
        ));
        let endless = Segment {
            p_memsz: u64::MAX,
            ..good
        };
        assert!(matches!(
            place(0x10_0000, &[endless], 1 << 21),
            Err(Reason::TooBig(u64::MAX, _))
        ));
    }

    #[test]
    fn what_is_no_elf_file() {
        for bytes in [&b""[..], &b"#!/bin/sh\n"[..], &[0x7f; 200][..]] {
            assert!(matches!(headers(&mut Cursor::new(bytes)), Err(Reason::NotElf)));
        }
    }

    #[test]
    fn our_own_test_program_is_an_elf_file() {
        let mut file = File::open("/proc/self/exe").unwrap();
        let (entry, segments) = headers(&mut file).unwrap();
        assert!(segments.len() > 1);
        assert!(
            segments
                .iter()
                .any(|s| (s.p_vaddr..s.p_vaddr + s.p_memsz).contains(&entry))
        );
    }
}
