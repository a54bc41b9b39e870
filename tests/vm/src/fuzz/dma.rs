//! Buffers of two guests that share a page: bound, sent, taken back, while one of them dies or goes.

use super::dice::Dice;
use super::live_for;
use super::program::{Program, Walled, lists};
use crate::abi::{dma, hc};
use crate::harness::Outcome;
use crate::layout::*;
use crate::shared::{Shared, unmap};

/// Where each has the shared page.
const SHARED: [u64; 2] = [0x20_0000, 0x28_3000];

/// A key: mostly a word of the shared page, as this guest has it.
fn key(dice: &mut Dice, own: usize) -> u64 {
    let key = match dice.below(8) {
        0 => 4 * dice.below(4),
        1 => SHARED[own] + dice.below(PAGE),
        2 => dice.nasty(),
        _ => SHARED[own] + 4 * dice.below(3),
    };
    dice.mostly(key, 40)
}

/// A guest, and that it lives.
fn member(dice: &mut Dice, own: usize, shared: &Shared) -> Outcome<(Walled, bool)> {
    let mut program = Program::default();
    for _ in 0..10 + dice.below(60) {
        let list = DMA + dma::SIZE * dice.below(20);
        match dice.below(12) {
            0..3 => {
                let count = dice.pick(&[1, 1, 2, 3, 20, 0]);
                let count = if dice.one_in(40) {
                    dice.word() >> dice.below(64)
                } else {
                    count
                };
                let irq = dice.pick(&[0, 3, 9, 9, 31]);
                program.call([
                    hc::BIND_DMA,
                    key(dice, own),
                    dice.mostly(list, 40),
                    count << 8 | irq,
                ]);
            }
            3..8 => program.call([hc::SEND_DMA, key(dice, own), dice.mostly(list, 40), 0]),
            // A buffer is free again.
            8 => program.store(va(list), 0),
            // A piece is another.
            9 => {
                let piece = super::program::piece(dice);
                program.store(va(list + dma::ADDR + 8 * dice.below(16)), piece.0);
            }
            10 => program.in_ring(dice.below(64), [hc::SEND_DMA, key(dice, own), list, 0]),
            _ => program.interrupts(dice.one_in(2)),
        }
    }
    let mut walled = program.guest(dice);
    lists(&walled.guest, dice);
    let guest = &mut walled.guest;
    shared.map(0, &guest.ram, SHARED[own])?;
    // Some of it is not there when it is wanted.
    if dice.one_in(6) {
        let page = dice.pick(&[DMA, BUFFER, super::program::PLAYGROUND]);
        let page = page + PAGE * dice.below(16).min(if page == DMA { 0 } else { 15 });
        unmap(&guest.ram, page)?;
    }
    guest.boot()?;
    Ok((walled, true))
}

pub fn round(dice: &mut Dice) -> Outcome {
    let shared = Shared::new(1)?;
    let mut members = [0, 1].map(|own| member(dice, own, &shared).map(Some));
    // By turns, each until it has sent something or for a moment.
    for _ in 0..20 {
        let own = dice.below(2) as usize;
        let place = members[own].as_mut().map_err(|why| why.clone())?;
        let goes = match place {
            Some((walled, lives)) => {
                if *lives {
                    *lives = live_for(&walled.guest, 1 + dice.below(3), 10)?;
                }
                walled.stands()?;
                // One that is dead stays for a while, and so does what it has bound; one that lives may go.
                dice.one_in(if *lives { 20 } else { 2 })
            }
            None => false,
        };
        if goes {
            *place = None;
        } else if place.is_none() {
            *place = Some(member(dice, own, &shared)?);
        }
    }
    let mut left = members.iter().flatten().flatten();
    left.try_for_each(|(walled, _)| walled.stands())
}
