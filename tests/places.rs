//! The book is built and run wherever somebody puts it, beside whatever else runs there.

mod common;

use common::copy::{Copy, text};
use common::{Machine, host, start_vm};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

/// Builds the module and the Guest, anew.
fn build(copy: &Copy) {
    copy.tangle();
    for target in ["module", "guest"] {
        let output = copy.run("make", &["--silent", target]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_checkout_may_have_any_name_and_be_moved() {
    let mut copy = Copy::new("places/a copy, the reader's");
    build(&copy);
    let moved = copy.root.with_file_name("another place");
    let _ = fs::remove_dir_all(&moved);
    fs::rename(&copy.root, &moved).expect("moving the copy");
    copy.root = moved;
    // Something of each has to be compiled there.
    copy.insert(
        "L010-write.md",
        "    let request = words.next()?;\n",
        "    let request = request + 0;\n",
    );
    copy.insert(
        "G090-shell.md",
        "print!(\"^C\\n{PROMPT}\");\n",
        "                    let _ = ();\n",
    );
    build(&copy);
}

/// Where the cache is.
fn cache() -> String {
    let home = |name: &str| std::env::var(name).ok().filter(|dir| !dir.is_empty());
    home("LGUEST_CACHE").unwrap_or_else(|| {
        let caches = home("XDG_CACHE_HOME");
        let caches =
            caches.unwrap_or_else(|| format!("{}/.cache", home("HOME").unwrap_or_default()));
        format!("{caches}/lguest-book")
    })
}

/// Runs a line of shell in the copy, where nobody can write to the cache.
fn with_a_cache_of_others(copy: &Copy, shell: &str) -> Output {
    let script = format!(
        "set -e; mount --make-rprivate / 2>/dev/null || true
        mount --bind \"$0\" \"$0\"; trap 'umount --lazy \"$0\"' EXIT; mount -o remount,bind,ro \"$0\"
        if touch \"$0/written\" 2>/dev/null; then exit 99; fi
        {shell}"
    );
    let mut args = vec!["--mount", "--propagation", "unchanged", "sh", "-c", &script];
    if fs::metadata("/proc/self").expect("a process").uid() != 0 {
        args.insert(0, "--map-root-user");
    }
    let cache = cache();
    args.push(&cache);
    copy.run("unshare", &args)
}

#[test]
fn a_cache_that_others_filled_need_not_be_written_to() {
    let copy = Copy::new("places/cache-of-others");
    // It is filled before it is closed.
    build(&copy);
    fs::remove_dir_all(copy.root.join(format!("target/module-{}", host())))
        .expect("removing what was built");
    let output = with_a_cache_of_others(
        &copy,
        "make --silent module; scripts/vm --no-load echo booted </dev/null",
    );
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("booted"), "{}", text(&output));
}

#[test]
fn what_such_a_cache_lacks_is_said() {
    let copy = Copy::new("places/cache-that-lacks");
    let output = with_a_cache_of_others(&copy, "scripts/mdbook 0.0.0-none");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the cache lacks mdBook 0.0.0-none") && said.contains("LGUEST_CACHE="),
        "{said}"
    );
}

#[test]
fn two_vms_of_one_name_keep_their_logs_and_statuses_apart() {
    let machine = Machine { cpu: "max", smp: 1 };
    let begin = |status| {
        // Both are there before either of them ends.
        start_vm(
            "places-two",
            machine,
            &format!("sleep 10; exit {status}"),
            "",
            "",
        )
    };
    let (one, other) = (begin(3), begin(5));
    let logs = [one.log_file(), other.log_file()];
    one.wait().expect_status(3);
    other.wait().expect_status(5);
    for (log, status) in logs.iter().zip([3, 5]) {
        let log = read(log);
        let told: Vec<_> = log
            .lines()
            .filter(|line| line.contains("vm: the command ended"))
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].ends_with(&format!("with status {status}")),
            "{told:?}"
        );
    }
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).expect("a log")).into_owned()
}
