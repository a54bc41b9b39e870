//! What a case is, how it says what went wrong, and how all of them are run.

pub mod kmsg;
pub mod runner;

use crate::needs::Need;
use nix::errno::Errno;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// A case ends well, or with a sentence: what was expected, what came.
pub type Outcome<T = ()> = Result<T, String>;

/// One named case.
pub struct Case {
    /// `theme/subject/condition`.
    pub name: String,
    /// After this long it is said to hang.
    pub limit: Duration,
    /// What it needs of the Host: where it is not there, the case is left out.
    pub needs: Vec<Need>,
    /// What the Host's kernel may say meanwhile although it sounds bad.
    pub tolerates: &'static [&'static str],
    /// What it does, in a process of its own.
    pub run: Box<dyn Fn() -> Outcome>,
}

/// What most cases may take.
const USUAL: Duration = Duration::from_secs(120);

impl Case {
    /// A case with the usual time limit: generous, since everything is emulated.
    pub fn new(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Self {
        Self {
            name: name.into(),
            limit: USUAL,
            needs: Vec::new(),
            tolerates: &[],
            run: Box::new(run),
        }
    }

    /// A case that takes its time.
    pub fn slow(name: impl Into<String>, run: impl Fn() -> Outcome + 'static) -> Self {
        Self {
            limit: Duration::from_secs(300),
            ..Self::new(name, run)
        }
    }

    /// Whether it is one of those.
    pub fn takes_its_time(&self) -> bool {
        self.limit > USUAL
    }

    /// The same case, where the Host has these.
    pub fn needing(mut self, needs: impl IntoIterator<Item = Need>) -> Self {
        self.needs.extend(needs);
        self
    }
}

/// Fails the case unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use check;

/// Fails the case unless both values are equal.
#[track_caller]
pub fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want {
        Ok(())
    } else {
        Err(format!(
            "{what}: expected {}, got {}",
            in_hex(&want),
            in_hex(&got)
        ))
    }
}

/// A value in one line. A number alone says that it is hexadecimal: of `expected 10` nobody could tell.
fn in_hex(value: &impl Debug) -> String {
    let marked = format!("{value:#x?}");
    if marked.contains('\n') {
        // Of all that consists of parts, that is many lines.
        return format!("{value:x?}");
    }
    marked
}

/// Fails the case unless a request was refused with just this error.
pub fn refused<T: Debug>(what: &str, got: Result<T, Errno>, want: Errno) -> Outcome {
    match got {
        Err(e) if e == want => Ok(()),
        Err(e) => Err(format!("{what}: expected {want:?}, got {e:?}")),
        Ok(value) => Err(format!(
            "{what}: expected {want:?}, got success ({value:?})"
        )),
    }
}

/// Fails the case unless a request was granted with just this value.
pub fn granted(what: &str, got: Result<usize, Errno>, want: usize) -> Outcome {
    match got {
        Ok(value) if value == want => Ok(()),
        Ok(value) => Err(format!("{what}: expected {want}, got {value}")),
        Err(e) => Err(format!("{what}: expected {want}, got {e:?}")),
    }
}

/// Lets others run until the condition holds. For things that no file descriptor tells: a word that a guest changes.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("waited 30 s in vain until {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Joins a thread that runs part of a case; its panic becomes the case's failure.
pub fn join<T>(thread: std::thread::JoinHandle<Outcome<T>>) -> Outcome<T> {
    thread
        .join()
        .unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_that_its_numbers_are_hexadecimal() {
        assert_eq!(same("RAX", 16, 16), Ok(()));
        assert_eq!(
            same("RAX", 255u64, 16),
            Err("RAX: expected 0x10, got 0xff".to_owned())
        );
        assert_eq!(
            same("it", "b", "a"),
            Err("it: expected \"a\", got \"b\"".to_owned())
        );
        assert_eq!(
            same("all", [17u8, 1], [1, 17]),
            Err("all: expected [1, 11], got [11, 1]".to_owned())
        );
    }
}
