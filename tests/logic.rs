//! `scripts/logic`: what it says of tests that fail, that do not end as tests do, and that are not there.

mod common;

use common::{clean, make, top};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

const TESTS: &str = "
#[cfg(test)]
mod tests {
    #[test]
    fn goes_well() {}
    #[test]
    fn goes_badly() { assert_eq!(1, 2); }
    #[test]
    fn aborts() { std::process::abort(); }
}
";

/// A system that is nothing but these tests.
fn state() -> PathBuf {
    let state = top().join("target/states/of-the-tests");
    fs::create_dir_all(state.join("generated/module")).expect("target can be written to");
    fs::write(state.join("generated/module/addr.rs"), TESTS).expect("target can be written to");
    fs::create_dir_all(state.join("generated/.tangle")).expect("target can be written to");
    let map = top().join("generated/.tangle/map.json");
    fs::copy(map, state.join("generated/.tangle/map.json")).expect("tangle has written it");
    state
}

fn logic(state: &str, words: &[&str]) -> Output {
    clean(top().join("scripts/logic"))
        .args(words)
        .env("STATE", state)
        .current_dir(top())
        .output()
        .expect("scripts/logic can be run")
}

#[test]
fn what_is_said_of_tests() {
    if let Err(said) = make(&["tangle"]) {
        panic!("make tangle failed:\n{said}");
    }
    let state = state();
    let relative = "target/states/of-the-tests";
    for (word, code, printed, said) in [
        ("well", 0, "ok addr::goes_well\n1 passed, 0 failed\n", None),
        (
            "badly",
            101,
            "FAIL addr::goes_badly\n0 passed, 1 failed\n",
            Some("left: 1"),
        ),
        ("aborts", 101, "0 passed, 0 failed\n", Some("SIGABRT")),
        (
            "no such",
            1,
            "0 passed, 0 failed\n",
            Some("no test has such a name, as of of-the-tests"),
        ),
    ] {
        let output = logic(relative, &[word]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{stderr}");
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        match said {
            Some(said) => assert!(stderr.contains(said), "{word}: {stderr}"),
            None => assert_eq!(stderr, ""),
        }
        // Whoever wants to know more is told where it is.
        let log = stderr.contains("the whole log: ");
        assert_eq!(log, code == 101, "{word}: {stderr}");
    }
    let output = logic("target/states/no-such-state", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!top().join("target/states/no-such-state").exists());
    fs::remove_dir_all(state).expect("it is ours");
}
