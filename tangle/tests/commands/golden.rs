//! Whole books and what must become of them. `SNAPSHOTS=overwrite cargo test -p tangle --test commands golden` writes the
//! expectations anew; read the difference before you commit it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{stderr, stdout};
use snapbox::{Data, assert_data_eq};

fn expected(case: &str, name: &str) -> Data {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(case)
        .join(format!("expected-{name}"));
    Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw()
}

/// All files below `directory`, each behind a line with its path.
fn tree(directory: &Path) -> String {
    let mut paths = Vec::new();
    collect(directory, &mut paths);
    paths.sort();
    let mut out = String::new();
    for path in paths {
        let shown = path
            .strip_prefix(directory)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        write!(out, "==== {shown}\n{}", fs::read_to_string(&path).unwrap()).unwrap();
    }
    out
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), paths);
        } else if !["base", "stamp"].contains(&&*entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
}

#[test]
fn the_files_and_the_map_of_a_program() {
    let book = crate::common::copy("program");
    let output = crate::common::tangle(book.path(), &[]);
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&output), "tangled 2 files, 2 written\n");
    assert_data_eq!(tree(&book.path().join("generated")), expected("program", "files.txt"));
}

/// Calls `mdbook-tangle` as mdBook does and shows the chapters that come back.
fn woven(renderer: &str) -> String {
    let book = crate::common::copy("program");
    let chapter = |name: &str, path: &str| {
        let content = fs::read_to_string(book.path().join("chapters").join(path)).unwrap();
        serde_json::json!({"Chapter": {
            "name": name, "content": content, "number": null, "sub_items": [],
            "path": path.replace("README", "index"), "source_path": path, "parent_names": []
        }})
    };
    let input = serde_json::json!([
        {"root": "/book", "config": {"book": {"src": "chapters"}}, "renderer": renderer, "mdbook_version": "0.5.4"},
        {"items": [
            chapter("Preface", "README.md"),
            {"PartTitle": "Part"},
            chapter("L:010 Write", "L010-write.md"),
            chapter("More of it", "sub/more.md"),
        ]}
    ]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_mdbook-tangle"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let mut out = String::new();
    show(
        &serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["items"],
        &mut out,
    );
    out
}

fn show(items: &serde_json::Value, out: &mut String) {
    for item in items.as_array().unwrap() {
        let chapter = &item["Chapter"];
        if chapter.is_null() {
            writeln!(out, "==== {item}").unwrap();
            continue;
        }
        let (path, content) = (chapter["path"].as_str().unwrap(), chapter["content"].as_str().unwrap());
        write!(out, "==== {path} ({})\n{content}", chapter["name"].as_str().unwrap()).unwrap();
        show(&chapter["sub_items"], out);
    }
}

#[test]
fn a_program_woven_for_the_web() {
    assert_data_eq!(woven("html"), expected("program", "html.txt"));
}

#[test]
fn a_program_woven_as_markdown() {
    assert_data_eq!(woven("markdown"), expected("program", "markdown.txt"));
}

#[test]
fn a_program_woven_for_mdbook_test() {
    assert_data_eq!(woven("test"), expected("program", "test.txt"));
}

#[test]
fn all_mistakes_for_people() {
    let book = crate::common::copy("mistakes");
    let output = crate::common::tangle(book.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    assert!(!book.path().join("generated").exists());
    assert_data_eq!(stderr(&output), expected("mistakes", "errors.txt"));
}

#[test]
fn all_mistakes_for_programs() {
    let book = crate::common::copy("mistakes");
    let output = crate::common::tangle(book.path(), &["--message-format=json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
    // Without the text for people, which the other test has.
    let lines: Vec<_> = stdout(&output)
        .lines()
        .map(|line| {
            let mut message: serde_json::Value = serde_json::from_str(line).unwrap();
            let rendered = message.as_object_mut().unwrap().remove("rendered").unwrap();
            assert!(rendered.as_str().unwrap().starts_with("error["));
            message.to_string()
        })
        .collect();
    assert_data_eq!(lines.join("\n"), expected("mistakes", "errors.jsonl"));
}
