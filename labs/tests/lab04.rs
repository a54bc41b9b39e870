//! Lab 4: what a Guest leaves that dies of a trap.

use crate::abi::{data, hc};
use crate::blobs::blob;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::labs::{launch, random};
use crate::layout::*;
use crate::tables::pte;
use nix::sys::mman::ProtFlags;

blob! {
    /// Reads the words whose addresses are at parameter 33 and behind it, as many as parameter 32 says. Then it fills its registers with the parameters
    /// from 0 on, in the order of the report, and executes an instruction that does not exist.
    DIE = "lea rsi, [r15 + PARAM + 264]",
        "mov rcx, [r15 + PARAM + 256]",
        "2: test rcx, rcx", "jz 3f", "mov rax, [rsi]", "mov rax, [rax]", "add rsi, 8", "dec rcx", "jmp 2b",
        "3: lea rax, [rip + 4f]", "result 0, rax",
        "mov rax, [r15 + PARAM]", "mov rbx, [r15 + PARAM + 8]", "mov rcx, [r15 + PARAM + 16]",
        "mov rdx, [r15 + PARAM + 24]", "mov rsi, [r15 + PARAM + 32]", "mov rdi, [r15 + PARAM + 40]",
        "mov rbp, [r15 + PARAM + 48]", "mov rsp, [r15 + PARAM + 56]", "mov r8, [r15 + PARAM + 64]",
        "mov r9, [r15 + PARAM + 72]", "mov r10, [r15 + PARAM + 80]", "mov r11, [r15 + PARAM + 88]",
        "mov r12, [r15 + PARAM + 96]", "mov r13, [r15 + PARAM + 104]", "mov r14, [r15 + PARAM + 112]",
        "mov r15, [r15 + PARAM + 120]",
        "4: ud2";

    /// Reads the word at parameter 0, and enters the user program with parameter 0 in R12 and parameter 1 in R13.
    DIE_IN_RING_3 = "mov r12, [r15 + PARAM]",
        "mov r13, [r15 + PARAM + 8]",
        "mov rax, [r12]",
        "xor edi, edi",
        "enter_user";

    /// User: a frame whose next one is at R12, with R13 as its return address.
    USER_FRAME = "push r13", "push r12", "mov rbp, rsp", "ud2";
}

/// The registers in the order of the report, as far as [`DIE`] fills them.
const NAMES: [&str; 16] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const RBP: u64 = 6;
/// What the Launcher has room for.
const ROOM: usize = 1024;
/// As many callers are named.
const CALLERS: usize = 8;
/// Where frames lie that the Guest's kernel has below all of its own addresses.
const LOW: u64 = 0x10_0000_0000;

/// The report of a Guest, line by line.
struct Report {
    first: String,
    registers: Vec<String>,
    callers: Vec<String>,
}

impl Report {
    fn of(reason: &str) -> Outcome<Self> {
        let mut lines = reason.split('\n').map(str::to_owned);
        let first = lines.next().unwrap_or_default();
        let mut registers: Vec<String> = lines.collect();
        let last = registers
            .last()
            .and_then(|line| line.strip_prefix("called from "));
        let callers: Vec<String> = last
            .map(|list| list.split(' ').map(str::to_owned).collect())
            .unwrap_or_default();
        if !callers.is_empty() {
            registers.pop();
        }
        check!(
            registers.len() == 5,
            "the lines with registers: expected 5, got {registers:?}"
        );
        Ok(Self {
            first,
            registers,
            callers,
        })
    }

    /// Its callers are these.
    fn names(&self, what: &str, callers: &[u64]) -> Outcome {
        let want: Vec<String> = callers.iter().map(|at| format!("{at:#x}")).collect();
        let what = format!("the callers (task 2), with {what}");
        check!(
            self.callers == want,
            "{what}: expected {want:?}, got {:?}",
            self.callers
        );
        Ok(())
    }
}

/// A Guest that is going to die, whose frames lie where the test puts them.
struct Victim {
    guest: Guest,
    touched: u64,
}

impl Victim {
    fn new() -> Self {
        let guest = Guest::new(DIE);
        Self { guest, touched: 0 }
    }

    /// The Guest reads this word before it dies, so that it is at hand.
    fn touches(&mut self, at: u64) {
        self.guest.param(33 + self.touched, at);
        self.touched += 1;
        self.guest.param(32, self.touched);
    }

    /// A word of the Guest's memory that is seen at `at`, in pages of their own.
    fn map(&mut self, at: u64, pa: u64) {
        self.guest.tables.map(at & !(PAGE - 1), pa, pte::KERNEL);
    }

    /// A frame at an address of the linear map.
    fn frame(&mut self, at: u64, next: u64, caller: u64) {
        self.guest.ram.set_word(at.wrapping_sub(PAGE_OFFSET), next);
        self.guest
            .ram
            .set_word(at.wrapping_sub(PAGE_OFFSET) + 8, caller);
        self.touches(at);
        self.touches(at + 8);
    }

    /// It dies with this in RBP.
    fn dies(&mut self, rbp: u64) -> Outcome<Report> {
        self.guest.param(RBP, rbp);
        let reason = self.guest.run()?;
        let report = Report::of(&reason)?;
        let rip = self.guest.out(0);
        same(
            "the first line",
            report.first.as_str(),
            format!("unhandled trap 6 at {rip:#x} (0x0)").as_str(),
        )?;
        Ok(report)
    }
}

/// Places for so many frames, from the lowest up.
fn places(count: u64) -> Vec<u64> {
    let mut at = va(FREE);
    (0..count)
        .map(|_| {
            at += 16 + 8 * (random() % 1500);
            at
        })
        .collect()
}

fn registers() -> Outcome {
    for _ in 0..3 {
        let mut victim = Victim::new();
        let values: Vec<u64> = NAMES.map(|_| random() >> (random() % 60)).into();
        for (index, value) in (0..).zip(&values) {
            victim.guest.param(index, *value);
        }
        // No frame is there.
        let rbp = values[RBP as usize] | 1;
        let report = victim.dies(rbp)?;
        let mut words = Vec::new();
        for (index, (name, value)) in (0..).zip(NAMES.iter().zip(&values)) {
            let value = if index == RBP { rbp } else { *value };
            words.push(format!("{name} {value:#x}"));
        }
        for (line, want) in words.chunks(4).enumerate() {
            same(
                "a line with registers",
                report.registers[line].as_str(),
                want.join(" ").as_str(),
            )?;
        }
        let want = format!("rip {:#x} cs 0x81 flags ", victim.guest.out(0));
        let last = &report.registers[4];
        let flags = last
            .strip_prefix(&want)
            .and_then(|rest| rest.strip_suffix(" ss 0x89")?.strip_prefix("0x"))
            .and_then(|flags| u64::from_str_radix(flags, 16).ok());
        check!(
            flags.is_some_and(|flags| flags & 0x202 == 0x202),
            "the last line with registers: expected \"{want}... ss 0x89\", got {last:?}"
        );
    }
    Ok(())
}

/// The longest report that there can be.
fn longest() -> Outcome<(Victim, Vec<u64>)> {
    let mut victim = Victim::new();
    for index in 0..16 {
        victim.guest.param(index, u64::MAX - random() % 256);
    }
    let places = places(CALLERS as u64);
    let callers: Vec<u64> = places.iter().map(|_| u64::MAX - random() % 256).collect();
    for (index, (at, caller)) in places.iter().zip(&callers).enumerate() {
        let next = places.get(index + 1).copied().unwrap_or(0);
        victim.frame(*at, next, *caller);
    }
    victim.guest.param(RBP, places[0]);
    Ok((victim, callers))
}

fn promise() -> Outcome {
    let (mut victim, callers) = longest()?;
    let reason = victim.guest.run()?;
    check!(
        reason.len() < ROOM,
        "the length of the longest report: expected less than {ROOM}, got {}",
        reason.len()
    );
    check!(
        reason
            .bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "the longest report: expected printable characters, got {reason:?}"
    );
    let report = Report::of(&reason)?;
    check!(
        report.registers[4].ends_with(" ss 0x89"),
        "the end of the registers: expected \"ss 0x89\", got {:?}",
        report.registers[4]
    );
    // Whoever has not come to task 2 names none.
    if !report.callers.is_empty() {
        report.names("the longest report", &callers)?;
    }
    for len in [
        1,
        10,
        reason.len() / 2,
        reason.len(),
        reason.len() + 1,
        4096,
    ] {
        let mut bytes = vec![0xaa; len];
        let got = victim.guest.device().read(&mut bytes);
        let whole = [reason.as_bytes(), &[0]].concat();
        let want = &whole[..len.min(whole.len())];
        check!(
            got == Ok(want.len()) && &bytes[..want.len()] == want,
            "a read() of {len} bytes: expected the first {} of the report, got {got:?}",
            want.len()
        );
    }
    // Who dies of something else dies as before.
    let number = 100 + random() % 1000;
    let mut other = Guest::new(crate::blobs::work::SURVIVED);
    other.call([number, 0, 0, 0]);
    same(
        "another death",
        other.run()?,
        format!("Bad hypercall {number}"),
    )?;
    let mut other = Guest::new(crate::blobs::work::SURVIVED);
    other.ram.set_bytes(FREE, b"help\nme\0");
    other.call([hc::CRASH, FREE, 0, 0]);
    same("a crash", other.run()?.as_str(), "CRASH: help?me")
}

fn callers() -> Outcome {
    for count in [1, 2 + random() % 5, CALLERS as u64, 9 + random() % 3] {
        let mut victim = Victim::new();
        let places = places(count);
        let callers: Vec<u64> = places.iter().map(|_| random() | 1).collect();
        for (index, (at, caller)) in places.iter().zip(&callers).enumerate() {
            let next = places.get(index + 1).copied().unwrap_or(0);
            victim.frame(*at, next, *caller);
        }
        let shown = &callers[..callers.len().min(CALLERS)];
        victim
            .dies(places[0])?
            .names(&format!("{count} frames"), shown)?;
    }
    // The second word of a frame lies on the next page, which is somewhere else in the Guest's memory.
    let mut victim = Victim::new();
    let (one, other) = (FREE + 7 * PAGE, FREE + (20 + random() % 100) * PAGE);
    let caller = random() | 1;
    victim.map(LOW, one);
    victim.map(LOW + PAGE, other);
    victim.guest.ram.set_word(one + PAGE - 8, 0);
    victim.guest.ram.set_word(one + PAGE, random());
    victim.guest.ram.set_word(other, caller);
    victim.touches(LOW + PAGE - 8);
    victim.touches(LOW + PAGE);
    victim
        .dies(LOW + PAGE - 8)?
        .names("a frame across two pages", &[caller])?;
    // The outermost function returns to nowhere.
    let mut victim = Victim::new();
    let places = places(3);
    let caller = random() | 1;
    victim.frame(places[0], places[1], caller);
    victim.frame(places[1], places[2], 0);
    victim.frame(places[2], 0, random() | 1);
    victim
        .dies(places[0])?
        .names("a return address of 0", &[caller])
}

/// What a frame leads to, and how often the chain may be followed there: 1 if its first frame is all that there is.
struct Lie {
    name: &'static str,
    next: fn(&mut Victim, u64) -> u64,
}

const LIES: &[Lie] = &[
    Lie {
        name: "a frame that leads to itself",
        next: |_, at| at,
    },
    Lie {
        name: "a frame that leads down",
        next: |victim, at| {
            victim.guest.ram.set_word(FREE, at);
            victim.guest.ram.set_word(FREE + 8, 0x1234);
            victim.map(LOW, FREE);
            victim.touches(LOW);
            LOW
        },
    },
    Lie {
        name: "a crooked frame",
        next: |victim, at| {
            let next = at + 64 + 1 + random() % 7;
            victim.guest.ram.set_word(FREE + PAGE + 64, random() | 1);
            victim.guest.ram.set_word(FREE + PAGE + 72, random() | 1);
            victim.guest.ram.set_word(FREE + PAGE + 80, random() | 1);
            next
        },
    },
    Lie {
        name: "an address that is none",
        next: |_, _| 0x0001_0000_0000_0000 | random() & 0xffff_fff8,
    },
    Lie {
        name: "an address that is not mapped",
        next: |_, at| at + (1 << 30),
    },
    Lie {
        name: "the Switcher",
        next: |_, _| 0xffff_8000_0000_0000 | random() & 0x3f_fff8,
    },
    Lie {
        name: "the Host",
        next: |_, _| 0xffff_8880_0010_0000,
    },
    Lie {
        name: "the end of all addresses",
        next: |victim, _| {
            // Its second word would be at 0, which is there.
            let tables = &mut victim.guest.tables;
            tables.map(!(PAGE - 1), FREE + 5 * PAGE, pte::KERNEL);
            tables.map(0, FREE + 6 * PAGE, pte::KERNEL);
            victim.guest.ram.set_word(FREE + 6 * PAGE, 0x5678);
            victim.touches(u64::MAX - 7);
            victim.touches(0);
            u64::MAX - 7
        },
    },
    Lie {
        name: "a page that the Guest does not have",
        next: |victim, at| {
            let next = (at & !(PAGE - 1)) + (1 << 21);
            victim.map(next, victim.guest.ram.len() + PAGE);
            next + 128
        },
    },
    Lie {
        name: "a page that nobody can fetch",
        next: |victim, at| {
            let next = (at & !(PAGE - 1)) + (1 << 21);
            victim.map(next, FREE + 9 * PAGE);
            victim
                .guest
                .ram
                .protect(FREE + 9 * PAGE, PAGE, ProtFlags::PROT_NONE);
            next + 128
        },
    },
    Lie {
        name: "a frame whose second word is not mapped",
        next: |victim, at| {
            let next = (at & !(PAGE - 1)) + (1 << 21);
            victim.map(next, FREE + 9 * PAGE);
            victim.touches(next + PAGE - 8);
            next + PAGE - 8
        },
    },
];

fn liars() -> Outcome {
    for lie in LIES {
        // The true frame lies low, so that all else lies higher.
        let mut victim = Victim::new();
        let at = LOW + PAGE + 16;
        let caller = random() | 1;
        victim.map(at, FREE + PAGE);
        let next = (lie.next)(&mut victim, at);
        victim.guest.ram.set_word(FREE + PAGE + 16, next);
        victim.guest.ram.set_word(FREE + PAGE + 24, caller);
        victim.touches(at);
        victim
            .dies(at)?
            .names(&format!("a frame, then {}", lie.name), &[caller])?;
    }
    // Two that lead to each other.
    let mut victim = Victim::new();
    let places = places(2);
    let callers = [random() | 1, random() | 1];
    victim.frame(places[0], places[1], callers[0]);
    victim.frame(places[1], places[0], callers[1]);
    victim
        .dies(places[0])?
        .names("two frames that lead to each other", &callers)?;
    // No frame at all.
    for rbp in [0, 1, u64::MAX, 0xffff_8000_0000_0000, va(MEMORY), 1 << 63] {
        let what = format!("{rbp:#x} in RBP");
        Victim::new().dies(rbp)?.names(&what, &[])?;
    }
    Ok(())
}

fn ring_3() -> Outcome {
    let mut guest = Guest::new(DIE_IN_RING_3);
    guest.user_without_syscalls(USER_FRAME);
    let (secret, caller) = (random() | 1, random() | 1);
    guest.ram.set_word(FREE, 0);
    guest.ram.set_word(FREE + 8, secret);
    guest.param(0, va(FREE)).param(1, caller);
    let reason = guest.run()?;
    check!(
        reason.starts_with("unhandled trap 6 at 0x4000"),
        "the end of a program: expected \"unhandled trap 6 at 0x4000...\", got {reason:?}"
    );
    let report = Report::of(&reason)?;
    check!(
        report.registers[4].contains(" cs 0x33 "),
        "the ring: expected cs 0x33, got {:?}",
        report.registers[4]
    );
    report.names(
        "a program's frame that leads to one of the kernel's",
        &[caller],
    )?;
    same(
        "the number of the Guest, which has nothing to do with it",
        guest.ram.word16(DATA + data::GUESTID) == 0,
        false,
    )
}

/// A kernel of one page that fills RBX and executes an instruction that does not exist: an ELF file.
fn kernel(rbx: u64) -> Vec<u8> {
    let mut file = Vec::new();
    let mut word = |value: u64, bytes: usize| file.extend(&value.to_le_bytes()[..bytes]);
    word(0x0001_0102_464c_457f, 8);
    word(0, 8);
    // An executable file for x86-64, which begins at its entry; its one segment is described behind this header.
    for (value, bytes) in [
        (2, 2),
        (62, 2),
        (1, 4),
        (0xffff_ffff_8010_0078, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (1, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ] {
        word(value, bytes);
    }
    // The segment: this file, readable and executable, at 1 MiB.
    for (value, bytes) in [
        (1, 4),
        (5, 4),
        (0, 8),
        (0xffff_ffff_8010_0000, 8),
        (0x10_0000, 8),
        (0x90, 8),
        (0x1000, 8),
        (0x1000, 8),
    ] {
        word(value, bytes);
    }
    // movabs $rbx, %rbx; ud2
    file.extend([0x48, 0xbb]);
    file.extend(rbx.to_le_bytes());
    file.extend([0x0f, 0x0b]);
    file.resize(0x90, 0);
    file
}

fn terminal() -> Outcome {
    let rbx = random();
    let path = "/tmp/lab04-kernel";
    std::fs::create_dir_all("/tmp").map_err(|e| format!("/tmp: {e}"))?;
    std::fs::write(path, kernel(rbx)).map_err(|e| format!("{path}: {e}"))?;
    let ran = launch(&["run", path], "")?;
    same("the Launcher's exit status", ran.status, Some(1))?;
    let lines: Vec<&str> = ran.err.lines().collect();
    let want = [
        "lguest: unhandled trap 6 at 0xffffffff80100082 (0x0)".to_owned(),
        format!("lguest: rax 0x0 rbx {rbx:#x} rcx 0x0 rdx 0x0"),
    ];
    for want in want {
        check!(
            lines.contains(&want.as_str()),
            "what the Launcher prints (task 3): expected a line {want:?}, got {lines:?}"
        );
    }
    check!(
        lines.len() == 6 && lines.iter().all(|line| line.starts_with("lguest: ")),
        "what the Launcher prints (task 3): expected 6 lines that begin with \"lguest: \", got {lines:?}"
    );
    Ok(())
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("registers", registers),
        Case::new("promise", promise),
        Case::new("callers", callers),
        Case::new("liars", liars),
        Case::new("ring-3", ring_3),
        Case::new("terminal", terminal),
    ]
}
