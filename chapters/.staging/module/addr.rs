// SPDX-License-Identifier: GPL-2.0

//! Addresses that come from a Guest, as types that cannot be mixed up.
//!
//! None of them has a `+`: adding to an address that somebody else chose is a decision.

use crate::abi::PAGE_SIZE;

/// An address in what the Guest believes to be physical memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct GuestPhys(u64);

impl GuestPhys {
    /// A claim by the Guest or the Launcher. Only [`crate::memory`] makes it worth something.
    pub(crate) const fn claimed(address: u64) -> Self {
        Self(address)
    }

    /// The address as a number.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The frame that the address lies in.
    pub(crate) const fn frame(self) -> u64 {
        self.0 / PAGE_SIZE
    }

    /// How far into its page the address is.
    pub(crate) const fn page_offset(self) -> u64 {
        self.0 % PAGE_SIZE
    }

    /// The address `bytes` further up, unless that wraps around.
    pub(crate) fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }
}

/// An address as the Guest's instructions use it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct GuestVirt(u64);

impl GuestVirt {
    /// Any 64-bit word may be meant as an address.
    pub(crate) const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address as a number.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// Whether the top 17 bits agree, as the CPU demands of 48-bit addresses (SDM vol. 1, 3.3.7.1).
    pub(crate) const fn is_canonical(self) -> bool {
        ((self.0 << 16) as i64 >> 16) as u64 == self.0
    }

    /// Which of the 512 entries of a table translates this address; level 1 is the last.
    pub(crate) const fn index(self, level: u32) -> usize {
        (self.0 >> (12 + 9 * (level - 1)) & 511) as usize
    }

    /// How far into its page the address is.
    pub(crate) const fn page_offset(self) -> u64 {
        self.0 % PAGE_SIZE
    }

    /// The address `bytes` further down; a stack may start anywhere, so this wraps.
    pub(crate) const fn wrapping_sub(self, bytes: u64) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }

    /// The address `bytes` further up, likewise.
    pub(crate) const fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_addresses_have_seventeen_equal_bits_on_top() {
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert!(GuestVirt::new(good).is_canonical(), "{good:#x}");
        }
        for bad in [
            0x8000_0000_0000,
            0xffff_7fff_ffff_ffff,
            1 << 63,
            0xdead << 48,
        ] {
            assert!(!GuestVirt::new(bad).is_canonical(), "{bad:#x}");
        }
    }

    #[test]
    fn every_level_takes_its_nine_bits() {
        let address =
            GuestVirt::new(0xffff_0000_0000_0000 | 256 << 39 | 3 << 30 | 2 << 21 | 1 << 12 | 5);
        assert_eq!(
            [4, 3, 2, 1].map(|level| address.index(level)),
            [256, 3, 2, 1]
        );
        assert_eq!(address.page_offset(), 5);
    }
}
