//! Signals: handlers that only count, and ways to send one to just this thread.

use crate::harness::Outcome;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Sends SIGALRM to the thread that made it, again and again, until dropped.
pub struct Alarm(libc::timer_t);

impl Alarm {
    /// The first after `ms` milliseconds, and then as often: one that comes just before the call that it is to interrupt would
    /// otherwise be lost.
    pub fn every(ms: u64) -> Self {
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
        let time = libc::timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: (ms % 1000 * 1_000_000) as i64,
        };
        let spec = libc::itimerspec {
            it_interval: time,
            it_value: time,
        };
        assert_eq!(
            // SAFETY: the timer was just made.
            unsafe { libc::timer_settime(timer, 0, &spec, std::ptr::null_mut()) },
            0,
            "timer_settime"
        );
        Self(timer)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is ours.
        unsafe { libc::timer_delete(self.0) };
    }
}
