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

/// A frame that is mapped beforehand.
const FIRST_FRAME: u64 = 4 << 20;

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

fn trap(operation: Operation, kind: u64, handler: Blob) -> Result<(), String> {
    let mut guest = guest(operation, code::TRAP)?;
    machine::load(&guest.ram, HANDLER, handler);
    guest.gate(INVALID_OPCODE, va(HANDLER), kind, 0);
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

/// A program faults, and this handler does what is to be done.
fn program_fault(
    operation: Operation,
    program: Blob,
    handler: Blob,
    promised: bool,
) -> Result<(), String> {
    let mut guest = with_program(operation, program)?;
    machine::load(&guest.ram, HANDLER, handler);
    guest.gate(PAGE_FAULT, va(HANDLER), INTERRUPT_GATE, 0);
    guest.param(0, PROMISED);
    for (index, value) in (1..).zip(machine::promise_all(&mut guest.tables)) {
        guest.param(index, value);
    }
    // The first is there.
    let first = guest.tables.entry(PROMISED, 1);
    guest
        .ram
        .set_word(first, FIRST_FRAME | pte::USER | pte::A | pte::D);
    if promised {
        guest.param(3, guest.tables.top);
        guest.call([hc::PROMISE, 1, va(DATA), 0]);
    }
    run(guest)
}

/// One entry is announced, again and again: as one that is used, or as one that is not.
fn announce(operation: Operation, body: Blob, used: bool) -> Result<(), String> {
    let mut guest = guest(operation, body)?;
    let entry = guest.tables.entry(MAPPED, 1);
    let marks = if used { pte::A | pte::D } else { 0 };
    guest.param(1, guest.ram.word(entry) & !pte::A | marks);
    run(guest)
}

/// A Guest that enters this program.
fn with_program(operation: Operation, program: Blob) -> Result<Guest, String> {
    let mut guest = guest(operation, code::LGUEST_ENTER_USER)?;
    guest.user_without_syscalls(code::of(operation, program));
    machine::load(&guest.ram, ENTRY, code::LGUEST_SYSCALL);
    guest.ram.set_word(DATA + data::NOIRQ_START, va(ENTRY));
    guest.ram.set_word(DATA + data::NOIRQ_END, va(FINISH));
    guest.call([hc::SET_SYSCALL, va(ENTRY), 0, 0]);
    Ok(guest)
}

fn system_call() -> Result<(), String> {
    run(with_program(Operation::SystemCall, code::USER)?)
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

/// What a Guest can do, and how.
type Measured = (Operation, fn(Operation) -> Result<(), String>);

const ALL: [Measured; 26] = [
    (Operation::SystemCall, |_| system_call()),
    (Operation::DemandFault, |_| demand_fault()),
    (Operation::ProgramFault, |it| {
        program_fault(it, code::USER_FAULTS, code::LGUEST_GIVE_TO_PROGRAM, false)
    }),
    (Operation::AnnouncedFault, |it| {
        program_fault(it, code::USER_FAULTS, code::LGUEST_GIVE_TO_PROGRAM, true)
    }),
    (Operation::OwnFault, |it| {
        program_fault(it, code::USER_FAULTS_AT_ONE, code::LGUEST_SKIP_FAULT, false)
    }),
    (Operation::QuietFault, |it| {
        program_fault(it, code::USER_FAULTS_AT_ONE, code::LGUEST_SKIP_FAULT, true)
    }),
    (Operation::Hypercall, |it| run_simple(it, code::HYPERCALL)),
    (Operation::ReadCr3, |it| run_simple(it, code::READ_CR3)),
    (Operation::Cpuid, |it| run_simple(it, code::CPUID)),
    (Operation::ReadMsr, |it| run_simple(it, code::READ_MSR)),
    (Operation::SwapGs, |it| run_simple(it, code::SWAP_GS)),
    (Operation::Trap, |it| {
        trap(it, INTERRUPT_GATE, code::LGUEST_SKIP)
    }),
    (Operation::StraightTrap, |it| {
        trap(it, TRAP_GATE, code::SKIP)
    }),
    (Operation::Fill, |it| run_simple(it, code::FILL)),
    (Operation::FillSequence, |it| {
        run_simple(it, code::FILL_SEQUENCE)
    }),
    (Operation::Refill, |it| announce(it, code::REFILL, false)),
    (Operation::SetPte, |it| announce(it, code::SET_PTE, true)),
    (Operation::Invlpg, |it| run_simple(it, code::INVLPG)),
    (Operation::InvlpgRead, |it| {
        run_simple(it, code::INVLPG_READ)
    }),
    (Operation::FlushUser, |it| run_simple(it, code::FLUSH_USER)),
    (Operation::FlushUserRead, |it| {
        run_simple(it, code::FLUSH_USER_READ)
    }),
    (Operation::WriteCr3, |it| run_simple(it, code::WRITE_CR3)),
    (Operation::WriteCr3Read, |it| {
        run_simple(it, code::WRITE_CR3_READ)
    }),
    (Operation::Timer, |_| timer()),
    (Operation::Byte, |it| output(it, 1)),
    (Operation::Page, |it| output(it, PAGE as u16)),
];

/// Does what a Guest can do, or only one of these things.
pub fn measure(only: Option<Operation>) -> Result<(), String> {
    let wanted = |operation| only.is_none_or(|only| only == operation);
    ALL.into_iter()
        .filter(|(operation, _)| wanted(*operation))
        .try_for_each(|(operation, measure)| measure(operation))
}
