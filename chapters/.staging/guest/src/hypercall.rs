// SPDX-License-Identifier: GPL-2.0

//! Asking the Host: what a system call is to a program, a hypercall is to us.

use core::arch::asm;

use crate::abi::{LguestDma, hypercall as number, selector};
use crate::layout::Phys;

/// Makes a hypercall.
///
/// # Safety
/// Some calls change what memory means. The caller must know what the Host does with the arguments.
unsafe fn call(number: u64, first: u64, second: u64, third: u64) -> u64 {
    let result;
    // SAFETY: the Host keeps all registers but RAX. The compiler wants RBX for itself, so it is lent to us.
    unsafe {
        asm!(
            "xchg rbx, {second}",
            "int {vector}",
            "xchg rbx, {second}",
            vector = const crate::abi::hypercall::VECTOR,
            second = inout(reg) second => _,
            inout("rax") number => result,
            in("rdx") first,
            in("rcx") third,
        )
    };
    result
}

/// Introduces this Guest: from now on the Host reads and writes `data`.
///
/// # Safety
/// `data` must be the physical address of an `LguestData` that nobody else holds a reference to, for ever.
pub unsafe fn init(data: Phys) {
    // SAFETY: as the caller promises.
    unsafe { call(number::LGUEST_INIT, data.0, 0, 0) };
}

/// Dies with the message at `text`, which ends with a NUL.
pub fn crash(text: Phys) -> ! {
    // SAFETY: the Host only reads the text. After that there is no Guest left to be unsafe.
    unsafe { call(number::CRASH, text.0, 0, 0) };
    unreachable!("the Host lets nobody survive a crash")
}

/// Ends the Guest in good order.
pub fn power_off(status: u8) -> ! {
    // SAFETY: nothing runs after this.
    unsafe { call(number::POWEROFF, status.into(), 0, 0) };
    unreachable!("the Host lets nobody survive the power going off")
}

/// Switches to other page tables.
///
/// # Safety
/// They must map the kernel as the present ones do.
pub unsafe fn new_page_tables(root: Phys) {
    // SAFETY: as the caller promises.
    unsafe { call(number::NEW_PGTABLE, root.0, 0, 0) };
}

/// Makes the Host forget what it knows of the programs' half of the present page tables.
pub fn flush_user() {
    // SAFETY: forgetting is harmless: the Host reads the tables again when it needs them.
    unsafe { call(number::FLUSH_TLB, 0, 0, 0) };
}

/// Sets one gate of the interrupt descriptor table.
///
/// # Safety
/// `handler` must be the address of code that handles this trap and returns by `iretq`.
pub unsafe fn load_gate(vector: u8, handler: u64) {
    const PRESENT_INTERRUPT_GATE: u64 = 0x8e00;
    let selector = u64::from(selector::KERNEL_CS);
    let low = handler & 0xffff | selector << 16 | PRESENT_INTERRUPT_GATE << 32 | (handler & 0xffff_0000) << 32;
    // SAFETY: as the caller promises.
    unsafe { call(number::LOAD_IDT_ENTRY, vector.into(), low, handler >> 32) };
}

/// Says where the stack begins, from its top downwards, when a trap comes out of ring 3.
///
/// # Safety
/// `pages` pages below `top` must be free for this use for ever.
pub unsafe fn set_stack(top: u64, pages: u64) {
    // SAFETY: as the caller promises.
    unsafe { call(number::SET_STACK, selector::KERNEL_DS.into(), top, pages) };
}

/// Says where the instruction `syscall` in ring 3 leads.
///
/// # Safety
/// `entry` must be code that expects it.
pub unsafe fn set_syscall(entry: u64) {
    // SAFETY: as the caller promises.
    unsafe { call(number::SET_SYSCALL, entry, 0, 0) };
}

/// Asks for interrupt 0 after so many nanoseconds.
pub fn set_timer(nanoseconds: u64) {
    // SAFETY: an interrupt is always welcome; it waits until we allow it.
    unsafe { call(number::SET_CLOCKEVENT, nanoseconds, 0, 0) };
}

/// Offers a buffer to whoever sends to `key`; interrupt `irq` will say that it is filled.
///
/// # Safety
/// From now on the Host and the Launcher write to the list and to what it names.
pub unsafe fn bind_dma(key: u64, dma: *const LguestDma, irq: u64) -> bool {
    const ONE_BUFFER: u64 = 1 << 8;
    // SAFETY: as the caller promises.
    unsafe { call(number::BIND_DMA, key, Phys::of(dma).0, ONE_BUFFER | irq) != 0 }
}

/// Sends what a list names to whoever serves `key`. On return it has arrived.
///
/// # Safety
/// The Launcher writes `used_len`, so nobody may hold a reference to the list.
pub unsafe fn send_dma(key: u64, dma: *const LguestDma) {
    // SAFETY: as the caller promises.
    unsafe { call(number::SEND_DMA, key, Phys::of(dma).0, 0) };
}
