//! Lab 6: a second console.

use std::fs;
use std::path::{Path, PathBuf};

use crate::abi::hc;
use crate::harness::{Case, Outcome, check, same};
use crate::kernel_file::Kernel;
use crate::labs::{Ran, ended, launch, random};
use crate::layout::*;

/// The log's key and kind, as the lab's page has them.
const KEY: u64 = 4;
const KIND: u8 = 4;

/// A directory of this test's own.
fn directory() -> Outcome<PathBuf> {
    let path = std::env::temp_dir().join(format!("lab06-{:016x}", random()));
    fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path)
        .map_err(|error| format!("the log: expected the file {}, got {error}", path.display()))
}

fn random_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|_| random() as u8).collect()
}

/// A word that nobody can guess, of letters and digits.
fn word() -> String {
    format!("{:016x}", random())
}

/// Runs a kernel in 4 MiB with these options.
fn run(kernel: &Kernel, directory: &Path, options: &[&str]) -> Outcome<Ran> {
    let path = directory.join("kernel");
    kernel.save(&path)?;
    let mut args = vec!["run", "-m", "4M"];
    args.extend(options);
    let path = path.display().to_string();
    args.push(&path);
    launch(&args, "")
}

/// Fails unless so many were counted; says what is on standard error, where the Launcher may have said why.
fn counted(what: &str, ran: &Ran, got: usize, want: usize) -> Outcome {
    check!(
        got == want,
        "{what}: expected {want}, got {got}, with {:?} on standard error",
        ran.err.chars().take(500).collect::<String>()
    );
    Ok(())
}

/// How many lines of what was said on standard error speak of this.
fn lines_with(ran: &Ran, text: &str) -> usize {
    ran.err.lines().filter(|line| line.contains(text)).count()
}

fn opens() -> Outcome {
    let directory = directory()?;
    let nowhere = directory.join(word()).join("log").display().to_string();
    let ran = launch(&["run", "--log", &nowhere, "/guests/guest"], "exit 7\n")?;
    ended("status with a log in no directory", &ran, 1)?;
    check!(
        ran.err.contains(&nowhere),
        "standard error with a log that cannot be opened: expected the name {nowhere}, got {:?}",
        ran.err
    );
    check!(
        !ran.out.contains("guest>"),
        "a log that cannot be opened: expected no Guest to run, got {:?}",
        ran.out
    );

    let log = directory.join("log");
    let before = random_bytes(100);
    fs::write(&log, &before).map_err(|error| error.to_string())?;
    let name = log.display().to_string();
    let ran = launch(&["run", "--log", &name, "/guests/guest"], "exit 7\n")?;
    ended("status with a good log", &ran, 7)?;
    let after = read(&log)?;
    check!(
        after == before,
        "what was in the file before: expected its {} bytes, got {} bytes{}",
        before.len(),
        after.len(),
        if after.len() == before.len() {
            ", others"
        } else {
            ""
        }
    );

    let fresh = directory.join("fresh").display().to_string();
    let ran = launch(&["run", "--log", &fresh, "/guests/guest"], "exit 8\n")?;
    ended("status with a fresh log", &ran, 8)?;
    counted(
        "bytes in a fresh log of a Guest that sends nothing",
        &ran,
        read(Path::new(&fresh))?.len(),
        0,
    )
}

fn on_the_bus() -> Outcome {
    let directory = directory()?;
    let log = directory.join("log").display().to_string();
    const DEVICES: u64 = MEMORY;
    for (what, place, options, kind) in [
        ("the first device", 0, &["--log", &log][..], 1),
        ("the second device", 16, &["--log", &log], KIND),
        ("the end behind the log", 32, &["--log", &log], 0),
        ("the end where no log is wanted", 16, &[], 0),
    ] {
        let ran = run(&Kernel::new(DEVICES + place), &directory, options)?;
        ended(&format!("kind of {what}"), &ran, kind.into())?;
    }
    Ok(())
}

/// A list of random sections in FREE, and the bytes in it.
fn random_list(kernel: &mut Kernel, number: u64, count: u64) -> (u64, Vec<u8>) {
    let mut all = Vec::new();
    let mut sections = Vec::new();
    for n in 0..count {
        let len = 1 + random() % 500;
        // In a page of its own, and not in the order of the pages.
        let page = (number * count + count - 1 - n) % 16;
        let at = FREE + page * PAGE + random() % (PAGE - len);
        let bytes = random_bytes(len as usize);
        kernel.put(at, &bytes);
        all.extend(bytes);
        sections.push((at, len as u16));
    }
    (kernel.list(number, &sections), all)
}

fn sections() -> Outcome {
    let directory = directory()?;
    let log = directory.join("log");
    let before = random_bytes(10);
    fs::write(&log, &before).map_err(|error| error.to_string())?;
    let name = log.display().to_string();

    let mut want = before;
    let mut kernel = Kernel::new(DMA);
    let count = 3 + random() % 14;
    let (list, bytes) = random_list(&mut kernel, 0, count);
    kernel.call([hc::SEND_DMA, KEY, list, 0]);
    want.extend(&bytes);
    let ran = run(&kernel, &directory, &["--log", &name])?;
    same("what the console printed", &*ran.out, "")?;
    counted("bytes in the file", &ran, read(&log)?.len(), want.len())?;
    check!(
        read(&log)? == want,
        "the file: expected the {count} sections in their order, got other bytes"
    );
    ended("the low byte of used_len", &ran, bytes.len() as i32 & 0xff)?;

    // To the console goes what is sent to the console, and only that.
    let mut kernel = Kernel::new(PARAM + 8);
    let text = word();
    kernel.put(BUFFER, text.as_bytes());
    let list = kernel.list(0, &[(BUFFER, 16)]);
    kernel.call([hc::SEND_DMA, 0, list, 0]);
    let ran = run(&kernel, &directory, &["--log", &name])?;
    same("what the console printed", &*ran.out, &*text)?;
    check!(
        read(&log)? == want,
        "the file: expected nothing of what went to the console, got more"
    );

    // Without a log its key is a stranger's: said, and no crime.
    let mut kernel = Kernel::new(PARAM + 8);
    kernel.put(PARAM + 8, &[77]);
    let (list, _) = random_list(&mut kernel, 0, 3);
    kernel.call([hc::SEND_DMA, KEY, list, 0]);
    let ran = run(&kernel, &directory, &[])?;
    ended(
        "status of a Guest that sends to a log that nobody wants",
        &ran,
        77,
    )?;
    same("what the console printed", &*ran.out, "")
}

fn the_limit() -> Outcome {
    let directory = directory()?;
    let log = directory.join("log");
    let before = random_bytes(300);
    fs::write(&log, &before).map_err(|error| error.to_string())?;
    let name = log.display().to_string();

    // Five lists of which the third is cut; used_len of the last must be 0, that of the third the rest.
    let mut kernel = Kernel::new(DMA + 2 * 168);
    let mut all = Vec::new();
    let mut ends = Vec::new();
    for number in 0..5 {
        let (list, bytes) = random_list(&mut kernel, number, 3);
        // Told, by a wrong number, that something was taken already.
        kernel.put(list, &0x0101_0101u32.to_ne_bytes());
        kernel.call([hc::SEND_DMA, KEY, list, 0]);
        all.extend(bytes);
        ends.push(all.len());
    }
    let rest = random() as usize % (ends[2] - ends[1]);
    let limit = ends[1] + rest;
    let option = limit.to_string();
    let options = ["--log", &name, "--log-limit", &option];
    let ran = run(&kernel, &directory, &options)?;
    let file = read(&log)?;
    counted(
        "bytes that were added with a limit",
        &ran,
        file.len().saturating_sub(before.len()),
        limit,
    )?;
    check!(
        file[before.len()..] == all[..limit],
        "the file: expected the first {limit} bytes that were sent, got others"
    );
    ended(
        "the low byte of used_len of the list that was cut",
        &ran,
        rest as i32 & 0xff,
    )?;
    counted(
        "lines on standard error that name the log",
        &ran,
        lines_with(&ran, &name),
        1,
    )?;

    // And the last list is told that nothing was taken.
    kernel.put(PARAM, &(DMA + 4 * 168).to_ne_bytes());
    let ran = run(&kernel, &directory, &options)?;
    ended("used_len of a list for which there is no room", &ran, 0)
}

fn a_full_disk() -> Outcome {
    let directory = directory()?;
    let mut kernel = Kernel::new(DMA);
    for number in 0..4 {
        let (list, _) = random_list(&mut kernel, number, 2);
        kernel.put(list, &0x5555_5555u32.to_ne_bytes());
        kernel.call([hc::SEND_DMA, KEY, list, 0]);
    }
    let ran = run(&kernel, &directory, &["--log", "/dev/full"])?;
    ended("used_len when the disk is full", &ran, 0)?;
    counted(
        "lines on standard error that name the log",
        &ran,
        lines_with(&ran, "/dev/full"),
        1,
    )?;
    check!(
        ran.err.contains("No space"),
        "standard error: expected the reason, No space left, got {:?}",
        ran.err
    );
    same("what the console printed", &*ran.out, "")
}

fn the_shell() -> Outcome {
    let directory = directory()?;
    let log = directory.join("log");
    let name = log.display().to_string();
    let (mut typed, mut want) = (String::new(), String::new());
    for _ in 0..3 + random() % 20 {
        let words = format!("{} {}", word(), &word()[..(random() % 16) as usize]);
        let words = words.trim();
        typed += &format!("log {words}\n");
        want += &format!("{words}\n");
    }
    typed += "exit 9\n";
    let ran = launch(&["run", "--log", &name, "/guests/guest"], &typed)?;
    ended("status", &ran, 9)?;
    let file = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    check!(
        file == want,
        "the file: expected {want:?}, got {file:?}, and on the console {:?}",
        ran.out
            .lines()
            .find(|line| line.starts_with("Lab 6"))
            .unwrap_or("nothing about it")
    );
    for line in want.lines() {
        same(
            "how often a word that was logged is on the console",
            ran.out.matches(&line[..16]).count(),
            1,
        )?;
    }

    let text = word();
    let ran = launch(&["run", "/guests/guest"], &format!("log {text}\nexit 3\n"))?;
    ended("status without a log", &ran, 3)?;
    check!(
        ran.out.contains("there is no log"),
        "the shell without a log: expected \"there is no log\", got {:?}",
        ran.out
    );

    let ran = launch(
        &["run", "--log", &name, "--log-limit", "5", "/guests/guest"],
        &format!("log {text}\nexit 3\n"),
    )?;
    check!(
        ran.out.contains("the log took 5 of 17 bytes"),
        "the shell with a log that is full: expected \"the log took 5 of 17 bytes\", got {:?}",
        ran.out
    );
    ended("status with a log that is full", &ran, 3)
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("opens", opens),
        Case::new("on-the-bus", on_the_bus),
        Case::new("sections", sections),
        Case::new("the-limit", the_limit),
        Case::new("a-full-disk", a_full_disk),
        Case::new("the-shell", the_shell),
    ]
}
