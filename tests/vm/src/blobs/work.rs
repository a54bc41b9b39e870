//! Guests that behave: they count, answer, take interrupts and system calls.

use super::blob;

blob! {
    /// Powers off with parameter 0 as its status.
    POWEROFF = "mov rdx, [r15 + PARAM]", "mov eax, 11", "int 0x1f", "ud2";

    /// Ends with status 0: what follows an instruction that should not have been survived, or should.
    SURVIVED = "poweroff 0", "ud2";

    /// Counts until it is told to stop.
    COUNT_UP = "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Counts until it is told to stop, with a timer that ticks on (REARM) and a hypercall now and then.
    TICK = "mov qword ptr [r15 + DATA], 0x200",
        "mov rdx, [r15 + REARM]",
        "mov eax, 9",
        "int 0x1f",
        "2: inc qword ptr [r15 + COUNT]",
        "test dword ptr [r15 + COUNT], 0xfff",
        "jnz 3f",
        "hcall 0",
        "3: cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Leaves ring 1 in every way there is, round after round, until it is told to stop: a hypercall, an emulated instruction,
    /// exceptions that go to the Host and that do not, single steps, a user program's `syscall` (the kit's call 2), a timer
    /// interrupt. Status 1: a register was not kept over it.
    EVERY_WAY = "2: mov esi, 0x1006", "mov edi, 0x1007", "mov ebp, 0x1005",
        "mov r8d, 0x1008", "mov r9d, 0x1009", "mov r10d, 0x100a", "mov r12d, 0x100c", "mov r13d, 0x100d", "mov r14d, 0x100e",
        "hcall 0",
        "cli",
        "sti",
        "on_trap 3f",
        "ud2",
        "3: on_trap 3f",
        "mov rax, [0x1000]",
        "3: on_trap 3f",
        "int3",
        "3: mov qword ptr [r15 + RESUME], 1",
        "mov ebx, 0x69",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "mov eax, 0",
        "mov ss, ebx",
        "int 0x1f",
        "nop",
        "pushfq",
        "and qword ptr [rsp], -257",
        "popfq",
        "mov qword ptr [r15 + DATA], 0x200",
        "mov r14, [r15 + IRQ_COUNT]",
        "hcall 9, 1000",
        "3: cmp r14, [r15 + IRQ_COUNT]",
        "je 3b",
        "mov r14d, 0x100e",
        ".macro still reg, n",
        "  cmp \\reg, \\n", "  jne 4f",
        ".endm",
        "still rsi, 0x1006", "still rdi, 0x1007", "still rbp, 0x1005", "still r8, 0x1008", "still r9, 0x1009",
        "still r10, 0x100a", "still r12, 0x100c", "still r13, 0x100d", "still r14, 0x100e",
        ".purgem still",
        "on_trap 3f",
        "xor edi, edi",
        "enter_user",
        "3: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0",
        "4: poweroff 1";

    /// User: back to ring 1, by the kit's call 2 or by an exception.
    USER_BACK = "mov eax, 2", "syscall", "ud2";

    /// Does nothing for ever, in ring 1.
    SPIN = "2: jmp 2b";

    /// Makes parameter 0 hypercalls that do nothing, then ends.
    STORM = "mov r12, [r15 + PARAM]",
        "2: hcall 0",
        "inc qword ptr [r15 + COUNT]",
        "dec r12",
        "jnz 2b",
        "poweroff 0";

    /// Enters the user program, with parameter 0 in its flags.
    ENTER_USER = "mov rdi, [r15 + PARAM]", "enter_user";

    /// User: makes 1000 system calls and exits with status 0 if each returned what it should.
    USER_CALLS = "xor ebx, ebx",
        "2: mov eax, 1",
        "mov edi, ebx",
        "mov r8, rsp",
        "syscall",
        "3: inc ebx",
        "cmp eax, ebx",
        "jne 4f",
        "cmp r8, rsp",
        "jne 4f",
        "lea rdx, [rip + 3b]",
        "cmp rcx, rdx",
        "jne 4f",
        "cmp ebx, 1000",
        "jne 2b",
        "xor eax, eax",
        "xor edi, edi",
        "syscall",
        "4: xor eax, eax",
        "mov edi, 1",
        "syscall";

    /// User: counts (in its own second page) until it is told to stop there.
    USER_COUNT = "lea rbx, [rip + 7777f]",
        "and rbx, -4096",
        "add rbx, 4096",
        "2: inc qword ptr [rbx]",
        "cmp qword ptr [rbx + 8], 0",
        "je 2b",
        "xor eax, eax",
        "xor edi, edi",
        "7777: syscall";

    /// User: for ever.
    USER_SPIN = "2: jmp 2b";

    /// User: exits with status 0.
    USER_EXIT = "xor eax, eax", "xor edi, edi", "syscall", "ud2";

    /// What the very first instruction finds: all registers into the results, then LGUEST_INIT (it must be first), then the end.
    START_STATE = "mov [rip + 9f], rsp",
        "mov [rip + 9f + 8], rax",
        "mov rax, BASE + OUT",
        "mov [rax + 8], rbx",
        "mov [rax + 16], rcx",
        "mov [rax + 24], rdx",
        "mov [rax + 32], rsi",
        "mov [rax + 40], rdi",
        "mov [rax + 48], rbp",
        "mov [rax + 56], r8",
        "mov [rax + 64], r9",
        "mov [rax + 72], r10",
        "mov [rax + 80], r11",
        "mov [rax + 88], r12",
        "mov [rax + 96], r13",
        "mov [rax + 104], r14",
        "mov [rax + 112], r15",
        "mov rcx, [rip + 9f]",
        "mov [rax + 120], rcx",
        "mov rcx, [rip + 9f + 8]",
        "mov [rax], rcx",
        "mov rsp, BASE + STACK_TOP",
        "pushfq",
        "pop qword ptr [rax + 128]",
        "mov rcx, cs",
        "mov [rax + 136], rcx",
        "mov rcx, ss",
        "mov [rax + 144], rcx",
        "mov rcx, ds",
        "mov [rax + 152], rcx",
        "mov rcx, es",
        "mov [rax + 160], rcx",
        "mov rcx, fs",
        "mov [rax + 168], rcx",
        "mov rcx, gs",
        "mov [rax + 176], rcx",
        "fxsave64 [rax + 0x400]",
        "hcall 1, DATA",
        "poweroff 0",
        ".balign 8",
        "9: .quad 0, 0";

    /// Sends a list at DMA to key parameter 0, says what its used_len became, ends.
    SEND = "mov rdx, [r15 + PARAM]",
        "mov ebx, DMA",
        "mov eax, 13",
        "int 0x1f",
        "result 0, rax",
        "mov ecx, [r15 + DMA]",
        "result 1, rcx",
        "poweroff 0";

    /// Sends parameter 0 lists, each when the one before is done; counts.
    SEND_MANY = "mov r12, [r15 + PARAM]",
        "2: mov dword ptr [r15 + DMA], 0",
        "hcall 13, 76, DMA",
        "cmp dword ptr [r15 + DMA], 0",
        "je 3f",
        "inc qword ptr [r15 + COUNT]",
        "dec r12",
        "jnz 2b",
        "3: poweroff 0";

    /// Sleeps until one interrupt came, then ends.
    HALT = "hcall 10", "poweroff 0";

    /// Sleeps until STOP, however many interrupts come.
    HALT_LOOP = "2: mov qword ptr [r15 + DATA], 0",
        "cmp qword ptr [r15 + STOP], 0",
        "jne 3f",
        "hcall 10",
        "inc qword ptr [r15 + COUNT]",
        "jmp 2b",
        "3: poweroff 0";

    /// Sends to key 0 (the Launcher then raises interrupts); with interrupts off until it has looked at irq_pending.
    PENDING = "hcall 13, 0, DMA",
        "hcall 0",
        "mov rax, [r15 + DATA + 8]",
        "result 0, rax",
        "mov rax, [r15 + IRQ_COUNT + 8 * 5]",
        "result 1, rax",
        "mov qword ptr [r15 + DATA], 0x200",
        "hcall 19",
        "mov rax, [r15 + DATA + 8]",
        "result 2, rax",
        "mov rax, [r15 + IRQ_COUNT + 8 * 5]",
        "result 3, rax",
        "poweroff 0";

    /// Sends to key 0 with interrupts on and a covered stretch behind it: parameter 0 says how long to stay there.
    COVERED = "mov qword ptr [r15 + DATA], 0x200",
        "jmp 3f",
        // Covered from here, by what the test writes to noirq_start and noirq_end ...
        ".balign 64",
        "3: hcall 13, 0, DMA",
        "hcall 0",
        "mov rax, [r15 + IRQ_COUNT + 8 * 5]",
        "result 0, rax",
        "jmp 4f",
        // ... to here.
        ".balign 128",
        "4: hcall 19",
        "mov rax, [r15 + IRQ_COUNT + 8 * 5]",
        "result 1, rax",
        "poweroff 0";

    /// Asks for interrupt 0 after parameter 0 ns, then asks parameter 1 (0 cancels), then waits parameter 2 ns with a second
    /// look at the clock that the time-stamp counter is, and ends.
    TIMER_TWICE = "mov qword ptr [r15 + DATA], 0x200",
        "mov rdx, [r15 + PARAM]",
        "mov eax, 9",
        "int 0x1f",
        "mov rdx, [r15 + PARAM + 8]",
        "mov eax, 9",
        "int 0x1f",
        "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Fills the vector registers with parameter 0, then counts and checks them until told to stop. Status 1: they changed.
    KEEP_FPU = "movq xmm0, [r15 + PARAM]",
        "pshufd xmm0, xmm0, 0x44",
        "movdqa xmm5, xmm0",
        "paddq xmm5, xmm0",
        "movdqa xmm15, xmm5",
        "paddq xmm15, xmm0",
        "fninit",
        "fild qword ptr [r15 + PARAM]",
        "ldmxcsr [r15 + PARAM + 8]",
        "2: movq rax, xmm0",
        "cmp rax, [r15 + PARAM]",
        "jne 4f",
        "movq rbx, xmm5",
        "sub rbx, rax",
        "cmp rbx, rax",
        "jne 4f",
        "movq rbx, xmm15",
        "sub rbx, rax",
        "sub rbx, rax",
        "cmp rbx, rax",
        "jne 4f",
        "movhlps xmm1, xmm0",
        "movq rbx, xmm1",
        "cmp rax, rbx",
        "jne 4f",
        "stmxcsr [r15 + OUT]",
        "mov eax, [r15 + OUT]",
        "cmp eax, [r15 + PARAM + 8]",
        "jne 5f",
        "fld st(0)",
        "fistp qword ptr [r15 + OUT + 8]",
        "mov rax, [r15 + OUT + 8]",
        "cmp rax, [r15 + PARAM]",
        "jne 6f",
        "inc qword ptr [r15 + COUNT]",
        "test dword ptr [r15 + COUNT], 15",
        "jnz 3f",
        "hcall 0",
        "3: cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0",
        "4: poweroff 1",
        "5: poweroff 2",
        "6: poweroff 3";

    /// Checks that its general registers stay what they are, until told to stop. Status 1: they changed.
    KEEP_REGISTERS = "mov qword ptr [r15 + DATA], 0x200",
        "mov rdx, [r15 + REARM]",
        "mov eax, 9",
        "int 0x1f",
        "mov rax, 0x1111111122222222",
        "lea rbx, [rax + 1]", "lea rcx, [rax + 2]", "lea rdx, [rax + 3]", "lea rsi, [rax + 4]", "lea rdi, [rax + 5]",
        "lea rbp, [rax + 6]", "lea r8, [rax + 7]", "lea r9, [rax + 8]", "lea r10, [rax + 9]", "lea r11, [rax + 10]",
        "lea r12, [rax + 11]", "lea r13, [rax + 12]", "lea r14, [rax + 13]",
        "mov [r15 + OUT], rsp",
        "2: inc qword ptr [r15 + COUNT]",
        ".macro still reg, n",
        "  sub \\reg, \\n", "  cmp \\reg, rax", "  jne 4f", "  add \\reg, \\n",
        ".endm",
        "still rbx, 1", "still rcx, 2", "still rdx, 3", "still rsi, 4", "still rdi, 5", "still rbp, 6", "still r8, 7",
        "still r9, 8", "still r10, 9", "still r11, 10", "still r12, 11", "still r13, 12", "still r14, 13",
        ".purgem still",
        "cmp rsp, [r15 + OUT]",
        "jne 4f",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0",
        "4: poweroff 1";

    /// Parameter 0: an address. Reads, writes or both, as parameter 1 says (bits 0 and 1), to see what the CPU leaves in the tables.
    TOUCH = "mov rax, [r15 + PARAM]",
        "test dword ptr [r15 + PARAM + 8], 1",
        "jz 2f",
        "mov rbx, [rax]",
        "result 0, rbx",
        "2: test dword ptr [r15 + PARAM + 8], 2",
        "jz 3f",
        "mov rbx, 0x5afe",
        "mov [rax], rbx",
        "3: poweroff 0";

    /// Touches (read, then write) the address of parameter 0 twice, with the accessed and dirty bits of the entry at the
    /// address in parameter 1 cleared between, and told so by FLUSH_TLB.
    TOUCH_AGAIN = "mov rax, [r15 + PARAM]",
        "mov rbx, [rax]",
        "mov [rax], rbx",
        "mov rcx, [r15 + PARAM + 8]",
        "mov rdx, [rcx]",
        "result 0, rdx",
        "and qword ptr [rcx], -97",
        "mov edx, 1",
        "mov r12, rax",
        "mov r13, rcx",
        "mov eax, 5",
        "int 0x1f",
        "mov rdx, [r13]",
        "result 1, rdx",
        "mov rbx, [r12]",
        "mov rdx, [r13]",
        "result 2, rdx",
        "mov [r12], rbx",
        "mov rdx, [r13]",
        "result 3, rdx",
        "poweroff 0";

    /// Changes the entry at parameter 1 to parameter 2 after having read the page at parameter 0, then reads again after
    /// SET_PTE (or, if parameter 3 is 1, FLUSH_TLB; 2, SET_TABLE level 2).
    REMAP = "mov r12, [r15 + PARAM]",
        "mov rax, [r12]",
        "result 0, rax",
        "mov r13, [r15 + PARAM + 8]",
        "mov r14, [r15 + PARAM + 16]",
        "mov [r13], r14",
        "mov rax, cr3",
        "cmp qword ptr [r15 + PARAM + 24], 1",
        "je 2f",
        "ja 4f",
        "mov rdx, rax",
        "mov rbx, r12",
        "mov rcx, r14",
        "mov eax, 14",
        "int 0x1f",
        "jmp 3f",
        "4: mov rdx, rax",
        "mov rbx, r12",
        "mov ecx, 2",
        "mov eax, 15",
        "int 0x1f",
        "jmp 3f",
        "2: mov edx, 1",
        "mov eax, 5",
        "int 0x1f",
        "3: mov rax, [r12]",
        "result 1, rax",
        "poweroff 0";

    /// Emulated instructions one by one, their results kept.
    EMULATED = "sti",
        "mov rax, [r15 + DATA]",
        "result 0, rax",
        "cli",
        "mov rax, [r15 + DATA]",
        "result 1, rax",
        "mov rax, 0x1122334455667788",
        "mov edx, 0x3f8",
        "in al, dx",
        "result 2, rax",
        "mov rax, 0x1122334455667788",
        "in ax, dx",
        "result 3, rax",
        "mov rax, 0x1122334455667788",
        "in eax, dx",
        "result 4, rax",
        "mov rax, 0x1122334455667788",
        "in al, 0x60",
        "result 5, rax",
        "mov rax, 0x1122334455667788",
        "in eax, 0x60",
        "result 6, rax",
        "out dx, al",
        "out dx, ax",
        "out dx, eax",
        "out 0x80, al",
        "out 0x80, eax",
        "mov rax, cr0",
        "result 7, rax",
        "mov r9, cr4",
        "result 8, r9",
        "mov rbx, cr3",
        "result 9, rbx",
        "mov cr3, rbx",
        "mov rax, 0x123456789abc",
        "mov cr2, rax",
        "mov r12, cr2",
        "result 10, r12",
        "invlpg [r15 + PARAM]",
        "mov ecx, 0xc0000080",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "result 11, rax",
        "poweroff 0";

    /// The MSRs that hold segment bases, and swapgs: KERNEL_GS_BASE and GS_BASE change places. A test reads through gs and fs.
    BASES = "mov ecx, 0xc0000101", // GS_BASE := base + PARAM
        "lea rax, [r15 + PARAM]",
        "mov rdx, rax",
        "shr rdx, 32",
        "wrmsr",
        "mov ecx, 0xc0000102", // KERNEL_GS_BASE := base + PARAM + 0x100
        "lea rax, [r15 + PARAM + 0x100]",
        "mov rdx, rax",
        "shr rdx, 32",
        "wrmsr",
        "mov ecx, 0xc0000100", // FS_BASE := base + PARAM + 0x200
        "lea rax, [r15 + PARAM + 0x200]",
        "mov rdx, rax",
        "shr rdx, 32",
        "wrmsr",
        "mov rax, gs:[0]",
        "result 0, rax",
        "mov rax, fs:[0]",
        "result 1, rax",
        "hcall 0",
        "mov rax, gs:[0]",
        "result 2, rax",
        "mov rax, fs:[0]",
        "result 3, rax",
        "swapgs",
        "mov rax, gs:[0]",
        "result 4, rax",
        "mov ecx, 0xc0000101",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "result 5, rax",
        "mov ecx, 0xc0000102",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "result 6, rax",
        "mov ecx, 0xc0000100",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "result 7, rax",
        "swapgs",
        "mov rax, gs:[0]",
        "result 8, rax",
        "poweroff 0";

    /// Puts four calls into the ring, makes one direct call, and looks at the ring's status bytes.
    RING = "mov byte ptr [r15 + DATA + 72], 0",
        "mov byte ptr [r15 + DATA + 73], 0",
        "mov byte ptr [r15 + DATA + 74], 0",
        "hcall 0",
        "mov eax, [r15 + DATA + 72]",
        "result 0, rax",
        "poweroff 0";

    /// Puts a call (SET_CLOCKEVENT 0) into the next slot of the ring, makes a direct one, checks that the slot is done; parameter 0
    /// times. Status 1: it was not.
    RING_ROUNDS = "xor r12d, r12d",
        "2: mov eax, r12d",
        "and eax, 63",
        "mov ecx, eax",
        "shl ecx, 5",
        "mov qword ptr [r15 + rcx + DATA + 136], 9",
        "mov qword ptr [r15 + rcx + DATA + 144], 0",
        "mov byte ptr [r15 + rax + DATA + 72], 0",
        "mov r13, rax",
        "hcall 0",
        "cmp byte ptr [r15 + r13 + DATA + 72], 0xff",
        "jne 3f",
        "inc qword ptr [r15 + COUNT]",
        "inc r12",
        "cmp r12, [r15 + PARAM]",
        "jb 2b",
        "poweroff 0",
        "3: poweroff 1";

    /// An aligned look at the frame: traps with RSP off by parameter 0.
    MISALIGNED = "on_trap 2f",
        "lea rsp, [r15 + STACK_TOP - 0x100]",
        "sub rsp, [r15 + PARAM]",
        "result 0, rsp",
        "ud2",
        "2: poweroff 0";

    /// Reads from the user page whose address is parameter 0: with AC set, then clear.
    USER_PAGE = "mov rax, [r15 + PARAM]",
        "mov rbx, [rax]",
        "result 0, rbx",
        "on_trap 2f",
        "pushfq",
        "pop rcx",
        "btr rcx, 18",
        "push rcx",
        "popfq",
        "mov rbx, [rax]",
        "poweroff 1",
        "2: poweroff 0";

    /// Looks and writes when asked. A request has come when parameter 0 is not result 0, and is answered when both are equal
    /// again. It names pages: parameter 1, whether to write; 2, the first one's address; 3, how many; 4, what to write to
    /// the first word of the first page, and one more for each further page. What was read goes to BUFFER, word by word.
    /// Parameter 5: whether read() is to come back then. Counts while nobody asks; ends when told to.
    ON_REQUEST = "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "jne 9f",
        "mov r12, [r15 + PARAM]",
        "cmp r12, [r15 + OUT]",
        "je 2b",
        "mov rsi, [r15 + PARAM + 16]",
        "mov rcx, [r15 + PARAM + 24]",
        "mov rax, [r15 + PARAM + 32]",
        "lea rdi, [r15 + BUFFER]",
        "3: cmp qword ptr [r15 + PARAM + 8], 0",
        "jne 4f",
        "mov rbx, [rsi]",
        "mov [rdi], rbx",
        "add rdi, 8",
        "jmp 5f",
        "4: mov [rsi], rax",
        "inc rax",
        "5: add rsi, 4096",
        "dec rcx",
        "jnz 3b",
        "result 0, r12",
        "cmp qword ptr [r15 + PARAM + 40], 0",
        "je 2b",
        "hcall 13, 76, DMA",
        "jmp 2b",
        "9: poweroff 0";

    /// Reads the word at parameter 1 again and again, and ends with status 1 when it is smaller than parameter 0 was just before,
    /// or with 0 when told to.
    NEVER_BACKWARDS = "mov r13, [r15 + PARAM + 8]",
        "2: mov r12, [r15 + PARAM]",
        "mov rax, [r13]",
        "cmp rax, r12",
        "jb 3f",
        "inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0",
        "3: result 0, rax",
        "result 1, r12",
        "poweroff 1";
}
