/* SPDX-License-Identifier: GPL-2.0 */

/* Tell objtool where the stack of hand-written code comes from: nowhere. */
.macro STACK_UNKNOWN
	.Lhint_\@:
	.pushsection .discard.unwind_hints
	.pushsection .discard.annotate_data, "M", @progbits, 8
	.long .Lhint_data_\@ - ., 1
	.popsection
	.Lhint_data_\@:
	.long .Lhint_\@ - .
	.short 0
	.byte 0, 0, 0
	.balign 4
	.popsection
.endm

/* The next instruction is an indirect jump or a return that is meant to be one. */
.macro BRANCH_ON_PURPOSE
	.Lbranch_\@:
	.pushsection .discard.annotate_insn, "M", @progbits, 8
	.long .Lbranch_\@ - ., 2
	.popsection
.endm

/* Nobody jumps here through a pointer that IBT would check: its address is only compared or added to. */
.macro NO_LANDING
	.Llanding_\@:
	.pushsection .discard.annotate_insn, "M", @progbits, 8
	.long .Llanding_\@ - ., 1
	.popsection
.endm

/* An MSR to RAX, and RAX to an MSR. Both use RCX and RDX. */
.macro READ_MSR msr
	movl $\msr, %ecx
	rdmsr
	shlq $32, %rdx
	orq %rdx, %rax
.endm

.macro WRITE_MSR msr
	movl $\msr, %ecx
	movq %rax, %rdx
	shrq $32, %rdx
	wrmsr
.endm

	.pushsection .text.lguest_switcher, "ax", @progbits
	.balign 4096
	.globl lguest_switcher
lguest_switcher:

/* This CPU's own pages lie just below its copy of the code. */
.set .Lstack_top, lguest_switcher - {STACK} + 4096
.set .Lpending, lguest_switcher - {STACK}
.set .Lhost_cr3, lguest_switcher - {STATE} + {HOST_CR3}
.set .Lsyscall_entry, lguest_switcher - {STATE} + {SYSCALL_ENTRY}
.set .Lregisters, lguest_switcher - {STATE} + {REGISTERS}
.set .Lsyscall_stack, lguest_switcher - {STATE} + {SYSCALL_STACK}
.set .Lguest_gdt, lguest_switcher - {STATE} + {GUEST_GDT}
.set .Lguest_idt, lguest_switcher - {STATE} + {GUEST_IDT}
.set .Lhost_rsp, lguest_switcher - {SECRET} + {HOST_RSP}
.set .Lhost_gdt, lguest_switcher - {SECRET} + {HOST_GDT}
.set .Lhost_idt, lguest_switcher - {SECRET} + {HOST_IDT}
.set .Lhost_gdt_writable, lguest_switcher - {SECRET} + {HOST_GDT_WRITABLE}
.set .Lguest_gdt_writable, lguest_switcher - {SECRET} + {GUEST_GDT_WRITABLE}

/* 256 stubs of 16 bytes: the vector number and an error code, real or zero. */
.set vector, 0
.rept 256
	.balign 16
	STACK_UNKNOWN
	.if vector == 0
	NO_LANDING
	.endif
	.if vector == 1
	jmp debug_trap
	.elseif vector == 2
	jmp non_maskable
	.elseif vector == 18
	jmp machine_check
	.else
	.if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
	pushq $0
	.endif
	pushq $vector
	jmp leave_guest
	.endif
	.set vector, vector + 1
.endr

/* From the Guest to the Host. The frame up to RAX's place is on the stack. */
leave_guest:
	STACK_UNKNOWN
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movl %ds, %eax
	pushq %rax
	movl %es, %eax
	pushq %rax
	movl %fs, %eax
	pushq %rax
	movl %gs, %eax
	pushq %rax
	READ_MSR {FS_BASE}
	pushq %rax
	READ_MSR {GS_BASE}
	pushq %rax
	cld

	/* The Host's tables, then its stack: what the Guest cannot see is there now. */
	movq .Lhost_cr3(%rip), %rax
	movq %rax, %cr3
	movq %rsp, %rdi
	movq .Lhost_rsp(%rip), %rsp

	/* LTR writes to the GDT, so it needs the writable one, and a TSS that is not busy. */
	lgdt .Lhost_gdt_writable(%rip)
	movq (.Lhost_gdt_writable + 2)(%rip), %rax
	andb $0xfd, ({HOST_TSS} + 5)(%rax)
	movl ${HOST_TSS}, %eax
	ltr %ax
	lgdt .Lhost_gdt(%rip)
	movl ${HOST_SS}, %eax
	movl %eax, %ss

	/* What lguest_enter saved, the other way round. The Host's IDT wants the Host's GS. */
	popq %rax
	lldt %ax
	popq %r8
	popq %r9
	popq %rax
	movl %eax, %gs
	popq %rax
	movl %eax, %fs
	popq %rax
	movl %eax, %es
	popq %rax
	movl %eax, %ds
	movq %r9, %rax
	WRITE_MSR {FS_BASE}
	movq %r8, %rax
	WRITE_MSR {GS_BASE}
	lidt .Lhost_idt(%rip)

	/* Home, to the module's own address: return where the call was made. */
	movq %rdi, %rax
	popq %rcx
	BRANCH_ON_PURPOSE
	jmp *%rcx
	int3

/* From the Host to the Guest. RDI: the Guest's CR3. Called at the slot's address. */
	.globl lguest_enter
lguest_enter:
	STACK_UNKNOWN
	NO_LANDING
	movl %ds, %eax
	pushq %rax
	movl %es, %eax
	pushq %rax
	movl %fs, %eax
	pushq %rax
	movl %gs, %eax
	pushq %rax
	READ_MSR {FS_BASE}
	pushq %rax
	READ_MSR {GS_BASE}
	pushq %rax
	sldt %eax
	pushq %rax

	/* 1. Stack: remember the Host's, point at the Guest's registers. */
	movq %rsp, .Lhost_rsp(%rip)
	movq .Lregisters(%rip), %rsp

	/* 2. GDT: the writable one, until the TSS is loaded. */
	sgdt .Lhost_gdt(%rip)
	lgdt .Lguest_gdt_writable(%rip)

	/* 3. IDT: from here on an NMI is ours. */
	sidt .Lhost_idt(%rip)
	lidt .Lguest_idt(%rip)

	/* 4. TSS, and then the GDT that the Guest cannot write. */
	movl ${GUEST_TSS}, %eax
	ltr %ax
	lgdt .Lguest_gdt(%rip)

	/* The Guest's segments, none of them local: a local table would be read from its own memory. */
	xorl %eax, %eax
	lldt %ax
	popq %r8
	popq %r9
	popq %rax
	movl %eax, %gs
	popq %rax
	movl %eax, %fs
	popq %rax
	movl %eax, %es
	popq %rax
	movl %eax, %ds
	movq %r9, %rax
	WRITE_MSR {FS_BASE}
	movq %r8, %rax
	WRITE_MSR {GS_BASE}

	/* 5. CR3: the Host is gone. */
	movq %rdi, %cr3
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp

/* The last look back: an NMI on the way in means that we do not go. */
into_guest:
	STACK_UNKNOWN
	NO_LANDING
	cmpb $0, .Lpending(%rip)
	jne turn_back
	iretq
into_guest_end:
	NO_LANDING
	int3

turn_back:
	STACK_UNKNOWN
	pushq $0
	pushq ${TURNED_BACK}
	jmp leave_guest

/* SYSCALL in ring 3: to the Guest's kernel in ring 1, and the Host never hears of it. */
	.globl lguest_syscall
lguest_syscall:
	STACK_UNKNOWN
	NO_LANDING
	movq %rsp, (.Lstack_top - 16)(%rip)
	movq ${KERNEL_DS}, (.Lstack_top - 8)(%rip)
	movq .Lsyscall_stack(%rip), %rsp
	pushq ${KERNEL_FLAGS}
	pushq ${KERNEL_CS}
	pushq .Lsyscall_entry(%rip)
	jmp into_guest

/* The same without an entry to go to: an undefined instruction. */
	.globl lguest_no_syscall
lguest_no_syscall:
	STACK_UNKNOWN
	NO_LANDING
	movq %rsp, (.Lstack_top - 16)(%rip)
	movq ${USER_DS}, (.Lstack_top - 8)(%rip)
	movq .Lsyscall_stack(%rip), %rsp
	pushq %r11
	pushq ${USER_CS}
	pushq %rcx
	subq $2, (%rsp)
	pushq $0
	pushq $6
	jmp leave_guest

/*
 * NMI and machine check come when they like. From the Guest: an exit. In here: a note, in an MSR since
 * the Guest can write to all memory that we can, and for the last look a hint not to go.
 */
.macro AT_ANY_TIME bit vector
	STACK_UNKNOWN
	testb $3, 8(%rsp)
	jnz .Lexit_\@
	pushq %rax
	pushq %rcx
	pushq %rdx
	movl ${SYSENTER_ESP}, %ecx
	rdmsr
	orl $\bit, %eax
	wrmsr
	movb $1, .Lpending(%rip)
	leaq into_guest(%rip), %rax
	cmpq %rax, 24(%rsp)
	jb .Lresume_\@
	leaq into_guest_end(%rip), %rcx
	cmpq %rcx, 24(%rsp)
	jae .Lresume_\@
	movq %rax, 24(%rsp)
.Lresume_\@:
	popq %rdx
	popq %rcx
	popq %rax
	iretq
	int3
.Lexit_\@:
	STACK_UNKNOWN
	pushq $0
	pushq $\vector
	jmp leave_guest
.endm

non_maskable:
	AT_ANY_TIME {PENDING_NMI} 2
machine_check:
	AT_ANY_TIME {PENDING_MC} 18

/* A single step that the Guest began must not go on in here. */
debug_trap:
	STACK_UNKNOWN
	testb $3, 8(%rsp)
	jnz 1f
	btrq $8, 16(%rsp)
	iretq
	int3
1:
	STACK_UNKNOWN
	pushq $0
	pushq $1
	jmp leave_guest

	.balign 16
	.globl lguest_switcher_end
lguest_switcher_end:
	.popsection

/* Give the Host the interrupt in RDI's handler, as if it had come just now, with interrupts on. */
	.pushsection .text, "ax", @progbits
	.globl lguest_deliver
	.type lguest_deliver, @function
lguest_deliver:
	movq %rsp, %rax
	pushq ${HOST_SS}
	pushq %rax
	pushfq
	orq ${IF}, (%rsp)
	pushq ${HOST_CS}
	BRANCH_ON_PURPOSE
	call *%rdi
	BRANCH_ON_PURPOSE
	ret
	int3
	.size lguest_deliver, . - lguest_deliver
	.popsection

	.pushsection .discard.func_stack_frame_non_standard, "aw"
	.quad lguest_deliver
	.popsection
