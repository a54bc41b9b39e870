//! Runs a lab's tests on a system: boots the VM with it, and listens.
//!
//! All tests run in one boot, one after the other, each only when those that it depends on have passed. A test that ends the VM, or
//! makes it hang, has failed; the others get another boot.
//!
//! The system under test prints what it likes. So the program that runs the tests begins each of its lines with a random
//! word, another one for each boot, and only such lines count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::course::Course;
use crate::grade::Setting;
use crate::job::{self, End, Limits};
use crate::lab::{Lab, Row, THE_BOOK};
use crate::system::System;
use crate::trouble::{At, Result, Trouble};

/// How often the VM is booted at most.
const BOOTS: usize = 3;
/// No test is silent for so long: each has a limit of its own, of five minutes at most.
const SILENCE: Duration = Duration::from_secs(400);
/// What a kernel says beyond that nobody reads.
const LARGEST_LOG: u64 = 16 << 20;

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed, and this is what it said.
    Failed(String),
    /// Another test, which must have passed before, has not.
    After(String),
    /// There was no machine to run it on any more.
    NotRun(String),
}

impl Outcome {
    /// Whether the test passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        *self == Self::Passed
    }
}

/// What came out of the VM.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// How each test went, and `the book` if it was asked for.
    pub outcomes: BTreeMap<String, Outcome>,
    /// The files with all that was printed, and the kernels' logs.
    pub logs: Vec<PathBuf>,
}

/// Runs the tests of `rows` (and the book's cases, if that row is among them) on `system`. The logs go to `dir`.
///
/// # Errors
/// When no VM can be run here, and when somebody asks for the end. Whatever the system does is an [`Outcome`].
pub fn run(course: &Course, lab: &Lab, rows: &[&Row], system: &System, dir: &Path, setting: &Setting) -> Result<Ran> {
    let mut ran = Ran::default();
    for attempt in 1..=BOOTS {
        let left: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| !ran.outcomes.contains_key(&row.name))
            .collect();
        if left.is_empty() {
            break;
        }
        let boot = Boot {
            course,
            lab,
            rows: &left,
            system,
            setting,
            log: dir.join(format!("boot-{attempt}.log")),
            kernel: dir.join(format!("boot-{attempt}.kernel.log")),
        };
        setting.says(if attempt == 1 {
            "booting the VM"
        } else {
            "booting the VM again for the tests that are left"
        });
        let heard = boot.run(&ran.outcomes)?;
        ran.logs.extend([boot.log.clone(), boot.kernel.clone()]);
        if !heard.began() && heard.outcomes.is_empty() {
            // A machine that has too much to do may have let it hang. Else it will not do better the next time.
            if attempt == 1 && heard.hung() {
                continue;
            }
            for row in &left {
                ran.outcomes
                    .insert(row.name.clone(), Outcome::NotRun(boot.why_nothing(&heard)));
            }
            break;
        }
        ran.outcomes.extend(heard.into_outcomes());
    }
    for row in rows {
        ran.outcomes
            .entry(row.name.clone())
            .or_insert_with(|| Outcome::NotRun(format!("the Host ended {BOOTS} times before it came to this test")));
    }
    Ok(ran)
}

struct Boot<'a> {
    course: &'a Course,
    lab: &'a Lab,
    rows: &'a [&'a Row],
    system: &'a System,
    setting: &'a Setting,
    /// All that is printed.
    log: PathBuf,
    /// What the kernel logs.
    kernel: PathBuf,
}

impl Boot<'_> {
    fn run(&self, known: &BTreeMap<String, Outcome>) -> Result<Heard> {
        let token = token()?;
        let script = script(self.lab, self.rows, known);
        let secret = secret(&self.system.dir, &token)?;
        let top = &self.course.root;
        let tests = top.join("target/vmtests/payload");
        if !tests.join("vmtests").is_file() {
            return Err(Trouble::other("the program that runs the tests is not built").help("make vmtests builds it"));
        }
        let name = format!("lab-{}-{}", self.lab.id(), &token[..6]);
        let mut command = self.setting.command(top.join("scripts/vm"));
        command
            .current_dir(top)
            .arg("--root")
            .arg(&self.system.payload)
            .arg("--root")
            .arg(&secret)
            .arg("--extra")
            .arg(&tests)
            .args(["--name", &name, "--timeout"])
            .arg(self.setting.boot_time.as_secs().to_string())
            .args(["sh", "-c", &script])
            .env("STATE", &self.system.dir)
            .env("MODULE_ARGS", "fixed=1")
            // A Host that hangs is not worth waiting for.
            .env("KERNEL_ARGS", "softlockup_panic=1");
        let limits = Limits {
            silence: Some(SILENCE),
            whole: Some(self.setting.boot_time + Duration::from_secs(60)),
        };
        let mut heard = Heard::default();
        let end = job::run(command, &limits, Some(&self.log), &self.setting.stop, |line| {
            if let Some(event) = Event::read(line, &token) {
                self.setting.tells(&event);
                heard.take(event);
            }
        });
        // The kernel's log is wanted whatever happened.
        let logs = self.setting.vm_logs.clone().unwrap_or_else(|| top.join("target/vm"));
        keep_kernel_log(&logs, &name, &self.kernel)?;
        heard.end_with(end?);
        Ok(heard)
    }

    /// Why not one test ran.
    fn why_nothing(&self, heard: &Heard) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if let Some(line) = log.lines().find(|line| line.contains("the Host refuses")) {
            return line.trim_start_matches("vm: ").to_owned();
        }
        let said = log
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        format!("no test ran: {} ({said})", heard.end_in_words())
    }
}

/// The kernel's log of the latest run of that name becomes `to`; the others of that name are not kept.
pub(crate) fn keep_kernel_log(directory: &Path, name: &str, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = file.strip_prefix(name) else { continue };
        let path = entry.path();
        // Where the VM was confined, the directory is that of somebody whom nobody need trust.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && rest != ".kernel.log" && rest.ends_with(".kernel.log") {
            let mut log = fs::File::open(&path).at("read", &path)?.take(LARGEST_LOG);
            let mut kept = fs::File::create(to).at("write", to)?;
            std::io::copy(&mut log, &mut kept).at("copy", &path)?;
        }
        // Another run may have tidied up there already.
        let _ = fs::remove_file(&path);
    }
    Ok(())
}

/// A word that nobody knows.
///
/// # Errors
/// When this machine has no random numbers.
pub fn token() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::other(format!("no random numbers here: {error}")))?;
    Ok(bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

/// A directory whose files, laid over the VM's root, bring the token in. It is on no command line and in no script.
pub(crate) fn secret(dir: &Path, token: &str) -> Result<PathBuf> {
    let dir = dir.join("token");
    fs::create_dir_all(&dir).at("create", &dir)?;
    let file = dir.join("lab.token");
    fs::write(&file, format!("{token}\n")).at("write", &file)?;
    Ok(dir)
}

/// Reads the token, which nobody can after that.
pub(crate) const READ_TOKEN: &str = "read -r token </lab.token; rm -f /lab.token\n";

/// What the shell in the VM does: each test is a run of vmtests, and so is the book.
fn script(lab: &Lab, rows: &[&Row], known: &BTreeMap<String, Outcome>) -> String {
    let mut passed = String::from("|");
    for (name, outcome) in known {
        if outcome.passed() {
            passed.push_str(name);
            passed.push('|');
        }
    }
    let mut out = format!(
        "{READ_TOKEN}\
         export LGUEST_KO=/modules/lguest.ko\n\
         passed={}\n\
         after() {{ for one; do case $passed in *\"|$one|\"*) ;; *) miss=$one; return 1 ;; esac; done; }}\n\
         tests() {{ LAB_TOKEN=$token /extra/vmtests --lab \"$@\"; }}\n",
        word(&passed)
    );
    for row in rows {
        let after: Vec<String> = row.after.iter().map(|name| word(name)).collect();
        let name = word(&row.name);
        let run = if row.name == THE_BOOK {
            let cases: Vec<String> = lab.cases.iter().map(|case| word(case)).collect();
            format!("tests book {}; echo \"lab $token book $?\"", cases.join(" "))
        } else {
            format!("if tests {} {name}; then passed=\"$passed\"{name}'|'; fi", lab.id())
        };
        let quoted = word(&format!(" after {:?} ", row.name));
        let _ = writeln!(
            out,
            "if after {}; then {run}; else echo \"lab $token\"{quoted}\"$miss\"; fi",
            after.join(" ")
        );
    }
    let _ = writeln!(out, "echo \"lab $token over\"");
    out
}

/// One word of shell, whatever it holds.
pub(crate) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What a line from the VM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A test, or one of the book's cases, begins.
    Begin(String),
    /// It passed.
    Ok(String),
    /// It failed, and this is what it said.
    Fail(String, String),
    /// It did not run, since another has not passed.
    After(String, String),
    /// The book's cases are through; vmtests had this status.
    Book(i32),
    /// All is through.
    Over,
}

impl Event {
    /// Understands a line, if it begins with the token.
    #[must_use]
    pub fn read(line: &str, token: &str) -> Option<Self> {
        let rest = line.strip_prefix("lab ")?.strip_prefix(token)?.strip_prefix(' ')?;
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "begin" => Some(Self::Begin(string(rest)?.0)),
            "ok" => Some(Self::Ok(string(rest)?.0)),
            "FAIL" => {
                let (name, rest) = string(rest)?;
                let why = string(rest).map_or_else(|| rest.to_owned(), |(why, _)| why);
                Some(Self::Fail(name, why))
            }
            "after" => {
                let (name, missed) = string(rest)?;
                Some(Self::After(name, missed.to_owned()))
            }
            "book" => Some(Self::Book(rest.trim().parse().ok()?)),
            "over" => Some(Self::Over),
            _ => None,
        }
    }
}

/// The string that `text` begins with, as Rust writes one, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let inner = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, inner[at + 1..].trim_start())),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                '0' => out.push('\0'),
                'u' => {
                    let digits: String = chars
                        .by_ref()
                        .map(|(_, c)| c)
                        .skip_while(|&c| c == '{')
                        .take_while(|&c| c != '}')
                        .collect();
                    out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

/// All that one boot said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    outcomes: BTreeMap<String, Outcome>,
    /// The test that runs.
    running: Option<String>,
    /// The book's cases that failed, while those run.
    cases: Vec<(String, String)>,
    /// Whether the tests of the lab are over, and the book's cases run.
    over: bool,
    end: Option<End>,
}

impl Heard {
    fn began(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it was ended since nothing more came.
    fn hung(&self) -> bool {
        let timed_out = |end: End| matches!(end, End::Silent | End::TooLong) || end.code() == Some(124);
        self.end.is_some_and(timed_out)
    }

    /// Whoever ran the test is no more, though the VM is: a Host without memory has killed it, for instance.
    fn abandon(&mut self) {
        if let Some(name) = self.running.take().filter(|name| !is_case(name)) {
            let why = "the program that runs this test: expected it to go on, got its end".to_owned();
            self.outcomes.insert(name, Outcome::Failed(why));
        }
    }

    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Begin(name) => {
                self.abandon();
                self.running = Some(name);
            }
            Event::Ok(name) => {
                self.running = None;
                self.outcomes.insert(name, Outcome::Passed);
            }
            Event::Fail(name, why) => {
                self.running = None;
                self.cases.push((name.clone(), why.clone()));
                self.outcomes.insert(name, Outcome::Failed(why));
            }
            Event::After(name, missed) => {
                self.outcomes.insert(name, Outcome::After(missed));
            }
            Event::Book(0) => {
                self.outcomes.insert(THE_BOOK.to_owned(), Outcome::Passed);
            }
            Event::Book(status) => {
                let failed: Vec<_> = self.cases.iter().filter(|(name, _)| is_case(name)).collect();
                let why = match failed.as_slice() {
                    [] => format!("the book's cases ended with status {status}"),
                    [(name, why)] => format!("{name}: {why}"),
                    [(name, why), rest @ ..] => {
                        format!("{name}: {why} (and {} more of the book's cases failed)", rest.len())
                    }
                };
                self.outcomes.insert(THE_BOOK.to_owned(), Outcome::Failed(why));
            }
            Event::Over => {
                self.abandon();
                self.over = true;
            }
        }
    }

    /// What is left when nothing more comes. The cases of the book are no rows; one that never ended is the book's failure.
    fn settle(&mut self) {
        self.outcomes.retain(|name, _| !is_case(name));
        if self.over {
            self.running = None;
        } else if self.running.as_deref().is_some_and(is_case) {
            self.running = Some(THE_BOOK.to_owned());
        }
    }

    /// How the VM ended.
    pub(crate) fn end_with(&mut self, end: End) {
        self.end = Some(end);
        self.settle();
    }

    /// How each test went, that too which the VM did not survive.
    pub(crate) fn into_outcomes(mut self) -> BTreeMap<String, Outcome> {
        self.settle();
        if let Some(name) = self.running.take() {
            let why = format!("the Host: expected it to go on, got {}", self.end_in_words());
            self.outcomes.insert(name, Outcome::Failed(why));
        }
        self.outcomes
    }

    fn end_in_words(&self) -> String {
        match self.end {
            Some(End::Silent) => format!("silence for {} s", SILENCE.as_secs()),
            Some(End::TooLong) => "no end in the time that there was".to_owned(),
            Some(End::Exited(status)) => match status.code() {
                Some(70) => "an end of its kernel".to_owned(),
                Some(124) => "no end in the time that there was".to_owned(),
                _ => format!("the VM's {status}"),
            },
            None => "no end".to_owned(),
        }
    }
}

/// Whether it is the name of one of the book's cases: `theme/subject`. A lab's tests have names without a slash.
fn is_case(name: &str) -> bool {
    name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, after: &[&str]) -> Row {
        Row {
            name: name.to_owned(),
            after: after.iter().map(|&name| name.to_owned()).collect(),
            ..Row::default()
        }
    }

    #[test]
    fn who_kills_the_test_has_failed_it() {
        let mut heard = Heard::default();
        heard.take(Event::Begin("answers".to_owned()));
        heard.take(Event::Begin("fits".to_owned()));
        heard.take(Event::Ok("fits".to_owned()));
        heard.take(Event::Begin("refuses".to_owned()));
        heard.take(Event::Over);
        let outcomes = heard.into_outcomes();
        assert!(matches!(&outcomes["answers"], Outcome::Failed(why) if why.contains("got its end")));
        assert!(outcomes["fits"].passed() && !outcomes["refuses"].passed());
    }

    #[test]
    fn who_hung_is_told_from_who_fell() {
        let heard = |end| Heard {
            end: Some(end),
            ..Heard::default()
        };
        let status = |code: i32| End::Exited(std::os::unix::process::ExitStatusExt::from_raw(code << 8));
        assert!(heard(End::Silent).hung() && heard(End::TooLong).hung() && heard(status(124)).hung());
        assert!(!heard(status(70)).hung() && !heard(status(0)).hung() && !Heard::default().hung());
    }

    #[test]
    fn only_lines_with_the_token_count() {
        let read = |line| Event::read(line, "T");
        assert_eq!(read("lab T begin \"a b\""), Some(Event::Begin("a b".to_owned())));
        assert_eq!(read("lab T ok \"a\""), Some(Event::Ok("a".to_owned())));
        assert_eq!(
            read(r#"lab T FAIL "a" "x: expected \"1\"\n, got \u{1b}2""#),
            Some(Event::Fail(
                "a".to_owned(),
                "x: expected \"1\"\n, got \u{1b}2".to_owned()
            ))
        );
        assert_eq!(
            read("lab T after \"a b\" c d"),
            Some(Event::After("a b".to_owned(), "c d".to_owned()))
        );
        assert_eq!(read("lab T done 1 0"), None);
        for forged in [
            "lab X ok \"a\"",
            "ok a",
            "lab  ok \"a\"",
            " lab T ok \"a\"",
            "lab Tx ok \"a\"",
            "lab T ok a",
        ] {
            assert_eq!(read(forged), None, "{forged}");
        }
    }

    #[test]
    fn a_test_that_never_ends_is_known() {
        let mut heard = Heard::default();
        for event in [
            Event::Begin("a".to_owned()),
            Event::Ok("a".to_owned()),
            Event::Begin("b".to_owned()),
        ] {
            heard.take(event);
        }
        heard.settle();
        assert_eq!(heard.running.as_deref(), Some("b"));
        assert_eq!(heard.outcomes.len(), 1);
    }

    #[test]
    fn a_case_of_the_book_that_fails_fails_the_book() {
        let mut heard = Heard::default();
        for event in [
            Event::Begin("x/y".to_owned()),
            Event::Fail("x/y".to_owned(), "no".to_owned()),
            Event::Begin("x/z".to_owned()),
            Event::Ok("x/z".to_owned()),
            Event::Book(1),
            Event::Over,
        ] {
            heard.take(event);
        }
        heard.settle();
        let expected = [(THE_BOOK.to_owned(), Outcome::Failed("x/y: no".to_owned()))];
        assert_eq!(heard.outcomes.into_iter().collect::<Vec<_>>(), expected);

        let mut heard = Heard::default();
        heard.take(Event::Begin("x/y".to_owned()));
        heard.settle();
        assert_eq!(heard.running.as_deref(), Some(THE_BOOK));
    }

    /// Runs the script here, with a vmtests of our own that fails the test `bad`.
    #[test]
    fn a_test_waits_for_those_before_it() {
        let lab = Lab {
            number: 1,
            cases: vec!["x/".to_owned()],
            ..Lab::default()
        };
        let rows = [
            row("it's", &[]),
            row("bad", &[]),
            row("two words", &["it's"]),
            row("never", &["it's", "bad"]),
            row("known", &["old"]),
            row(THE_BOOK, &["it's"]),
        ];
        let rows: Vec<_> = rows.iter().collect();
        let known = BTreeMap::from([
            ("old".to_owned(), Outcome::Passed),
            ("older".to_owned(), Outcome::Failed(String::new())),
        ]);
        let vmtests = "vmtests() { shift; echo \"ran $*\"; [ \"$2\" != bad ]; }\n";
        let script = script(&lab, &rows, &known)
            .replace(READ_TOKEN, "token=T\n")
            .replace("/extra/vmtests", "vmtests");
        let out = std::process::Command::new("sh")
            .args(["-c", &format!("{vmtests}{script}")])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out.stdout).lines().collect::<Vec<_>>(),
            [
                "ran 01 it's",
                "ran 01 bad",
                "ran 01 two words",
                "lab T after \"never\" bad",
                "ran 01 known",
                "ran book x/",
                "lab T book 0",
                "lab T over",
            ]
        );
    }
}
