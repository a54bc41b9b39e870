//! The labs have the form of labs, and their solutions are chapters (labs/tool/src/prove.rs). That every starter gets no point, every
//! solution all of them, and that every wrong one fails the test that it is named after takes the building of a hundred systems:
//! `make lab-prove` sees to that, and `.ci/run`.
//!
//! How many tests that are, the labs decide. So this program has no harness: it prints the lines that one would print.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The root of the book.
fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A command that knows nothing of the cargo and the make that run this test.
fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(top());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_theirs = text.starts_with("CARGO_") && text != "CARGO_HOME";
        if is_theirs || ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "RUSTFLAGS", "LD_LIBRARY_PATH"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Whoever only asks for names gets none: a proof's name is known when it is done.
    if args.iter().any(|arg| arg == "--list" || arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let mut filters: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    // All of them are called so, and building what tries them takes its time.
    if !filters.is_empty()
        && !filters
            .iter()
            .any(|filter| filter.contains("lab") || "lab/".contains(filter))
    {
        return ExitCode::SUCCESS;
    }
    let made = clean("make")
        .args(["--silent", "lab-grader"])
        .stdin(Stdio::null())
        .output();
    if !made.as_ref().is_ok_and(|made| made.status.success()) {
        let said = made.map(|made| String::from_utf8_lossy(&[made.stdout, made.stderr].concat()).into_owned());
        println!(
            "test lab/grader ... FAILED\n{}",
            said.unwrap_or_else(|error| error.to_string())
        );
        return ExitCode::FAILURE;
    }
    let mut prove = clean(top().join("target/tangle/debug/lab"));
    prove.args(["prove", "--libtest"]);
    if filters.is_empty() {
        filters = vec!["/form", "/chapter", "/the-chapter--says-nothing"];
    }
    for filter in filters {
        prove.arg("--only").arg(filter);
    }
    match prove.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("test lab/prove ... FAILED\nit cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}
