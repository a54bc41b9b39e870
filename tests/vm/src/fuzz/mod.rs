//! Fuzzers: guests, and programs around `/dev/lguest`, that do what chance says, round after round. Each round follows from a number, its seed.
//!
//! As cases (`fuzz/...`) they do a fixed set of rounds. In the environment:
//!
//! - `FUZZ_SEED=n` does this one round, and says what it does;
//! - `FUZZ_SECONDS=n` goes on for that long, with rounds that nobody has seen, and tells how far it is; `FUZZ_FROM=n` says which is the first.
//!
//! After each round the Host's kernel must not have complained, what it had pinned and opened must be let go, the guest must have ended in a way
//! that the book tells of, and the Launcher must find its registers as they were. While a round lasts, the process is called by its seed: that is the
//! name that the Host's kernel has for it when it complains, oopses or stops.

mod books;
mod canary;
mod cpus;
mod device;
mod dice;
mod dma;
mod ends;
mod gates;
mod hypercalls;
mod instructions;
mod launcher;
mod program;
mod tables;

use crate::blobs::work;
use crate::bystander::Bystander;
use crate::guest::{Event, Guest, reason};
use crate::harness::kmsg::KernelLog;
use crate::harness::{Case, Outcome, check, same};
use crate::host;
use crate::layout::*;
use crate::signals;
use books::Books;
use canary::Canary;
pub use dice::Dice;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ops::Range;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Something to be fuzzed.
struct Target {
    /// `fuzz/NAME` is its case.
    name: &'static str,
    /// How many rounds the case has.
    rounds: u64,
    /// In how many ways these end at least: a fuzzer whose guests all die of the same tries nothing else.
    ends: usize,
    /// What a round does.
    round: fn(&mut Dice) -> Outcome,
}

const TARGETS: &[Target] = &[
    Target {
        name: "hypercalls",
        rounds: 60,
        ends: 8,
        round: hypercalls::round,
    },
    Target {
        name: "tables",
        rounds: 60,
        ends: 5,
        round: tables::round,
    },
    Target {
        name: "instructions",
        rounds: 60,
        ends: 2,
        round: instructions::round,
    },
    Target {
        name: "gates",
        rounds: 60,
        ends: 5,
        round: gates::round,
    },
    Target {
        name: "dma",
        rounds: 20,
        ends: 3,
        round: dma::round,
    },
    Target {
        name: "cpus",
        rounds: 20,
        ends: 2,
        round: cpus::round,
    },
    Target {
        name: "device",
        rounds: 40,
        ends: 0,
        round: device::round,
    },
    Target {
        name: "launcher",
        rounds: 16,
        ends: 0,
        round: launcher::round,
    },
];

/// Which rounds are to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// Those of the case: in two halves, and the second must not take memory.
    Few,
    /// Just one.
    One(u64),
    /// As many as there is time for.
    Long { from: u64, time: Duration },
}

impl Plan {
    fn of(variable: impl Fn(&str) -> Option<String>) -> Outcome<Self> {
        let number = |name: &str| {
            let text = variable(name).filter(|text| !text.is_empty());
            let number = text.as_deref().map(str::parse::<u64>).transpose();
            number.map_err(|e| format!("{name}: {e}"))
        };
        if let Some(seed) = number("FUZZ_SEED")? {
            return Ok(Self::One(seed));
        }
        let from = number("FUZZ_FROM")?.unwrap_or(1 << 20);
        Ok(match number("FUZZ_SECONDS")? {
            Some(seconds) => Self::Long {
                from,
                time: Duration::from_secs(seconds),
            },
            None => Self::Few,
        })
    }

    fn from_environment() -> Outcome<Self> {
        Self::of(|name| std::env::var(name).ok())
    }
}

/// A target at work.
struct Run<'a> {
    target: &'a Target,
    log: KernelLog,
    books: Books,
    done: u64,
}

impl Run<'_> {
    /// One round, and what must be so after it.
    fn round(&mut self, seed: u64) -> Outcome {
        call_this_process(&format!("seed {seed}"));
        let done = (self.target.round)(&mut Dice::new(seed));
        let outcome = done
            .and_then(|()| match self.log.complaint(&[]) {
                Some(complaint) => Err(format!("the Host kernel complained: {complaint}")),
                None => Ok(()),
            })
            .and_then(|()| self.books.balance());
        self.done += 1;
        outcome.map_err(|why| {
            let name = self.target.name;
            format!("seed {seed}: {why}; again: make cases TESTS=fuzz/{name} SEED={seed}")
        })
    }

    fn rounds(&mut self, seeds: Range<u64>) -> Outcome {
        seeds.into_iter().try_for_each(|seed| self.round(seed))
    }

    /// Round after round until the time is over.
    fn long(&mut self, from: u64, time: Duration) -> Outcome {
        const BATCH: u64 = 100;
        /// Of each batch, by what may happen to be in the Host's own caches.
        const SLACK: u64 = 1 << 20;
        let (begun, mut told) = (Instant::now(), Instant::now());
        let mut seed = from;
        let mut grown = 0;
        self.rounds(seed..seed + BATCH)?;
        while begun.elapsed() < time {
            let before = host::free_memory();
            for _ in 0..BATCH {
                seed += 1;
                self.round(BATCH + seed - 1)?;
                if told.elapsed() > Duration::from_secs(10) {
                    let (name, done, seconds) =
                        (self.target.name, self.done, begun.elapsed().as_secs());
                    println!(
                        "fuzz/{name}: {done} rounds in {seconds} s, now at seed {seed}; ends: {}",
                        ends::so_far()
                    );
                    told = Instant::now();
                }
            }
            // Many batches in a row that each take something: nobody gives that back.
            let took = before.saturating_sub(host::free_memory());
            grown = if took > SLACK { grown + 1 } else { 0 };
            check!(
                grown < 10,
                "the last ten batches of {BATCH} rounds took more than {} KiB each that did not come back, up to seed {seed}",
                SLACK >> 10
            );
        }
        Ok(())
    }

    /// Few enough for every day: half of them, then the other half, which must leave the Host's memory as it was. A cache may have grown meanwhile: what
    /// happens again and again is a leak.
    fn few(&mut self, rounds: u64) -> Outcome {
        const SLACK: u64 = 1 << 20;
        self.rounds(0..rounds / 2)?;
        let (kinds, least) = (ends::kinds(), self.target.ends / 2);
        check!(
            kinds >= least,
            "its guests end in {kinds} ways only: {}",
            ends::so_far()
        );
        let threads = host::kernel_threads();
        let mut took = Vec::new();
        for _ in 0..6 {
            let before = host::free_memory();
            self.rounds(rounds / 2..rounds)?;
            let now = host::free_memory();
            if before.saturating_sub(now) < SLACK {
                return same("kernel threads", host::kernel_threads(), threads);
            }
            took.push((before - now) >> 10);
        }
        Err(format!(
            "{} rounds, again and again, took {took:?} KiB that did not come back",
            rounds / 2
        ))
    }
}

/// What this process is called, in what the kernel says of it.
fn call_this_process(name: &str) {
    let name = std::ffi::CString::new(name).expect("no NUL");
    // SAFETY: a string; the kernel copies its first 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn fuzz(target: &Target) -> Outcome {
    let plan = Plan::from_environment()?;
    let bystander = Bystander::start()?;
    let mut run = Run {
        target,
        log: KernelLog::from_now(&[]),
        books: Books::settled()?,
        done: 0,
    };
    let outcome = match plan {
        Plan::Few => run.few(target.rounds),
        Plan::One(seed) => run.round(seed),
        Plan::Long { from, time } => run.long(from, time),
    };
    outcome.and(bystander.finish())?;
    Guest::new(work::SURVIVED)
        .run_to_poweroff(0)
        .map_err(|e| format!("the good guest afterwards: {e}"))
}

/// Whether just one round is done, which may then say more.
fn is_alone() -> bool {
    matches!(Plan::from_environment(), Ok(Plan::One(_)))
}

/// Runs a booted guest, but not for long. What it sends must be good, and its end one that the book tells of.
fn live(guest: &Guest) -> Outcome {
    live_for(guest, 40, 25).map(drop)
}

/// The same until so many events have come, or so many milliseconds have passed twice. Whether it lives on.
fn live_for(guest: &Guest, events: u64, ms: u64) -> Outcome<bool> {
    let canary = Canary::new();
    let _alarm = signals::Alarm::every(ms);
    let mut signalled = 0;
    for _ in 0..events {
        let mut words = [0; 16];
        let event = match canary.read(guest.device(), &mut words)? {
            Ok(16) => {
                let word =
                    |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().expect("8 bytes"));
                Event::Dma {
                    addr: word(0),
                    key: word(8),
                }
            }
            Err(Errno::EINTR) => Event::Signal,
            Err(Errno::ENOENT) => Event::Died(reason(|buffer| guest.device().read(buffer))?),
            other => return Err(format!("read() of a running guest: {other:x?}")),
        };
        if is_alone() {
            println!("{event:x?}");
        }
        match event {
            Event::Died(reason) => return ends::is_known(&reason).map(|()| false),
            Event::Dma { addr, key } => {
                sent_is_good(guest, addr, key)?;
                match guest.device().get_dma(key) {
                    Ok(buffer) => list_is_good(guest, buffer as u64)?,
                    // There is none, or the alarm rang before there was.
                    Err(Errno::ENOENT | Errno::EINTR) => {}
                    other => return Err(format!("GETDMA: {other:x?}")),
                }
                // It may have died of what it had bound: then read() no longer says so, but why.
                if guest.device().set_break(false) == Err(Errno::ENOENT) {
                    let reason = reason(|buffer| guest.device().read(buffer))?;
                    return ends::is_known(&reason).map(|()| false);
                }
            }
            Event::Signal => signalled += 1,
            Event::Break => return Err("a break that nobody asked for".into()),
        }
        if signalled == 2 {
            break;
        }
    }
    Ok(true)
}

/// What the Launcher is told of need not be checked by it again: that is the Host's promise, as long as the guest does not run.
fn sent_is_good(guest: &Guest, addr: u64, key: u64) -> Outcome {
    check!(
        key.is_multiple_of(4) && key < guest.ram.len(),
        "the Launcher was handed the key {key:#x}"
    );
    list_is_good(guest, addr)
}

fn list_is_good(guest: &Guest, list: u64) -> Outcome {
    use crate::abi::dma;
    let size = guest.ram.len();
    check!(
        list <= size - dma::SIZE,
        "the Launcher was handed a list at {list:#x}"
    );
    for section in 0..16 {
        let at = guest.ram.word(list + dma::ADDR + 8 * section);
        let len = u64::from(guest.ram.word16(list + dma::LEN + 2 * section));
        if len == 0 {
            break;
        }
        check!(
            at < size && at % PAGE + len <= PAGE,
            "the Launcher was handed {len} bytes at {at:#x}"
        );
    }
    Ok(())
}

/// How many milliseconds a process may take, on a machine that is busy with other things.
const LIMIT: u16 = 60_000;

/// Waits for the process; one that does not end is killed, and one that cannot be killed is what we look for.
fn ended(child: Pid) -> Outcome<WaitStatus> {
    // SAFETY: two integers; the descriptor is new.
    let ends = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0);
        Errno::result(fd)
            .map(|fd| OwnedFd::from_raw_fd(fd as i32))
            .map_err(|e| format!("pidfd_open: {e}"))?
    };
    let has_ended = || {
        let mut fds = [PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(LIMIT)).map_err(|e| format!("poll: {e}"))
    };
    if has_ended()? == 1 {
        return waitpid(child, None).map_err(|e| format!("waitpid: {e}"));
    }
    let _ = kill(child, Signal::SIGKILL);
    same("processes that end when killed", has_ended()?, 1)?;
    let status = waitpid(child, None);
    Err(format!("the process did not end by itself: {status:?}"))
}

/// A case for each target.
pub fn cases() -> Vec<Case> {
    let of = |target: &'static Target| {
        let asked = match Plan::from_environment() {
            Ok(Plan::Long { time, .. }) => time,
            _ => Duration::ZERO,
        };
        Case {
            limit: Duration::from_secs(300) + asked,
            ..Case::new(format!("fuzz/{}", target.name), move || fuzz(target))
        }
    };
    TARGETS.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(variables: &[(&str, &str)]) -> Outcome<Plan> {
        let value = |name: &str| variables.iter().find(|(it, _)| *it == name);
        Plan::of(|name| value(name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn the_environment_says_which_rounds() {
        assert_eq!(plan(&[]), Ok(Plan::Few));
        assert_eq!(plan(&[("FUZZ_SEED", "")]), Ok(Plan::Few));
        assert_eq!(plan(&[("FUZZ_SEED", "12")]), Ok(Plan::One(12)));
        let time = Duration::from_secs(5);
        assert_eq!(
            plan(&[("FUZZ_SECONDS", "5"), ("FUZZ_FROM", "7")]),
            Ok(Plan::Long { from: 7, time })
        );
        assert!(plan(&[("FUZZ_SEED", "0x12")]).is_err());
    }
}
