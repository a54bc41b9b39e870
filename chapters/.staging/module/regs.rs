// SPDX-License-Identifier: GPL-2.0

//! The Guest's registers, and what they hold before its first instruction.

use crate::abi::selector;

/// EFLAGS, as far as a Guest meets them (SDM vol. 1, 3.4.3).
pub(crate) mod flags {
    /// Always 1.
    pub(crate) const FIXED: u64 = 1 << 1;
    /// Interrupts are let in. The real one; the Guest's own is `irq_enabled`.
    pub(crate) const IF: u64 = 1 << 9;
    /// In ring 1: access to user pages is meant, whatever SMAP thinks.
    pub(crate) const AC: u64 = 1 << 18;
    /// What a Guest may set as it likes: arithmetic, TF, DF, RF, AC and ID.
    pub(crate) const GUESTS: u64 = 0x0025_0dd5;
}

/// Everything that is the Guest's while it runs, in the order of `switcher.S`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Regs {
    pub(crate) gs_base: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs: u64,
    pub(crate) fs: u64,
    pub(crate) es: u64,
    pub(crate) ds: u64,
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    /// Why the Guest stopped: pushed by the Switcher's stub.
    pub(crate) trapnum: u64,
    /// The CPU's error code, or 0.
    pub(crate) errcode: u64,
    // From here on the CPU pushes and IRETQ pops.
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

// The stack that the CPU pushes to starts on a 16-byte boundary.
const _: () = assert!(size_of::<Regs>() == 28 * 8 && size_of::<Regs>() % 16 == 0);

impl Regs {
    /// The registers of a Guest that is about to be born at `start`.
    pub(crate) fn setup(start: u64) -> Self {
        Self {
            ds: selector::KERNEL_DS.into(),
            es: selector::KERNEL_DS.into(),
            ss: selector::KERNEL_DS.into(),
            cs: selector::KERNEL_CS.into(),
            rflags: flags::FIXED | flags::IF | flags::AC,
            rip: start,
            // RSI is 0: the boot page lies at physical 0.
            ..Self::default()
        }
    }

    /// Whether the Guest was in its kernel (ring 1), not in a program (ring 3).
    pub(crate) fn in_kernel(&self) -> bool {
        self.cs & 3 == 1
    }

    /// Make the last five words fit for IRETQ, whatever happened to them.
    pub(crate) fn sanitize(&mut self) {
        let (cs, ss) = if self.in_kernel() {
            (selector::KERNEL_CS, selector::KERNEL_DS)
        } else {
            (selector::USER_CS, selector::USER_DS)
        };
        self.cs = cs.into();
        self.ss = ss.into();
        self.rflags = self.rflags & flags::GUESTS | flags::FIXED | flags::IF;
    }
}
