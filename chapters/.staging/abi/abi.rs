// SPDX-License-Identifier: GPL-2.0

//! What Host, Launcher and Guest agree on.
//!
//! This one file is compiled into all three, so it uses nothing but `core`.

#![allow(dead_code, unreachable_pub)] // Each side needs its own half, and only inside its crate.

/// Bytes in a page, everywhere in this book.
pub const PAGE_SIZE: u64 = 4096;

/// Requests that the Launcher writes to `/dev/lguest`: one word, then the arguments.
pub mod request {
    /// `{base, pfn_limit, pgdir, start, page_offset}`: make a Guest.
    pub const INITIALIZE: u64 = 0;
    /// `{key}`: find a free DMA buffer bound to `key`; `write()` returns its guest-physical address.
    pub const GETDMA: u64 = 1;
    /// `{irq}`: interrupt the Guest.
    pub const IRQ: u64 = 2;
    /// `{on}`: force the Guest out of `read()`, or let it back in.
    pub const BREAK: u64 = 3;
}

/// Hypercalls: `int $0x1f` with the number in RAX and arguments in RDX, RBX and RCX.
pub mod hypercall {
    /// The interrupt vector of a hypercall. Linux gives no device a vector below 0x20.
    pub const VECTOR: u8 = 0x1f;

    /// Does nothing itself, but every hypercall drains the ring first.
    pub const FLUSH_ASYNC: u64 = 0;
    /// `(pa of LguestData)`: introduce yourself. Must come first, and once.
    pub const LGUEST_INIT: u64 = 1;
    /// `(pa of string)`: die with this message.
    pub const CRASH: u64 = 2;
    /// `(cr3)`: switch to another top-level page table.
    pub const NEW_PGTABLE: u64 = 4;
    /// `(0 = user, 1 = everything)`: forget what was learned from the page tables.
    pub const FLUSH_TLB: u64 = 5;
    /// `(index, low word, high word)`: one gate of the IDT.
    pub const LOAD_IDT_ENTRY: u64 = 6;
    /// `(ss, rsp, pages)`: where the stack for traps from ring 3 is.
    pub const SET_STACK: u64 = 7;
    /// `(nanoseconds)`: interrupt 0 after this long, once; 0 cancels.
    pub const SET_CLOCKEVENT: u64 = 9;
    /// Sleep until an interrupt.
    pub const HALT: u64 = 10;
    /// `(status)`: the end, in good order.
    pub const POWEROFF: u64 = 11;
    /// `(key, pa of LguestDma array, count << 8 | irq)`: offer buffers; irq 0 takes them back.
    pub const BIND_DMA: u64 = 12;
    /// `(key, pa of LguestDma)`: send a buffer to whoever serves `key`.
    pub const SEND_DMA: u64 = 13;
    /// `(cr3, virtual address, new entry)`: a last-level entry has changed.
    pub const SET_PTE: u64 = 14;
    /// `(cr3, virtual address, level 2 to 4)`: an upper-level entry has changed.
    pub const SET_TABLE: u64 = 15;
    /// `(rip)`: where the `syscall` instruction of ring 3 lands in ring 1.
    pub const SET_SYSCALL: u64 = 17;
    /// Deliver what waits behind [`super::LguestData::irq_pending`].
    pub const SEND_INTERRUPTS: u64 = 19;
}

/// Slots in the ring of asynchronous hypercalls.
pub const RING_SIZE: usize = 64;

/// Number of virtual interrupts; interrupt 0 is the timer.
pub const IRQS: u64 = 32;

/// The vector of virtual interrupt 0 in the Guest's IDT.
pub const FIRST_IRQ_VECTOR: u8 = 32;

/// The value of [`LguestData::irq_enabled`] that lets interrupts in: EFLAGS.IF, in its own place.
pub const IRQ_ENABLED: u64 = 0x200;

/// Reason of death after [`hypercall::POWEROFF`]: this, then the status in decimal.
pub const POWEROFF_REASON: &str = "POWEROFF: ";

/// Segment selectors that a Guest meets.
pub mod selector {
    /// Code of the Guest's kernel, ring 1.
    pub const KERNEL_CS: u16 = 0x61;
    /// Data and stack of the Guest's kernel, ring 1.
    pub const KERNEL_DS: u16 = 0x69;
    /// Code of the Guest's programs, ring 3.
    pub const USER_CS: u16 = 0x33;
    /// Data and stack of the Guest's programs, ring 3.
    pub const USER_DS: u16 = 0x2b;
}

/// One entry of the ring: a hypercall to be made later.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RingEntry {
    /// Number of the hypercall.
    pub rax: u64,
    /// First argument.
    pub rdx: u64,
    /// Second argument.
    pub rbx: u64,
    /// Third argument.
    pub rcx: u64,
}

/// The page of memory through which Guest and Host talk without a hypercall.
///
/// It lies in the Guest; [`hypercall::LGUEST_INIT`] says where.
#[repr(C)]
pub struct LguestData {
    /// [`IRQ_ENABLED`] or 0. The Guest's only truth about its interrupt flag.
    pub irq_enabled: u64,
    /// Set by the Host when an interrupt waits for `irq_enabled`.
    pub irq_pending: u64,
    /// Bitmap of interrupts that the Guest does not want at present.
    pub blocked_interrupts: u64,
    /// Address of the last page fault, set by the Host.
    pub cr2: u64,
    /// Wall-clock time in seconds, set by the Host.
    pub time_sec: u64,
    /// And its nanoseconds.
    pub time_nsec: u64,
    /// First instruction of the stretch of code that must not be interrupted.
    pub noirq_start: u64,
    /// The first instruction after it.
    pub noirq_end: u64,
    /// Frequency of the time-stamp counter, set by the Host; 0 when it cannot be trusted.
    pub tsc_khz: u32,
    /// Number of this Guest, set by the Host.
    pub guestid: u16,
    /// Keeps the ring aligned.
    pub reserved: u16,
    /// 0xff: free or done. 0: to do.
    pub hcall_status: [u8; RING_SIZE],
    /// The ring.
    pub hcalls: [RingEntry; RING_SIZE],
}

const _: () = assert!(core::mem::offset_of!(LguestData, hcall_status) == 72);
const _: () = assert!(core::mem::size_of::<LguestData>() == 136 + 32 * RING_SIZE);

/// Sections that one DMA list can name.
pub const DMA_SECTIONS: usize = 16;

/// A list of pieces of Guest memory: what to send, or where to receive.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LguestDma {
    /// Bytes transferred; 0 means that the buffer is free.
    pub used_len: u32,
    /// Keeps the addresses aligned.
    pub reserved: u32,
    /// Guest-physical addresses of the sections.
    pub addr: [u64; DMA_SECTIONS],
    /// Their lengths in bytes; 0 ends the list. No section crosses a page.
    pub len: [u16; DMA_SECTIONS],
}

const _: () = assert!(core::mem::size_of::<LguestDma>() == 168);

/// One device, as described in the page above the Guest's memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DeviceDesc {
    /// One of [`device`]'s types; [`device::NONE`] ends the page.
    pub kind: u16,
    /// What the device offers.
    pub features: u16,
    /// How far the Guest's driver has come.
    pub status: u16,
    /// Pages of memory that belong to the device.
    pub num_pages: u16,
    /// Guest frame number of the first of them.
    pub pfn: u64,
}

const _: () = assert!(core::mem::size_of::<DeviceDesc>() == 16);

/// Device types, and what a driver reports in [`DeviceDesc::status`].
pub mod device {
    /// End of the device page.
    pub const NONE: u16 = 0;
    /// A console: text out, text in.
    pub const CONSOLE: u16 = 1;
    /// A network card.
    pub const NET: u16 = 2;
    /// A disk.
    pub const BLOCK: u16 = 3;

    /// The Guest has seen the device.
    pub const ACKNOWLEDGE: u16 = 1;
    /// It has a driver for it.
    pub const DRIVER: u16 = 2;
    /// The driver is at work.
    pub const DRIVER_OK: u16 = 4;
    /// The driver gave up.
    pub const FAILED: u16 = 128;

    /// DMA key of the console, in both directions.
    pub const CONSOLE_KEY: u64 = 0;
}
