//! Lab 7: memory given back.

use std::fs;

use crate::abi::hc;
use crate::harness::{Case, Outcome, check, same};
use crate::kernel_file::Kernel;
use crate::labs::{Ran, Running, ended, launch, random, spawn};
use crate::layout::*;

/// The balloon's key, as the lab's page has it.
const KEY: u64 = 8;

impl Kernel {
    /// Gives these frames back, by numbers at an address of the caller's choice.
    fn give(&mut self, number: u64, at: u64, frames: &[u64]) {
        for (n, frame) in (0..).zip(frames) {
            self.put(at + 8 * n, &frame.to_ne_bytes());
        }
        let list = self.list(number, &[(at, 8 * frames.len() as u16)]);
        self.call([hc::SEND_DMA, KEY, list, 0]);
    }

    /// Prints the first and the last four bytes of these pages.
    fn show(&mut self, number: u64, pages: &[u64]) {
        let ends = |&page: &u64| [(page * PAGE, 4), (page * PAGE + PAGE - 4, 4)];
        for (list, pages) in (number..).zip(pages.chunks(8)) {
            let sections: Vec<(u64, u16)> = pages.iter().flat_map(ends).collect();
            let list = self.list(list, &sections);
            self.call([hc::SEND_DMA, 0, list, 0]);
        }
    }

    /// Runs it in 4 MiB.
    fn run(&self) -> Outcome<Ran> {
        let path = std::env::temp_dir().join(format!("lab07-{:016x}", random()));
        self.save(&path)?;
        launch(&["run", "-m", "4M", &path.display().to_string()], "")
    }
}

/// The first frame of 16 whose contents the tests choose.
const FIRST: u64 = FREE / PAGE;

/// Fills the pages with letters that nobody can guess, and returns the first and the last four of each.
fn fill(kernel: &mut Kernel) -> Vec<String> {
    let letter = || b'a' + (random() % 26) as u8;
    let mut ends = Vec::new();
    for page in FIRST..FIRST + 16 {
        let bytes: Vec<u8> = (0..PAGE).map(|_| letter()).collect();
        kernel.put(page * PAGE, &bytes);
        let ends_of = [&bytes[..4], &bytes[PAGE as usize - 4..]].concat();
        ends.push(String::from_utf8_lossy(&ends_of).into_owned());
    }
    ends
}

/// Some of the frames, at least two and not all, in no order.
fn some_frames() -> Vec<u64> {
    let mut frames: Vec<u64> = (FIRST..FIRST + 16).collect();
    for n in (1..frames.len()).rev() {
        frames.swap(n, (random() % (n as u64 + 1)) as usize);
    }
    frames.truncate(2 + (random() % 12) as usize);
    frames
}

/// What the pages look like when these frames are gone.
fn without(ends: &[String], frames: &[u64]) -> String {
    let pages = (FIRST..).zip(ends);
    let seen = pages.map(|(page, ends)| match frames.contains(&page) {
        true => "\0\0\0\0\0\0\0\0",
        false => ends,
    });
    seen.collect()
}

fn all_pages() -> Vec<u64> {
    (FIRST..FIRST + 16).collect()
}

fn gives() -> Outcome {
    let mut kernel = Kernel::new(DMA);
    let ends = fill(&mut kernel);
    let frames = some_frames();
    // At an address that is no multiple of eight.
    kernel.give(0, BUFFER + 3, &frames);
    kernel.show(1, &all_pages());
    let ran = kernel.run()?;
    ended("used_len", &ran, 8 * frames.len() as i32)?;
    same("the pages", ran.out, without(&ends, &frames))?;

    // Several sections, the numbers of one list in three places.
    let mut kernel = Kernel::new(DMA);
    let ends = fill(&mut kernel);
    let frames = some_frames();
    let mut sections = Vec::new();
    for (n, frame) in (0..).zip(&frames) {
        let at = BUFFER + 3000 - 40 * n;
        kernel.put(at, &frame.to_ne_bytes());
        sections.push((at, 8));
    }
    let list = kernel.list(0, &sections);
    kernel.call([hc::SEND_DMA, KEY, list, 0]);
    kernel.show(1, &all_pages());
    let ran = kernel.run()?;
    ended(
        "used_len of a scattered list",
        &ran,
        8 * frames.len() as i32,
    )?;
    same(
        "the pages of a scattered list",
        ran.out,
        without(&ends, &frames),
    )
}

fn refuses() -> Outcome {
    const LIMIT: u64 = MEMORY / PAGE;
    for bad in [
        LIMIT,
        LIMIT + 1,
        1 << 52,
        (1 << 52) + FIRST,
        1 << 63,
        u64::MAX,
    ] {
        let mut kernel = Kernel::new(DMA);
        let ends = fill(&mut kernel);
        let mut frames = some_frames();
        frames.insert((random() % (frames.len() as u64 + 1)) as usize, bad);
        kernel.give(0, BUFFER, &frames);
        kernel.show(1, &all_pages());
        let ran = kernel.run()?;
        ended(&format!("used_len of a list with frame {bad:#x}"), &ran, 0)?;
        same(
            &format!("the pages after a list with frame {bad:#x}"),
            ran.out,
            without(&ends, &[]),
        )?;
        check!(
            !ran.err.is_empty(),
            "standard error after a list with frame {bad:#x}: expected the reason, got nothing"
        );
    }
    for cut in 1..8 {
        let mut kernel = Kernel::new(DMA);
        let ends = fill(&mut kernel);
        for (n, frame) in (0..).zip([FIRST, FIRST + 1, FIRST + 2]) {
            kernel.put(BUFFER + 8 * n, &u64::to_ne_bytes(frame));
        }
        let list = kernel.list(0, &[(BUFFER, 8), (BUFFER + 8, 8 + cut)]);
        kernel.call([hc::SEND_DMA, KEY, list, 0]);
        kernel.show(1, &all_pages());
        let ran = kernel.run()?;
        ended(
            &format!("used_len of a section of {} bytes", 8 + cut),
            &ran,
            0,
        )?;
        same(
            "the pages after a section that is no multiple of 8",
            ran.out,
            without(&ends, &[]),
        )?;
    }
    Ok(())
}

fn twice() -> Outcome {
    let mut kernel = Kernel::new(DMA + 168);
    let ends = fill(&mut kernel);
    let frames = some_frames();
    let doubled = [&frames[..], &frames].concat();
    kernel.give(0, BUFFER, &doubled);
    kernel.give(1, BUFFER + PAGE, &frames[1..]);
    kernel.show(2, &all_pages());
    let ran = kernel.run()?;
    ended(
        "used_len of the second list",
        &ran,
        8 * (frames.len() as i32 - 1),
    )?;
    same("the pages", ran.out, without(&ends, &frames))?;
    same("what is on standard error", &*ran.err, "")
}

fn its_own_code() -> Outcome {
    // All of the kit and the body: not even the instruction behind the hypercall is left.
    let mut kernel = Kernel::new(PARAM);
    let code: Vec<u64> = (KIT / PAGE..USER / PAGE).collect();
    kernel.give(0, BUFFER, &code);
    let ran = kernel.run()?;
    ended("status of a Guest without code", &ran, 1)?;
    check!(
        ran.err
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("lguest: ")),
        "standard error: expected the reason of its death, got {:?}",
        ran.err
    );

    // The page tables lie at the top. What becomes of such a Guest is its own affair, but it ends.
    let mut kernel = Kernel::new(PARAM + 8);
    let tables: Vec<u64> = (MEMORY / PAGE - 32..MEMORY / PAGE).collect();
    kernel.give(0, BUFFER, &tables);
    kernel.show(1, &all_pages());
    kernel.run()?;

    let number = (random() % 200) as i32;
    let ran = launch(&["run", "/guests/guest"], &format!("exit {number}\n"))?;
    ended("status of the next Guest", &ran, number)
}

/// Resident memory of a process, in pages.
fn resident(running: &Running) -> Outcome<u64> {
    let path = format!("/proc/{}/status", running.pid());
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or("no VmRSS")? / 4)
}

/// Types a command, and waits for the next prompt: the last line before it.
fn answer(running: &mut Running, command: &str) -> Outcome<String> {
    running.type_line(command)?;
    let said = running.wait_for("guest> ")?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

/// Fails unless a command has this answer.
fn ask(running: &mut Running, command: &str, want: &str) -> Outcome {
    let got = answer(running, command)?;
    same(&format!("the answer to {command:?}"), &*got, want)
}

fn resident_memory() -> Outcome {
    let pages = 2000 + random() % 4000;
    let mut running = spawn(&["run", "/guests/guest"])?;
    running.wait_for("guest> ")?;
    let before = resident(&running)?;
    ask(
        &mut running,
        &format!("fill {pages}"),
        &format!("filled {pages} pages"),
    )?;
    let filled = resident(&running)?;
    let grown = filled.saturating_sub(before);
    check!(
        grown >= pages * 9 / 10,
        "resident pages more after filling {pages}: expected as many, got {grown}"
    );
    let some = 1000 + random() % 500;
    ask(
        &mut running,
        &format!("give {some}"),
        &format!("gave {some} pages"),
    )?;
    ask(
        &mut running,
        &format!("give {}", pages - some),
        &format!("gave {} pages", pages - some),
    )?;
    let given = resident(&running)?;
    check!(
        given <= filled - pages * 9 / 10,
        "resident pages after giving {pages} of {filled} back: expected at most {}, got {given}",
        filled - pages * 9 / 10
    );
    ask(
        &mut running,
        &format!("take {pages}"),
        &format!("took {pages} pages"),
    )?;
    let taken = resident(&running)?;
    check!(
        taken <= given + 100,
        "resident pages after taking {pages} back and not touching them: expected about {given}, got {taken}"
    );
    ask(
        &mut running,
        &format!("look {pages}"),
        &format!("0 of {pages} pages hold something"),
    )?;
    ask(
        &mut running,
        &format!("fill {pages}"),
        &format!("filled {pages} pages"),
    )?;
    ask(
        &mut running,
        &format!("look {pages}"),
        &format!("{pages} of {pages} pages hold something"),
    )?;
    running.type_line("exit 5")?;
    ended("status", &running.end()?, 5)
}

fn no_more_than_there_is() -> Outcome {
    let mut running = spawn(&["run", "-m", "16M", "/guests/guest"])?;
    running.wait_for("guest> ")?;
    let line = answer(&mut running, "give 1000000")?;
    let gave: u64 = line
        .trim_start_matches("gave ")
        .trim_end_matches(" pages")
        .parse()
        .unwrap_or(0);
    check!(
        (3000..4096).contains(&gave),
        "pages given of a Guest of 4096: expected 3000 to 4095, got {line:?}"
    );
    ask(&mut running, "give 10", "gave 0 pages")?;
    ask(&mut running, "hello", "hello: does not fit into memory")?;
    let some = 100 + random() % 100;
    ask(
        &mut running,
        &format!("take {some}"),
        &format!("took {some} pages"),
    )?;
    ask(
        &mut running,
        "take 1000000",
        &format!("took {} pages", gave - some),
    )?;
    ask(&mut running, "hello", "hello: ended with status 0")?;
    running.type_line("exit 6")?;
    ended("status", &running.end()?, 6)
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("gives", gives),
        Case::new("refuses", refuses),
        Case::new("twice", twice),
        Case::new("its-own-code", its_own_code),
        Case::new("resident", resident_memory),
        Case::new("no-more-than-there-is", no_more_than_there_is),
    ]
}
