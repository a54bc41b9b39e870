// SPDX-License-Identifier: GPL-2.0

//! The bus: the page above memory in which the Launcher lists the devices.

use core::mem::offset_of;

use crate::abi::{DeviceDesc, PAGE_SIZE, device};
use crate::layout::Phys;

/// A device that we have been promised.
#[derive(Clone, Copy)]
pub struct Device {
    desc: Phys,
    /// Its interrupt: the place in the list, counted from 1, as 0 is the timer's.
    pub irq: u64,
}

/// Finds the first device of a kind in the page at `page`.
pub fn find(page: Phys, kind: u16) -> Option<Device> {
    const SIZE: u64 = size_of::<DeviceDesc>() as u64;
    let places = (0..PAGE_SIZE / SIZE).map(|index| Device {
        desc: Phys(page.0 + index * SIZE),
        irq: index + 1,
    });
    let mut devices = places.take_while(|device| device.kind() != device::NONE);
    devices.find(|device| device.kind() == kind)
}

impl Device {
    fn kind(&self) -> u16 {
        // SAFETY: the descriptors are inside the device page, which nobody refers to but by this module.
        unsafe { Phys(self.desc.0 + offset_of!(DeviceDesc, kind) as u64).read() }
    }

    /// Tells the Launcher how far we have come.
    pub fn set_status(&self, status: u16) {
        // SAFETY: as above.
        unsafe { Phys(self.desc.0 + offset_of!(DeviceDesc, status) as u64).write(status) }
    }
}
