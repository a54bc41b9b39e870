//! Instructions that a ring-1 kernel has no right to, and some that it has. Each blob is one of them, with what it needs in
//! registers before it; the test appends what follows.

use super::blob;

blob! {
    LGDT = "lgdt [r15 + PARAM]";
    LIDT = "lidt [r15 + PARAM]";
    LLDT = "lldt ax";
    LTR = "mov eax, 0x40", "ltr ax";
    LMSW = "mov eax, 0x33", "lmsw ax";
    CLTS = "clts";
    MOV_TO_CR0 = "mov eax, 0x33", "mov cr0, rax";
    MOV_TO_CR4 = "xor eax, eax", "mov cr4, rax";
    MOV_TO_CR8 = "xor eax, eax", "mov cr8, rax";
    MOV_FROM_CR8 = "mov rax, cr8";
    MOV_TO_DR0 = "mov rax, r15", "mov dr0, rax";
    MOV_TO_DR7 = "mov eax, 0xffff", "mov dr7, rax";
    MOV_FROM_DR6 = "mov rax, dr6";
    MOV_FROM_DR7 = "mov rax, dr7";
    /// IA32_APIC_BASE.
    RDMSR_APIC_BASE = "mov ecx, 0x1b", "rdmsr";
    RDMSR_UNKNOWN = "mov ecx, 0x12345678", "rdmsr";
    RDMSR_STAR = "mov ecx, 0xc0000081", "rdmsr";
    WRMSR_APIC_BASE = "mov ecx, 0x1b", "wrmsr";
    WRMSR_UNKNOWN = "mov ecx, 0x12345678", "wrmsr";
    WRMSR_STAR = "mov ecx, 0xc0000081", "wrmsr";
    WRMSR_SFMASK = "mov ecx, 0xc0000084", "wrmsr";
    WRMSR_EFER = "mov ecx, 0xc0000080", "mov eax, 0x501", "wrmsr";
    WRMSR_SYSENTER_CS = "mov ecx, 0x174", "mov eax, 0x10", "wrmsr";
    WRMSR_SYSENTER_EIP = "mov ecx, 0x176", "wrmsr";
    WRMSR_PAT = "mov ecx, 0x277", "wrmsr";
    WRMSR_TSC = "mov ecx, 0x10", "wrmsr";
    WRMSR_DEBUGCTL = "mov ecx, 0x1d9", "mov eax, 1", "wrmsr";
    WRMSR_SPEC_CTRL = "mov ecx, 0x48", "wrmsr";
    /// Bases that no CPU takes.
    WRMSR_FS_NONCANONICAL = "mov ecx, 0xc0000100", "mov edx, 0x80000000", "wrmsr";
    WRMSR_GS_NONCANONICAL = "mov ecx, 0xc0000101", "mov edx, 0x80000000", "wrmsr";
    WRMSR_KERNEL_GS_NONCANONICAL = "mov ecx, 0xc0000102", "mov edx, 0x00800000", "wrmsr";
    WBINVD = "wbinvd";
    INVD = "invd";
    INVPCID = "mov eax, 2", "invpcid rax, [r15 + PARAM]";
    SYSRETQ = "lea rcx, [r15 + BODY]", "mov r11d, 0x202", "sysretq";
    SYSEXIT = "sysexitq";
    XSETBV = "xor ecx, ecx", "mov eax, 1", "xsetbv";
    XSAVES = "lea rax, [r15 + FREE]", "xsaves [rax]";
    MONITOR = "mov rax, r15", "monitor";
    MWAIT = "mwait";
    STAC = "stac";
    CLAC = "clac";
    RSM = "rsm";
    VMCALL = "vmcall";
    VMRUN = "vmrun";
    VMXON = "vmxon [r15 + PARAM]";
    STGI = "stgi";
    SKINIT = "skinit";
    INS = "mov rdi, r15", "mov edx, 0x3f8", "insb";
    OUTS = "mov rsi, r15", "mov edx, 0x3f8", "outsb";
    SYSENTER = "mov rcx, r15", "mov rdx, r15", "sysenter";
    SYSCALL = "syscall";
    UD2 = "ud2";
    INT3 = "int3";
    ICEBP = ".byte 0xf1";
    /// A long run of prefixes before CLI: 15 bytes are the most an instruction may have.
    PREFIXED_CLI = ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xfa";
    PREFIXED_TOO_LONG = ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xfa";

    SGDT = "sgdt [r15 + OUT]";
    SIDT = "sidt [r15 + OUT]";
    SLDT = "sldt rax";
    STR = "str rax";
    SMSW = "smsw rax";
    RDTSC = "rdtsc";
    RDPMC = "xor ecx, ecx", "rdpmc";
    CPUID = "mov eax, 1", "cpuid";
    /// LAR, LSL, VERR and VERW over every selector of the first 256.
    SELECTORS = "xor ecx, ecx",
        "2: lar eax, ecx",
        "lsl eax, ecx",
        "verr cx",
        "verw cx",
        "inc ecx",
        "cmp ecx, 256",
        "jb 2b";
    WRGSBASE_NONCANONICAL = "mov rax, 0x8000000000000000", "wrgsbase rax";
    WRFSBASE_NONCANONICAL = "mov rax, 0x0080000000000000", "wrfsbase rax";
    /// Bases far from home, several trips to the Host with them, and they are still there.
    BASE_GAMES = "lea rax, [r15 - 8]",
        "wrgsbase rax",
        "mov rbx, -4096",
        "wrfsbase rbx",
        // Interrupts are off until it sleeps, so none comes too early.
        "hcall 9, 1000000",
        "hcall 10",
        "hcall 0",
        "rdgsbase rcx",
        "lea rax, [r15 - 8]",
        "cmp rax, rcx",
        "jne 2f",
        "rdfsbase rcx",
        "cmp rcx, -4096",
        "jne 2f",
        "poweroff 0",
        "2: poweroff 1";
}
