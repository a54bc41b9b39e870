//! A part of `tests/vm` on Bochs' newest CPU, which reads the manual for itself: its TLB keeps global entries, and it has CET,
//! LASS and protection keys. `make test-bochs` puts all cases through it.

mod common;

use common::{Emulator, Machine, System};

/// Where the second CPU may differ, in a few minutes.
const PARTS: &str = "start/ trap/ fault/ syscall/ emulation/ fpu/ launcher/segment launcher/breakpoints \
    hostile/host-image hostile/switcher/read hostile/selectors hostile/stack-selector hostile/popf hostile/fpu \
    hostile/top-of hostile/far -jump-all";

#[test]
fn the_cases_that_depend_on_the_cpu_pass_there() {
    let machine = Machine {
        cpu: "arrow_lake",
        smp: 1,
    };
    let ran = System::on(Emulator::Bochs, None).in_vm(
        "bochs-arrow-lake",
        machine,
        &format!("LGUEST_KO=/modules/lguest.ko ./vmtests {PARTS}"),
        "",
    );
    for line in &ran.lines {
        println!("{line}");
    }
    if !ran
        .lines
        .last()
        .is_some_and(|line| line.ends_with(" passed, 0 failed"))
    {
        ran.fail("not all cases passed");
    }
    ran.expect_status(0);
}

#[test]
fn a_guest_runs_there_and_has_a_time_stamp_counter() {
    let machine = Machine {
        cpu: "broadwell_ult",
        smp: 2,
    };
    System::on(Emulator::Bochs, None)
        .in_vm(
            "bochs-guest",
            machine,
            "lguest run /guests/guest",
            "hello\nspin\nexit 3\n",
        )
        .expect_lines(&[
            "Hello from ring 3.",
            "hello: ended with status 0",
            "spin: killed: its 50 ticks are used up",
            "guest> exit 3",
        ])
        .expect_status(3);
}
