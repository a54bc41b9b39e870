//! Broken memory, found by the CPU while a Guest runs: the Launcher may die of it, the Host must not.

mod common;

use common::{Machine, qmp::Qmp, start_vm};
use std::path::Path;
use std::time::{Duration, Instant};

/// VAL, UC, EN, MISCV, ADDRV, S, AR and "data load": somebody has read a broken word and must not go on (SDM vol. 3, 17.9).
const BROKEN_WORD: u64 = 0xbd80_0000_0000_0134;
/// RIPV, EIPV, MCIP and LMCES: it is known who it was, it can go on, and no other CPU is concerned.
const LOCAL: u64 = 0xf;
/// The address is a physical one, to the page.
const PHYSICAL: u64 = 0x8c;
/// No memory of the Host's, so that nothing is taken away from it.
const NOWHERE: u64 = 8 << 30;

/// The selector of the Guest's kernel. Nothing else runs in ring 1.
const RING_1: &str = "CS =0081";

#[test]
fn in_a_guest_it_kills_the_launcher_only() {
    let name = "machine-check";
    // Relative to the checkout, as in tests/nmi.rs.
    let socket = format!("target/vm/{name}.{}.qmp", std::process::id());
    let argument = format!("-qmp unix:{socket},server=on,wait=off");
    let socket = Path::new(&socket);
    let _ = std::fs::remove_file(socket);
    // Rust's runtime takes the first SIGBUS for a stack overflow that it may look into, unless it finds SIGBUS ignored; the
    // kernel kills all the same.
    let script = "trap '' BUS
        ./vmtests --ignore=Hardware --ignore=mce: --exact hostile/loop/ring1-spin-by-signal
        (echo hello; echo exit 3) | lguest run /guests/guest
        echo guest: $?";
    let mut vm = start_vm(
        name,
        Machine {
            cpu: "max,-la57,vendor=GenuineIntel",
            smp: 1,
        },
        script,
        "",
        &argument,
    );
    let mut injected = false;
    if let Some(mut qmp) = Qmp::connect(socket, &mut vm) {
        let given_up = Instant::now() + Duration::from_secs(600);
        while !injected && vm.runs() && Instant::now() < given_up {
            qmp.execute("stop");
            let in_ring_1 = qmp
                .monitor("info registers")
                .is_some_and(|registers| registers.contains(RING_1));
            if in_ring_1 {
                let command =
                    format!("mce 0 9 {BROKEN_WORD:#x} {LOCAL:#x} {NOWHERE:#x} {PHYSICAL:#x}");
                injected = qmp.monitor(&command).is_some();
            }
            qmp.execute("cont");
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    let ran = vm.wait();
    let _ = std::fs::remove_file(socket);
    if !injected {
        ran.fail("the Guest was never found in ring 1");
    }
    ran.expect_status(0)
        .expect_lines(&["Hello from ring 3.", "guest: 3"]);
    if !ran
        .lines
        .iter()
        .any(|line| line.starts_with("FAIL hostile/loop/") && line.contains("killed by SIGBUS"))
    {
        ran.fail("expected the process that owns the Guest to be killed");
    }
}
