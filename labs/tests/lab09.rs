//! Lab 9: A fair clock. What the Guest believes is compared with the books of the Host's scheduler.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::host;
use crate::labs::{Running, random, spawn};
use crate::layout::PAGE;
use crate::ram::Ram;
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLOCK: u64 = 40;
const MILLISECOND: u64 = 1_000_000;
/// What a program that never ends is to get, in nanoseconds: half a second, and what it takes until the next tick finds it.
const AT_LEAST: u64 = 430 * MILLISECOND;
/// The Launcher's own beginning is not counted. What is, on a slow machine: the interrupts and the shell.
const AT_MOST: u64 = 750 * MILLISECOND;

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("passed", || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(random() % 30));
                let before = monotonic();
                let told = ask(0)?;
                between("CLOCK 0, in nanoseconds", told, before, monotonic())?;
            }
            Ok(())
        }),
        Case::new("stolen", || {
            // Without neighbours to speak of, then with some; in a thread of its own, since the first thread has waited before.
            for neighbours in [0, 1 + random() % 3, 2] {
                let thread = std::thread::spawn(move || -> Outcome {
                    let _busy = (neighbours > 0)
                        .then(|| Busy::on(cpu()?, neighbours))
                        .transpose()?;
                    if neighbours > 0 {
                        host::pin(Pid::from_raw(0), cpu()?)?;
                    }
                    burn(Duration::from_millis(60 + random() % 60));
                    std::thread::sleep(Duration::from_millis(30 + random() % 30));
                    let before = own_books()?.waited;
                    let told = ask(1)?;
                    let after = own_books()?.waited;
                    between(
                        &format!("CLOCK 1 with {neighbours} neighbours, in nanoseconds"),
                        told,
                        before,
                        after,
                    )?;
                    check!(
                        neighbours == 0 || before > 0,
                        "the Host has stolen nothing although it should: its books say {before}"
                    );
                    Ok(())
                });
                crate::harness::join(thread)?;
            }
            Ok(())
        }),
        Case::new("refuses", || {
            for which in [2, 3 + random() % 1000, 1 << 32, 1 << 63 | 1, u64::MAX] {
                let mut guest = guest();
                guest.call([CLOCK, which, 0, 0]);
                same(
                    &format!("the end of a Guest that asks for clock {which}"),
                    guest.run()?,
                    format!("bad clock {which}"),
                )?;
            }
            Ok(())
        }),
        Case::new("command", || {
            let mut guest = Shell::start(None)?;
            for _ in 0..2 {
                let (before, books) = (monotonic(), guest.books()?);
                let told = guest.clock()?;
                between(
                    "what `clock` says has passed",
                    told.passed,
                    before,
                    monotonic(),
                )?;
                between(
                    "what `clock` says was stolen",
                    told.stolen,
                    books.waited,
                    guest.books()?.waited,
                )?;
                std::thread::sleep(Duration::from_millis(50 + random() % 200));
            }
            Ok(())
        }),
        Case::new("alone", || {
            let mut guest = Shell::start(None)?;
            guest.spin("alone")?;
            // A second of the Guest's, in which no program runs: the next one must not pay for it.
            guest.clock()?;
            guest.type_line("sleep 1")?;
            guest.spin("after a second's sleep")?;
            guest.clock()?;
            Ok(())
        }),
        Case::slow("slice", || {
            for neighbours in [3, 1 + random() % 4] {
                let _busy = Busy::on(cpu()?, neighbours)?;
                let mut guest = Shell::start(Some(cpu()?))?;
                guest.clock()?;
                guest.spin(&format!("with {neighbours} neighbours"))?;
            }
            Ok(())
        }),
        Case::slow("two-guests", || {
            let cpu = cpu()?;
            let mut guests = [Shell::start(Some(cpu))?, Shell::start(Some(cpu))?];
            let [one, other] = &mut guests;
            let (before_one, before_other) = (one.books()?, other.books()?);
            one.type_line("spin")?;
            other.type_line("spin")?;
            one.killed()?;
            other.killed()?;
            one.paid("spin beside a busy Guest", before_one)?;
            other.paid("spin in the other Guest", before_other)?;
            let waited = one.books()?.waited - before_one.waited + other.books()?.waited
                - before_other.waited;
            check!(
                waited > 200 * MILLISECOND,
                "what the two Guests have waited for each other: expected more than 200 ms, got {} ms",
                waited / MILLISECOND
            );
            Ok(())
        }),
    ]
}

/// A Guest that makes its calls and ends well.
fn guest() -> Guest {
    Guest::in_memory(work::SURVIVED, Ram::new(PAGE * 0x200))
}

/// What a Guest that runs in this thread is told by a clock.
fn ask(which: u64) -> Outcome<u64> {
    let mut guest = guest();
    let call = guest.call([CLOCK, which, 0, 0]);
    same(
        "the end of a Guest that asks for a clock",
        guest.run()?.as_str(),
        "POWEROFF: 0",
    )?;
    Ok(guest.returned(call))
}

fn between(what: &str, got: u64, low: u64, high: u64) -> Outcome {
    check!(
        (low..=high).contains(&got),
        "{what}: expected {low} to {high}, got {got}"
    );
    Ok(())
}

/// CLOCK_MONOTONIC, in nanoseconds.
fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// What the scheduler has in its books for a thread: nanoseconds.
#[derive(Clone, Copy)]
struct Books {
    ran: u64,
    waited: u64,
}

fn books(path: &str) -> Outcome<Books> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut fields = text
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0));
    let (Some(ran), Some(waited)) = (fields.next(), fields.next()) else {
        return Err(format!("{path}: expected three numbers, got {text:?}"));
    };
    Ok(Books { ran, waited })
}

fn own_books() -> Outcome<Books> {
    books("/proc/thread-self/schedstat")
}

/// The CPU on which all is crowded: the last one, so that the first is left to those who watch.
fn cpu() -> Outcome<usize> {
    host::cpus()
        .last()
        .copied()
        .ok_or_else(|| "this Host has no CPU".into())
}

fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Threads that do nothing but have a CPU.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn on(cpu: usize, count: u64) -> Outcome<Self> {
        let go_on = Arc::new(AtomicBool::new(true));
        for _ in 0..count {
            let go_on = Arc::clone(&go_on);
            std::thread::spawn(move || {
                if host::pin(Pid::from_raw(0), cpu).is_ok() {
                    while go_on.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        Ok(Self(go_on))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The book's Guest at its prompt.
struct Shell(Running);

/// What its command `clock` says.
struct Told {
    passed: u64,
    stolen: u64,
}

impl Shell {
    fn start(cpu: Option<usize>) -> Outcome<Self> {
        let mut guest = Self(spawn(&["run", "/guests/guest"])?);
        if let Some(cpu) = cpu {
            host::pin(guest.0.pid(), cpu)?;
        }
        guest.prompt()?;
        Ok(guest)
    }

    fn prompt(&mut self) -> Outcome {
        self.0.wait_for("guest> ")?;
        Ok(())
    }

    /// Types a line, whose echo is of no interest.
    fn type_line(&mut self, line: &str) -> Outcome {
        self.0.type_line(line)?;
        self.0.wait_for(&format!("{line}\n"))?;
        Ok(())
    }

    /// The Launcher's first thread is the one that runs the Guest. It sleeps now, or will soon.
    fn books(&self) -> Outcome<Books> {
        books(&format!("/proc/{}/schedstat", self.0.pid()))
    }

    fn clock(&mut self) -> Outcome<Told> {
        self.type_line("clock")?;
        let answer = self.0.wait_for("guest> ")?;
        let answer = answer.trim();
        let numbers = || {
            let (passed, stolen) = answer
                .strip_prefix("passed ")?
                .strip_suffix(" ns")?
                .split_once(" ns, stolen ")?;
            Some(Told {
                passed: passed.parse().ok()?,
                stolen: stolen.parse().ok()?,
            })
        };
        numbers().ok_or_else(|| {
            format!("what `clock` prints: expected \"passed P ns, stolen S ns\", got {answer:?}")
        })
    }

    /// Lets it run `spin`, which must get its half second of the CPU, no less and not much more.
    fn spin(&mut self, how: &str) -> Outcome {
        // Whatever was typed before is over when the Guest answers this.
        self.type_line("spin")?;
        self.0.wait_for_line("Round and round")?;
        let before = self.books()?;
        self.killed()?;
        self.paid(&format!("spin {how}"), before)
    }

    fn killed(&mut self) -> Outcome {
        let said = self.0.wait_for("guest> ")?;
        let last = said.trim().lines().collect::<Vec<_>>();
        let own = last
            .iter()
            .filter(|line| !line.starts_with("Round") && **line != "spin");
        let said = own.copied().collect::<Vec<_>>().join("\n");
        same(
            "how spin ended",
            said.trim(),
            "spin: killed: its 50 ticks are used up",
        )
    }

    /// What the Launcher's thread had of the CPU since then.
    fn paid(&self, what: &str, before: Books) -> Outcome {
        let ran = self.books()?.ran - before.ran;
        check!(
            (AT_LEAST..=AT_MOST).contains(&ran),
            "{what}, milliseconds of CPU: expected {} to {}, got {}",
            AT_LEAST / MILLISECOND,
            AT_MOST / MILLISECOND,
            ran / MILLISECOND
        );
        Ok(())
    }
}
