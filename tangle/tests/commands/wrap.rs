//! `tangle wrap` around real tools, as far as this machine has them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{stderr, stdout, tangle};

/// A book of two chapters whose only file has a type error, a borrow error with three spans and more.
fn book(first: &str, second: &str) -> TempDir {
    let book = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(book.path().join(path), text).unwrap();
    fs::create_dir(book.path().join("src")).unwrap();
    write("book.toml", "");
    write("src/SUMMARY.md", "[A](a.md)\n[B](b.md)\n");
    write("src/a.md", first);
    write("src/b.md", second);
    let output = tangle(book.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    book
}

/// Runs a command wrapped; `None` if this machine does not have it.
fn wrap(book: &Path, command: &[&str]) -> Option<Output> {
    if Command::new(command[0])
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("skipped: there is no {} in PATH", command[0]);
        return None;
    }
    Some(tangle(book, &[&["wrap", "--"], command].concat()))
}

/// Twelve lines of prose, so that chapter numbers are longer than generated ones.
const PROSE: &str = "A line of prose.\n\n\n\n\n\n\n\n\n\n\n\n";

fn borrow() -> TempDir {
    book(
        &format!(
            "{PROSE}```rust file=main.rs\nfn main() {{\n    <<make a list>>\n    println!(\"{{first}}\");\n}}\n```\n"
        ),
        "# B\n\n> ```rust #make a list\n> let mut list = vec![1];\n> let first = &list[0];\n> list.push(2);\n> ```\n",
    )
}

#[test]
fn a_borrow_error_with_spans_in_two_chapters() {
    let book = borrow();
    let Some(output) = wrap(book.path(), &["rustc", "--emit=metadata", "generated/main.rs"]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1));
    let shown = stderr(&output);
    let expected = [
        "  --> src/b.md:6:3\n",
        "   |\n",
        " 5 | ",
        " 6 | ",
        "   | ",
        "  ::: src/a.md:16\n",
        "16 | ",
    ];
    // The numbers stand at the left, as rustc puts them.
    let shown = shown.replace("5  |", " 5 |").replace("6  |", " 6 |");
    let mut rest = shown.as_str();
    for line in expected {
        let (_, behind) = rest
            .split_once(line)
            .unwrap_or_else(|| panic!("{line:?} is missing in\n{shown}"));
        rest = behind;
    }
    assert!(!shown.contains("generated"), "{shown}");
}

#[test]
fn json_has_all_spans_and_columns() {
    let book = borrow();
    let Some(output) = wrap(
        book.path(),
        &["rustc", "--emit=metadata", "--error-format=json", "generated/main.rs"],
    ) else {
        return;
    };
    let first: Value = serde_json::from_str(stderr(&output).lines().next().unwrap()).unwrap();
    let spans = first["spans"].as_array().unwrap();
    let mut seen: Vec<_> = spans
        .iter()
        .map(|span| {
            let chapter = fs::read_to_string(book.path().join(span["file_name"].as_str().unwrap())).unwrap();
            let at = |key: &str| usize::try_from(span[key].as_u64().unwrap()).unwrap();
            let line = chapter.lines().nth(at("line_start") - 1).unwrap();
            let marked = &line[at("column_start") - 1..at("column_end") - 1];
            assert_eq!(&chapter[at("byte_start")..at("byte_end")], marked);
            assert_eq!(span["text"][0]["text"], line);
            assert_eq!(span["text"][0]["highlight_start"], span["column_start"]);
            marked.to_owned()
        })
        .collect();
    seen.sort();
    assert_eq!(seen, ["first", "list", "list.push(2)"], "{first:#}");
    assert!(
        first["rendered"].as_str().unwrap().contains("src/b.md:6:3"),
        "{first:#}"
    );
}

#[test]
fn colours_stay() {
    let book = borrow();
    let Some(output) = wrap(
        book.path(),
        &["rustc", "--emit=metadata", "--color=always", "generated/main.rs"],
    ) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains("--> \x1b[0msrc/b.md:6:3"), "{shown}");
    assert!(shown.contains("m16\x1b[0m \x1b["), "{shown}");
}

#[test]
fn suggestions_and_panics() {
    let book = book(
        &format!("{PROSE}```rust file=main.rs\nfn main() {{\n    <<go>>\n}}\n```\n"),
        "# B\n\n```rust #go\nlet text: String = \"x\";\npanic!(\"{text}\");\n```\n",
    );
    let Some(output) = wrap(book.path(), &["rustc", "-o", "main", "generated/main.rs"]) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains(" --> src/b.md:4:20"), "{shown}");
    assert!(
        shown.contains("\n4 |     let text: String = \"x\".to_string();"),
        "{shown}"
    );

    let chapter = book.path().join("src/b.md");
    let fixed = fs::read_to_string(&chapter)
        .unwrap()
        .replace("\"x\"", "\"x\".to_string()");
    fs::write(&chapter, fixed).unwrap();
    tangle(book.path(), &[]);
    assert!(
        wrap(book.path(), &["rustc", "-o", "main", "generated/main.rs"])
            .unwrap()
            .status
            .success()
    );
    let output = tangle(book.path(), &["wrap", "--", "./main"]);
    assert_eq!(output.status.code(), Some(101));
    assert!(
        stderr(&output).contains("panicked at src/b.md:5:1:"),
        "{}",
        stderr(&output)
    );
}

const C: &str = "# C\n\n```c file=dir/main.c\nint missing(void);\n<<main>>\n```\n\n```c #main\nint main(void)\n{\n    <<body>>\n}\n```\n";

#[test]
fn gcc_and_ld() {
    let book = book(C, "# B\n\n- ```c #body\n  return missing() + nothing;\n  ```\n");
    let Some(output) = wrap(book.path(), &["gcc", "-g", "-o", "main", "generated/dir/main.c"]) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains("src/b.md:4:22: error: "), "{shown}");
    assert!(shown.contains("\n    4 |     return missing() + nothing;"), "{shown}");
    assert!(!shown.contains("generated/dir/main.c:5"), "{shown}");

    let chapter = book.path().join("src/b.md");
    let fixed = fs::read_to_string(&chapter).unwrap().replace(" + nothing", "");
    fs::write(&chapter, fixed).unwrap();
    tangle(book.path(), &[]);
    let output = wrap(book.path(), &["gcc", "-g", "-o", "main", "generated/dir/main.c"]).unwrap();
    assert!(
        stderr(&output).contains("src/b.md:4: undefined reference"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn gdb_lists_lines_of_chapters() {
    let book = book(C, "# B\n\n- ```c #body\n  return 1 + 2;\n  ```\n");
    let args = ["-g", "-o", "main", "generated/dir/main.c"];
    if Command::new("gcc")
        .args(args)
        .current_dir(book.path())
        .status()
        .is_err()
    {
        eprintln!("skipped: there is no gcc in PATH");
        return;
    }
    let script = [
        "gdb",
        "-q",
        "-batch",
        "-nx",
        "-ex",
        "info line 4",
        "-ex",
        "break 4",
        "-ex",
        "list main",
        "main",
    ];
    let Some(output) = wrap(book.path(), &script) else {
        return;
    };
    let shown = stdout(&output);
    for line in [
        "Line 4 of \"src/b.md\" ",
        ": file src/b.md, line 4.\n",
        "\n4\tint missing(void);\n",
        "\n9\tint main(void)\n",
        "\n4\t    return 1 + 2;\n",
    ] {
        assert!(shown.contains(line), "{line:?} is missing in\n{shown}");
    }
}

#[test]
fn an_oops_through_the_debug_information_of_a_relocatable_object() {
    let book = book(
        "# C\n\n```c file=m/mod.c\nint other(int x) { return x * 3; }\n\n<<fault>>\n```\n",
        "# B\n\n```c #fault\n__attribute__((section(\".init.text\")))\nint fault(volatile int *where)\n{\n    *where = 1;\n    return *where;\n}\n```\n",
    );
    let args = ["-g", "-O1", "-c", "-o", "generated/m/lg-mod.ko", "generated/m/mod.c"];
    let Ok(status) = Command::new("gcc").args(args).current_dir(book.path()).status() else {
        eprintln!("skipped: there is no gcc in PATH");
        return;
    };
    assert!(status.success());
    fs::write(
        book.path().join("log"),
        "[    1.0] RIP: 0010:fault+0x0/0xd [lg_mod]\n[    1.1]  ? fault+0x6/0xd [lg_mod 1234]\n[    1.1]  schedule+0x1/0x2\n",
    )
    .unwrap();
    let output = tangle(book.path(), &["wrap", "--", "cat", "log"]);
    let shown = stdout(&output);
    let lines: Vec<_> = shown.lines().collect();
    assert!(
        lines[0].starts_with("[    1.0] RIP: 0010:fault+0x0/0xd [lg_mod] at src/b.md:"),
        "{shown}"
    );
    assert!(
        lines[1].starts_with("[    1.1]  ? fault+0x6/0xd [lg_mod 1234] at src/b.md:7"),
        "{shown}"
    );
    assert_eq!(lines[2], "[    1.1]  schedule+0x1/0x2");
}

#[test]
fn other_directories_and_other_machines() {
    let book = book(C, "# B\n\n```c #body\nreturn 0;\n```\n");
    let log = "make: Entering directory '/x/generated/dir'\nmain.c:1:1: a\nmake: Leaving directory '/x/generated/dir'\n\
               /build/generated/dir/main.c:4: b\nBreakpoint 1 at 0x1: file generated/dir/main.c, line 4.\nother.c:1: c\n\
               generated/dir/main.c:99: d\n";
    fs::write(book.path().join("log"), log).unwrap();
    let output = tangle(book.path(), &["wrap", "--", "cat", "log"]);
    let shown = stdout(&output);
    for line in [
        "src/a.md:4:1: a\n",
        "src/b.md:4: b\n",
        "at 0x1: file src/b.md, line 4.\n",
        "other.c:1: c\n",
        "generated/dir/main.c:99: d\n",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
}

#[test]
fn bytes_input_and_exit_status_pass_through() {
    let book = borrow();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangle"))
        .args(["wrap", "--", "sh", "-c", "cat; exit 7"])
        .current_dir(book.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = b"{not json\n\xff\xfe\r\n\x1b[ \x1b\nno end";
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, bytes);
    assert_eq!(
        tangle(book.path(), &["wrap", "--", "sh", "-c", "kill -9 $$"])
            .status
            .code(),
        Some(137)
    );
    assert_eq!(
        tangle(book.path(), &["wrap", "--", "./no-such-command"]).status.code(),
        Some(3)
    );
}

/// A package whose only file is written in two chapters; the second one is `body`, which begins in its line 4.
fn package(body: &str) -> TempDir {
    book(
        &format!(
            "{PROSE}```toml file=Cargo.toml\n[package]\nname = \"it\"\nedition = \"2024\"\n[workspace]\n```\n\n\
             ```rust file=src/main.rs\n#![deny(unused_variables)]\nfn main() {{\n    <<body>>\n}}\n```\n"
        ),
        &format!("# B\n\n```rust #body\n{body}```\n"),
    )
}

fn cargo(book: &Path, args: &[&str]) -> Option<Output> {
    let manifest = ["--offline", "--quiet", "--manifest-path", "generated/Cargo.toml"];
    let output = wrap(book, &[&["cargo"], args, &manifest].concat())?;
    if stderr(&output).contains("no such command") {
        eprintln!("skipped: there is no cargo {}", args[0]);
        return None;
    }
    assert!(!stderr(&output).contains("generated/src"), "{}", stderr(&output));
    Some(output)
}

#[test]
fn a_suggestion_of_clippy_in_words_and_for_programs() {
    let book = package("let list = vec![1, 2];\nif list.len() == 0 {\n    println!();\n}\n");
    let Some(output) = cargo(book.path(), &["clippy"]) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains("--> src/b.md:5:4\n"), "{shown}");
    assert!(
        shown.contains("\n5 |     if list.len() == 0 {\n  |        ^^^^^^^^^^^^^^^ help: "),
        "{shown}"
    );

    let output = cargo(book.path(), &["clippy", "--message-format=json"]).unwrap();
    let messages = stdout(&output);
    let message = messages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|message| message["message"]["code"]["code"] == "clippy::len_zero")
        .unwrap_or_else(|| panic!("no suggestion in {messages}"));
    let span = &message["message"]["children"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|child| child["spans"].as_array().unwrap().first())
        .unwrap();
    assert_eq!(span["suggestion_applicability"], "MachineApplicable");
    // Whoever applies it mends the chapter.
    let path = book.path().join(span["file_name"].as_str().unwrap());
    let mut chapter = fs::read_to_string(&path).unwrap();
    let at = |key: &str| usize::try_from(span[key].as_u64().unwrap()).unwrap();
    chapter.replace_range(
        at("byte_start")..at("byte_end"),
        span["suggested_replacement"].as_str().unwrap(),
    );
    assert!(chapter.contains("\nif list.is_empty() {\n"), "{chapter}");
}

#[test]
fn a_lint_level_in_a_note_has_its_own_chapter_and_place() {
    let book = package("let list = 1;\n");
    let Some(output) = cargo(book.path(), &["check"]) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains("--> src/b.md:4:5\n"), "{shown}");
    assert!(shown.contains(" --> src/a.md:21:9\n"), "{shown}");
    assert!(
        shown.contains("\n21 | #![deny(unused_variables)]\n   |         ^^^"),
        "{shown}"
    );
    assert!(
        shown.contains("\n 4 |     let list = 1;\n   |         ^^^^") || shown.contains("\n4  |     let list"),
        "{shown}"
    );
}

#[test]
fn what_the_linker_misses() {
    let book = package("unsafe extern \"C\" {\n    fn nowhere();\n}\nunsafe { nowhere() };\n");
    let Some(output) = cargo(book.path(), &["build"]) else {
        return;
    };
    let shown = stderr(&output);
    assert!(shown.contains("nowhere"), "{shown}");
    assert!(shown.contains("src/b.md:7"), "{shown}");
}

#[test]
fn the_frames_of_a_panic() {
    let book = package("let list = [1, 2];\nlet at = std::env::args().count() + 1;\nprintln!(\"{}\", list[at]);\n");
    let Some(output) = cargo(book.path(), &["build"]) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let args = ["wrap", "--", "env", "RUST_BACKTRACE=1", "generated/target/debug/it"];
    let output = tangle(book.path(), &args);
    let shown = stderr(&output);
    assert!(shown.contains("panicked at src/b.md:6:16:"), "{shown}");
    assert!(shown.contains("at src/b.md:6:16\n"), "{shown}");
    assert!(!shown.contains("generated/src"), "{shown}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn assembly_that_came_as_a_text() {
    let assembly = "```asm file=it.s\n<<body>>\n\tret\n```\n";
    let book = book(
        &format!(
            "{PROSE}```rust file=it.rs\n#![no_std]\ncore::arch::global_asm!(include_str!(\"it.s\"), N = const 3, options(att_syntax));\n```\n\n{assembly}"
        ),
        "# B\n\n```asm #body\nit:\n\tmovqq ${N}, %rax\n```\n",
    );
    let args = ["rustc", "--crate-type=lib", "--emit=obj", "-oit.o", "generated/it.rs"];
    let Some(output) = wrap(book.path(), &args) else { return };
    let shown = stderr(&output);
    assert!(shown.contains("--> src/b.md:5:2\n"), "{shown}");
    assert!(shown.contains("\n5 |     movqq $3, %rax\n"), "{shown}");
}

#[test]
fn a_symbol_that_a_kernel_module_misses() {
    let book = book(
        "# C\n\n```c file=m/mod.c\nextern void nowhere(int);\nvoid run(void)\n{\n    <<call>>\n}\n```\n",
        "# B\n\n```c #call\nnowhere(1);\nnowhere(2);\n```\n",
    );
    let args = ["-g", "-O1", "-c", "-o", "objects/it.o", "generated/m/mod.c"];
    fs::create_dir(book.path().join("objects")).unwrap();
    let Ok(status) = Command::new("gcc").args(args).current_dir(book.path()).status() else {
        eprintln!("skipped: there is no gcc in PATH");
        return;
    };
    assert!(status.success());
    fs::write(
        book.path().join("log"),
        "ERROR: modpost: \"nowhere\" [m/it.ko] undefined!\nERROR: modpost: \"other\" [m/it.ko] undefined!\n",
    )
    .unwrap();
    let output = tangle(book.path(), &["wrap", "--objects", "objects", "--", "cat", "log"]);
    let shown = stdout(&output);
    let mut lines = shown.lines();
    let first = lines.next().unwrap();
    assert!(first.contains("undefined! at src/b.md:4"), "{shown}");
    assert!(first.contains(", src/b.md:5"), "{shown}");
    assert!(lines.next().unwrap().ends_with("undefined!"), "{shown}");
}

#[test]
fn without_a_command_it_is_a_filter() {
    let book = borrow();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangle"))
        .arg("wrap")
        .current_dir(book.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"panicked at generated/main.rs:3:5:\n\xff\n> ")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"panicked at src/b.md:5:3:\n\xff\n> ");
}

#[cfg(unix)]
#[test]
fn an_interrupt_is_the_commands_affair() {
    use std::os::unix::process::CommandExt;
    let book = borrow();
    let script = "trap 'echo generated/main.rs:3: interrupted; exit 5' INT; echo ready; while :; do sleep 1; done";
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangle"))
        .args(["wrap", "--", "sh", "-c", script])
        .current_dir(book.path())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    stdout.read_line(&mut shown).unwrap();
    // As a terminal does: to the whole group.
    let group = format!("-{}", child.id());
    assert!(
        Command::new("kill")
            .args(["-INT", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    stdout.read_to_string(&mut shown).unwrap();
    assert_eq!(shown, "ready\nsrc/b.md:5: interrupted\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[cfg(target_os = "linux")]
#[test]
fn no_signal_is_blocked_in_a_command_and_what_it_starts() {
    let book = borrow();
    let output = wrap(book.path(), &["grep", "SigBlk", "/proc/self/status"]).unwrap();
    assert_eq!(stdout(&output), "SigBlk:\t0000000000000000\n");
}

#[cfg(unix)]
#[test]
fn what_ends_it_ends_the_command() {
    let book = borrow();
    let script = "trap 'echo generated/main.rs:3: told to end; exit 5' TERM; echo ready; while :; do sleep 1; done";
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangle"))
        .args(["wrap", "--", "sh", "-c", script])
        .current_dir(book.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    stdout.read_line(&mut shown).unwrap();
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    stdout.read_to_string(&mut shown).unwrap();
    assert_eq!(shown, "ready\nsrc/b.md:5: told to end\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
