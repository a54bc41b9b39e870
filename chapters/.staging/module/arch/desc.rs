// SPDX-License-Identifier: GPL-2.0

//! Descriptors: segments, gates and the task state segment (SDM vol. 3, 3.4.5, 6.14 and 8.7).
//!
//! Nothing here touches the machine; these are the bits that the CPU will read.

use crate::abi::selector;

/// The Host's selectors that the Switcher uses (Linux: `arch/x86/include/asm/segment.h`).
pub(super) const HOST_CS: u16 = 0x10;
/// Stack and data of the Host's kernel.
pub(super) const HOST_SS: u16 = 0x18;
/// The Host's task state segment.
pub(super) const HOST_TSS: u16 = 0x40;
/// Its limit tells the Host's entry code which CPU it is on.
const HOST_CPUNODE: usize = 15;

/// The task state segment while a Guest runs.
pub(super) const GUEST_TSS: u16 = 0x80;
/// Descriptors in the GDT while a Guest runs; the last two are one TSS.
pub(super) const GDT_ENTRIES: usize = 18;

/// A flat 64-bit code segment, already accessed: 9B or FB, and L.
const fn code(ring: u64) -> u64 {
    0x00af_9b00_0000_ffff | ring << 45
}

/// A flat writable data segment, already accessed: 93 or F3.
const fn data(ring: u64) -> u64 {
    0x00cf_9300_0000_ffff | ring << 45
}

/// The two words of an available 64-bit TSS at `base`.
const fn task_state(base: u64) -> [u64; 2] {
    let limit = size_of::<Tss>() as u64 - 1;
    let low = limit | (base & 0x00ff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// The GDT that is loaded while a Guest runs.
///
/// The Host's own kernel segments and its CPU number keep their places, since an NMI may find this
/// table loaded. The Guest finds its kernel at 0x61 and 0x69 and its programs at 0x33 and 0x2b.
/// There is no 32-bit code segment and no local table, so nobody leaves 64-bit mode.
pub(super) const fn guest_gdt(host_cpunode: u64, tss: u64) -> [u64; GDT_ENTRIES] {
    let mut gdt = [0; GDT_ENTRIES];
    gdt[HOST_CS as usize / 8] = code(0);
    gdt[HOST_SS as usize / 8] = data(0);
    gdt[selector::USER_DS as usize / 8] = data(3);
    gdt[selector::USER_CS as usize / 8] = code(3);
    gdt[selector::KERNEL_CS as usize / 8] = code(1);
    gdt[selector::KERNEL_DS as usize / 8] = data(1);
    gdt[HOST_CPUNODE] = host_cpunode;
    let [low, high] = task_state(tss);
    gdt[GUEST_TSS as usize / 8] = low;
    gdt[GUEST_TSS as usize / 8 + 1] = high;
    gdt
}

/// Where the Host keeps its CPU number.
pub(super) const fn host_cpunode_offset() -> usize {
    HOST_CPUNODE * 8
}

/// The task state segment: in 64-bit mode, a list of stacks.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(super) struct Tss {
    reserved0: u32,
    /// Stacks for entering rings 0, 1 and 2.
    pub(super) rsp: [u64; 3],
    reserved1: u64,
    /// Stacks that a gate can ask for, whatever the ring; gates count from 1.
    pub(super) ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    /// Where the I/O bitmap begins: at the end, so there is none and no port is allowed.
    iomap: u16,
}

const _: () = assert!(size_of::<Tss>() == 104);

impl Tss {
    pub(super) const fn new(ring0: u64, ist: [u64; 7]) -> Self {
        Self {
            reserved0: 0,
            rsp: [ring0, 0, 0],
            reserved1: 0,
            ist,
            reserved2: 0,
            reserved3: 0,
            iomap: size_of::<Self>() as u16,
        }
    }
}

/// One entry of the IDT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Gate {
    /// Offset 15:0, selector, stack, type, privilege, present, offset 31:16.
    pub(crate) low: u64,
    /// Offset 63:32.
    pub(crate) high: u64,
}

/// An interrupt gate: interrupts are off behind it.
pub(crate) const INTERRUPT_GATE: u64 = 0xe;
/// A trap gate: they stay as they are.
pub(crate) const TRAP_GATE: u64 = 0xf;

impl Gate {
    /// A present gate to `handler` that rings up to `ring` may raise with INT.
    pub(crate) const fn new(handler: u64, selector: u16, ist: u64, kind: u64, ring: u64) -> Self {
        Self {
            low: handler & 0xffff
                | (selector as u64) << 16
                | ist << 32
                | kind << 40
                | ring << 45
                | 1 << 47
                | (handler >> 16 & 0xffff) << 48,
            high: handler >> 32,
        }
    }

    /// Where it leads.
    pub(crate) const fn handler(self) -> u64 {
        self.low & 0xffff | self.low >> 32 & 0xffff_0000 | self.high << 32
    }

    /// The four bits of its type.
    pub(crate) const fn kind(self) -> u64 {
        self.low >> 40 & 0xf
    }

    /// The outermost ring that may raise it with INT.
    pub(crate) const fn ring(self) -> u64 {
        self.low >> 45 & 3
    }

    /// Whether there is a gate at all.
    pub(crate) const fn is_present(self) -> bool {
        self.low >> 47 & 1 != 0
    }
}

/// What LGDT and LIDT read: limit and base.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct TablePointer {
    pub(super) limit: u16,
    pub(super) base: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_the_well_known_words() {
        let gdt = guest_gdt(0, 0);
        assert_eq!(gdt[2], 0x00af_9b00_0000_ffff);
        assert_eq!(gdt[3], 0x00cf_9300_0000_ffff);
        assert_eq!(gdt[5], 0x00cf_f300_0000_ffff);
        assert_eq!(gdt[6], 0x00af_fb00_0000_ffff);
        assert_eq!(gdt[0x61 / 8], 0x00af_bb00_0000_ffff);
        assert_eq!(gdt[0x69 / 8], 0x00cf_b300_0000_ffff);
    }

    #[test]
    fn the_only_code_segments_are_64_bit_ones() {
        for word in guest_gdt(0, 0) {
            let is_code = word >> 43 & 3 == 3;
            assert!(!is_code || word >> 53 & 3 == 1, "{word:#x}");
        }
    }

    #[test]
    fn a_tss_descriptor_spreads_its_base_over_both_words() {
        let gdt = guest_gdt(0, 0xffff_8000_1234_5678);
        assert_eq!(gdt[16], 0x1200_8934_5678_0067);
        assert_eq!(gdt[17], 0xffff_8000);
    }

    #[test]
    fn a_gate_gives_back_what_it_was_made_of() {
        let gate = Gate::new(0xffff_8000_dead_beef, 0x61, 2, TRAP_GATE, 3);
        assert_eq!(gate.handler(), 0xffff_8000_dead_beef);
        assert_eq!(
            (gate.kind(), gate.ring(), gate.is_present()),
            (TRAP_GATE, 3, true)
        );
        assert_eq!(gate.low >> 32 & 7, 2);
        assert!(!Gate::default().is_present());
    }
}
