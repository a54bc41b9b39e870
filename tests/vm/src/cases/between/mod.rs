//! DMA from guest to guest, over a page that both have in their memory.

mod copies;
mod ends;
mod hostile;
mod keys;
mod rounds;

use crate::abi::{dma, hc};
use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::ram::Ram;
use crate::shared::Shared;

/// Where the receiver has the shared page, and where the sender has it.
const HERE: u64 = 0x20_0000;
const THERE: u64 = 0x28_3000;
/// The key, as far into the page.
const SLOT: u64 = 36;
/// The receiver's interrupt.
const IRQ: u64 = 9;
/// A list that goes to the Launcher.
const READY: u64 = DMA + 20 * dma::SIZE;

/// A buffer: its pieces.
type Pieces = Vec<(u64, u16)>;

/// A guest that will bind these buffers to its key, then call the Launcher, then sleep until an interrupt comes, and end.
fn unborn_receiver(shared: &Shared, buffers: &[Pieces]) -> Outcome<Guest> {
    let ram = Ram::new(MEMORY);
    shared.map(0, &ram, HERE)?;
    let mut guest = Guest::in_memory(work::HALT, ram);
    guest.traps().interrupts();
    for (at, pieces) in (DMA..).step_by(dma::SIZE as usize).zip(buffers) {
        guest.dma(at, pieces);
    }
    guest.call([
        hc::BIND_DMA,
        HERE + SLOT,
        DMA,
        (buffers.len() as u64) << 8 | IRQ,
    ]);
    Ok(guest)
}

/// It has bound its buffers, and waits for the Launcher.
fn born(guest: &mut Guest) -> Outcome {
    guest.boot_halfway(READY)
}

fn receiver(shared: &Shared, buffers: &[Pieces]) -> Outcome<Guest> {
    let mut guest = unborn_receiver(shared, buffers)?;
    born(&mut guest)?;
    Ok(guest)
}

/// A guest that sends these pieces, once.
fn sender(shared: &Shared, pieces: &[(u64, u16)]) -> Outcome<Guest> {
    let ram = Ram::new(MEMORY);
    shared.map(0, &ram, THERE)?;
    let mut guest = Guest::in_memory(work::SEND, ram);
    guest.traps();
    guest.dma(DMA, pieces);
    guest.param(0, THERE + SLOT);
    Ok(guest)
}

/// Lets a sender send: what `used_len` said to it afterwards.
fn sent(guest: &mut Guest) -> Outcome<u64> {
    guest.run_to_poweroff(0)?;
    Ok(guest.out(1))
}

/// Lets a receiver go on that has been interrupted, once.
fn interrupted(guest: &Guest) -> Outcome {
    guest.powered_off(&guest.finish()?, 0)?;
    same("interrupts", guest.ram.word(IRQ_COUNT + 8 * IRQ), 1)
}

/// Whether a receiver that has not been interrupted sleeps on.
fn not_interrupted(guest: &Guest) -> Outcome {
    let reason = guest.finish_within(30)?;
    check!(reason.is_none(), "the receiver ended: {reason:?}");
    Ok(())
}

/// Bytes that differ from their neighbours.
fn text(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251 + 1) as u8).collect()
}

fn pieces_of(ram: &Ram, pieces: &[(u64, u16)]) -> Vec<u8> {
    let of = |&(at, len): &(u64, u16)| ram.bytes(at, len.into());
    pieces.iter().flat_map(of).collect()
}

fn fill(ram: &Ram, pieces: &[(u64, u16)], bytes: &[u8]) {
    let mut rest = bytes;
    for &(at, len) in pieces {
        let (piece, behind) = rest.split_at(usize::from(len).min(rest.len()));
        ram.set_bytes(at, piece);
        rest = behind;
    }
}

pub(super) fn cases() -> Vec<Case> {
    [
        keys::cases(),
        copies::cases(),
        ends::cases(),
        hostile::cases(),
        rounds::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
