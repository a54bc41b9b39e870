//! `tangle imports` as its users meet it.

use std::fs;

use crate::common::{copy, stderr, stdout, tangle};

/// The golden book, with a file whose imports come from two chapters.
fn book() -> tempfile::TempDir {
    let book = copy("program");
    let add = |chapter: &str, text: &str| {
        let path = book.path().join("chapters").join(chapter);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, before + text).unwrap();
    };
    add(
        "L010-write.md",
        "\n```rust file=in/a.rs\n<<names>>\n\nfn a() {}\n```\n\n```rust #names\nuse k::b;\n```\n",
    );
    add("sub/more.md", "\n```rust #names +=\n\nuse k::a;\n```\n");
    book
}

#[test]
fn what_a_later_chapter_imports_is_joined_and_then_there_is_nothing_to_do() {
    let book = book();
    let run = |args: &[&str]| tangle(book.path(), &[&["imports", "--layout", "cat"], args].concat());
    let chapter = || fs::read_to_string(book.path().join("chapters/sub/more.md")).unwrap();

    let before = chapter();
    let output = run(&["--check"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert_eq!(stdout(&output), "to be joined: names\n");
    assert_eq!(chapter(), before);

    assert_eq!(stdout(&run(&["out/*.rs"])), "");
    assert_eq!(stdout(&run(&["in/*.rs"])), "joined: names\n1 chapter changed\n");
    assert!(
        chapter().ends_with("\n```rust #names :=\nuse k::{a, b};\n```\n"),
        "{}",
        chapter()
    );
    assert!(tangle(book.path(), &[]).status.success());
    let file = fs::read_to_string(book.path().join("generated/in/a.rs")).unwrap();
    assert_eq!(file, "use k::{a, b};\n\nfn a() {}\n");
    assert_eq!(run(&["--check"]).status.code(), Some(0));
}

#[test]
fn a_layout_that_fails_changes_nothing() {
    let book = book();
    let chapter = || fs::read_to_string(book.path().join("chapters/sub/more.md")).unwrap();
    let before = chapter();
    let output = tangle(book.path(), &["imports", "--layout", "cat; exit 7"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("cat; exit 7"), "{}", stderr(&output));
    assert_eq!(chapter(), before);
}
