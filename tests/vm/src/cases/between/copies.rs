//! Sixteen pieces into sixteen others.

use super::*;

/// Sends these pieces into those: each byte must arrive once, in its place.
fn copied(from: Pieces, into: Pieces) -> Outcome {
    let shared = Shared::new(1)?;
    let room: u64 = into.iter().map(|(_, len)| u64::from(*len)).sum();
    let size: u64 = from.iter().map(|(_, len)| u64::from(*len)).sum();
    let receiver = receiver(&shared, std::slice::from_ref(&into))?;
    let mut sender = sender(&shared, &from)?;
    let bytes = text(size);
    fill(&sender.ram, &from, &bytes);
    let before = vec![0xee; room as usize];
    fill(&receiver.ram, &into, &before);
    let taken = size.min(room);
    same("used_len of the sender", sent(&mut sender)?, taken)?;
    same(
        "used_len of the receiver",
        receiver.ram.word32(DMA).into(),
        taken,
    )?;
    let got = pieces_of(&receiver.ram, &into);
    let mut want = bytes[..taken as usize].to_vec();
    want.resize(room as usize, 0xee);
    let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
    check!(
        wrong.is_none(),
        "byte {} of {taken} is another's",
        wrong.unwrap_or(0)
    );
    interrupted(&receiver)
}

/// So many pieces of this length, each on a page of its own.
fn row(at: u64, count: u64, len: u16) -> Pieces {
    (0..count)
        .map(|i| (at + i * PAGE + (i * 24) % (PAGE - u64::from(len) + 1), len))
        .collect()
}

const FROM: u64 = FREE;
const INTO: u64 = FREE + 0x4_0000;

pub(super) fn cases() -> Vec<Case> {
    let kinds: Vec<(&str, Pieces, Pieces)> = vec![
        (
            "one-piece-into-many",
            row(FROM, 1, 1600),
            row(INTO, 16, 100),
        ),
        (
            "many-pieces-into-one",
            row(FROM, 16, 100),
            row(INTO, 1, 1600),
        ),
        (
            "pieces-that-do-not-match",
            row(FROM, 7, 333),
            row(INTO, 11, 217),
        ),
        (
            "as-much-as-can-be",
            row(FROM, 16, 4096),
            row(INTO, 16, 4096),
        ),
        (
            "more-than-there-is-room-for",
            row(FROM, 5, 500),
            row(INTO, 3, 70),
        ),
        (
            "less-than-there-is-room-for",
            row(FROM, 3, 70),
            row(INTO, 5, 500),
        ),
        ("nothing", vec![], row(INTO, 1, 64)),
    ];
    let mut cases: Vec<Case> = kinds
        .into_iter()
        .map(|(name, from, into)| {
            Case::new(format!("between/copy/{name}"), move || {
                copied(from.clone(), into.clone())
            })
        })
        .collect();
    cases.push(Case::new("between/copy/into-no-room", || {
        copied(row(FROM, 1, 64), vec![])
    }));
    cases.push(Case::new("between/each-buffer-once", || {
        let shared = Shared::new(1)?;
        let buffers: Vec<Pieces> = (0..3).map(|i| vec![(BUFFER + 64 * i, 64)]).collect();
        let receiver = receiver(&shared, &buffers)?;
        for (round, taken) in [(0, 5), (1, 6), (2, 7), (3, 0), (4, 0)] {
            let mut sender = sender(&shared, &[(BUFFER, 5 + round)])?;
            same("used_len of the sender", sent(&mut sender)?, taken)?;
        }
        for i in 0..3 {
            let used = receiver.ram.word32(DMA + dma::SIZE * i);
            same("used_len of the receiver", used, 5 + i as u32)?;
        }
        // They are filled in turn: one that is free is not found before the one whose turn it is.
        receiver.ram.set_word32(DMA + dma::SIZE, 0);
        let mut early = sender(&shared, &[(BUFFER, 9)])?;
        same("used_len of one out of turn", sent(&mut early)?, 0)?;
        receiver.ram.set_word32(DMA, 0);
        for (place, len) in [(0, 9), (1, 10)] {
            let mut sender = sender(&shared, &[(BUFFER, len)])?;
            same("used_len of the sender", sent(&mut sender)?, len.into())?;
            let used = receiver.ram.word32(DMA + place * dma::SIZE);
            same("the buffer", used, len.into())?;
        }
        interrupted(&receiver)
    }));
    cases.push(Case::new(
        "between/a-receiver-that-is-full-is-called",
        || {
            let shared = Shared::new(1)?;
            let mut receiver = unborn_receiver(&shared, &[vec![(BUFFER, 64)]])?;
            receiver.ram.set_word32(DMA, 1);
            born(&mut receiver)?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            same("used_len of the sender", sent(&mut sender)?, 0)?;
            same("used_len of the receiver", receiver.ram.word32(DMA), 1)?;
            interrupted(&receiver)
        },
    ));
    cases.push(Case::new("between/the-launcher-takes-buffers-too", || {
        let shared = Shared::new(1)?;
        let receiver = receiver(&shared, &[vec![(BUFFER, 64)], vec![(BUFFER + 64, 64)]])?;
        let taken = receiver.device().get_dma(HERE + SLOT);
        same("GETDMA", taken, Ok(DMA as usize))?;
        let mut sender = sender(&shared, &[(BUFFER, 5)])?;
        same("used_len of the sender", sent(&mut sender)?, 5)?;
        same("the second", receiver.ram.word32(DMA + dma::SIZE), 5)?;
        same("the first", receiver.ram.word32(DMA), IRQ as u32)
    }));
    cases
}
