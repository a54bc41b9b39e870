//! Sessions of `tangle watch`: somebody saves chapters, and waits for what is said.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{stderr, stdout, tangle};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// A tangled book of two chapters, `a` and `b`, with these rules; each chapter becomes a text file of its name, and both
/// become a crate.
fn book(rules: &str) -> TempDir {
    let book = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(book.path().join(path), text).unwrap();
    fs::create_dir(book.path().join("src")).unwrap();
    write("book.toml", rules);
    write("src/SUMMARY.md", "[A](a.md)\n[B](b.md)\n");
    write(
        "src/a.md",
        "# A\n\n```text file=a.txt\ngood\n```\n\n```rust file=lib.rs\nmod a;\nmod b;\n```\n\n\
         ```rust file=a.rs\npub fn a() {}\n<<tests of a>>\n```\n\n\
         ```rust #tests of a\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn it_is() {}\n}\n```\n",
    );
    write(
        "src/b.md",
        "# B\n\n```text file=b.txt\ngood\n```\n\n```rust file=b.rs\nuse crate::a::a;\n#[test]\nfn b() { a() }\n```\n",
    );
    let output = tangle(book.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    book
}

/// Replaces something in a file of the book.
fn save(book: &TempDir, file: &str, old: &str, new: &str) {
    let path = book.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{old:?} is not in {text}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// A watch that is on its way.
struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(book: &TempDir, args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tangle"))
            .arg("watch")
            .args(args)
            .current_dir(book.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut watch = Self { process, lines };
        watch.expect(&["watching 2 chapters"]);
        watch
    }

    /// Fails unless exactly these lines come next.
    fn expect(&mut self, wanted: &[&str]) {
        let mut seen = Vec::new();
        for wanted in wanted {
            let Ok(line) = self.lines.recv_timeout(LONG) else {
                panic!("nothing came instead of {wanted:?}, behind {seen:#?}");
            };
            assert_eq!(line, *wanted, "behind {seen:#?}");
            seen.push(line);
        }
    }

    /// Ends it as ^C does, and returns what it said meanwhile.
    fn stop(mut self) -> Vec<String> {
        let kill = Command::new("kill")
            .args(["-INT", &self.process.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert!(self.process.wait().unwrap().success());
        self.lines.iter().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // After a failure; otherwise it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A named pipe: opening it waits for the other side, and it ends when that does.
fn pipe(book: &TempDir, name: &str) {
    let status = Command::new("mkfifo").arg(book.path().join(name)).status();
    assert!(status.unwrap().success());
}

const TWO: &str = "[[preprocessor.tangle.watch]]\nname = \"first\"\nwhen = [\"generated/a.txt\"]\n\
    run = 'grep -q good $TANGLE_CHANGED || { echo \"generated/a.txt:1: bad\" >&2; exit 1; }'\n\
    [[preprocessor.tangle.watch]]\nname = \"second\"\nwhen = [\"generated/*.txt\"]\nrun = \"true\"\n";

#[test]
fn only_what_depends_on_a_change_runs() {
    let book = book(TWO);
    let mut watch = Watch::start(&book, &[]);
    save(&book, "src/b.md", "good", "better");
    watch.expect(&[
        "changed generated/b.txt: second ...",
        "changed generated/b.txt: second fine",
    ]);
    save(&book, "src/a.md", "good", "very good");
    watch.expect(&[
        "changed generated/a.txt: first ...",
        "changed generated/a.txt: second ...",
        "changed generated/a.txt: first, second fine",
    ]);
    save(&book, "src/a.md", "# A", "# Another");
    watch.expect(&["no file changed"]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn what_fails_is_shown_once_and_first_in_the_next_round() {
    let book = book(TWO);
    let mut watch = Watch::start(&book, &[]);
    save(&book, "src/a.md", "good", "evil");
    watch.expect(&[
        "changed generated/a.txt: first ...",
        "src/a.md:4: bad",
        "changed generated/a.txt: first failed (exit status: 1)",
    ]);
    save(&book, "src/b.md", "good", "better");
    watch.expect(&[
        "changed generated/b.txt: first ...",
        "changed generated/b.txt: first failed (exit status: 1)",
    ]);
    save(&book, "src/a.md", "evil", "good");
    watch.expect(&[
        "changed generated/a.txt: first ...",
        "changed generated/a.txt: second ...",
        "changed generated/a.txt: first, second fine",
    ]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn mistakes_of_the_book_are_shown_and_mended() {
    let book = book(TWO);
    let mut watch = Watch::start(&book, &[]);
    save(&book, "src/a.md", "good", "<<nothing like it>>");
    watch.expect(&["error[undefined-fragment]: no fragment is called `nothing like it`"]);
    let mut shown = Vec::new();
    while shown.last().is_none_or(|line| line != "1 mistake in the book") {
        shown.push(watch.lines.recv_timeout(LONG).expect("a status"));
    }
    assert!(shown[0].contains("src/a.md:4:1"), "{shown:#?}");
    assert_eq!(
        fs::read_to_string(book.path().join("generated/a.txt")).unwrap(),
        "good\n"
    );
    save(&book, "src/a.md", "<<nothing like it>>", "good again");
    watch.expect(&[
        "changed generated/a.txt: first ...",
        "changed generated/a.txt: second ...",
        "changed generated/a.txt: first, second fine",
    ]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn saving_again_ends_what_runs_and_begins_anew() {
    let rule = "[[preprocessor.tangle.watch]]\nname = \"slow\"\nwhen = [\"**\"]\n\
        run = \"if grep -q slow generated/a.txt; then exec >pipe; echo begun; sleep 1000; fi\"\n";
    let book = book(rule);
    pipe(&book, "pipe");
    let mut watch = Watch::start(&book, &[]);
    save(&book, "src/a.md", "good", "slow");
    watch.expect(&["changed generated/a.txt: slow ..."]);
    // It has begun: its side of the pipe is open.
    let mut reader = BufReader::new(File::open(book.path().join("pipe")).unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    save(&book, "src/a.md", "slow", "quick");
    watch.expect(&["changed generated/a.txt: slow fine"]);
    // And all of it is gone: so is its side of the pipe.
    assert_eq!(reader.read_line(&mut line).unwrap(), 0);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn a_mistake_ends_what_runs_until_it_is_mended() {
    let rule = "[[preprocessor.tangle.watch]]\nname = \"slow\"\nwhen = [\"**\"]\n\
        run = \"if grep -q slow generated/a.txt; then exec >pipe; echo begun; sleep 1000; fi\"\n";
    let book = book(rule);
    pipe(&book, "pipe");
    let mut watch = Watch::start(&book, &[]);
    save(&book, "src/a.md", "good", "slow");
    watch.expect(&["changed generated/a.txt: slow ..."]);
    let mut reader = BufReader::new(File::open(book.path().join("pipe")).unwrap());
    save(&book, "src/a.md", "slow", "<<nothing>>");
    while watch.lines.recv_timeout(LONG).expect("a status") != "1 mistake in the book" {}
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    save(&book, "src/a.md", "<<nothing>>", "quick");
    watch.expect(&[
        "changed generated/a.txt: slow ...",
        "changed generated/a.txt: slow fine",
    ]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn whoever_ends_it_ends_everything() {
    let rule =
        "[[preprocessor.tangle.watch]]\nname = \"slow\"\nwhen = [\"**\"]\nrun = \"exec >job; echo job; sleep 1000\"\n";
    let book = book(rule);
    pipe(&book, "job");
    pipe(&book, "companion");
    let mut watch = Watch::start(&book, &["--with", "exec >companion; echo companion; sleep 1000"]);
    save(&book, "src/a.md", "good", "better");
    watch.expect(&["changed generated/a.txt: slow ..."]);
    let ends = ["job", "companion"].map(|name| {
        let path = book.path().join(name);
        let (sender, begun) = mpsc::channel();
        let end = thread::spawn(move || {
            let mut reader = BufReader::new(File::open(&path).unwrap());
            let mut text = String::new();
            reader.read_line(&mut text).unwrap();
            sender.send(()).unwrap();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        begun.recv_timeout(LONG).unwrap();
        end
    });
    assert_eq!(watch.stop(), [""; 0]);
    assert_eq!(ends.map(|end| end.join().unwrap()), ["job\n", "companion\n"]);
}

#[test]
fn a_companion_that_ends_by_itself_is_missed() {
    let book = book("");
    pipe(&book, "pipe");
    let mut watch = Watch::start(&book, &["--with", "read go <pipe; echo last words; exit 3"]);
    fs::write(book.path().join("pipe"), "go\n").unwrap();
    watch.expect(&[
        "last words",
        "`read go <pipe; echo last words; exit 3` has ended: exit status: 3",
    ]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn only_the_tests_that_a_change_reaches_run() {
    let rule = "[[preprocessor.tangle.watch]]\nname = \"tests\"\nwhen = [\"generated/**\"]\nshow = true\n\
        run = 'echo \"tests: $TANGLE_TESTS\"'\ntests-of = \"generated/lib.rs\"\n\
        [preprocessor.tangle.watch.tests]\n\"generated/b.txt\" = \"text\"\n";
    let book = book(rule);
    let mut watch = Watch::start(&book, &[]);
    for (chapter, old, new, file, tests) in [
        ("src/a.md", "pub fn a() {}", "pub fn a() { }", "a.rs", "a:: b::"),
        ("src/a.md", "fn it_is() {}", "fn it_is() { }", "a.rs", "a::tests::"),
        ("src/b.md", "a() }", "a(); }", "b.rs", "b::"),
        ("src/b.md", "good", "better", "b.txt", "text"),
    ] {
        save(&book, chapter, old, new);
        watch.expect(&[
            &format!("changed generated/{file}: tests ..."),
            &format!("tests: {tests}"),
            &format!("changed generated/{file}: tests fine"),
        ]);
    }
    // No test knows it.
    save(&book, "src/a.md", "good", "better");
    watch.expect(&["changed generated/a.txt"]);
    assert_eq!(watch.stop(), [""; 0]);
}

#[test]
fn a_command_runs_after_every_change() {
    let book = book(TWO);
    fs::remove_dir_all(book.path().join("generated")).unwrap();
    let command = ["watch", "--once", "--", "sh", "-c", "echo \"$TANGLE_CHANGED\"; exit 3"];
    let output = tangle(book.path(), &command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stdout(&output),
        "watching 2 chapters\nchanged 5 files: sh ...\ngenerated/a.rs\ngenerated/a.txt\ngenerated/b.rs\ngenerated/b.txt\n\
         generated/lib.rs\nchanged 5 files: sh failed (exit status: 3)\n"
    );
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let book = book("[[preprocessor.tangle.watch]]\nname = \"x\"\nwhen = [\"a***\"]\nrun = \"true\"\n");
    let output = tangle(book.path(), &["watch"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("the glob `a***`"), "{}", stderr(&output));
}
