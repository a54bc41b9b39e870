//! A guest's memory is taken, charged and given back like any other of its process: nothing is pinned, no limit is evaded, and who
//! has too much is the one who pays.

use crate::bystander::Bystander;
use crate::cgroup::{Group, QuietConsole};
use crate::harness::{Case, Outcome, check, same, wait_until};
use crate::host::{self, TwoLists};
use crate::layout::*;
use crate::mirror::{MOST_PAGES, Mirror, Way};
use crate::needs::Need;
use crate::pages;
use crate::ram::Ram;
use crate::window::WINDOW;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// What a guest touches beside its first [`MEMORY`].
const MUCH: u64 = 24 << 20;

/// A guest that has written to all its memory.
struct Glutton {
    guest: Mirror,
    ram: Ram,
}

impl Glutton {
    fn start(ram: Ram) -> Outcome<Self> {
        Self::start_slowly(ram, || Ok(()))
    }

    /// The same, and `at_leisure` is called after each piece of memory.
    fn start_slowly(ram: Ram, at_leisure: impl Fn() -> Outcome) -> Outcome<Self> {
        let mut glutton = Self {
            guest: Mirror::start(&ram, Way::WhileItRuns)?,
            ram,
        };
        for (pa, pages) in glutton.stretches() {
            glutton.guest.write(pa, pages, pa)?;
            at_leisure()?;
        }
        Ok(glutton)
    }

    /// Pieces of its memory, small against what a group may have.
    fn stretches(&self) -> Vec<(u64, u64)> {
        let step = MOST_PAGES.min(256) * PAGE;
        (WINDOW..self.ram.len())
            .step_by(step as usize)
            .map(|pa| (pa, step.min(self.ram.len() - pa) / PAGE))
            .collect()
    }

    /// Fails unless the guest finds in all of it what it wrote, or nothing.
    fn finds(&mut self, nothing: bool) -> Outcome {
        self.finds_slowly(nothing, || Ok(()))
    }

    /// The same, and `at_leisure` is called after each piece of memory.
    fn finds_slowly(&mut self, nothing: bool, at_leisure: impl Fn() -> Outcome) -> Outcome {
        for (pa, pages) in self.stretches() {
            let found = self.guest.read(pa, pages)?;
            for (page, found) in (0..).zip(found) {
                let want = if nothing { 0 } else { pa + page };
                same(&format!("the word at {:#x}", pa + page * PAGE), found, want)?;
            }
            at_leisure()?;
        }
        Ok(())
    }
}

/// The kernel's books of this process say that nothing is pinned, and that the guest's memory is its own.
fn pins_nothing() -> Outcome {
    let mut glutton = Glutton::start(Ram::new(MEMORY + MUCH))?;
    same("VmPin", pages::status("VmPin")?, 0)?;
    same("VmLck", pages::status("VmLck")?, 0)?;
    let resident = pages::status("VmRSS")?;
    check!(
        resident >= MUCH >> 10,
        "VmRSS is {resident} KiB, and the guest has touched more"
    );
    glutton.finds(false)?;
    glutton.guest.end()
}

/// The same for a process that may lock 64 KiB and has no right to more.
fn needs_no_right_to_lock() -> Outcome {
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: the structure lives across the call.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) })
        .map_err(|e| format!("setrlimit: {e}"))?;
    drop_capability(14)?;
    check!(
        // SAFETY: a fresh mapping, wherever the kernel likes.
        unsafe { libc::mlock(Ram::new(1 << 20).base() as *const _, 1 << 20) } < 0,
        "this process may still lock memory: this tries nothing"
    );
    pins_nothing()
}

/// Gives up a right for good.
fn drop_capability(number: u32) -> Outcome {
    // Version 3 of the structure: two words each of what is effective, permitted and inheritable.
    let mut header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both arrays are as long as version 3 says.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    Errno::result(got).map_err(|e| format!("capget: {e}"))?;
    sets[..3].iter_mut().for_each(|set| *set &= !(1 << number));
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    Errno::result(set)
        .map(drop)
        .map_err(|e| format!("capset: {e}"))
}

/// What the Launcher no longer needs is the Host's again, and not only in the books: no page of it is kept by anybody.
fn comes_back(ram: Ram, advice: i32) -> Outcome {
    let mut glutton = Glutton::start(ram)?;
    let resident = pages::status("VmRSS")?;
    let at = glutton.ram.base() + WINDOW;
    let entries = pages::entries(at, MUCH / PAGE)?;
    check!(
        entries.iter().all(|entry| entry.present()),
        "not all that the guest has touched is there"
    );
    let frames: Vec<u64> = entries.iter().map(|entry| entry.frame()).collect();
    same(
        "frames without memory while all is in use",
        pages::what_is_in(&frames)?
            .iter()
            .filter(|what| !what.is_memory() || !what.is_mapped())
            .count(),
        0,
    )?;
    // SAFETY: memory of our own, to which there are only volatile accesses.
    let done = unsafe { libc::madvise(at as *mut _, MUCH as usize, advice) };
    Errno::result(done).map_err(|e| format!("madvise: {e}"))?;
    // What somebody else has there by now is mapped, or in a cache that can be dropped.
    let kept = || -> Outcome<usize> {
        host::drop_caches();
        let now = pages::what_is_in(&frames)?;
        let kept = now
            .iter()
            .filter(|what| what.is_memory() && !what.is_mapped());
        Ok(kept.count())
    };
    wait_until("no page is kept", || kept() == Ok(0))
        .map_err(|e| format!("{e}; of {} pages these are: {:?}", frames.len(), kept()))?;
    let left = pages::status("VmRSS")?;
    // A little of it may be in use again.
    let most = MUCH - (MUCH >> 4);
    check!(
        left + (most >> 10) <= resident,
        "VmRSS was {resident} KiB and is {left} KiB"
    );
    glutton.finds(true)?;
    glutton.guest.end()
}

/// The group of the process is charged with the guest's memory, and credited when that is given back.
fn group_is_charged() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    let before = group.number("memory.current")?;
    let glutton = Glutton::start(Ram::new(MEMORY + MUCH))?;
    let charged = group.number("memory.current")? - before;
    check!(
        charged >= MUCH,
        "the guest touched {MUCH} bytes, and {charged} were charged"
    );
    glutton.ram.discard(WINDOW, MUCH);
    wait_until("it is credited", || {
        group
            .number("memory.current")
            .is_ok_and(|now| now + MUCH / 2 < before + charged)
    })?;
    glutton.guest.end()
}

/// Waits until the disk has all that the group has given up. Linux does not: while all that the group may have is on its way to
/// a slow disk, it kills whoever wants more, a program as well as a guest.
fn written(group: &Group) -> Outcome {
    wait_until("the disk has what it is to have", || {
        group.field("memory.stat", "file_writeback") == Ok(0)
    })
}

/// A group that may have less than the guest touches swaps, and the guest finds everything.
fn group_swaps() -> Outcome {
    let group = Group::new(&[("memory.max", MUCH / 2)])?;
    group.enter()?;
    let mut glutton = Glutton::start_slowly(Ram::new(MEMORY + MUCH), || written(&group))?;
    let swapped = group.number("memory.swap.current")?;
    check!(swapped > MUCH / 4, "only {swapped} bytes were swapped out");
    for _ in 0..2 {
        glutton.finds_slowly(false, || written(&group))?;
    }
    same("kills", group.field("memory.events", "oom_kill")?, 0)?;
    glutton.guest.end()
}

/// What somebody else asks the group to give up goes, under the running guest.
fn group_gives_up_memory() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    let mut glutton = Glutton::start(Ram::new(MEMORY + MUCH))?;
    for _ in 0..3 {
        let before = group.number("memory.current")?;
        // All of it is in use, so that the first request may find no more than that.
        wait_until("the group has given up a quarter", || {
            group.reclaim(MUCH / 2).is_ok()
                && written(&group).is_ok()
                && group
                    .number("memory.current")
                    .is_ok_and(|now| now + MUCH / 4 < before)
        })
        .map_err(|e| {
            format!(
                "{e}: it had {before} bytes, and has {:?}",
                group.number("memory.current")
            )
        })?;
        glutton.finds(false)?;
    }
    glutton.guest.end()
}

/// A group that may have less than the guest touches, and may not swap, is the one that pays, and nobody else.
fn group_pays() -> Outcome {
    let bystander = Bystander::start()?;
    let group = Group::new(&[("memory.max", MUCH / 2), ("memory.swap.max", 0)])?;
    let _quiet = QuietConsole::new();
    // SAFETY: the child does what a process with one thread may.
    let child = match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => {
            let ate = group
                .enter()
                .and_then(|()| Glutton::start(Ram::new(MEMORY + MUCH)));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ate.is_ok() { 0 } else { 1 }) }
        }
        ForkResult::Parent { child } => child,
    };
    let end = waitpid(child, None);
    same(
        "the end of the one with too much",
        end,
        Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false)),
    )?;
    same(
        "kills in its group",
        group.field("memory.events", "oom_kill")?,
        1,
    )?;
    bystander.finish()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("charged/nothing-is-pinned", pins_nothing),
        Case::new(
            "charged/needs-no-right-to-lock-memory",
            needs_no_right_to_lock,
        ),
        Case::new("charged/comes-back/private", || {
            comes_back(Ram::new(MEMORY + MUCH), libc::MADV_DONTNEED)
        }),
        Case::new("charged/comes-back/shared", || {
            comes_back(Ram::shared(MEMORY + MUCH), libc::MADV_REMOVE)
        }),
        Case::new("charged/to-the-group", group_is_charged).needing([Need::MEMORY_GROUPS]),
        Case {
            tolerates: &["Call Trace"],
            ..Case::new("charged/a-group-with-too-much-pays-itself", group_pays)
        }
        .needing([Need::MEMORY_GROUPS]),
    ];
    let swapping = [
        (
            "a-group-with-too-much-swaps",
            group_swaps as fn() -> Outcome,
        ),
        ("a-group-gives-up-memory", group_gives_up_memory),
    ];
    for (name, run) in swapping {
        let needs = [Need::MEMORY_GROUPS, Need::Swap];
        let with_two_lists = move || {
            let _lists = TwoLists::choose()?;
            run()
        };
        cases.push(Case::new(format!("charged/{name}"), run).needing(needs));
        cases.push(
            Case::new(format!("charged/two-lists/{name}"), with_two_lists)
                .needing([TwoLists::NEED].into_iter().chain(needs)),
        );
    }
    cases
}
