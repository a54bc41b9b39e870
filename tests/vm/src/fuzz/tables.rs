//! Page tables of any content, changed while they are in use: with a word to the Host, without one, and with a word that is wrong.

use super::dice::Dice;
use super::live;
use super::program::{PLAYGROUND, Program};
use crate::abi::hc;
use crate::blobs::work;
use crate::harness::Outcome;
use crate::layout::*;
use crate::tables::{index, pte};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Where the guest looks: two slots of its top level that lead to spare tables, and two places beside its own memory.
const WINDOWS: [u64; 4] = [
    0,
    0x80_0000_0000,
    0xffff_ff80_0000_0000,
    0xffff_ffff_8040_0000,
];
/// Tables that no table leads to at first, to be put in or to be loaded.
const SPARE: u64 = TABLES + 8 * PAGE;
const SPARES: u64 = 8;

/// A place in some table: a spare one's, or one of the guest's own. There it mostly leaves alone what it lives by.
fn place(dice: &mut Dice) -> (u64, u64) {
    let slot = dice.below(8);
    match dice.below(256) {
        0 => (TABLES + PAGE * dice.below(8), dice.below(512)),
        1..12 => (TABLES, slot),
        12..24 => (TABLES + PAGE, slot),
        24..36 => (TABLES + 2 * PAGE, 2 + slot),
        36..48 => (TABLES + 4 * PAGE, dice.below(512)),
        48..64 => (TABLES + PAGE * (5 + dice.below(3)), slot),
        _ => (SPARE + PAGE * dice.below(SPARES), slot),
    }
}

/// An entry that leads somewhere, with rights as they come.
fn entry(dice: &mut Dice) -> u64 {
    let frame = match dice.below(16) {
        0 => dice.word() & pte::FRAME,
        1 => MEMORY,
        2 | 3 => PLAYGROUND + PAGE * dice.below(256),
        4 => BODY,
        5..9 => PLAYGROUND + PAGE * dice.below(16),
        _ => place(dice).0,
    };
    let rights = match dice.below(8) {
        0 => dice.word() & (0xfff | pte::NX),
        1 => 0,
        2 => pte::P,
        3 => pte::TABLE | pte::PS,
        4 => pte::KERNEL,
        _ => pte::TABLE,
    };
    frame & pte::FRAME | rights
}

/// An address that tables like these lead to.
fn address(dice: &mut Dice) -> u64 {
    let page = dice.below(8) << 12 | dice.below(8) << 21 | dice.below(8) << 30;
    match dice.below(8) {
        0 => va(PLAYGROUND + PAGE * dice.below(64)),
        1 => va(MEMORY / 2 + PAGE * dice.below(2048)),
        2 if dice.one_in(4) => dice.nasty(),
        _ => dice.pick(&WINDOWS).wrapping_add(page),
    }
}

pub fn round(dice: &mut Dice) -> Outcome {
    let mut program = Program::default();
    if dice.one_in(3) {
        program.call([hc::PROMISE, 1, va(DATA), 0]);
    }
    for _ in 0..20 + dice.below(100) {
        let (table, slot) = place(dice);
        let at = address(dice);
        match dice.below(16) {
            0..4 => program.store(va(table + 8 * slot), entry(dice)),
            4 => {
                // As a kernel does it: the entry, then the word.
                program.store(va(table + 8 * slot), entry(dice));
                program.call([hc::SET_ENTRY, dice.mostly(table, 64), slot, 0]);
            }
            5 => {
                let value = entry(dice);
                program.call([hc::SET_PTE, dice.mostly(TABLES, 64), at, value]);
            }
            6 => program.call([
                hc::SET_TABLE,
                dice.mostly(TABLES, 64),
                at,
                2 + dice.below(3),
            ]),
            7 => program.forget(at),
            8 => program.touch(at, PAGE << (9 * dice.below(3)), 1 + dice.below(16)),
            9 => match dice.below(4) {
                0 => program.other_tables(table),
                1 => program.call([hc::NEW_PGTABLE, table, 0, 0]),
                2 => program.forget_all(),
                _ => program.call([hc::FLUSH_TLB, dice.below(2), 0, 0]),
            },
            10 => program.store(at, entry(dice)),
            11 => program.user(0),
            12 => program.other_tables(TABLES),
            _ => program.load(at),
        }
    }
    let mut walled = program.guest(dice);
    let guest = &mut walled.guest;
    guest.user(work::USER_BACK);
    // Other top levels have the guest's own half, so that it survives them, mostly.
    let own = guest.ram.word(TABLES + 8 * index(PAGE_OFFSET, 4));
    for spare in 0..SPARES {
        let table = SPARE + PAGE * spare;
        for slot in 0..8 {
            guest.ram.set_word(table + 8 * slot, entry(dice));
        }
        if !dice.one_in(4) {
            guest.ram.set_word(table + 8 * 511, own);
        }
    }
    for window in WINDOWS.iter().take(2) {
        guest.ram.set_word(
            TABLES + 8 * index(*window, 4),
            (SPARE + PAGE * dice.below(SPARES)) | pte::TABLE,
        );
    }
    let thief = dice.one_in(4);
    let mut theirs = dice.another();
    guest.boot()?;
    let (ram, over) = (guest.ram.clone(), AtomicBool::new(false));
    std::thread::scope(|s| {
        // The Launcher takes pages away meanwhile, and tables.
        let thief = thief.then(|| {
            s.spawn(|| {
                crate::signals::block(nix::sys::signal::Signal::SIGALRM);
                while !over.load(SeqCst) {
                    match theirs.below(8) {
                        0 => ram.discard(SPARE + PAGE * theirs.below(SPARES), PAGE),
                        _ => ram.discard(PLAYGROUND + PAGE * theirs.below(256), PAGE * 4),
                    }
                    std::thread::yield_now();
                }
            })
        });
        let lived = live(guest);
        over.store(true, SeqCst);
        if let Some(thief) = thief {
            thief.join().expect("no panic");
        }
        lived
    })?;
    walled.stands()
}
