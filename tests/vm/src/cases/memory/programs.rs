//! Programs that know nothing of guests change the file that is a guest's memory.

use super::mappings::Subject;
use crate::harness::{Case, Outcome, check, same};
use crate::mirror::Way;
use crate::window::{Kind, Window};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

/// A line of shell in which `$F` is the file and `$N` its size.
const PROGRAMS: &[(&str, &str)] = &[
    (
        "dd",
        "dd if=/dev/urandom of=$F bs=4096 count=$((N / 4096)) conv=notrunc",
    ),
    ("shred", "shred -n 1 $F"),
    ("truncate", "truncate -s 0 $F && truncate -s $N $F"),
    (
        "cp",
        "head -c $N /dev/urandom >/tmp/other.$$ && cp /tmp/other.$$ $F && rm /tmp/other.$$",
    ),
    (
        "tr",
        "head -c $N /dev/zero | tr '\\0' X | dd of=$F bs=4096 conv=notrunc iflag=fullblock",
    ),
];

/// Runs one on the window's file, by the name that this process's descriptor has for others.
fn run(shell: &str, window: &Window) -> Outcome {
    let file = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        window.file()?.as_raw_fd()
    );
    let output = Command::new("sh")
        .args(["-euc", shell])
        .env("F", file)
        .env("N", window.len().to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("sh: {e}"))?;
    check!(
        output.status.success(),
        "{shell}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn changed(kind: Kind, way: Way, shell: &str) -> Outcome {
    let mut subject = Subject::new(kind, way)?;
    for _ in 0..3 {
        let before = subject.words.clone();
        run(shell, &subject.window)?;
        subject.words = subject.window.read_file()?;
        check!(before != subject.words, "{shell} has changed nothing");
        subject.both_see("after the program")?;
        if kind.is_writable() {
            subject.guest_writes(0, 0xf000_0000)?;
            subject.process_writes(1, 0xf000_0001);
            same(
                "what is in the file",
                subject.window.read_file()?,
                subject.words.clone(),
            )?;
        } else {
            // The next round finds something to change, too.
            subject.words = subject.window.rewrite_file()?;
            subject.both_see("after the file was written anew")?;
        }
    }
    subject.lives_on()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, kind) in Kind::ALL {
        if !kind.has_file() || kind.is_writable() && kind.is_private() {
            continue;
        }
        for (program, shell) in PROGRAMS {
            for (how, way) in super::WAYS {
                let name = format!("mapping/{what}/by-{program}/{how}");
                let case = Case::new(name, move || changed(kind, way, shell));
                cases.push(case.needing(kind.need()));
            }
        }
    }
    cases
}
