//! Programs for as many CPUs as there are: parameter 0 says how many the first starts. All begin at the same place, with their number in RDI, and each
//! has a page of FREE at r14. It is its `LguestData`, and behind that the words that are its own:
//! [`COUNTED`] and [`HEARD`].

use super::{Blob, blob};
use crate::abi::data;
use crate::guest::Guest;
use crate::layout::{FREE, PAGE};

/// Words in a CPU's page: how far it has counted, and the interrupts that it has heard.
pub const COUNTED: u64 = 0x900;
pub const HEARD: u64 = 0x908;
/// The words that all share, after the pages and the stacks of 64 CPUs.
pub const SHARED: u64 = FREE + 128 * PAGE;

/// A word of a CPU's.
pub const fn own(cpu: u64, word: u64) -> u64 {
    FREE + cpu * PAGE + word
}

/// A guest for such a program, with so many CPUs.
pub fn guest(body: Blob, cpus: u64) -> Guest {
    let mut guest = Guest::bare(body);
    guest.cpus = cpus;
    guest.param(0, cpus);
    for cpu in 0..cpus {
        // All slots of its ring are free.
        let free = [0xff; data::RING_SIZE as usize];
        guest.ram.set_bytes(own(cpu, data::RING_STATUS), &free);
    }
    guest
}

/// A CPU finds its page and its stack, and introduces itself; the first of them starts the others. At the end each has a handler for
/// interrupt 5, which counts.
macro_rules! begin {
    () => {
        ".set COUNTED, 0x900
        .set HEARD, 0x908
        .set SHARED, FREE + 0x80000
        20: mov r15, BASE
        mov r14, rdi
        shl r14, 12
        lea rsp, [r14 + r15 + FREE + 0x41000]
        lea rdx, [r14 + FREE]
        lea r14, [rdx + r15]
        mov eax, 1
        int 0x1f
        lea rax, [rip + 60f]
        movzx ebx, ax
        mov rcx, rax
        shr rcx, 32
        shr rax, 16
        movzx eax, ax
        shl rax, 48
        or rbx, rax
        mov rax, 0x8e0000810000
        or rbx, rax
        mov edx, 32 + 5
        mov eax, 6
        int 0x1f
        test rdi, rdi
        jnz 25f
        mov r12d, 1
        22: cmp r12, [r15 + PARAM]
        jae 25f
        mov rdx, r12
        lea rbx, [rip + 20b]
        mov rcx, r12
        mov eax, 24
        int 0x1f
        inc r12
        jmp 22b
        60: push rax
        inc qword ptr [r14 + HEARD]
        mov rax, [rsp + 24]
        and eax, 0x200
        mov [r14], rax
        jz 61f
        cmp qword ptr [r14 + 8], 0
        je 61f
        mov eax, 19
        int 0x1f
        61: pop rax
        iretq
        25:"
    };
}

blob! {
    /// Each counts for itself until STOP is set. Then the one that parameter 1 names ends it, and the others wait for that.
    COUNT_ALL = begin!(),
        "26: inc qword ptr [r14 + COUNTED]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 26b",
        "27: cmp rdi, [r15 + PARAM + 8]", "jne 27b",
        "poweroff 0";

    /// Adds to a shared sum under a shared lock, parameter 1 times each, with a hypercall now and then. The first waits for all and ends with
    /// status 0, or 1 if the sum is another.
    SUM = begin!(),
        "mov r12, [r15 + PARAM + 8]",
        "26: mov eax, 1",
        "xchg eax, [r15 + SHARED]",
        "test eax, eax",
        "jz 27f",
        "28: pause",
        "cmp dword ptr [r15 + SHARED], 0",
        "jne 28b",
        "jmp 26b",
        // Not atomic: the lock is what makes it right.
        "27: mov rax, [r15 + SHARED + 64]",
        "inc rax",
        "mov [r15 + SHARED + 64], rax",
        "mov dword ptr [r15 + SHARED], 0",
        "inc qword ptr [r14 + COUNTED]",
        "test r12d, 0x3f",
        "jnz 29f",
        "hcall 0",
        "29: dec r12",
        "jnz 26b",
        "lock inc qword ptr [r15 + SHARED + 128]",
        "test rdi, rdi",
        "jz 31f",
        "30: hcall 10",
        "jmp 30b",
        "31: mov rax, [r15 + PARAM]",
        "cmp [r15 + SHARED + 128], rax",
        "jne 31b",
        "imul rax, [r15 + PARAM + 8]",
        "cmp [r15 + SHARED + 64], rax",
        "jne 32f",
        "poweroff 0",
        "32: poweroff 1";

    /// Each sends interrupt 5 to the next, the last to the first, parameter 1 times round, and sleeps until it has heard the one before. The first
    /// begins, and ends it.
    ROUND = begin!(),
        "lea rcx, [rdi + 1]",
        "cmp rcx, [r15 + PARAM]",
        "jb 26f",
        "xor ecx, ecx",
        "26: mov esi, 1",
        "shl rsi, cl",
        "xor r12d, r12d",
        "27: test rdi, rdi",
        "jz 29f",
        "28: mov qword ptr [r14], 0",
        "cmp [r14 + HEARD], r12",
        "ja 30f",
        "hcall 10",
        "jmp 28b",
        // The first does not wait in its first round.
        "29: test r12, r12",
        "jz 30f",
        "31: mov qword ptr [r14], 0",
        "cmp [r14 + HEARD], r12",
        "jae 30f",
        "hcall 10",
        "jmp 31b",
        "30: inc r12",
        "mov [r14 + COUNTED], r12",
        "test rdi, rdi",
        "jnz 32f",
        "cmp r12, [r15 + PARAM + 8]",
        "ja 33f",
        "32: hcall 26, rsi, 5",
        "jmp 27b",
        "33: poweroff 0";

    /// The first starts the second parameter 1 times. That finds no base of FS, sets one and counts, and stops. Status 1: it found one; 2: it
    /// was started although it ran.
    AGAIN = "20: mov r15, BASE",
        "test rdi, rdi",
        "jnz 30f",
        "lea r14, [r15 + FREE]",
        "hcall 1, FREE",
        "xor r12d, r12d",
        "21: cmp r12, [r15 + PARAM + 8]",
        "jae 25f",
        "inc r12",
        "22: lea r13, [rip + 20b]",
        "hcall 24, 1, r13, r12",
        "test rax, rax",
        "jnz 22b",
        "mov [r14 + 0x900], r12",
        "23: cmp [r14 + 0x1900], r12",
        "jne 23b",
        "jmp 21b",
        "25: poweroff 0",
        // Twice introduced without having forgotten it, it would be dead.
        "30: hcall 1, FREE + 0x1000",
        "mov ecx, 0xc0000100",
        "rdmsr",
        "or eax, edx",
        "test eax, eax",
        "jnz 31f",
        "mov eax, 0x1000",
        "xor edx, edx",
        "wrmsr",
        // Anybody's gate for interrupt 5, and a timer that would ring on.
        "hcall 6, 37, 0x8e0000810000",
        "hcall 9, 50000",
        "mov [r15 + FREE + 0x1900], rdi",
        "hcall 25",
        "31: poweroff 1";

    /// The first changes the entry for USER_VA at parameter 1, by turns to parameters 2 and 3, announces it, interrupts the second and waits until that
    /// has heard. The second does nothing but look, in ring 1, and says what it sees after each interrupt. Status 1: it saw what was there
    /// before the change.
    SHOOT = begin!(),
        "mov qword ptr [r14], 0x200",
        "mov r12, USER_VA",
        "xor r13d, r13d",
        "test rdi, rdi",
        "jnz 40f",
        "30: mov rcx, [r15 + PARAM + 16]",
        "test r13d, 1",
        "jz 31f",
        "mov rcx, [r15 + PARAM + 24]",
        "31: inc r13",
        "mov rdx, [r15 + PARAM + 8]",
        "mov [r15 + rdx], rcx",
        // (table, index): the entry has changed.
        "mov rbx, rdx",
        "and rdx, -4096",
        "and ebx, 4095",
        "shr ebx, 3",
        "mov eax, 20",
        "int 0x1f",
        "hcall 26, 2, 5",
        "32: cmp [r15 + FREE + 0x1000 + HEARD], r13",
        "jb 32b",
        // It has heard. What does it see from now on?
        "mov [r15 + SHARED], r13",
        "33: cmp [r15 + SHARED + 64], r13",
        "jne 33b",
        "mov [r14 + COUNTED], r13",
        "cmp qword ptr [r15 + STOP], 0",
        "je 30b",
        "poweroff 0",
        // Odd rounds have parameter 2, whose page holds 1, even ones parameter 3, with 2.
        "40: mov rax, [r12]",
        "cmp [r15 + SHARED], r13",
        "je 40b",
        "inc r13",
        "mov rax, [r12]",
        "mov ecx, r13d",
        "and ecx, 1",
        "mov edx, 2",
        "sub edx, ecx",
        "cmp rax, rdx",
        "jne 41f",
        "mov [r15 + SHARED + 64], r13",
        "jmp 40b",
        "41: result 0, rax",
        "poweroff 1";

    /// Each sets its own timer again and again, each twice as long as the one before it, from 1 ms on, and counts in an interrupt of its own. It sleeps
    /// meanwhile. The first ends when it has counted parameter 1.
    TICK_ALL = begin!(),
        // The gate for interrupt 5 is good for 0, too.
        "lea rax, [rip + 60b]",
        "movzx ebx, ax",
        "mov rcx, rax",
        "shr rcx, 32",
        "shr rax, 16",
        "movzx eax, ax",
        "shl rax, 48",
        "or rbx, rax",
        "mov rax, 0x8e0000810000",
        "or rbx, rax",
        "mov edx, 32",
        "mov eax, 6",
        "int 0x1f",
        "mov rcx, rdi",
        "mov esi, 1000000",
        "shl rsi, cl",
        "26: mov r12, [r14 + HEARD]",
        "hcall 9, rsi",
        "27: mov qword ptr [r14], 0",
        "cmp [r14 + HEARD], r12",
        "jne 28f",
        "hcall 10",
        "jmp 27b",
        "28: inc qword ptr [r14 + COUNTED]",
        "test rdi, rdi",
        "jnz 26b",
        "mov rax, [r15 + PARAM + 8]",
        "cmp [r14 + COUNTED], rax",
        "jne 26b",
        "poweroff 0";

    /// Each puts a call into its own ring that sends itself interrupt 5, makes it, and waits until it has heard. The first ends when all have counted
    /// parameter 1.
    RINGS = begin!(),
        "mov qword ptr [r14], 0x200",
        "mov rcx, rdi",
        "mov esi, 1",
        "shl rsi, cl",
        "xor r12d, r12d",
        "26: mov rax, r12",
        "and eax, 63",
        "mov rcx, rax",
        "shl rcx, 5",
        "mov qword ptr [r14 + rcx + 136], 26",
        "mov [r14 + rcx + 144], rsi",
        "mov qword ptr [r14 + rcx + 152], 5",
        "mov byte ptr [r14 + rax + 72], 0",
        "hcall 0",
        "inc r12",
        "27: cmp [r14 + HEARD], r12",
        "jb 27b",
        "mov [r14 + COUNTED], r12",
        "cmp r12, [r15 + PARAM + 8]",
        "jne 26b",
        "lock inc qword ptr [r15 + SHARED]",
        "28: test rdi, rdi",
        "jnz 28b",
        "mov rax, [r15 + PARAM]",
        "cmp [r15 + SHARED], rax",
        "jne 28b",
        "poweroff 0";

    /// Each sleeps, with interrupts on, and counts how often it was woken.
    SLEEP_ALL = begin!(),
        "26: inc qword ptr [r14 + COUNTED]",
        "hcall 10",
        "jmp 26b";

    /// Each sends a list of its own, by its number, and goes on when it has been read; then it counts. The first ends when STOP is set.
    SEND_ALL = begin!(),
        "imul rbx, rdi, 168",
        "add rbx, DMA",
        "lea rdx, [rdi * 4]",
        "mov eax, 13",
        "int 0x1f",
        "26: inc qword ptr [r14 + COUNTED]",
        "test rdi, rdi",
        "jnz 26b",
        "cmp qword ptr [r15 + STOP], 0",
        "je 26b",
        "poweroff 0";

    /// All stop, the first last of them: there is nobody left to start them.
    STOP_ALL = begin!(),
        "mov qword ptr [r14 + COUNTED], 1",
        "test rdi, rdi",
        "jnz 27f",
        "mov eax, 1",
        "26: cmp rax, [r15 + PARAM]",
        "jae 27f",
        "mov rcx, rax",
        "shl rcx, 12",
        "cmp qword ptr [r15 + rcx + FREE + COUNTED], 0",
        "je 26b",
        "inc eax",
        "jmp 26b",
        "27: hcall 25",
        "poweroff 1";

    /// The first starts the second with SMAP and tables as its own, and what the second finds is in the results: RDI, RSI, RFLAGS, CS, SS, CR3, RAX, RSP,
    /// and the first's CR3.
    BORN = "test rdi, rdi",
        "jnz 30f",
        "hcall 1, FREE",
        "mov rax, cr3",
        "result 8, rax",
        "lea r13, [rip + 30f]",
        "mov r12, 0x123456789abcdef0",
        "hcall 24, 1, r13, r12",
        "result 9, rax",
        "20: cmp qword ptr [r15 + STOP], 0",
        "je 20b",
        "poweroff 0",
        "30: mov r14, rax",
        "mov rax, r15",
        "mov r15, BASE",
        "result 10, rax",
        "result 6, r14",
        "result 7, rsp",
        "lea rsp, [r15 + FREE + 0x41000]",
        "result 0, rdi",
        "result 1, rsi",
        "pushfq",
        "pop rax",
        "result 2, rax",
        "mov eax, cs",
        "result 3, rax",
        "mov eax, ss",
        "result 4, rax",
        "mov rax, cr3",
        "result 5, rax",
        "mov qword ptr [r15 + STOP], 1",
        "31: jmp 31b";

    /// Parameter 1 says what the first does to the others, which count: 1 starts them although they run, and itself; 2 sends all of them interrupts that
    /// they have no handler for.
    PESTER = begin!(),
        "26: inc qword ptr [r14 + COUNTED]",
        "test rdi, rdi",
        "jnz 26b",
        "xor r12d, r12d",
        "27: mov rdx, r12",
        "mov rbx, BASE",
        "mov eax, 24",
        "cmp qword ptr [r15 + PARAM + 8], 1",
        "je 28f",
        "mov edx, 1",
        "mov rcx, [r15 + PARAM]",
        "shl rdx, cl",
        "dec rdx",
        "mov ebx, r12d",
        "and ebx, 31",
        "cmp ebx, 5",
        "je 29f",
        "mov eax, 26",
        "28: int 0x1f",
        "cmp qword ptr [r15 + PARAM + 8], 1",
        "jne 29f",
        "test rax, rax",
        "jz 31f",
        "29: inc r12",
        "mov rax, r12",
        "cmp qword ptr [r15 + PARAM + 8], 1",
        "jne 30f",
        "cmp r12, [r15 + PARAM]",
        "jne 27b",
        "xor r12d, r12d",
        "30: cmp qword ptr [r15 + STOP], 0",
        "je 27b",
        "poweroff 0",
        // It was started although it ran.
        "31: poweroff 1";

    /// All start and stop each other as fast as they can, at the beginning. The first ends when STOP is set.
    SCUFFLE = "20: mov r15, BASE",
        "mov r14, rdi",
        "shl r14, 12",
        "lea rdx, [r14 + FREE]",
        "lea r14, [rdx + r15]",
        "mov eax, 1",
        "int 0x1f",
        "mov r12d, 1",
        "inc qword ptr [r14 + 0x900]",
        "21: mov rdx, r12",
        "lea rbx, [rip + 20b]",
        "mov rcx, r12",
        "mov eax, 24",
        "int 0x1f",
        "inc r12",
        "cmp r12, [r15 + PARAM]",
        "jb 21b",
        "mov r12d, 1",
        "test rdi, rdi",
        "jz 22f",
        "hcall 25",
        "22: inc qword ptr [r14 + 0x900]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 21b",
        "poweroff 0";

    /// Each makes the 256 hypercalls of a table behind SHARED, round and round, each from another one on.
    AT_RANDOM = begin!(),
        "mov r12, rdi",
        "26: inc r12",
        "mov r13, r12",
        "and r13d, 255",
        "shl r13, 5",
        "add r13, r15",
        "mov rax, [r13 + SHARED + 0x1000]",
        "mov rdx, [r13 + SHARED + 0x1008]",
        "mov rbx, [r13 + SHARED + 0x1010]",
        "mov rcx, [r13 + SHARED + 0x1018]",
        "int 0x1f",
        "inc qword ptr [r14 + COUNTED]",
        "jmp 26b";

    /// Both promise. 500 times the first has a page of a group marked as absent, maps it, and announces that; the second reads it. There is no handler.
    /// Parameter 1 is the last-level table of the pages at 0x600000, of which the first is there. Status 1: what is read is not what is there.
    ANNOUNCE = begin!(),
        "mov eax, 27", "mov edx, 1", "mov rbx, r14", "int 0x1f",
        "mov rsi, [r15 + PARAM + 8]", "add rsi, r15",
        "mov ebp, 0x600000",
        "xor r12d, r12d",
        "26: mov eax, r12d", "xor edx, edx", "mov ecx, 7", "div ecx", "lea r13d, [edx + 1]",
        "mov r8, r13", "shl r8, 12", "lea r8, [r8 + rbp]", // its address
        "mov r9, r13", "shl r9, 12", "lea r9, [r9 + FREE + 0x90000]", // its frame
        "inc r12",
        "test rdi, rdi",
        "jnz 28f",
        // Forget the first, and read it: the Host looks at all eight.
        "mov eax, 14", "mov rdx, cr3", "mov rbx, rbp", "xor ecx, ecx", "int 0x1f",
        "mov rax, [rbp]",
        "lea rcx, [r9 + 3]", "mov [rsi + 8 * r13], rcx",
        "mov eax, 14", "mov rdx, cr3", "mov rbx, r8", "xor ecx, ecx", "int 0x1f",
        "mov [r15 + SHARED], r12",
        "27: pause", "cmp [r15 + SHARED + 64], r12", "jne 27b",
        "mov qword ptr [rsi + 8 * r13], 0",
        "mov eax, 14", "mov rdx, cr3", "mov rbx, r8", "xor ecx, ecx", "int 0x1f",
        "inc qword ptr [r14 + COUNTED]",
        "cmp r12d, 500",
        "jb 26b",
        "poweroff 0",
        "28: pause", "cmp [r15 + SHARED], r12", "jne 28b",
        "cmp [r8], r9",
        "jne 29f",
        "mov [r15 + SHARED + 64], r12",
        "jmp 26b",
        "29: poweroff 1";
}
