//! Marks in this program.

use ruler::marks::Mark;
use ruler::operations::System;

/// Runs `$inside`, one or more lines of assembly, between the marks of an operation.
macro_rules! between {
    ($operation:expr, [$($inside:literal),+], $($operands:tt)*) => {
        core::arch::asm!(
            ".byte 0x0f, 0x1f, 0x84, 0x00",
            ".long {begin}",
            $($inside,)+
            ".byte 0x0f, 0x1f, 0x84, 0x00",
            ".long {end}",
            begin = const ruler::marks::Mark::Begin($operation as u16).displacement(),
            end = const ruler::marks::Mark::End($operation as u16).displacement(),
            $($operands)*
        )
    };
}
pub(crate) use between;

macro_rules! mark {
    ($mark:expr) => {
        // SAFETY: an instruction that changes nothing.
        unsafe {
            core::arch::asm!(
                ".byte 0x0f, 0x1f, 0x84, 0x00",
                ".long {}",
                const $mark.displacement(),
                options(nostack, preserves_flags)
            )
        }
    };
}

/// What follows is done by this system.
pub fn system(system: System) {
    match system {
        System::Calibration => mark!(Mark::System(System::Calibration as u16)),
        System::Native => mark!(Mark::System(System::Native as u16)),
        System::Lguest => mark!(Mark::System(System::Lguest as u16)),
        System::Undefended => mark!(Mark::System(System::Undefended as u16)),
        System::KvmNested => mark!(Mark::System(System::KvmNested as u16)),
        System::KvmShadow => mark!(Mark::System(System::KvmShadow as u16)),
        System::Uml => mark!(Mark::System(System::Uml as u16)),
    }
}

/// Tells the plugin an address: where the range begins or, the second time, ends.
pub fn bound(address: u64) {
    for digit in (0..16).rev() {
        match address >> (4 * digit) & 15 {
            0 => mark!(Mark::Digit(0)),
            1 => mark!(Mark::Digit(1)),
            2 => mark!(Mark::Digit(2)),
            3 => mark!(Mark::Digit(3)),
            4 => mark!(Mark::Digit(4)),
            5 => mark!(Mark::Digit(5)),
            6 => mark!(Mark::Digit(6)),
            7 => mark!(Mark::Digit(7)),
            8 => mark!(Mark::Digit(8)),
            9 => mark!(Mark::Digit(9)),
            10 => mark!(Mark::Digit(10)),
            11 => mark!(Mark::Digit(11)),
            12 => mark!(Mark::Digit(12)),
            13 => mark!(Mark::Digit(13)),
            14 => mark!(Mark::Digit(14)),
            _ => mark!(Mark::Digit(15)),
        }
    }
    mark!(Mark::Bound);
}
