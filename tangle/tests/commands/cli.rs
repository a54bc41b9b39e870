//! The `tangle` command as a shell sees it.

use std::fs;

use crate::common::{copy, stderr, stdout, tangle};

#[test]
fn the_second_run_writes_nothing() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let output = tangle(book.path(), &["tangle"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "2 files, nothing changed\n".to_owned())
    );
}

#[test]
fn one_changed_word_rewrites_one_file() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let chapter = book.path().join("chapters/sub/more.md");
    fs::write(&chapter, fs::read_to_string(&chapter).unwrap().replace("true", "false")).unwrap();
    let output = tangle(book.path(), &[]);
    assert_eq!(stdout(&output), "tangled 2 files, 1 written\n");
}

#[test]
fn a_file_that_the_book_loses_is_removed() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let chapter = book.path().join("chapters/L010-write.md");
    let text = fs::read_to_string(&chapter).unwrap();
    fs::write(&chapter, text.replace(" file=run.sh", "").replace("#the script", "")).unwrap();
    let more = book.path().join("chapters/sub/more.md");
    fs::write(
        &more,
        fs::read_to_string(&more).unwrap().replace("```sh #say it :=", "```sh"),
    )
    .unwrap();
    fs::write(
        &chapter,
        fs::read_to_string(&chapter).unwrap().replace("~~~sh #say it", "~~~sh"),
    )
    .unwrap();
    let output = tangle(book.path(), &[]);
    assert_eq!(stdout(&output), "tangled 1 file, 1 removed\n", "{}", stderr(&output));
    assert!(!book.path().join("generated/run.sh").exists());
}

#[test]
fn from_any_directory_of_the_book_and_to_any_other() {
    let book = copy("program");
    let output = tangle(&book.path().join("chapters/sub"), &["--quiet"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(book.path().join("generated/run.sh").exists());

    let elsewhere = tempfile::tempdir().unwrap();
    let output = tangle(
        elsewhere.path(),
        &["--book", book.path().to_str().unwrap(), "--out", "here"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(elsewhere.path().join("here/module/device.rs").exists());
}

#[test]
fn book_toml_can_name_the_output_directory() {
    let book = copy("program");
    let config = book.path().join("book.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "out = \"build/src\"\n").unwrap();
    assert!(tangle(book.path(), &[]).status.success());
    assert!(book.path().join("build/src/run.sh").exists());
}

#[test]
fn checking_names_what_is_out_of_date() {
    let book = copy("program");
    let output = tangle(book.path(), &["--check"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("error: generated/run.sh is not as the chapters say"),
        "{}",
        stderr(&output)
    );
    assert!(!book.path().join("generated").exists());
    tangle(book.path(), &[]);
    assert_eq!(tangle(book.path(), &["--check"]).status.code(), Some(0));
}

#[test]
fn an_edit_by_hand_is_refused_and_force_drops_it() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let file = book.path().join("generated/run.sh");
    fs::write(&file, "#!/bin/sh\necho mine\n").unwrap();
    let output = tangle(book.path(), &[]);
    assert_eq!(output.status.code(), Some(4));
    let said = stderr(&output);
    assert!(said.contains("generated/run.sh was edited by hand"), "{said}");
    assert!(said.contains("tangle stitch") && said.contains("--force"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "#!/bin/sh\necho mine\n");
    assert_eq!(
        stdout(&tangle(book.path(), &["--force"])),
        "tangled 2 files, 1 written\n"
    );
    assert!(fs::read_to_string(&file).unwrap().contains("said again"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let output = tangle(empty.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("book.toml"), "{}", stderr(&output));

    let book = copy("program");
    fs::remove_file(book.path().join("chapters/sub/more.md")).unwrap();
    let output = tangle(book.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("chapters/sub/more.md"), "{}", stderr(&output));

    fs::write(book.path().join("book.toml"), "[book\n").unwrap();
    assert_eq!(tangle(book.path(), &[]).status.code(), Some(3));
    assert_eq!(tangle(book.path(), &["--no-such-option"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_generated_script_runs() {
    let book = copy("program");
    tangle(book.path(), &[]);
    let output = std::process::Command::new(book.path().join("generated/run.sh"))
        .output()
        .unwrap();
    assert!(stdout(&output).starts_with("said again"));
}

#[test]
fn a_new_book_tangles_at_once() {
    let book = tempfile::tempdir().unwrap();
    let output = tangle(book.path(), &["init"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&tangle(book.path(), &["init"])), "nothing to do\n");
    assert_eq!(stdout(&tangle(book.path(), &[])), "tangled 1 file, 1 written\n");
    assert!(
        fs::read_to_string(book.path().join("book.toml"))
            .unwrap()
            .contains("[preprocessor.tangle]")
    );
    assert!(book.path().join("generated/.gitignore").exists());
}
