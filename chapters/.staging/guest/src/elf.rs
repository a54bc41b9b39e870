// SPDX-License-Identifier: GPL-2.0

//! Programs are ELF files; this finds out what they want to have where.

/// The file contradicts itself, or is no ELF file at all.
#[derive(Clone, Copy, Debug)]
pub struct Malformed;

/// A program's file.
#[derive(Clone, Copy)]
pub struct Elf<'a>(&'a [u8]);

/// A piece of the file that wants to be in memory.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Virtual address of its first byte.
    pub address: u64,
    /// Bytes that it occupies; beyond its contents they are zero.
    pub size: u64,
    /// The bytes in the file.
    pub contents: &'a [u8],
    /// May it be written?
    pub writable: bool,
    /// May it be run?
    pub executable: bool,
}

/// A 64-bit little-endian file begins like this.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// Bytes that describe one segment.
const HEADER: usize = 56;
/// The type of a segment that wants to be in memory.
const LOAD: u32 = 1;
const EXECUTABLE: u32 = 1 << 0;
const WRITABLE: u32 = 1 << 1;

impl<'a> Elf<'a> {
    /// Looks at a file.
    pub fn new(file: &'a [u8]) -> Result<Self, Malformed> {
        if file.starts_with(MAGIC) {
            Ok(Elf(file))
        } else {
            Err(Malformed)
        }
    }

    /// Address of the first instruction.
    pub fn entry(&self) -> Result<u64, Malformed> {
        self.word(24)
    }

    /// The segments to load.
    pub fn segments(&self) -> Result<impl Iterator<Item = Result<Segment<'a>, Malformed>>, Malformed> {
        let elf = *self;
        let table = elf.offset(32)?;
        let count = u16::from_le_bytes(elf.bytes(56)?);
        Ok((0..count.into()).filter_map(move |number: usize| elf.segment(table, number).transpose()))
    }

    /// One segment, if it is for memory.
    fn segment(&self, table: usize, number: usize) -> Result<Option<Segment<'a>>, Malformed> {
        let header = table.checked_add(number * HEADER).ok_or(Malformed)?;
        if u32::from_le_bytes(self.bytes(header)?) != LOAD {
            return Ok(None);
        }
        let flags = u32::from_le_bytes(self.bytes(header + 4)?);
        Ok(Some(Segment {
            address: self.word(header + 16)?,
            size: self.word(header + 40)?,
            contents: self.slice(self.offset(header + 8)?, self.offset(header + 32)?)?,
            writable: flags & WRITABLE != 0,
            executable: flags & EXECUTABLE != 0,
        }))
    }

    fn slice(&self, start: usize, len: usize) -> Result<&'a [u8], Malformed> {
        let end = start.checked_add(len).ok_or(Malformed)?;
        self.0.get(start..end).ok_or(Malformed)
    }

    fn bytes<const N: usize>(&self, start: usize) -> Result<[u8; N], Malformed> {
        self.slice(start, N)?.try_into().map_err(|_| Malformed)
    }

    fn word(&self, start: usize) -> Result<u64, Malformed> {
        self.bytes(start).map(u64::from_le_bytes)
    }

    fn offset(&self, start: usize) -> Result<usize, Malformed> {
        usize::try_from(self.word(start)?).map_err(|_| Malformed)
    }
}
