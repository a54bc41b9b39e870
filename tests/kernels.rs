//! Kernels as distributions ship them: what the Launcher finds in a bzImage.

mod common;
#[path = "../generated/launcher/packers.rs"]
mod packers;

use common::{Machine, System, clean, host, top};
use std::fs;
use std::path::PathBuf;

/// The Launcher that has been built for the VM: it needs no module to look at a file.
fn launcher(args: &[&str]) -> (bool, String) {
    System::whole();
    let program = top().join(format!("target/host-{}/bin/lguest", host()));
    let ran = clean(program).args(args).output().expect("the Launcher");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).expect("text"))
}

/// The kernel of the Host that is called `host`, if it is there.
fn kernel(host: &str) -> Option<PathBuf> {
    let said = clean("bash")
        .args(["-c", r#". "$0"; echo "$image""#])
        .arg(top().join("scripts/lib.sh"))
        .env("HOST", host)
        .env_remove("LINUX_SRC")
        .output()
        .expect("bash is here");
    let path = PathBuf::from(String::from_utf8(said.stdout).expect("a path").trim());
    path.exists().then_some(path)
}

#[test]
fn a_guest_boots_from_a_bzimage_of_every_kind() {
    let whole = System::whole();
    let guest = top().join(format!("target/host-{}/guests/guest", host()));
    let guest = fs::read(guest).expect("the Guest");
    let directory = top().join("target/test/kernels");
    fs::create_dir_all(&directory).expect("a directory for the images");
    let ways = ["gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd"];
    for way in ways {
        let image = packers::bzimage(&packers::pack(way, &guest));
        fs::write(directory.join(way), image).expect("writing an image");
    }
    let shell = format!(
        "for by in {}; do echo exit 9 | lguest run $by >out; echo $by $? $(grep -c Hello out); done",
        ways.join(" ")
    );
    let machine = Machine { cpu: "max", smp: 1 };
    let ran = whole
        .clone()
        .with_extra(directory)
        .in_vm("kernels", machine, &shell, "");
    let wanted = ways.map(|way| format!("{way} 9 1"));
    ran.expect_lines(&wanted.each_ref().map(String::as_str));
}

/// Refused for what it is, and not for how it is packed; `by` says how.
fn expect_linux(kernel: &str, by: &str, knows_xen: bool) {
    let (runs, said) = launcher(&["run", kernel]);
    assert!(!runs && said.contains("this is Linux"), "{said}");
    assert_eq!(said.contains("Xen"), knows_xen, "{said}");

    let (_, told) = launcher(&["inspect", kernel]);
    for part in [
        &format!("packed by {by}\n"),
        "segment    r-x 0x1000000, ",
        "note       Linux 0x100 ",
        "verdict    cannot run: this is Linux",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }
}

#[test]
fn debians_kernel_is_unpacked_and_refused_for_what_it_is() {
    let kernel = kernel("debian").expect("Debian's kernel, which the whole system was built for");
    expect_linux(kernel.to_str().expect("a path"), "zstd", true);
}

/// It is there only where somebody has built it.
#[test]
fn the_debug_kernel_is_unpacked_and_refused_for_what_it_is() {
    if let Some(kernel) = kernel("debug") {
        expect_linux(kernel.to_str().expect("a path"), "gzip", false);
    }
}
