//! Lists that lie, on either side, and memory that is not there.

use super::*;
use crate::absent::Absent;
use crate::harness::{join, wait_until};
use crate::host;
use crate::needs::Need;
use crate::shared::unmap;
use nix::errno::Errno;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

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

/// What a sender could not have, the receiver fetches for itself: a packet was lost, and the next one arrives.
fn comes_by_the_receiver(shared: &Shared, receiver: &Guest) -> Outcome {
    not_interrupted(receiver)?;
    let mut next = sender(shared, &[(BUFFER, 6)])?;
    same("used_len of the next", sent(&mut next)?, 6)?;
    interrupted(receiver)
}

/// One page of a file on a file system that is still, as long as this lives.
struct Frozen(std::fs::File);

impl Frozen {
    const FREEZE: u64 = 0xc004_5877;
    const THAW: u64 = 0xc004_5878;

    fn new() -> Outcome<Self> {
        let frozen = Self(std::fs::File::open(host::DISK).map_err(|e| e.to_string())?);
        frozen.request(Self::FREEZE).map(|()| frozen)
    }

    fn request(&self, request: u64) -> Outcome {
        // SAFETY: neither looks at its argument.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request, 0) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("freezing: {e}"))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.request(Self::THAW);
    }
}

/// The receiver's buffer is a page of a file, to which nobody can write for the first time now.
fn in_a_frozen_file() -> Outcome {
    let path = format!("{}/frozen.{}", host::DISK, std::process::id());
    let mut options = std::fs::File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = Shared(options.open(&path).map_err(|e| e.to_string())?);
    file.0
        .write_all_at(&[7; PAGE as usize], 0)
        .and_then(|()| file.0.sync_all())
        .map_err(|e| e.to_string())?;
    let shared = Arc::new(Shared::new(1)?);
    let receiver = receiver(&shared, &[vec![(FREE, 64)]])?;
    file.map(0, &receiver.ram, FREE)?;
    same("the page", receiver.ram.word(FREE) & 0xff, 7)?;
    let frozen = Frozen::new()?;
    let its_shared = shared.clone();
    let first = std::thread::spawn(move || sent(&mut sender(&its_shared, &[(BUFFER, 5)])?));
    let goes_on = wait_until("the sender has gone on", || first.is_finished());
    drop(frozen);
    let len = join(first);
    let _ = std::fs::remove_file(&path);
    goes_on?;
    same("used_len of the sender", len?, 0)?;
    comes_by_the_receiver(&shared, &receiver)
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
    cases.push(Case::new("between/a-receivers-page-of-a-file", || {
        let shared = Shared::new(1)?;
        let receiver = receiver(&shared, &[vec![(FREE, 64)]])?;
        Shared::new(1)?.map(0, &receiver.ram, FREE)?;
        let mut first = sender(&shared, &[(BUFFER, 5)])?;
        same("used_len of the sender", sent(&mut first)?, 0)?;
        comes_by_the_receiver(&shared, &receiver)
    }));
    cases.push(
        Case::new(
            "between/hostile/a-receivers-page-in-a-frozen-file",
            in_a_frozen_file,
        )
        .needing([Need::Disk]),
    );
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
