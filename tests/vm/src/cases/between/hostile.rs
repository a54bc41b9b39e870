//! Lists that lie, on either side, and memory that is not there.

use super::*;
use crate::absent::Absent;
use crate::needs::Need;
use crate::shared::unmap;

const BAD: &[(&str, u64, u16)] = &[
    ("beyond-memory", MEMORY, 16),
    ("ends-beyond-memory", MEMORY - 8, 16),
    ("kernel-address", 0xffff_8880_0000_0000, 16),
    ("wraps", u64::MAX - 7, 16),
    ("longer-than-a-page", BUFFER, 4097),
    ("crosses-a-page", BUFFER + 4095, 2),
];

/// The receiver is not what it should be: it dies of this, when somebody sends to it, and the sender does not notice.
fn receiver_dies(buffer: Pieces, spoil: impl Fn(&Guest) -> Outcome, reason: &str) -> Outcome {
    let shared = Shared::new(1)?;
    let receiver = receiver(&shared, &[buffer])?;
    spoil(&receiver)?;
    let mut sender = sender(&shared, &[(BUFFER, 5)])?;
    same("used_len of the sender", sent(&mut sender)?, 0)?;
    let said = receiver.reason()?;
    check!(said.starts_with(reason), "the receiver died of {said:?}");
    // And nobody finds the dead.
    let mut other = super::sender(&shared, &[(BUFFER, 5)])?;
    same("used_len of another", sent(&mut other)?, 0)
}

/// The sender is not what it should be: it dies of this, and the receiver does not notice.
fn sender_dies(pieces: &[(u64, u16)], spoil: impl Fn(&Guest) -> Outcome, reason: &str) -> Outcome {
    let shared = Shared::new(1)?;
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
    let mut sender = sender(&shared, pieces)?;
    spoil(&sender)?;
    let said = sender.run()?;
    check!(said.starts_with(reason), "the sender died of {said:?}");
    same("used_len of the receiver", receiver.ram.word32(DMA), 0)?;
    not_interrupted(&receiver)
}

fn as_it_is(_: &Guest) -> Outcome {
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, at, len) in BAD {
        cases.push(Case::new(
            format!("between/hostile/receivers-piece-{name}"),
            move || receiver_dies(vec![(BUFFER, 16), (at, len)], as_it_is, "bad DMA entry"),
        ));
        cases.push(Case::new(
            format!("between/hostile/senders-piece-{name}"),
            move || sender_dies(&[(BUFFER, 16), (at, len)], as_it_is, "bad DMA entry"),
        ));
    }
    cases.push(Case::new("between/hostile/receivers-list-unmapped", || {
        receiver_dies(
            vec![(FREE, 64)],
            |receiver| unmap(&receiver.ram, DMA),
            "bad address in registered DMA struct 0x9000",
        )
    }));
    cases.push(Case::new(
        "between/hostile/receivers-piece-unmapped",
        || {
            receiver_dies(
                vec![(FREE, 2), (FREE + PAGE, 64)],
                |receiver| unmap(&receiver.ram, FREE + PAGE),
                "Error mapping DMA pages 0x101000",
            )
        },
    ));
    cases.push(Case::new("between/hostile/senders-piece-unmapped", || {
        sender_dies(
            &[(FREE, 5)],
            |sender| unmap(&sender.ram, FREE),
            "bad address in sending DMA",
        )
    }));
    cases.push(Case::new("between/hostile/senders-list-unmapped", || {
        sender_dies(
            &[(FREE, 5)],
            |sender| unmap(&sender.ram, DMA),
            "failed to get page 0x9000",
        )
    }));
    cases.push(Case::new(
        "between/a-receivers-page-that-was-never-there",
        || {
            let shared = Shared::new(1)?;
            let receiver = receiver(&shared, &[vec![(FREE + 0x5_0000, 64)]])?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            sender.ram.set_bytes(BUFFER, b"first");
            same("used_len of the sender", sent(&mut sender)?, 5)?;
            let bytes = receiver.ram.bytes(FREE + 0x5_0000, 5);
            same("the bytes", bytes, b"first".to_vec())?;
            interrupted(&receiver)
        },
    ));
    cases.push(
        Case::new(
            "between/hostile/a-receivers-page-that-does-not-come",
            || {
                // The sender does not wait for it.
                let shared = Shared::new(1)?;
                let receiver = receiver(&shared, &[vec![(FREE, 64)]])?;
                let absent = Absent::pages(&receiver.ram, FREE, 1)?;
                let mut first = sender(&shared, &[(BUFFER, 5)])?;
                same("used_len of the sender", sent(&mut first)?, 0)?;
                absent.bring()?;
                let mut second = sender(&shared, &[(BUFFER, 6)])?;
                same("used_len of the next", sent(&mut second)?, 6)?;
                interrupted(&receiver)
            },
        )
        .needing([Need::USERFAULTFD]),
    );
    cases
}
