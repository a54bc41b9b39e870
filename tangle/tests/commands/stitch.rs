//! `tangle stitch` as its users meet it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::{copy, stderr, stdout, tangle};

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn tangled() -> TempDir {
    let book = copy("program");
    assert!(tangle(book.path(), &[]).status.success());
    book
}

#[test]
fn an_edit_comes_back_and_the_next_run_has_nothing_to_do() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    replace(
        &file,
        "self.guest.wake(on);",
        "self.guest.wake(on);\n            self.log();",
    );
    let edited = fs::read_to_string(&file).unwrap();
    assert_eq!(tangle(book.path(), &[]).status.code(), Some(4));
    let output = tangle(book.path(), &["stitch"]);
    assert_eq!(
        stdout(&output),
        "1 edited file, 1 chapter changed\n",
        "{}",
        stderr(&output)
    );
    let chapter = fs::read_to_string(book.path().join("chapters/L010-write.md")).unwrap();
    assert!(chapter.contains("self.guest.wake(on);\n"), "{chapter}");
    assert!(chapter.contains("self.log();"), "{chapter}");
    assert_eq!(stdout(&tangle(book.path(), &[])), "2 files, nothing changed\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);
    assert_eq!(
        stdout(&tangle(book.path(), &["stitch"])),
        "0 edited files, no chapter changed\n"
    );
}

#[test]
fn a_dry_run_shows_the_diff_and_writes_nothing() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    replace(&file, "true", "false");
    let before = fs::read_to_string(book.path().join("chapters/sub/more.md")).unwrap();
    let output = tangle(book.path(), &["stitch", "--dry-run", "--diff"]);
    let shown = stdout(&output);
    assert!(
        shown.contains("--- a/chapters/sub/more.md\n+++ b/chapters/sub/more.md\n@@"),
        "{shown}"
    );
    assert!(shown.contains("true\n+") && shown.contains("false\n"), "{shown}");
    assert!(shown.ends_with("1 edited file, 1 chapter would change\n"), "{shown}");
    assert_eq!(
        fs::read_to_string(book.path().join("chapters/sub/more.md")).unwrap(),
        before
    );
    assert_eq!(tangle(book.path(), &[]).status.code(), Some(4));
}

#[test]
fn chapters_that_changed_meanwhile_keep_their_change() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    replace(&file, "true", "false");
    let chapter = book.path().join("chapters/L010-write.md");
    replace(&chapter, "self.guest.wake(on);", "self.guest.wake_up(on);");
    let output = tangle(book.path(), &["stitch"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let both = fs::read_to_string(&file).unwrap();
    assert!(both.contains("false") && both.contains("wake_up"), "{both}");
    assert_eq!(stdout(&tangle(book.path(), &[])), "2 files, nothing changed\n");
}

#[test]
fn a_conflict_is_shown_with_both_texts_and_nothing_is_written() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    replace(&file, "wake(on)", "wake(by_hand)");
    replace(&file, "true", "false");
    let chapter = book.path().join("chapters/L010-write.md");
    replace(&chapter, "wake(on)", "wake(in_the_chapter)");
    let before = fs::read_to_string(&chapter).unwrap();
    let edited = fs::read_to_string(&file).unwrap();
    let output = tangle(book.path(), &["stitch"]);
    assert_eq!(output.status.code(), Some(4));
    let shown = stderr(&output);
    assert!(
        shown.contains("module/device.rs:10: the chapters changed here too"),
        "{shown}"
    );
    assert!(
        shown.contains("wake(by_hand)") && shown.contains("wake(in_the_chapter)"),
        "{shown}"
    );
    assert_eq!(fs::read_to_string(&chapter).unwrap(), before);
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);
}

#[test]
fn what_a_chapter_cannot_hold_is_refused() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    let text = fs::read_to_string(&file).unwrap();
    for (edited, why) in [
        (text.trim_end().to_owned(), "ends with a line end"),
        (text.replace("true", "<<x>>"), "would be a reference"),
    ] {
        fs::write(&file, edited).unwrap();
        let output = tangle(book.path(), &["stitch"]);
        assert_eq!(output.status.code(), Some(4));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_kept() {
    let book = tangled();
    let file = book.path().join("generated/module/device.rs");
    let mut bytes = fs::read(&file).unwrap();
    bytes.splice(3..3, [0xff, 0xfe]);
    fs::write(&file, &bytes).unwrap();
    let before = fs::read(book.path().join("chapters/L010-write.md")).unwrap();
    for args in [&["stitch"][..], &[]] {
        let output = tangle(book.path(), args);
        assert!(!output.status.success());
        assert!(stderr(&output).contains("device.rs"), "{}", stderr(&output));
    }
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(fs::read(book.path().join("chapters/L010-write.md")).unwrap(), before);
}

/// A book whose fragments cut through expressions, lists of arguments and match arms, and one of which is used twice, at
/// different depths.
const AWKWARD: &str = r#"# Awkward

```rust file=a.rs
<<imports>>

fn main() {
    let value = compute(
        <<the first argument>>
        <<the second argument>>
    );
    match value {
        <<arms>>
    }
    <<say it>>
    if value > 3 {
        loop {
            <<say it>>
        }
    }
}

fn compute(a: u32, b: u32) -> u32 { a + b }
```

- The imports are in a list:

  ```rust #imports
  use std::io::Write;
  ```

  and go on.

> ```rust #the first argument
> very_long_function_name_number_one(1, 2, 3) + very_long_function_name_number_two(4, 5, 6),
> ```

```rust #the second argument
2,
```

```rust #imports +=
use std::collections::BTreeMap;

fn very_long_function_name_number_one(a: u32, b: u32, c: u32) -> u32 { a + b + c }
fn very_long_function_name_number_two(a: u32, b: u32, c: u32) -> u32 { a * b * c }
```

1. ```rust #arms
   0 => { println!("none") }
   <<more arms>>
   ```

```rust #more arms
1 | 2 => {
    println!("a few");
    let map: BTreeMap<u32, u32> = BTreeMap::new(); println!("{}", map.len());
}
_ => println!("many: {} {} {} {}", value, value, value, value),
```

```rust #say it
writeln!(std::io::stdout(), "the value is {value} and this line is long enough").unwrap();
```
"#;

#[test]
fn any_layout_that_rustfmt_makes_comes_back() {
    let book = tempfile::tempdir().unwrap();
    fs::create_dir(book.path().join("src")).unwrap();
    fs::write(book.path().join("book.toml"), "").unwrap();
    fs::write(book.path().join("src/SUMMARY.md"), "[A](a.md)\n").unwrap();
    fs::write(book.path().join("src/a.md"), AWKWARD).unwrap();
    assert!(tangle(book.path(), &[]).status.success());
    let file = book.path().join("generated/a.rs");
    for settings in [
        "max_width=100",
        "hard_tabs=true",
        "tab_spaces=2,max_width=60",
        "max_width=40,fn_call_width=20",
        "newline_style=Windows",
        "use_small_heuristics=Max,max_width=140",
        "tab_spaces=8,brace_style=AlwaysNextLine",
        "max_width=100,newline_style=Unix",
    ] {
        let format = Command::new("rustfmt")
            .args(["--edition", "2024", "--config", settings])
            .arg(&file)
            .status();
        let Ok(status) = format else {
            eprintln!("skipped: there is no rustfmt in PATH");
            return;
        };
        assert!(status.success() || settings.contains("brace_style"), "{settings}");
        let formatted = fs::read_to_string(&file).unwrap();
        let output = tangle(book.path(), &["stitch"]);
        assert!(output.status.success(), "{settings}: {}", stderr(&output));
        fs::remove_dir_all(book.path().join("generated")).unwrap();
        assert!(tangle(book.path(), &[]).status.success());
        assert_eq!(fs::read_to_string(&file).unwrap(), formatted, "{settings}");
    }
}
