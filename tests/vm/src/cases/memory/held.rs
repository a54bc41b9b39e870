//! Memory that userfaultfd holds back while the guest runs: it waits as a process would, an ordinary signal does not kill it, and
//! it finds what was brought.

use super::mappings::Subject;
use crate::absent::{Absent, Protected, Untabled};
use crate::harness::{Case, Outcome, same, wait_until};
use crate::layout::*;
use crate::mirror::Way;
use crate::needs::Need;
use crate::signals;
use crate::window::{HUGE, Kind, WINDOW, Window};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::os::fd::AsRawFd;

const KINDS: [(&str, Kind); 5] = [
    ("private-anonymous", Kind::PrivateAnonymous),
    ("shared-anonymous", Kind::SharedAnonymous),
    ("memfd", Kind::Memfd),
    ("transparent-huge-pages", Kind::TransparentHuge),
    ("huge-pages", Kind::Huge),
];

/// How many signals arrive while it waits.
const SIGNALS: u64 = 5;

/// Takes all pages of a window away for good, wherever they are kept.
fn empty(window: &Window) -> Outcome {
    match window.kind {
        Kind::SharedAnonymous => window.advise("MADV_REMOVE", libc::MADV_REMOVE),
        Kind::Memfd => {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let fd = window.file()?.as_raw_fd();
            // SAFETY: four integers.
            let done = unsafe { libc::fallocate(fd, mode, 0, window.len() as i64) };
            Errno::result(done)
                .map(drop)
                .map_err(|e| format!("fallocate: {e}"))
        }
        _ => window.advise("MADV_DONTNEED", libc::MADV_DONTNEED),
    }
}

/// One signal after the other for a thread that waits; each must reach it, and it must wait again.
fn disturb(thread: Pid, restart: bool, again: impl Fn() -> Outcome) -> Outcome {
    signals::handle(Signal::SIGUSR1, restart);
    for _ in 0..SIGNALS {
        let seen = signals::seen();
        signals::send(thread, Signal::SIGUSR1)?;
        wait_until("the signal has arrived", || signals::seen() > seen)?;
        again()?;
    }
    Ok(())
}

/// What is to come into all pages.
fn brought(window: &Window) -> (Vec<u8>, Vec<u64>) {
    let words: Vec<u64> = (0..window.pages).map(|page| 0xd000_0000 + page).collect();
    let mut bytes = vec![0; window.len() as usize];
    for (bytes, word) in bytes.chunks_mut(PAGE as usize).zip(&words) {
        bytes[..8].copy_from_slice(&word.to_ne_bytes());
    }
    (bytes, words)
}

/// A page that comes late; `restart` says what becomes of a `read()` that a signal interrupts, if signals come.
fn missing(kind: Kind, restart: Option<bool>, write: bool) -> Outcome {
    let mut subject = Subject::new(kind, Way::WhileItRuns)?;
    let (content, words) = brought(&subject.window);
    let absent = Absent::instead(subject.window.at, content, || empty(&subject.window))?;
    let read = subject
        .guest
        .delayed(write, WINDOW, 0xe000_0000, |thread| {
            absent.wait_until_wanted()?;
            if let Some(restart) = restart {
                disturb(thread, restart, || absent.wait_until_wanted())?;
            }
            absent.bring()
        })?;
    subject.words = words;
    if write {
        subject.words[0] = 0xe000_0000;
    } else {
        same(
            "what the guest read after it had waited",
            read[0],
            subject.words[0],
        )?;
    }
    subject.lives_on()
}

/// A page that may not be written to yet.
fn protected(kind: Kind, restart: Option<bool>) -> Outcome {
    let mut subject = Subject::new(kind, Way::WhileItRuns)?;
    let window = &subject.window;
    let pages = if kind == Kind::Huge {
        HUGE / PAGE
    } else {
        window.pages
    };
    let protected = Protected::pages(window.at, pages)?;
    let seen = subject.guest_sees()?;
    same(
        "what the guest reads of protected pages",
        &seen,
        &subject.words,
    )?;
    let (at, before) = (WINDOW + 2 * PAGE, subject.words[2]);
    let window = &subject.window;
    subject.guest.delayed(true, at, 0xe000_0002, |thread| {
        protected.wait_until_wanted()?;
        if let Some(restart) = restart {
            disturb(thread, restart, || protected.wait_until_wanted())?;
        }
        same("the word before it may be written", window.word(2), before)?;
        protected.allow()
    })?;
    subject.words[2] = 0xe000_0002;
    subject.lives_on()
}

/// A page that its file has, and that may be in no table yet.
fn untabled(kind: Kind, restart: Option<bool>, write: bool) -> Outcome {
    let mut subject = Subject::new(kind, Way::WhileItRuns)?;
    let window = &subject.window;
    // What is shared stays with the file.
    let take = || window.advise("MADV_DONTNEED", libc::MADV_DONTNEED);
    let untabled = Untabled::pages(window.at, window.len(), take)?;
    let read = subject
        .guest
        .delayed(write, WINDOW, 0xf000_0000, |thread| {
            untabled.wait_until_wanted()?;
            if let Some(restart) = restart {
                disturb(thread, restart, || untabled.wait_until_wanted())?;
            }
            untabled.allow()
        })?;
    if write {
        subject.words[0] = 0xf000_0000;
    } else {
        same("what the guest read", read[0], subject.words[0])?;
    }
    subject.lives_on()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, kind) in KINDS {
        for (when, restart) in [
            ("comes-late", None),
            ("after-signals", Some(false)),
            ("after-signals-that-restart", Some(true)),
        ] {
            for (how, write) in [("read", false), ("written", true)] {
                let name = format!("held/{what}/missing/{how}/{when}");
                cases.push(
                    Case::new(name, move || missing(kind, restart, write)).needing(kind.need()),
                );
                if matches!(kind, Kind::SharedAnonymous | Kind::Memfd) {
                    let name = format!("held/{what}/in-no-table/{how}/{when}");
                    cases.push(
                        Case::new(name, move || untabled(kind, restart, write))
                            .needing(kind.need()),
                    );
                }
            }
            let name = format!("held/{what}/write-protected/{when}");
            cases.push(Case::new(name, move || protected(kind, restart)).needing(kind.need()));
        }
    }
    cases
        .into_iter()
        .map(|case: Case| case.needing([Need::USERFAULTFD]))
        .collect()
}
