// SPDX-License-Identifier: GPL-2.0

//! The bus: a page above the Guest's memory, with one line for each device.

use crate::abi::device;
use crate::memory::{Memory, OutOfBounds};

/// Every Guest has these, in this order.
const DEVICES: [u16; 1] = [device::CONSOLE];

/// Bytes that describe one device: an `abi::DeviceDesc`.
const DESC_SIZE: u64 = size_of::<crate::abi::DeviceDesc>() as u64;

/// Writes the descriptors. What follows them is zero, and so has type 0: the end.
pub fn describe(memory: &Memory) -> Result<(), OutOfBounds> {
    for (index, kind) in (0..).zip(DEVICES) {
        memory.put(memory.size() + index * DESC_SIZE, kind)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_comes_first_and_is_all() {
        let memory = Memory::new(1 << 20).unwrap();
        describe(&memory).unwrap();
        assert_eq!(memory.get::<[u16; 4]>(1 << 20), Ok([device::CONSOLE, 0, 0, 0]));
        assert_eq!(memory.get::<u16>((1 << 20) + DESC_SIZE), Ok(device::NONE));
    }
}
