//! Signals: handlers that only count, and ways to send one to just this thread.

use crate::device::Answer;
use crate::harness::Outcome;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    SEEN.fetch_add(1, Ordering::SeqCst);
}

/// How many signals were handled so far.
pub fn seen() -> u64 {
    SEEN.load(Ordering::SeqCst)
}

/// Handles a signal by counting it; `restart` says whether system calls go on afterwards.
pub fn handle(signal: Signal, restart: bool) {
    let flags = if restart {
        SaFlags::SA_RESTART
    } else {
        SaFlags::empty()
    };
    // SAFETY: the handler only touches an atomic.
    unsafe {
        sigaction(
            signal,
            &SigAction::new(SigHandler::Handler(count), flags, SigSet::empty()),
        )
    }
    .expect("sigaction");
}

/// Keeps a signal away from this thread.
pub fn block(signal: Signal) {
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_block().expect("pthread_sigmask");
}

/// Sends a signal to one thread of this process.
pub fn send(thread: Pid, signal: Signal) -> Outcome {
    // SAFETY: three integers.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            std::process::id() as libc::pid_t,
            thread.as_raw(),
            signal as libc::c_int,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(format!("tgkill: {}", nix::errno::Errno::last()))
    }
}

/// Sends SIGALRM to the thread that made it.
struct Timer(libc::timer_t);

impl Timer {
    fn new() -> Self {
        handle(Signal::SIGALRM, false);
        // SAFETY: plain data, all zeroes is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        event.sigev_notify_thread_id = gettid().as_raw();
        let mut timer = std::ptr::null_mut();
        assert_eq!(
            // SAFETY: both structures live across the call.
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) },
            0,
            "timer_create"
        );
        Self(timer)
    }

    /// The first signal after so many nanoseconds, 0 being never, and one each `interval`, 0 being no other.
    fn set(&self, first: u64, interval: u64) {
        let time = |ns: u64| libc::timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        };
        let spec = libc::itimerspec {
            it_interval: time(interval),
            it_value: time(first),
        };
        assert_eq!(
            // SAFETY: the timer is ours.
            unsafe { libc::timer_settime(self.0, 0, &spec, std::ptr::null_mut()) },
            0,
            "timer_settime"
        );
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Sends SIGALRM to the thread that made it, again and again, until dropped.
pub struct Alarm {
    _timer: Timer,
}

impl Alarm {
    /// The first after `ms` milliseconds, and then as often: one that comes just before the call that it is to interrupt would
    /// otherwise be lost.
    pub fn every(ms: u64) -> Self {
        let timer = Timer::new();
        timer.set(ms * 1_000_000, ms * 1_000_000);
        Self { _timer: timer }
    }
}

/// One signal, which shall come in the middle of a call.
pub struct Shot {
    timer: Timer,
    delay: u64,
}

impl Shot {
    /// It is on its way.
    pub fn fire(&self) {
        self.timer.set(self.delay, 0);
    }

    /// It shall not come any more.
    pub fn over(&self) {
        self.timer.set(0, 0);
    }
}

/// Makes a call again and again, with a signal that comes earlier or later, until it is hit where that ends it with this errno.
pub fn interrupts(
    what: &str,
    errno: Errno,
    mut call: impl FnMut(&Shot) -> Outcome<Answer>,
) -> Outcome {
    const STEP: u64 = 7_000;
    let mut shot = Shot {
        timer: Timer::new(),
        delay: STEP,
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        match call(&shot)? {
            Err(e) if e == errno => return Ok(()),
            Err(e) => return Err(format!("{what}: expected {errno:?} or success, got {e:?}")),
            Ok(_) => {}
        }
        // From the call's beginning to its end, as long as it may take, and from its beginning again.
        shot.delay = STEP + (shot.delay + STEP) % (400 * STEP);
    }
    Err(format!(
        "no signal ended {what} with {errno:?} in two minutes"
    ))
}
