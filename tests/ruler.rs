//! The ruler itself: `make bench` is only worth something if it counts right.

mod common;

use common::{clean, make, top};
use std::fs;
use std::process::Stdio;

/// Instructions of the loop, and bytes of the copy (`tests/bench/src/operations.rs`).
const LOOP: u64 = 2001;
const COPIED: u64 = 4096;

/// The median of what was counted for an operation of the calibration.
fn counted(samples: &str, operation: &str) -> u64 {
    let mut counts: Vec<u64> = samples
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("0 {operation} ")))
        .map(|rest| rest.split(' ').next().and_then(|word| word.parse().ok()))
        .map(|count| count.expect("a number"))
        .collect();
    counts.sort_unstable();
    assert!(counts.len() >= 1000, "only {} samples", counts.len());
    counts[counts.len() / 2]
}

/// What `scripts/bench` prints.
fn bench(arguments: &[&str]) -> String {
    if let Err(said) = make(&["HOST=debian", "payload", "ruler"]) {
        panic!("make payload ruler failed:\n{said}");
    }
    let output = clean(top().join("scripts/bench"))
        .args(arguments)
        .env_remove("HOST")
        .stdin(Stdio::null())
        .output()
        .expect("scripts/bench can be run");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed.into_owned()
}

#[test]
fn a_loop_of_known_length_is_counted_right() {
    let printed = bench(&["calibrate"]);
    let samples = fs::read_to_string(top().join("target/bench/calibrate.counts")).expect("counts");
    assert_eq!(counted(&samples, "0"), LOOP);
    // Each round, and the look at the count that is zero.
    assert_eq!(counted(&samples, "1"), COPIED + 1);
    // The CPU's own counter, with the few instructions that read it.
    let ticks: u64 = printed
        .lines()
        .find_map(|line| line.strip_prefix("ticks "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no ticks in {printed:?}"));
    assert!((LOOP..LOOP + 20).contains(&ticks), "{ticks} ticks");
}

#[test]
fn where_the_instructions_are_is_told_by_function() {
    let printed = bench(&["where", "hypercall"]);
    let lines: Vec<(u64, &str)> = printed
        .lines()
        .filter_map(|line| {
            let (count, rest) = line.trim_start().split_once("  ")?;
            Some((count.parse().ok()?, rest.rsplit("  ").next()?))
        })
        .collect();
    let of = |name: &str| {
        lines
            .iter()
            .filter(|(_, function)| *function == name)
            .map(|(count, _)| count)
            .sum::<u64>()
    };
    assert_eq!(of("(the Guest's kernel)"), 1, "{printed}");
    // It begins in the module and ends in the slot, where an address that was not understood would stand for itself.
    assert!(of("lguest_enter [lguest]") > 20, "{printed}");
    assert!(!printed.contains(" 0x"), "{printed}");
    let ours = lines
        .iter()
        .filter(|(_, function)| function.contains("lguest::") && !function.contains(" for "));
    assert!(ours.count() > 3, "{printed}");
    let all: u64 = lines.iter().map(|(count, _)| count).sum();
    assert_eq!(all, 2 * of("together"), "{printed}");
}
