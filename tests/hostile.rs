//! The cases of `tests/vm` on machines other than the usual one, which `make test` puts through all of them.
//!
//! Here each machine gets those in which it might differ and that are soon done; with `LGUEST_ALL_CASES=1` in the environment it gets every
//! one. Two machines stand for all; `-- --include-ignored` asks for those in between, too.

mod common;

use common::{Machine, in_vm};

/// The parts that depend on the CPU, and few enough that six machines are soon done.
const PARTS: &str = "start/ trap/ fault/ irq/ timer/ syscall/ paging/ emulation/ migration/ fpu/ lent/ snapshot/ cpus/ pair/ promise/ \
    hostile/ring hostile/switcher hostile/top-of hostile/virtual hostile/stack-sel hostile/descriptor hostile/cpus hostile/promise \
    hostile/popf hostile/trap-flag -hostile/switcher/jump-all";

fn cases_on(name: &str, machine: Machine) {
    let parts = if std::env::var_os("LGUEST_ALL_CASES").is_some() {
        String::new()
    } else {
        format!("--quick {PARTS}")
    };
    let ran = in_vm(
        name,
        machine,
        &format!("LGUEST_KO=/modules/lguest.ko ./vmtests {parts}"),
        "",
    );
    // By name, for whoever asks cargo not to capture it; a failure shows them in any case.
    for line in &ran.lines {
        println!("{line}");
    }
    let passed = ran
        .lines
        .iter()
        .filter(|line| line.starts_with("ok "))
        .count();
    let failed: Vec<&str> = ran
        .lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("FAIL "))
        .collect();
    let sum = format!("{passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        ran.fail(format_args!(
            "on {machine:?}, {sum}:\n{}\n",
            failed.join("\n")
        ));
    }
    if passed == 0 || ran.lines.last() != Some(&sum) {
        ran.fail(format_args!(
            "on {machine:?}: the cases did not run to their end"
        ));
    }
    ran.expect_status(0);
}

macro_rules! on_every_machine {
    ($($(#[$attribute:meta])* $name:ident: $cpu:literal, $smp:literal;)+) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                cases_on(concat!("cases-", stringify!($name)), Machine { cpu: $cpu, smp: $smp });
            }
        )+
    };
}

on_every_machine! {
    #[ignore = "a simpler CPU stands for this one"]
    cpu_max_smp_1: "max", 1;
    #[ignore = "the usual machine has two CPUs"]
    cpu_max_smp_4: "max", 4;
    #[ignore = "four CPUs stand for one"]
    cpu_max_without_la57_smp_1: "max,-la57", 1;
    cpu_max_without_la57_smp_4: "max,-la57", 4;
    cpu_qemu64_smp_1: "qemu64", 1;
    #[ignore = "one CPU stands for four"]
    cpu_qemu64_smp_4: "qemu64", 4;
}
