//! A Launcher's segments: descriptors of its own, selectors of them in its registers, and a `read()` with just these.
//!
//! FS is where Rust finds a thread's variables, so from loading it until it is put back there is only assembly.

use crate::harness::Outcome;
use crate::layout::PAGE;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use std::num::NonZeroUsize;

/// The selector of a local descriptor.
pub const fn local(index: u16) -> u16 {
    index << 3 | 7
}

/// The first selector that `set_thread_area` gives away.
pub const TLS: u16 = 12 << 3 | 3;

/// `struct user_desc`: a descriptor as Linux is asked for one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    index: u32,
    base: u32,
    limit: u32,
    flags: u32,
}

impl Descriptor {
    const READ_ONLY: u32 = 1 << 3;
    const NOT_PRESENT: u32 = 1 << 5;
    const EMPTY: Self = Self {
        index: 0,
        base: 0,
        limit: 0,
        flags: Self::READ_ONLY | Self::NOT_PRESENT,
    };

    /// Nothing.
    pub fn empty(index: u32) -> Self {
        Self {
            index,
            ..Self::EMPTY
        }
    }

    /// From address 0 to the end of 32 bits. (QEMU adds the base of DS where a prefix names DS, which no CPU does in 64-bit mode;
    /// kernels have such prefixes for filling.)
    fn new(index: u32, flags: u32) -> Self {
        // 32-bit, limit in pages.
        Self {
            index,
            base: 0,
            limit: 0xfffff,
            flags: 1 | 1 << 4 | flags,
        }
    }

    /// Data that can be written.
    pub fn data(index: u32) -> Self {
        Self::new(index, 0)
    }

    /// The same from this address on.
    pub fn at(self, base: u32) -> Self {
        Self { base, ..self }
    }

    /// Data that is not there.
    pub fn absent(index: u32) -> Self {
        Self::new(index, Self::NOT_PRESENT)
    }

    /// Code, contents 2, that can be read.
    pub fn code(index: u32) -> Self {
        Self::new(index, 2 << 1)
    }

    /// Code that can only be executed.
    pub fn execute_only(index: u32) -> Self {
        Self::new(index, 2 << 1 | Self::READ_ONLY)
    }

    /// Conforming code. Linux has it only if it is not there.
    pub fn conforming(index: u32) -> Self {
        Self::new(index, 3 << 1 | Self::NOT_PRESENT)
    }

    /// The system call that puts it into the local table.
    pub fn to_local_table(self) -> Call {
        // 0x11: write, in the newer way.
        Call {
            gate: Gate::Syscall,
            words: [
                libc::SYS_modify_ldt as u64,
                0x11,
                self.low(),
                size_of::<Self>() as u64,
            ],
        }
    }

    /// The system call that puts it into this thread's part of the global table: one for 32-bit programs only.
    pub fn to_thread_area(self) -> Call {
        const SET_THREAD_AREA: u64 = 243;
        Call {
            gate: Gate::Int80,
            words: [SET_THREAD_AREA, self.low(), 0, 0],
        }
    }

    /// A copy where 32-bit system calls can find it, for as long as the case runs.
    fn low(self) -> u64 {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT;
        let len = NonZeroUsize::new(PAGE as usize).expect("a page");
        // SAFETY: a new mapping.
        let at = unsafe {
            mmap_anonymous(
                None,
                len,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                flags,
            )
        };
        let at = at.expect("mmap below 4 GiB").cast::<Self>();
        // SAFETY: it has room for one, and is nobody else's.
        unsafe { at.write(self) };
        at.as_ptr() as u64
    }
}

/// By which door a system call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Syscall,
    Int80,
}

/// A system call: its number, and three arguments.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    gate: Gate,
    words: [u64; 4],
}

impl Call {
    /// Makes it.
    pub fn make(&self) -> Outcome {
        let [number, a, b, c] = self.words;
        let answer: i64;
        // SAFETY: calls that only read a descriptor of ours; RBX is put back.
        unsafe {
            match self.gate {
                Gate::Syscall => {
                    core::arch::asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b,
                    in("rdx") c, out("rcx") _, out("r11") _)
                }
                Gate::Int80 => {
                    core::arch::asm!("xchg rbx, rdi", "int 0x80", "xchg rbx, rdi", inlateout("rax") number => answer,
                    inout("rdi") a => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
                }
            }
        }
        // An int in a long.
        match answer as i32 {
            0 => Ok(()),
            error => Err(format!("system call {number}: {}", Errno::from_raw(-error))),
        }
    }
}

/// What a thread's segment registers hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
    /// As the selector says, if None.
    pub fs_base: Option<u64>,
    /// As the selector says, if None.
    pub gs_base: Option<u64>,
}

/// What the assembly reads and writes. All words.
#[repr(C)]
struct Block {
    selectors: [u64; 4],
    set_bases: [u64; 2],
    bases: [u64; 2],
    between: [u64; 4],
    by_int80: u64,
    read: [u64; 4],
    before: Found,
    after: Found,
    answer: i64,
    own_fs_base: u64,
}

/// The same, as it was found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;
const ARCH_GET_GS: u64 = 0x1004;

/// Loads these segments, makes a call, looks, reads into a buffer from a descriptor, looks again, and puts everything back: what
/// read() answered, and both looks.
pub fn read_with(
    fd: i32,
    buffer: &mut [u64],
    with: Segments,
    between: Option<Call>,
) -> (Result<usize, Errno>, Found, Found) {
    let mut own_fs_base = 0u64;
    // SAFETY: stores a word.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut own_fs_base) };
    let nothing = Call {
        gate: Gate::Syscall,
        words: [libc::SYS_getpid as u64, 0, 0, 0],
    };
    let between = between.unwrap_or(nothing);
    let mut block = Block {
        selectors: [with.ds, with.es, with.fs, with.gs].map(u64::from),
        set_bases: [with.fs_base, with.gs_base].map(|base| base.is_some().into()),
        bases: [with.fs_base, with.gs_base].map(Option::unwrap_or_default),
        between: between.words,
        by_int80: (between.gate == Gate::Int80).into(),
        read: [
            libc::SYS_read as u64,
            fd as u64,
            buffer.as_mut_ptr() as u64,
            size_of_val(buffer) as u64,
        ],
        before: Found::default(),
        after: Found::default(),
        answer: 0,
        own_fs_base,
    };
    // SAFETY: Nothing here needs a segment's base, the system calls write to the block and the buffer only, and at the end all
    // is as it was. A selector that cannot be loaded is a signal, and the end of the test.
    unsafe {
        core::arch::asm!(
            ".macro call_in at",
            "mov rax, [r12 + \\at]", "mov rdi, [r12 + \\at + 8]", "mov rsi, [r12 + \\at + 16]", "mov rdx, [r12 + \\at + 24]",
            "syscall",
            ".endm",
            ".macro look at",
            "mov eax, ds", "mov [r12 + \\at], rax",
            "mov eax, es", "mov [r12 + \\at + 8], rax",
            "mov eax, fs", "mov [r12 + \\at + 16], rax",
            "mov eax, gs", "mov [r12 + \\at + 24], rax",
            "mov eax, {arch_prctl}", "mov edi, {get_fs}", "lea rsi, [r12 + \\at + 32]", "syscall",
            "mov eax, {arch_prctl}", "mov edi, {get_gs}", "lea rsi, [r12 + \\at + 40]", "syscall",
            ".endm",
            "mov rax, [r12]", "mov ds, eax",
            "mov rax, [r12 + 8]", "mov es, eax",
            // Null they are already; loading it again may lose a base that Linux remembers.
            "mov rax, [r12 + 16]", "test eax, eax", "jz 6f", "mov fs, eax",
            "6:",
            "mov rax, [r12 + 24]", "test eax, eax", "jz 7f", "mov gs, eax",
            "7:",
            "cmp qword ptr [r12 + {set}], 0", "je 2f",
            "mov rax, [r12 + {bases}]", "wrfsbase rax",
            "2:",
            "cmp qword ptr [r12 + {set} + 8], 0", "je 3f",
            "mov rax, [r12 + {bases} + 8]", "wrgsbase rax",
            "3:",
            "cmp qword ptr [r12 + {by_int80}], 0", "jne 4f",
            "call_in {between}",
            "jmp 5f",
            "4: push rbx",
            "mov rax, [r12 + {between}]", "mov rbx, [r12 + {between} + 8]", "int 0x80",
            "pop rbx",
            "5:",
            "look {before}",
            "call_in {read}",
            "mov [r12 + {answer}], rax",
            "look {after}",
            "xor eax, eax", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax",
            "mov eax, {arch_prctl}", "mov edi, {set_fs}", "mov rsi, [r12 + {own}]", "syscall",
            "mov eax, {arch_prctl}", "mov edi, {set_gs}", "xor esi, esi", "syscall",
            ".purgem call_in", ".purgem look",
            arch_prctl = const libc::SYS_arch_prctl,
            get_fs = const ARCH_GET_FS, get_gs = const ARCH_GET_GS, set_fs = const ARCH_SET_FS, set_gs = const ARCH_SET_GS,
            set = const std::mem::offset_of!(Block, set_bases),
            bases = const std::mem::offset_of!(Block, bases),
            between = const std::mem::offset_of!(Block, between),
            by_int80 = const std::mem::offset_of!(Block, by_int80),
            read = const std::mem::offset_of!(Block, read),
            before = const std::mem::offset_of!(Block, before),
            after = const std::mem::offset_of!(Block, after),
            answer = const std::mem::offset_of!(Block, answer),
            own = const std::mem::offset_of!(Block, own_fs_base),
            in("r12") &raw mut block,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let answer = match block.answer {
        error @ -4095..0 => Err(Errno::from_raw(-error as i32)),
        len => Ok(len as usize),
    };
    (answer, block.before, block.after)
}
