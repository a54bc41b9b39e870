// SPDX-License-Identifier: GPL-2.0

//! Lays out a Guest's memory, from the boot page at the bottom to the device page above the top.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::abi::PAGE_SIZE;
use crate::bus;
use crate::lguest::Start;
use crate::loader::{self, Kernel};
use crate::memory::{Memory, OutOfBounds};
use crate::options::RunOptions;
use crate::tables::{self, Tables};

/// The boot page has Linux's layout. These are the fields that we fill.
mod boot_page {
    /// Number of entries in the memory map: a byte.
    pub const E820_ENTRIES: u64 = 0x1e8;
    /// Which program loaded the kernel: a byte.
    pub const TYPE_OF_LOADER: u64 = 0x210;
    /// The initial RAM disk's address: 32 bits.
    pub const RAMDISK_IMAGE: u64 = 0x218;
    /// Its length in bytes: 32 bits.
    pub const RAMDISK_SIZE: u64 = 0x21c;
    /// The command line's address: 32 bits.
    pub const CMD_LINE_PTR: u64 = 0x228;
    /// What kind of PC this is: 32 bits.
    pub const HARDWARE_SUBARCH: u64 = 0x23c;
    /// The memory map: start, length, type.
    pub const E820_TABLE: u64 = 0x2d0;

    /// A loader without a number of its own.
    pub const LOADER_UNKNOWN: u8 = 0xff;
    /// Linux's number for a PC that is really lguest.
    pub const SUBARCH_LGUEST: u32 = 1;
    /// Type of a stretch of ordinary memory.
    pub const E820_RAM: u32 = 1;
}

/// The page after the boot page holds the command line, with its NUL.
const CMD_LINE: u64 = PAGE_SIZE;
/// The first address that a kernel may occupy.
const LOWEST_KERNEL: u64 = 2 * PAGE_SIZE;

/// Why a Guest could not be laid out.
#[derive(Debug, Error)]
pub enum Error {
    /// No memory for the Guest.
    #[error("cannot get {size} bytes of memory for the Guest: {error}")]
    Memory {
        /// What was asked for.
        size: u64,
        /// The reason.
        error: io::Error,
    },
    /// The kernel is none.
    #[error(transparent)]
    Kernel(#[from] loader::Error),
    /// Its addresses make no sense.
    #[error(transparent)]
    Tables(#[from] tables::Error),
    /// The RAM disk cannot be read.
    #[error("{}: {error}", path.display())]
    Initrd {
        /// Its file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Two things want the same place.
    #[error("the kernel occupies {kernel:#x?}, but only {free:#x?} is free for it; {advice}")]
    NoRoom {
        /// What the kernel wants.
        kernel: Range<u64>,
        /// What is left for it.
        free: Range<u64>,
        /// What to do.
        advice: &'static str,
    },
    /// The command line does not fit into its page.
    #[error("the Guest's command line has {0} bytes; {max} are the most", max = PAGE_SIZE - 1)]
    CommandLine(usize),
    /// Something lies outside after all.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
}

/// A Guest that has not drawn breath yet.
pub struct Image {
    /// Its memory.
    pub memory: Memory,
    /// What the module must know to start it.
    pub start: Start,
}

/// Makes the memory of a Guest, and puts everything in its place.
pub fn prepare(options: &RunOptions) -> Result<Image, Error> {
    let size = options.memory;
    let memory = Memory::new(size).map_err(|error| Error::Memory { size, error })?;
    let kernel = loader::load(&memory, options.kernel())?;

    let tables = Tables::linear(kernel.page_offset, size + PAGE_SIZE, size)?;
    let initrd = match &options.initrd {
        Some(path) => read_initrd(path, tables.bottom())?,
        None => Initrd::none(tables.bottom()),
    };
    check_room(&kernel, initrd.address)?;

    tables.write(&memory)?;
    memory.write(initrd.address, &initrd.contents)?;
    write_boot_page(&memory, &initrd, &options.command_line())?;
    bus::describe(&memory)?;

    let start = Start {
        base: memory.base(),
        pfn_limit: memory.pfn_limit(),
        pgdir: tables.root(),
        start: kernel.entry,
        page_offset: kernel.page_offset,
    };
    if options.verbose {
        explain(&kernel, &initrd, &tables, &start);
    }
    Ok(Image { memory, start })
}

/// The initial RAM disk, and where it will lie.
struct Initrd {
    address: u64,
    contents: Vec<u8>,
}

impl Initrd {
    /// A Guest without one: an empty one, just below `top`.
    fn none(top: u64) -> Self {
        Initrd {
            address: top,
            contents: Vec::new(),
        }
    }
}

/// Reads the RAM disk; it will begin on a page, and end below `top`.
fn read_initrd(path: &Path, top: u64) -> Result<Initrd, Error> {
    let failed = |error| Error::Initrd {
        path: path.to_path_buf(),
        error,
    };
    let contents = std::fs::read(path).map_err(failed)?;
    let pages = (contents.len() as u64).next_multiple_of(PAGE_SIZE);
    match top.checked_sub(pages) {
        Some(address) => Ok(Initrd { address, contents }),
        None => Err(failed(io::Error::other(
            "larger than the Guest's memory; give it more by --memory",
        ))),
    }
}

/// The kernel must not lie on the boot page, the command line, the RAM disk or its own page tables.
fn check_room(kernel: &Kernel, top: u64) -> Result<(), Error> {
    let free = LOWEST_KERNEL..top;
    let advice = match kernel.range {
        ref range if range.start < free.start => "link it to a higher physical address",
        ref range if range.end > free.end => "give it more by --memory",
        _ => return Ok(()),
    };
    Err(Error::NoRoom {
        kernel: kernel.range.clone(),
        free,
        advice,
    })
}

/// Fills the page at physical 0, where every kernel looks first, and the command line after it.
fn write_boot_page(memory: &Memory, initrd: &Initrd, command_line: &str) -> Result<(), Error> {
    if command_line.len() as u64 >= PAGE_SIZE {
        return Err(Error::CommandLine(command_line.len()));
    }
    memory.write(CMD_LINE, command_line.as_bytes())?;
    memory.put(boot_page::CMD_LINE_PTR, CMD_LINE as u32)?;
    memory.put(boot_page::HARDWARE_SUBARCH, boot_page::SUBARCH_LGUEST)?;

    memory.put(boot_page::E820_ENTRIES, 1u8)?;
    memory.put(boot_page::E820_TABLE, 0u64)?;
    memory.put(boot_page::E820_TABLE + 8, memory.size())?;
    memory.put(boot_page::E820_TABLE + 16, boot_page::E820_RAM)?;

    if !initrd.contents.is_empty() {
        memory.put(boot_page::TYPE_OF_LOADER, boot_page::LOADER_UNKNOWN)?;
        memory.put(boot_page::RAMDISK_IMAGE, initrd.address as u32)?;
        memory.put(boot_page::RAMDISK_SIZE, initrd.contents.len() as u32)?;
    }
    Ok(())
}

/// For `--verbose`: the map of the Guest's memory, from the top down.
fn explain(kernel: &Kernel, initrd: &Initrd, tables: &Tables, start: &Start) {
    let Start {
        base,
        pfn_limit,
        pgdir,
        start: entry,
        page_offset,
    } = *start;
    let size = (pfn_limit - 1) * PAGE_SIZE;
    eprintln!("lguest: {size:#11x}  the device page; guest-physical 0 is our {base:#x}");
    eprintln!(
        "lguest: {:#11x}  first page tables, top level at {pgdir:#x}",
        tables.bottom()
    );
    if !initrd.contents.is_empty() {
        eprintln!(
            "lguest: {:#11x}  initial RAM disk, {} bytes",
            initrd.address,
            initrd.contents.len()
        );
    }
    eprintln!("lguest: {:#11x}  end of the kernel", kernel.range.end);
    eprintln!(
        "lguest: {:#11x}  kernel, seen {page_offset:#x} higher, entered at {entry:#x}",
        kernel.range.start
    );
    eprintln!("lguest: {CMD_LINE:#11x}  command line");
    eprintln!("lguest: {:#11x}  boot page", 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 4 << 20;

    fn kernel(range: Range<u64>) -> Kernel {
        Kernel {
            entry: 0,
            page_offset: 0,
            range,
        }
    }

    #[test]
    fn the_boot_page_says_what_there_is() {
        let memory = Memory::new(SIZE).unwrap();
        let initrd = Initrd {
            address: 0x30_0000,
            contents: vec![1, 2, 3],
        };
        write_boot_page(&memory, &initrd, "quiet root=/dev/lgba").unwrap();

        let command_line: u32 = memory.get(0x228).unwrap();
        let mut text = [0; 21];
        memory.read(u64::from(command_line), &mut text).unwrap();
        assert_eq!(&text, b"quiet root=/dev/lgba\0");
        assert_eq!(memory.get::<u8>(0x1e8), Ok(1));
        assert_eq!(memory.get::<[u64; 2]>(0x2d0), Ok([0, SIZE]));
        assert_eq!(memory.get::<u32>(0x2e0), Ok(1));
        assert_eq!(memory.get::<[u32; 2]>(0x218), Ok([0x30_0000, 3]));
    }

    #[test]
    fn a_command_line_has_a_page() {
        let memory = Memory::new(SIZE).unwrap();
        let none = Initrd::none(SIZE);
        assert!(write_boot_page(&memory, &none, &"x".repeat(4095)).is_ok());
        assert!(matches!(
            write_boot_page(&memory, &none, &"x".repeat(4096)),
            Err(Error::CommandLine(4096))
        ));
    }

    #[test]
    fn nothing_lies_on_anything_else() {
        assert!(check_room(&kernel(0x2000..SIZE), SIZE).is_ok());
        assert!(check_room(&kernel(0x1fff..0x10_0000), SIZE).is_err());
        assert!(check_room(&kernel(0x10_0000..SIZE + 1), SIZE).is_err());
    }
}
