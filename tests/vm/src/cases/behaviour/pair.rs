//! Two CPUs of one guest, each run by a thread of its own. The module that has such guests is the book's with one file of the
//! tests' (tests/pair): what is tried is that all the rest does not care how many there are.

use crate::abi::data;
use crate::blobs::{Blob, pair};
use crate::cgroup::{Group, QuietConsole};
use crate::device::{Answer, Device};
use crate::guest::{Guest, reason};
use crate::harness::{Case, Outcome, check, join, wait_until};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use crate::tables::pte;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};

const DEVICE: &str = "/dev/pair";

/// Loads the module on first use.
fn load() -> Outcome {
    if Path::new(DEVICE).exists() {
        return Ok(());
    }
    let module = File::open("/tests/pair.ko").map_err(|e| format!("/tests/pair.ko: {e}"))?;
    finit_module(&module, c"", ModuleInitFlags::empty()).map_err(|e| format!("loading it: {e}"))
}

/// A guest whose two CPUs run.
struct Pair {
    ram: Ram,
    cpus: [JoinHandle<Outcome<String>>; 2],
}

/// Runs the second CPU until the guest is dead; the reason.
fn run(read: impl Fn(&mut [u8]) -> Answer) -> Outcome<String> {
    loop {
        match read(&mut [0; 16]) {
            Err(Errno::EINTR) => {}
            Err(Errno::ENOENT) => return reason(read),
            other => return Err(format!("read() of the second CPU: {other:?}")),
        }
    }
}

impl Pair {
    fn start(body: Blob, prepare: impl FnOnce(&mut Guest)) -> Outcome<Self> {
        Self::start_after(body, prepare, |_| Ok(()))
    }

    /// The same, when the second CPU's thread has done something with the guest that has yet to run.
    fn start_after(
        body: Blob,
        prepare: impl FnOnce(&mut Guest),
        before: impl FnOnce(&Device) -> Outcome + Send + 'static,
    ) -> Outcome<Self> {
        load()?;
        let mut guest = Guest::bare(body);
        guest.path = DEVICE;
        // The second CPU's `LguestData`: all ring slots are free there, too.
        let free = [0xff; data::RING_SIZE as usize];
        guest.ram.set_bytes(BUFFER + data::RING_STATUS, &free);
        prepare(&mut guest);
        let ram = guest.ram.clone();
        let (booted, boots) = channel();
        let (ready, goes) = channel();
        let first = spawn(move || {
            let device = guest.boot()?.duplicate();
            booted.send(device).map_err(|e| e.to_string())?;
            goes.recv().map_err(|e| e.to_string())??;
            guest.finish()
        });
        let Ok(device): Result<Device, _> = boots.recv() else {
            return Err(format!("it does not start: {:?}", join(first)));
        };
        let second = spawn(move || {
            ready.send(before(&device)).map_err(|e| e.to_string())?;
            run(|buffer| device.read(buffer))
        });
        Ok(Self {
            ram,
            cpus: [first, second],
        })
    }

    /// How far each has counted.
    fn counts(&self) -> [u64; 2] {
        [0, 8].map(|word| self.ram.word(COUNT + word))
    }

    /// Waits until both have counted so much further, or have ended.
    fn both_count(&self, further: u64) -> Outcome {
        let before = self.counts();
        wait_until("both CPUs have gone on", || {
            let now = self.counts();
            let on = [0, 1].map(|cpu| now[cpu] >= before[cpu] + further);
            on == [true, true] || self.cpus.iter().any(JoinHandle::is_finished)
        })
    }

    /// Tells them to end; both must hear of the same end.
    fn end(self, want: &str) -> Outcome {
        self.ram.set_word(STOP, 1);
        let results = self.ram.clone();
        for cpu in self.cpus {
            let got = join(cpu)?;
            let said: Vec<u64> = (0..10).map(|word| results.word(OUT + 8 * word)).collect();
            check!(
                got == want,
                "expected {want:?}, got {got:?}; results {said:x?}"
            );
        }
        Ok(())
    }
}

fn registers() -> Outcome {
    let pair = Pair::start(pair::REGISTERS, |_| ())?;
    pair.both_count(2000)?;
    pair.end("POWEROFF: 0")
}

/// A second CPU for which there was no memory comes again when there is some.
fn one_that_failed() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    // Nobody is killed for want of memory: it is refused.
    std::fs::write("/proc/self/oom_score_adj", "-1000")
        .map_err(|e| format!("oom_score_adj: {e}"))?;
    let _quiet = QuietConsole::new();
    let tight = move |device: &Device| {
        let current = group.open("memory.current", false)?;
        let max = group.open("memory.max", true)?;
        Group::tighten(&current, &max)?;
        let refused = device.read(&mut [0; 16]);
        max.write_at(b"max", 0)
            .map_err(|e| format!("memory.max: {e}"))?;
        check!(
            refused == Err(Errno::ENOMEM),
            "without memory for a CPU read() says {refused:?}"
        );
        Ok(())
    };
    let pair = Pair::start_after(pair::REGISTERS, |_| (), tight)?;
    pair.both_count(100)?;
    pair.end("POWEROFF: 0")
}

/// Both look at a page that the Launcher takes away again and again: each time they see that it is empty.
fn taken_back() -> Outcome {
    let pair = Pair::start(pair::WATCH, |_| ())?;
    for round in 1..=200 {
        pair.ram.set_word(FREE, round);
        wait_until("both CPUs see the word", || {
            [0, 8].iter().all(|word| pair.ram.word(OUT + word) == round)
        })?;
        pair.ram.discard(FREE, PAGE);
        pair.both_count(2)?;
        let seen = [0, 8].map(|word| pair.ram.word(OUT + word));
        check!(
            seen == [0, 0],
            "round {round}: expected both CPUs to see an empty page, but they see {seen:?}"
        );
    }
    pair.end("POWEROFF: 0")
}

fn death_of_one() -> Outcome {
    let pair = Pair::start(pair::DIE, |_| ())?;
    pair.both_count(1000)?;
    pair.end("Bad hypercall 99")
}

/// The first CPU has so many address spaces, the second stays in the first of them.
fn round(spaces: u64, turns: u64) -> Outcome {
    let pair = Pair::start(pair::ROUND, |guest| {
        let kernel = guest.ram.word(guest.tables.top + 8 * 511);
        guest.param(0, spaces);
        for number in 1..=spaces {
            if number > 1 {
                guest.tables.top = FREE + 4 * PAGE * number;
                guest.ram.set_word(guest.tables.top + 8 * 511, kernel);
                let [upper, middle, lower] = [1, 2, 3].map(|page| guest.tables.top + page * PAGE);
                guest.ram.set_word(guest.tables.top, upper | pte::TABLE);
                guest.ram.set_word(upper, middle | pte::TABLE);
                guest.ram.set_word(middle + 8 * 2, lower | pte::TABLE);
            }
            let page = FREE - PAGE * number;
            guest.tables.map(USER_VA, page, pte::KERNEL);
            guest.ram.set_word(page, number);
            guest.param(number, guest.tables.top);
        }
    })?;
    pair.both_count(turns)?;
    pair.end("POWEROFF: 0")
}

/// The first CPU changes the entry for USER_VA at this level, and the second hears of it.
fn change(level: u32) -> Outcome {
    let pair = Pair::start(pair::CHANGE, |guest| {
        let mut ways = [1, 2].map(|number| {
            // Tables of its own for each, to be led to by turns.
            guest.tables.set(USER_VA, 4, 0);
            let page = FREE - PAGE * number;
            guest.tables.map(USER_VA, page, pte::KERNEL);
            guest.ram.set_word(page, number);
            let entry = guest.tables.entry(USER_VA, level);
            (entry, guest.ram.word(entry))
        });
        // What is above the entry is now the second's.
        ways.reverse();
        let at = ways[0].0;
        guest.ram.set_word(at, ways[1].1);
        guest
            .param(0, at)
            .param(1, at % PAGE / 8)
            .param(2, ways[0].1)
            .param(3, ways[1].1);
    })?;
    pair.both_count(500)?;
    pair.end("POWEROFF: 0")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("pair/each-has-its-own-registers", registers),
        Case::new("pair/what-is-taken-back-is-out-of-both", taken_back),
        Case::new("pair/one-dies-and-both-come-out", death_of_one),
        Case::new("pair/tables-of-one-are-not-the-others", || round(2, 2000)),
        Case::new("pair/tables-are-taken-from-under-the-other", || {
            round(60, 3000)
        }),
    ];
    for level in 1..=4 {
        let name = format!("pair/a-change-at-level-{level}-reaches-the-other");
        cases.push(Case::new(name, move || change(level)));
    }
    cases
}

/// Linux finds memory for the second CPU now and then although its group has none left. It is not refused then but runs, before
/// the first has been told to go, and the case waits for ever. Until it can tell, it runs when it is asked for.
pub(super) fn seldom() -> Vec<Case> {
    let name = "pair/a-cpu-that-came-to-nothing-comes-again";
    let case = Case {
        // The kernel's words about a group that has no memory left.
        tolerates: &["Call Trace"],
        ..Case::new(name, one_that_failed)
    };
    vec![case.needing([Need::MEMORY_GROUPS])]
}
