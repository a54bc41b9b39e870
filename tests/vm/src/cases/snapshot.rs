//! SAVE and RESTORE: a CPU's state is given out, and believed no more than a hypercall.

use crate::abi::hc;
use crate::abi::lhreq::{RESTORE, SAVE};
use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, refused, same};
use crate::layout::*;
use crate::needs::Need;
use crate::signals;
use nix::errno::Errno::{self, E2BIG, EBUSY, EINVAL, EOPNOTSUPP, EPERM};

/// Words at which parts of a state begin.
const IDENTITY: usize = 1;
const ORDER: usize = 8;
const REGS: usize = 12;
const RIP: usize = REGS + 15;
const HALTED: usize = REGS + 20;
const STACK: usize = HALTED + 4;
const SEGMENTS: usize = STACK + 2;
const DESCRIPTORS: usize = SEGMENTS + 7;
const GATES: usize = DESCRIPTORS + 16;
const CLOCK: usize = GATES + 2 * 65;
const PROMISED: usize = CLOCK + 2;
const BINDINGS: usize = CLOCK + 3;
const FPU: usize = BINDINGS + 5 * 32;

/// A guest that counts and takes interrupts of its timer.
fn ticking() -> Guest {
    let mut guest = Guest::new(work::TICK);
    guest.traps().interrupts();
    guest.ram.set_word(REARM, 1_000_000);
    guest
}

/// Without it the image of the floating-point unit has no header.
const XSAVE: Need = Need::Cpu("xsave");

/// The same after it has run for a while.
fn ticked() -> Outcome<Guest> {
    let mut guest = ticking();
    guest.boot()?;
    run(&guest)?;
    Ok(guest)
}

/// Lets it run a little; it must not end.
fn run(guest: &Guest) -> Outcome {
    let (count, ticks) = (guest.ram.word(COUNT), guest.ram.word(IRQ_COUNT));
    for _ in 0..50 {
        let died = guest.finish_within(20)?;
        check!(died.is_none(), "it died: {died:?}");
        if guest.ram.word(COUNT) > count && guest.ram.word(IRQ_COUNT) > ticks {
            return Ok(());
        }
    }
    Err("it does not go on".to_owned())
}

/// Its first CPU's state.
fn save(guest: &Guest) -> Outcome<Vec<u64>> {
    let len = guest
        .device()
        .write(&[SAVE])
        .map_err(|e| format!("SAVE: {e}"))?;
    let mut bytes = vec![0; len + 100];
    let read = guest
        .device()
        .read(&mut bytes)
        .map_err(|e| format!("read(): {e}"))?;
    same("what read() returns", read, len)?;
    let words = bytes[..len].chunks(8);
    Ok(words
        .map(|word| {
            let mut all = [0; 8];
            all[..word.len()].copy_from_slice(word);
            u64::from_ne_bytes(all)
        })
        .collect())
}

/// A guest that has not begun, with another's memory.
fn twin(of: &Guest) -> Outcome<Guest> {
    let mut twin = ticking();
    twin.ram.set_bytes(0, &of.ram.bytes(0, of.ram.len()));
    twin.boot()?;
    twin.ram.set_bytes(0, &of.ram.bytes(0, of.ram.len()));
    Ok(twin)
}

fn restore(guest: &Guest, state: &[u64]) -> Result<usize, Errno> {
    guest.device().write(&[&[RESTORE], state].concat())
}

/// Lets it end.
fn stop(guest: &Guest) -> Outcome {
    guest.ram.set_word(STOP, 1);
    guest.powered_off(&guest.finish()?, 0)
}

/// A state in which one word is this is refused.
fn word_is_refused(name: &str, at: usize, word: u64, errno: Errno) -> Case {
    Case::new(format!("snapshot/{name}-is-refused"), move || {
        let guest = ticked()?;
        let mut state = save(&guest)?;
        state[at] = word;
        let twin = twin(&guest)?;
        refused("RESTORE", restore(&twin, &state), errno)
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("snapshot/a-guest-goes-on-in-another", || {
            let guest = ticked()?;
            let state = save(&guest)?;
            let twin = twin(&guest)?;
            same("RESTORE", restore(&twin, &state), Ok(8 + 8 * state.len()))?;
            run(&twin)?;
            stop(&twin)
        }),
        Case::new("snapshot/the-guest-that-was-saved-goes-on", || {
            let guest = ticked()?;
            save(&guest)?;
            run(&guest)?;
            stop(&guest)
        }),
        Case::new("snapshot/what-was-promised-comes-back", || {
            let mut guest = ticking();
            guest.call([hc::PROMISE, 1, va(DATA), 0]);
            guest.boot()?;
            run(&guest)?;
            let state = save(&guest)?;
            same("the promise", state[PROMISED], va(DATA))?;
            let twin = twin(&guest)?;
            same("RESTORE", restore(&twin, &state), Ok(8 + 8 * state.len()))?;
            same("the twin's", save(&twin)?[PROMISED], va(DATA))?;
            run(&twin)?;
            stop(&twin)
        }),
        Case::new(
            "snapshot/tables-to-begin-with-that-are-outside-are-refused",
            || {
                let guest = ticked()?;
                let mut state = save(&guest)?;
                state[ORDER] = 1;
                let twin = twin(&guest)?;
                state[ORDER + 3] = 1 << 40;
                refused("RESTORE", restore(&twin, &state), EINVAL)?;
                state[ORDER + 3] = 0;
                same("RESTORE", restore(&twin, &state), Ok(8 + 8 * state.len()))
            },
        ),
        Case::new("snapshot/only-before-it-begins", || {
            let guest = ticked()?;
            let state = save(&guest)?;
            refused("RESTORE", restore(&guest, &state), EBUSY)?;
            run(&guest)?;
            stop(&guest)
        }),
        Case::new("snapshot/too-short-is-refused", || {
            let guest = ticked()?;
            let state = save(&guest)?;
            for len in [0, 1, ORDER, RIP, GATES, FPU, FPU + 1, state.len() - 1] {
                refused("RESTORE", restore(&twin(&guest)?, &state[..len]), EINVAL)?;
            }
            Ok(())
        }),
        Case::new("snapshot/too-long-is-refused", || {
            let guest = ticked()?;
            let mut state = save(&guest)?;
            state.push(0);
            refused("RESTORE", restore(&twin(&guest)?, &state), EINVAL)?;
            state.resize(8193, 0);
            refused("RESTORE", restore(&twin(&guest)?, &state), E2BIG)
        }),
        Case::new("snapshot/only-its-runner", || {
            let guest = ticked()?;
            let device = guest.device().duplicate();
            let other =
                std::thread::spawn(move || (device.write(&[SAVE]), device.write(&[RESTORE, 0])));
            let (saved, restored) = other.join().map_err(|_| "it panicked")?;
            refused("SAVE", saved, EPERM)?;
            refused("RESTORE", restored, EPERM)
        }),
        Case::slow("snapshot/hostile-states-harm-nobody", || {
            let guest = ticked()?;
            let state = save(&guest)?;
            let mut seed = 1u64;
            let mut number = |limit: u64| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed % limit
            };
            let (mut taken, mut rejected) = (0, 0);
            for _ in 0..60 {
                let mut hostile = state.clone();
                for _ in 0..1 + number(3) {
                    let at = ORDER + number((state.len() - ORDER) as u64) as usize;
                    hostile[at] = match number(6) {
                        0 => 0,
                        1 => u64::MAX,
                        2 => 1 << 63,
                        3 => 0xffff_8000_0000_0000 + number(1 << 39),
                        4 => hostile[at] ^ 1 << number(64),
                        _ => number(u64::MAX),
                    };
                }
                let twin = twin(&guest)?;
                match restore(&twin, &hostile) {
                    Err(EINVAL | EOPNOTSUPP) => rejected += 1,
                    Err(other) => return Err(format!("RESTORE: {other}")),
                    Ok(_) => {
                        taken += 1;
                        let _alarm = signals::Alarm::every(4);
                        if let Event::Died(reason) = twin.step()? {
                            check!(!reason.contains("inside the Switcher"), "{reason}");
                        }
                    }
                }
            }
            check!(
                taken > 10 && rejected > 5,
                "{taken} taken, {rejected} rejected"
            );
            run(&guest)?;
            stop(&guest)
        }),
    ];
    cases.extend([
        word_is_refused("another-version", 0, 0x0100_0075_7063_676c, EOPNOTSUPP),
        word_is_refused("another-cpu", IDENTITY, 0, EOPNOTSUPP),
        word_is_refused("an-order-that-means-nothing", ORDER, 3, EINVAL),
        word_is_refused("a-rip-that-is-not-canonical", RIP, 1 << 63, EINVAL),
        word_is_refused("data-outside", HALTED + 1, 1 << 40, EINVAL),
        word_is_refused("a-place-outside-the-ring", HALTED + 2, 64, EINVAL),
        word_is_refused("tables-outside", HALTED + 3, 1 << 40, EINVAL),
        word_is_refused(
            "a-system-call-entry-that-is-not-canonical",
            STACK + 1,
            1 << 63,
            EINVAL,
        ),
        word_is_refused(
            "a-base-that-is-not-canonical",
            SEGMENTS + 4,
            1 << 63,
            EINVAL,
        ),
        // A call gate into the Host.
        word_is_refused(
            "a-gate-for-a-descriptor",
            DESCRIPTORS + 4,
            0x0000_ec00_0010_1234,
            EINVAL,
        ),
        // Present, of a type that is neither an interrupt's nor a trap's gate.
        word_is_refused("a-gate-of-another-type", GATES, 0x8500_0000_0000, EINVAL),
        word_is_refused("an-interrupt-too-many", CLOCK + 1, 1 << 32, EINVAL),
        word_is_refused("a-promise-at-no-address", PROMISED, 1 << 63, EINVAL),
        word_is_refused("buffers-of-no-key", BINDINGS, 1 << 40, EINVAL),
        word_is_refused("mxcsr-with-reserved-bits", FPU + 1 + 3, 0xffff_ffff, EINVAL),
        word_is_refused("states-that-the-cpu-has-not", FPU + 1 + 64, 1 << 62, EINVAL)
            .needing([XSAVE]),
        word_is_refused("a-header-that-is-not-zero", FPU + 1 + 65, 1 << 63, EINVAL)
            .needing([XSAVE]),
    ]);
    cases
}
