// SPDX-License-Identifier: GPL-2.0

//! The Switcher's corner of every address space: top-level slot 256.
//!
//! Each CPU has two megabytes there, and uses a handful of pages of them: its own stack, state and
//! tables, and then the Switcher's code, which all CPUs share. Seen from the Host, all CPUs are
//! there. Seen from a Guest, only the one that it runs on is, and its secret page is not.

use super::{
    cpu::InterruptsOff,
    desc::{self, Gate, TablePointer, Tss, GDT_ENTRIES, HOST_CS, INTERRUPT_GATE, TRAP_GATE},
    page::OwnedPage,
    switcher::{Code, Route},
    table::ENTRIES,
    HostPhys,
};
use crate::{
    abi::{hypercall, selector},
    regs::Regs,
    walk::entry,
};
use core::{mem::offset_of, ptr::addr_of_mut};
use kernel::prelude::*;

/// Bytes of address space for one CPU: what one last-level table maps.
const CPU_STRIDE: u64 = 2 << 20;

/// Pages below a CPU's copy of the code, in order; the constants are distances from the code.
pub(super) const STACK: usize = 5 * 4096;
const IST: usize = 4 * 4096;
/// Read-only state, and the GDT.
pub(super) const STATE: usize = 3 * 4096;
const IDT: usize = 2 * 4096;
/// Not mapped in any Guest.
pub(super) const SECRET: usize = 4096;

/// Stacks in the IST page. The numbers are those of the Host's own gates, because for a few
/// instructions our gates are used with the Host's stacks.
const IST_DOUBLE_FAULT: u64 = 1;
const IST_NMI: u64 = 2;
const IST_DEBUG: u64 = 3;
const IST_MACHINE_CHECK: u64 = 4;
const IST_SIZE: u64 = 1024;

/// What the Switcher must be able to read with the Guest's tables loaded. Read-only there.
#[repr(C)]
pub(super) struct State {
    pub(super) host_cr3: u64,
    pub(super) syscall_entry: u64,
    /// Where on the stack the Guest's registers begin.
    pub(super) registers: u64,
    /// Where SYSCALL's stub begins to push: below RSP and SS.
    pub(super) syscall_stack: u64,
    pub(super) guest_gdt: TablePointer,
    pub(super) guest_idt: TablePointer,
    tss: Tss,
    /// Where the compiler would leave a gap, and in it whatever was on the Host's stack.
    reserved: u32,
    gdt: [u64; GDT_ENTRIES],
}

const _: () = assert!(size_of::<State>() == 4 * 8 + 2 * 10 + 104 + 4 + 8 * GDT_ENTRIES);

/// What nobody but the Host may see: addresses of its kernel.
#[repr(C)]
pub(super) struct Secret {
    pub(super) host_rsp: u64,
    pub(super) host_gdt: TablePointer,
    pub(super) host_idt: TablePointer,
    pub(super) host_gdt_writable: TablePointer,
    pub(super) guest_gdt_writable: TablePointer,
    /// Whose gates are in the IDT page.
    gates_of: (u64, u64),
}

extern "C" {
    /// The Host's GDT, one per CPU: this is the offset in each CPU's area.
    static gdt_page: u8;
}

/// The pages of one CPU.
///
/// # Invariants
///
/// `stack`, `state`, `idt` and `secret` hold what their names say, and after construction they are
/// only touched on their own CPU with interrupts off.
pub(super) struct CpuPages {
    /// Virtual address of this CPU's copy of the code.
    code: u64,
    stack: OwnedPage,
    ist: OwnedPage,
    state: OwnedPage,
    idt: OwnedPage,
    secret: OwnedPage,
    /// The last-level tables: with the secret page and without.
    host_table: OwnedPage,
    guest_table: OwnedPage,
    /// The tables above the Guest's, and the top-level entry that leads there.
    guest_chain: KVec<OwnedPage>,
    guest_entry: u64,
}

fn leaf(page: HostPhys, rights: u64) -> u64 {
    page.0 | entry::PRESENT | entry::ACCESSED | entry::DIRTY | rights
}

fn table(page: &OwnedPage) -> u64 {
    page.phys().0 | entry::PRESENT | entry::WRITABLE | entry::ACCESSED
}

fn set(page: &OwnedPage, index: usize, to: u64) {
    debug_assert!(index < ENTRIES);
    // SAFETY: The page is a table of ours with 512 entries, not yet in use by any CPU.
    unsafe { page.as_ptr().cast::<u64>().add(index).write(to) };
}

impl CpuPages {
    fn new(code: &Code, slot: u64, cpu: usize, levels: u32) -> Result<Self> {
        let base = slot + cpu as u64 * CPU_STRIDE;
        let guest_table = OwnedPage::new()?;
        let mut pages = Self {
            code: base + STACK as u64,
            stack: OwnedPage::new()?,
            ist: OwnedPage::new()?,
            state: OwnedPage::new()?,
            idt: OwnedPage::new()?,
            secret: OwnedPage::new()?,
            host_table: OwnedPage::new()?,
            guest_chain: KVec::new(),
            guest_entry: table(&guest_table),
            guest_table,
        };
        pages.fill_tables(code);
        pages.hang_guest_table(cpu, levels)?;
        pages.fill_state(cpu);
        pages.fill_idt();
        Ok(pages)
    }

    /// Both last-level tables: data pages in their order, then the code.
    fn fill_tables(&self, code: &Code) {
        const DATA: u64 = entry::WRITABLE | entry::NO_EXECUTE;
        const CONST: u64 = entry::NO_EXECUTE;
        let shared = [
            leaf(self.stack.phys(), DATA),
            leaf(self.ist.phys(), DATA),
            leaf(self.state.phys(), CONST),
            leaf(self.idt.phys(), CONST),
        ];
        for table in [&self.host_table, &self.guest_table] {
            for (index, &entry) in shared.iter().enumerate() {
                set(table, index, entry);
            }
            for (index, page) in code.pages().enumerate() {
                set(table, STACK / 4096 + index, leaf(page, 0));
            }
        }
        set(&self.host_table, 4, leaf(self.secret.phys(), DATA));
    }

    /// Tables above the Guest's view, with nothing in them but the way down to this CPU.
    fn hang_guest_table(&mut self, cpu: usize, levels: u32) -> Result {
        for index in (2..levels).map(|level| if level == 2 { cpu } else { 0 }) {
            let above = OwnedPage::new()?;
            set(&above, index, self.guest_entry);
            self.guest_entry = table(&above);
            self.guest_chain.push(above, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn state(&self) -> *mut State {
        self.state.as_ptr().cast()
    }

    fn secret(&self) -> *mut Secret {
        self.secret.as_ptr().cast()
    }

    /// Where a page of ours is in the slot.
    fn at(&self, distance: usize) -> u64 {
        self.code - distance as u64
    }

    fn fill_state(&self, cpu: usize) {
        let gdt = self.at(STATE) + offset_of!(State, gdt) as u64;
        let tss = self.at(STATE) + offset_of!(State, tss) as u64;
        let stack_top = self.at(STACK) + 4096;
        let ist = self.at(IST);
        let limit = (GDT_ENTRIES * 8 - 1) as u16;
        // SAFETY: `__per_cpu_offset` has an entry for every possible CPU and never changes.
        let area = unsafe { kernel::bindings::__per_cpu_offset[cpu] } as u64;
        // SAFETY: The pages are ours, zeroed and as big as these structures; no CPU uses them yet.
        unsafe {
            self.state().write(State {
                host_cr3: 0,
                syscall_entry: 0,
                registers: stack_top - size_of::<Regs>() as u64,
                syscall_stack: stack_top - 16,
                guest_gdt: TablePointer { limit, base: gdt },
                guest_idt: TablePointer {
                    limit: 4095,
                    base: self.at(IDT),
                },
                tss: Tss::new(
                    stack_top,
                    [1, 2, 3, 4, 0, 0, 0].map(|top| ist + top * IST_SIZE),
                ),
                reserved: 0,
                gdt: desc::guest_gdt(0, tss),
            });
            self.secret().write(Secret {
                host_rsp: 0,
                host_gdt: TablePointer { limit: 0, base: 0 },
                host_idt: TablePointer { limit: 0, base: 0 },
                host_gdt_writable: TablePointer {
                    limit: 127,
                    base: (&raw const gdt_page as u64).wrapping_add(area),
                },
                guest_gdt_writable: TablePointer {
                    limit,
                    base: addr_of_mut!((*self.state()).gdt) as u64,
                },
                gates_of: (0, 0),
            });
        }
    }

    /// The gate that every vector has unless a Guest's handler may take its place.
    fn default_gate(&self, vector: u8) -> Gate {
        let stack = match vector {
            1 => IST_DEBUG,
            2 => IST_NMI,
            8 => IST_DOUBLE_FAULT,
            18 => IST_MACHINE_CHECK,
            _ => 0,
        };
        let ring = match vector {
            3 | 4 => 3,
            hypercall::VECTOR => 1,
            _ => 0,
        };
        let stub = self.code + u64::from(vector) * 16;
        Gate::new(stub, HOST_CS, stack, INTERRUPT_GATE, ring)
    }

    /// The gate that a Guest's wish amounts to.
    fn gate(&self, vector: u8, route: Route) -> Gate {
        let default = self.default_gate(vector);
        match route {
            Route::Default => default,
            Route::ByHost { ring } => {
                Gate::new(default.handler(), HOST_CS, 0, INTERRUPT_GATE, ring)
            }
            // A trap gate: an interrupt gate would turn the real interrupts off.
            Route::Straight { handler, ring } => {
                Gate::new(handler, selector::KERNEL_CS, 0, TRAP_GATE, ring)
            }
        }
    }

    /// Put one gate in place.
    pub(super) fn set_gate(&self, vector: u8, gate: Gate, _off: Option<&InterruptsOff>) {
        // SAFETY: The page is an IDT of 256 gates; by the type invariant it is not in use.
        unsafe {
            self.idt
                .as_ptr()
                .cast::<Gate>()
                .add(vector.into())
                .write(gate)
        };
    }

    fn fill_idt(&self) {
        for vector in 0..=255 {
            self.set_gate(vector, self.default_gate(vector), None);
        }
    }
}

/// What a CPU is told about the Guest that it is about to run.
pub(super) struct Visit<'a> {
    pub(super) regs: &'a Regs,
    /// RSP1: where a trap that goes straight to ring 1 finds its stack.
    pub(super) kernel_stack: u64,
    /// Where `syscall` goes.
    pub(super) syscall_entry: u64,
    /// Ways for vectors that have a choice; `version` names them all.
    pub(super) routes: &'a [(u8, Route)],
    pub(super) version: (u64, u64),
    /// INT 0x80 is no device's interrupt on this Host.
    pub(super) has_int80: bool,
}

impl CpuPages {
    /// Lay everything out for a visit of a Guest.
    pub(super) fn prepare(&self, visit: &Visit<'_>, host_cr3: u64, off: &InterruptsOff) {
        let frame = self.frame_at_top();
        // SAFETY: By the type invariant these pages are ours to write now. LGDT and the stubs read
        // them later, on this CPU. The Host's GDT is 16 descriptors, which the CPU number is last of.
        unsafe {
            frame.write(*visit.regs);
            (*frame).sanitize();
            // Nothing has come yet that would make us turn back.
            self.stack.as_ptr().write(0);
            let state = self.state();
            (*state).host_cr3 = host_cr3;
            (*state).syscall_entry = visit.syscall_entry;
            (*state).tss.rsp[1] = visit.kernel_stack;
            let host_gdt = { (*self.secret()).host_gdt_writable.base } as usize;
            let cpunode = (host_gdt + desc::host_cpunode_offset()) as *const u64;
            let tss = self.at(STATE) + offset_of!(State, tss) as u64;
            (*state).gdt = desc::guest_gdt(cpunode.read(), tss);
            if (*self.secret()).gates_of == visit.version {
                return;
            }
            (*self.secret()).gates_of = visit.version;
        }
        for &(vector, route) in visit.routes {
            if vector != 0x80 || visit.has_int80 {
                self.set_gate(vector, self.gate(vector, route), Some(off));
            }
        }
    }

    /// Where IRETQ will find the Guest's registers.
    fn frame_at_top(&self) -> *mut Regs {
        self.stack
            .as_ptr()
            .wrapping_add(4096 - size_of::<Regs>())
            .cast()
    }

    /// The registers that the Switcher pushed at `frame`, an address in the slot.
    pub(super) fn registers(&self, frame: u64, _off: &InterruptsOff) -> Option<Regs> {
        let first = self.at(STACK);
        let end = first + 2 * 4096 - size_of::<Regs>() as u64;
        if !(first..=end).contains(&frame) || frame % 8 != 0 {
            return None;
        }
        let (page, offset) = match frame - first {
            offset @ 0..4096 => (&self.stack, offset),
            offset => (&self.ist, offset - 4096),
        };
        let end = offset as usize + size_of::<Regs>();
        if end > 4096 {
            return None;
        }
        // SAFETY: The range lies in one page of ours, which nobody writes to now.
        Some(unsafe { page.as_ptr().add(offset as usize).cast::<Regs>().read() })
    }

    /// This CPU's address of a place in the Switcher's code.
    pub(super) fn code_at(&self, offset: usize) -> u64 {
        self.code + offset as u64
    }

    /// The top-level entry for the Guest's tables.
    pub(super) fn guest_entry(&self) -> u64 {
        self.guest_entry
    }
}

/// The slot as a whole, as the Host sees it.
pub(super) struct Slot {
    base: u64,
    cpus: KVec<CpuPages>,
    _chain: KVec<OwnedPage>,
    host_entry: u64,
}

impl Slot {
    /// Room for every CPU that may ever be there.
    pub(super) fn new(code: &Code, levels: u32) -> Result<Self> {
        let base = slot_base(levels);
        let count = kernel::cpu::nr_cpu_ids() as usize;
        let mut cpus = KVec::with_capacity(count, GFP_KERNEL)?;
        let directory = OwnedPage::new()?;
        for cpu in 0..count {
            let pages = CpuPages::new(code, base, cpu, levels)?;
            set(&directory, cpu, table(&pages.host_table));
            cpus.push(pages, GFP_KERNEL)?;
        }
        let mut host_entry = table(&directory);
        let mut chain = KVec::new();
        chain.push(directory, GFP_KERNEL)?;
        for _ in 3..levels {
            let above = OwnedPage::new()?;
            set(&above, 0, host_entry);
            host_entry = table(&above);
            chain.push(above, GFP_KERNEL)?;
        }
        Ok(Self {
            base,
            cpus,
            _chain: chain,
            host_entry,
        })
    }

    pub(super) fn cpu(&self, number: usize) -> &CpuPages {
        &self.cpus[number]
    }

    /// The top-level entry for the Launcher's own tables.
    pub(super) fn host_entry(&self) -> u64 {
        self.host_entry
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }
}

/// The first address of slot 256, sign-extended from the CPU's 48 or 57 bits.
const fn slot_base(levels: u32) -> u64 {
    let shift = 12 + 9 * (levels - 1);
    !0u64 << (shift + 8)
}

const _: () = assert!(slot_base(4) == 0xffff_8000_0000_0000);
const _: () = assert!(slot_base(5) == 0xff00_0000_0000_0000);
