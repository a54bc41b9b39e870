//! What the tests of the labs (`labs/tests/labNN.rs`) need besides the kit: this system's own Launcher and Guest as programs,
//! what the Host's kernel logs, and numbers that nobody can know beforehand.
//!
//! A test in there looks like this:
//!
//! ```text
//! pub fn tests() -> Vec<Case> {
//!     vec![Case::new("answers", || {
//!         let number = random() % 1000;
//!         let ran = launch(&["run", "/guests/guest"], &format!("ask {number}\n"))?;
//!         same("the answer", ran.line("the answer is ")?, format!("the answer is {}", number + 1).as_str())
//!     })]
//! }
//! ```
//!
//! Each test runs in a process of its own, and what it starts ends with it. The system under test is somebody's homework: what it
//! prints is taken for what it is, text in a pipe, whatever waits for it waits for a limited time, and its Launcher is
//! [confined](crate::confined), a user without rights. What a test makes for it, a directory in /tmp, everybody may write to.
#![allow(dead_code, reason = "each lab uses what it needs")]

use crate::confined::confine;
use crate::harness::kmsg::KernelLog;
use crate::harness::{Case, Outcome, check};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What makes the tests of a lab.
type Tests = fn() -> Vec<Case>;

/// Those that build.rs has found.
mod found {
    include!(concat!(env!("OUT_DIR"), "/labs.rs"));
}

/// How long somebody who has something to do may stay silent. It is an emulated machine, and perhaps a busy one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of what a program prints is kept, and how much of it a failure shows.
const KEPT: usize = 1 << 20;
const SHOWN: usize = 400;

/// The tests of a lab, by its number with or without zeroes before it.
pub fn tests(number: &str) -> Option<Vec<Case>> {
    let plain = |number: &str| number.trim_start_matches('0').to_owned();
    let (_, tests) = found::ALL
        .iter()
        .find(|(one, _)| plain(one) == plain(number))?;
    Some(tests())
}

/// The numbers of all labs.
pub fn numbers() -> Vec<&'static str> {
    found::ALL.iter().map(|(number, _)| *number).collect()
}

/// Where the system under test is, unless it is the one that the VM has booted with.
static PAYLOAD: OnceLock<PathBuf> = OnceLock::new();
/// What was logged before the test is behind this.
static LOG: Mutex<Option<(KernelLog, Vec<String>)>> = Mutex::new(None);

/// The system under test is in this directory.
pub fn use_payload(directory: PathBuf) {
    // Once, as the program begins.
    let _ = PAYLOAD.set(directory);
}

/// A test begins: from now on the kernel's log is of interest, and the Launcher may use what the test makes for it.
pub fn begin() {
    umask(Mode::empty());
    *locked(&LOG) = Some((KernelLog::from_now(&[]), Vec::new()));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of the system under test, by its place in a VM that has booted with it.
fn of_payload(path: &str) -> PathBuf {
    match PAYLOAD.get() {
        Some(payload) => payload.join(path.trim_start_matches('/')),
        None => path.into(),
    }
}

/// The Launcher.
pub fn launcher() -> PathBuf {
    of_payload("/bin/lguest")
}

/// The book's Guest, as this system has it.
pub fn guest() -> PathBuf {
    of_payload("/guests/guest")
}

/// A number that nobody can know beforehand: what a Guest is given, and what is expected of it, is made of such.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the kernel writes so many bytes at most, and they are there.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 8, "getrandom");
    u64::from_ne_bytes(bytes)
}

/// What the Host's kernel has logged since the test began, line by line, without times.
pub fn kernel_log() -> Outcome<Vec<String>> {
    let mut log = locked(&LOG);
    let (log, lines) = log.as_mut().ok_or("no test has begun")?;
    lines.extend(log.messages()?);
    Ok(lines.clone())
}

/// A Launcher that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it printed, the Guest's console above all.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ran {
    /// The first line of the output that contains a text.
    pub fn line(&self, with: &str) -> Outcome<&str> {
        let line = self.out.lines().find(|line| line.contains(with));
        line.ok_or_else(|| {
            format!(
                "what was printed: expected a line with {with:?}, got {}",
                self.told()
            )
        })
    }

    /// All that it left, in short, for the message of a failure.
    pub fn told(&self) -> String {
        let status = match self.status {
            Some(status) => format!("status {status}"),
            None => "a signal's end".to_owned(),
        };
        match self.err.as_str() {
            "" => format!("{:?}, {status}", end_of(&self.out)),
            err => format!(
                "{:?}, {status}, complaint {:?}",
                end_of(&self.out),
                end_of(err)
            ),
        }
    }
}

/// Fails unless it ended with this status; a Launcher that did not may have said why.
pub fn ended(what: &str, ran: &Ran, status: i32) -> Outcome {
    check!(
        ran.status == Some(status),
        "{what}: expected {status}, got {:?}, with {:?} on standard error",
        ran.status,
        ran.err.chars().take(500).collect::<String>()
    );
    Ok(())
}

/// The last of a text: what went wrong stands there.
fn end_of(text: &str) -> &str {
    let mut at = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// Runs this system's Launcher, gives it all of `input` and then the end of it, and waits for its end. An argument such as `/guests/guest` is this system's file.
pub fn launch(args: &[&str], input: &str) -> Outcome<Ran> {
    let mut running = spawn(args)?;
    let input = input.to_owned();
    // In a thread, as it may not read; then this ends with it.
    if let Some(mut keyboard) = running.keyboard.take() {
        std::thread::spawn(move || keyboard.write_all(input.as_bytes()));
    }
    running.end()
}

/// Starts this system's Launcher: it waits for what is typed.
pub fn spawn(args: &[&str]) -> Outcome<Running> {
    let placed = args.iter().map(|arg| match arg.strip_prefix("/guests/") {
        Some(_) => of_payload(arg),
        None => PathBuf::from(arg),
    });
    let mut command = Command::new(launcher());
    command.args(placed);
    confine(&mut command);
    start(command, format!("lguest {}", args.join(" ")))
}

fn start(mut command: Command, name: String) -> Outcome<Running> {
    let mut child = command
        .env_clear()
        .env("PATH", "/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{name}: expected it to start, got {e}"))?;
    let keyboard = child.stdin.take();
    let out = Stream::of(child.stdout.take().ok_or("no pipe")?);
    let err = Stream::of(child.stderr.take().ok_or("no pipe")?);
    Ok(Running {
        name,
        child,
        keyboard,
        out,
        err,
        seen: 0,
    })
}

/// What a program prints, as it comes.
struct Stream {
    so_far: Mutex<Printed>,
    more: Condvar,
}

#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    /// A thread reads to the end, keeps what there is room for, and lets nobody wait who prints without an end.
    fn of(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self {
            so_far: Mutex::default(),
            more: Condvar::new(),
        });
        let its = Arc::clone(&stream);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let len = match pipe.read(&mut bytes) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Ok(len) => len,
                    Err(_) => 0,
                };
                let mut printed = locked(&its.so_far);
                let room = len.min(KEPT - printed.bytes.len());
                printed.bytes.extend_from_slice(&bytes[..room]);
                printed.ended = len == 0;
                its.more.notify_all();
                if len == 0 {
                    return;
                }
            }
        });
        stream
    }

    /// Waits until `found` finds something in what is behind `from`, or nothing more comes, or time is up.
    fn wait<T>(
        &self,
        from: usize,
        limit: Duration,
        found: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut printed = locked(&self.so_far);
        loop {
            if let Some(found) = found(&printed.bytes[from..]) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.ended || left.is_zero() {
                return None;
            }
            let waited = self.more.wait_timeout(printed, left);
            (printed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&locked(&self.so_far).bytes).into_owned()
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len().max(1))
        .position(|part| part == what)
        .or(what.is_empty().then_some(0))
}

/// A Launcher that runs. When the test lets go of it, it is killed.
pub struct Running {
    name: String,
    child: Child,
    keyboard: Option<ChildStdin>,
    out: Arc<Stream>,
    err: Arc<Stream>,
    /// So much of the output the test has waited for already.
    seen: usize,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// All that it has printed so far.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Waits until it prints a text, a prompt perhaps. What stands before it is given back; the next wait is for what comes behind.
    pub fn wait_for(&mut self, text: &str) -> Outcome<String> {
        let found = self.out.wait(self.seen, PATIENCE, |printed| {
            let at = find(printed, text.as_bytes())?;
            Some((at + text.len(), printed[..at].to_vec()))
        });
        let (len, before) = found.ok_or_else(|| self.silent(&format!("{text:?}")))?;
        self.seen += len;
        Ok(String::from_utf8_lossy(&before).into_owned())
    }

    /// Waits until it has printed a whole line that contains a text; the line. The next wait is for what comes behind.
    pub fn wait_for_line(&mut self, with: &str) -> Outcome<String> {
        let found = self.out.wait(self.seen, PATIENCE, |printed| {
            let mut at = 0;
            for line in printed.split_inclusive(|byte| *byte == b'\n') {
                at += line.len();
                if line.ends_with(b"\n") && find(line, with.as_bytes()).is_some() {
                    return Some((at, line.to_vec()));
                }
            }
            None
        });
        let (len, line) = found.ok_or_else(|| self.silent(&format!("a line with {with:?}")))?;
        self.seen += len;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn silent(&self, expected: &str) -> String {
        let out = self.out.text();
        let err = self.err.text();
        let complaint = match err.as_str() {
            "" => String::new(),
            err => format!(", complaint {:?}", end_of(err)),
        };
        format!(
            "{}: expected {expected}, got {:?}{complaint}",
            self.name,
            end_of(&out)
        )
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Outcome {
        let keyboard = self.keyboard.as_mut().ok_or("its input has ended")?;
        keyboard
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|e| format!("{}: expected it to read {line:?}, got {e}", self.name))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Outcome {
        kill(self.pid(), signal).map_err(|e| format!("{}: {signal}: {e}", self.name))
    }

    /// Ends its input, and waits until it has ended, too.
    pub fn end(mut self) -> Outcome<Ran> {
        drop(self.keyboard.take());
        self.wait()
    }

    /// Waits until it has ended; it may still read.
    pub fn wait(&mut self) -> Outcome<Ran> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            let ended = self.child.try_wait();
            match ended.map_err(|e| format!("{}: {e}", self.name))? {
                Some(status) => break status,
                None if Instant::now() > deadline => return Err(self.silent("that it ends")),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        // Somebody whom it has left behind may hold the pipes.
        for stream in [&self.out, &self.err] {
            stream.wait(0, Duration::from_secs(5), |_| None::<()>);
        }
        debug_assert!(status.code().is_some() || status.signal().is_some());
        Ok(Ran {
            status: status.code(),
            out: self.out.text(),
            err: self.err.text(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        start(command, "sh".to_owned()).expect("sh starts")
    }

    #[test]
    fn each_lab_has_tests_with_names_of_their_own() {
        for number in numbers() {
            let tests = super::tests(number).expect("it was found");
            assert!(!tests.is_empty(), "lab {number} has no tests");
            for (at, test) in tests.iter().enumerate() {
                assert!(
                    tests[..at].iter().all(|other| other.name != test.name),
                    "lab {number} has two tests {:?}",
                    test.name
                );
                assert!(
                    !["the book", "the chapter"].contains(&test.name.as_str()),
                    "lab {number}: {:?} is the grader's own row",
                    test.name
                );
            }
        }
        assert!(super::tests("none").is_none());
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }

    #[test]
    fn what_a_program_does_is_told() {
        let ran = shell("cat; echo what >&2; exit 3").end().expect("it ends");
        let expected = Ran {
            status: Some(3),
            out: String::new(),
            err: "what\n".to_owned(),
        };
        assert_eq!(ran, expected);
        let why = ran.line("answer").expect_err("there is none");
        assert_eq!(
            why,
            r#"what was printed: expected a line with "answer", got "", status 3, complaint "what\n""#
        );
    }

    #[test]
    fn a_program_is_talked_to() {
        let mut running =
            shell("printf 'ready> '; read -r line; echo got $line; echo got more; cat");
        assert_eq!(running.wait_for("> "), Ok("ready".to_owned()));
        running.type_line("one").expect("it reads");
        assert_eq!(running.wait_for_line("got"), Ok("got one".to_owned()));
        assert_eq!(running.wait_for_line("got"), Ok("got more".to_owned()));
        assert!(running.out().starts_with("ready> got one\n"));
        assert_eq!(running.end().map(|ran| ran.status), Ok(Some(0)));
    }

    #[test]
    fn who_ends_too_early_is_not_waited_for() {
        let mut running = shell("echo bye");
        let why = running.wait_for_line("answer").expect_err("there is none");
        assert_eq!(why, r#"sh: expected a line with "answer", got "bye\n""#);
    }

    #[test]
    fn who_prints_without_an_end_is_cut_and_killed() {
        let mut running = shell("yes");
        running.wait_for("y\ny\n").expect("it does");
        drop(running);
    }

    #[test]
    fn a_child_left_behind_does_not_hold_the_test() {
        let ran = shell("sleep 30 & echo bye").end().expect("it ends");
        assert_eq!(ran.out, "bye\n");
    }

    #[test]
    fn the_last_of_a_text_is_shown_in_whole_letters() {
        let text = "é".repeat(SHOWN);
        assert_eq!(end_of(&text), "é".repeat(SHOWN / 2));
        assert_eq!(end_of(&format!("{text}x")).len(), SHOWN - 1);
    }
}
