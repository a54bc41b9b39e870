//! More busy Guests than there is memory for, each in a process of its own. They go through their memory again and again and
//! check what they left there; none may find anything else, none may die, and nothing may be left of them.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Outcome, check, same};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use crate::tables::pte;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Pages that each goes through: a power of two, 32 MiB.
const PAGES: u64 = 8192;
/// Where a guest counts and is told to stop: the page that parent and child share.
const SHARED: u64 = COUNT / PAGE * PAGE;
/// How many pages each must have been to, whatever the time. Only behind the first pass it finds what it left.
const ENOUGH: u64 = PAGES + PAGES / 4;
/// Memory of the Host's that its caches may take meanwhile, and of its kernel's own.
const SLACK: u64 = 8 << 20;
const KERNEL_SLACK: u64 = 6 << 20;
/// Much longer than that takes, whatever was asked for.
const LIMIT: Duration = Duration::from_secs(1200);

/// One of them, seen from outside.
struct Member {
    pid: Pid,
    shared: Ram,
}

impl Member {
    fn start(number: u64) -> Outcome<Self> {
        let shared = Ram::shared(PAGE);
        // SAFETY: this process has one thread.
        match unsafe { fork() }.map_err(|e| e.to_string())? {
            ForkResult::Parent { child } => Ok(Self { pid: child, shared }),
            ForkResult::Child => {
                let end = guest(number, &shared);
                if let Err(why) = &end {
                    println!("Guest {number}: {why}");
                }
                // SAFETY: ends the process.
                unsafe { libc::_exit(end.is_err().into()) }
            }
        }
    }

    fn pages_done(&self) -> u64 {
        self.shared.word(COUNT - SHARED)
    }

    fn stop(&self) {
        self.shared.set_word(STOP - SHARED, 1);
    }
}

/// A guest from its first to its last moment. Every other one is in memory that is not anonymous.
fn guest(number: u64, shared: &Ram) -> Outcome {
    let len = MEMORY + PAGES * PAGE;
    let ram = if number.is_multiple_of(2) {
        Ram::new(len)
    } else {
        Ram::shared(len)
    };
    let at = (ram.base() + SHARED) as *mut libc::c_void;
    let (from, flags) = (
        shared.base() as *mut _,
        libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
    );
    // With an old length of 0 the shared page stays where it is, too.
    // SAFETY: a page of our own memory is replaced, to which there are only volatile accesses.
    let moved = unsafe { libc::mremap(from, 0, PAGE as usize, flags, at) };
    same("mremap() of the shared page", moved, at)?;
    let mut guest = Guest::in_memory(work::GO_ROUND, ram);
    for pa in (MEMORY..len).step_by(PAGE as usize) {
        guest.tables.map(va(pa), pa, pte::KERNEL);
    }
    guest
        .param(0, va(MEMORY))
        .param(1, PAGES - 1)
        .param(2, (number + 1) << 56);
    guest.boot()?;
    let reason = guest.finish()?;
    let [got, want, at] = [0, 1, 2].map(|index| guest.out(index));
    guest
        .powered_off(&reason, 0)
        .map_err(|e| format!("{e}; at {at:#x} it found {got:#x} and wanted {want:#x}"))
}

/// A field of `/proc/meminfo` or `/proc/vmstat`, in what that counts in.
fn field(file: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let mut lines = text.lines().map(|line| line.split_whitespace());
    lines
        .find_map(|mut line| (line.next()?.trim_end_matches(':') == name).then(|| line.next())?)
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("no {name} in {file}"))
}

/// What is taken of the Host: memory in all, and by the kernel for itself.
fn taken() -> Outcome<(u64, u64)> {
    let free = host::free_memory();
    let kernel = [
        "SUnreclaim",
        "PageTables",
        "SecPageTables",
        "KernelStack",
        "VmallocUsed",
    ];
    let kernel = kernel
        .iter()
        .map(|name| field("/proc/meminfo", name))
        .sum::<Outcome<u64>>()?;
    Ok((
        field("/proc/meminfo", "MemTotal")? * 1024 - free,
        kernel * 1024,
    ))
}

/// Lets so many run until the time is over, each has done so much, and so has whoever else is there; ends them.
fn round(guests: u64, time: Duration, enough: u64, others: Option<&str>) -> Outcome {
    let members = (0..guests)
        .map(Member::start)
        .collect::<Outcome<Vec<_>>>()?;
    let others = others.map(|shell| Command::new("sh").args(["-euc", shell]).spawn());
    let mut others = others.transpose().map_err(|e| format!("sh: {e}"))?;
    let begun = Instant::now();
    let mut outcome = Ok(());
    loop {
        let slowest = members.iter().map(Member::pages_done).min().unwrap_or(0);
        match others.as_mut().map(Child::try_wait).transpose() {
            Ok(Some(Some(status))) if status.success() => others = None,
            Ok(None | Some(None)) => {}
            ended => {
                outcome = Err(format!("the others ended so: {ended:?}"));
                break;
            }
        }
        if begun.elapsed() >= time && slowest >= enough && others.is_none() {
            break;
        }
        let mut ended = members
            .iter()
            .map(|member| waitpid(member.pid, Some(WaitPidFlag::WNOHANG)));
        if let Some(ended) = ended.find(|ended| *ended != Ok(WaitStatus::StillAlive)) {
            outcome = Err(format!("one ended before it was told to: {ended:?}"));
            break;
        }
        if begun.elapsed() > time + LIMIT {
            outcome = Err(format!(
                "the slowest has done {slowest} pages in {:?}",
                begun.elapsed()
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let done: Vec<u64> = members
        .iter()
        .map(|member| member.pages_done() / PAGES)
        .collect();
    println!(
        "{guests} Guests, {} s: passes {done:?}",
        begun.elapsed().as_secs()
    );
    for member in &members {
        member.stop();
        if outcome.is_err() {
            let _ = kill(member.pid, Signal::SIGKILL);
        }
    }
    for member in &members {
        let ended = waitpid(member.pid, None);
        if outcome.is_ok() {
            outcome = same(
                "a Guest's process",
                ended,
                Ok(WaitStatus::Exited(member.pid, 0)),
            );
        }
    }
    outcome
}

/// Runs so many so long, at least, and beside them a line of shell, which has to end well.
pub fn run(time: Duration, guests: u64, others: Option<&str>) -> Outcome {
    check!(host::swaps(), "there is no swap");
    // What the Host keeps from the first time on is not held against the crowd.
    round(2, Duration::ZERO, PAGES, None)?;
    round(guests, Duration::ZERO, 0, None)?;
    let (memory, kernel) = taken()?;
    let swapped = field("/proc/vmstat", "pswpin")?;
    round(guests, time, ENOUGH, others)?;
    let swapped = field("/proc/vmstat", "pswpin")? - swapped;
    println!("{swapped} pages came back from the disk");
    check!(
        swapped > PAGES / 4,
        "this tries little: only {swapped} pages came back from the disk"
    );
    let (memory_now, kernel_now) = taken()?;
    let taken = [memory, memory_now, kernel, kernel_now].map(|bytes| bytes >> 10);
    println!(
        "KiB taken before and after: {:?}, of these by the kernel for itself: {:?}",
        &taken[..2],
        &taken[2..]
    );
    check!(
        memory_now < memory + SLACK,
        "memory that did not come back: {taken:?}"
    );
    check!(
        kernel_now < kernel + KERNEL_SLACK,
        "memory that the kernel keeps: {taken:?}"
    );
    same("users of the module", host::module_users()?, 0)
}
