//! Lab 1: a hypercall by which a Guest asks who runs it, and with how much memory.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, same};
use crate::labs::{random, spawn};
use crate::layout::*;
use crate::ram::Ram;

const ASK_HOST: u64 = 21;
/// Bytes of the whole answer.
const ALL: u64 = 16;

/// A Guest with between 2 and 6 MiB, which will end well.
fn guest() -> Guest {
    Guest::in_memory(work::SURVIVED, Ram::new(PAGE * (0x200 + random() % 0x400)))
}

/// What such a Guest is to be told, byte for byte.
fn facts(guest: &Guest) -> Vec<u8> {
    let words = [u64::from(std::process::id()), guest.ram.len()];
    words.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// A place for the answer on a page of its own, at which nobody has looked yet; now and then it goes on on the next one.
fn somewhere(guest: &Guest) -> u64 {
    let pages = (guest.ram.len() - FREE) / PAGE - 1;
    FREE + PAGE * (random() % pages) + random() % PAGE
}

/// Lets a Guest ask for as much as it says that it has room for: RAX, and the bytes from 32 before the answer to 64 behind it.
/// They were `before`, or nobody has ever touched them.
fn ask(
    guest: &mut Guest,
    at: u64,
    room: u64,
    before: Option<&[u8; 96]>,
) -> Outcome<(u64, Vec<u8>)> {
    if let Some(bytes) = before {
        guest.ram.set_bytes(at - 32, bytes);
    }
    let call = guest.call([ASK_HOST, at, room, 0]);
    let reason = guest.run()?;
    same(
        "the end of a Guest that may ask",
        reason.as_str(),
        "POWEROFF: 0",
    )?;
    Ok((guest.returned(call), guest.ram.bytes(at - 32, 96)))
}

/// Asks for so much, and compares everything.
fn asks(room: u64) -> Outcome {
    let bytes: [u8; 96] = std::array::from_fn(|_| random() as u8);
    let before = room.is_multiple_of(2).then_some(&bytes);
    let mut guest = guest();
    let mut want = before.copied().unwrap_or([0; 96]);
    let told = room.min(ALL) as usize;
    want[32..][..told].copy_from_slice(&facts(&guest)[..told]);
    let at = somewhere(&guest).min(guest.ram.len() - 64);
    let (rax, got) = ask(&mut guest, at, room, before)?;
    same(&format!("RAX, with room for {room:#x} bytes"), rax, ALL)?;
    same(
        &format!("the answer, with room for {room:#x} bytes"),
        &got[32..][..told],
        &want[32..][..told],
    )?;
    untouched(
        &format!("in front of an answer with room for {room:#x} bytes"),
        &got[..32],
        &want[..32],
    )?;
    untouched(
        &format!("behind an answer with room for {room:#x} bytes"),
        &got[32 + told..],
        &want[32 + told..],
    )
}

/// Nobody has written there.
fn untouched(place: &str, got: &[u8], want: &[u8]) -> Outcome {
    match got.iter().zip(want).position(|(got, want)| got != want) {
        Some(at) => same(&format!("byte {at} of those {place}"), got[at], want[at]),
        None => Ok(()),
    }
}

fn answers() -> Outcome {
    for _ in 0..3 {
        // In a thread of its own, whose number is not that of the process.
        let asked = std::thread::spawn(|| {
            let mut guest = guest();
            let at = somewhere(&guest).min(guest.ram.len() - 64);
            let want = facts(&guest);
            let (rax, got) = ask(&mut guest, at, ALL, None)?;
            let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
            same(
                "the process that runs the Guest",
                word(&got[32..40]),
                word(&want[..8]),
            )?;
            same(
                "the bytes of the Guest's memory",
                word(&got[40..48]),
                word(&want[8..]),
            )?;
            same("RAX", rax, ALL)
        });
        join(asked)?;
    }
    Ok(())
}

fn fits() -> Outcome {
    for room in [
        0,
        1 + random() % 7,
        8,
        9 + random() % 7,
        ALL,
        ALL + 1 + random() % 100,
    ] {
        asks(room)?;
    }
    // What is more than a machine has, and what looks little to somebody who sees only 32 bits of it, or the sign.
    for room in [1 << 32, (1 << 32) + random() % 16, 1 << 63, u64::MAX] {
        asks(room)?;
    }
    // No room needs no place.
    for at in [u64::MAX, guest().ram.len() * 4, va(FREE)] {
        let mut guest = guest();
        let call = guest.call([ASK_HOST, at, 0, 0]);
        let reason = guest.run()?;
        same(
            "the end of a Guest without room",
            reason.as_str(),
            "POWEROFF: 0",
        )?;
        same("RAX, without room", guest.returned(call), ALL)?;
    }
    Ok(())
}

fn refuses() -> Outcome {
    let short = 1 + random() % (ALL - 1);
    // How far from the end of memory, or where; how much room.
    let end = |distance: u64| move |guest: &Guest| guest.ram.len() - distance;
    type Place = Box<dyn Fn(&Guest) -> u64>;
    let places: [(Place, u64); 8] = [
        (Box::new(end(ALL - 1)), ALL),
        (Box::new(end(short)), short + 1),
        (Box::new(end(8)), u64::MAX),
        (Box::new(end(0)), 1),
        (Box::new(|_| u64::MAX - 7), ALL),
        (Box::new(|_| va(FREE)), ALL),
        (Box::new(|_| 0xffff_8880_0010_0000), 8),
        (Box::new(|guest| guest.ram.base()), ALL),
    ];
    for (place, room) in places {
        let mut guest = guest();
        let at = place(&guest);
        guest.call([ASK_HOST, at, room, 0]);
        let last = guest.ram.len() - PAGE;
        let before: Vec<u8> = (0..PAGE).map(|_| random() as u8).collect();
        guest.ram.set_bytes(last, &before);
        let reason = guest.run()?;
        check!(
            reason.starts_with("bad write address"),
            "the end of a Guest of {:#x} bytes with {room:#x} bytes of room at {at:#x}: \
             expected \"bad write address ...\", got {reason:?}",
            guest.ram.len(),
        );
        check!(
            guest.ram.bytes(last, PAGE) == before,
            "the last page of a Guest of {:#x} bytes with {room:#x} bytes of room at {at:#x}: \
             expected it as it was, got something written there",
            guest.ram.len(),
        );
    }
    // As near to the end as can be.
    for room in [ALL, short] {
        let mut guest = guest();
        let (at, want) = (guest.ram.len() - room, facts(&guest));
        guest.call([ASK_HOST, at, room, 0]);
        let reason = guest.run()?;
        same(
            "the end of a Guest whose answer ends where its memory does",
            reason.as_str(),
            "POWEROFF: 0",
        )?;
        same(
            "the last bytes of its memory",
            &guest.ram.bytes(at, room)[..],
            &want[..room as usize],
        )?;
    }
    Ok(())
}

fn shell_asks() -> Outcome {
    let kilobytes = 1024 * (4 + random() % 28) + 4 * (random() % 256);
    let mut launcher = spawn(&["run", "-m", &format!("{kilobytes}K"), "/guests/guest"])?;
    launcher.wait_for("guest> ")?;
    launcher.type_line("host")?;
    launcher.wait_for_line("host")?;
    // The devices' page lies above what -m says.
    let want = format!(
        "process {} of the Host runs us, and lent us {} KiB",
        launcher.pid(),
        kilobytes + 4
    );
    same("what `host` prints", launcher.wait_for_line("")?, want)?;
    launcher.type_line("help")?;
    launcher.wait_for_line("help")?;
    let help = launcher.wait_for("guest> ")?;
    check!(
        help.lines().any(|line| line.starts_with("host ")),
        "what `help` prints: expected a line that begins with \"host \", got {help:?}"
    );
    same(
        "the Launcher's exit status",
        launcher.end()?.status,
        Some(0),
    )
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("answers", answers),
        Case::new("fits", fits),
        Case::new("refuses", refuses),
        Case::new("shell-asks", shell_asks),
    ]
}
