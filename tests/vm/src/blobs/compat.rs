//! Guests with descriptors of their own, and programs of 32 bits.

use super::blob;

blob! {
    /// GS gets descriptor 12; then to the 32-bit program, with parameter 0 in its flags and a timer if there is a REARM.
    ENTER_USER_32 = "mov eax, 0x63",
        "mov gs, eax",
        "mov qword ptr [r15 + DATA], 0x200",
        "mov rdx, [r15 + REARM]",
        "test rdx, rdx",
        "jz 2f",
        "mov eax, 9",
        "int 0x1f",
        "2: mov rax, [r15 + PARAM]",
        "or rax, 0x202",
        "push 0x2b",
        "mov ebx, USER_VA + 0x6000",
        "push rbx",
        "push rax",
        "push 0x23",
        "mov eax, USER_VA",
        "push rax",
        "xor eax, eax",
        "iretq";

    /// User: a hundred times, what only 32-bit code can, a word behind GS, and INT 0x80. Then to 64 bits by a far jump, and
    /// the end by `syscall`, with status 0 if all was right.
    USER_32 = ".code32",
        "xor ecx, ecx",
        "3: mov eax, 0x1234",
        ".byte 0x48", // dec eax; in 64-bit code a prefix
        "cmp eax, 0x1233",
        "jne 4f",
        "push ecx",
        "mov eax, esp",
        "pop edx",
        "add eax, 4",
        "cmp eax, esp",
        "jne 4f",
        "cmp dword ptr gs:[0], 0x7153",
        "jne 4f",
        "int 0x80",
        "inc ecx",
        "cmp ecx, 100",
        "jne 3b",
        "xor edi, edi",
        "jmp 5f",
        "4: mov edi, 1",
        "5: .byte 0xea", // far jump
        ".long USER_VA + 6f - 7778b",
        ".short 0x33",
        ".code64",
        "6: xor eax, eax",
        "syscall";

    /// User: looks at the word behind GS until the next one is not 0. Then as above.
    USER_32_COUNTS = ".code32",
        "mov edi, 1",
        "3: mov eax, 0x1234",
        ".byte 0x48", // dec eax
        "cmp eax, 0x1233",
        "jne 5f",
        "cmp dword ptr gs:[0], 0x7153",
        "jne 5f",
        "cmp dword ptr gs:[4], 0",
        "je 3b",
        "xor edi, edi",
        "5: .byte 0xea",
        ".long USER_VA + 6f - 7778b",
        ".short 0x33",
        ".code64",
        "6: xor eax, eax",
        "syscall";

    /// To the user program.
    LIMIT = "xor edi, edi", "enter_user";

    /// User: ends with what LSL says of descriptor 15.
    USER_LIMIT = "mov eax, 0x7b", "lsl edi, eax", "xor eax, eax", "syscall";

    /// Loads descriptor 12 into all four, sets it to parameter 0, sleeps (which ends a stay), and looks what they hold.
    STALE = "mov eax, 0x63",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        "hcall 18, 12, [r15 + PARAM]",
        "hcall 9, 1000000",
        "hcall 10",
        "mov eax, ds",
        "result 0, rax",
        "mov eax, es",
        "result 1, rax",
        "mov eax, fs",
        "result 2, rax",
        "mov eax, gs",
        "result 3, rax",
        "poweroff 0";
}
