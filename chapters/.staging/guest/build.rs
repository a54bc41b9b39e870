// SPDX-License-Identifier: GPL-2.0

//! Compiles the Guest's programs, which the kernel carries inside, and tells the linker where the kernel lives.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// One file in `user/` each.
const PROGRAMS: [&str; 3] = ["hello", "spin", "trespass"];

/// No libraries, no startup code, no position independence: what we write is what there is.
///
/// The `core` library was compiled for unwinding and asks for a function that does it. Nobody will call it.
const BARE: [&str; 5] = [
    "-nostdlib",
    "-nostartfiles",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none,-zmax-page-size=4096,-znoexecstack,-znorelro,--defsym=rust_eh_personality=0",
];

fn main() {
    for arg in BARE {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
    println!(
        "cargo::rustc-link-arg-bins=-Wl,-T{}",
        here().join("kernel.ld").display()
    );
    println!("cargo::rerun-if-changed=kernel.ld");
    println!("cargo::rerun-if-changed=user");
    PROGRAMS.into_iter().for_each(compile);
}

/// The directory of this file, since cargo may have been started anywhere.
fn here() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
}

/// Compiles one program to an ELF file of its own in cargo's output directory.
fn compile(program: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let status = Command::new(rustc)
        .arg(here().join("user").join(program).with_extension("rs"))
        .args([
            "--edition=2024",
            "-Cpanic=abort",
            "-Copt-level=s",
            "-Cstrip=symbols",
            "-o",
        ])
        .arg(out.join(program))
        .args(BARE.map(|arg| format!("-Clink-arg={arg}")))
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot compile user/{program}.rs"
    );
}
