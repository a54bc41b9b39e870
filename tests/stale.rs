//! Launchers with stale selectors: the cases that stopped a CPU of the Host for ever, in a machine of their own.

mod common;

use common::{Machine, Ran, once_booted, start_vm};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Much more than all of them take.
const LIMIT: Duration = Duration::from_secs(300);

/// What it came to, and whether the Host stood still.
fn attempt(name: &str, machine: Machine) -> (Ran, bool) {
    let mut vm = start_vm(name, machine, "./vmtests --dangerous stale/", "", "");
    let begun = Instant::now();
    while vm.runs() && begun.elapsed() < LIMIT {
        sleep(Duration::from_millis(100));
    }
    let hangs = vm.runs();
    if hangs {
        vm.end();
    }
    (vm.wait(), hangs)
}

fn on(name: &str, machine: Machine) {
    let (ran, hangs) = once_booted(name, || attempt(name, machine));
    if hangs {
        ran.fail("the Host stands still, in the case after the last that was told");
    }
    let failed = ran.lines.iter().filter(|line| line.starts_with("FAIL "));
    let failed: Vec<&str> = failed.map(String::as_str).collect();
    if !failed.is_empty() {
        ran.fail(failed.join("\n"));
    }
    ran.expect_status(0);
}

#[test]
fn a_selector_that_cannot_be_loaded_any_more_stops_nobody() {
    on("stale", Machine { cpu: "max", smp: 2 });
}

#[test]
fn nor_without_fsgsbase() {
    let machine = Machine {
        cpu: "qemu64",
        smp: 2,
    };
    on("stale-qemu64", machine);
}
