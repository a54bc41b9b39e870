// SPDX-License-Identifier: GPL-2.0

//! The boot page: what the Launcher tells about the machine, in Linux's layout.

use crate::layout::Phys;

/// Number of entries in the memory map: a byte.
const E820_ENTRIES: u64 = 0x1e8;
/// The memory map: start and length in eight bytes each, type in four.
const E820_TABLE: u64 = 0x2d0;
const E820_ENTRY_SIZE: u64 = 20;
/// Type of a stretch of ordinary memory.
const E820_RAM: u32 = 1;
/// The initial RAM disk's address, 32 bits; 0 if there is none.
const RAMDISK_IMAGE: u64 = 0x218;
/// The command line's address: 32 bits.
const CMD_LINE_PTR: u64 = 0x228;
/// The longest command line that we look at.
const CMD_LINE_MAX: usize = 256;

/// The machine, as told by the boot page.
pub struct Machine {
    /// The end of memory. The page of devices is next.
    pub memory: Phys,
    /// The end of what we may use for our own purposes.
    pub free_end: Phys,
    command_line: [u8; CMD_LINE_MAX],
    command_line_len: usize,
}

impl Machine {
    /// Reads the boot page.
    pub fn read(page: Phys) -> Self {
        let memory = memory_end(page);
        let ramdisk: u32 = field(page, RAMDISK_IMAGE);
        let free_end = if ramdisk == 0 { memory } else { Phys(ramdisk.into()) };

        let address: u32 = field(page, CMD_LINE_PTR);
        let mut command_line = [0; CMD_LINE_MAX];
        let mut command_line_len = 0;
        while command_line_len < CMD_LINE_MAX {
            match field(Phys(address.into()), command_line_len as u64) {
                0 => break,
                byte => command_line[command_line_len] = byte,
            }
            command_line_len += 1;
        }
        Machine {
            memory,
            free_end,
            command_line,
            command_line_len,
        }
    }

    /// The command line, or its beginning.
    pub fn command_line(&self) -> &str {
        str::from_utf8(&self.command_line[..self.command_line_len]).unwrap_or("(not in UTF-8)")
    }
}

/// The end of the highest stretch of ordinary memory.
fn memory_end(page: Phys) -> Phys {
    let count: u8 = field(page, E820_ENTRIES);
    let table = (0..count.into()).map(|n: u64| Phys(page.0 + E820_TABLE + n * E820_ENTRY_SIZE));
    let ram = table.filter(|&entry| field::<u32>(entry, 16) == E820_RAM);
    let ends = ram.map(|entry| Phys(field::<u64>(entry, 0) + field::<u64>(entry, 8)));
    ends.max().expect("a machine has memory")
}

/// Reads a number from the boot page.
fn field<T: Copy>(page: Phys, offset: u64) -> T {
    // SAFETY: the Launcher has put the boot page and the command line into memory, and any bytes are a number. They are
    // read before anything else may use that memory.
    unsafe { Phys(page.0 + offset).read_unaligned() }
}
