//! A Guest of this book, made with the kit of tests/vm, and a Launcher that does nothing but serve it.

use crate::abi::{FIRST_IRQ, data, dma, hc};
use crate::blobs::Blob;
use crate::code;
use crate::guest::{Event, Guest};
use crate::layout::{BODY, BUFFER, DATA, DMA, PAGE, va};
use crate::machine::{self, ENTRY, FINISH, HANDLER, MAPPED, PROMISED};
use crate::native;
use crate::tables::pte;
use ruler::operations::Operation;
use std::fs::File;

/// The vector of an invalid instruction, and of a page fault.
const INVALID_OPCODE: u64 = 6;
const PAGE_FAULT: u64 = 14;
/// Types of gates.
const INTERRUPT_GATE: u64 = 0xe;
const TRAP_GATE: u64 = 0xf;

/// A Guest that has all its memory mapped and will execute `body`.
fn guest(operation: Operation, body: Blob) -> Result<Guest, String> {
    let mut guest = Guest::in_memory(code::of(operation, body), machine::memory()?);
    machine::load(&guest.ram, FINISH, code::LGUEST_FINISH);
    guest.traps().interrupts();
    guest.param(0, MAPPED);
    machine::map_all(&mut guest.tables);
    Ok(guest)
}

fn run(mut guest: Guest) -> Result<(), String> {
    guest.run_to_poweroff(0)
}

fn run_simple(operation: Operation, body: Blob) -> Result<(), String> {
    run(guest(operation, body)?)
}

fn run_with_handler(
    operation: Operation,
    body: Blob,
    vector: u64,
    kind: u64,
    handler: Blob,
) -> Result<(), String> {
    let mut guest = guest(operation, body)?;
    machine::load(&guest.ram, HANDLER, handler);
    guest.gate(vector, va(HANDLER), kind, 0);
    run(guest)
}

fn demand_fault() -> Result<(), String> {
    let mut guest = guest(Operation::DemandFault, code::DEMAND_FAULT)?;
    machine::load(&guest.ram, HANDLER, code::LGUEST_GIVE);
    guest.gate(PAGE_FAULT, va(HANDLER), INTERRUPT_GATE, 0);
    guest.param(0, PROMISED);
    for (index, value) in (1..).zip(machine::promise_all(&mut guest.tables)) {
        guest.param(index, value);
    }
    run(guest)
}

/// One entry is announced, again and again.
fn announce(operation: Operation, body: Blob) -> Result<(), String> {
    let mut guest = guest(operation, body)?;
    let entry = guest.tables.entry(MAPPED, 1);
    guest.param(1, guest.ram.word(entry) | pte::A | pte::D);
    run(guest)
}

fn system_call() -> Result<(), String> {
    let mut guest = guest(Operation::SystemCall, code::LGUEST_ENTER_USER)?;
    guest.user_without_syscalls(code::of(Operation::SystemCall, code::USER));
    machine::load(&guest.ram, ENTRY, code::LGUEST_SYSCALL);
    guest.ram.set_word(DATA + data::NOIRQ_START, va(ENTRY));
    guest.ram.set_word(DATA + data::NOIRQ_END, va(FINISH));
    guest.call([hc::SET_SYSCALL, va(ENTRY), 0, 0]);
    run(guest)
}

fn timer() -> Result<(), String> {
    let mut guest = guest(Operation::Timer, code::TIMER)?;
    let body = code::of(Operation::Timer, code::TIMER);
    machine::load(&guest.ram, BODY, code::after(code::LGUEST_TIMER_ON, body));
    machine::load(&guest.ram, HANDLER, code::LGUEST_TICK);
    guest.gate(FIRST_IRQ, va(HANDLER), INTERRUPT_GATE, 0);
    run(guest)
}

/// What a Launcher does for a console: takes the list, writes its bytes, and lets the Guest go on.
fn serve(guest: &Guest, to: &File) -> Result<String, String> {
    loop {
        match guest.step()? {
            Event::Dma { addr, .. } => {
                let from = guest.ram.word(addr + dma::ADDR);
                let len = usize::from(guest.ram.word16(addr + dma::LEN));
                native::write(to, &guest.ram, from, len);
            }
            Event::Died(reason) => return Ok(reason),
            other => return Err(format!("nobody asked for {other:?}")),
        }
    }
}

fn output(operation: Operation, len: u16) -> Result<(), String> {
    let mut guest = guest(operation, code::LGUEST_SEND)?;
    guest.dma(DMA, &[(BUFFER, len)]);
    let sink = native::sink()?;
    guest.boot()?;
    let reason = serve(&guest, &sink)?;
    guest.powered_off(&reason, 0)
}

/// Does what a Guest can do.
pub fn measure() -> Result<(), String> {
    system_call()?;
    demand_fault()?;
    run_simple(Operation::Hypercall, code::HYPERCALL)?;
    run_simple(Operation::ReadCr3, code::READ_CR3)?;
    run_simple(Operation::Cpuid, code::CPUID)?;
    run_simple(Operation::ReadMsr, code::READ_MSR)?;
    run_with_handler(
        Operation::Trap,
        code::TRAP,
        INVALID_OPCODE,
        INTERRUPT_GATE,
        code::LGUEST_SKIP,
    )?;
    run_with_handler(
        Operation::StraightTrap,
        code::TRAP,
        INVALID_OPCODE,
        TRAP_GATE,
        code::SKIP,
    )?;
    run_simple(Operation::Fill, code::FILL)?;
    run_simple(Operation::FillSequence, code::FILL_SEQUENCE)?;
    announce(Operation::Refill, code::REFILL)?;
    announce(Operation::SetPte, code::SET_PTE)?;
    run_simple(Operation::Invlpg, code::INVLPG)?;
    run_simple(Operation::FlushUser, code::FLUSH_USER)?;
    run_simple(Operation::WriteCr3, code::WRITE_CR3)?;
    timer()?;
    output(Operation::Byte, 1)?;
    output(Operation::Page, PAGE as u16)
}
