//! A copy of the book, to make mistakes in or to build somewhere else.

use super::{clean, top};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

/// A copy of the book in which a mistake can be made.
pub struct Copy {
    /// Where it is.
    pub root: PathBuf,
}

impl Copy {
    /// Copies what is built from.
    pub fn new(name: &str) -> Self {
        let root = top().join("target/test").join(name);
        let _ = fs::remove_dir_all(&root);
        for directory in ["chapters", "scripts"] {
            let files = fs::read_dir(top().join(directory)).expect("a directory");
            let files = files.map(|entry| entry.expect("a directory").path());
            put(files.filter(|path| path.is_file()), &root.join(directory));
        }
        put([tangle().to_owned()], &root.join("target/tangle/debug"));
        put(
            ["Makefile", "book.toml"].map(|file| top().join(file)),
            &root,
        );
        Self { root }
    }

    /// Puts `new` behind `old`, and returns the line of the chapter where it begins.
    pub fn insert(&self, chapter: &str, old: &str, new: &str) -> usize {
        let path = self.root.join("chapters").join(chapter);
        let text = fs::read_to_string(&path).expect("the chapter");
        let at = text.find(old).expect("the chapter has this line") + old.len();
        let changed = format!("{}{new}{}", &text[..at], &text[at..]);
        fs::write(&path, &changed).expect("writing the chapter");
        changed[..at].lines().count() + 1
    }

    /// Runs a program in the copy.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let program = match program {
            "make" | "unshare" => PathBuf::from(program),
            own => self.root.join(own),
        };
        clean(program)
            .args(args)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .output()
            .expect("it can be run")
    }

    /// Writes the code.
    pub fn tangle(&self) {
        let output = self.run("target/tangle/debug/tangle", &["--quiet"]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// Copies files to a directory, by a process of its own. Were they written by this one, a child that another test starts at that
/// moment would have them open as well, and what is open for writing cannot be run.
fn put(files: impl IntoIterator<Item = PathBuf>, directory: &Path) {
    fs::create_dir_all(directory).expect("a directory for the copy");
    let copied = clean("cp").args(files).arg(directory).status();
    assert!(copied.expect("cp can be run").success(), "copying files");
}

/// The command that turns chapters into code, and locations back.
fn tangle() -> &'static Path {
    static TANGLE: OnceLock<PathBuf> = OnceLock::new();
    TANGLE.get_or_init(|| {
        let output = clean("make").args(["--silent", "tangle"]).output();
        let output = output.expect("make can be run");
        assert!(output.status.success(), "{}", text(&output));
        top().join("target/tangle/debug/tangle")
    })
}

/// What a program said.
pub fn text(output: &Output) -> String {
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(stdout).into_owned() + &String::from_utf8_lossy(stderr)
}
