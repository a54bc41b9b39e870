//! Memory that is replaced again and again under a guest that never stops: it must not see what is gone, however often and in
//! whatever moment that happens, and what is only moved must not hurt it anywhere, its tables and its code included.

use super::mappings::{MADV_PAGEOUT, ROUNDS, merge, migrate};
use crate::abi::hc;
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, join, same, wait_until};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use crate::tables::pte;
use crate::window::{HUGE, Kind, WINDOW, Window, memory_for};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::os::fd::AsRawFd;

/// How often a page is replaced.
const VERSIONS: u64 = 60;
/// How often all of a guest's memory is moved.
const MOVES: usize = 12;

/// Puts a number into the page at the window's beginning, which is then another page or another mapping.
type Replace = fn(&Window, u64) -> Outcome;

const REPLACEMENTS: &[(&str, Kind, Replace)] = &[
    ("mapped-over", Kind::Memfd, |window, version| {
        // The file has page after page, each with its number.
        let file = window.file()?;
        let offset = (window.pages + version) * PAGE;
        std::os::unix::fs::FileExt::write_all_at(file, &version.to_ne_bytes(), offset)
            .and_then(|()| file.set_len(offset + PAGE))
            .map_err(|e| format!("the file: {e}"))?;
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED,
        );
        // SAFETY: a page of our own mapping is replaced, to which there are only volatile accesses.
        let at = unsafe {
            libc::mmap(
                window.at as *mut _,
                PAGE as usize,
                prot,
                flags,
                file.as_raw_fd(),
                offset as i64,
            )
        };
        same("mmap() over a page", at as u64, window.at)
    }),
    ("moved-over", Kind::PrivateAnonymous, |window, version| {
        let fresh = Ram::new(PAGE);
        fresh.set_word(0, version);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let len = PAGE as usize;
        // SAFETY: as above; what moves is no longer looked at where it was, where there is then nothing to unmap.
        let at = unsafe { libc::mremap(fresh.base() as *mut _, len, len, flags, window.at) };
        same("mremap() over a page", at as u64, window.at)
    }),
    (
        "copied-on-write",
        Kind::PrivateAnonymous,
        |window, version| {
            // While there is a child the page is also its, and whoever writes first gets another one.
            // SAFETY: the child only ends.
            match unsafe { fork() }.map_err(|e| e.to_string())? {
                // SAFETY: ends the process.
                ForkResult::Child => unsafe {
                    nix::unistd::pause();
                    libc::_exit(0)
                },
                ForkResult::Parent { child } => {
                    window.set_word(0, version);
                    let killed = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                    killed.map_err(|e| e.to_string())?;
                    let end = waitpid(child, None);
                    let want =
                        WaitStatus::Signaled(child, nix::sys::signal::Signal::SIGKILL, false);
                    same("the child's end", end, Ok(want))
                }
            }
        },
    ),
    (
        "dropped-and-written",
        Kind::DiskReadOnly,
        |window, version| {
            let file = window.file()?;
            file.sync_data().map_err(|e| format!("fdatasync: {e}"))?;
            window.advise("MADV_DONTNEED", libc::MADV_DONTNEED)?;
            std::os::unix::fs::FileExt::write_all_at(file, &version.to_ne_bytes(), 0)
                .map_err(|e| format!("writing the file: {e}"))
        },
    ),
    (
        "written-after-a-move",
        Kind::SharedAnonymous,
        |window, version| {
            migrate(window)?;
            window.set_word(0, version);
            Ok(())
        },
    ),
];

/// A page is replaced by one with a larger number, again and again; the number is told to the guest after that.
fn never_backwards(kind: Kind, replace: Replace) -> Outcome {
    let ram = memory_for(kind);
    let window = Window::over(&ram, kind)?;
    window.fill(0);
    let its_ram = ram.clone();
    let thread = std::thread::spawn(move || {
        let mut guest = Guest::in_memory(work::NEVER_BACKWARDS, its_ram);
        guest.tables.map(va(WINDOW), WINDOW, pte::KERNEL);
        guest.param(1, va(WINDOW));
        guest.boot()?;
        let reason = guest.finish()?;
        guest.powered_off(&reason, 0).map_err(|e| {
            format!(
                "{e}; the guest was told {} and saw {}",
                guest.out(1),
                guest.out(0)
            )
        })
    });
    let churn = || -> Outcome {
        for version in 1..=VERSIONS {
            let seen = ram.word(COUNT);
            wait_until("the guest has looked again", || {
                ram.word(COUNT) > seen || thread.is_finished()
            })?;
            if thread.is_finished() {
                break;
            }
            replace(&window, version)?;
            ram.set_word(PARAM, version);
        }
        Ok(())
    };
    let churned = churn();
    ram.set_word(STOP, 1);
    join(thread).and(churned)
}

/// Asks for what the kernel refuses while it uses a page itself, a few times.
fn patiently(ask: impl Fn() -> Outcome) -> Outcome {
    (1..ROUNDS).find_map(|_| ask().ok()).map_or_else(ask, Ok)
}

/// Moves all of a guest's memory in some way that no process would notice.
type Move = fn(&Window) -> Outcome;

/// What it is called, what it needs of the Host, and what it is.
type SameContent = (&'static str, Option<Need>, Move);

const SAME_CONTENT: &[SameContent] = &[
    ("paged-out", Some(Need::Swap), |all| {
        all.advise("MADV_PAGEOUT", MADV_PAGEOUT)
    }),
    ("moved-to-another-node", Some(Need::TwoNodes), migrate),
    ("merged", Some(Need::MERGING), |all| {
        all.advise("MADV_MERGEABLE", libc::MADV_MERGEABLE)?;
        merge(all, 8)?;
        all.advise("MADV_UNMERGEABLE", libc::MADV_UNMERGEABLE)
    }),
    (
        "made-huge",
        Some(Need::File("/sys/kernel/mm/transparent_hugepage")),
        |all| {
            const MADV_COLLAPSE: i32 = 25;
            all.advise("MADV_HUGEPAGE", libc::MADV_HUGEPAGE)?;
            // Behind the first one there are places without any page, and nothing to make one of.
            patiently(|| all.advise_pages("MADV_COLLAPSE", MADV_COLLAPSE, 0, HUGE / PAGE))
        },
    ),
    (
        "compacted",
        Some(Need::File("/proc/sys/vm/compact_memory")),
        |_| {
            std::fs::write("/proc/sys/vm/compact_memory", "1")
                .map_err(|e| format!("compact_memory: {e}"))
        },
    ),
    ("executable-for-a-moment", None, |all| {
        all.protect(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)?;
        all.protect(libc::PROT_READ | libc::PROT_WRITE)
    }),
    ("forked", None, |_| {
        // SAFETY: the child only ends.
        match unsafe { fork() }.map_err(|e| e.to_string())? {
            // SAFETY: ends the process.
            ForkResult::Child => unsafe { libc::_exit(0) },
            ForkResult::Parent { child } => same(
                "the child's end",
                waitpid(child, None),
                Ok(WaitStatus::Exited(child, 0)),
            ),
        }
    }),
];

/// All memory of a guest that uses everything it has, moved again and again.
fn goes_on(change: Move) -> Outcome {
    let all = Window::plain(MEMORY)?;
    let ram = Ram::borrowed(all.at, MEMORY);
    // Some pages have the same content.
    for page in 0..16 {
        ram.set_word(FREE + page * PAGE, 7);
    }
    let its_ram = ram.clone();
    let thread = std::thread::spawn(move || {
        let mut guest = Guest::in_memory(work::EVERY_WAY, its_ram);
        guest.traps().interrupts().user(work::USER_BACK);
        guest.call([hc::PROMISE, 1, va(DATA), 0]);
        guest.boot()?;
        guest.powered_off(&guest.finish()?, 0)
    });
    let churn = || -> Outcome {
        for _ in 0..MOVES {
            let seen = ram.word(COUNT);
            wait_until("the guest goes on", || {
                ram.word(COUNT) > seen + 1 || thread.is_finished()
            })?;
            if thread.is_finished() {
                break;
            }
            change(&all)?;
        }
        Ok(())
    };
    let churned = churn();
    ram.set_word(STOP, 1);
    join(thread).and(churned)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, kind, replace) in REPLACEMENTS {
        let name = format!("churn/never-backwards/{what}");
        let case = Case::new(name, move || never_backwards(*kind, *replace));
        let moves = (*what == "written-after-a-move").then_some(Need::TwoNodes);
        cases.push(case.needing(kind.need()).needing(moves));
    }
    for (what, need, change) in SAME_CONTENT {
        let case = Case::new(format!("churn/goes-on/{what}"), move || goes_on(*change));
        cases.push(case.needing(*need));
    }
    cases
}
