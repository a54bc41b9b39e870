//! Hypercalls, one after the other and through the ring, mostly with arguments that are good.

use super::dice::Dice;
use super::live;
use super::program::{Program, hypercall, lists};
use crate::abi::{data, hc};
use crate::blobs::work;
use crate::harness::Outcome;
use crate::layout::*;

pub fn round(dice: &mut Dice) -> Outcome {
    let mut program = Program::default();
    for _ in 0..20 + dice.below(200) {
        match dice.below(16) {
            0 => program.in_ring(dice.below(data::RING_SIZE), hypercall(dice)),
            1 => program.interrupts(!dice.one_in(4)),
            2 => program.user(dice.word() & 0xcd5),
            3 => program.load(dice.nasty()),
            // A page of its own behind the Host's back: what it says of the ring, of interrupts, of the time.
            4 if dice.one_in(4) => {
                program.store(va(DATA + 8 * dice.below(data::SIZE / 8)), dice.nasty());
            }
            _ => program.call(hypercall(dice)),
        }
    }
    if dice.one_in(4) {
        program.call([hc::HALT, 0, 0, 0]);
    }
    let mut walled = program.guest(dice);
    let guest = &mut walled.guest;
    guest.user(work::USER_BACK);
    // Nobody runs the others.
    guest.cpus = 4;
    lists(guest, dice);
    // Before the body begins.
    for slot in 0..data::RING_SIZE {
        if dice.one_in(8) {
            for (n, word) in (0..).zip(hypercall(dice)) {
                guest
                    .ram
                    .set_word(DATA + data::RING + 32 * slot + 8 * n, word);
            }
            guest
                .ram
                .set_byte(DATA + data::RING_STATUS + slot, data::PENDING);
        }
    }
    guest.boot()?;
    live(guest)?;
    walled.stands()
}
