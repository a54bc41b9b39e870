//! A Host with less memory than its Guests use together, and a disk to swap to.

mod common;

use common::{Machine, System, host};

/// A minute, or as many seconds as `CROWD_SECONDS` says (`make crowd`: ten minutes).
fn seconds() -> u32 {
    let asked = std::env::var("CROWD_SECONDS").ok();
    asked.map_or(60, |text| text.parse().expect("CROWD_SECONDS is a number"))
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
    Some(system.start_vm(name, machine, shell, "", "-m 512M").wait())
}

#[test]
fn sixteen_busy_guests_swap_and_find_what_they_left() {
    let shell = format!("LGUEST_KO=/modules/lguest.ko ./vmtests --crowd {}", seconds());
    if let Some(ran) = on_a_small_host("crowd", &shell) {
        ran.lines.iter().for_each(|line| println!("{line}"));
        ran.expect_lines(&["ok crowd"]).expect_status(0);
    }
}
