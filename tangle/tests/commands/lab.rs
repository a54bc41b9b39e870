//! Labs: a chapter more, in two views.

use std::fs;

use crate::common::{copy, stderr, stdout, tangle};

const LAB: &str = "---\ntime: an hour\n---\n# Lab 1: Louder\n\n## Task 1: Shout\n\n<!-- solution -->\nThe Guest deserves it.\n\n\
    ```rust #wake the Guest :=\nwake_loudly();\n```\n<!-- stub -->\n*(Why?)*\n\n```rust #wake the Guest :=\ntodo();\n```\n<!-- end -->\n\n\
    ## How it is graded\n\n| Test | Points | Task | After | What it shows |\n|---|---|---|---|---|\n| `shouts` | 10 | 1 | | It does. |\n";

#[test]
fn a_chapter_more_is_part_of_the_program_in_a_place_of_its_own() {
    let book = copy("program");
    tangle(book.path(), &[]);
    fs::write(book.path().join("01-louder.md"), LAB).unwrap();
    let before = fs::read_to_string(book.path().join("generated/module/device.rs")).unwrap();
    for (solved, code, line) in [(false, "todo();", 18), (true, "wake_loudly();", 12)] {
        let mut args = vec!["--chapter", "01-louder.md", "--out", "other"];
        args.extend(solved.then_some("--solved"));
        let output = tangle(book.path(), &args);
        assert!(output.status.success(), "{}", stderr(&output));
        let file = fs::read_to_string(book.path().join("other/module/device.rs")).unwrap();
        let at = file.lines().position(|line| line.trim() == code).unwrap() + 1;
        // Lines are those of the lab as it is on disk, in both views.
        let place = format!("other/module/device.rs:{at}");
        let mut asked = vec!["where"];
        asked.extend(&args);
        asked.push(&place);
        let there = stdout(&tangle(book.path(), &asked));
        assert!(there.starts_with(&format!("01-louder.md:{line}:")), "{there}");
    }
    let refused = tangle(book.path(), &["--chapter", "01-louder.md"]);
    assert!(stderr(&refused).contains("--out"), "{}", stderr(&refused));
    assert_eq!(
        fs::read_to_string(book.path().join("generated/module/device.rs")).unwrap(),
        before
    );
}

#[test]
fn an_edit_of_what_was_tangled_from_one_view_does_not_destroy_the_other() {
    let book = copy("program");
    fs::write(book.path().join("01-louder.md"), LAB).unwrap();
    let args = ["--chapter", "01-louder.md", "--out", "other"];
    tangle(book.path(), &args);
    let path = book.path().join("other/module/device.rs");
    let edited = fs::read_to_string(&path).unwrap().replace("todo();", "done();");
    fs::write(&path, edited).unwrap();
    let stitch = [&["stitch"], &args[..]].concat();
    let refused = tangle(book.path(), &stitch);
    assert!(stderr(&refused).contains("only one view"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(book.path().join("01-louder.md")).unwrap(), LAB);
    // A student's chapter has one view, and the edit comes home.
    let starter = stdout(&tangle(book.path(), &["lab", "starter", "01-louder.md"]));
    fs::write(book.path().join("01-louder.md"), starter.replace("todo();", "done();")).unwrap();
    let again = tangle(book.path(), &[&args[..], &["--force"]].concat());
    assert!(again.status.success(), "{}", stderr(&again));
    let edited = fs::read_to_string(&path).unwrap().replace("done();", "twice();");
    fs::write(&path, edited).unwrap();
    let stitched = tangle(book.path(), &stitch);
    assert!(stitched.status.success(), "{}", stderr(&stitched));
    assert!(
        fs::read_to_string(book.path().join("01-louder.md"))
            .unwrap()
            .contains("twice();")
    );
}

#[test]
fn the_parts_of_a_lab_are_printed() {
    let book = copy("program");
    fs::write(book.path().join("01-louder.md"), LAB).unwrap();
    for (part, there, gone) in [
        ("starter", "todo();", "wake_loudly"),
        ("solution", "wake_loudly", "todo();"),
        ("handout", "<!-- solution -->\n<!-- stub -->", "wake_loudly"),
    ] {
        let text = stdout(&tangle(book.path(), &["lab", part, "01-louder.md"]));
        assert!(text.contains(there) && !text.contains(gone), "{part}: {text}");
    }
}

#[test]
fn a_mistake_is_told_at_the_line_of_the_lab() {
    let book = copy("program");
    for (from, to, place) in [
        (
            "wake the Guest :=\nwake_loudly",
            "wake the Gust :=\nwake_loudly",
            "01-louder.md:11:",
        ),
        ("wake_loudly();", "{", "01-louder.md:12:"),
        ("| 10 | 1 |", "| 10 | 3 |", "01-louder.md:26:"),
        ("<!-- end -->\n", "", "01-louder.md:8:"),
    ] {
        fs::write(book.path().join("01-louder.md"), LAB.replace(from, to)).unwrap();
        let output = tangle(book.path(), &["lab", "check", "01-louder.md"]);
        assert_eq!(output.status.code(), Some(1), "{to}");
        assert!(stderr(&output).contains(place), "{to}: {}", stderr(&output));
    }
    fs::write(book.path().join("01-louder.md"), LAB).unwrap();
    let output = tangle(book.path(), &["lab", "check", "01-louder.md"]);
    assert_eq!(stdout(&output), "1 lab: no mistakes\n", "{}", stderr(&output));
}

#[test]
fn a_new_lab_is_one_already() {
    let book = copy("program");
    let refused = tangle(book.path(), &["lab", "new", "louder"]);
    assert!(
        stderr(&refused).contains("says nothing of labs"),
        "{}",
        stderr(&refused)
    );
    let toml = book.path().join("book.toml");
    let settings = fs::read_to_string(&toml).unwrap();
    let settings = settings.replace("[preprocessor.tangle]\n", "[preprocessor.tangle]\nlabs = \"labs\"\n");
    fs::write(&toml, settings).unwrap();
    assert_eq!(
        stdout(&tangle(book.path(), &["lab", "new", "much-louder"])).trim(),
        "labs/01-much-louder.md"
    );
    assert_eq!(
        stdout(&tangle(book.path(), &["lab", "new", "loudest"])).trim(),
        "labs/02-loudest.md"
    );
    let output = tangle(book.path(), &["lab", "check"]);
    assert_eq!(stdout(&output), "2 labs: no mistakes\n", "{}", stderr(&output));
    for wrong in [
        &["Louder"][..],
        &["../louder"],
        &["x", "--number", "1"],
        &["x", "--number", "100"],
    ] {
        let refused = tangle(book.path(), &[&["lab", "new"], wrong].concat());
        assert_eq!(refused.status.code(), Some(1), "{wrong:?}");
    }
    // A course may have a form of its own.
    fs::create_dir_all(book.path().join("labs/template/tests")).unwrap();
    fs::write(
        book.path().join("labs/template/{number}-{name}.md"),
        "# Lab {n}: {title}\n",
    )
    .unwrap();
    fs::write(book.path().join("labs/template/tests/lab{number}.rs"), "// {title}\n").unwrap();
    tangle(book.path(), &["lab", "new", "silence", "--title", "Be still"]);
    let read = |path: &str| fs::read_to_string(book.path().join(path)).unwrap();
    assert_eq!(read("labs/03-silence.md"), "# Lab 3: Be still\n");
    assert_eq!(read("labs/tests/lab03.rs"), "// Be still\n");
}
