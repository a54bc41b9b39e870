//! A Host with less memory than its Guests use together, and a disk to swap to.

mod common;

use common::{Machine, System, host};

/// Half a minute, or as many seconds as `CROWD_SECONDS` says (`make crowd`: ten minutes).
fn seconds() -> u32 {
    let asked = std::env::var("CROWD_SECONDS").ok();
    asked.map_or(30, |text| text.parse().expect("CROWD_SECONDS is a number"))
}

/// Runs a line of shell on a Host of 512 MiB whose disks are as large as that.
fn on_a_small_host(name: &str, shell: &str) -> Option<common::Ran> {
    if host() != "debian" {
        eprintln!("{name}: only Debian's kernel has the drivers of a disk");
        return None;
    }
    let machine = Machine { cpu: "max", smp: 2 };
    let limit = seconds() + 1500;
    let system = System::with_disks("1G").within(limit);
    Some(system.in_vm_with(name, machine, shell, "", "-m 512M"))
}

#[test]
fn sixteen_busy_guests_swap_and_find_what_they_left() {
    let shell = format!("./vmtests --crowd {} 16", seconds());
    if let Some(ran) = on_a_small_host("crowd", &shell) {
        ran.lines.iter().for_each(|line| println!("{line}"));
        ran.expect_lines(&["ok crowd"]).expect_status(0);
    }
}

/// Programs of others press on the same memory in every way that they know: they take it, move it, give it back, fork with it, hold
/// it back, merge it, and move the Guests' from node to node.
const OTHERS: &str = "
    cd /tmp
    stress-ng --temp-path /tmp --timeout $SECONDS_ASKED --verify --oom-avoid --ksm --vm 1 --vm-bytes 160M --vm-keep \
        --mremap 1 --mremap-bytes 16M --madvise 1 --userfaultfd 1 --userfaultfd-bytes 4M --memfd 1 --memfd-bytes 16M \
        --pagemove 1 --pagemove-bytes 4M --pageswap 1 --numa 1 --numa-bytes 8M >/tmp/stress 2>&1 &
    stress=$!
    while kill -0 $stress 2>/dev/null; do
        for guest in $(pidof vmtests); do
            # One that has just ended is no fault.
            migratepages $guest 0 1 || true
            migratepages $guest 1 0 || true
        done 2>/dev/null
        memhog -r1 64M >/dev/null
        echo 1 >/proc/sys/vm/compact_memory
        echo 3 >/proc/sys/vm/drop_caches
    done
    status=0
    wait $stress || status=$?
    cat /tmp/stress
    echo stress-ng: $status
";

#[test]
#[ignore = "as much as all the others: make crowd"]
fn guests_find_what_they_left_whatever_others_do_to_memory() {
    let seconds = seconds();
    let shell = format!(
        "SECONDS_ASKED={seconds}; export SECONDS_ASKED; ./vmtests --crowd {seconds} 9 '{OTHERS}'"
    );
    if let Some(ran) = on_a_small_host("crowd-pressed", &shell) {
        ran.lines.iter().for_each(|line| println!("{line}"));
        ran.expect_lines(&["stress-ng: 0"])
            .expect_lines(&["ok crowd"])
            .expect_status(0);
    }
}
