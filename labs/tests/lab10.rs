//! Lab 10: a pipe between Guests.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::abi::hc;
use crate::harness::{Case, Outcome, check, same};
use crate::kernel_file::Kernel;
use crate::labs::{Running, ended, launch, random, spawn};
use crate::layout::*;

/// The pipe's key and kind, as the lab's page has them.
const KEY: u64 = 12;
const KIND: i32 = 6;
/// How long somebody at the other end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A socket's path of this test's own.
fn path() -> PathBuf {
    std::env::temp_dir().join(format!("lab10-{:016x}", random()))
}

/// Waits until somebody listens at the socket. Whoever has a Guest running already does not.
fn wait_for_socket(running: &Running, path: &Path) -> Outcome {
    let start = Instant::now();
    while !path.exists() {
        check!(
            !running.out().contains("Hello") && start.elapsed() < PATIENCE,
            "lguest run --listen {}: expected it to make the socket and wait, got {:?}",
            path.display(),
            running.out()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A Launcher that listens, with this kernel and these options, and us at the other end.
fn with_peer(args: &[&str]) -> Outcome<(Running, UnixStream)> {
    let path = path();
    let name = path.display().to_string();
    let running = spawn(&[&["run", "--listen", &name], args].concat())?;
    wait_for_socket(&running, &path)?;
    let connect = || {
        let start = Instant::now();
        loop {
            match UnixStream::connect(&path) {
                // Between bind and listen.
                Err(error)
                    if error.kind() == ErrorKind::ConnectionRefused
                        && start.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    };
    let peer = connect().map_err(|error| {
        format!("connecting to the Launcher: expected to be accepted, got {error}")
    })?;
    let start = Instant::now();
    while path.exists() {
        check!(
            start.elapsed() < Duration::from_secs(20),
            "{} when somebody has connected: expected the Launcher to remove it, got it still there",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let limited = peer
        .set_read_timeout(Some(PATIENCE))
        .and(peer.set_write_timeout(Some(PATIENCE)));
    limited.map_err(|error| error.to_string())?;
    Ok((running, peer))
}

/// A Guest at its prompt, and us at the other end of its pipe.
fn guest_with_peer() -> Outcome<(Running, UnixStream)> {
    let (mut running, peer) = with_peer(&["/guests/guest"])?;
    running.wait_for("guest> ")?;
    Ok((running, peer))
}

/// Two Guests at their prompts.
fn two() -> Outcome<(Running, Running)> {
    let path = path();
    let name = path.display().to_string();
    let mut first = spawn(&["run", "--listen", &name, "/guests/guest"])?;
    wait_for_socket(&first, &path)?;
    // It may not listen yet, although the socket is there.
    std::thread::sleep(Duration::from_millis(200));
    let mut second = spawn(&["run", "--connect", &name, "/guests/guest"])?;
    first.wait_for("guest> ")?;
    second.wait_for("guest> ")?;
    Ok((first, second))
}

/// What was said between a command and the next prompt, in its last line.
fn answer(running: &mut Running) -> Outcome<String> {
    let said = running.wait_for("guest> ")?;
    Ok(said
        .lines()
        .last()
        .unwrap_or_default()
        .trim_end()
        .to_owned())
}

fn ask(running: &mut Running, command: &str, want: &str) -> Outcome {
    running.type_line(command)?;
    same(
        &format!("the answer to {command:?}"),
        &*answer(running)?,
        want,
    )
}

/// Everything that comes, to its end.
fn read_all(peer: &mut UnixStream) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        // With something unread on the Launcher's side the end is a reset.
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
        Err(error) => Err(format!(
            "the other end: expected an end when its Guest has ended, got {error} after {} bytes",
            bytes.len()
        )),
    }
}

fn random_bytes(len: u64) -> Vec<u8> {
    (0..len).map(|_| random() as u8).collect()
}

/// The sum that `drink` prints.
fn sum(bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// What `pour` sends.
fn poured(count: u64, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}

/// Runs a kernel in 4 MiB.
fn save(kernel: &Kernel) -> Outcome<String> {
    let path = path().with_extension("elf");
    kernel.save(&path)?;
    Ok(path.display().to_string())
}

fn connects() -> Outcome {
    let nowhere = path().join("pipe").display().to_string();
    for option in ["--connect", "--listen"] {
        let ran = launch(&["run", option, &nowhere, "/guests/guest"], "exit 7\n")?;
        ended(&format!("status with {option} and no such place"), &ran, 1)?;
        check!(
            ran.err.contains(&nowhere),
            "standard error with {option} and no such place: expected the path {nowhere}, got {:?}",
            ran.err
        );
    }
    let kernel = save(&Kernel::new(MEMORY + 16))?;
    let ran = launch(&["run", "-m", "4M", &kernel], "")?;
    ended("kind of the second device without a pipe", &ran, 0)?;
    for (place, kind) in [(0, 1), (16, KIND), (32, 0)] {
        let kernel = save(&Kernel::new(MEMORY + place))?;
        let (running, peer) = with_peer(&["-m", "4M", &kernel])?;
        ended(
            &format!("kind of device {}", place / 16),
            &running.end()?,
            kind,
        )?;
        drop(peer);
    }
    let (path, kernel) = (path(), save(&Kernel::new(MEMORY + 16))?);
    let name = path.display().to_string();
    let listener =
        std::os::unix::net::UnixListener::bind(&path).map_err(|error| error.to_string())?;
    let running = spawn(&["run", "-m", "4M", "--connect", &name, &kernel])?;
    let peer = listener.accept().map_err(|error| error.to_string())?;
    ended(
        "kind of the second device with --connect",
        &running.end()?,
        KIND,
    )?;
    drop(peer);
    Ok(())
}

fn sends() -> Outcome {
    let mut kernel = Kernel::new(DMA);
    let (mut all, mut sections) = (Vec::new(), Vec::new());
    let count = 3 + random() % 14;
    for n in 0..count {
        let len = 1 + random() % 500;
        let at = FREE + (count - 1 - n) * PAGE + random() % (PAGE - len);
        let bytes = random_bytes(len);
        kernel.put(at, &bytes);
        all.extend(bytes);
        sections.push((at, len as u16));
    }
    let list = kernel.list(0, &sections);
    kernel.call([hc::SEND_DMA, KEY, list, 0]);
    let kernel = save(&kernel)?;
    let (running, mut peer) = with_peer(&["-m", "4M", &kernel])?;
    let ran = running.end()?;
    let got = read_all(&mut peer)?;
    check!(
        got == all,
        "{count} sections at the other end: expected their {} bytes, got {} bytes{}; standard error {:?}",
        all.len(),
        got.len(),
        if got.len() == all.len() {
            ", others"
        } else {
            ""
        },
        ran.err
    );
    ended("the low byte of used_len", &ran, all.len() as i32 & 0xff)?;
    same("what the console printed", &*ran.out, "")
}

fn nobody_reads() -> Outcome {
    // Twenty lists of 64 KiB are more than any socket holds. The third byte of used_len is 1 if all of a list was taken.
    let mut kernel = Kernel::new(DMA + 2);
    let content = random_bytes(16 * PAGE);
    kernel.put(FREE, &content);
    let sections: Vec<(u64, u16)> = (0..16).map(|n| (FREE + n * PAGE, PAGE as u16)).collect();
    let list = kernel.list(0, &sections);
    for _ in 0..20 {
        kernel.call([hc::SEND_DMA, KEY, list, 0]);
    }
    let kernel = save(&kernel)?;
    let (running, mut peer) = with_peer(&["-m", "4M", &kernel])?;
    let ran = running.end()?;
    ended("used_len of a list for which there is no room", &ran, 0)?;
    let got = read_all(&mut peer)?;
    check!(
        !got.is_empty() && got.len() < 20 * content.len(),
        "bytes that the socket took: expected some, and fewer than {}, got {}",
        20 * content.len(),
        got.len()
    );
    // Each list but the last that was taken was taken whole, or the sending went on where it was cut.
    let begins = got
        .chunks(content.len())
        .all(|part| content.starts_with(part));
    check!(
        begins,
        "the {} bytes that were taken: expected the beginning of what was sent, got others",
        got.len()
    );
    Ok(())
}

fn receives() -> Outcome {
    let (mut running, mut peer) = guest_with_peer()?;
    for len in [
        1,
        2,
        4095,
        4096,
        4097,
        1 + random() % 10_000,
        50_000 + random() % 50_000,
    ] {
        let bytes = random_bytes(len);
        running.type_line(&format!("drink {len}"))?;
        let sent = peer.write_all(&bytes);
        sent.map_err(|error| format!("sending {len} bytes to a Guest that drinks: {error}"))?;
        let want = format!("drank {len} bytes, sum {:016x}", sum(&bytes));
        same(
            &format!("the answer to \"drink {len}\""),
            &*answer(&mut running)?,
            &want,
        )?;
    }
    // The last bytes come before the end does, even if nobody has asked for them yet.
    let len = 5_000 + random() % 10_000;
    let bytes = random_bytes(len);
    peer.write_all(&bytes).map_err(|error| error.to_string())?;
    drop(peer);
    let want = format!(
        "drank {len} of {} bytes, sum {:016x}: the other end is gone",
        len + 1,
        sum(&bytes)
    );
    ask(&mut running, &format!("drink {}", len + 1), &want)?;
    running.type_line("exit 4")?;
    ended("status", &running.end()?, 4)?;

    let ran = launch(&["run", "/guests/guest"], "pour 3 3\ndrink 3\nexit 2\n")?;
    same(
        "\"there is no pipe\" without a pipe",
        ran.out.matches("there is no pipe").count(),
        2,
    )?;
    ended("status without a pipe", &ran, 2)
}

fn two_guests() -> Outcome {
    let (mut first, mut second) = two()?;
    for round in 0..2 {
        for len in [
            0,
            1,
            255,
            4096,
            4097,
            random() % 3000,
            30_000 + random() % 60_000,
        ] {
            let seed = random() >> 1;
            let (from, to) = match round {
                0 => (&mut first, &mut second),
                _ => (&mut second, &mut first),
            };
            from.type_line(&format!("pour {len} {seed}"))?;
            to.type_line(&format!("drink {len}"))?;
            let want = format!("drank {len} bytes, sum {:016x}", sum(&poured(len, seed)));
            same(
                &format!("the answer to \"drink {len}\""),
                &*answer(to)?,
                &want,
            )?;
            same(
                "the answer of who poured",
                answer(from)?,
                format!("poured {len} bytes"),
            )?;
        }
    }
    // One that does not drink yet: what the socket does not take has to wait with who pours.
    let (len, seed) = (300_000 + random() % 1000, random() >> 1);
    first.type_line(&format!("pour {len} {seed}"))?;
    std::thread::sleep(Duration::from_secs(3));
    second.type_line(&format!("drink {len}"))?;
    let want = format!("drank {len} bytes, sum {:016x}", sum(&poured(len, seed)));
    same(
        "the answer of who drinks late",
        &*answer(&mut second)?,
        &want,
    )?;
    same(
        "the answer of who pours to one who drinks late",
        answer(&mut first)?,
        format!("poured {len} bytes"),
    )?;
    first.type_line("exit 3")?;
    ended("status of the first", &first.end()?, 3)?;
    ask(
        &mut second,
        "drink 1",
        &format!(
            "drank 0 of 1 bytes, sum {:016x}: the other end is gone",
            sum(&[])
        ),
    )?;
    second.type_line("exit 4")?;
    ended("status of the second", &second.end()?, 4)
}

fn messages() -> Outcome {
    let (mut first, mut second) = two()?;
    for round in 0..6 {
        let words = format!("{:x} {:x}", random(), random());
        let words = &words[..(random() % words.len() as u64) as usize];
        let (from, to) = match round % 2 {
            0 => (&mut first, &mut second),
            _ => (&mut second, &mut first),
        };
        from.type_line(&format!("send {words}"))?;
        from.wait_for("guest> ")?;
        let words = words.trim();
        let want = format!("received {} bytes: {words}", words.len());
        ask(to, "receive", want.trim_end())?;
    }
    drop((first, second));

    for length in [1025u32, 1 << 31, u32::MAX, 1026 + random() as u32 % 100_000] {
        let (mut running, mut peer) = guest_with_peer()?;
        let good = b"a \x1b[2J\xff";
        let bytes = [
            &10u32.to_le_bytes()[..],
            b"0123456789",
            &(good.len() as u32).to_le_bytes(),
            good,
            &length.to_le_bytes(),
            &[7; 200],
        ];
        peer.write_all(&bytes.concat())
            .map_err(|error| error.to_string())?;
        ask(&mut running, "receive", "received 10 bytes: 0123456789")?;
        ask(
            &mut running,
            "receive",
            &format!("received {} bytes: {}", good.len(), good.escape_ascii()),
        )?;
        ask(
            &mut running,
            "receive",
            &format!("a message of {length} bytes is too long"),
        )?;
        ask(&mut running, "receive", "the messages are out of step")?;
        running.type_line("exit 6")?;
        ended("status", &running.end()?, 6)?;
    }

    // The longest, and one that breaks off.
    let (mut running, mut peer) = guest_with_peer()?;
    let text: String = (0..1024)
        .map(|_| (b'a' + random() as u8 % 26) as char)
        .collect();
    let bytes = [
        &1024u32.to_le_bytes()[..],
        text.as_bytes(),
        &10u32.to_le_bytes(),
        b"1234",
    ]
    .concat();
    peer.write_all(&bytes).map_err(|error| error.to_string())?;
    ask(
        &mut running,
        "receive",
        &format!("received 1024 bytes: {text}"),
    )?;
    drop(peer);
    ask(&mut running, "receive", "the other end is gone")?;
    ask(&mut running, "receive", "the messages are out of step")
}

fn dies_in_the_middle() -> Outcome {
    // The one that drinks is told.
    let (mut first, mut second) = two()?;
    let len = 2_000 + random() % 2_000;
    let seed = random() >> 1;
    second.type_line(&format!("pour {len} {seed}"))?;
    second.wait_for("guest> ")?;
    second.signal(Signal::SIGKILL)?;
    let want = format!(
        "drank {len} of 1000000 bytes, sum {:016x}: the other end is gone",
        sum(&poured(len, seed))
    );
    ask(&mut first, "drink 1000000", &want)?;
    first.type_line("exit 5")?;
    ended("status of who drank", &first.end()?, 5)?;

    // And so is the one that pours.
    let (mut first, mut second) = two()?;
    second.type_line("drink 100000")?;
    first.type_line("pour 90000000 5")?;
    second.wait_for_line("drank 100000 bytes")?;
    second.signal(Signal::SIGKILL)?;
    let told = answer(&mut first)?;
    check!(
        told.starts_with("poured ") && told.ends_with(" of 90000000 bytes: the other end is gone"),
        "the answer of who poured: expected \"poured ... of 90000000 bytes: the other end is gone\", got {told:?}"
    );
    first.type_line("exit 6")?;
    ended("status of who poured", &first.end()?, 6)
}

fn stopped() -> Outcome {
    let (mut running, mut peer) = guest_with_peer()?;
    running.type_line("drink 10")?;
    running.wait_for("drink 10")?;
    running.type_line("\x03")?;
    let want = format!("drank 0 of 10 bytes, sum {:016x}: interrupted", sum(&[]));
    same(
        "the answer to ^C while drinking",
        &*answer(&mut running)?,
        &want,
    )?;
    running.wait_for("guest> ")?;

    running.type_line("pour 90000000 5")?;
    running.wait_for("pour 90000000 5")?;
    // Time enough to fill the socket; if it is not full, ^C waits until it is.
    std::thread::sleep(Duration::from_secs(1));
    running.type_line("\x03")?;
    let told = answer(&mut running)?;
    let count = told
        .strip_prefix("poured ")
        .and_then(|told| told.strip_suffix(" of 90000000 bytes: interrupted"));
    let count: usize = count
        .and_then(|count| count.parse().ok())
        .unwrap_or(usize::MAX);
    check!(
        count < 2_000_000,
        "the answer to ^C while pouring to somebody who does not read: expected fewer than 2000000, got {told:?}"
    );
    running.wait_for("guest> ")?;
    running.type_line("exit 3")?;
    ended("status", &running.end()?, 3)?;
    let got = read_all(&mut peer)?;
    let want = poured(got.len() as u64, 5);
    check!(
        got.len() >= count && got == want,
        "what came through: expected the first {count} bytes of what was poured or more, got {} bytes{}",
        got.len(),
        if got == want { "" } else { ", others" }
    );
    Ok(())
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("connects", connects),
        Case::new("sends", sends),
        Case::new("nobody-reads", nobody_reads),
        Case::new("receives", receives),
        Case::new("two-guests", two_guests),
        Case::new("messages", messages),
        Case::new("dies-in-the-middle", dies_in_the_middle),
        Case::new("stopped", stopped),
    ]
}
