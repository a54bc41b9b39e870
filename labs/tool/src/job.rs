//! Commands that run beside this program, each with all that it starts: when they fall silent, take too long, or when somebody
//! asks for the end, nothing of them is left.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::trouble::{At, Result, Trouble};

/// Somebody's wish that something ends. Clones are the same wish.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    own: Arc<AtomicBool>,
    /// The wish that everything ends, not only this.
    all: Option<Arc<AtomicBool>>,
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        let set = |flag: &Arc<AtomicBool>| flag.load(Ordering::SeqCst);
        set(&self.own) || self.all.as_ref().is_some_and(set)
    }

    /// A wish of its own, which also comes true when this one does.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            own: Arc::default(),
            all: Some(Arc::clone(&self.own)),
        }
    }

    /// An error, if somebody asked.
    ///
    /// # Errors
    /// [`Trouble::Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.asked() { Err(Trouble::Stopped) } else { Ok(()) }
    }
}

/// Whoever has been asked to end gets this long.
const GRACE: Duration = Duration::from_secs(5);
/// How often a job looks whether somebody wants its end.
const BEAT: Duration = Duration::from_millis(50);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It said nothing for too long, and was ended.
    Silent,
    /// It took too long, and was ended.
    TooLong,
}

impl End {
    /// Whether all went well.
    #[must_use]
    pub fn success(self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }

    /// Its exit status, if it came to one.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(status) => status.code(),
            _ => None,
        }
    }
}

/// A command, and how long it may take.
#[derive(Debug, Default)]
pub struct Limits {
    /// It says something at least so often.
    pub silence: Option<Duration>,
    /// It takes no longer.
    pub whole: Option<Duration>,
}

/// Runs `command` in a process group of its own, without input. Every line that it prints, on whichever output, goes to the
/// file `log`, and is handed to `line`.
///
/// # Errors
/// When it cannot be started, when the log cannot be written, and when `stop` is asked for.
pub fn run(
    mut command: Command,
    limits: &Limits,
    log: Option<&Path>,
    stop: &Stop,
    mut line: impl FnMut(&str),
) -> Result<End> {
    stop.check()?;
    let mut log = match log {
        Some(path) => {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory).at("create", directory)?;
            }
            Some((File::create(path).at("write", path)?, path))
        }
        None => None,
    };
    let program = PathBuf::from(command.get_program());
    let (reader, writer) = io::pipe().at("open", Path::new("a pipe"))?;
    command
        .stdin(Stdio::null())
        .stderr(writer.try_clone().at("open", Path::new("a pipe"))?)
        .stdout(writer)
        .process_group(0);
    let mut child = command.spawn().at("run", &program)?;
    // It holds the other end of the pipe.
    drop(command);
    let group = Group(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let lines = read_lines(reader);
    let begun = Instant::now();
    let mut heard = begun;
    let mut ending: Option<(Option<End>, Instant)> = None;
    let mut exited = None;
    let mut forced = false;
    loop {
        match lines.recv_timeout(BEAT) {
            Ok(text) => {
                heard = Instant::now();
                if let Some((file, path)) = &mut log {
                    writeln!(file, "{text}").at("write", path)?;
                }
                line(&text);
            }
            // Nobody can say anything any more.
            Err(RecvTimeoutError::Disconnected) => {
                if exited.is_none() {
                    exited = Some((child.wait().at("wait for", &program)?, Instant::now()));
                }
                break;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        if exited.is_none() {
            exited = child.try_wait().at("wait for", &program)?.map(|status| (status, now));
        }
        match ending {
            None => {
                let over = |limit: Option<Duration>, since: Instant| limit.is_some_and(|limit| now - since > limit);
                let end = if stop.asked() {
                    Some(None)
                } else if over(limits.whole, begun) {
                    Some(Some(End::TooLong))
                } else if over(limits.silence, heard) {
                    Some(Some(End::Silent))
                } else {
                    None
                };
                if let Some(end) = end {
                    group.signal(Signal::SIGTERM);
                    ending = Some((end, now));
                } else if exited.is_some_and(|(_, at)| now - at > GRACE) {
                    // What it left behind keeps the pipe open.
                    group.signal(Signal::SIGKILL);
                    break;
                }
            }
            Some((_, at)) if now - at > GRACE && !forced => {
                group.signal(Signal::SIGKILL);
                forced = true;
            }
            Some((_, at)) if now - at > 2 * GRACE => break,
            Some(_) => {}
        }
    }
    group.signal(Signal::SIGKILL);
    let status = match exited {
        Some((status, _)) => status,
        None => child.wait().at("wait for", &program)?,
    };
    drop(group);
    match ending {
        Some((None, _)) => Err(Trouble::Stopped),
        Some((Some(end), _)) => Ok(end),
        None => Ok(End::Exited(status)),
    }
}

/// A process group, whose end is forced when nobody holds it any more: an error above must not leave a virtual machine running.
struct Group(i32);

impl Group {
    fn signal(&self, signal: Signal) {
        // If it is gone already, so much the better.
        let _ = killpg(Pid::from_raw(self.0), signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Lines without their ends, as they come. What is no UTF-8 is shown as well as it can be.
fn read_lines(reader: io::PipeReader) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The command without what make tells its children, which are not this one's.
#[must_use]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "LAB", "TASK", "JSON", "CSV"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limits: &Limits, stop: &Stop) -> (Result<End>, Vec<String>) {
        let mut command = command("sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let end = run(command, limits, None, stop, |line| lines.push(line.to_owned()));
        (end, lines)
    }

    #[test]
    fn what_it_says_is_heard_and_how_it_ends_is_known() {
        let (end, lines) = shell(
            "echo a; echo b >&2; printf c; exit 3",
            &Limits::default(),
            &Stop::default(),
        );
        assert_eq!(end.unwrap().code(), Some(3));
        assert_eq!(lines, ["a", "b", "c"]);
    }

    #[test]
    fn who_falls_silent_is_ended_with_all_that_it_started() {
        let limits = Limits {
            silence: Some(Duration::from_millis(200)),
            whole: None,
        };
        let begun = Instant::now();
        let (end, lines) = shell("echo a; sleep 60 & sleep 60", &limits, &Stop::default());
        assert_eq!(end.unwrap(), End::Silent);
        assert_eq!(lines, ["a"]);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn who_is_deaf_is_ended_by_force() {
        let stop = Stop::default();
        let asks = stop.clone();
        let asker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            asks.ask();
        });
        let (end, _) = shell(
            "trap '' TERM; while :; do sleep 1; done",
            &Limits::default(),
            &stop.child(),
        );
        asker.join().unwrap();
        assert!(matches!(end, Err(Trouble::Stopped)));
    }

    #[test]
    fn a_wish_for_one_is_none_for_all() {
        let all = Stop::default();
        let one = all.child();
        one.ask();
        assert!(one.asked() && !all.asked());
        all.ask();
        assert!(all.child().asked());
    }
}
