//! Compares the speed and the memory of `tangle` with those of another literate tool, `entangled` (the crate
//! `entangled-cli`), on a generated book of 200 chapters, 400 files and 100 000 lines of code.
//!
//! ```sh
//! cargo install entangled-cli --version 0.4.0
//! cargo build --release
//! cargo run --release --example benchmark -- target/release/tangle entangled
//! ```
//!
//! Without a second command it measures `tangle` alone; with `--keep DIR` in front it leaves the book in DIR. The tools take
//! turns, so that whatever else the machine does meets both. Of times the best counts, of memory the worst.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CHAPTERS: usize = 200;
const FILES_PER_CHAPTER: usize = 2;
const FRAGMENTS_PER_FILE: usize = 10;
const LINES_PER_FRAGMENT: usize = 24;
/// How often each tool begins with nothing.
const RUNS: usize = 7;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let keep = (args.first().map(String::as_str) == Some("--keep")).then(|| {
        args.remove(0);
        PathBuf::from(args.remove(0))
    });
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let base = keep.unwrap_or_else(|| temporary.path().to_owned());
    let lines = write_book(&base.join("tangle"));
    write_book(&base.join("entangled"));
    let files = CHAPTERS * FILES_PER_CHAPTER;
    println!("{CHAPTERS} chapters, {files} files, {lines} lines of code");
    let [ours, others @ ..] = args.as_slice() else { return };
    let mut tools = vec![Tool::new("tangle", base.join("tangle"), ours, &["--quiet"])];
    if let Some(other) = others.first() {
        tools.push(Tool::new("entangled", base.join("entangled"), other, &["tangle"]));
    }
    for _ in 0..RUNS {
        for tool in &mut tools {
            tool.measure();
        }
    }
    println!(
        "{:12} {:>11} {:>11} {:>13} {:>13}",
        "", "cold", "memory", "no change", "memory"
    );
    for tool in &tools {
        let ms = |figures: &Figures| figures.time.as_secs_f64() * 1e3;
        println!(
            "{:12} {:8.1} ms {:7.1} MiB {:10.1} ms {:9.1} MiB",
            tool.name,
            ms(&tool.cold),
            tool.cold.mebibytes(),
            ms(&tool.warm),
            tool.warm.mebibytes()
        );
    }
    if let [ours, theirs] = tools.as_slice() {
        let time = |ours: &Figures, theirs: &Figures| ours.time.as_secs_f64() / theirs.time.as_secs_f64();
        let memory = |ours: &Figures, theirs: &Figures| ours.mebibytes() / theirs.mebibytes();
        println!(
            "{:12} {:11.3} {:11.2} {:13.3} {:13.2}",
            "ratio",
            time(&ours.cold, &theirs.cold),
            memory(&ours.cold, &theirs.cold),
            time(&ours.warm, &theirs.warm),
            memory(&ours.warm, &theirs.warm)
        );
        compare(&ours.root.join("generated"), &theirs.root.join("generated"), files);
    }
}

/// A tool, its copy of the book, and what it was seen to need.
struct Tool<'a> {
    name: &'a str,
    root: PathBuf,
    command: PathBuf,
    args: &'a [&'a str],
    cold: Figures,
    warm: Figures,
}

/// The best time, and the most memory in KiB.
struct Figures {
    time: Duration,
    memory: u32,
}

impl Figures {
    const NONE: Self = Self {
        time: Duration::MAX,
        memory: 0,
    };

    fn add(&mut self, other: &Self) {
        self.time = self.time.min(other.time);
        self.memory = self.memory.max(other.memory);
    }

    fn mebibytes(&self) -> f64 {
        f64::from(self.memory) / 1024.0
    }
}

impl<'a> Tool<'a> {
    fn new(name: &'a str, root: PathBuf, command: &str, args: &'a [&'a str]) -> Self {
        prepare(&root, name);
        Self {
            name,
            root,
            command: absolute(command),
            args,
            cold: Figures::NONE,
            warm: Figures::NONE,
        }
    }

    /// Once with nothing, and three times with nothing to do.
    fn measure(&mut self) {
        for directory in ["generated", ".entangled"] {
            if self.root.join(directory).exists() {
                fs::remove_dir_all(self.root.join(directory)).unwrap();
            }
        }
        self.cold.add(&self.run());
        for _ in 0..3 {
            self.warm.add(&self.run());
        }
    }

    fn run(&self) -> Figures {
        let start = Instant::now();
        let mut child = Command::new(&self.command)
            .args(self.args)
            .current_dir(&self.root)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.command.display()));
        let status = format!("/proc/{}/status", child.id());
        let mut memory = 0;
        loop {
            let seen = fs::read_to_string(&status).unwrap_or_default();
            let high_water = seen.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = high_water.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
            memory = memory.max(kib.unwrap_or(0));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{} failed", self.command.display());
                let time = start.elapsed();
                return Figures { time, memory };
            }
            thread::sleep(Duration::from_micros(300));
        }
    }
}

/// A command with a path may be relative to where this was started.
fn absolute(command: &str) -> PathBuf {
    if command.contains('/') {
        std::path::absolute(command).expect("the current directory exists")
    } else {
        PathBuf::from(command)
    }
}

/// Writes the book and returns how many lines of code it has.
fn write_book(root: &Path) -> usize {
    fs::create_dir_all(root.join("src")).expect("a writable directory");
    let mut summary = String::from("# Summary\n\n");
    let mut lines = 0;
    for chapter in 0..CHAPTERS {
        let mut text = format!("# Chapter {chapter}\n\n");
        writeln!(summary, "- [Chapter {chapter}](c{chapter:03}.md)").unwrap();
        for file in 0..FILES_PER_CHAPTER {
            let number = chapter * FILES_PER_CHAPTER + file;
            // Both tools put their files where the book says: below `generated`.
            writeln!(
                text,
                "The file {number} does this:\n\n```rust file=FILES/d{chapter}/f{number}.rs"
            )
            .unwrap();
            text.push_str("//! A generated file.\n\n");
            for part in 0..FRAGMENTS_PER_FILE {
                writeln!(
                    text,
                    "pub fn function_{number}_{part}() {{\n    <<part-{number}-{part}>>\n}}"
                )
                .unwrap();
            }
            text.push_str("```\n\n");
            lines += 2 + 3 * FRAGMENTS_PER_FILE;
            for part in 0..FRAGMENTS_PER_FILE {
                for word in 0..3 {
                    writeln!(
                        text,
                        "This is sentence {word} about part {part}, which *matters* to `function_{number}_{part}`."
                    )
                    .unwrap();
                }
                writeln!(text, "\n```rust #part-{number}-{part}").unwrap();
                for line in 0..LINES_PER_FRAGMENT - 2 {
                    writeln!(
                        text,
                        "let value_{line} = compute({number}, {part}, {line}); // as the text says"
                    )
                    .unwrap();
                }
                text.push_str("```\n\n");
                lines += LINES_PER_FRAGMENT - 3;
            }
        }
        fs::write(root.join(format!("src/c{chapter:03}.md")), text).unwrap();
    }
    fs::write(root.join("src/SUMMARY.md"), summary).unwrap();
    lines
}

/// Prepares `root` for one tool: where the output goes is part of the paths for one, a setting for the other.
fn prepare(root: &Path, tool: &str) {
    let replacement = if tool == "tangle" { "" } else { "generated/" };
    for chapter in 0..CHAPTERS {
        let path = root.join(format!("src/c{chapter:03}.md"));
        let text = fs::read_to_string(&path).unwrap().replace("FILES/", replacement);
        fs::write(path, text).unwrap();
    }
    let (settings, text) = if tool == "tangle" {
        ("book.toml", "[book]\nsrc = \"src\"\n")
    } else {
        (
            "entangled.toml",
            "version = \"2.0\"\nnamespace_default = \"none\"\nsource_patterns = [\"src/c*.md\"]\n",
        )
    };
    fs::write(root.join(settings), text).unwrap();
}

/// Both tools must have written the same files, but for the marker comments of the other one.
fn compare(ours: &Path, theirs: &Path, expected: usize) {
    let mut same = 0;
    for chapter in 0..CHAPTERS {
        for file in 0..FILES_PER_CHAPTER {
            let path = format!("d{chapter}/f{}.rs", chapter * FILES_PER_CHAPTER + file);
            let ours = fs::read_to_string(ours.join(&path)).unwrap();
            let theirs = fs::read_to_string(theirs.join(&path)).unwrap();
            let unmarked: String = theirs
                .split_inclusive('\n')
                .filter(|line| !line.trim_start().starts_with("// ~/~"))
                .collect();
            same += usize::from(ours == unmarked);
        }
    }
    println!("{same} of {expected} files are the same, marker comments aside");
    assert_eq!(same, expected);
}
