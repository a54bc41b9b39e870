//! Programs for two CPUs of one guest. The first starts the second at the kit's beginning, so both come here, with their number in RDI. Each finds its
//! own words at r14 + COUNT and r14 + OUT, and has a page of the stack for itself.

use super::blob;

/// Its part of the stack, below the page on which the kit of the other may still begin; its words, and a page for `LguestData`. The first
/// starts the second.
macro_rules! begin {
    () => {
        "lea rax, [rdi + 1]
        shl rax, 12
        sub rsp, rax
        lea r14, [r15 + 8 * rdi]
        imul rdx, rdi, BUFFER - DATA
        add rdx, DATA
        mov eax, 1
        int 0x1f
        test rdi, rdi
        jnz 99f
        mov edx, 1
        mov rbx, BASE + KIT
        mov ecx, 1
        mov eax, 24
        int 0x1f
        99:"
    };
}

blob! {
    /// Counts, with hypercalls, and compares its registers with what its number says. Status 1: they were another's.
    REGISTERS = begin!(),
        "lea r13, [rdi + 1]",
        "2: lea r14, [r15 + 8 * rdi]",
        "imul r12, r13, 0x1234567",
        "mov rsi, r12", "mov rbp, r12", "mov r8, r12", "mov r9, r12", "mov r10, r12", "mov r11, r12",
        "push r12",
        "mov ecx, 500",
        "3: loop 3b",
        "hcall 0",
        "pop rax",
        "cmp rax, r12", "jne 4f",
        "imul rax, r13, 0x1234567",
        "cmp rax, r12", "jne 4f",
        "cmp rax, rsi", "jne 4f",
        "cmp rax, rbp", "jne 4f",
        "cmp rax, r8", "jne 4f",
        "cmp rax, r9", "jne 4f",
        "cmp rax, r10", "jne 4f",
        "cmp rax, r11", "jne 4f",
        "lea rax, [rdi + 1]",
        "cmp rax, r13", "jne 4f",
        "inc qword ptr [r14 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0",
        // What they were, for whoever reads the failure.
        "4: result 0, rdi", "result 1, rax", "result 2, r12", "result 3, rsi", "result 4, rbp", "result 5, r8",
        "result 6, r9", "result 7, r10", "result 8, r11", "result 9, r13",
        "poweroff 1";

    /// Looks at the first word of FREE for ever, says what it saw and counts. It leaves ring 1 for interrupts only.
    WATCH = begin!(),
        "2: mov rax, [r15 + FREE]",
        "mov [r14 + OUT], rax",
        "inc qword ptr [r14 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// The first CPU makes an unknown hypercall when STOP is set; until then, and the other for ever, they do nothing but count.
    DIE = begin!(),
        "2: inc qword ptr [r14 + COUNT]",
        "test rdi, rdi", "jnz 2b",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "hcall 99",
        "jmp 2b";

    /// The first CPU goes round the tables that parameters 1, 2, ... name, as many as parameter 0 says, and reads the word at
    /// USER_VA, which must be the number of the table, from 1 on. The other stays where it is, makes hypercalls and reads it, too:
    /// 1. Status 2 or 3: it was another.
    ROUND = begin!(),
        "mov r12, USER_VA",
        "test rdi, rdi", "jnz 5f",
        "2: xor r13d, r13d",
        "3: inc r13",
        "hcall 4, [r15 + PARAM + 8 * r13]",
        "cmp [r12], r13", "jne 6f",
        "inc qword ptr [r14 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0", "jne 4f",
        "cmp r13, [r15 + PARAM]", "jne 3b",
        "jmp 2b",
        "4: poweroff 0",
        "5: hcall 0",
        "cmp qword ptr [r12], 1", "jne 7f",
        "inc qword ptr [r14 + COUNT]",
        "jmp 5b",
        "6: poweroff 2",
        "7: poweroff 3";

    /// The first CPU writes parameters 2 and 3 by turns into the entry of its tables at parameter 0, whose number there is parameter 1, and
    /// announces it. The other, when it hears of that, makes a hypercall and reads the word at USER_VA: 2 or 1. Status 2: it was
    /// the old one.
    CHANGE = begin!(),
        "mov r12, USER_VA",
        "xor r13d, r13d",
        "test rdi, rdi", "jnz 6f",
        // Round r13: odd ones bring parameter 2.
        "2: cmp [r15 + OUT + 8], r13", "jne 2b",
        "inc r13",
        "mov rcx, [r15 + PARAM + 16]",
        "test r13d, 1", "jnz 3f",
        "mov rcx, [r15 + PARAM + 24]",
        "3: mov rdx, [r15 + PARAM]",
        "mov [r15 + rdx], rcx",
        "and rdx, -4096",
        "mov rbx, [r15 + PARAM + 8]",
        "mov eax, 20",
        "int 0x1f",
        "mov [r15 + OUT], r13",
        "inc qword ptr [r14 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0", "je 2b",
        "poweroff 0",
        "6: cmp [r15 + OUT], r13", "je 6b",
        "inc r13",
        "hcall 0",
        "mov rax, r13",
        "and eax, 1",
        "inc eax",
        "cmp [r12], rax", "jne 7f",
        "mov [r15 + OUT + 8], r13",
        "inc qword ptr [r14 + COUNT]",
        "jmp 6b",
        "7: poweroff 2";
}
