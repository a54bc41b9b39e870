//! A guest kernel that gives its program pages when they are asked for.
//!
//! The program's pages from [`FIRST_VA`] on are mapped when they are first touched. The handler, at [`HANDLER`], announces what it
//! has mapped in the way that parameter 2 names, and keeps a record of each fault.
//!
//! | Parameter | |
//! |---|---|
//! | 0 | the program's flags |
//! | 1 | guest-physical address of the last-level table of the pages |
//! | 2 | how to announce: an index into the list in the code |
//! | 3 | the top of the page tables |
//! | 4 | where the vector of the last exit is, in the slot; 0: nobody looks |
//! | 5 | `irq_enabled` while the program runs |

use super::blob;
use crate::layout::{BODY, PAGE};

/// Where the pages are, and how many the program touches.
pub const FIRST_VA: u64 = 0x60_0000;
pub const TOUCHED: u64 = 64;
/// The handler.
pub const HANDLER: u64 = BODY + 0x400;
/// Where it reads the program's sixth page, and ends.
pub const READ_SIXTH: u64 = BODY + 0x300;
/// Results: how many faults, how many of these without a visit, by a visit of their own, and with another exit since.
pub const FAULTS: u64 = 0;
pub const QUIET: u64 = 1;
pub const VISITED: u64 = 2;
pub const OTHER: u64 = 3;
/// Records of the first faults, each of so many words from this result on.
pub const RECORDS: u64 = 16;
pub const RECORD: u64 = 16;
pub const RECORDED: u64 = 28;
/// A word that no exit leaves.
pub const SENTINEL: u64 = 0x5e47;

const _: () = assert!(8 * (RECORDS + RECORD * RECORDED) <= PAGE);

blob! {
    /// Goes into the program; the handler does the rest.
    KERNEL = "mov rax, [r15 + PARAM + 40]",
        "mov [r15 + DATA], rax",
        "mov rdi, [r15 + PARAM]",
        "enter_user",
        ".skip 0x300 - (. - 7778b)",
        "mov al, [0x605000]",
        "poweroff 0",
        ".skip 0x400 - (. - 7778b)",
        // RSP: error code, RIP, CS, RFLAGS, RSP, SS.
        "push r15", "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi",
        "mov r15, BASE",
        "mov rdi, [r15 + DATA + 24]", // CR2
        // Was the Host there?
        "mov rsi, [r15 + PARAM + 32]",
        "test rsi, rsi",
        "jz 5f",
        "mov rax, [rsi]",
        "cmp rax, 0x5e47",
        "jne 3f",
        "inc qword ptr [r15 + OUT + 8]",
        "jmp 5f",
        "3: cmp rax, 14",
        "jne 4f",
        "inc qword ptr [r15 + OUT + 16]",
        "jmp 5f",
        "4: inc qword ptr [r15 + OUT + 24]",
        "5: mov rcx, [r15 + OUT]",
        "inc qword ptr [r15 + OUT]",
        "cmp rcx, 28",
        "jae 6f",
        "shl rcx, 7",
        "lea rcx, [r15 + rcx + OUT + 128]",
        "mov [rcx], rdi",
        "mov rax, [rsp + 56]", "mov [rcx + 8], rax", // error code
        "mov rax, [rsp + 64]", "mov [rcx + 16], rax", // RIP
        "mov rax, [rsp + 72]", "mov [rcx + 24], rax", // CS
        "mov rax, [rsp + 80]", "mov [rcx + 32], rax", // RFLAGS
        "mov rax, [rsp + 88]", "mov [rcx + 40], rax", // RSP
        "mov rax, [rsp + 96]", "mov [rcx + 48], rax", // SS
        "lea rax, [rsp + 56]", "mov [rcx + 56], rax", // where the frame is
        "mov rax, [r15 + DATA]", "mov [rcx + 64], rax", // irq_enabled
        "mov rax, cs", "mov [rcx + 72], rax",
        "mov rax, ss", "mov [rcx + 80], rax",
        "mov rax, [rsi]", "mov [rcx + 88], rax",
        // Map it.
        "6: mov rax, rdi",
        "shr rax, 12",
        "and eax, 511",
        "mov rbx, [r15 + PARAM + 8]",
        "add rbx, r15",
        "lea rbx, [rbx + 8 * rax]",
        "mov rcx, rax",
        "shl rcx, 12",
        "lea rcx, [rcx + FREE + 0x67]",
        "cmp qword ptr [rbx], 0",
        "jne 7f",
        "mov [rbx], rcx",
        // And say so.
        "7: mov rsi, [r15 + PARAM + 16]",
        "cmp esi, 1",
        "jb 10f",
        "je 11f",
        "cmp esi, 3",
        "jb 12f",
        "je 13f",
        "cmp esi, 5",
        "jb 14f",
        "je 15f",
        "cmp esi, 7",
        "jb 16f",
        "jmp 30f", // 7: not at all
        "10: mov eax, 14", "mov rdx, [r15 + PARAM + 24]", "mov rbx, rdi", "int 0x1f", "jmp 30f", // SET_PTE
        "11: mov ecx, eax", "mov eax, 20", "mov rdx, [r15 + PARAM + 8]", "mov rbx, rcx", "int 0x1f", "jmp 30f", // SET_ENTRY
        "12: mov eax, 15", "mov rdx, [r15 + PARAM + 24]", "mov rbx, rdi", "mov ecx, 2", "int 0x1f", "jmp 30f", // SET_TABLE
        "13: mov eax, 5", "xor edx, edx", "int 0x1f", "jmp 30f", // FLUSH_TLB: programs
        "14: mov eax, 5", "mov edx, 1", "int 0x1f", "jmp 30f", // everything
        "15: invlpg [rdi]", "jmp 30f",
        // Only at every third fault.
        "16: mov rax, [r15 + OUT]", "xor edx, edx", "mov ecx, 3", "div ecx", "test edx, edx", "jnz 30f",
        "mov eax, 5", "xor edx, edx", "int 0x1f",
        // The Host learns of the page here, if it has not yet, and not when the program goes on.
        "30: cmp qword ptr [r15 + PARAM + 16], 6",
        "jae 31f",
        "mov byte ptr [rdi], 1",
        "31: mov rsi, [r15 + PARAM + 32]",
        "test rsi, rsi",
        "jz 32f",
        "mov qword ptr [rsi], 0x5e47",
        "32: mov rax, [rsp + 80]",
        "and eax, 0x200",
        "mov [r15 + DATA], rax",
        "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax", "pop r15",
        "add rsp, 8",
        "iretq";

    /// Reads at parameter 0, changes the entry at parameter 1 to parameter 2, announces parameter 3, and reads again. Results: what it read,
    /// and what is then at parameter 4, where a sentinel was.
    ANNOUNCE = "mov r13, [r15 + PARAM]", "mov rax, [r13]",
        "mov rsi, [r15 + PARAM + 8]", "add rsi, r15", "mov rcx, [r15 + PARAM + 16]", "mov [rsi], rcx",
        "mov rdx, cr3", "mov rbx, r13", "mov rcx, [r15 + PARAM + 24]", "mov eax, 14", "int 0x1f",
        "mov rsi, [r15 + PARAM + 32]", "mov qword ptr [rsi], 0x5e47",
        "mov rax, [r13]", "mov rdx, [rsi]", "result 0, rax", "result 1, rdx", "poweroff 0";

    /// User: writes to the first page, and continues in ring 1 at `RESUME`.
    TOUCH_ONE_AND_BACK = "mov [0x600008], eax", "mov eax, 2", "syscall";

    /// User: writes to 64 pages, one after the other, with a number in each register. Status 0: all is still there.
    TOUCH = "mov edi, 0x600000",
        "mov eax, 0x101", "mov ebx, 0x102", "mov ecx, 0x103", "mov edx, 0x104", "mov esi, 0x105", "mov ebp, 0x106",
        "mov r8d, 0x108", "mov r9d, 0x109", "mov r10d, 0x10a", "mov r11d, 0x10b", "mov r12d, 0x10c", "mov r13d, 0x10d",
        "mov r14d, 0x10e", "mov r15d, 0x10f",
        "2: cmp eax, eax",
        "stc",
        "mov [rdi + 8], rdi",
        "jnc 4f",
        "cmp eax, 0x101", "jne 4f", "cmp ebx, 0x102", "jne 4f", "cmp ecx, 0x103", "jne 4f", "cmp edx, 0x104", "jne 4f",
        "cmp esi, 0x105", "jne 4f", "cmp ebp, 0x106", "jne 4f", "cmp r8d, 0x108", "jne 4f", "cmp r9d, 0x109", "jne 4f",
        "cmp r10d, 0x10a", "jne 4f", "cmp r11d, 0x10b", "jne 4f", "cmp r12d, 0x10c", "jne 4f", "cmp r13d, 0x10d", "jne 4f",
        "cmp r14d, 0x10e", "jne 4f", "cmp r15d, 0x10f", "jne 4f",
        "add edi, 0x1000",
        "cmp edi, 0x640000",
        "jb 2b",
        // Once more, to read them all.
        "mov edi, 0x600000",
        "3: cmp [rdi + 8], rdi",
        "jne 4f",
        "add edi, 0x1000",
        "cmp edi, 0x640000",
        "jb 3b",
        "xor eax, eax", "xor edi, edi", "syscall",
        "4: xor eax, eax", "mov edi, 1", "syscall";
}
