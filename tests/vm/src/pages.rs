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

/// What stands in `/proc/kpageflags` for one frame of the machine: what the kernel has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use(u64);

impl Use {
    const UPTODATE: u64 = 1 << 3;
    const LRU: u64 = 1 << 5;
    const MAPPED: u64 = 1 << 11;
    const ANONYMOUS: u64 = 1 << 12;
    const SWAP_BACKED: u64 = 1 << 14;

    /// Whether it is memory of programs or of files. The frame of a free page has none of these marks: it loses them with its last
    /// reference, before it gets into any list of free pages.
    pub fn is_memory(self) -> bool {
        self.0 & (Self::UPTODATE | Self::LRU | Self::ANONYMOUS | Self::SWAP_BACKED) != 0
    }

    /// Whether some program's tables map it.
    pub fn is_mapped(self) -> bool {
        self.0 & Self::MAPPED != 0
    }
}

/// What the kernel has in a frame.
pub fn what_is_in(frames: &[u64]) -> Outcome<Vec<Use>> {
    let flags = File::open("/proc/kpageflags").map_err(|e| format!("kpageflags: {e}"))?;
    let of = |frame: &u64| {
        let mut word = [0; 8];
        flags
            .read_exact_at(&mut word, frame * 8)
            .map(|()| Use(u64::from_ne_bytes(word)))
            .map_err(|e| format!("kpageflags: {e}"))
    };
    frames.iter().map(of).collect()
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
