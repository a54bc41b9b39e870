//! Guests that mean harm, and those that do not know better.

use super::blob;

blob! {
    /// Reads the word at the address in parameter 0.
    READ = "mov rax, [r15 + PARAM]", "mov rbx, [rax]", "result 0, rbx", "poweroff 0";
    /// Writes parameter 1 to the address in parameter 0.
    WRITE = "mov rax, [r15 + PARAM]", "mov rbx, [r15 + PARAM + 8]", "mov [rax], rbx", "poweroff 0";
    /// Reads a word at parameter 0 and others, each parameter 1 further on, parameter 2 of them. Results: how many could be
    /// read, where the last of those was, where it ended.
    READ_MANY = "mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 16]",
        "xor r14d, r14d",
        "on_trap 3f",
        "2: mov rax, [r12]",
        "inc r14",
        "result 1, r12",
        "3: add r12, [r15 + PARAM + 8]",
        "dec r13",
        "jnz 2b",
        "result 0, r14",
        "result 2, r12",
        "poweroff 0";
    /// Jumps to the address in parameter 0.
    JUMP = "mov rax, [r15 + PARAM]", "jmp rax";

    /// Moves parameter 0 to CR3.
    MOV_CR3 = "mov rax, [r15 + PARAM]", "mov cr3, rax", "poweroff 0";

    /// Takes one #UD and ends.
    TAKES_UD = "on_trap 2f", "ud2", "2: poweroff 0";

    /// Copies the page at parameter 0 to FREE.
    COPY_PAGE = "mov rsi, [r15 + PARAM]",
        "lea rdi, [r15 + FREE]",
        "mov ecx, 512",
        "rep movsq",
        "poweroff 0";

    /// Fills the page at parameter 0 with parameter 1 from its end downwards, going to the Host after every 64 bytes, then
    /// lives on through timer interrupts.
    FILL_PAGE = "mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 8]",
        "mov r14d, 512",
        "2: mov [r12 + r14 * 8 - 8], r13",
        "inc qword ptr [r15 + COUNT]",
        "test r14d, 7",
        "jnz 3f",
        "hcall 0",
        "3: dec r14d",
        "jnz 2b",
        "mov qword ptr [r15 + DATA], 0x200",
        "hcall 9, 100000",
        "4: cmp qword ptr [r15 + IRQ_COUNT], 0",
        "je 4b",
        "poweroff 0";

    /// Leaves the word of parameter 0 wherever it can: all over the parameter 1 pages whose addresses follow, in the registers at a
    /// single step, at a hypercall and whenever else the Host comes; until it is told to stop.
    PLANT = "2: mov rax, [r15 + PARAM]",
        "mov rbx, [r15 + PARAM + 8]",
        "lea rdx, [r15 + PARAM + 16]",
        "3: mov rdi, [rdx]",
        "mov ecx, 512",
        "rep stosq",
        "add rdx, 8",
        "dec rbx",
        "jnz 3b",
        "mov rbx, rax", "mov rcx, rax", "mov rdx, rax", "mov rsi, rax", "mov rdi, rax", "mov rbp, rax", "mov r8, rax",
        "mov r9, rax", "mov r10, rax", "mov r11, rax", "mov r12, rax", "mov r13, rax", "mov r14, rax",
        "mov qword ptr [r15 + RESUME], 1",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "nop",
        "pushfq",
        "and qword ptr [rsp], -257",
        "popfq",
        "xor eax, eax",
        "int 0x1f",
        "inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Looks for a word on the parameter 1 pages whose addresses follow, once and then until it is told to stop: how often it was
    /// found, and where last. Parameter 0 is the word with all its bits turned over, so that this guest never holds it itself.
    SEARCH = "mov r12, [r15 + PARAM]",
        "2: mov r13, [r15 + PARAM + 8]",
        "lea r14, [r15 + PARAM + 16]",
        "3: mov rsi, [r14]",
        "mov ecx, 512",
        "4: mov rax, [rsi]",
        "xor rax, r12",
        "inc rax",
        "jnz 5f",
        "inc qword ptr [r15 + OUT]",
        "mov [r15 + OUT + 8], rsi",
        "5: add rsi, 8",
        "dec ecx",
        "jnz 4b",
        "add r14, 8",
        "dec r13",
        "jnz 3b",
        "inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Calls every 16th byte of the page at parameter 0, from offset parameter 1 on; traps come back here.
    CALL_PAGE = "on_trap 2f",
        "2: mov r12, [r15 + PARAM + 8]",
        "cmp r12, 4096",
        "jae 3f",
        "add qword ptr [r15 + PARAM + 8], 16",
        "add r12, [r15 + PARAM]",
        "lea rsp, [r15 + STACK_TOP - 64]",
        "lea rax, [rip + 2b]",
        "mov [rsp], rax",
        "mov [rsp + 8], rax",
        "mov [rsp + 16], rax",
        "jmp r12",
        "3: poweroff 0";

    /// IRETD with the words that the test has put at parameter 0, an address below 4 GiB, after a look at parameter 1 and
    /// a write to parameter 2.
    IRETD = "mov rsp, [r15 + PARAM]",
        "mov rax, [r15 + PARAM + 8]",
        "mov al, [rax]",
        "mov rax, [r15 + PARAM + 16]",
        "mov byte ptr [rax], 0",
        "iretd";

    /// RSP := parameter 0; then, as parameter 1 says: 0 an invalid instruction, 1 a hypercall, 2 a page fault, 3 a timer
    /// interrupt, 4 an emulated instruction, 5 a breakpoint, 6 a push.
    BAD_STACK = "mov rcx, [r15 + PARAM + 8]",
        "cmp ecx, 3",
        "jne 2f",
        "mov qword ptr [r15 + DATA], 0x200",
        "hcall 9, 200000",
        "mov ecx, 3",
        "2: mov rsp, [r15 + PARAM]",
        "cmp ecx, 1",
        "je 3f",
        "cmp ecx, 2",
        "je 4f",
        "cmp ecx, 3",
        "je 5f",
        "cmp ecx, 4",
        "je 6f",
        "cmp ecx, 5",
        "je 7f",
        "cmp ecx, 6",
        "je 8f",
        "ud2",
        "3: hcall 0",
        "poweroff 1",
        "4: mov rax, [0x1000]",
        "poweroff 2",
        "5: jmp 5b",
        "6: cli",
        "poweroff 4",
        "7: int3",
        "poweroff 5",
        "8: push rax",
        "poweroff 6";

    /// Loads every selector of parameter 0 to parameter 1 into DS, ES, FS and GS, with a hypercall in between.
    SELECTORS = "on_trap 3f",
        "2: mov r12, [r15 + PARAM]",
        "cmp r12, [r15 + PARAM + 8]",
        "jae 4f",
        "inc qword ptr [r15 + PARAM]",
        "mov ds, r12d",
        "mov es, r12d",
        "mov fs, r12d",
        "mov gs, r12d",
        "inc qword ptr [r15 + COUNT]",
        "hcall 0",
        "3: jmp 2b",
        "4: poweroff 0";

    /// Loads SS with parameter 0 and then counts, without a fault, until the Host must have wanted its CPU back.
    STACK_SELECTOR_BUSY = "inc qword ptr [r15 + COUNT]",
        "mov rax, [r15 + PARAM]",
        "mov ss, eax",
        "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + COUNT], 100000000",
        "jb 2b",
        "poweroff 0";

    /// SS := parameter 0, then a hypercall, an invalid instruction and an interrupt with it.
    STACK_SELECTOR = "mov rax, [r15 + PARAM]",
        "mov ss, eax",
        "hcall 0",
        "inc qword ptr [r15 + COUNT]",
        "on_trap 2f",
        "ud2",
        "2: mov rax, [r15 + PARAM]",
        "mov ss, eax",
        "inc qword ptr [r15 + COUNT]",
        "mov qword ptr [r15 + DATA], 0x200",
        "hcall 9, 100000",
        "3: cmp qword ptr [r15 + IRQ_COUNT], 0",
        "je 3b",
        "poweroff 0";

    /// A far jump (parameter 1 = 0) or call to the selector in parameter 0. The offset has 32 bits, as AMD's CPUs have it.
    FAR = "lea rax, [rip + 4f]",
        "mov [r15 + FREE], rax",
        "mov rax, [r15 + PARAM]",
        "mov [r15 + FREE + 4], ax",
        "cmp qword ptr [r15 + PARAM + 8], 0",
        "jne 2f",
        "jmp fword ptr [r15 + FREE]",
        "2: call fword ptr [r15 + FREE]",
        "4: poweroff 0";

    /// IRETQ to CS parameter 0, RFLAGS parameter 1, SS parameter 2, RIP parameter 3 (0 = here), RSP as it is.
    IRET = "mov rax, [r15 + PARAM + 24]",
        "test rax, rax",
        "jnz 2f",
        "lea rax, [rip + 4f]",
        "2: mov rbx, rsp",
        "push qword ptr [r15 + PARAM + 16]",
        "push rbx",
        "push qword ptr [r15 + PARAM + 8]",
        "push qword ptr [r15 + PARAM]",
        "push rax",
        "3: iretq",
        "4: poweroff 0";

    /// POPF of parameter 0, then what the flags became; then a hypercall and IRETQ with them.
    POPF = "push qword ptr [r15 + PARAM]",
        "popfq",
        "nop",
        "pushfq",
        "pop rax",
        "result 0, rax",
        "hcall 0",
        "poweroff 0";

    /// Single-steps itself across a hypercall and an emulated instruction: traps return (RESUME = 1) and are counted.
    STEP = "mov qword ptr [r15 + RESUME], 1",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "nop",
        "mov eax, 0",
        "int 0x1f",
        "nop",
        "cli",
        "nop",
        "pushfq",
        "and qword ptr [rsp], -257",
        "popfq",
        "nop",
        "poweroff 0";

    /// Single-steps itself, MOV SS (which holds traps back) just before a hypercall.
    STEP_MOV_SS = "mov qword ptr [r15 + RESUME], 1",
        "mov ebx, 0x89",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "mov eax, 0",
        "mov ss, ebx",
        "int 0x1f",
        "mov ss, ebx",
        "syscall",
        "pushfq",
        "and qword ptr [rsp], -257",
        "popfq",
        "poweroff 0";

    /// User: sets TF, then makes a system call; single-step traps return.
    USER_STEP = "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "mov eax, 1",
        "mov edi, 41",
        "syscall",
        "cmp eax, 42",
        "jne 2f",
        "mov ebx, 7",
        "pushfq",
        "and qword ptr [rsp], -257",
        "popfq",
        "xor eax, eax",
        "xor edi, edi",
        "syscall",
        "2: xor eax, eax",
        "mov edi, 1",
        "syscall";

    /// Finds its top-level table through itself: slot parameter 0 of it points to it. Changes the last-level entry of address
    /// parameter 1 to parameter 2 that way, and reads there.
    RECURSIVE = "mov rax, [r15 + PARAM + 8]",
        "shr rax, 9",
        "mov rbx, 0x7ffffffff8",
        "and rax, rbx",
        "mov rbx, [r15 + PARAM]",
        "shl rbx, 39",
        "mov rcx, 0xffff000000000000",
        "or rbx, rcx",
        "add rbx, rax",
        "mov rcx, [rbx]",
        "result 0, rcx",
        "mov rcx, [r15 + PARAM + 16]",
        "mov [rbx], rcx",
        "hcall 5, 1",
        "mov rax, [r15 + PARAM + 8]",
        "mov rax, [rax]",
        "result 1, rax",
        "poweroff 0";

    /// Rewrites the word at parameter 0 with parameter 1, reads the address of parameter 2 before and after, without ever
    /// telling the Host; then for ever writes both values in turn, parameter 3 times, reading in between.
    FLIP = "mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 8]",
        "mov r14, [r15 + PARAM + 16]",
        "mov rbp, [r15 + PARAM + 24]",
        "on_trap 3f",
        "2: mov r12, [r15 + PARAM]",
        "mov r14, [r15 + PARAM + 16]",
        "mov rax, [r14]",
        "mov rbx, [r12]",
        "xchg rbx, [r15 + PARAM + 8]",
        "mov [r12], rbx",
        "hcall 5, 1",
        "3: dec qword ptr [r15 + PARAM + 24]",
        "jnz 2b",
        "poweroff 0";

    /// Sends a list, which the Host copies, with the direction flag set as for copying downwards.
    BACKWARDS = "std",
        "hcall 13, 0, DMA",
        "cld",
        "poweroff 0";

    /// SET_CLOCKEVENT with parameter 0, parameter 1 times.
    CLOCK_STORM = "mov r12, [r15 + PARAM + 8]",
        "mov qword ptr [r15 + DATA], 0x200",
        "2: mov rdx, [r15 + PARAM]",
        "mov eax, 9",
        "int 0x1f",
        "dec r12",
        "jnz 2b",
        "hcall 9, 0",
        "poweroff 0";

    /// NEW_PGTABLE with each of the parameter 1 tables from parameter 0 on, parameter 2 rounds.
    MANY_TABLES = "mov r14, [r15 + PARAM + 16]",
        "2: mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 8]",
        "3: mov rdx, r12",
        "mov eax, 4",
        "int 0x1f",
        "inc qword ptr [r15 + COUNT]",
        "add r12, 4096",
        "dec r13",
        "jnz 3b",
        "dec r14",
        "jnz 2b",
        "poweroff 0";

    /// Touches a word in each page from parameter 0 on, parameter 1 apart, parameter 2 of them, parameter 3 rounds.
    TOUCH_MANY = "mov r14, [r15 + PARAM + 24]",
        "2: mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 16]",
        "3: inc qword ptr [r12]",
        "add r12, [r15 + PARAM + 8]",
        "inc qword ptr [r15 + COUNT]",
        "dec r13",
        "jnz 3b",
        "dec r14",
        "jnz 2b",
        "poweroff 0";

    /// Reads the word at parameter 0 and forgets the page, for ever.
    TOUCH_AND_FORGET = "mov r12, [r15 + PARAM]",
        "2: mov rax, [r12]",
        "invlpg [r12]",
        "inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// BIND_DMA with keys 4, 8, 12 and so on, parameter 0 times; counts those granted.
    HOARD = "mov r12, [r15 + PARAM]",
        "2: lea rdx, [r12 * 4]",
        "mov ebx, DMA",
        "mov ecx, 0x101",
        "mov eax, 12",
        "int 0x1f",
        "cmp rax, 1",
        "jne 3f",
        "inc qword ptr [r15 + COUNT]",
        "3: dec r12",
        "jnz 2b",
        "poweroff 0";

    /// Emulated instructions for ever.
    CLI_FOREVER = "2: cli", "inc qword ptr [r15 + COUNT]", "jmp 2b";
    /// Hypercalls for ever.
    HCALL_FOREVER = "2: hcall 0", "inc qword ptr [r15 + COUNT]", "jmp 2b";
    /// Traps for ever.
    TRAP_FOREVER = "2: on_trap 3f", "ud2", "3: inc qword ptr [r15 + COUNT]", "jmp 2b";
    /// Sleeps for ever.
    HALT_FOREVER = "2: inc qword ptr [r15 + COUNT]", "hcall 10", "jmp 2b";
    /// FS and GS selectors and bases, DS and ES: all garbage, then spins.
    SEGMENT_MESS = "xor eax, eax",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// Vector state garbage: every register full of parameter 0, all SSE exceptions unmasked, an x87 error waiting.
    FPU_MESS = "movq xmm0, [r15 + PARAM]",
        "pshufd xmm0, xmm0, 0x44",
        "movdqa xmm1, xmm0", "movdqa xmm2, xmm0", "movdqa xmm3, xmm0", "movdqa xmm4, xmm0", "movdqa xmm5, xmm0",
        "movdqa xmm6, xmm0", "movdqa xmm7, xmm0", "movdqa xmm8, xmm0", "movdqa xmm9, xmm0", "movdqa xmm10, xmm0",
        "movdqa xmm11, xmm0", "movdqa xmm12, xmm0", "movdqa xmm13, xmm0", "movdqa xmm14, xmm0", "movdqa xmm15, xmm0",
        "mov dword ptr [r15 + OUT], 0x0000",
        "ldmxcsr [r15 + OUT]",
        "fninit",
        "fld1", "fld1", "fld1",
        "fldz",
        "mov word ptr [r15 + OUT], 0x0000",
        "fldcw [r15 + OUT]",
        "fdivp st(1), st(0)", // by zero: the error waits for the next x87 instruction, wherever that is
        "hcall 13, 0, DMA",
        "2: inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";

    /// The same for the upper halves of the 256-bit registers; needs AVX.
    YMM_MESS = "vbroadcastsd ymm0, [r15 + PARAM]",
        "vmovapd ymm7, ymm0",
        "vmovapd ymm15, ymm0",
        "hcall 13, 0, DMA",
        "hcall 13, 0, DMA",
        "vmovupd [r15 + OUT], ymm15",
        "poweroff 0";

    /// What a fresh guest finds in all vector registers, before anything else.
    YMM_LOOK = "vmovupd [r15 + OUT], ymm0",
        "vmovupd [r15 + OUT + 32], ymm7",
        "vmovupd [r15 + OUT + 64], ymm15",
        "poweroff 0";

    /// Takes all rights to user pages away by PKRU, goes to the Host several times.
    PKRU_MESS = "xor ecx, ecx",
        "xor edx, edx",
        "mov eax, 0x55555555",
        "wrpkru",
        "hcall 13, 0, DMA",
        "xor ecx, ecx",
        "rdpkru",
        "result 0, rax",
        "hcall 13, 0, DMA",
        "poweroff 0";

    /// A handler that traps again, on a fresh stack, for ever.
    RESET_AND_UD2 = "mov rsp, BASE + STACK_TOP", "ud2";

    /// User: system calls for ever.
    USER_CALLS_FOREVER = "2: mov eax, 1", "syscall", "jmp 2b";

    /// What PKRU a guest finds.
    RDPKRU = "xor ecx, ecx", "rdpkru", "result 0, rax", "poweroff 0";

    /// Reads address 0x1000, where nothing is.
    FAULT_LOOP = "mov rax, [0x1000]", "poweroff 0";

    /// User: puts SYSCALL at the very end of the lower half and jumps there, so that its return address is not canonical.
    USER_TOP_JUMP = "mov rax, 0x7ffffffffffe", "mov word ptr [rax], 0x050f", "mov rdx, rax", "mov edi, 1", "mov eax, 1", "jmp rdx";

    /// CPUID leaf 0, RDTSC and friends in a long loop, for luck.
    HARMLESS = "mov r12d, 1000",
        "2: xor eax, eax",
        "cpuid",
        "rdtsc",
        "pause",
        "lfence",
        "mfence",
        "clflush [r15 + PARAM]",
        "prefetcht0 [r15 + PARAM]",
        "dec r12d",
        "jnz 2b",
        "poweroff 0";
}
