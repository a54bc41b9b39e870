// SPDX-License-Identifier: GPL-2.0

//! Running a program: in ring 3, in an address space of its own, until it ends or is ended.

use core::arch::naked_asm;
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use crate::abi::{IRQ_ENABLED, PAGE_SIZE, selector};
use crate::elf::{Elf, Malformed, Segment};
use crate::frames;
use crate::layout::Phys;
use crate::lone::Lone;
use crate::noirq::trap_return;
use crate::paging::{self, Access, AddressSpace, MapError, USER_END};
use crate::timer::TICKS_PER_SECOND;
use crate::traps::Frame;

/// The programs that this kernel carries inside.
pub const PROGRAMS: [(&str, &[u8]); 3] = [
    ("hello", include_bytes!(concat!(env!("OUT_DIR"), "/hello"))),
    ("spin", include_bytes!(concat!(env!("OUT_DIR"), "/spin"))),
    ("trespass", include_bytes!(concat!(env!("OUT_DIR"), "/trespass"))),
];

/// A program's stack: its pages, and where it ends.
const STACK_PAGES: u64 = 4;
const STACK_TOP: u64 = USER_END - PAGE_SIZE;

/// Ticks that a program may run. Nobody here has more than half a second of work.
const TICKS: u64 = TICKS_PER_SECOND / 2;

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It asked to, with a status.
    Exit(u64),
    /// It touched what is not its own.
    BadAddress { address: u64, rip: u64 },
    /// The CPU refused one of its instructions.
    Exception { vector: u64, rip: u64 },
    /// It would not stop.
    TimeUp,
}

/// Why a program could not be started.
#[derive(Clone, Copy, Debug)]
pub enum LoadError {
    /// Its file is no program.
    Malformed,
    /// It wants memory that is the kernel's, twice, or both to write and to run.
    BadSegment,
    /// There is no memory left for it.
    NoMemory,
}

/// The program that runs.
struct Running {
    space: AddressSpace,
    ticks_left: u64,
    outcome: Option<Outcome>,
}

static RUNNING: Lone<Option<Running>> = Lone::new(None);

/// Runs a program to its end.
pub fn run(file: &[u8]) -> Result<Outcome, LoadError> {
    let mark = frames::mark();
    let result = load(file).map(|(space, entry)| execute(space, entry));
    frames::release(mark);
    result
}

/// Gives the CPU to a program until it ends.
fn execute(space: AddressSpace, entry: u64) -> Outcome {
    space.enter();
    RUNNING.with(|running| {
        *running = Some(Running {
            space,
            ticks_left: TICKS,
            outcome: None,
        })
    });
    // SAFETY: the tables are a program's, and whatever `entry` leads to can only do what ring 3 can.
    // As if `_start` had been called: a return address's worth below 16-byte alignment.
    unsafe { enter_ring_3(entry, STACK_TOP - 8) };
    let ended = RUNNING.with(Option::take);
    paging::leave_program();
    ended.and_then(|program| program.outcome).expect("`end` has noted it")
}

/// Ends the program out of one of its traps: `execute` goes on.
pub fn end(outcome: Outcome) -> ! {
    RUNNING.with(|running| {
        let program = running.as_mut().expect("only a program's trap leads here");
        program.outcome = Some(outcome);
    });
    // SAFETY: a program runs, so `enter_ring_3` waits. What is left on the trap stack owns nothing.
    unsafe { leave_ring_3() }
}

/// The program has used another tick.
pub fn charge_tick() {
    let left = RUNNING.with(|running| {
        let program = running.as_mut().expect("only a program is charged");
        program.ticks_left -= 1;
        program.ticks_left
    });
    if left == 0 {
        end(Outcome::TimeUp);
    }
}

/// Hands a stretch of the program's memory to `take`, piece by piece. False if it is not all the program's.
pub fn read_memory(address: u64, len: u64, mut take: impl FnMut(u8)) -> bool {
    for at in address..address.saturating_add(len) {
        let find = |running: &mut Option<Running>| running.as_ref()?.space.find_user(at);
        let Some(place) = RUNNING.with(find) else { return false };
        // SAFETY: the program's pages are pages from `frames`, and the kernel holds no references into them.
        take(unsafe { place.read() });
    }
    true
}

/// Makes an address space with the program and a stack in it.
fn load(file: &[u8]) -> Result<(AddressSpace, u64), LoadError> {
    let elf = Elf::new(file)?;
    let mut space = AddressSpace::for_program()?;
    for segment in elf.segments()? {
        load_segment(&mut space, &segment?)?;
    }
    for page in 1..=STACK_PAGES {
        let frame = frames::allocate().ok_or(LoadError::NoMemory)?;
        space.map(STACK_TOP - page * PAGE_SIZE, frame, Access::UserData)?;
    }
    Ok((space, elf.entry()?))
}

/// Puts a segment into fresh pages.
fn load_segment(space: &mut AddressSpace, segment: &Segment) -> Result<(), LoadError> {
    let end = segment
        .address
        .checked_add(segment.size)
        .filter(|&end| end <= STACK_TOP - STACK_PAGES * PAGE_SIZE);
    let end = end.ok_or(LoadError::BadSegment)?;
    let access = match (segment.writable, segment.executable) {
        (true, true) => return Err(LoadError::BadSegment),
        (true, false) => Access::UserData,
        (false, true) => Access::UserCode,
        (false, false) => Access::UserConstants,
    };

    let first_page = segment.address - segment.address % PAGE_SIZE;
    for page in (first_page..end).step_by(PAGE_SIZE as usize) {
        let frame = frames::allocate().ok_or(LoadError::NoMemory)?;
        fill(frame, page, segment);
        space.map(page, frame, access)?;
    }
    Ok(())
}

/// Copies to `frame` what of the segment's contents belongs into the page at `page`.
fn fill(frame: Phys, page: u64, segment: &Segment) {
    let start = page.max(segment.address);
    let contents = segment
        .contents
        .get((start - segment.address) as usize..)
        .unwrap_or(&[]);
    let len = contents.len().min((page + PAGE_SIZE - start) as usize);
    // SAFETY: the frame was just allocated, nobody else uses it, and what is copied ends before it does.
    unsafe { Phys(frame.0 + start % PAGE_SIZE).copy_from(&contents[..len]) };
}

/// Goes to ring 3, and returns when [`leave_ring_3`] is called.
///
/// It builds the frame of a trap that never was, with all registers zero, and returns from that trap.
///
/// # Safety
/// The address space must be a program's.
#[unsafe(naked)]
unsafe extern "C" fn enter_ring_3(entry: u64, stack: u64) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rip + {kernel_rsp}], rsp",
        "push {user_ds}",
        "push rsi",
        "push {rflags}",
        "push {user_cs}",
        "push rdi",
        "xor eax, eax",
        "mov ecx, {zeroes}",
        "3:",
        "push rax",
        "dec ecx",
        "jnz 3b",
        "fxrstor64 [rip + {fresh}]",
        "jmp {trap_return}",
        kernel_rsp = sym KERNEL_RSP,
        user_ds = const selector::USER_DS,
        rflags = const IRQ_ENABLED | ALWAYS_ONE,
        user_cs = const selector::USER_CS,
        zeroes = const offset_of!(Frame, rip) / 8,
        fresh = sym FRESH_VECTORS,
        trap_return = sym trap_return,
    )
}

/// Forgets the trap that is being handled, and returns from [`enter_ring_3`].
///
/// # Safety
/// `enter_ring_3` must be waiting, and nothing on the trap stack may be needed any more.
#[unsafe(naked)]
unsafe extern "C" fn leave_ring_3() -> ! {
    naked_asm!(
        "mov rsp, [rip + {kernel_rsp}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        kernel_rsp = sym KERNEL_RSP,
    )
}

/// The bit of RFLAGS that means nothing.
const ALWAYS_ONE: u64 = 1 << 1;

/// The stack pointer to which [`leave_ring_3`] returns.
static KERNEL_RSP: AtomicU64 = AtomicU64::new(0);

/// The x87 and vector registers of a program that has not run yet, as `fxrstor` wants them.
#[repr(C, align(16))]
struct VectorRegisters([u16; 256]);

static FRESH_VECTORS: VectorRegisters = {
    let mut words = [0; 256];
    words[0] = 0x37f; // x87: all exceptions masked, full precision.
    words[12] = 0x1f80; // MXCSR: all exceptions masked.
    VectorRegisters(words)
};

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Outcome::Exit(status) => write!(f, "ended with status {status}"),
            Outcome::BadAddress { address, rip } => write!(f, "killed: at {rip:#x} it touched {address:#x}"),
            Outcome::Exception { vector, rip } => write!(f, "killed: trap {vector} at {rip:#x}"),
            Outcome::TimeUp => write!(f, "killed: its {TICKS} ticks are used up"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoadError::Malformed => "is no program",
            LoadError::BadSegment => "wants memory that it cannot have",
            LoadError::NoMemory => "does not fit into memory",
        })
    }
}

impl From<Malformed> for LoadError {
    fn from(_: Malformed) -> Self {
        LoadError::Malformed
    }
}

impl From<MapError> for LoadError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMemory => LoadError::NoMemory,
            MapError::Taken => LoadError::BadSegment,
        }
    }
}
