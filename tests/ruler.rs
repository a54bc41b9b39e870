//! The ruler itself: `make bench` is only worth something if it counts right.

mod common;

use common::{clean, make, top};
use object::{Object, ObjectSegment, ObjectSymbol};
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

/// Where the program with this text in it, one of those inside the book's Guest, executes `int 0x80`.
fn int_80(guest: &[u8], text: &[u8]) -> u64 {
    let begins: Vec<usize> = (1..guest.len())
        .filter(|&at| guest[at..].starts_with(b"\x7fELF\x02\x01"))
        .collect();
    let ends = begins.iter().skip(1).copied().chain([guest.len()]);
    let file = begins
        .iter()
        .zip(ends)
        .map(|(&begin, end)| &guest[begin..end])
        .find(|file| file.windows(text.len()).any(|window| window == text))
        .expect("the program");
    let program = object::File::parse(file).expect("an ELF file");
    let code = program.segments().find_map(|segment| {
        let bytes = segment.data().ok()?;
        let at = bytes.windows(2).position(|bytes| bytes == [0xcd, 0x80])?;
        Some(segment.address() + at as u64)
    });
    code.expect("an int 0x80")
}

/// Instructions from the first address until the second, while the Guest obeys this.
fn executed_in_guest(between: [u64; 2], line: &str) -> Vec<u64> {
    let counts = top().join("target/bench/guest.counts");
    let plugin = top().join("target/bench/release/libruler_plugin.so");
    let [begin, end] = between;
    let output = clean(top().join("scripts/vm"))
        .args(["--root", "target/host-debian", "--name", "guest-ruler"])
        .args(["sh", "-c"])
        .arg(format!("echo {line} | lguest run /guests/guest"))
        .env_remove("HOST")
        .env("SMP", "1")
        .env("KERNEL_ARGS", "nokaslr")
        .env(
            "QEMU_ARGS",
            format!(
                "-plugin {},out={},between={begin:x}:{end:x}",
                plugin.display(),
                counts.display()
            ),
        )
        .current_dir(top())
        .stdin(Stdio::null())
        .output()
        .expect("scripts/vm can be run");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("ended with status 0"), "{printed}");
    fs::read_to_string(counts)
        .expect("counts")
        .lines()
        .filter_map(|line| line.strip_prefix("0 4095 "))
        .filter_map(|rest| rest.split(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn a_program_of_the_books_guest_gets_straight_into_its_kernel() {
    if let Err(said) = make(&["HOST=debian", "payload", "ruler"]) {
        panic!("make payload ruler failed:\n{said}");
    }
    let guest = fs::read(top().join("target/host-debian/guests/guest")).expect("the Guest");
    let symbols = object::File::parse(&*guest).expect("an ELF file");
    let trap = symbols
        .symbols()
        .find(|symbol| {
            symbol
                .name()
                .is_ok_and(|name| name.contains("5traps4trap17h"))
        })
        .expect("where all traps arrive");
    let counts = executed_in_guest([int_80(&guest, b"Hello from"), trap.address()], "hello");
    // A gate, a stub and the pushes of a frame. By way of the Host it would be hundreds.
    assert!(
        matches!(counts[..], [1..50]),
        "the call that ends a program, in instructions: {counts:?}"
    );
}
