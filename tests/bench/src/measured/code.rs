//! What the measured guests execute. The same bodies run under lguest and under KVM, where that is possible: they end by jumping to
//! [`FINISH`](crate::machine::FINISH), and both kinds of virtual machine have the same memory.
//!
//! `begin` and `end` are marks of no operation yet: [`of`] gives them one.

use crate::blobs::{Blob, blob};
use crate::layout::{PAGE, USER_STACK_VA};
use crate::machine::FINISH;
use ruler::marks::{Mark, OPCODE};
use ruler::operations::{Operation, TIMES};

/// The body with its marks made those of `operation`.
pub fn of(operation: Operation, body: Blob) -> Blob {
    let mut bytes = body.bytes().to_vec();
    let len = OPCODE.len() + 4;
    for at in 0..bytes.len().saturating_sub(len - 1) {
        let mark = match Mark::of(&bytes[at..at + len]) {
            Some(Mark::Begin(_)) => Mark::Begin(operation as u16),
            Some(Mark::End(_)) => Mark::End(operation as u16),
            _ => continue,
        };
        bytes[at + OPCODE.len()..at + len].copy_from_slice(&mark.displacement().to_le_bytes());
    }
    assert!(
        bytes.len() as u64 <= 2 * PAGE,
        "a body too long for its place"
    );
    Blob::from_bytes(bytes)
}

/// Both, one behind the other.
pub fn after(first: Blob, then: Blob) -> Blob {
    Blob::from_bytes([first.bytes(), then.bytes()].concat())
}

// Numbers that the assembly below has to write out.
const _: () = assert!(FINISH == 0x17800 && USER_STACK_VA == 0x40_6000 && TIMES == 1000);

macro_rules! measured {
    ($($(#[$doc:meta])* $name:ident = $($line:expr),+ ;)+) => { $(
        blob! {
            $(#[$doc])*
            $name = ".macro begin", ".byte 0x0f, 0x1f, 0x84, 0x00", ".long 0x4c471000", ".endm",
                ".macro done", ".byte 0x0f, 0x1f, 0x84, 0x00", ".long 0x4c472000", ".endm",
                ".macro read_8_pages",
                "  mov rcx, [r13]", "  mov rcx, [r13 + 0x1000]", "  mov rcx, [r13 + 0x2000]", "  mov rcx, [r13 + 0x3000]",
                "  mov rcx, [r13 + 0x4000]", "  mov rcx, [r13 + 0x5000]", "  mov rcx, [r13 + 0x6000]", "  mov rcx, [r13 + 0x7000]",
                ".endm",
                ".macro finish", "  lea rax, [r15 + 0x17800]", "  jmp rax", ".endm",
                ".macro setup", "  mov r12d, 1000", "  mov r13, [r15 + PARAM]", ".endm",
                $($line,)+
                ".purgem begin", ".purgem done", ".purgem read_8_pages", ".purgem finish", ".purgem setup";
        }
    )+ };
}

measured! {
    READ_CR3 = "setup", "2: begin", "mov rax, cr3", "done", "dec r12d", "jnz 2b", "finish";

    CPUID = "setup", "2: xor eax, eax", "begin", "cpuid", "done", "dec r12d", "jnz 2b", "finish";

    /// EFER, which every x86-64 kernel reads.
    READ_MSR = "setup", "mov ecx, 0xc0000080", "2: begin", "rdmsr", "done", "dec r12d", "jnz 2b", "finish";

    /// The handler goes on behind the instruction.
    TRAP = "setup", "mov qword ptr [r15 + DATA], 0x200", "2: begin", "ud2", "done", "dec r12d", "jnz 2b", "finish";

    /// Every eighth page from parameter 0 on, since KVM fills its neighbours too.
    FILL = "setup", "2: begin", "mov rax, [r13]", "done", "add r13, 0x8000", "dec r12d", "jnz 2b", "finish";

    /// Page after page, 64 at a time.
    FILL_SEQUENCE = "setup", "shr r12d, 3",
        "2: mov ecx, 64",
        "begin",
        "3: mov rax, [r13]",
        "add r13, 0x1000",
        "dec ecx",
        "jnz 3b",
        "done",
        "dec r12d",
        "jnz 2b",
        "finish";

    /// Page after page from parameter 0 on; the handler gives them.
    DEMAND_FAULT = "setup", "mov qword ptr [r15 + DATA], 0x200",
        "2: begin", "mov qword ptr [r13], 1", "done", "add r13, 0x1000", "dec r12d", "jnz 2b", "finish";

    INVLPG = "setup", "2: read_8_pages", "begin", "invlpg [r13]", "done", "dec r12d", "jnz 2b", "finish";

    INVLPG_READ = "setup", "2: read_8_pages", "begin", "invlpg [r13]", "read_8_pages", "done", "dec r12d", "jnz 2b", "finish";

    WRITE_CR3 = "setup", "2: read_8_pages", "mov rax, cr3", "begin", "mov cr3, rax", "done", "dec r12d", "jnz 2b", "finish";

    WRITE_CR3_READ = "setup", "2: read_8_pages", "mov rax, cr3",
        "begin", "mov cr3, rax", "read_8_pages", "done", "dec r12d", "jnz 2b", "finish";

    /// Until the handler says that the interrupt came. Each round begins anew.
    TIMER = "setup",
        "2: mov qword ptr [r15 + COUNT], 0",
        "3: begin",
        "cmp qword ptr [r15 + COUNT], 0",
        "je 3b",
        "done",
        "dec r12d",
        "jnz 2b",
        "finish";

    /// User: calls 0, and in the end call 1.
    USER = "mov r12d, 1000", // as a program: without a parameter
        "2: xor eax, eax", "begin", "syscall", "done", "dec r12d", "jnz 2b", "mov eax, 1", "syscall";

    /// User: page after page, and its kernel gives them.
    USER_FAULTS = "mov r12d, 1000", "mov r13, 0x200000000",
        "2: begin", "mov qword ptr [r13], 1", "done", "add r13, 0x1000", "dec r12d", "jnz 2b", "mov eax, 1", "syscall";

    /// User: a page that is there, then again and again one that is not.
    USER_FAULTS_AT_ONE = "mov r12d, 1000", "mov r13, 0x200000000", "mov qword ptr [r13], 1", "add r13, 0x1000",
        "2: begin", "mov qword ptr [r13], 1", "done", "dec r12d", "jnz 2b", "mov eax, 1", "syscall";

    // --- Under lguest ------------------------------------------------------------------------------------------------

    LGUEST_FINISH = "poweroff 0";

    SWAP_GS = "setup", "2: begin", "int 0x1b", "done", "dec r12d", "jnz 2b", "finish";

    /// FLUSH_ASYNC, with an empty ring.
    HYPERCALL = "setup", "2: xor eax, eax", "begin", "int 0x1f", "done", "dec r12d", "jnz 2b", "finish";

    /// The entry of the page at parameter 0, as it is: parameter 1.
    SET_PTE = "setup", "mov rcx, [r15 + PARAM + 8]",
        "mov rdx, cr3",
        "mov rbx, r13",
        "2: mov rax, [r13]",
        "mov eax, 14",
        "begin", "int 0x1f", "done", "dec r12d", "jnz 2b", "finish";

    /// One page whose entry was announced as changed, and is the same.
    REFILL = "setup", "mov rcx, [r15 + PARAM + 8]", "mov rdx, cr3", "mov rbx, r13",
        "2: mov rax, [r13]", "mov eax, 14", "int 0x1f",
        "begin", "mov rax, [r13]", "done", "dec r12d", "jnz 2b", "finish";

    /// FLUSH_TLB of what is not the kernel's.
    FLUSH_USER = "setup", "2: read_8_pages", "mov eax, 5", "xor edx, edx",
        "begin", "int 0x1f", "done", "dec r12d", "jnz 2b", "finish";

    FLUSH_USER_READ = "setup", "2: read_8_pages", "mov eax, 5", "xor edx, edx",
        "begin", "int 0x1f", "read_8_pages", "done", "dec r12d", "jnz 2b", "finish";

    /// Interrupt gate: interrupts are on again behind the instruction.
    LGUEST_SKIP = "mov rax, BASE", "mov qword ptr [rax + DATA], 0x200", "add qword ptr [rsp], 2", "iretq";

    /// Trap gate, or no lguest.
    SKIP = "add qword ptr [rsp], 2", "iretq";

    /// The next frame from parameter 1 on, into the tables that begin at parameter 2. Nobody clears it, since that costs the same everywhere.
    LGUEST_GIVE = "push rax", "push rcx", "push rdi", "push rdx",
        "mov rdx, BASE",
        "mov rdi, [rdx + PARAM + 8]",
        "mov rcx, [rdx + DATA + 24]",
        "sub rcx, [rdx + PARAM]",
        "shr rcx, 12",
        "shl rcx, 3",
        "add rcx, [rdx + PARAM + 16]",
        "lea rax, [rdi + 7]",
        "mov [rcx], rax",
        "add qword ptr [rdx + PARAM + 8], 0x1000",
        "mov qword ptr [rdx + DATA], 0x200",
        "pop rdx", "pop rdi", "pop rcx", "pop rax",
        "add rsp, 8",
        "iretq";

    /// The same for a program, marked as used. Parameter 3 is the top of the tables to announce it for; 0: nobody is told.
    LGUEST_GIVE_TO_PROGRAM = "push rax", "push rcx", "push rbx", "push rdx",
        "mov rdx, BASE",
        "mov rax, [rdx + PARAM + 8]",
        "mov rbx, [rdx + DATA + 24]",
        "mov rcx, rbx",
        "sub rcx, [rdx + PARAM]",
        "shr rcx, 12",
        "shl rcx, 3",
        "add rcx, [rdx + PARAM + 16]",
        "or rax, 0x67",
        "mov [rcx], rax",
        "mov rcx, rax",
        "add qword ptr [rdx + PARAM + 8], 0x1000",
        "mov qword ptr [rdx + DATA], 0x200",
        "mov rdx, [rdx + PARAM + 24]",
        "test rdx, rdx",
        "jz 2f",
        "mov eax, 14",
        "int 0x1f",
        "2: pop rdx", "pop rbx", "pop rcx", "pop rax",
        "add rsp, 8",
        "iretq";

    /// Behind the instruction, which has 8 bytes.
    LGUEST_SKIP_FAULT = "push rax", "mov rax, BASE", "mov qword ptr [rax + DATA], 0x200", "pop rax",
        "add qword ptr [rsp + 8], 8", "add rsp, 8", "iretq";

    /// Sets the timer for 50 µs from now, and says so.
    LGUEST_TICK = "push rax", "push rdx",
        "mov edx, 50000",
        "mov eax, 9",
        "int 0x1f",
        "mov rax, BASE",
        "mov qword ptr [rax + COUNT], 1",
        "mov qword ptr [rax + DATA], 0x200",
        "pop rdx", "pop rax",
        "iretq";

    LGUEST_TIMER_ON = "mov qword ptr [r15 + DATA], 0x200", "hcall 9, 50000";

    LGUEST_SEND = "setup", "2: mov eax, 13", "xor edx, edx", "mov ebx, DMA",
        "begin", "int 0x1f", "done", "dec r12d", "jnz 2b", "finish";

    /// The kernel's side of a system call, as short as the kit's rules let it be.
    LGUEST_SYSCALL = "mov [rip + 4f], rsp",
        "mov rsp, [rip + 5f]",
        "push rbx",
        "mov rbx, BASE",
        "mov qword ptr [rbx + DATA], 0",
        "test eax, eax",
        "jnz 3f",
        "mov qword ptr [rbx + DATA], 0x200",
        "cmp qword ptr [rbx + DATA + 8], 0",
        "jne 3f",
        "pop rbx",
        "push 0x2b",
        "push qword ptr [rip + 4f]",
        "push r11",
        "push 0x33",
        "push rcx",
        "iretq",
        "3: mov r15, rbx",
        "finish",
        ".balign 8",
        "4: .quad 0",
        "5: .quad BASE + STACK_TOP";

    LGUEST_ENTER_USER = "mov qword ptr [r15 + DATA], 0x200", "enter_user";

    // --- Under KVM ---------------------------------------------------------------------------------------------------

    /// Tells the program below by a port.
    KVM_FINISH = "mov edx, 0xf0", "out dx, al";

    /// A call that KVM does not know.
    KVM_HYPERCALL = "setup", "2: mov eax, 100", "begin", "vmmcall", "done", "dec r12d", "jnz 2b", "finish";

    KVM_GIVE = "push rax", "push rcx", "push rdi", "push rdx",
        "mov rdx, BASE",
        "mov rdi, [rdx + PARAM + 8]",
        "mov rcx, cr2",
        "sub rcx, [rdx + PARAM]",
        "shr rcx, 12",
        "shl rcx, 3",
        "add rcx, [rdx + PARAM + 16]",
        "lea rax, [rdi + 7]",
        "mov [rcx], rax",
        "add qword ptr [rdx + PARAM + 8], 0x1000",
        "pop rdx", "pop rdi", "pop rcx", "pop rax",
        "add rsp, 8",
        "iretq";

    /// The local APIC's timer, one shot, 50 µs; its registers are MSRs.
    KVM_TIMER_ON = "mov ecx, 0x80f", "mov eax, 0x1ff", "xor edx, edx", "wrmsr", // spurious vector: on
        "mov ecx, 0x832", "mov eax, 0x40", "wrmsr",                             // one shot, vector 0x40
        "mov ecx, 0x83e", "mov eax, 0xb", "wrmsr",                              // divided by one
        "mov ecx, 0x838", "mov eax, 50000", "wrmsr",
        "sti";

    KVM_TICK = "push rax", "push rdx", "push rcx",
        "mov ecx, 0x838", "mov eax, 50000", "xor edx, edx", "wrmsr",
        "mov rax, BASE",
        "mov qword ptr [rax + COUNT], 1",
        "mov ecx, 0x80b", "xor eax, eax", "wrmsr", // end of interrupt
        "pop rcx", "pop rdx", "pop rax",
        "iretq";

    KVM_BYTE = "setup", "mov edx, 0xf1", "2: begin", "out dx, al", "done", "dec r12d", "jnz 2b", "finish";

    KVM_SYSCALL = "swapgs",
        "mov gs:[8], rsp",
        "mov rsp, gs:[0]",
        "push rcx",
        "push r11",
        "test eax, eax",
        "jnz 3f",
        "pop r11",
        "pop rcx",
        "mov rsp, gs:[8]",
        "swapgs",
        "sysretq",
        "3: mov r15, BASE",
        "finish";

    KVM_ENTER_USER = "push 0x2b", "push 0x406000", "push 0x202", "push 0x33", "push USER_VA", "iretq";
}
