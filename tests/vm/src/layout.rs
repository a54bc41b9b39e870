//! Where things lie in a test guest's memory (guest-physical addresses).
//!
//! ```text
//!       0  boot page           7000  script: hypercalls the kit makes first
//!    1000  struct lguest_data  9000  struct lguest_dma, as many as wanted
//!    2000  parameters          a000  DMA buffers
//!    3000  results             c000  kernel stack, growing down from 10000
//!    4000  log of traps       10000  kit, 14000 body, 18000 user program, 1c000 its stack
//!    6000  the kit's words    20000  page tables; 60000 SET_STACK's stack; 100000 free
//! ```

/// Size of a page.
pub const PAGE: u64 = 4096;
/// Guest memory unless a test asks for another size.
pub const MEMORY: u64 = 4 << 20;
/// Where the guest kernel's linear map begins: all of guest memory, from here on.
pub const PAGE_OFFSET: u64 = 0xffff_ffff_8000_0000;

pub const DATA: u64 = 0x1000;
pub const PARAM: u64 = 0x2000;
pub const OUT: u64 = 0x3000;
/// Word 0 counts traps; records follow from `TRAPS + TRAP_SIZE` on.
pub const TRAPS: u64 = 0x4000;
pub const TRAP_SIZE: u64 = 128;
pub const TRAP_MAX: u64 = 60;

/// 32 words: how often each interrupt arrived.
pub const IRQ_COUNT: u64 = 0x6000;
/// Where a trap continues: 0 ends the guest, 1 returns to where it came from, else a kernel address.
pub const RESUME: u64 = 0x6100;
/// Number of hypercalls in the script.
pub const SCRIPT_LEN: u64 = 0x6108;
/// Total of interrupts.
pub const IRQ_TOTAL: u64 = 0x6110;
/// RIP that the last interrupt interrupted.
pub const IRQ_RIP: u64 = 0x6118;
/// Delta with which the timer's handler sets the timer again; 0 = does not.
pub const REARM: u64 = 0x6120;
/// A word that a test stores to when a guest shall end.
pub const STOP: u64 = 0x6128;
/// A word that busy guests count up.
pub const COUNT: u64 = 0x6130;
/// RIP, RFLAGS, RSP, CS, SS, RFLAGS now: what the kit's system call entry found. See `kit`.
pub const SYSCALL_LOG: u64 = 0x6140;
/// CS that the last interrupt interrupted.
pub const IRQ_CS: u64 = 0x6180;
/// Address of the last interrupt's frame.
pub const IRQ_FRAME: u64 = 0x6188;
/// One byte per interrupt, in the order of arrival.
pub const IRQ_ORDER: u64 = 0x6200;
pub const IRQ_ORDER_MAX: u64 = 64;

pub const SCRIPT: u64 = 0x7000;
pub const SCRIPT_MAX: u64 = 256;
pub const DMA: u64 = 0x9000;
pub const BUFFER: u64 = 0xa000;
pub const STACK_TOP: u64 = 0x10000;
/// Half of the kernel stack lies below.
pub const STACK_LOW: u64 = 0xe000;
pub const KIT: u64 = 0x10000;
pub const KIT_STUBS: u64 = 0x1000;
pub const KIT_SYSCALL: u64 = 0x2000;
pub const KIT_SYSCALL_COVER: u64 = 0x40;
pub const KIT_ENTER_USER: u64 = 0x2800;
pub const BODY: u64 = 0x14000;
pub const USER: u64 = 0x18000;
pub const USER_STACK_TOP: u64 = 0x1e000;
pub const TABLES: u64 = 0x20000;
pub const TABLES_END: u64 = 0x60000;
/// What SET_STACK is told: 2 pages below this.
pub const KSTACK_TOP: u64 = 0x64000;
pub const FREE: u64 = 0x100000;

/// Where guest user programs are mapped: text, and the pages up to `USER_STACK_TOP` behind it.
pub const USER_VA: u64 = 0x40_0000;
/// The user program's initial stack pointer.
pub const USER_STACK_VA: u64 = USER_VA + (USER_STACK_TOP - USER);

/// The guest kernel's virtual address of a guest-physical one.
pub const fn va(pa: u64) -> u64 {
    PAGE_OFFSET.wrapping_add(pa)
}
