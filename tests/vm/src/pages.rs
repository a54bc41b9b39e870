//! What the kernel says of single pages of this process.

use crate::harness::Outcome;
use crate::layout::PAGE;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What stands in `/proc/self/pagemap` for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u64);

impl Entry {
    /// Whether this process's tables map a page there.
    pub fn present(self) -> bool {
        self.0 >> 63 != 0
    }

    /// Whether it was written to since `/proc/self/clear_refs` was told to forget that.
    pub fn soft_dirty(self) -> bool {
        self.0 >> 55 & 1 != 0
    }

    /// Which page of the machine it is.
    pub fn frame(self) -> u64 {
        self.0 & ((1 << 55) - 1)
    }
}

/// What the kernel says of pages from an address on.
pub fn entries(at: u64, pages: u64) -> Outcome<Vec<Entry>> {
    let map = File::open("/proc/self/pagemap").map_err(|e| format!("pagemap: {e}"))?;
    let mut bytes = vec![0; 8 * pages as usize];
    map.read_exact_at(&mut bytes, at / PAGE * 8)
        .map_err(|e| format!("pagemap: {e}"))?;
    let words = bytes.chunks_exact(8);
    Ok(words
        .map(|word| Entry(u64::from_ne_bytes(word.try_into().expect("8 bytes"))))
        .collect())
}

/// A field of `/proc/self/status`, in KiB.
pub fn status(field: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("no {field} in /proc/self/status"))
}
