// SPDX-License-Identifier: GPL-2.0

//! Single instructions that Rust has no words for: control registers, MSRs, interrupts off.

use super::desc::Gate;
use core::{arch::asm, marker::PhantomData};

/// Model-specific registers (SDM vol. 4).
pub(super) mod msr {
    pub(in super::super) const SYSENTER_CS: u32 = 0x174;
    pub(in super::super) const SYSENTER_ESP: u32 = 0x175;
    pub(in super::super) const U_CET: u32 = 0x6a0;
    pub(in super::super) const S_CET: u32 = 0x6a2;
    pub(in super::super) const LSTAR: u32 = 0xc000_0082;
    pub(in super::super) const FS_BASE: u32 = 0xc000_0100;
    pub(in super::super) const GS_BASE: u32 = 0xc000_0101;
}

/// Bits of CR4 (SDM vol. 3, 2.5).
pub(super) mod cr4 {
    pub(in super::super) const PGE: u64 = 1 << 7;
    pub(in super::super) const LA57: u64 = 1 << 12;
    pub(in super::super) const OSXSAVE: u64 = 1 << 18;
    pub(in super::super) const PKE: u64 = 1 << 22;
    pub(in super::super) const CET: u64 = 1 << 23;
    pub(in super::super) const FRED: u64 = 1 << 32;
}

/// Proof that this CPU takes no interrupts, and so that we stay on it.
pub(super) struct InterruptsOff {
    not_send: PhantomData<*mut ()>,
}

#[cfg(CONFIG_TRACE_IRQFLAGS)]
extern "C" {
    fn trace_hardirqs_off();
    fn trace_hardirqs_on();
}

impl InterruptsOff {
    /// Turn them off. They must be on: this ends by turning them on again.
    pub(super) fn new() -> Self {
        // SAFETY: CLI in ring 0. They come back on when the value is dropped.
        unsafe { asm!("cli") };
        #[cfg(CONFIG_TRACE_IRQFLAGS)]
        // SAFETY: It tells lockdep what has just happened.
        unsafe {
            trace_hardirqs_off()
        };
        Self {
            not_send: PhantomData,
        }
    }
}

extern "C" {
    fn lguest_deliver(handler: u64);
}

impl InterruptsOff {
    /// Turn interrupts on again by way of one that the CPU has taken already.
    ///
    /// Its handler must find a frame with interrupts on: some of what an interrupt does is left to
    /// its last moments, and is left out if it seems to return to code that wants no interrupts.
    pub(super) fn deliver(self, gate: Gate) {
        // SAFETY: The CPU took this vector while the Guest ran, so the Host has a handler, which
        // expects to find interrupts off and returns with IRETQ.
        unsafe { lguest_deliver(gate.handler()) };
    }
}

impl Drop for InterruptsOff {
    fn drop(&mut self) {
        #[cfg(CONFIG_TRACE_IRQFLAGS)]
        // SAFETY: It tells lockdep what is about to happen.
        unsafe {
            trace_hardirqs_on()
        };
        // SAFETY: They were on when `new` was called, and we are where we were.
        unsafe { asm!("sti") };
    }
}

/// Read an MSR that every CPU we run on has.
///
/// # Safety
///
/// The register must exist, or the Host takes a fault that nobody expects.
pub(super) unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The caller says that it exists; reading the ones above changes nothing.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Write an MSR.
///
/// # Safety
///
/// The value must be legal for it and must be undone before it can hurt the Host.
pub(super) unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: Passed on to the caller.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack))
    };
}

macro_rules! read_register {
    ($(#[$doc:meta])* $name:ident, $register:literal) => {
        $(#[$doc])*
        pub(super) fn $name() -> u64 {
            let value;
            // SAFETY: Reading the register in ring 0 has no effect.
            unsafe { asm!(concat!("mov {}, ", $register), out(reg) value, options(nomem, nostack)) };
            value
        }
    };
}

read_register!(
    /// The address of the last page fault.
    read_cr2, "cr2"
);
read_register!(
    /// The page tables, with the PCID in its low bits.
    read_cr3, "cr3"
);
read_register!(
    /// What the CPU has been told to do.
    read_cr4, "cr4"
);
read_register!(
    /// Which breakpoints are on.
    read_dr7, "dr7"
);

/// Change CR4.
///
/// # Safety
///
/// The value must be what [`read_cr4`] said, with PGE changed or not, and be put back.
pub(super) unsafe fn write_cr4(value: u64) {
    // SAFETY: Passed on to the caller. It flushes the TLB if PGE changes.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack)) };
}

/// Turn breakpoints off or on again.
///
/// # Safety
///
/// The value must be 0x400 (none) or what [`read_dr7`] said before.
pub(super) unsafe fn write_dr7(value: u64) {
    // SAFETY: Passed on to the caller.
    unsafe { asm!("mov dr7, {}", in(reg) value, options(nostack)) };
}

/// Forget why the last debug trap came: the Host expects a clean slate (SDM vol. 3, 18.2.3).
pub(super) fn reset_dr6() {
    // SAFETY: This is the value after reset, and no Host code has looked at it since the trap.
    unsafe { asm!("mov dr6, {}", in(reg) 0xffff_0ff0_u64, options(nostack)) };
}

/// Rights of protection keys for user pages.
///
/// # Safety
///
/// CR4.PKE must be set.
pub(super) unsafe fn read_pkru() -> u32 {
    let rights;
    // SAFETY: The caller says that the instruction exists.
    unsafe {
        asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _, options(nomem, nostack))
    };
    rights
}

/// Set the rights of protection keys.
///
/// # Safety
///
/// CR4.PKE must be set, and the Host's own value be back before user memory is touched.
pub(super) unsafe fn write_pkru(rights: u32) {
    // SAFETY: Passed on to the caller.
    unsafe { asm!("wrpkru", in("eax") rights, in("ecx") 0, in("edx") 0, options(nostack)) };
}

/// Which table of gates the Host uses on this CPU.
pub(super) fn host_idt() -> u64 {
    let mut table = super::desc::TablePointer { limit: 0, base: 0 };
    // SAFETY: SIDT writes the ten bytes of `table`.
    unsafe { asm!("sidt [{}]", in(reg) &mut table, options(nostack)) };
    table.base
}

/// Raise the Host's own NMI handler, because one came while we could not take it.
pub(super) fn raise_nmi() {
    // SAFETY: The Host's gate 2 is always there and returns with IRETQ.
    unsafe { asm!("int 2") };
}

/// The same for a machine check. Its cause waits in the machine-check banks.
pub(super) fn raise_machine_check() {
    // SAFETY: The Host's gate 18 is always there and returns with IRETQ, if it returns.
    unsafe { asm!("int 18") };
}
