//! What a case has provoked, for whoever holds the cases to what they are there for: each errno that a call returned and each reason
//! of a death, once, on a line of its own.
//!
//! ```text
//! saw errno GETDMA ENOENT
//! saw death bad dma key 0x1
//! ```

use crate::abi::lhreq;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::getpid;
use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Whether anybody wants to know.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Whether there is no memory to say anything, and what to say when there is.
static HELD: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<Option<(&str, Errno)>> = Mutex::new(None);
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on, say what is seen.
pub fn want() {
    WANTED.store(true, Relaxed);
}

fn saw(what: String) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains(&what) {
        println!("saw {what}");
        seen.insert(what);
    }
}

/// A call has returned this.
pub fn answered<T>(call: impl FnOnce() -> &'static str, answer: &Result<T, Errno>) {
    let Err(errno) = answer else { return };
    if !WANTED.load(Relaxed) {
        return;
    }
    if HELD.load(Relaxed) {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((call(), *errno));
    } else {
        saw(format!("errno {} {errno:?}", call()));
    }
}

/// Makes a call without taking any memory to tell of it. That is done by [`tell`], for the last one.
pub fn hold<T>(call: impl FnOnce() -> T) -> T {
    HELD.store(true, Relaxed);
    let result = call();
    HELD.store(false, Relaxed);
    result
}

/// Tells of what was held.
pub fn tell() {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((call, errno)) = last {
        saw(format!("errno {call} {errno:?}"));
    }
}

/// A guest has died of this.
pub fn died(reason: &str) {
    if WANTED.load(Relaxed) {
        saw(format!("death {reason}"));
    }
}

/// The name of the request that begins at this address, for all who can read it.
pub fn request(at: u64, len: usize) -> &'static str {
    let mut word = [0; 8];
    let from = RemoteIoVec {
        base: at as usize,
        len: 8,
    };
    let read = process_vm_readv(getpid(), &mut [IoSliceMut::new(&mut word)], &[from]);
    if len < 8 || read != Ok(8) {
        return "write";
    }
    match u64::from_ne_bytes(word) {
        lhreq::INITIALIZE => "INITIALIZE",
        lhreq::GETDMA => "GETDMA",
        lhreq::IRQ => "IRQ",
        lhreq::BREAK => "BREAK",
        lhreq::EVENTFD => "EVENTFD",
        lhreq::SAVE => "SAVE",
        lhreq::RESTORE => "RESTORE",
        _ => "write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_name_if_it_can_be_read() {
        let words = [lhreq::SAVE, 7];
        let at = words.as_ptr() as u64;
        assert_eq!(request(at, 16), "SAVE");
        assert_eq!(request(at, 7), "write");
        assert_eq!(request(at + 8, 8), "write");
        assert_eq!(request(0, 8), "write");
    }
}
