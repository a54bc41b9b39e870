//! Lab 11: traps that visit nobody. Which gates lead straight to ring 1, and which do not.

use crate::abi::{data, hc, sel};
use crate::blobs::{Blob, blob};
use crate::guest::{Guest, gate};
use crate::harness::{Case, Outcome, check, same};
use crate::labs::{kernel_log, random};
use crate::layout::*;

/// The hypercall of this lab, and the promise in a gate.
const COUNT_VISITS: u64 = 32;
const PROMISE: u64 = 1 << 36;

const INTERRUPT_GATE: u64 = 0xe;
const TRAP_GATE: u64 = 0xf;

/// Where in the body the handler is that keeps the promise.
const HANDLER: u64 = 0x100;
/// So many visits are page faults of the first instructions, and the like.
const FEW: u64 = 40;

blob! {
    /// Counts visits, runs the program until its call 2, and counts again.
    PROGRAM = "jmp 2f",
        ".skip 256 - (. - 7778b)",
        // A handler that clears `irq_enabled` itself, under cover; it notes what it finds.
        "push r15",
        "push rax",
        "mov r15, BASE",
        "mov rax, [r15 + DATA]",
        "mov qword ptr [r15 + DATA], 0",
        // Whether interrupts were on.
        "shr eax, 9",
        "add [r15 + OUT + 8 * 3], rax",
        "inc qword ptr [r15 + OUT + 8 * 2]",
        "mov rax, cs",
        "mov [r15 + OUT + 8 * 4], rax",
        "lea rax, [rsp + 16]",
        "mov [r15 + OUT + 8 * 5], rax",
        "mov rax, [rsp + 24]",
        "mov [r15 + OUT + 8 * 6], rax",
        "pushfq",
        "pop rax",
        "mov [r15 + OUT + 8 * 7], rax",
        "fnclex",
        "mov qword ptr [r15 + DATA], 0x200",
        "pop rax",
        "pop r15",
        "iretq",
        ".skip 512 - (. - 7778b)",
        "2: mov qword ptr [r15 + DATA], 0x200",
        "on_trap 3f",
        "hcall 32",
        "result 0, rax",
        "xor edi, edi",
        "enter_user",
        "3: hcall 32",
        "result 1, rax",
        "poweroff 0",
        "ud2";

    /// User: makes an error of the x87 unit 300 times, then the kit's call 2.
    X87 = "mov ecx, 300",
        "2: fninit",
        "push 0x37b",
        "fldcw [rsp]",
        "pop rax",
        "fld1",
        "fldz",
        "fdivp st(1), st(0)",
        "fwait",
        "dec ecx",
        "jnz 2b",
        "mov eax, 2",
        "syscall";
}

/// A program that raises this vector so often, then makes the kit's call 2.
fn raises(vector: u8, times: u64) -> Blob {
    let mut code = vec![0xb9];
    code.extend_from_slice(&(times as u32).to_le_bytes());
    // int VECTOR; dec ecx; jnz to the int; mov eax, 2; syscall
    code.extend_from_slice(&[0xcd, vector, 0xff, 0xc9, 0x75, 0xfa]);
    code.extend_from_slice(&[0xb8, 2, 0, 0, 0, 0x0f, 0x05]);
    Blob::from_bytes(code)
}

fn guest(program: Blob) -> Guest {
    let mut guest = Guest::new(PROGRAM);
    guest.traps().user(program);
    // The handler is covered, beside the kit's beginning of a system call.
    let start = guest.ram.word(DATA + data::NOIRQ_START);
    guest
        .ram
        .set_word(DATA + data::NOIRQ_START, start.min(va(BODY + HANDLER)));
    let end = guest.ram.word(DATA + data::NOIRQ_END);
    guest
        .ram
        .set_word(DATA + data::NOIRQ_END, end.max(va(BODY + HANDLER + 64)));
    guest
}

/// Loads a gate of this kind for the handler, with more bits in its low word.
fn load(guest: &mut Guest, vector: u64, kind: u64, more: u64) {
    let (low, high) = gate(va(BODY + HANDLER), kind, 3);
    guest.call([hc::LOAD_IDT_ENTRY, vector, low | more, high]);
}

/// What a run has shown.
struct Seen {
    visits: u64,
    handled: u64,
    with_interrupts_on: u64,
}

fn run(guest: &mut Guest) -> Outcome<Seen> {
    guest.run_to_poweroff(0)?;
    Ok(Seen {
        visits: guest.out(1).wrapping_sub(guest.out(0)),
        handled: guest.out(2),
        with_interrupts_on: guest.out(3),
    })
}

fn straight(what: &str, seen: &Seen, times: u64) -> Outcome {
    same(&format!("{what}: traps that arrived"), seen.handled, times)?;
    let log = kernel_log().unwrap_or_default();
    let hint = log
        .iter()
        .rev()
        .find(|line| line.contains("not written yet"));
    check!(
        seen.visits <= FEW,
        "{what}: visits for {times} traps: expected a few, got {} {}",
        seen.visits,
        hint.map_or("", |line| line)
    );
    Ok(())
}

fn times() -> u64 {
    300 + random() % 400
}

/// Whether programs may have vector 0x80 at all: a Host without 32-bit programs gives it to a device.
fn has_int80() -> Outcome<bool> {
    let mut guest = guest(raises(0x80, 1));
    load(&mut guest, 0x80, TRAP_GATE, 0);
    let reason = guest.run()?;
    Ok(reason == "POWEROFF: 0")
}

/// A vector that goes straight in the book: 0x80, or 3 where that is a device's.
fn usual() -> Outcome<u8> {
    Ok(if has_int80()? { 0x80 } else { 3 })
}

fn promised() -> Outcome {
    for vector in [usual()?, 3, 4, 6] {
        let times = times();
        let mut guest = guest(raises(vector, times));
        load(&mut guest, vector.into(), INTERRUPT_GATE, PROMISE);
        let seen = run(&mut guest)?;
        straight(
            &format!("int {vector:#x} through a promised gate"),
            &seen,
            times,
        )?;
        same("interrupts that were on", seen.with_interrupts_on, times)?;
        same("the handler's CS", guest.out(4), sel::KERNEL_CS)?;
        same("where the frame lies", guest.out(5), va(KSTACK_TOP) - 40)?;
        same("the program's CS in the frame", guest.out(6), sel::USER_CS)?;
        same(
            "the real interrupt flag in the handler",
            guest.out(7) & 0x200,
            0x200,
        )?;
    }
    Ok(())
}

fn not_promised() -> Outcome {
    let (vector, times) = (usual()?, times());
    let mut by_host = guest(raises(vector, times));
    load(&mut by_host, vector.into(), INTERRUPT_GATE, 0);
    let seen = run(&mut by_host)?;
    same(
        "traps that arrived through a gate without the promise",
        seen.handled,
        times,
    )?;
    same(
        "interrupts that were on behind it",
        seen.with_interrupts_on,
        0,
    )?;
    check!(
        seen.visits >= times,
        "visits for {times} traps without the promise: expected {times} at least, got {}",
        seen.visits
    );
    let mut trap = guest(raises(vector, times));
    load(&mut trap, vector.into(), TRAP_GATE, 0);
    let seen = run(&mut trap)?;
    straight("a trap gate", &seen, times)
}

fn taken_back() -> Outcome {
    let (vector, times) = (usual()?, times());
    let mut replaced = guest(raises(vector, times));
    load(&mut replaced, vector.into(), INTERRUPT_GATE, PROMISE);
    load(&mut replaced, vector.into(), INTERRUPT_GATE, 0);
    let seen = run(&mut replaced)?;
    same(
        "interrupts that are on behind a gate whose promise was taken back",
        seen.with_interrupts_on,
        0,
    )?;
    same("traps that arrived", seen.handled, times)?;
    // Not present, with all the rest as before.
    let mut gone = guest(raises(3, 1));
    load(&mut gone, 3, INTERRUPT_GATE, PROMISE);
    let (low, high) = gate(va(BODY + HANDLER), INTERRUPT_GATE, 3);
    gone.call([hc::LOAD_IDT_ENTRY, 3, (low | PROMISE) & !(1 << 47), high]);
    let reason = gone.run()?;
    check!(
        reason.starts_with("unhandled trap 3 "),
        "a gate that is not there any more: expected \"unhandled trap 3 ...\", got {reason:?}"
    );
    same("traps that arrived through it", gone.out(2), 0)
}

fn believes_nothing_else() -> Outcome {
    let times = times();
    let vector = usual()?;
    for (what, more, kept) in [
        ("a stack of the Host's", 3 << 32, u64::MAX),
        ("a selector of ring 0", 0x10 << 16, !(0xffff << 16)),
        ("all bits that mean nothing", 0x1f << 35, u64::MAX),
    ] {
        let mut guest = guest(raises(vector, times));
        let (low, high) = gate(va(BODY + HANDLER), INTERRUPT_GATE, 3);
        let low = low & kept | more | PROMISE;
        guest.call([hc::LOAD_IDT_ENTRY, vector.into(), low, high]);
        let seen = run(&mut guest)?;
        straight(what, &seen, times)?;
        same("the handler's CS", guest.out(4), sel::KERNEL_CS)?;
        same("where the frame lies", guest.out(5), va(KSTACK_TOP) - 40)?;
        same(
            "the real interrupt flag in the handler",
            guest.out(7) & 0x200,
            0x200,
        )?;
    }
    for handler in [
        crate::abi::SWITCHER_4LEVEL + random() % 0x1000,
        1 << 47,
        1 << 63,
    ] {
        let mut bad = guest(raises(3, 1));
        let (low, high) = gate(handler, INTERRUPT_GATE, 3);
        bad.call([hc::LOAD_IDT_ENTRY, 3, low | PROMISE, high]);
        same(
            "what a bad handler is told",
            bad.run()?,
            format!("bad IDT handler {handler:#x} of vector 3"),
        )?;
    }
    // The ring of the gate counts: a program may not raise it.
    let mut inner = guest(raises(3, 1));
    let (low, high) = gate(va(BODY + HANDLER), INTERRUPT_GATE, 1);
    inner.call([hc::LOAD_IDT_ENTRY, 3, low | PROMISE, high]);
    inner.run()?;
    same(
        "traps that arrived through a gate of ring 1",
        inner.out(2),
        0,
    )?;
    same(
        "the exception that the program gets",
        inner.trap(0).vector,
        13,
    )
}

fn more_vectors() -> Outcome {
    for vector in [5, 16, 19] {
        for (kind, more) in [(TRAP_GATE, 0), (INTERRUPT_GATE, PROMISE)] {
            let times = times();
            let mut guest = guest(raises(vector, times));
            load(&mut guest, vector.into(), kind, more);
            let seen = guest.run().and_then(|reason| {
                check!(
                    reason == "POWEROFF: 0",
                    "int {vector} with a gate of ring 3: expected \"POWEROFF: 0\", got {reason:?}"
                );
                Ok(Seen {
                    visits: guest.out(1).wrapping_sub(guest.out(0)),
                    handled: guest.out(2),
                    with_interrupts_on: guest.out(3),
                })
            })?;
            straight(&format!("int {vector}"), &seen, times)?;
            same("interrupts that were on", seen.with_interrupts_on, times)?;
        }
        // By the Host, without the promise.
        let mut by_host = guest(raises(vector, 20));
        load(&mut by_host, vector.into(), INTERRUPT_GATE, 0);
        let seen = run(&mut by_host)?;
        same(
            "traps that arrived by the Host",
            (seen.handled, seen.with_interrupts_on),
            (20, 0),
        )?;
    }
    Ok(())
}

fn an_error_of_the_x87() -> Outcome {
    let mut guest = guest(X87);
    load(&mut guest, 16, INTERRUPT_GATE, PROMISE);
    let seen = run(&mut guest)?;
    straight("an error of the x87 unit", &seen, 300)?;
    same("the handler's CS", guest.out(4), sel::KERNEL_CS)
}

fn the_others() -> Outcome {
    let others = [
        0, 1, 2, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 20, 21, 0x1b, 0x1f, 32, 33, 63, 0xec,
    ];
    for vector in others {
        for (kind, more) in [(TRAP_GATE, 0), (INTERRUPT_GATE, PROMISE)] {
            let mut guest = guest(raises(vector, 1));
            if vector != 13 {
                load(&mut guest, vector.into(), kind, more);
            }
            let reason = guest.run()?;
            same(
                &format!("traps of int {vector:#x} that arrived"),
                guest.out(2),
                0,
            )?;
            same(
                &format!("how int {vector:#x} ends"),
                reason,
                "POWEROFF: 0".to_owned(),
            )?;
            let trap = guest.trap(0);
            // QEMU 7.2 says so with the number one bit too far to the left.
            let errors = [3, 4].map(|shift| u64::from(vector) << shift | 2);
            check!(
                trap.vector == 13 && errors.contains(&trap.error),
                "what a program gets of int {vector:#x}: expected exception 13 with {:#x}, got {} with {:#x}",
                errors[0],
                trap.vector,
                trap.error
            );
        }
    }
    Ok(())
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("promised", promised),
        Case::new("not promised", not_promised),
        Case::new("taken back", taken_back),
        Case::new("believes nothing else", believes_nothing_else),
        Case::new("more vectors", more_vectors),
        Case::new("an error of the x87", an_error_of_the_x87),
        Case::new("the others", the_others),
    ]
}
