//! User Mode Linux: a Linux that is a process of the Host, and has its own processes traced by it.

use crate::native;
use nix::mount::MsFlags;
use std::process::{Command, Stdio};

/// Where Debian's program is.
const LINUX: &str = "/uml/linux.uml";

/// Starts User Mode Linux with this program as its first.
pub fn measure() -> Result<(), String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new(LINUX)
        .args([
            "mem=64M",
            "rootfstype=hostfs",
            "rw",
            "con=null",
            "con0=null,fd:2",
        ])
        .arg(format!("init={}", this.display()))
        .args(["--", "inside-uml"])
        .env("TMPDIR", "/dev/shm")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{LINUX}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&said)
    ))
}

/// Does what a process can do, then switches that machine off.
pub fn inside() -> ! {
    // The Host's files are this machine's root; what is written shall stay in memory.
    let done = nix::mount::mount(
        Some("tmp"),
        "/tmp",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|e| format!("mount: {e}"))
    .and_then(|()| native::measure());
    if let Err(why) = done {
        // Linux panics when its first program ends, and User Mode Linux then ends with a status that says so.
        eprintln!("inside UML: {why}");
        std::process::exit(1);
    }
    // SAFETY: takes a number; this machine is over.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    std::process::exit(1)
}
