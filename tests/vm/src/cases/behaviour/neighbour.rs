//! What others on the Host must not notice, or must be told as it is, while a guest computes.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use nix::unistd::Pid;
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

pub(super) fn cases() -> Vec<Case> {
    vec![
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
                // One CPU waits for nobody.
                return Ok(());
            };
            let beside_programs = usual_beside(busy_program, here, there)?;
            let beside_guests = usual_beside(busy_guest, here, there)?;
            // A task that does not leave the kernel is asked to after a tenth of a second.
            check!(
                beside_guests < 3 * beside_programs + Duration::from_millis(40),
                "a grace period took {beside_guests:?} beside a busy guest, {beside_programs:?} beside a busy program"
            );
            Ok(())
        }),
    ]
}
