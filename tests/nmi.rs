//! Non-maskable interrupts, from outside, while Guests run: they may come between any two instructions, in the Guest, in the
//! Host and in the Switcher, and must reach the Host and hurt nobody.

mod common;

use common::{Machine, Ran, once_booted, qmp::Qmp, start_vm};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Cases that keep Guests busy in every way: in both rings, in system calls, in traps, coming and going.
const CASES: &str =
    "hostile/loop/ hostile/storm/ syscall/ migration/ fpu/kept threads/ life/on-all -cpus-go";

/// What it came to, and how many NMIs were sent.
fn attempt(name: &str, machine: Machine) -> (Ran, u64) {
    // Relative to the checkout, where QEMU and this run: the names of sockets are short, and QEMU_ARGS is a list of words.
    let socket = format!("target/vm/{name}.{}.qmp", std::process::id());
    let argument = format!("-qmp unix:{socket},server=on,wait=off");
    let socket = Path::new(&socket);
    let _ = std::fs::remove_file(socket);
    let script = format!(
        "echo nmi: begin >/dev/kmsg
        LGUEST_KO=/modules/lguest.ko ./vmtests --ignore=NMI --ignore=Dazed {CASES}; status=$?
        (echo spin; echo hello; echo exit 3) | lguest run /guests/guest
        echo guest: $?
        echo nmi: end >/dev/kmsg
        grep NMI: /proc/interrupts
        exit $status"
    );
    let mut vm = start_vm(name, machine, &script, "", &argument);
    let mut sent = 0;
    let mut qmp = Qmp::connect(socket, &mut vm);
    while vm.runs() {
        let log = vm.kernel_log();
        if log.contains("nmi: end") {
            break;
        }
        if log.contains("nmi: begin") {
            // A few at odd distances between two looks at the log.
            for pause in [1, 3, 7, 2, 5, 11] {
                sent += u64::from(qmp.as_mut().is_some_and(|qmp| qmp.execute("inject-nmi")));
                sleep(Duration::from_millis(pause));
            }
        } else {
            sleep(Duration::from_millis(50));
        }
    }
    let ran = vm.wait();
    let _ = std::fs::remove_file(socket);
    (ran, sent)
}

fn shower(name: &str, machine: Machine) {
    let (ran, sent) = once_booted(name, || attempt(name, machine));
    let failed: Vec<&str> = ran
        .lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("FAIL "))
        .collect();
    if !failed.is_empty() {
        ran.fail(format_args!("{sent} NMIs:\n{}\n", failed.join("\n")));
    }
    ran.expect_status(0)
        .expect_lines(&["Hello from ring 3.", "guest: 3"]);
    // What the Host's own handler counted, on all CPUs: some NMIs melt into one, most must not be lost.
    let numbers = ran
        .lines
        .iter()
        .find(|line| line.trim_start().starts_with("NMI:"));
    let counted: u64 = numbers
        .into_iter()
        .flat_map(|line| line.split_whitespace())
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    if sent < 50 || counted < sent / 2 {
        ran.fail(format_args!("of {sent} NMIs the Host counted {counted}"));
    }
}

#[test]
fn a_shower_of_nmis_on_one_cpu() {
    shower(
        "nmi-one-cpu",
        Machine {
            cpu: "max,-la57",
            smp: 1,
        },
    );
}

#[test]
fn a_shower_of_nmis_on_two_cpus() {
    shower("nmi-two-cpus", Machine { cpu: "max", smp: 2 });
}
