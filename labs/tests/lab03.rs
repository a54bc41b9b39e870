//! Lab 3: how long the exits of a Guest took, in the `fdinfo` of its file.

use crate::abi::{data, hc};
use crate::blobs::{Blob, blob, work};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::labs::random;
use crate::layout::*;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

blob! {
    /// Comes out as often as it is told: parameter 0 hypercalls, 1 instructions that are emulated, 2 divisions by zero, 3
    /// instructions that do not exist and go to the Guest's own handler.
    COME_OUT = "mov r12, [r15 + PARAM]",
        "2: test r12, r12", "jz 3f", "hcall 0", "dec r12", "jmp 2b",
        "3: mov r12, [r15 + PARAM + 8]",
        "2: test r12, r12", "jz 3f", "cli", "dec r12", "jmp 2b",
        "3: mov r12, [r15 + PARAM + 16]",
        "2: test r12, r12", "jz 3f", "on_trap 4f", "xor ecx, ecx", "xor edx, edx", "div ecx",
        "4: dec r12", "jmp 2b",
        "3: mov r12, [r15 + PARAM + 24]",
        "2: test r12, r12", "jz 3f", "on_trap 4f", "ud2",
        "4: dec r12", "jmp 2b",
        "3: poweroff 0";

    /// Stores to parameter 1 pages from parameter 0 on, once each.
    TOUCH = "mov rsi, [r15 + PARAM]",
        "mov rcx, [r15 + PARAM + 8]",
        "2: test rcx, rcx", "jz 3f", "mov [rsi], rcx", "add rsi, 4096", "dec rcx", "jmp 2b",
        "3: poweroff 0";

    /// Sleeps once, for parameter 0 nanoseconds.
    SLEEP = "mov qword ptr [r15 + DATA], 0x200",
        "mov rdx, [r15 + PARAM]",
        "hcall 9, rdx",
        "hcall 10",
        "poweroff 0";

    /// Sends the list at parameter 0 once.
    SEND = "mov rbx, [r15 + PARAM]",
        "hcall 13, 8, rbx",
        "poweroff 0";

    /// Makes the call whose number is parameter 0, with parameter 1.
    CALL = "mov rdx, [r15 + PARAM + 8]",
        "mov rax, [r15 + PARAM]",
        "int 0x1f",
        "poweroff 0";

    /// Makes hypercalls that do nothing, and counts them, until it is told to stop.
    CALL_ON = "2: hcall 0",
        "inc qword ptr [r15 + COUNT]",
        "cmp qword ptr [r15 + STOP], 0",
        "je 2b",
        "poweroff 0";
}

/// The lines of a file that are ours, by their names.
struct Figures(BTreeMap<String, String>);

impl Figures {
    fn of(text: &str) -> Outcome<Self> {
        // What the kernel says of each file comes first.
        let ours = text.lines().skip_while(|line| !line.starts_with("guest:"));
        let mut of = BTreeMap::new();
        for line in ours {
            let (name, value) = line.split_once(":\t").unwrap_or((line, ""));
            let again = of.insert(name.to_owned(), value.to_owned()).is_some();
            check!(!again, "fdinfo: expected one line {name:?}, got two");
        }
        Ok(Self(of))
    }

    /// What a Guest's file says, as its owner sees it.
    fn of_guest(guest: &Guest) -> Outcome<Self> {
        let file = format!("/proc/self/fdinfo/{}", guest.device().fd());
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        let figures = Self::of(&text)?;
        figures.are("guest", guest.ram.word16(DATA + data::GUESTID).into())?;
        Ok(figures)
    }

    fn get(&self, name: &str) -> Outcome<u64> {
        let value = self.0.get(name).map_or("no such line", String::as_str);
        let number = value.parse();
        number.map_err(|_| format!("the line {name:?}: expected a number, got {value:?}"))
    }

    /// As many as that.
    fn are(&self, name: &str, want: u64) -> Outcome {
        same(&format!("the line {name:?}"), self.get(name)?, want)
    }

    /// A total is the sum of its lines.
    fn add_up(&self, total: &str, part: &str) -> Outcome {
        let parts = self.0.keys().filter(|name| name.starts_with(part));
        let sum = parts.map(|name| self.get(name)).sum::<Outcome<u64>>()?;
        let what = format!("the line {total:?}, as the sum of its lines");
        same(&what, self.get(total)?, sum)
    }
}

/// How many calls a script has.
fn script(guest: &mut Guest) -> u64 {
    guest.call([hc::FLUSH_ASYNC, 0, 0, 0]) as u64 + 1
}

/// How many answers of this kind took at least 2^28 nanoseconds, a quarter of a second.
fn long_ones(figures: &Figures, kind: &str) -> Outcome<u64> {
    let long = (28..64).map(|power| format!("took-{kind}-{power}"));
    let there = long.filter(|name| figures.0.contains_key(name));
    there.map(|name| figures.get(&name)).sum()
}

fn answers() -> Outcome {
    let mut alive = Vec::new();
    for _ in 0..3 {
        let counts: [u64; 4] = std::array::from_fn(|_| random() % 300);
        let mut guest = Guest::new(COME_OUT);
        guest.traps();
        for (index, count) in (0..).zip(counts) {
            guest.param(index, count);
        }
        let scripted = script(&mut guest);
        guest.run_to_poweroff(0)?;
        let figures = Figures::of_guest(&guest)?;
        figures.get("took-hypercall")?;
        // POWEROFF has not been answered.
        figures.are("took-hypercall", scripted + counts[0])?;
        figures.are("took-protection", counts[1])?;
        figures.are("took-trap", counts[2])?;
        figures.are("took-other", 0)?;
        for kind in ["host", "page-fault"] {
            figures.are(
                &format!("took-{kind}"),
                figures.get(&format!("exits-{kind}"))?,
            )?;
        }
        for kind in [
            "host",
            "hypercall",
            "page-fault",
            "protection",
            "trap",
            "other",
        ] {
            figures.add_up(&format!("took-{kind}"), &format!("took-{kind}-"))?;
        }
        // As long as the others live, they could be taken for it.
        alive.push(guest);
    }
    let file = crate::device::Device::open();
    let name = format!("/proc/self/fdinfo/{}", file.fd());
    let text = std::fs::read_to_string(&name).map_err(|e| format!("{name}: {e}"))?;
    check!(
        !text.contains("took"),
        "the fdinfo of a file without a Guest: expected nothing of yours, got {text:?}"
    );
    Ok(())
}

/// A third of a second.
const LONG: u64 = 333_000_000;

fn long() -> Outcome {
    let mut guest = Guest::new(SLEEP);
    guest.interrupts();
    guest.param(0, LONG);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    let all = long_ones(&figures, "hypercall")?;
    same(
        "hypercalls that took long, of a Guest that sleeps once",
        all,
        1,
    )?;

    let mut guest = Guest::new(SEND);
    guest.param(0, DMA);
    guest.dma(DMA, &[(BUFFER, 16)]);
    guest.boot()?;
    match guest.step()? {
        Event::Dma { .. } => std::thread::sleep(Duration::from_nanos(LONG)),
        other => return Err(format!("expected the DMA, got {other:?}")),
    }
    let reason = guest.finish()?;
    guest.powered_off(&reason, 0)?;
    let figures = Figures::of_guest(&guest)?;
    let all = long_ones(&figures, "hypercall")?;
    same(
        "hypercalls that took long, of a Guest whose Launcher was slow once",
        all,
        1,
    )
}

/// Page faults of a Guest that stores to so many fresh pages.
fn faults_of(pages: u64) -> Outcome<u64> {
    let mut guest = Guest::new(TOUCH);
    guest.param(0, va(FREE)).param(1, pages);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    figures.are("took-page-fault", figures.get("exits-page-fault")?)?;
    figures.add_up("took-page-fault", "took-page-fault-")?;
    figures.get("took-page-fault")
}

fn once() -> Outcome {
    let none = faults_of(0)?;
    for _ in 0..2 {
        let pages = 100 + random() % 600;
        let faults = faults_of(pages)? - none;
        // Linux may have taken a page away in between, and the fault was another one.
        check!(
            (pages..pages + 20).contains(&faults),
            "page faults of a Guest that stores to {pages} fresh pages: expected {pages} more than without, got {faults}"
        );
    }
    Ok(())
}

/// What somebody else reads, who must not have to wait.
fn read_by_others(fd: i32) -> Outcome<Figures> {
    let file = format!("/proc/{}/fdinfo/{fd}", std::process::id());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(Command::new("cat").arg(file).output()));
    let output = told
        .recv_timeout(Duration::from_secs(40))
        .map_err(|_| "reading fdinfo while the Guest runs: expected figures, got nothing in 40 s")?
        .map_err(|e| format!("cat: {e}"))?;
    Figures::of(&String::from_utf8_lossy(&output.stdout))
}

fn while_it_runs() -> Outcome {
    let mut guest = Guest::new(CALL_ON);
    let scripted = script(&mut guest);
    let ram = guest.ram.clone();
    let (tell, told) = mpsc::channel();
    let runner = std::thread::spawn(move || {
        let fd = guest.boot()?.fd();
        tell.send(fd).map_err(|e| e.to_string())?;
        let reason = guest.finish()?;
        same("the end of the Guest", reason.as_str(), "POWEROFF: 0")?;
        let figures = Figures::of_guest(&guest)?;
        figures.are("took-hypercall", scripted + guest.ram.word(COUNT))
    });
    let watched = told.recv().map_err(|e| e.to_string()).and_then(|fd| {
        let mut answers = 0;
        for _ in 0..5 {
            let before = ram.word(COUNT);
            wait_until("the Guest has made some calls", || {
                ram.word(COUNT) > before + 50
            })?;
            let least = ram.word(COUNT);
            let figures = read_by_others(fd)?;
            let most = ram.word(COUNT);
            figures.add_up("took-hypercall", "took-hypercall-")?;
            let calls = figures.get("took-hypercall")?;
            // One may be under way on either side.
            check!(
                (least + scripted..=most + scripted + 1).contains(&calls),
                "took-hypercall of a Guest that runs: expected {} to {}, got {calls}",
                least + scripted,
                most + scripted + 1,
            );
            check!(
                calls > answers,
                "answers of a Guest that runs: expected more than {answers}, got {calls}"
            );
            answers = calls;
        }
        Ok(())
    });
    ram.set_word(STOP, 1);
    watched?;
    join(runner)
}

/// A Guest with so many harmless calls of each number in its script, at random.
fn caller(body: Blob) -> (Guest, BTreeMap<u64, u64>) {
    let mut guest = Guest::new(body);
    let mut made = BTreeMap::from([(hc::LGUEST_INIT, 1)]);
    for _ in 0..20 + random() % 100 {
        let call = match random() % 5 {
            0 => [hc::FLUSH_ASYNC, 0, 0, 0],
            1 => [hc::FLUSH_TLB, random() % 2, 0, 0],
            2 => [hc::LOAD_IDT_ENTRY, 6, 0, 0],
            3 => [hc::SET_CLOCKEVENT, 0, 0, 0],
            _ => [hc::BIND_DMA, 8, DMA, 0],
        };
        guest.call(call);
        *made.entry(call[0]).or_default() += 1;
    }
    (guest, made)
}

/// Compares all lines about calls.
fn calls_are(guest: &Guest, made: &BTreeMap<u64, u64>) -> Outcome {
    let figures = Figures::of_guest(guest)?;
    figures.get("took-call-1")?;
    for number in 0..32 {
        let name = format!("took-call-{number}");
        match made.get(&number) {
            Some(count) => {
                figures.are(&name, *count)?;
                figures.add_up(&name, &format!("{name}-"))?;
            }
            None => check!(
                !figures.0.contains_key(&name),
                "fdinfo: expected no line {name:?}, got {:?}",
                figures.0[&name]
            ),
        }
    }
    Ok(())
}

fn hypercalls() -> Outcome {
    for _ in 0..3 {
        let (mut guest, made) = caller(work::SURVIVED);
        guest.run_to_poweroff(0)?;
        calls_are(&guest, &made)?;
    }
    // The last call of a Guest, whatever it is, has not been answered.
    let wide = (1 << 32) + random() % 21;
    for number in [
        3,
        8,
        16,
        31,
        32,
        32 + random() % 1000,
        wide,
        1 << 63,
        u64::MAX,
    ] {
        let (mut guest, made) = caller(CALL);
        guest.param(0, number);
        let reason = guest.run()?;
        same(
            "the end of a Guest with a call that there is not",
            reason,
            format!("Bad hypercall {number}"),
        )?;
        calls_are(&guest, &made)?;
    }
    let mut guest = Guest::new(SLEEP);
    guest.interrupts();
    guest.param(0, LONG);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    same("HALTs that took long", long_ones(&figures, "call-10")?, 1)?;
    same(
        "SET_CLOCKEVENTs that took long",
        long_ones(&figures, "call-9")?,
        0,
    )
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("answers", answers),
        Case::new("once", once),
        Case::new("long", long),
        Case::new("while-it-runs", while_it_runs),
        Case::new("hypercalls", hypercalls),
    ]
}
