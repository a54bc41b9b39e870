// SPDX-License-Identifier: GPL-2.0

//! The Waker: a thread that watches the input while the Launcher is away, running the Guest.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use thiserror::Error;

use crate::lguest::{self, Lguest};
use crate::terminal;

/// Milliseconds until we look again whether the Guest can take what waits for it.
const LOOK_AGAIN: u16 = 10;

/// The signals that ask a program to end.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Why there is no Waker.
#[derive(Debug, Error)]
#[error("the Waker cannot start: {0}")]
pub struct Error(io::Error);

/// What the Waker shall wait for, besides signals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watch {
    /// Something to read.
    pub input: bool,
    /// A moment to pass, since the Guest had no room for what was read.
    pub moment: bool,
}

/// The Launcher's end: it tells the Waker what to watch next.
pub struct Waker {
    orders: Sender<Watch>,
}

impl Waker {
    /// Starts the thread. Call this while it is the only other one, for a thread inherits the signals that are blocked.
    pub fn start(lguest: Arc<Lguest>, watch: Watch) -> Result<Self, Error> {
        let signals = ending_signals().map_err(|error| Error(error.into()))?;
        let (orders, inbox) = channel();
        let body = move || {
            if let Err(error) = wake(&lguest, &signals, watch, &inbox) {
                eprintln!("lguest: the Waker gives up: {error}");
            }
        };
        thread::Builder::new().name("waker".into()).spawn(body).map_err(Error)?;
        Ok(Waker { orders })
    }

    /// Says what to watch next. The Waker waits for this after each time that it has broken the Guest out.
    pub fn watch(&self, watch: Watch) {
        // A Waker that gave up has said so; the Guest goes on without input.
        let _ = self.orders.send(watch);
    }
}

/// From now on the ending signals wait until somebody reads them.
fn ending_signals() -> nix::Result<SignalFd> {
    let signals = SigSet::from_iter(ENDING);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// The thread: wait, break the Guest out, ask what next.
fn wake(lguest: &Lguest, signals: &SignalFd, mut watch: Watch, inbox: &Receiver<Watch>) -> Result<(), lguest::Error> {
    loop {
        wait(signals, watch).map_err(|error| lguest::Error::Break(error.into()))?;
        lguest.break_out()?;
        match inbox.recv() {
            Ok(next) => watch = next,
            Err(_) => return Ok(()), // The Launcher is done.
        }
    }
}

/// Returns when there is a reason to break the Guest out.
fn wait(signals: &SignalFd, watch: Watch) -> nix::Result<()> {
    let input = io::stdin();
    let mut files = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    if watch.input {
        files.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
    }
    let timeout = if watch.moment {
        PollTimeout::from(LOOK_AGAIN)
    } else {
        PollTimeout::NONE
    };
    match poll(&mut files, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error),
    }
    if let Some(signal) = signals.read_signal()? {
        terminal::restore();
        std::process::exit(128 + signal.ssi_signo as i32);
    }
    Ok(())
}

/// Can standard input be read without waiting? At its end it can, too.
pub fn input_is_ready() -> bool {
    let input = io::stdin();
    let mut files = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut files, PollTimeout::ZERO), Ok(1..))
}
