//! How a guest may end, as the book has it: a death for any other reason is a find.

use crate::harness::Outcome;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the book promises, with `{}` for a number, and `{*}` for a text. Not among them is what a sound Switcher never reports: that it was
/// trapped itself, that global pages were on, that a stay was another CPU's.
const REASONS: &[&str] = &[
    // Of the guest's own accord.
    "POWEROFF: {}",
    "CRASH: {*}",
    // It has no handler, or no stack for one.
    "unhandled trap {} at {} ({})",
    "bad stack page {}",
    "bad stack segment {}",
    "bad stack pages {}",
    // Hypercalls, and what they are told.
    "hypercall {} before LGUEST_INIT",
    "already have lguest_data",
    "Bad hypercall {}",
    "bad guest page {}",
    "bad system call entry {}",
    "bad descriptor {} for place {}",
    "bad IDT type {} of vector {}",
    "bad IDT handler {} of vector {}",
    "bad promise {}",
    "bad address of lguest_data {}",
    "bad CPU {}",
    "bad CPUs {}",
    "bad CPU entry {}",
    "bad interrupt {}",
    // Memory.
    "bad read address {} len {}",
    "bad write address {} len {}",
    "bad {*} address {} len 8",
    "failed to get page {}",
    // Page tables.
    "attempt to access switcher pages at {}",
    "bad page directory {}",
    "bad page table {} entry {}",
    "bad page table entry {}",
    "bad page directory entry {} at level {}",
    "bad page table entry: frame {} is beyond the limit",
    // DMA.
    "bad dma key {}",
    "bad DMA entry {} len {}",
    "bad DMA buffers {} count {}",
    "bad registered DMA buffer {}",
    "bad address in registered DMA struct {}",
    "Error mapping DMA pages {}",
    "bad address in sending DMA",
    // What an emulated CPU does and no other: see L:042.
    "trap outside the Switcher's stack at {}",
    "flags {} that only ring 0 can set",
];

/// Whether a text is what a pattern says.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else {
        return pattern == text;
    };
    let Some((kind, rest)) = rest.split_once('}') else {
        return false;
    };
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    let is_one = |part: &str| match kind {
        "*" => true,
        _ => is_number(part),
    };
    (0..=text.len())
        .filter(|at| text.is_char_boundary(*at))
        .any(|at| is_one(&text[..at]) && fits(rest, &text[at..]))
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x") {
        Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// How often each has come up, in this process.
static SEEN: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

/// Fails unless the book knows of such an end.
pub fn is_known(reason: &str) -> Outcome {
    let known = REASONS.iter().position(|pattern| fits(pattern, reason));
    let known =
        known.ok_or_else(|| format!("a guest died of {reason:?}, which no chapter tells of"))?;
    SEEN[known].fetch_add(1, Relaxed);
    Ok(())
}

/// How many have come up.
pub fn kinds() -> usize {
    SEEN.iter().filter(|count| count.load(Relaxed) > 0).count()
}

/// Which ends have come up so far, the most frequent first. A fuzzer that always ends in the same way tries little.
pub fn so_far() -> String {
    let mut seen: Vec<(u64, &str)> = SEEN
        .iter()
        .map(|count| count.load(Relaxed))
        .zip(REASONS.iter().copied())
        .filter(|(count, _)| *count > 0)
        .collect();
    seen.sort_unstable_by(|one, other| other.cmp(one));
    let seen: Vec<String> = seen
        .iter()
        .map(|(count, pattern)| format!("{count} {pattern:?}"))
        .collect();
    seen.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_known_to_the_last_letter() {
        for known in [
            "POWEROFF: 0",
            "CRASH: ",
            "CRASH: out (of) 0x9 words",
            "unhandled trap 13 at 0xffffffff80014000 (0x0)",
            "bad DMA entry 0x400000 len 16",
            "bad page table entry 0x1",
            "bad page table entry: frame 0x1 is beyond the limit",
        ] {
            assert_eq!(is_known(known), Ok(()));
        }
        for unknown in [
            "",
            "POWEROFF: ",
            "POWEROFF: 0 ",
            "POWEROFF: x",
            "trap 14 inside the Switcher at 0xffff800000000000",
            "the Host's global pages are on",
            "bad page table entry 0x",
        ] {
            assert!(is_known(unknown).is_err(), "{unknown:?}");
        }
    }
}
