//! A mistake in a chapter, met as a reader meets it: whatever goes wrong, and wherever, it is shown at the chapter's line.

mod common;

use common::copy::{Copy, text};
use std::fs;

/// Fails unless `place` is shown, and no place in generated/.
fn expect_place(shown: &str, place: &str) {
    assert!(shown.contains(place), "{place} is missing in:\n{shown}");
    assert!(!shown.contains("generated/module/"), "{shown}");
}

const CHAPTER: &str = "L010-write.md";
/// The first line of the function that sees every request.
const REQUEST: &str = "    let request = words.next()?;\n";

#[test]
fn what_the_kernels_compilers_and_linkers_say() {
    let copy = Copy::new("wrap/compilers");
    let line = copy.insert(CHAPTER, REQUEST, "    let request: u32 = request;\n");
    copy.tangle();
    let output = copy.run("make", &["--silent", "module"]);
    assert!(!output.status.success());
    let shown = text(&output);
    expect_place(&shown, &format!("--> chapters/{CHAPTER}:{line}:24\n"));
    expect_place(
        &shown,
        &format!("\n{line} |         let request: u32 = request;\n"),
    );
}

#[test]
fn what_the_linker_of_modules_misses() {
    let copy = Copy::new("wrap/linker");
    let call = "    #[allow(unsafe_code)]\n    fn missing() {\n        unsafe extern \"C\" {\n            \
                fn nowhere_to_be_found();\n        }\n        // SAFETY: it is never linked.\n        \
                unsafe { nowhere_to_be_found() };\n    }\n    missing();\n";
    let line = copy.insert(CHAPTER, REQUEST, call) + 6;
    copy.tangle();
    let output = copy.run("make", &["--silent", "module"]);
    assert!(!output.status.success());
    expect_place(
        &text(&output),
        &format!("undefined! at chapters/{CHAPTER}:{line}:"),
    );
}

#[test]
fn what_an_assembler_says() {
    let copy = Copy::new("wrap/assembler");
    let line = copy.insert(
        "S130-system-calls.md",
        "lguest_syscall:\n",
        "\tnosuch %rax\n",
    );
    copy.tangle();
    let output = copy.run("make", &["--silent", "module"]);
    assert!(!output.status.success());
    expect_place(
        &text(&output),
        &format!("--> chapters/S130-system-calls.md:{line}:2\n"),
    );
}

#[test]
fn what_a_kernel_says_when_it_dies_of_the_module() {
    let copy = Copy::new("wrap/oops");
    let line = copy.insert(
        CHAPTER,
        REQUEST,
        "    assert!(request != 77, \"on purpose\");\n",
    );
    copy.tangle();
    let output = copy.run("make", &["--silent", "module"]);
    assert!(output.status.success(), "{}", text(&output));
    let modules = copy.root.join("target/payload/modules");
    fs::create_dir_all(&modules).expect("a directory for the module");
    let host = std::env::var("HOST").unwrap_or_else(|_| "debian".to_owned());
    let built = copy.root.join(format!("target/module-{host}/lguest.ko"));
    fs::copy(built, modules.join("lguest.ko")).expect("the module was built");

    // 77, a word of eight bytes.
    let request = "printf '\\115\\0\\0\\0\\0\\0\\0\\0' >/dev/lguest";
    let boot = || {
        let args = [
            "--root",
            "target/payload",
            "--timeout",
            "600",
            "sh",
            "-c",
            request,
        ];
        let output = copy.run("scripts/vm", &args);
        (output.status.code(), text(&output))
    };
    let (mut status, mut shown) = boot();
    for _ in 0..2 {
        // An emulated kernel now and then dies of itself before it gets anywhere.
        if !shown.contains("on purpose") {
            (status, shown) = boot();
        }
    }
    assert_eq!(status, Some(70), "{shown}");
    let place = format!("chapters/{CHAPTER}:{line}:5");
    expect_place(&shown, &format!("panicked at {place}:"));
    expect_place(&shown, &format!("[lguest] at {place}"));
}
