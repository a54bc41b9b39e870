//! The Host's books: what must be the same after a round as before it.

use crate::harness::{Outcome, same};
use crate::host;
use std::fs;
use std::time::{Duration, Instant};

/// What is counted to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Pages that somebody has pinned and not yet let go.
    pins: i64,
    /// Open files of this process.
    files: usize,
    /// Who uses the module: whoever has its device open.
    users: u64,
}

impl Books {
    /// As they are now.
    pub fn now() -> Outcome<Self> {
        Ok(Self {
            pins: pins()?,
            files: files()?,
            users: host::module_users()?,
        })
    }

    /// As they are between two moments in which another guest pins a page.
    pub fn settled() -> Outcome<Self> {
        let mut books = Self::now()?;
        for _ in 0..200 {
            std::thread::yield_now();
            books.pins = books.pins.min(pins()?);
        }
        Ok(books)
    }

    /// Fails unless they are so again. A file that was closed last by a signal, or a page that another guest has pinned for a moment, is given some time.
    pub fn balance(&self) -> Outcome {
        let begun = Instant::now();
        loop {
            let now = Self::now()?;
            if now == *self || begun.elapsed() > Duration::from_secs(5) {
                return same("pins, files and users of the module", now, *self);
            }
            std::thread::yield_now();
        }
    }
}

/// Pages pinned and not let go, of all processes. The kernel counts both for ever, each CPU by itself at first; it is asked to add that up.
fn pins() -> Outcome<i64> {
    let refresh = "/proc/sys/vm/stat_refresh";
    fs::write(refresh, "1").map_err(|e| format!("{refresh}: {e}"))?;
    let text = fs::read_to_string("/proc/vmstat").map_err(|e| format!("/proc/vmstat: {e}"))?;
    let count = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<i64>().ok())
            .ok_or_else(|| format!("no {name} in /proc/vmstat"))
    };
    Ok(count("nr_foll_pin_acquired ")? - count("nr_foll_pin_released ")?)
}

fn files() -> Outcome<usize> {
    let open = fs::read_dir("/proc/self/fd").map_err(|e| format!("/proc/self/fd: {e}"))?;
    Ok(open.count())
}
