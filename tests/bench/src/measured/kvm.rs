//! A virtual machine under KVM, with the same memory and the same bodies: the smallest program that can have one.

use crate::blobs::Blob;
use crate::code;
use crate::guest;
use crate::layout::{BODY, BUFFER, PAGE, PAGE_OFFSET, STACK_TOP, USER, va};
use crate::machine::{self, ENTRY, FINISH, HANDLER, MAPPED, PROMISED};
use crate::mark;
use crate::native;
use crate::ram::Ram;
use crate::tables::Tables;
use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use ruler::operations::Operation;
use std::fs::{self, File};

/// The guest's own tables, where lguest's Guest has its script.
const GDT: u64 = 0x7000;
const TSS: u64 = 0x7800;
const IDT: u64 = 0x8000;
/// What GS points to in the guest's kernel: its stack pointer, and room for the program's.
const GS: u64 = 0x7c00;

/// Selectors.
const CODE: u16 = 0x10;
const DATA_SEGMENT: u16 = 0x18;
const TASK: u16 = 0x40;
/// SYSRET makes 0x2b and 0x33 of it.
const USER_BASE: u64 = 0x23;

/// Ports by which a guest speaks.
const PORT_DONE: u16 = 0xf0;
const PORT_BYTE: u16 = 0xf1;
const PORT_PAGE: u16 = 0xf2;

const INVALID_OPCODE: u64 = 6;
const PAGE_FAULT: u64 = 14;
const TIMER: u64 = 0x40;

struct Machine {
    tables: Tables,
    /// Closing it would end the machine.
    _vm: VmFd,
    vcpu: VcpuFd,
    kvm: Kvm,
    /// The last to go: the machine has it mapped.
    ram: Ram,
}

fn failed(what: &str) -> impl Fn(kvm_ioctls::Error) -> String + '_ {
    move |e| format!("{what}: {e}")
}

impl Machine {
    fn new(operation: Operation, body: Blob) -> Result<Self, String> {
        let ram = machine::memory()?;
        let mut tables = Tables::linear(&ram);
        machine::map_all(&mut tables);
        let kvm = Kvm::new().map_err(failed("/dev/kvm"))?;
        let vm = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        vm.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP"))?;
        let region = kvm_userspace_memory_region {
            memory_size: ram.len(),
            userspace_addr: ram.base(),
            ..Default::default()
        };
        // SAFETY: the memory lives as long as the machine that it is given to.
        unsafe { vm.set_user_memory_region(region) }.map_err(failed("memory"))?;
        let vcpu = vm.create_vcpu(0).map_err(failed("KVM_CREATE_VCPU"))?;
        let machine = Self {
            ram,
            tables,
            _vm: vm,
            vcpu,
            kvm,
        };
        machine.load(BODY, code::of(operation, body));
        machine.load(FINISH, code::KVM_FINISH);
        machine.param(0, MAPPED);
        Ok(machine)
    }

    fn load(&self, at: u64, code: Blob) {
        machine::load(&self.ram, at, code);
    }

    fn param(&self, index: u64, value: u64) {
        self.ram.set_word(crate::layout::PARAM + 8 * index, value);
    }

    /// An interrupt gate.
    fn gate(&self, vector: u64, handler: u64) {
        let (low, high) = guest::gate(handler, 0xe, 0);
        let low = low & !(0xffff << 16) | u64::from(CODE) << 16;
        self.ram.set_word(IDT + 16 * vector, low);
        self.ram.set_word(IDT + 16 * vector + 8, high);
    }

    /// Long mode, ring 0, and everything that a kernel would have set up.
    fn prepare(&self) -> Result<(), String> {
        let tss = va(TSS);
        let descriptors = [
            0,
            0,
            0x00af_9b00_0000_ffff, // 10: code of the kernel
            0x00cf_9300_0000_ffff, // 18: its data
            0,
            0x00cf_f300_0000_ffff, // 28: data of programs
            0x00af_fb00_0000_ffff, // 30: their code
            0,
            0x67 | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56, // 40: the TSS
            tss >> 32,
        ];
        for (at, descriptor) in (GDT..).step_by(8).zip(descriptors) {
            self.ram.set_word(at, descriptor);
        }
        self.ram.set_word(TSS + 4, va(STACK_TOP));
        self.ram.set_word(GS, va(STACK_TOP));

        let cpuid = self
            .kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed("CPUID"))?;
        self.vcpu
            .set_cpuid2(&cpuid)
            .map_err(failed("KVM_SET_CPUID2"))?;

        let mut special = self.vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
        let flat = kvm_segment {
            limit: u32::MAX,
            present: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        special.cs = kvm_segment {
            selector: CODE,
            type_: 0xb,
            l: 1,
            ..flat
        };
        let data = kvm_segment {
            selector: DATA_SEGMENT,
            type_: 3,
            db: 1,
            ..flat
        };
        (special.ss, special.ds, special.es, special.fs, special.gs) =
            (data, data, data, data, data);
        special.gs.base = va(GS);
        special.tr = kvm_segment {
            base: tss,
            limit: 0x67,
            selector: TASK,
            type_: 0xb,
            present: 1,
            ..Default::default()
        };
        (special.gdt.base, special.gdt.limit) = (va(GDT), 0x4f);
        (special.idt.base, special.idt.limit) = (va(IDT), 0xfff);
        special.cr0 = 0x8005_0033;
        special.cr3 = self.tables.top;
        special.cr4 = 0x620;
        special.efer = 0xd01;
        special.apic_base |= 0xc00; // x2APIC
        self.vcpu
            .set_sregs(&special)
            .map_err(failed("KVM_SET_SREGS"))?;

        let msr = |index, data| kvm_msr_entry {
            index,
            data,
            ..Default::default()
        };
        let msrs = Msrs::from_entries(&[
            msr(0xc000_0081, USER_BASE << 48 | u64::from(CODE) << 32), // STAR
            msr(0xc000_0082, va(ENTRY)),                               // LSTAR
            msr(0xc000_0084, 0x4_0700),                                // SFMASK
            msr(0xc000_0102, va(GS)),                                  // KERNEL_GS_BASE
        ])
        .map_err(|e| format!("{e:?}"))?;
        self.vcpu.set_msrs(&msrs).map_err(failed("KVM_SET_MSRS"))?;

        let regs = kvm_regs {
            rip: va(BODY),
            rsp: va(STACK_TOP),
            r15: PAGE_OFFSET,
            rflags: 2,
            ..Default::default()
        };
        self.vcpu.set_regs(&regs).map_err(failed("KVM_SET_REGS"))
    }

    fn run(mut self) -> Result<(), String> {
        self.prepare()?;
        let sink = native::sink()?;
        let byte = Ram::new(PAGE);
        loop {
            match self.vcpu.run().map_err(failed("KVM_RUN"))? {
                VcpuExit::IoOut(PORT_BYTE, data) => {
                    byte.set_byte(0, data[0]);
                    native::write(&sink, &byte, 0, 1);
                }
                VcpuExit::IoOut(PORT_PAGE, _) => {
                    native::write(&sink, &self.ram, BUFFER, PAGE as usize)
                }
                VcpuExit::IoOut(PORT_DONE, _) => return Ok(()),
                VcpuExit::Intr => {}
                other => {
                    let other = format!("{other:x?}");
                    return Err(format!("{other}: {:x?}", self.vcpu.get_regs()));
                }
            }
        }
    }
}

fn run_simple(operation: Operation, body: Blob) -> Result<(), String> {
    Machine::new(operation, body)?.run()
}

fn trap() -> Result<(), String> {
    let machine = Machine::new(Operation::Trap, code::TRAP)?;
    machine.load(HANDLER, code::SKIP);
    machine.gate(INVALID_OPCODE, va(HANDLER));
    machine.run()
}

fn demand_fault() -> Result<(), String> {
    let mut machine = Machine::new(Operation::DemandFault, code::DEMAND_FAULT)?;
    machine.load(HANDLER, code::KVM_GIVE);
    machine.gate(PAGE_FAULT, va(HANDLER));
    machine.param(0, PROMISED);
    for (index, value) in (1..).zip(machine::promise_all(&mut machine.tables)) {
        machine.param(index, value);
    }
    machine.run()
}

fn system_call() -> Result<(), String> {
    let mut machine = Machine::new(Operation::SystemCall, code::KVM_ENTER_USER)?;
    machine::map_program(&mut machine.tables);
    machine.load(USER, code::of(Operation::SystemCall, code::USER));
    machine.load(ENTRY, code::KVM_SYSCALL);
    machine.run()
}

fn timer() -> Result<(), String> {
    let machine = Machine::new(Operation::Timer, code::TIMER)?;
    let body = code::of(Operation::Timer, code::TIMER);
    machine.load(BODY, code::after(code::KVM_TIMER_ON, body));
    machine.load(HANDLER, code::KVM_TICK);
    machine.gate(TIMER, va(HANDLER));
    machine.run()
}

fn page_out() -> Result<(), String> {
    let body = code::of(Operation::Page, code::KVM_BYTE);
    let bytes: Vec<u8> = body.bytes().to_vec();
    // The same with another port.
    let port = bytes
        .windows(5)
        .position(|bytes| bytes == [0xba, PORT_BYTE as u8, 0, 0, 0])
        .ok_or("no port")?;
    let machine = Machine::new(Operation::Page, body)?;
    machine
        .ram
        .set_byte(BODY + port as u64 + 1, PORT_PAGE as u8);
    machine.run()
}

/// Tells the plugin where the function lies that has an instruction emulated where the CPU does not say how long it was.
fn tell_bounds() -> Result<(), String> {
    let symbols = fs::read_to_string("/proc/kallsyms").map_err(|e| e.to_string())?;
    let mut addresses: Vec<(u64, &str)> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    addresses.sort();
    let function = addresses
        .iter()
        .position(|(_, name)| {
            matches!(
                *name,
                "svm_skip_emulated_instruction" | "__svm_skip_emulated_instruction"
            )
        })
        .ok_or("kvm_amd has no svm_skip_emulated_instruction")?;
    let from = addresses[function].0;
    let to = addresses[function..]
        .iter()
        .map(|(address, _)| *address)
        .find(|address| *address > from);
    mark::bound(from);
    mark::bound(to.ok_or("no end of a function")?);
    Ok(())
}

/// Does what a virtual machine can do.
pub fn measure() -> Result<(), String> {
    File::open("/dev/kvm").map_err(|e| format!("/dev/kvm: {e}"))?;
    tell_bounds()?;
    system_call()?;
    demand_fault()?;
    run_simple(Operation::Hypercall, code::KVM_HYPERCALL)?;
    run_simple(Operation::ReadCr3, code::READ_CR3)?;
    run_simple(Operation::Cpuid, code::CPUID)?;
    run_simple(Operation::ReadMsr, code::READ_MSR)?;
    trap()?;
    run_simple(Operation::Fill, code::FILL)?;
    run_simple(Operation::FillSequence, code::FILL_SEQUENCE)?;
    run_simple(Operation::Invlpg, code::INVLPG)?;
    run_simple(Operation::InvlpgRead, code::INVLPG_READ)?;
    run_simple(Operation::WriteCr3, code::WRITE_CR3)?;
    run_simple(Operation::WriteCr3Read, code::WRITE_CR3_READ)?;
    timer()?;
    run_simple(Operation::Byte, code::KVM_BYTE)?;
    page_out()
}
