//! The subcommands that look at a book and write nothing into it, and `--as-of`.

use std::fs;

use crate::common::{copy, stderr, stdout, tangle};

#[test]
fn both_ways_from_chapters_to_files() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let there = stdout(&tangle(book.path(), &["where", "generated/module/device.rs:10:13"]));
    let (place, fragment) = there.trim_end().split_once(" in ").unwrap();
    assert_eq!((place, fragment), ("chapters/L010-write.md:30:4", "<<wake the Guest>>"));
    let back = stdout(&tangle(book.path(), &["where", place]));
    assert_eq!(back, "generated/module/device.rs:10:13 in <<wake the Guest>>\n");
    // From another directory, too.
    let generated = book.path().join("generated/module");
    let there = stdout(&tangle(&generated, &["where", "device.rs:10"]));
    assert!(there.contains("chapters/L010-write.md:30:1"), "{there}");
}

#[test]
fn a_place_without_code_is_named_for_what_it_is() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let asked = |place: &str| {
        let output = tangle(book.path(), &["where", place]);
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    assert_eq!(
        asked("chapters/L010-write.md:1"),
        (
            Some(1),
            "error: chapters/L010-write.md:1 is prose: no file has it\n".to_owned()
        )
    );
    let (status, said) = asked("chapters/L010-write.md:9999");
    assert_eq!(status, Some(1));
    assert!(said.starts_with("error: `chapters/L010-write.md` has "), "{said}");
    let (status, said) = asked("generated/module/device.rs:9999");
    assert_eq!(status, Some(1));
    assert!(said.starts_with("error: `generated/module/device.rs` has "), "{said}");
    assert_eq!(
        asked("nowhere.rs:1"),
        (
            Some(1),
            "error: the book has neither a chapter nor a file `nowhere.rs`\n".to_owned()
        )
    );
    // The line of a reference stands for the fragment, and so does the first line of its fence.
    let (_, fragment) = asked("wake the Guest");
    let text = std::fs::read_to_string(book.path().join("chapters/L010-write.md")).unwrap();
    for what in ["<<wake the Guest>>", "```rust #wake the Guest"] {
        let line = 1 + text.lines().position(|line| line.trim() == what).unwrap();
        assert_eq!(asked(&format!("L010:{line}")), (Some(0), fragment.clone()), "{what}");
    }
}

#[test]
fn a_fragment_has_its_places() {
    let book = copy("program");
    let output = tangle(book.path(), &["where", "wake the Guest"]);
    let shown = stdout(&output);
    assert!(shown.contains("defined   chapters/L010-write.md:"), "{shown}");
    assert!(shown.contains("continued chapters/L010-write.md:"), "{shown}");
    assert!(shown.contains("used      chapters/L010-write.md:"), "{shown}");
    assert!(shown.contains("becomes   generated/module/device.rs:"), "{shown}");
    let output = tangle(book.path(), &["where", "wake the guest"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("did you mean `wake the Guest`?"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn mistakes_in_three_formats() {
    let book = copy("mistakes");
    let text = tangle(book.path(), &["check"]);
    assert_eq!(text.status.code(), Some(1));
    assert!(stderr(&text).contains("error[undefined-fragment]"), "{}", stderr(&text));
    let json = tangle(book.path(), &["check", "--format=json"]);
    assert_eq!(json.status.code(), Some(1));
    let count = stdout(&json).lines().count();
    let sarif = tangle(book.path(), &["check", "--format=sarif"]);
    let log: serde_json::Value = serde_json::from_str(&stdout(&sarif)).unwrap();
    assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), count);
    let fine = copy("program");
    assert!(stdout(&tangle(fine.path(), &["check"])).ends_with("2 files: no mistakes, 3 warnings\n"));
    assert!(!fine.path().join("generated").exists());
}

#[test]
fn what_reads_badly_is_no_mistake_unless_one_is_strict() {
    let book = copy("program");
    let chapter = book.path().join("chapters/L010-write.md");
    let text = fs::read_to_string(&chapter).unwrap();
    fs::write(
        &chapter,
        text + "\nAnd this:\n\n```rust file=alone.rs\nfn open() {\n```\n",
    )
    .unwrap();
    let lenient = tangle(book.path(), &["check"]);
    assert_eq!(lenient.status.code(), Some(0));
    assert!(
        stderr(&lenient).contains("warning[unbalanced-fragment]"),
        "{}",
        stderr(&lenient)
    );
    assert!(
        stdout(&lenient).ends_with("3 files: no mistakes, 4 warnings\n"),
        "{}",
        stdout(&lenient)
    );
    let strict = tangle(book.path(), &["check", "--strict", "--format=json"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(stdout(&strict).contains("\"level\":\"warning\""), "{}", stdout(&strict));
}

#[test]
fn pictures_and_numbers() {
    let book = copy("program");
    assert!(tangle(book.path(), &["graph", "-o", "graph.svg"]).status.success());
    assert!(
        fs::read_to_string(book.path().join("graph.svg"))
            .unwrap()
            .starts_with("<svg ")
    );
    assert!(stdout(&tangle(book.path(), &["stats"])).contains("\ntotal "));
    let json: serde_json::Value = serde_json::from_str(&stdout(&tangle(book.path(), &["stats", "--json"]))).unwrap();
    assert_eq!(json["chapters"].as_array().unwrap().len(), 3);
}

#[test]
fn a_book_that_promises_nothing_has_no_states_that_run() {
    let book = copy("program");
    let output = tangle(book.path(), &["states", "--runs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no chapter promises to run"),
        "{}",
        stderr(&output)
    );
    assert!(tangle(book.path(), &["states"]).status.success());
}

#[test]
fn the_system_as_of_a_chapter() {
    let book = copy("program");
    let chapter = book.path().join("chapters/L010-write.md");
    let text = fs::read_to_string(&chapter).unwrap();
    let text = text.replace("    match request", "    <<log it>>\n    match request");
    fs::write(&chapter, format!("---\nruns: true\n---\n{text}")).unwrap();
    let later = book.path().join("chapters/sub/more.md");
    let more = fs::read_to_string(&later).unwrap() + "\n```rust #log it\nlog(request);\n```\n";
    fs::write(&later, more).unwrap();
    assert_eq!(stdout(&tangle(book.path(), &["states", "--runs"])), "L010\n");
    let output = tangle(book.path(), &["--as-of", "L010", "--out", "then", "--verbose"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("<<log it>> is not defined yet"),
        "{}",
        stderr(&output)
    );
    let then = fs::read_to_string(book.path().join("then/module/device.rs")).unwrap();
    tangle(book.path(), &[]);
    let now = fs::read_to_string(book.path().join("generated/module/device.rs")).unwrap();
    assert!(
        now.len() > then.len() && then.contains("self.guest.wake(on);"),
        "{then}"
    );
    let output = tangle(book.path(), &["--as-of", "L010", "--out", "then"]);
    assert_eq!(stdout(&output), "2 files, nothing changed\n");
    assert_eq!(tangle(book.path(), &["--as-of", "L010"]).status.code(), Some(2));
    let output = tangle(book.path(), &["--as-of", "L999", "--out", "then"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no chapter has the tag `L999`"));
}
