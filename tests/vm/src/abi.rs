//! The interface, stated a second time.
//!
//! The book's own `abi.rs` is not used here on purpose: these tests are the witness that its numbers stay what they are.

/// `write()` requests.
pub mod lhreq {
    pub const INITIALIZE: u64 = 0;
    pub const GETDMA: u64 = 1;
    pub const IRQ: u64 = 2;
    pub const BREAK: u64 = 3;
    pub const EVENTFD: u64 = 4;
    pub const SAVE: u64 = 5;
    pub const RESTORE: u64 = 6;
    /// The one flag of INITIALIZE.
    pub const WITHOUT_SMAP: u64 = 1;
}

/// Hypercall numbers.
pub mod hc {
    pub const FLUSH_ASYNC: u64 = 0;
    pub const LGUEST_INIT: u64 = 1;
    pub const CRASH: u64 = 2;
    pub const NEW_PGTABLE: u64 = 4;
    pub const FLUSH_TLB: u64 = 5;
    pub const LOAD_IDT_ENTRY: u64 = 6;
    pub const SET_STACK: u64 = 7;
    pub const SET_CLOCKEVENT: u64 = 9;
    pub const HALT: u64 = 10;
    pub const POWEROFF: u64 = 11;
    pub const BIND_DMA: u64 = 12;
    pub const SEND_DMA: u64 = 13;
    pub const SET_PTE: u64 = 14;
    pub const SET_TABLE: u64 = 15;
    pub const SET_SYSCALL: u64 = 17;
    pub const SET_DESCRIPTOR: u64 = 18;
    pub const SEND_INTERRUPTS: u64 = 19;
    pub const SET_ENTRY: u64 = 20;
    pub const NOTIFY: u64 = 23;
    pub const START_CPU: u64 = 24;
    pub const STOP_CPU: u64 = 25;
    pub const INTERRUPT_CPU: u64 = 26;
    pub const PROMISE: u64 = 27;
}

/// Offsets in `struct lguest_data`.
pub mod data {
    pub const IRQ_PENDING: u64 = 8;
    pub const BLOCKED: u64 = 16;
    pub const CR2: u64 = 24;
    pub const TIME: u64 = 32;
    pub const NOIRQ_START: u64 = 48;
    pub const NOIRQ_END: u64 = 56;
    pub const GUESTID: u64 = 68;
    pub const CPUS: u64 = 70;
    pub const RING_STATUS: u64 = 72;
    pub const RING: u64 = 136;
    pub const RING_SIZE: u64 = 64;
    pub const SIZE: u64 = RING + RING_SIZE * 32;
    /// A ring slot that is free, or whose call was made.
    pub const DONE: u8 = 0xff;
    /// A ring slot that waits for the Host.
    pub const PENDING: u8 = 0;
}

/// `struct lguest_dma`.
pub mod dma {
    pub const ADDR: u64 = 8;
    pub const LEN: u64 = 136;
    pub const SIZE: u64 = 168;
}

/// Selectors of the guest kernel (ring 1) and of guest user programs (ring 3).
pub mod sel {
    pub const KERNEL_CS: u64 = 0x81;
    pub const KERNEL_DS: u64 = 0x89;
    pub const USER_CS: u64 = 0x33;
    pub const USER_DS: u64 = 0x2b;
    /// 32-bit code, where a guest has set descriptor 4 to that.
    pub const USER32_CS: u64 = 0x23;
}

/// RFLAGS.IF, which is also how `irq_enabled` says "on".
pub const IF: u64 = 0x200;
/// RFLAGS of a guest kernel: IF, AC (for SMAP) and the bit that is always one.
pub const KERNEL_FLAGS: u64 = 0x40202;
/// Interrupt n arrives at vector 32 + n.
pub const FIRST_IRQ: u64 = 32;
/// Number of interrupts.
pub const IRQS: u64 = 32;
/// The top-level slot that belongs to the Switcher, as an address of a four-level Host.
pub const SWITCHER_4LEVEL: u64 = 0xffff_8000_0000_0000;
/// The same of a five-level Host.
pub const SWITCHER_5LEVEL: u64 = 0xff00_0000_0000_0000;
