//! The Launcher's disks: Guests that send what they like, and Launchers that are killed.

use crate::abi::hc;
use crate::blobs::blob;
use crate::harness::{Case, Outcome, check, same};
use crate::kernel_file::Kernel;
use crate::layout::*;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

blob! {
    /// Stores words (address, value) from the list at BUFFER on, up to an address of 0; makes the hypercall behind it (number, RDX,
    /// RBX, RCX); waits, not for ever, until the byte at the address in parameter 0 is not 0, and powers off with it.
    STORE_AND_CALL = "lea rsi, [r15 + BUFFER]",
        "2: mov rbx, [rsi]",
        "test rbx, rbx",
        "jz 3f",
        "mov rcx, [rsi + 8]",
        "mov [r15 + rbx], rcx",
        "add rsi, 16",
        "jmp 2b",
        "3: mov rax, [rsi + 8]",
        "mov rdx, [rsi + 16]",
        "mov rbx, [rsi + 24]",
        "mov rcx, [rsi + 32]",
        "int 0x1f",
        "mov rbx, [r15 + PARAM]",
        "mov rcx, [r15 + PARAM + 8]",
        "4: movzx edx, byte ptr [r15 + rbx]",
        "test edx, edx",
        "jnz 5f",
        "pause",
        "dec rcx",
        "jnz 4b",
        "5: mov eax, 11",
        "int 0x1f",
        "ud2";
}

/// The Guest's memory, as the Launcher is told.
const SIZE: u64 = 4 << 20;
/// The page of its second device, a disk, and where the ring's registers are.
const DISK: u64 = SIZE + PAGE;
const RING: u64 = DISK + 64;
/// Descriptors, both rings, a header, data and an answer, in free memory.
const DESCRIPTORS: u64 = FREE;
const AVAILABLE: u64 = FREE + 0x1000;
const USED: u64 = FREE + 0x2000;
const HEADER: u64 = FREE + 0x3000;
const ANSWER: u64 = FREE + 0x3800;
const SECTORS: u64 = 16;

/// What the disk answers.
const OK: u8 = 1;
const BEYOND: u8 = 3;
const READ_ONLY: u8 = 4;
const BAD: u8 = 5;

/// A directory for one case, empty.
fn place(name: &str) -> Outcome<PathBuf> {
    let place = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| error.to_string())?;
    Ok(place)
}

/// A kernel that stores these words, makes that call, and tells the byte at `tell`.
fn kernel(stores: &[(u64, u64)], call: [u64; 4], tell: u64) -> Kernel {
    let mut kernel = Kernel::new(tell);
    kernel.put(BODY, STORE_AND_CALL.bytes());
    let mut words: Vec<u64> = stores.iter().flat_map(|&(at, value)| [at, value]).collect();
    words.push(0);
    words.extend(call);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    kernel.put(BUFFER, &bytes);
    kernel.put(PARAM + 8, &20_000_000u64.to_ne_bytes());
    kernel
}

/// Boots it with a disk of 16 sectors, and sees that the file has the same length afterwards, and the Launcher did not panic.
fn boot(place: &Path, option: &str, kernel: &Kernel) -> Outcome<Output> {
    let (file, image) = (place.join("disk"), place.join("kernel"));
    let disk = File::create(&file).map_err(|error| error.to_string())?;
    disk.set_len(SECTORS * 512)
        .map_err(|error| error.to_string())?;
    kernel.save(&image)?;
    let mut command = Command::new("lguest");
    command
        .args(["run", "-m", "4M", option])
        .arg(&file)
        .arg(&image);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("lguest: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check!(!said.contains("panicked"), "the Launcher said {said}");
    let len = disk.metadata().map_err(|error| error.to_string())?.len();
    same("the length of the file", len, SECTORS * 512)?;
    Ok(output)
}

/// The exit status.
fn status(output: &Output) -> Option<u8> {
    output.status.code().map(|code| code as u8)
}

/// A request by the page, without a buffer for the reply, or with one.
fn by_the_page(kind: u64, sector: u64, bytes: u64, reply: Option<&[(u64, u16)]>) -> Kernel {
    let stores = [
        (DISK, kind | bytes << 32),
        (DISK + 8, sector),
        (DISK + 16, 0),
    ];
    let mut kernel = kernel(&stores, [hc::SEND_DMA, DISK, DMA, 0], DISK + 16);
    kernel.list(0, &[(FREE, 512)]);
    if let Some(sections) = reply {
        let list = kernel.list(1, sections);
        kernel.put(list, &[0; 4]);
        kernel.call([hc::BIND_DMA, DISK, list, 1 << 8 | 2]);
    }
    kernel
}

/// The words that set up a ring with this one chain.
fn ring(kind: u64, sector: u64, chain: &[(u64, u32, u16)]) -> Vec<(u64, u64)> {
    let mut stores = vec![
        (RING, DESCRIPTORS),
        (RING + 8, AVAILABLE),
        (RING + 16, USED),
        (RING + 24, 64 | 2 << 32),
        (HEADER, kind),
        (HEADER + 8, sector),
        (AVAILABLE, 1 << 16),
    ];
    for (n, &(address, len, flags)) in (0u64..).zip(chain) {
        let next = (n + 1) << 48;
        stores.push((DESCRIPTORS + 16 * n, address));
        let word = u64::from(len) | u64::from(flags) << 32 | next;
        stores.push((DESCRIPTORS + 16 * n + 8, word));
    }
    stores
}

const NOTIFY: [u64; 4] = [hc::NOTIFY, RING, 0, 0];

/// Numbers that look like chance (xorshift).
fn chance(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A ring of random descriptors, counts, registers and headers.
fn nonsense(seed: u64) -> Kernel {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || chance(&mut state);
    let mut stores = ring(next() % 4, next() % 20, &[]);
    for n in 0..24 {
        let near = [
            HEADER,
            FREE + 0x4000,
            ANSWER,
            DISK,
            RING,
            DESCRIPTORS,
            AVAILABLE,
            USED,
        ];
        let address = match next() % 8 {
            0 => next(),
            1 => SIZE + 2 * PAGE - next() % 1024,
            _ => near[next() as usize % near.len()] + next() % 32,
        };
        let len = [16, 1, 512, next() % 4096, next() % (1 << 32)][next() as usize % 5];
        stores.push((DESCRIPTORS + 16 * n, address));
        let word = len | (next() % 8) << 32 | (next() % 30) << 48;
        stores.push((DESCRIPTORS + 16 * n + 8, word));
    }
    for n in 0..8 {
        let heads = next() & 0x001f_001f_001f_001f;
        stores.push((
            AVAILABLE + 8 * n,
            heads | if n == 0 { (next() % 66) << 16 } else { 0 },
        ));
    }
    if next().is_multiple_of(4) {
        let register = RING + 8 * (next() % 4);
        stores.push((register, next() >> (next() % 64)));
    }
    let mut kernel = kernel(&stores, NOTIFY, ANSWER);
    // There may never be an answer.
    kernel.put(PARAM + 8, &500_000u64.to_ne_bytes());
    kernel
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("block/lies-are-answered", || {
            let place = place("block-lies")?;
            let room: &[(u64, u16)] = &[(FREE, 4096), (FREE + 4096, 4096)];
            for (what, option, request, answer) in [
                ("a read", "--block", by_the_page(0, 0, 8192, Some(room)), OK),
                ("a write", "--block", by_the_page(1, 15, 512, None), OK),
                ("a flush", "--block", by_the_page(2, 0, 0, None), OK),
                (
                    "beyond the end",
                    "--block",
                    by_the_page(0, 15, 1024, Some(room)),
                    BEYOND,
                ),
                (
                    "a sum that wraps",
                    "--block",
                    by_the_page(1, u64::MAX, 512, None),
                    BEYOND,
                ),
                (
                    "read-only",
                    "--block-ro",
                    by_the_page(1, 0, 512, None),
                    READ_ONLY,
                ),
                (
                    "no room for it",
                    "--block",
                    by_the_page(0, 0, 512, None),
                    BAD,
                ),
                (
                    "too little room",
                    "--block",
                    by_the_page(0, 0, 8192, Some(&room[..1])),
                    BAD,
                ),
                (
                    "a list that is too short",
                    "--block",
                    by_the_page(1, 0, 1024, None),
                    BAD,
                ),
                (
                    "half a sector",
                    "--block",
                    by_the_page(1, 0, 100, None),
                    BAD,
                ),
                (
                    "a strange request",
                    "--block",
                    by_the_page(77, 0, 512, None),
                    BAD,
                ),
            ] {
                let output = boot(&place, option, &request)?;
                same(what, status(&output), Some(answer))?;
            }
            Ok(())
        }),
        Case::new("block/lies-in-a-ring-are-answered", || {
            let place = place("block-ring-lies")?;
            let (header, end) = ((HEADER, 16, 1), (ANSWER, 1, 2));
            let far = u64::MAX - 511;
            for (what, option, kind, sector, chain, answer) in [
                (
                    "a read",
                    "--block",
                    0,
                    0,
                    &[header, (FREE + 0x4000, 8192, 3), end][..],
                    OK,
                ),
                (
                    "a write",
                    "--block",
                    1,
                    15,
                    &[header, (FREE + 0x4000, 512, 1), end],
                    OK,
                ),
                (
                    "beyond the end",
                    "--block",
                    0,
                    16,
                    &[header, (FREE + 0x4000, 512, 3), end],
                    BEYOND,
                ),
                (
                    "read-only",
                    "--block-ro",
                    1,
                    0,
                    &[header, (FREE + 0x4000, 512, 1), end],
                    READ_ONLY,
                ),
                (
                    "outside of memory",
                    "--block",
                    0,
                    0,
                    &[header, (far, 512, 3), end],
                    BAD,
                ),
                (
                    "across the end of memory",
                    "--block",
                    0,
                    0,
                    &[header, (DISK, 8192, 3), end],
                    BAD,
                ),
                (
                    "nowhere to write",
                    "--block",
                    0,
                    0,
                    &[header, (FREE + 0x4000, 512, 1), end],
                    BAD,
                ),
            ] {
                let request = kernel(&ring(kind, sector, chain), NOTIFY, ANSWER);
                let output = boot(&place, option, &request)?;
                same(what, status(&output), Some(answer))?;
            }
            Ok(())
        }),
        Case::slow("block/a-ring-of-nonsense-harms-nobody", || {
            let place = place("block-nonsense")?;
            for seed in 1..=12 {
                let output = boot(&place, "--block", &nonsense(seed))?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
                check!(
                    signal.is_none(),
                    "seed {seed}: the Launcher was ended by {signal:?}"
                );
                check!(
                    said.is_empty() || said.contains("a disk's ring is not served any more"),
                    "seed {seed}: the Launcher said {said}"
                );
            }
            Ok(())
        }),
        Case::slow("block/flushed-bytes-survive-the-launcher", || {
            survive(rounds(), &["disk=2007", "disk=ring"])
        }),
    ]
}

/// How often Launchers are killed.
fn rounds() -> u64 {
    let rounds = std::env::var("KILLS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// Sectors that the Guest stamps at a time, and how many times.
const STRIDE: u64 = 64;
const STRIDES: u64 = 64;

/// Guests stamp a disk stretch by stretch, and their Launchers are killed meanwhile. Every stretch that a Guest has called stamped,
/// it has flushed before.
fn survive(rounds: u64, ways: &[&str]) -> Outcome {
    let place = place("block-killed")?;
    let (file, keys) = (place.join("disk"), place.join("keys"));
    let typed: String = (0..STRIDES)
        .map(|n| format!("stamp lgba {} {STRIDE}\n", n * STRIDE))
        .collect();
    fs::write(&keys, typed).map_err(|error| error.to_string())?;
    let (mut state, mut in_the_middle) = (0x1234_5678, 0);
    for round in 0..rounds {
        let disk = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file)
            .map_err(|error| error.to_string())?;
        let len = STRIDE * STRIDES * 512;
        disk.set_len(len).map_err(|error| error.to_string())?;
        let way = ways[round as usize % ways.len()];
        let stamped = stamp_until_killed(&file, &keys, way, &mut state)?;
        in_the_middle += u64::from(stamped > 0 && stamped < STRIDES);
        for sector in 0..stamped * STRIDE {
            let mut found = [0; 512];
            let read = disk.read_exact_at(&mut found, sector * 512);
            read.map_err(|error| error.to_string())?;
            let expected = format!("{sector:511}\n");
            check!(
                found == expected.as_bytes(),
                "round {round} ({way}): {stamped} stretches were flushed, and sector {sector} is lost"
            );
        }
    }
    check!(
        in_the_middle > rounds / 3,
        "only {in_the_middle} of {rounds} Launchers were killed in the middle"
    );
    Ok(())
}

/// Boots the book's Guest, kills its Launcher at some moment after the first stretch, and says how many it had called stamped.
fn stamp_until_killed(file: &Path, keys: &Path, way: &str, state: &mut u64) -> Outcome<u64> {
    let keys = File::open(keys).map_err(|error| error.to_string())?;
    let mut launcher = Command::new("lguest")
        .args(["run", "--block"])
        .arg(file)
        .args(["/guests/guest", way])
        .stdin(keys)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("lguest: {error}"))?;
    let mut output = launcher.stdout.take().ok_or("no output")?;
    let stretches = chance(state) % 40;
    let moment = Duration::from_micros(chance(state) % 20_000);
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    let mut killed = false;
    let start = Instant::now();
    loop {
        let len = output.read(&mut piece).map_err(|error| error.to_string())?;
        if len == 0 {
            break;
        }
        said.extend(&piece[..len]);
        if !killed && count(&said) > stretches {
            // At some moment of the next stretches, not at a border.
            let until = Instant::now() + moment;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            killed = true;
            launcher.kill().map_err(|error| error.to_string())?;
        }
        check!(
            start.elapsed() < Duration::from_secs(60),
            "the Guest does not get on"
        );
    }
    let _ = launcher.wait();
    Ok(count(&said))
}

/// How often the Guest has said that it has stamped a stretch.
fn count(said: &[u8]) -> u64 {
    let said = String::from_utf8_lossy(said);
    said.matches(&format!("stamped {STRIDE} sectors")).count() as u64
}
