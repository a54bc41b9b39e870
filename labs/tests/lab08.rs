//! Lab 8: which pages a Guest has written to and used.

use crate::blobs::blob;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, join, refused, same};
use crate::labs::{kernel_log, random};
use crate::layout::*;
use crate::ram::Edge;
use crate::tables::pte;
use nix::errno::Errno::{EFAULT, EINVAL, ENOENT, EPERM};
use std::collections::BTreeSet;

/// The request and its kinds.
const REQUEST: u64 = 40;
const WRITTEN: u64 = 0;
const USED: u64 = 1;
const AT_ONCE: u64 = 1 << 20;

/// Pages at other addresses: 512 entries of one table.
const TARGET: u64 = 0xffff_9000_0020_0000;
/// What the Guest is to do: steps of two words.
const STEPS: u64 = 0x28_0000;
const STEPS_END: u64 = STEPS + 16 * PAGE;
/// The frames that only steps touch.
const FIRST: u64 = FREE / PAGE;
const FRAMES: u64 = 256;
/// An entry whose marks are set.
const MARKED: u64 = pte::KERNEL | pte::A | pte::D;

blob! {
    /// Obeys steps: what to do, and an address.
    OBEY = "mov r14, 0x280000",
        "add r14, r15",
        "2: mov rax, [r14]",
        "mov rbx, [r14 + 8]",
        "add r14, 16",
        "cmp eax, 1",
        "je 3f",
        "cmp eax, 2",
        "je 4f",
        "cmp eax, 3",
        "je 5f",
        "cmp eax, 4",
        "je 6f",
        "cmp eax, 5",
        "je 7f",
        "cmp eax, 6",
        "je 8f",
        "cmp eax, 7",
        "je 20f",
        "poweroff 0",
        // 1: read
        "3: mov rax, [rbx]",
        "jmp 2b",
        // 2: write
        "4: inc qword ptr [rbx]",
        "jmp 2b",
        // 3: tell the Launcher
        "5: hcall 13, 0, DMA",
        "hcall 0",
        "jmp 2b",
        // 4: call what is there
        "6: call rbx",
        "jmp 2b",
        // 5: have everything forgotten
        "7: hcall 5, 1",
        "jmp 2b",
        // 6: trap, with the stack there
        "8: mov r13, rsp",
        "mov rsp, rbx",
        "lea r11, [rip + 9f]",
        "mov [r15 + RESUME], r11",
        "int3",
        "9: jmp 2b",
        // 7: announce the entry for a frame's other address
        "20: mov rcx, 0xffff900000200000",
        "neg rcx",
        "lea rcx, [rbx + rcx + FREE]",
        "or rcx, 0x63",
        "mov rdx, cr3",
        "mov eax, 14",
        "int 0x1f",
        "jmp 2b";
}

struct Plan {
    guest: Guest,
    next: u64,
}

impl Plan {
    fn new() -> Self {
        let mut guest = Guest::new(OBEY);
        guest.traps();
        Self { guest, next: STEPS }
    }

    fn step(&mut self, what: u64, at: u64) {
        assert!(self.next + 16 < STEPS_END, "too many steps");
        self.guest.ram.set_word(self.next, what);
        self.guest.ram.set_word(self.next + 8, at);
        self.next += 16;
    }

    fn read(&mut self, at: u64) {
        self.step(1, at);
    }

    fn write(&mut self, at: u64) {
        self.step(2, at);
    }

    /// The end of an interval: the Launcher asks.
    fn tell(&mut self) {
        self.step(3, 0);
    }

    fn boot(&mut self) -> Outcome {
        self.guest.boot().map(drop)
    }

    /// Runs to the end of an interval.
    fn interval(&self) -> Outcome {
        match self.guest.step()? {
            Event::Dma { .. } => Ok(()),
            other => Err(format!("an interval's end: expected DMA, got {other:?}")),
        }
    }

    fn end(&self) -> Outcome {
        let reason = self.guest.finish()?;
        self.guest.powered_off(&reason, 0)
    }
}

/// What is asked, and the answer as the numbers of frames.
fn ask_all(plan: &Plan, kind: u64, first: u64, count: u64) -> Outcome<BTreeSet<u64>> {
    let mut words = vec![u64::MAX; count.div_ceil(64) as usize];
    let address = words.as_mut_ptr().expose_provenance() as u64;
    let answer = plan
        .guest
        .device()
        .write(&[REQUEST, kind, first, count, address]);
    let told = answer.map_err(|error| {
        let log = kernel_log().unwrap_or_default();
        let hint = log
            .iter()
            .rev()
            .find(|line| line.contains("not written yet"));
        format!(
            "the answer to a question: expected a number of pages, got {error:?} ({})",
            hint.map_or("", |line| line)
        )
    })?;
    // SAFETY: the words are ours, and the Host has written there.
    let words: Vec<u64> = words
        .iter()
        .map(|word| unsafe { std::ptr::read_volatile(word) })
        .collect();
    let marks: BTreeSet<u64> = (0..64 * words.len() as u64)
        .filter(|bit| words[(bit / 64) as usize] >> (bit % 64) & 1 != 0)
        .map(|bit| first + bit)
        .collect();
    same(
        "how many pages are told, and how many bits are set",
        marks.len(),
        told,
    )?;
    Ok(marks)
}

/// The same for the frames that only steps touch.
fn ask(plan: &Plan, kind: u64) -> Outcome<BTreeSet<u64>> {
    ask_all(plan, kind, FIRST, FRAMES)
}

/// Fails unless these are the same frames; says by which they differ.
fn same_frames(what: &str, got: &BTreeSet<u64>, want: &BTreeSet<u64>) -> Outcome {
    if got == want {
        return Ok(());
    }
    let missed: Vec<_> = want.difference(got).take(5).collect();
    let too_many: Vec<_> = got.difference(want).take(5).collect();
    let log = kernel_log().unwrap_or_default();
    let hint = log
        .iter()
        .rev()
        .find(|line| line.contains("not written yet"));
    Err(format!(
        "{what}: expected {} frames, got {}: missed {missed:x?}, too many {too_many:x?} {}",
        want.len(),
        got.len(),
        hint.map_or("", |line| line)
    ))
}

/// A random set of frames among those of the steps.
fn some_frames() -> BTreeSet<u64> {
    let share = 2 + random() % 6;
    (FIRST..FIRST + FRAMES)
        .filter(|_| random().is_multiple_of(share))
        .collect()
}

fn at(frame: u64) -> u64 {
    va(frame * PAGE + random() % 500 * 8)
}

fn written() -> Outcome {
    let mut plan = Plan::new();
    let sets: Vec<_> = (0..3).map(|_| some_frames()).collect();
    for set in &sets {
        for frame in FIRST..FIRST + FRAMES {
            if set.contains(&frame) {
                plan.write(at(frame));
            } else if random().is_multiple_of(2) {
                plan.read(at(frame));
            }
        }
        plan.tell();
    }
    plan.boot()?;
    same_frames(
        "frames written to before the Guest runs",
        &ask(&plan, WRITTEN)?,
        &BTreeSet::new(),
    )?;
    for (number, set) in (1..).zip(&sets) {
        plan.interval()?;
        same_frames(
            &format!("frames written to in interval {number}"),
            &ask(&plan, WRITTEN)?,
            set,
        )?;
        same_frames(
            "frames written to in no time at all",
            &ask(&plan, WRITTEN)?,
            &BTreeSet::new(),
        )?;
    }
    plan.end()?;
    for frame in FIRST..FIRST + FRAMES {
        let bytes = plan.guest.ram.bytes(frame * PAGE, PAGE);
        let writes = sets.iter().filter(|set| set.contains(&frame)).count() as u64;
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        same("writes that arrived", sum, writes)?;
    }
    in_parts()
}

/// Each frame has its own beginning.
fn in_parts() -> Outcome {
    let mut plan = Plan::new();
    let set = some_frames();
    for frame in &set {
        plan.write(at(*frame));
    }
    plan.tell();
    plan.boot()?;
    plan.interval()?;
    let part = |from: u64, to: u64| {
        set.iter()
            .copied()
            .filter(|frame| (from..to).contains(frame))
            .collect()
    };
    let cut = FIRST + 64 + 1 + random() % 62;
    let count = cut - FIRST;
    same_frames(
        "frames of an answer that ends within a word",
        &ask_all(&plan, WRITTEN, FIRST, count)?,
        &part(FIRST, cut),
    )?;
    same_frames(
        "frames of the rest",
        &ask(&plan, WRITTEN)?,
        &part(cut, FIRST + FRAMES),
    )?;
    plan.end()
}

fn refuses() -> Outcome {
    let mut plan = Plan::new();
    plan.tell();
    plan.boot()?;
    plan.interval()?;
    let mut words = [0_u64; 64];
    let address = words.as_mut_ptr().expose_provenance() as u64;
    let device = plan.guest.device();
    let limit = plan.guest.init.pfn_limit;
    let good = device.write(&[REQUEST, WRITTEN, 0, limit, address]);
    check!(
        good.is_ok(),
        "a question about all memory: expected success, got {good:?}"
    );
    for [kind, first, count] in [
        [2, 0, 64],
        [u64::MAX, 0, 64],
        [1 << 32, 0, 64],
        [WRITTEN, 0, 0],
        [WRITTEN, 1, 64],
        [USED, 32, 64],
        [WRITTEN, 0, limit + 1],
        [USED, limit, 64],
        [WRITTEN, limit - 64, 65],
        [WRITTEN, 64, u64::MAX],
        [WRITTEN, u64::MAX - 63, 64],
        [USED, 0, AT_ONCE + 1],
        [USED, 1 << 63, 1 << 63],
    ] {
        let question = [REQUEST, kind, first, count, address];
        refused(
            &format!("question {question:x?}"),
            device.write(&question),
            EINVAL,
        )?;
    }
    let edge = Edge::new();
    let enough = limit.div_ceil(64) * 8;
    let short = [0, 7, enough / 2, enough - 1].map(|good| edge.ending(good));
    for bad in short.into_iter().chain([0, u64::MAX - 7, 1 << 63, va(0)]) {
        let question = [REQUEST, WRITTEN, 0, limit, bad];
        refused(
            &format!("question {question:x?}"),
            device.write(&question),
            EFAULT,
        )?;
        let unknown = device.write(&[REQUEST, 7, 0, 64, bad]);
        refused("an unknown kind with a bad address", unknown, EINVAL)?;
    }
    refused(
        "a question of three words",
        device.write(&[REQUEST, WRITTEN, 0]),
        EFAULT,
    )?;
    // Somebody who is not the owner.
    let other = device.duplicate();
    join(std::thread::spawn(move || {
        refused(
            "a stranger's question",
            other.write(&[REQUEST, 7, 0, 64, 0]),
            EPERM,
        )
    }))?;
    plan.end()?;
    refused(
        "a question about the dead",
        device.write(&[REQUEST, 7, 0, 64, 0]),
        ENOENT,
    )
}

fn any_address() -> Outcome {
    const PAGES: u64 = 12;
    const ADDRESSES: u64 = 5;
    let mut plan = Plan::new();
    let alias = |page: u64, number: u64| TARGET + (number * 64 + page) * PAGE;
    let mut sets = Vec::new();
    for page in 0..PAGES {
        for number in 0..ADDRESSES {
            plan.guest
                .tables
                .map(alias(page, number), FREE + page * PAGE, MARKED);
        }
    }
    for _ in 0..4 {
        let mut set = BTreeSet::new();
        for page in 0..PAGES {
            // All addresses lead there.
            for number in 0..ADDRESSES {
                plan.read(alias(page, number));
            }
            if random().is_multiple_of(2) {
                plan.write(alias(page, random() % ADDRESSES));
                set.insert(FIRST + page);
            }
        }
        plan.tell();
        sets.push(set);
    }
    plan.boot()?;
    for set in &sets {
        plan.interval()?;
        same_frames(
            "frames written to at one of five addresses",
            &ask(&plan, WRITTEN)?,
            set,
        )?;
    }
    plan.end()
}

fn in_its_name() -> Outcome {
    let mut plan = Plan::new();
    let stack = FIRST + 20 + random() % 100;
    let table = FIRST + 150;
    let touched = TARGET + 10 * PAGE;
    // A table of the Guest's among the frames: a read through it sets a mark there.
    let upper = plan.guest.tables.entry(touched, 2);
    plan.guest.ram.set_word(upper, (table * PAGE) | pte::TABLE);
    plan.guest
        .ram
        .set_word(table * PAGE + 80, (FREE + 200 * PAGE) | pte::KERNEL);
    plan.tell();
    plan.read(touched);
    plan.step(6, va(stack * PAGE + 0x800));
    plan.tell();
    plan.tell();
    plan.boot()?;
    plan.interval()?;
    let first = ask_all(&plan, WRITTEN, 0, FIRST + FRAMES)?;
    check!(
        first.contains(&(DATA / PAGE)),
        "LguestData, which the Host fills in: expected to be written to, got {first:x?}"
    );
    plan.interval()?;
    let want = BTreeSet::from([stack, table]);
    let got = ask(&plan, WRITTEN)?;
    same_frames("the stack of a trap, and a table with a mark", &got, &want)?;
    for frame in some_frames() {
        plan.guest.ram.set_word(frame * PAGE, random());
    }
    plan.interval()?;
    same_frames(
        "frames that the Launcher has written to",
        &ask(&plan, WRITTEN)?,
        &BTreeSet::new(),
    )?;
    plan.end()
}

/// Lets the Guest use some frames, each in some way, by its linear map or another address.
fn use_some(plan: &mut Plan, set: &BTreeSet<u64>) {
    for frame in set {
        let other = TARGET + (frame - FIRST) * PAGE;
        match random() % 5 {
            0 => plan.write(at(*frame)),
            1 => plan.read(other),
            3 => {
                plan.step(7, other);
                plan.read(other);
            }
            // What is called there is `ret`.
            2 => plan.step(4, va(frame * PAGE + 0xff8)),
            _ => plan.read(at(*frame)),
        }
    }
}

/// A Guest whose frames can all be used, at two addresses, and are marked already.
fn usable() -> Plan {
    let mut plan = Plan::new();
    for frame in FIRST..FIRST + FRAMES {
        plan.guest.ram.set_byte(frame * PAGE + 0xff8, 0xc3);
        plan.guest
            .tables
            .map(TARGET + (frame - FIRST) * PAGE, frame * PAGE, MARKED);
        plan.guest
            .tables
            .map(va(frame * PAGE), frame * PAGE, MARKED);
    }
    plan
}

fn used() -> Outcome {
    let mut plan = usable();
    let sets: Vec<_> = (0..3).map(|_| some_frames()).collect();
    for set in &sets {
        use_some(&mut plan, set);
        plan.tell();
    }
    plan.boot()?;
    same_frames(
        "frames used before the Guest runs",
        &ask(&plan, USED)?,
        &BTreeSet::new(),
    )?;
    for (number, set) in (1..).zip(&sets) {
        plan.interval()?;
        same_frames(
            &format!("frames used in interval {number}"),
            &ask(&plan, USED)?,
            set,
        )?;
        same_frames(
            "frames used in no time at all",
            &ask(&plan, USED)?,
            &BTreeSet::new(),
        )?;
    }
    plan.end()
}

fn used_again() -> Outcome {
    let mut plan = usable();
    let set = some_frames();
    for _ in 0..3 {
        // The second time they are there already; then they are forgotten, and neighbours come along.
        use_some(&mut plan, &set);
        plan.tell();
        use_some(&mut plan, &set);
        plan.step(5, 0);
        if random().is_multiple_of(2) {
            use_some(&mut plan, &set);
        }
        plan.tell();
    }
    plan.boot()?;
    for number in 1..=6 {
        plan.interval()?;
        same_frames(
            &format!("the same frames, used in interval {number}"),
            &ask(&plan, USED)?,
            &set,
        )?;
        // The other question does not answer this one.
        ask(&plan, WRITTEN)?;
    }
    plan.end()
}

fn nothing_is_lost() -> Outcome {
    let mut plan = Plan::new();
    let set = some_frames();
    for frame in &set {
        plan.write(at(*frame));
    }
    plan.tell();
    plan.boot()?;
    plan.interval()?;
    let edge = Edge::new();
    for good in [0, 4, 8, 15, 24, 31] {
        let question = [REQUEST, WRITTEN, FIRST, FRAMES, edge.ending(good)];
        refused(
            &format!("an answer with room for {good} bytes"),
            plan.guest.device().write(&question),
            EFAULT,
        )?;
    }
    same_frames(
        "frames written to, asked with room",
        &ask(&plan, WRITTEN)?,
        &set,
    )?;
    plan.end()
}

fn taken_back() -> Outcome {
    let mut plan = usable();
    let set = some_frames();
    for frame in &set {
        plan.write(at(*frame));
    }
    plan.tell();
    plan.tell();
    plan.boot()?;
    plan.interval()?;
    for frame in &set {
        if !random().is_multiple_of(3) {
            plan.guest.ram.discard(frame * PAGE, PAGE);
        }
    }
    same_frames(
        "frames written to, of which some were taken back",
        &ask(&plan, WRITTEN)?,
        &set,
    )?;
    same_frames(
        "frames used, of which some were taken back",
        &ask(&plan, USED)?,
        &set,
    )?;
    plan.interval()?;
    same_frames(
        "frames written to since",
        &ask(&plan, WRITTEN)?,
        &BTreeSet::new(),
    )?;
    plan.end()
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("written", written),
        Case::new("refuses", refuses),
        Case::new("any address", any_address),
        Case::new("in its name", in_its_name),
        Case::new("used", used),
        Case::new("used again", used_again),
        Case::new("nothing is lost", nothing_is_lost),
        Case::new("taken back", taken_back),
    ]
}
