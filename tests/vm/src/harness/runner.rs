//! Runs cases one by one, each in a process group of its own, so that a case may crash, hang or be killed and still be
//! reported by its name.

use super::kmsg::KernelLog;
use super::{Case, Outcome, panic_text};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, setpgid, write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What a child sends when all went well.
const FINE: &str = "fine";

/// How a run ended.
#[derive(Default)]
pub struct Tally {
    /// Cases that ended well.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
}

/// Runs the cases and prints a line for each. What the kernel logs fails a case, unless it contains one of the `ignored` texts.
pub fn run_all<'a>(
    cases: impl Iterator<Item = &'a Case>,
    times: bool,
    ignored: &[String],
) -> Tally {
    let judge = Judge::new(ignored);
    let mut tally = Tally::default();
    for case in cases {
        let start = Instant::now();
        let outcome = judge.try_one(case, || (), || Ok(()));
        let time = if times {
            format!(" ({} ms)", start.elapsed().as_millis())
        } else {
            String::new()
        };
        match outcome {
            Ok(()) => {
                tally.passed += 1;
                println!("ok {}{time}", case.name);
            }
            Err(why) => {
                tally.failed += 1;
                println!("FAIL {}: {}{time}", case.name, why.replace('\n', " | "));
            }
        }
    }
    tally
}

/// Who runs a case and says how it went, with an eye on the Host kernel's log.
pub struct Judge(KernelLog);

impl Judge {
    /// What was logged until now is held against nobody, nor are messages that contain one of the `ignored` texts.
    pub fn new(ignored: &[String]) -> Self {
        Self(KernelLog::from_now(ignored))
    }

    /// Runs a case: `before` it something in the case's own process, and `after` it something here.
    pub fn try_one(
        &self,
        case: &Case,
        before: impl Fn(),
        after: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let ran = run_one(case, before);
        let tidied = after();
        let outcome = ran
            .and(tidied)
            .and_then(|()| match self.0.complaint(case.tolerates) {
                Some(complaint) => Err(format!("the Host kernel complained: {complaint}")),
                None => Ok(()),
            });
        // Whatever a failed case made the Host say is not held against the next one.
        let _ = self.0.complaint(&[]);
        outcome
    }
}

/// Runs a case in a child process.
fn run_one(case: &Case, before: impl Fn()) -> Outcome {
    let (from_child, to_parent) = pipe().map_err(|e| format!("pipe: {e}"))?;
    // SAFETY: this process has one thread, so the child may do whatever it likes.
    match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
        ForkResult::Child => {
            drop(from_child);
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            report(to_parent, in_child(case, before))
        }
        ForkResult::Parent { child } => {
            drop(to_parent);
            let _ = setpgid(child, child);
            let verdict = await_report(&from_child, case.limit);
            let ending = bury(child, verdict.is_none());
            match verdict {
                None => Err(format!(
                    "hangs: no result after {} s{}",
                    case.limit.as_secs(),
                    ending.err().unwrap_or_default()
                )),
                Some(text) if text == FINE => ending.map(drop),
                Some(text) if text.is_empty() => {
                    Err(format!("its process ended without a result: {}", ending?))
                }
                Some(text) => Err(text),
            }
        }
    }
}

fn in_child(case: &Case, before: impl Fn()) -> Outcome {
    std::panic::set_hook(Box::new(|_| ()));
    before();
    catch_unwind(AssertUnwindSafe(|| (case.run)())).unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

/// Sends the result and ends this process at once, without unwinding what the case left behind.
pub fn report(to_parent: OwnedFd, outcome: Outcome) -> ! {
    let text = outcome.err().unwrap_or_else(|| FINE.to_owned());
    let _ = write(&to_parent, text.as_bytes());
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Reads the child's result; None after the time limit. Other processes may still hold the pipe open, so one message is all.
fn await_report(pipe: &OwnedFd, limit: Duration) -> Option<String> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return None,
            Err(Errno::EINTR) => {}
            Err(e) => return Some(format!("poll: {e}")),
            Ok(_) => {
                let mut text = [0; 4096];
                let len = read(pipe, &mut text).unwrap_or(0);
                return Some(String::from_utf8_lossy(&text[..len]).into_owned());
            }
        }
    }
}

/// Waits for the end of the child, and sees to it that nothing of its group is left.
fn bury(child: Pid, hangs: bool) -> Result<String, String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut kill = hangs;
    loop {
        if kill {
            let _ = killpg(child, Signal::SIGKILL);
        }
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() > deadline => {
                return Err(" and its process cannot be killed".to_owned());
            }
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(WaitStatus::Exited(_, status)) => {
                let _ = killpg(child, Signal::SIGKILL);
                return Ok(format!("exit status {status}"));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(format!("killed by {signal}")),
            Ok(other) => return Ok(format!("{other:?}")),
            Err(e) => return Err(format!("waitpid: {e}")),
        }
        kill = hangs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(limit: Duration, run: impl Fn() -> Outcome + 'static) -> Outcome {
        run_one(
            &Case {
                limit,
                ..Case::new("test", run)
            },
            || (),
        )
    }

    // One test, so that no other thread of this test runs cases at the same time.
    #[test]
    fn a_case_is_judged_by_what_it_does() {
        let long = Duration::from_secs(30);
        assert_eq!(outcome_of(long, || Ok(())), Ok(()));
        assert_eq!(outcome_of(long, || Err("so".into())), Err("so".into()));
        assert_eq!(
            outcome_of(long, || panic!("dear")),
            Err("panicked: dear".into())
        );
        let crash = outcome_of(long, || {
            // SAFETY: ends this process only.
            unsafe { libc::abort() }
        });
        assert!(crash.unwrap_err().contains("SIGABRT"));
        let hang = outcome_of(Duration::from_millis(100), || {
            loop {
                nix::unistd::pause()
            }
        });
        assert!(hang.unwrap_err().starts_with("hangs"));
    }
}
