//! What others on the Host must not notice, or must be told as it is, while a guest computes.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use crate::signals;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the Host's books say of a CPU, in ticks: all that was user's or system's, and how much of it was a guest's.
fn booked(cpu: usize) -> Outcome<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").map_err(|e| e.to_string())?;
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")))
        .ok_or("no such CPU in /proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal, guest; the first includes the last.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    Ok((ticks[0] + ticks[1] + ticks[2], ticks[8]))
}

/// Makes this thread the only one that runs on a CPU: nothing else of the Host's may have it meanwhile.
fn take(cpu: usize) -> Outcome {
    host::pin(Pid::from_raw(0), cpu)?;
    let urgent = libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure lives across the call.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &urgent) };
    same("sched_setscheduler()", done, 0)
}

/// How long it usually takes until every CPU has left the kernel or changed its task.
fn usual_grace_period() -> Outcome<Duration> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    let mut waits = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        // SAFETY: two integers.
        let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
        same("membarrier()", done, 0)?;
        waits.push(start.elapsed());
    }
    waits.sort();
    Ok(waits[waits.len() / 2])
}

/// The same, on one CPU, while another is kept busy by a thread that does `work`, alone there.
fn usual_beside(work: fn(usize) -> Outcome<Busy>, here: usize, there: usize) -> Outcome<Duration> {
    host::pin(Pid::from_raw(0), here)?;
    let busy = work(there)?;
    let usual = usual_grace_period();
    (busy.stop)();
    join(busy.thread)?;
    usual
}

struct Busy {
    thread: JoinHandle<Outcome>,
    stop: Box<dyn Fn()>,
}

fn busy_program(cpu: usize) -> Outcome<Busy> {
    let stop = Arc::new(AtomicBool::new(false));
    let its_stop = stop.clone();
    let thread = std::thread::spawn(move || {
        take(cpu)?;
        while !its_stop.load(SeqCst) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    let stop = Box::new(move || stop.store(true, SeqCst));
    Ok(Busy { thread, stop })
}

fn busy_guest(cpu: usize) -> Outcome<Busy> {
    let ram = Ram::new(MEMORY);
    let its_ram = ram.clone();
    let thread = std::thread::spawn(move || {
        take(cpu)?;
        let mut guest = Guest::in_memory(work::COUNT_UP, its_ram);
        guest.boot()?;
        guest.powered_off(&guest.finish()?, 0)
    });
    wait_until("the guest counts", || {
        ram.word(COUNT) > 0 || thread.is_finished()
    })?;
    let stop = Box::new(move || ram.set_word(STOP, 1));
    Ok(Busy { thread, stop })
}

/// Runs a guest that computes in a process of its own, which does `first` before.
fn guest_in_a_process(first: impl Fn() -> Outcome) -> Outcome<Pid> {
    // SAFETY: this process has one thread, so the child may do whatever it likes.
    match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let outcome = first().and_then(|()| Guest::new(work::COUNT_UP).run());
            eprintln!("the guest that should compute: {outcome:?}");
            // SAFETY: ends the process.
            unsafe { libc::_exit(1) }
        }
    }
}

/// The number after a word in a file of words and numbers.
fn number(path: &str, word: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let rest = text.lines().find_map(|line| line.strip_prefix(word));
    rest.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// A control group, removed when nobody is left in it.
struct Group(String);

impl Group {
    fn new() -> Outcome<Self> {
        let top = "/run/lguest-groups";
        let failed = |what: &str, e: &dyn std::fmt::Display| format!("{what}: {e}");
        std::fs::create_dir_all(top).map_err(|e| failed(top, &e))?;
        let none: Option<&str> = None;
        match mount(none, top, Some("cgroup2"), MsFlags::empty(), none) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(e) => return Err(failed("mount", &e)),
        }
        let group = Self(format!("{top}/quota"));
        std::fs::write(format!("{top}/cgroup.subtree_control"), "+cpu")
            .map_err(|e| failed("subtree_control", &e))?;
        std::fs::create_dir_all(&group.0).map_err(|e| failed(&group.0, &e))?;
        Ok(group)
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Lets a guest compute until the Host's tick has ended a visit, then computes on its own, alone on a CPU all the while.
fn on_its_own_afterwards(cpu: usize) -> Outcome {
    take(cpu)?;
    let mut guest = Guest::new(work::COUNT_UP);
    guest.boot()?;
    let reason = guest.finish_within(300)?;
    check!(reason.is_none(), "the guest died: {reason:?}");
    let before = booked(cpu)?;
    let mut after = before;
    while after.0 < before.0 + 20 {
        after = booked(cpu)?;
    }
    check!(
        after.1 - before.1 < 5,
        "{} of {} ticks were booked as a guest's",
        after.1 - before.1,
        after.0 - before.0
    );
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("neighbour/its-own-time-is-its-own-again", || {
            let cpu = *host::cpus().last().expect("a CPU");
            join(std::thread::spawn(move || on_its_own_afterwards(cpu)))
        }),
        Case::new("neighbour/a-limit-on-its-time-ends-it", || {
            let child = guest_in_a_process(|| {
                let limit = libc::rlimit {
                    rlim_cur: 1,
                    rlim_max: 10,
                };
                // SAFETY: the structure lives across the call.
                let set = unsafe { libc::setrlimit(libc::RLIMIT_CPU, &limit) };
                same("setrlimit()", set, 0)
            })?;
            let ended = Cell::new(None);
            let outcome = wait_until("it has used up its second", || {
                ended.set(match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => None,
                    other => Some(other),
                });
                ended.get().is_some()
            });
            let _ = kill(child, Signal::SIGKILL);
            outcome?;
            let xcpu = WaitStatus::Signaled(child, Signal::SIGXCPU, false);
            same("its end", ended.get(), Some(Ok(xcpu)))
        }),
        Case::new("neighbour/a-timer-on-its-time-rings", || {
            signals::handle(Signal::SIGPROF, false);
            let every = libc::timeval {
                tv_sec: 0,
                tv_usec: 200_000,
            };
            let timer = libc::itimerval {
                it_interval: every,
                it_value: every,
            };
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            // A fifth of a second of processor time, and in case that nothing comes of it, a long time by the clock.
            let start = Instant::now();
            // SAFETY: the structure lives across the call.
            let set = unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()) };
            same("setitimer()", set, 0)?;
            let reason = guest.finish_within(30_000)?;
            check!(reason.is_none(), "the guest died: {reason:?}");
            check!(
                start.elapsed() < Duration::from_secs(20),
                "the timer did not ring while the guest computed"
            );
            Ok(())
        }),
        Case::new("neighbour/a-quota-holds-for-it", || {
            const QUOTA: u64 = 20_000;
            let group = Group::new()?;
            std::fs::write(group.file("cpu.max"), format!("{QUOTA} 100000"))
                .map_err(|e| format!("cpu.max: {e}"))?;
            let child = guest_in_a_process(|| {
                std::fs::write(group.file("cgroup.procs"), "0").map_err(|e| e.to_string())
            })?;
            let stat = group.file("cpu.stat");
            let waited = wait_until("twenty periods are over", || {
                number(&stat, "nr_periods ") >= 20
            });
            let (periods, used) = (number(&stat, "nr_periods "), number(&stat, "usage_usec "));
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
            waited?;
            check!(
                used < 2 * QUOTA * periods,
                "in {periods} periods of {QUOTA} us it used {used} us"
            );
            Ok(())
        })
        .needing([Need::Kernel("sched_cfs_period_timer")]),
        Case::new("neighbour/its-time-is-booked-as-a-guests", || {
            let cpu = host::cpus()[0];
            take(cpu)?;
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            let before = booked(cpu)?;
            let (all, guests) = loop {
                let reason = guest.finish_within(100)?;
                check!(reason.is_none(), "the guest died: {reason:?}");
                let now = booked(cpu)?;
                if now.0 - before.0 >= 100 {
                    break (now.0 - before.0, now.1 - before.1);
                }
            };
            check!(
                guests * 4 >= all * 3,
                "of {all} ticks in which a guest did nothing but compute, {guests} were booked as a guest's"
            );
            Ok(())
        }),
        Case::slow("neighbour/rcu-does-not-wait-for-it", || {
            let [here, .., there] = host::cpus()[..] else {
                return Err("one CPU waits for nobody".into());
            };
            let beside_programs = usual_beside(busy_program, here, there)?;
            let beside_guests = usual_beside(busy_guest, here, there)?;
            // A task that does not leave the kernel is asked to after a tenth of a second.
            check!(
                beside_guests < 3 * beside_programs + Duration::from_millis(40),
                "a grace period took {beside_guests:?} beside a busy guest, {beside_programs:?} beside a busy program"
            );
            Ok(())
        })
        .needing([Need::TwoCpus]),
    ]
}
