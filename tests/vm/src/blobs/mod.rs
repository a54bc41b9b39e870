//! The guests' machine code, by theme.
//!
//! Each blob is position-independent assembly that [`crate::guest`] copies into guest memory; nothing here ever runs in the
//! test program itself. On entry a body finds r15 = `PAGE_OFFSET`, RSP on its kernel stack and all other registers 0, after
//! [`kit`] has made the script's hypercalls.

pub mod attack;
pub mod compat;
pub mod cpus;
pub mod demand;
pub mod kit;
pub mod pair;
pub mod privileged;
pub mod work;

/// A piece of machine code.
#[derive(Clone, Copy)]
pub enum Blob {
    /// Made by [`blob!`]: a word that holds the length, then the code.
    Assembled(unsafe extern "C" fn()),
    /// Made at run time, for example at random.
    Bytes(&'static [u8]),
}

impl Blob {
    /// Code made at run time. It stays allocated: tests are short-lived processes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.leak())
    }

    /// The code.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            // SAFETY: `blob!` puts the length of the code in front of it, and text is readable and never changes.
            Self::Assembled(at) => unsafe {
                let at = at as *const u8;
                std::slice::from_raw_parts(at.add(8), at.cast::<u64>().read_unaligned() as usize)
            },
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Defines blobs: `blob! { NAME = "assembly", ...; }`.
///
/// The assembly may use the names of `abi.rs` and `layout.rs` listed below as numbers, and the macros `hcall` (a hypercall
/// with up to three arguments), `poweroff`, `result` (store a register among the results) and `enter_user`.
macro_rules! blob {
    ($($(#[$doc:meta])* $name:ident = $($line:expr),+ ;)+) => { $(
        $(#[$doc])*
        pub const $name: $crate::blobs::Blob = {
            #[unsafe(naked)]
            unsafe extern "C" fn code() {
                core::arch::naked_asm!(
                    ".quad 7779f - 7778f",
                    "7778:",
                    ".set DATA, {data}", ".set PARAM, {param}", ".set OUT, {out}", ".set TRAPS, {traps}",
                    ".set IRQ_COUNT, {irq_count}", ".set RESUME, {resume}", ".set COUNT, {count}", ".set STOP, {stop}",
                    ".set REARM, {rearm}", ".set DMA, {dma}", ".set BUFFER, {buffer}", ".set BODY, {body}",
                    ".set STACK_TOP, {stack_top}", ".set FREE, {free}", ".set KIT, {kit}",
                    ".set ENTER_USER, {enter_user}", ".set BASE, {base}", ".set USER_VA, {user_va}",
                    ".macro hcall nr, a=0, b=0, c=0",
                    "  mov eax, \\nr", "  mov rdx, \\a", "  mov rbx, \\b", "  mov rcx, \\c", "  int 0x1f",
                    ".endm",
                    ".macro poweroff status",
                    "  hcall 11, \\status",
                    ".endm",
                    ".macro result index, reg",
                    "  mov [r15 + OUT + 8 * \\index], \\reg",
                    ".endm",
                    // Continue at `label` (forward, local) after a trap.
                    ".macro on_trap label",
                    "  lea r11, [rip + \\label]", "  mov [r15 + RESUME], r11",
                    ".endm",
                    ".macro enter_user",
                    "  lea rax, [r15 + KIT + ENTER_USER]", "  jmp rax",
                    ".endm",
                    $($line,)+
                    ".purgem hcall", ".purgem poweroff", ".purgem result", ".purgem on_trap", ".purgem enter_user",
                    "7779:",
                    data = const $crate::layout::DATA,
                    param = const $crate::layout::PARAM,
                    out = const $crate::layout::OUT,
                    traps = const $crate::layout::TRAPS,
                    irq_count = const $crate::layout::IRQ_COUNT,
                    resume = const $crate::layout::RESUME,
                    count = const $crate::layout::COUNT,
                    stop = const $crate::layout::STOP,
                    rearm = const $crate::layout::REARM,
                    dma = const $crate::layout::DMA,
                    buffer = const $crate::layout::BUFFER,
                    body = const $crate::layout::BODY,
                    stack_top = const $crate::layout::STACK_TOP,
                    free = const $crate::layout::FREE,
                    kit = const $crate::layout::KIT,
                    enter_user = const $crate::layout::KIT_ENTER_USER,
                    base = const $crate::layout::PAGE_OFFSET as i64,
                    user_va = const $crate::layout::USER_VA,
                )
            }
            $crate::blobs::Blob::Assembled(code)
        };
    )+ };
}
pub(crate) use blob;
