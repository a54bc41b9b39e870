//! Labs as their authors try them: `scripts/lab-try`, with the first lab's solution beside systems that do their worst.
//!
//! Each has its turn in the same VM, or in the next one when it was the end of the first; the good one is the last. What a grader
//! relies on is here: nothing that a system under test prints counts, and its Launcher comes nowhere where it could matter.

mod common;

use common::{clean, make, top};

#[test]
fn a_good_system_is_not_harmed_by_bad_ones() {
    if let Err(said) = make(&["payload", "vmtests"]) {
        panic!("make payload vmtests failed:\n{said}");
    }
    let output = clean(top().join("scripts/lab-try"))
        .args([
            "1",
            "tests/labs/answers--stops-the-host.md",
            "tests/labs/shell-asks--looks-around.md",
            "solution",
        ])
        .current_dir(top())
        .output()
        .expect("the script is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let of = |system: &str| {
        let (_, rest) = said
            .split_once(&format!("{system}\n"))
            .unwrap_or_else(|| panic!("{system} had no turn\n{told}"));
        let lines = rest.lines().take_while(|line| line.starts_with(' '));
        lines.collect::<Vec<_>>().join("\n")
    };
    let stops = of("answers--stops-the-host");
    assert!(stops.contains("got one that died"), "{told}");
    // As far as its tests asked for no Guest of the Launcher's, it is as good as the solution.
    let looks = of("shell-asks--looks-around");
    assert!(looks.contains("ok   refuses"), "{told}");
    assert!(looks.contains("found [], some processes"), "{told}");
    let solution = of("solution");
    assert!(!solution.contains("FAIL"), "{told}");
}
