// SPDX-License-Identifier: GPL-2.0

//! The world switch, seen from the Host: a function call that returns when the Guest stops.

use super::{
    cpu::{self, cr4, msr, InterruptsOff},
    desc::{self, Gate},
    fpu::FpuState,
    hook::Hooked,
    slot::{Secret, Slot, State, Visit, SECRET, STACK, STATE},
    table::Tree,
    HostPhys,
};
use crate::{
    abi::{hypercall, selector},
    regs::{flags, Regs},
};
use core::{
    arch::{asm, global_asm},
    mem::offset_of,
};
use kernel::{bindings, cpu::CpuId, new_mutex, prelude::*, sync::Mutex};

/// Noted in SYSENTER_ESP, which ring 1 cannot reach: an NMI came while the Switcher could not take it.
const PENDING_NMI: u64 = 1;
/// The same for a machine check.
const PENDING_MC: u64 = 2;
/// `trapnum` of a Guest that was not entered because of that.
const TURNED_BACK: u64 = 256;

global_asm!(
    include_str!("switcher.S"),
    STACK = const STACK,
    STATE = const STATE,
    SECRET = const SECRET,
    HOST_CR3 = const offset_of!(State, host_cr3),
    SYSCALL_ENTRY = const offset_of!(State, syscall_entry),
    REGISTERS = const offset_of!(State, registers),
    SYSCALL_STACK = const offset_of!(State, syscall_stack),
    GUEST_GDT = const offset_of!(State, guest_gdt),
    GUEST_IDT = const offset_of!(State, guest_idt),
    HOST_RSP = const offset_of!(Secret, host_rsp),
    HOST_GDT = const offset_of!(Secret, host_gdt),
    HOST_IDT = const offset_of!(Secret, host_idt),
    HOST_GDT_WRITABLE = const offset_of!(Secret, host_gdt_writable),
    GUEST_GDT_WRITABLE = const offset_of!(Secret, guest_gdt_writable),
    HOST_CS = const desc::HOST_CS,
    HOST_SS = const desc::HOST_SS,
    HOST_TSS = const desc::HOST_TSS,
    GUEST_TSS = const desc::GUEST_TSS,
    KERNEL_CS = const selector::KERNEL_CS,
    KERNEL_DS = const selector::KERNEL_DS,
    USER_CS = const selector::USER_CS,
    USER_DS = const selector::USER_DS,
    IF = const flags::IF,
    KERNEL_FLAGS = const flags::FIXED | flags::IF | flags::AC,
    FS_BASE = const msr::FS_BASE,
    GS_BASE = const msr::GS_BASE,
    SYSENTER_ESP = const msr::SYSENTER_ESP,
    PENDING_NMI = const PENDING_NMI,
    PENDING_MC = const PENDING_MC,
    TURNED_BACK = const TURNED_BACK,
    options(att_syntax)
);

extern "C" {
    static lguest_switcher: u8;
    static lguest_switcher_end: u8;
    static lguest_enter: u8;
    static lguest_syscall: u8;
    static lguest_no_syscall: u8;
}

/// The Switcher's code, where the module loader put it.
pub(super) struct Code;

impl Code {
    fn start() -> usize {
        (&raw const lguest_switcher) as usize
    }

    /// How far into the code a symbol is.
    fn offset(symbol: *const u8) -> usize {
        symbol as usize - Self::start()
    }

    /// Its pages. A section may be scattered over physical memory, so each is looked up.
    pub(super) fn pages(&self) -> impl Iterator<Item = HostPhys> {
        let length = Self::offset(&raw const lguest_switcher_end);
        (0..length.div_ceil(4096)).map(|page| {
            let address = Self::start() + page * 4096;
            // SAFETY: The address lies in the text of this module, which is vmalloc memory.
            let frame = unsafe { bindings::vmalloc_to_pfn(address as *const _) };
            HostPhys(u64::from(frame as u64) * 4096)
        })
    }
}

/// Everything that is there once: the code, the slot, and who has it in their tables.
#[pin_data(PinnedDrop)]
pub(crate) struct Switcher {
    pub(super) area: Slot,
    levels: u32,
    /// Whether INT 0x80 is a system call on this Host, and so no device's interrupt.
    has_int80: bool,
    #[pin]
    pub(super) hooked: Mutex<KVec<Hooked>>,
}

/// One virtual CPU: what the Switcher swaps with the Host's own.
pub(crate) struct Vcpu {
    pub(crate) regs: Regs,
    fpu: FpuState,
    kernel_stack: u64,
    syscall_entry: u64,
    routes: [(u8, Route); DIRECT.len()],
    version: (u64, u64),
}

/// Vectors whose handler in ring 1 may be reached without the Host.
///
/// None of these is a contributory exception (SDM vol. 3, table 6-5): if the Guest's stack is no
/// stack at all, the CPU reports that to us, and not as a double fault.
pub(crate) const DIRECT: [u8; 4] = [3, 4, 6, 0x80];

/// Which way a trap goes that has a choice.
#[derive(Clone, Copy)]
pub(crate) enum Route {
    /// To the Host, and INT raises it only where the architecture says so.
    Default,
    /// To the Host; INT raises it from this ring inwards.
    ByHost { ring: u64 },
    /// To the Guest's handler in ring 1, with nobody in between.
    Straight { handler: u64, ring: u64 },
}

/// Why the Guest stopped.
pub(crate) enum Exit {
    /// The Host had an interrupt, and has handled it.
    HostInterrupt { vector: Option<u8> },
    /// It asked for something.
    Hypercall,
    /// It touched an address that its tables do not map, or not that way.
    PageFault { address: u64, error: u64 },
    /// It did what ring 1 or 3 may not.
    GeneralProtection { error: u64 },
    /// Any other exception.
    Trap { vector: u8, error: u64 },
    /// It trapped into the Switcher with a stack of its own, as nothing but ring 0 can.
    StrayFrame { at: u64 },
    /// It made the Switcher itself trap, which it must not be able to.
    Broken { vector: u64, rip: u64 },
}

impl Vcpu {
    /// A CPU for the Guest with this number, with these registers.
    pub(crate) fn new(id: u64, regs: Regs) -> Result<Self> {
        Ok(Self {
            regs,
            fpu: FpuState::new()?,
            kernel_stack: 0,
            syscall_entry: 0,
            routes: DIRECT.map(|vector| (vector, Route::Default)),
            version: (id, 0),
        })
    }

    /// Where traps from ring 3 find a stack.
    pub(crate) fn set_kernel_stack(&mut self, rsp: u64) {
        self.kernel_stack = rsp;
    }

    /// Where `syscall` goes; canonical, or the stub's IRETQ would trap in ring 0.
    pub(crate) fn set_syscall_entry(&mut self, rip: crate::addr::GuestVirt) {
        self.syscall_entry = if rip.is_canonical() { rip.get() } else { 0 };
    }

    /// Where traps from ring 3 find a stack.
    pub(crate) fn kernel_stack(&self) -> u64 {
        self.kernel_stack
    }

    /// Where `syscall` goes, 0 for nowhere.
    pub(crate) fn syscall_entry(&self) -> u64 {
        self.syscall_entry
    }

    /// Send a vector of [`DIRECT`] another way.
    pub(crate) fn set_route(&mut self, vector: u8, to: Route) {
        for route in self.routes.iter_mut().filter(|route| route.0 == vector) {
            route.1 = to;
            self.version.1 = self.version.1.wrapping_add(1);
        }
    }
}

impl Switcher {
    /// Map the code for every CPU.
    pub(crate) fn new() -> Result<impl PinInit<Self>> {
        let levels = if cpu::read_cr4() & cr4::LA57 != 0 {
            5
        } else {
            4
        };
        let area = Slot::new(&Code, levels)?;
        Ok(pin_init!(Self {
            area,
            levels,
            has_int80: host_gate(0x80).ring() == 3,
            hooked <- new_mutex!(KVec::new(), "lguest_hooked"),
        }))
    }

    /// An empty table for a Guest.
    pub(crate) fn new_tree(&self) -> Result<Tree> {
        Tree::new(self.levels)
    }

    /// Whether an address is in the slot, as the Guest sees it.
    pub(crate) fn owns(&self, address: u64) -> bool {
        let top = self.area.base();
        // The slot ends where the sign-extended index becomes 257.
        (top..top + (1 << (12 + 9 * (self.levels - 1)))).contains(&address)
    }

    /// Run the Guest until it stops, or not at all if `stay_out` says so when interrupts are off and
    /// nobody can ring any more without being heard.
    ///
    /// The caller's address space must be hooked ([`super::Hook::is_current`]).
    pub(crate) fn run(
        &self,
        vcpu: &mut Vcpu,
        tree: &mut Tree,
        _hook: &super::Hook,
        stay_out: impl Fn() -> bool,
    ) -> Exit {
        let Vcpu {
            regs,
            fpu,
            kernel_stack,
            syscall_entry,
            routes,
            version,
        } = vcpu;
        fpu.with(|| {
            let visit = Visit {
                regs,
                kernel_stack: *kernel_stack,
                syscall_entry: *syscall_entry,
                routes,
                version: *version,
                has_int80: self.has_int80,
            };
            let (after, exit) = self.switch(&visit, tree, stay_out);
            *regs = after;
            exit
        })
    }

    fn switch(
        &self,
        visit: &Visit<'_>,
        tree: &mut Tree,
        stay_out: impl Fn() -> bool,
    ) -> (Regs, Exit) {
        let off = InterruptsOff::new();
        if stay_out() {
            return (*visit.regs, Exit::HostInterrupt { vector: None });
        }
        let pages = self.area.cpu(CpuId::current().as_u32() as usize);
        pages.prepare(visit, cpu::read_cr3(), &off);
        tree.set_slot(pages.guest_entry());

        let syscall = match visit.syscall_entry {
            0 => &raw const lguest_no_syscall,
            _ => &raw const lguest_syscall,
        };
        let borrowed = Borrowed::take(pages.code_at(Code::offset(syscall)), &off);
        let enter = pages.code_at(Code::offset(&raw const lguest_enter));
        // SAFETY: `pages` are this CPU's, prepared, and interrupts are off; `borrowed` has made the
        // CPU fit for a Guest, global pages gone. The tree leads to these pages at the slot.
        let frame = unsafe { enter_guest(enter, tree.cr3()) };
        let fault_address = cpu::read_cr2();
        let pending = borrowed.give_back();
        let Some(regs) = pages.registers(frame, &off) else {
            return (*visit.regs, Exit::StrayFrame { at: frame });
        };
        if regs.trapnum == 2 || pending & PENDING_NMI != 0 {
            cpu::raise_nmi();
        }
        if regs.trapnum == 18 || pending & PENDING_MC != 0 {
            cpu::raise_machine_check();
        }
        let exit = self.decode(&regs, fault_address);
        if let Exit::HostInterrupt {
            vector: Some(vector),
        } = exit
        {
            off.deliver(host_gate(vector));
        }
        (regs, exit)
    }

    /// What the vector means.
    fn decode(&self, regs: &Regs, fault_address: u64) -> Exit {
        if regs.cs & 3 == 0 {
            return Exit::Broken {
                vector: regs.trapnum,
                rip: regs.rip,
            };
        }
        let error = regs.errcode;
        match regs.trapnum {
            vector if vector == u64::from(hypercall::VECTOR) => Exit::Hypercall,
            2 | 18 | TURNED_BACK => Exit::HostInterrupt { vector: None },
            13 => Exit::GeneralProtection { error },
            14 => Exit::PageFault {
                address: fault_address,
                error,
            },
            0x80 if self.has_int80 => Exit::Trap {
                vector: 0x80,
                error,
            },
            vector @ 0..32 => {
                if vector == 1 {
                    cpu::reset_dr6();
                }
                Exit::Trap {
                    vector: vector as u8,
                    error,
                }
            }
            vector => Exit::HostInterrupt {
                vector: Some(vector as u8),
            },
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Switcher {
    fn drop(self: Pin<&mut Self>) {
        // CPUs may remember the way to pages that are about to be freed.
        super::host::flush_all_cpus();
    }
}

/// A gate of the Host's own IDT.
fn host_gate(vector: u8) -> Gate {
    let table = cpu::host_idt() as *const Gate;
    // SAFETY: The Host's IDT has 256 gates, and is readable.
    unsafe { table.add(vector.into()).read() }
}

/// The call into the slot and back.
///
/// # Safety
///
/// Interrupts off, this CPU's pages prepared, `enter` this CPU's address of `lguest_enter`, `cr3` a
/// tree with this CPU's slot in it, and [`Borrowed`] taken.
unsafe fn enter_guest(enter: u64, cr3: u64) -> u64 {
    let frame;
    // SAFETY: The Switcher returns here with the stack as it was and every register that Rust does
    // not name as changed saved below or on the way.
    unsafe {
        asm!(
            "pushfq",
            "push rbx",
            "push rbp",
            // objtool: this indirect call is meant to be one.
            "911: .pushsection .discard.annotate_insn, \"M\", @progbits, 8",
            ".long 911b - ., 2",
            ".popsection",
            "call rsi",
            "pop rbp",
            "pop rbx",
            "popfq",
            inout("rsi") enter => _,
            inout("rdi") cr3 => _,
            out("rax") frame,
            out("rcx") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    frame
}

/// What the Host lends to the Guest, and wants back exactly as it was.
struct Borrowed {
    cr4: u64,
    dr7: u64,
    lstar: u64,
    sysenter_cs: u64,
    sysenter_esp: u64,
    cet: Option<(u64, u64)>,
}

/// No breakpoint is on.
const DR7_NONE: u64 = 0x400;

impl Borrowed {
    fn take(syscall: u64, _off: &InterruptsOff) -> Self {
        let cr4 = cpu::read_cr4();
        let dr7 = cpu::read_dr7();
        // SAFETY: All of these exist in 64-bit mode, the CET ones if CR4.CET is set. Every value is
        // put back by `give_back` before Host code can miss it; until then interrupts are off.
        unsafe {
            let lstar = cpu::read_msr(msr::LSTAR);
            let sysenter_cs = cpu::read_msr(msr::SYSENTER_CS);
            let sysenter_esp = cpu::read_msr(msr::SYSENTER_ESP);
            cpu::write_msr(msr::LSTAR, syscall);
            cpu::write_msr(msr::SYSENTER_CS, 0);
            cpu::write_msr(msr::SYSENTER_ESP, 0);
            let cet = (cr4 & cr4::CET != 0).then(|| {
                let both = (cpu::read_msr(msr::S_CET), cpu::read_msr(msr::U_CET));
                cpu::write_msr(msr::S_CET, 0);
                cpu::write_msr(msr::U_CET, 0);
                both
            });
            if dr7 != DR7_NONE {
                cpu::write_dr7(DR7_NONE);
            }
            // Global pages would outlive the change of CR3, and ring 1 could use them.
            if cr4 & cr4::PGE != 0 {
                cpu::write_cr4(cr4 & !cr4::PGE);
            }
            Self {
                cr4,
                dr7,
                lstar,
                sysenter_cs,
                sysenter_esp,
                cet,
            }
        }
    }

    /// Put everything back. Returns what came meanwhile and could not be taken: `PENDING_*`.
    fn give_back(self) -> u64 {
        // SAFETY: These are the values that `take` found on this CPU.
        unsafe {
            let pending = cpu::read_msr(msr::SYSENTER_ESP);
            if self.cr4 & cr4::PGE != 0 {
                cpu::write_cr4(self.cr4);
            }
            if self.dr7 != DR7_NONE {
                cpu::write_dr7(self.dr7);
            }
            if let Some((supervisor, user)) = self.cet {
                cpu::write_msr(msr::S_CET, supervisor);
                cpu::write_msr(msr::U_CET, user);
            }
            cpu::write_msr(msr::SYSENTER_CS, self.sysenter_cs);
            cpu::write_msr(msr::SYSENTER_ESP, self.sysenter_esp);
            cpu::write_msr(msr::LSTAR, self.lstar);
            pending
        }
    }
}
