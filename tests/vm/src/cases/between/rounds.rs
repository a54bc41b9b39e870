//! Thousands of rounds, on several CPUs at once.

use super::*;
use crate::abi::data;
use crate::absent::Absent;
use crate::harness::{join, wait_until};
use crate::host;
use crate::needs::Need;
use nix::unistd::Pid;
use std::sync::Arc;

/// A list for sending, and the bytes.
const OUTGOING: u64 = DMA + 20 * dma::SIZE;

/// A guest that talks: it has bound `own` and sends to `other`, slots of the shared page.
fn talker(shared: &Shared, own: u64, other: u64) -> Outcome<Guest> {
    let ram = Ram::new(MEMORY);
    shared.map(0, &ram, HERE)?;
    let mut guest = Guest::in_memory(work::TALK_UNTIL, ram);
    guest.traps().interrupts();
    for i in 0..4 {
        guest.dma(DMA + i * dma::SIZE, &[(BUFFER + i * 64, 64)]);
    }
    guest.dma(OUTGOING, &[(FREE, 8)]);
    guest.call([hc::BIND_DMA, HERE + own, DMA, 4 << 8 | IRQ]);
    guest.param(0, 4).param(1, HERE + other);
    Ok(guest)
}

/// Lets guests run, each in a thread of its own, until each has received so many.
fn talk(rounds: u64, shared: Shared, pairs: &[(u64, u64)]) -> Outcome {
    let shared = Arc::new(shared);
    let mut rams = Vec::new();
    let mut threads = Vec::new();
    for (number, &(own, other)) in pairs.iter().enumerate() {
        let (ask, answer) = std::sync::mpsc::channel();
        let shared = shared.clone();
        threads.push(std::thread::spawn(move || {
            let cpus = host::cpus();
            host::pin(Pid::from_raw(0), cpus[number % cpus.len()])?;
            let mut guest = talker(&shared, own, other)?;
            ask.send(guest.ram.clone()).map_err(|e| e.to_string())?;
            let reason = guest.run()?;
            guest.powered_off(&reason, 0).map_err(|e| {
                let (count, got, place) = (guest.ram.word(COUNT), guest.out(1), guest.out(2));
                format!("{e}; number {count} was to come in buffer {place}, and {got} came")
            })
        }));
        rams.push(answer.recv().map_err(|e| e.to_string())?);
    }
    let waited = wait_until("all have received enough", || {
        rams.iter().all(|ram| ram.word(COUNT) >= rounds)
            || threads.iter().any(|thread| thread.is_finished())
    });
    for ram in &rams {
        ram.set_word(STOP, 1);
    }
    for thread in threads {
        join(thread)?;
    }
    waited
}

/// While a call sends, and waits for a page of its own guest, another is put into the ring: each sends its own, once.
fn ring_while_sending() -> Outcome {
    let shared = Arc::new(Shared::new(1)?);
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)], vec![(BUFFER + 64, 64)]])?;
    let mut guest = sender(&shared, &[(FREE, 5)])?;
    let second = DMA + dma::SIZE;
    guest.dma(second, &[(BUFFER, 7)]);
    let ram = guest.ram.clone();
    let absent = Absent::pages(&ram, FREE, 1)?;
    let sender = std::thread::spawn(move || sent(&mut guest));
    absent.wait_until_wanted()?;
    for (word, value) in (0..).zip([hc::SEND_DMA, THERE + SLOT, second, 0]) {
        ram.set_word(DATA + data::RING + 8 * word, value);
    }
    ram.set_bytes(DATA + data::RING_STATUS, &[data::PENDING]);
    absent.bring()?;
    same("used_len of the call", join(sender)?, 5)?;
    same("used_len of the ring's", ram.word32(second), 7)?;
    same("the first that came", receiver.ram.word32(DMA), 5)?;
    same("the second", receiver.ram.word32(second), 7)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "between/a-call-in-the-ring-waits-for-the-one-that-sends",
            ring_while_sending,
        )
        .needing([Need::USERFAULTFD]),
        Case::slow("between/two-send-to-each-other", || {
            talk(1000, Shared::new(1)?, &[(0, 4), (4, 0)])
        }),
        Case::slow("between/three-in-a-circle", || {
            talk(200, Shared::new(1)?, &[(0, 4), (4, 8), (8, 0)])
        }),
    ]
}
