// SPDX-License-Identifier: GPL-2.0

//! The Guest's memory: one stretch of the Launcher's own, with the device page on top.

use thiserror::Error;
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::abi::PAGE_SIZE;

/// The Guest touched, or made us touch, what it does not have.
#[derive(Debug, Error, PartialEq)]
#[error("{len} bytes at {address:#x} are not inside the Guest's memory")]
pub struct OutOfBounds {
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// Number of bytes.
    pub len: usize,
}

/// Guest-physical memory: addresses 0 to [`Memory::size`], then one page that describes the devices.
pub struct Memory {
    map: GuestMemoryMmap<()>,
    size: u64,
}

impl Memory {
    /// Fresh memory, all zeroes. `size` is a multiple of the page size.
    pub fn new(size: u64) -> Result<Self, std::io::Error> {
        let bytes = usize::try_from(size + PAGE_SIZE).map_err(std::io::Error::other)?;
        let map = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]).map_err(std::io::Error::other)?;
        Ok(Memory { map, size })
    }

    /// Bytes of ordinary memory; also the address of the device page.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first page number that the Guest may not name.
    pub fn pfn_limit(&self) -> u64 {
        self.size / PAGE_SIZE + 1
    }

    /// Where guest-physical 0 lies in the Launcher.
    pub fn base(&self) -> u64 {
        let start = self.map.get_host_address(GuestAddress(0)).expect("the map begins at 0");
        start as u64
    }

    /// The map itself, for crates that want one.
    pub fn map(&self) -> &GuestMemoryMmap<()> {
        &self.map
    }

    /// Reads one number or structure.
    pub fn get<T: ByteValued>(&self, address: u64) -> Result<T, OutOfBounds> {
        let len = size_of::<T>();
        self.map
            .read_obj(GuestAddress(address))
            .map_err(|_| OutOfBounds { address, len })
    }

    /// Writes one number or structure.
    pub fn put<T: ByteValued>(&self, address: u64, value: T) -> Result<(), OutOfBounds> {
        let len = size_of::<T>();
        self.map
            .write_obj(value, GuestAddress(address))
            .map_err(|_| OutOfBounds { address, len })
    }

    /// Fills `bytes` from the Guest.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let len = bytes.len();
        self.map
            .read_slice(bytes, GuestAddress(address))
            .map_err(|_| OutOfBounds { address, len })
    }

    /// Copies `bytes` into the Guest.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let len = bytes.len();
        self.map
            .write_slice(bytes, GuestAddress(address))
            .map_err(|_| OutOfBounds { address, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_page_is_the_last() {
        let memory = Memory::new(16 * PAGE_SIZE).unwrap();
        assert_eq!(memory.pfn_limit(), 17);
        assert_eq!(memory.base() % PAGE_SIZE, 0);
        assert_eq!(memory.put(memory.size() + PAGE_SIZE - 8, 1u64), Ok(()));
        assert_eq!(memory.get::<u64>(memory.size() + PAGE_SIZE - 8), Ok(1));
    }

    #[test]
    fn nothing_lies_outside() {
        let memory = Memory::new(PAGE_SIZE).unwrap();
        let end = 2 * PAGE_SIZE;
        assert_eq!(
            memory.get::<u64>(end - 7),
            Err(OutOfBounds {
                address: end - 7,
                len: 8
            })
        );
        assert_eq!(
            memory.put(u64::MAX, 0u32),
            Err(OutOfBounds {
                address: u64::MAX,
                len: 4
            })
        );
        assert!(memory.read(u64::MAX - 2, &mut [0; 8]).is_err());
        assert!(memory.write(end, &[1]).is_err());
    }
}
