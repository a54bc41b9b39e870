//! The Host kernel's log: a case that makes the Host complain has failed, whatever else it says.

use super::Outcome;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek, read};
use std::os::fd::OwnedFd;

/// Words that a healthy kernel does not log.
const COMPLAINTS: &[&str] = &[
    "BUG:",
    "BUG at",
    "kernel BUG",
    "Oops",
    "WARNING:",
    "KASAN",
    "KFENCE",
    "UBSAN",
    "general protection fault",
    "double fault",
    "unable to handle",
    "Kernel panic",
    "Call Trace",
    "rcu_sched self-detected",
    "rcu: INFO",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "bad page state",
    "Bad page",
    "Bad rss-counter",
    "stack-protector",
    "scheduling while atomic",
    "sleeping function called",
    "kmemleak:",
    "refcount_t",
    "Uhhuh. NMI",
    "unexpected IRQ trap",
    "spurious",
    "list_add corruption",
    "list_del corruption",
];

/// A reader of `/dev/kmsg`, if there is one.
pub struct KernelLog {
    file: Option<OwnedFd>,
    ignored: Vec<String>,
}

impl KernelLog {
    /// Starts behind everything logged so far. Messages that contain one of the `ignored` texts are no complaints.
    pub fn from_now(ignored: &[String]) -> Self {
        let file = open(
            "/dev/kmsg",
            OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok();
        if let Some(file) = &file {
            let _ = lseek(file, 0, Whence::SeekEnd);
        }
        Self {
            file,
            ignored: ignored.to_vec(),
        }
    }

    /// The first complaint logged since the last look, but for those that are tolerated.
    pub fn complaint(&self, tolerated: &[&str]) -> Option<String> {
        let messages = self.messages().ok()?;
        messages.into_iter().find(|message| {
            is_complaint(message)
                && !self.ignored.iter().any(|text| message.contains(text))
                && !tolerated.iter().any(|text| message.contains(text))
        })
    }

    /// All that was logged since the last look.
    pub fn messages(&self) -> Outcome<Vec<String>> {
        let file = self.file.as_ref().ok_or("there is no /dev/kmsg")?;
        let mut messages = Vec::new();
        let mut record = [0; 8192];
        loop {
            match read(file, &mut record) {
                Ok(len) if len > 0 => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    let message = text.split_once(';').map_or(&*text, |(_, message)| message);
                    messages.push(message.lines().next().unwrap_or_default().to_owned());
                }
                // Overwritten before we read it: go on with what is still there.
                Err(nix::errno::Errno::EPIPE) => {}
                _ => return Ok(messages),
            }
        }
    }
}

fn is_complaint(message: &str) -> bool {
    COMPLAINTS
        .iter()
        .any(|complaint| message.contains(complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_complaint() {
        assert!(is_complaint(
            "BUG: unable to handle page fault for address: ffff800000000000"
        ));
        assert!(is_complaint("WARNING: CPU: 0 PID: 1 at kernel/x.c:1"));
        assert!(!is_complaint(
            "lguest: loading out-of-tree module taints kernel."
        ));
    }
}
