//! What a Guest has cost, in the `fdinfo` of its file.

use crate::abi::{data, hc};
use crate::blobs::{Blob, blob, work};
use crate::crew::Crew;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::labs::random;
use crate::layout::*;
use crate::needs::Need;
use crate::signals;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

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

    /// Takes interrupts until the word at parameter 0 is parameter 1.
    TAKE = "mov qword ptr [r15 + DATA], 0x200",
        "hcall 19",
        "mov rsi, [r15 + PARAM]",
        "2: mov rax, [rsi]",
        "cmp rax, [r15 + PARAM + 8]",
        "jb 2b",
        "poweroff 0";

    /// Reads where nothing is, parameter 0 times.
    FAULT = "mov r12, [r15 + PARAM]",
        "2: test r12, r12", "jz 3f", "on_trap 4f", "mov rax, 0x7000000000", "mov rax, [rax]",
        "4: dec r12", "jmp 2b",
        "3: poweroff 0";

    /// Computes until it is told to stop, and then sleeps.
    SLEEP = "2: cmp qword ptr [r15 + STOP], 0", "je 2b",
        "mov qword ptr [r15 + DATA], 0x200",
        "hcall 10",
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
        let figures = Self::of_file(guest.device().fd())?;
        figures.are("guest", guest.ram.word16(DATA + data::GUESTID).into())?;
        Ok(figures)
    }

    fn of_file(fd: i32) -> Outcome<Self> {
        let file = format!("/proc/self/fdinfo/{fd}");
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        Self::of(&text)
    }

    fn get(&self, name: &str) -> Outcome<u64> {
        let value = self.0.get(name).map_or("no such line", String::as_str);
        let number = value.parse();
        number.map_err(|_| format!("the line {name:?}: expected a number, got {value:?}"))
    }

    /// The word on this line.
    fn says(&self, name: &str, want: &str) -> Outcome {
        let word = self.0.get(name).map_or("no such line", String::as_str);
        same(&format!("the line {name:?}"), word, want)
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

fn exits() -> Outcome {
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
        figures.get("exits")?;
        figures.are("exits-hypercall", scripted + counts[0] + 1)?;
        figures.are("exits-protection", counts[1])?;
        figures.are("exits-trap", counts[2])?;
        figures.are("exits-other", 0)?;
        figures.are("emulated", counts[1])?;
        figures.are("traps", counts[2])?;
        figures.are("trap-0", counts[2])?;
        figures.says("state", "dead")?;
        figures.get("exits-page-fault")?;
        figures.get("exits-host")?;
        figures.add_up("exits", "exits-")?;
        // As long as the others live, they could be taken for it.
        alive.push(guest);
    }
    let file = crate::device::Device::open();
    let name = format!("/proc/self/fdinfo/{}", file.fd());
    let text = std::fs::read_to_string(&name).map_err(|e| format!("{name}: {e}"))?;
    check!(
        !text.contains("exits"),
        "the fdinfo of a file without a Guest: expected nothing of ours, got {text:?}"
    );
    Ok(())
}

/// Page faults of a Guest that stores to so many fresh pages.
fn faults_of(pages: u64) -> Outcome<u64> {
    let mut guest = Guest::new(TOUCH);
    guest.param(0, va(FREE)).param(1, pages);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    figures.get("exits")?;
    figures.are("exits-hypercall", 2)?;
    figures.get("exits-page-fault")
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
        figures.are("exits-hypercall", scripted + guest.ram.word(COUNT) + 1)
    });
    let watched = told.recv().map_err(|e| e.to_string()).and_then(|fd| {
        let mut exits = 0;
        for _ in 0..5 {
            let before = ram.word(COUNT);
            wait_until("the Guest has made some calls", || {
                ram.word(COUNT) > before + 50
            })?;
            let least = ram.word(COUNT);
            let figures = read_by_others(fd)?;
            let most = ram.word(COUNT);
            figures.add_up("exits", "exits-")?;
            let calls = figures.get("exits-hypercall")?;
            // One may be under way on either side.
            check!(
                (least + scripted..=most + scripted + 1).contains(&calls),
                "exits-hypercall of a Guest that runs: expected {} to {}, got {calls}",
                least + scripted,
                most + scripted + 1,
            );
            let all = figures.get("exits")?;
            check!(
                all > exits,
                "exits of a Guest that runs: expected more than {exits}, got {all}"
            );
            exits = all;
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

/// The numbers that have a line of their own.
const OWN_LINES: u64 = 32;

/// Compares all lines about calls.
fn calls_are(guest: &Guest, made: &BTreeMap<u64, u64>, others: u64) -> Outcome {
    let figures = Figures::of_guest(guest)?;
    figures.get("calls")?;
    for number in 0..OWN_LINES {
        let name = format!("call-{number}");
        match made.get(&number) {
            Some(count) => figures.are(&name, *count)?,
            None => check!(
                !figures.0.contains_key(&name),
                "fdinfo: expected no line {name:?}, got {:?}",
                figures.0[&name]
            ),
        }
    }
    figures.are("call-other", others)?;
    figures.add_up("calls", "call-")
}

fn hypercalls() -> Outcome {
    // At once, and out of the ring.
    for _ in 0..2 {
        let (mut guest, mut made) = caller(work::SURVIVED);
        let in_ring = 1 + random() % data::RING_SIZE;
        let at_once: u64 = made.values().sum::<u64>() + 1;
        for slot in 0..in_ring {
            let call = [hc::SET_CLOCKEVENT, 0, 0, 0];
            for (word, value) in (0..).zip(call) {
                let at = DATA + data::RING + 32 * slot + 8 * word;
                guest.ram.set_word(at, value);
            }
            guest
                .ram
                .set_byte(DATA + data::RING_STATUS + slot, data::PENDING);
        }
        *made.entry(hc::SET_CLOCKEVENT).or_default() += in_ring;
        *made.entry(hc::POWEROFF).or_default() += 1;
        guest.run_to_poweroff(0)?;
        calls_are(&guest, &made, 0)?;
        Figures::of_guest(&guest)?.are("exits-hypercall", at_once)?;
    }
    // The last call of a Guest, whatever it is.
    let wide = (1 << 32) + random() % 21;
    for number in [
        3,
        8,
        16,
        31,
        32,
        33 + random() % 1000,
        wide,
        1 << 63,
        u64::MAX,
    ] {
        let (mut guest, mut made) = caller(CALL);
        guest.param(0, number);
        let reason = guest.run()?;
        same(
            "the end of a Guest with a call that there is not",
            reason,
            format!("Bad hypercall {number}"),
        )?;
        let others = u64::from(number >= OWN_LINES);
        if number < OWN_LINES {
            *made.entry(number).or_default() += 1;
        }
        calls_are(&guest, &made, others)?;
    }
    // It dies of a page that nobody can fetch, after its call has been given twice.
    let (mut guest, mut made) = caller(CALL);
    let at = guest.ram.len() - PAGE;
    guest.param(0, hc::CRASH).param(1, at);
    made.insert(hc::CRASH, 1);
    let reason = guest.run()?;
    same(
        "the end of a Guest that crashes",
        reason.as_str(),
        "CRASH: ",
    )?;
    calls_are(&guest, &made, 0)
}

fn interrupts() -> Outcome {
    for _ in 0..3 {
        let raised = random() as u32 | 1 << (random() % 32);
        let blocked = random() as u32 & !(1 << raised.trailing_zeros());
        let delivered = u64::from((raised & !blocked).count_ones());
        let mut guest = Guest::new(TAKE);
        guest.interrupts();
        guest.param(0, va(IRQ_TOTAL)).param(1, delivered);
        guest.ram.set_word(DATA + data::BLOCKED, blocked.into());
        guest.boot()?;
        for irq in (0..32).filter(|irq| raised >> irq & 1 != 0) {
            let device = guest.device();
            device.irq(irq).map_err(|e| format!("IRQ {irq}: {e:?}"))?;
        }
        let reason = guest.finish()?;
        guest.powered_off(&reason, 0)?;
        let figures = Figures::of_guest(&guest)?;
        figures.are("interrupts", delivered)?;
        figures.add_up("interrupts", "irq-")?;
    }
    Ok(())
}

/// Faults are filled or reflected, and whatever else was wrong with them is neither.
fn faults() -> Outcome {
    let pages = 100 + random() % 300;
    let mut guest = Guest::new(TOUCH);
    guest.param(0, va(FREE)).param(1, pages);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    figures.are("faults-reflected", 0)?;
    figures.are("faults-filled", figures.get("exits-page-fault")?)?;

    let traps = 1 + random() % 50;
    let mut guest = Guest::new(FAULT);
    guest.traps();
    guest.param(0, traps);
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    figures.are("faults-reflected", traps)?;
    figures.are("trap-14", traps)?;
    let all = figures.get("faults-filled")? + traps;
    figures.are("exits-page-fault", all)
}

/// Reads its own figures until they say what was expected.
fn comes_to(file: i32, name: &str, want: &str) -> Outcome {
    wait_until(&format!("the line {name:?} says {want:?}"), || {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{file}"));
        text.is_ok_and(|text| text.contains(&format!("\n{name}:\t{want}\n")))
    })
}

/// Where a Guest is, and for how long it was there.
fn places() -> Outcome {
    let mut guest = Guest::new(SLEEP);
    guest.interrupt(1);
    guest.boot()?;
    let fd = guest.device().fd();
    comes_to(fd, "state", "outside")?;
    let before = Instant::now();
    signals::handle(Signal::SIGUSR1, false);
    let owner = nix::unistd::gettid();
    let ram = guest.ram.clone();
    let watcher = std::thread::spawn(move || -> Outcome<u64> {
        comes_to(fd, "state", "running")?;
        ram.set_word(STOP, 1);
        comes_to(fd, "state", "halted")?;
        let slept = Instant::now();
        while slept.elapsed() < Duration::from_millis(200) {
            comes_to(fd, "state", "halted")?;
        }
        let halted = Figures::of_file(fd)?.get("halted-ns")?;
        // The only way out of `read()` for a Guest that sleeps.
        signals::send(owner, Signal::SIGUSR1)?;
        Ok(halted)
    });
    let event = guest.step()?;
    check!(
        event == Event::Signal,
        "a Guest that sleeps: expected to be out by a signal, got {event:?}"
    );
    let halted: u64 = watcher.join().map_err(|_| "the watcher died")??;
    let wall = before.elapsed().as_nanos() as u64;
    check!(
        (190_000_000..=wall).contains(&halted),
        "a Guest that sleeps 200 ms or more: expected halted-ns up to {wall}, got {halted}"
    );
    comes_to(fd, "state", "outside")?;
    let figures = Figures::of_guest(&guest)?;
    let parts = ["guest-ns", "host-ns", "halted-ns"];
    let sum = parts.map(|name| figures.get(name));
    let sum = sum.into_iter().sum::<Outcome<u64>>()?;
    let age = figures.get("age-ns")?;
    check!(
        sum <= age && figures.get("guest-ns")? > 0 && figures.get("halts")? == 1,
        "a Guest of {age} ns that slept once: got {sum} ns in three places, {:?}",
        figures.0
    );
    Ok(())
}

/// What its memory costs: what it has, what it has touched.
fn memory() -> Outcome {
    let touched = |pages: u64| -> Outcome<(u64, u64)> {
        let mut guest = Guest::new(TOUCH);
        guest.param(0, va(FREE)).param(1, pages);
        guest.run_to_poweroff(0)?;
        let figures = Figures::of_guest(&guest)?;
        figures.are("memory-pages", guest.ram.len() / PAGE)?;
        let used = figures.get("shadow-used")?;
        let tables = figures.get("shadow-pages")?;
        check!(
            used > 0 && used <= tables,
            "the shadow: expected some of {tables} tables in use, got {used}"
        );
        figures.are("shadow-evicted", 0)?;
        Ok((figures.get("at-hand-pages")?, used))
    };
    let (few, _) = touched(0)?;
    let (many, _) = touched(500)?;
    check!(
        (490..=500 + few).contains(&(many - few)),
        "a Guest that stores to 500 fresh pages: expected so many more at hand than {few}, got {many}"
    );
    Ok(())
}

/// Two CPUs, each with figures of its own, and their sums.
fn two_cpus() -> Outcome {
    let mut guest = Guest::new(CALL_ON);
    guest.cpus = 2;
    let crew = Crew::start(guest)?;
    let fd = crew.device.fd();
    let ram = crew.ram.clone();
    crew.wait_until("the first CPU has made some calls", || {
        ram.word(COUNT) > 100
    })?;
    let figures = Figures::of_file(fd)?;
    figures.are("cpus", 2)?;
    figures.add_up("cpu-0-exits", "cpu-0-exits-")?;
    check!(
        figures.get("cpu-0-exits-hypercall")? > 100,
        "a CPU with more than 100 calls: got {:?}",
        figures.0
    );
    // Nobody has started the second.
    figures.are("cpu-1-exits", 0)?;
    figures.are("cpu-1-guest-ns", 0)?;
    check!(
        figures.get("cpu-1-halted-ns")? > 0,
        "a CPU that nobody has started: expected it to sleep, got {:?}",
        figures.0
    );
    crew.end("POWEROFF: 0")
}

/// Events of all Guests, in an instance of its own. Neither threads are chosen nor their names kept: for both, the kernel would patch
/// its scheduler, and an emulated one may trip over that.
struct Listener(std::path::PathBuf);

impl Listener {
    const TRACING: &str = "/sys/kernel/tracing";

    fn new() -> Outcome<Self> {
        if !std::fs::exists(format!("{}/instances", Self::TRACING)).unwrap_or(false) {
            let none = None::<&str>;
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(none, Self::TRACING, Some("tracefs"), flags, none)
                .map_err(|e| format!("mount tracefs: {e}"))?;
        }
        // An instance that is made inherits this.
        let names = format!("{}/options/record-cmd", Self::TRACING);
        std::fs::write(&names, "0").map_err(|e| format!("{names}: {e}"))?;
        let name = format!("{}/instances/vmtests", Self::TRACING);
        std::fs::create_dir(&name).map_err(|e| format!("{name}: {e}"))?;
        let listener = Self(name.into());
        listener.set("trace_clock", "mono")?;
        listener.set("buffer_size_kb", "4096")?;
        listener.set("events/lguest/enable", "1")?;
        Ok(listener)
    }

    fn set(&self, file: &str, value: &str) -> Outcome {
        let file = self.0.join(file);
        std::fs::write(&file, value).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// What was heard of one Guest: each line from the name of the event on.
    fn heard(&self, guest: u64) -> Outcome<Vec<String>> {
        self.set("events/lguest/enable", "0")?;
        let file = self.0.join("trace");
        let text = std::fs::read_to_string(&file).map_err(|e| format!("trace: {e}"))?;
        let of_it = format!(": guest={guest} vcpu=0");
        let ours = text.lines().filter(|line| line.contains(&of_it));
        let from_name = |line: &str| {
            let at = line.find(&of_it)?;
            let name = line[..at].rfind(' ')? + 1;
            Some(line[name..].to_owned())
        };
        Ok(ours.filter_map(from_name).collect())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.set("events/lguest/enable", "0");
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// As many events as the counters say.
fn events_are_counts() -> Outcome {
    let listener = Listener::new()?;
    let counts: [u64; 4] = std::array::from_fn(|_| 1 + random() % 100);
    let mut guest = Guest::new(COME_OUT);
    guest.traps();
    for (index, count) in (0..).zip(counts) {
        guest.param(index, count);
    }
    guest.run_to_poweroff(0)?;
    let figures = Figures::of_guest(&guest)?;
    let lines = listener.heard(figures.get("guest")?)?;
    let of = |name: &str| {
        let begin = format!("{name}: ");
        lines.iter().filter(|line| line.starts_with(&begin)).count() as u64
    };
    for (event, figure) in [
        ("guest_entry", "exits"),
        ("guest_exit", "exits"),
        ("hypercall", "calls"),
        ("emulate", "emulated"),
        ("inject", "traps"),
        ("page_fault", "exits-page-fault"),
    ] {
        same(&format!("events {event}"), of(event), figures.get(figure)?)?;
    }
    let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count() as u64;
    for reason in ["host", "hypercall", "page-fault", "protection", "trap"] {
        let want = figures.get(&format!("exits-{reason}"))?;
        let what = format!("exits with reason={reason}");
        same(&what, with(&format!("reason={reason}")), want)?;
    }
    same("events guest_run", of("guest_run"), of("guest_stop"))?;
    same("the end", with("why=death"), 1)?;
    same("POWEROFF", with("number=11 args=0x0,"), 1)
}

/// What the lines say of a Guest that is known.
fn events_say_what_happened() -> Outcome {
    let listener = Listener::new()?;
    let mut guest = Guest::new(FAULT);
    guest.traps();
    guest.param(0, 2);
    guest.run_to_poweroff(0)?;
    let number = Figures::of_guest(&guest)?.get("guest")?;
    let lines = listener.heard(number)?;
    let fault = "page_fault: guest=";
    let where_ = "address=0x7000000000 error=0x0 outcome=reflected";
    let faults = lines
        .iter()
        .filter(|line| line.starts_with(fault) && line.ends_with(where_));
    same("faults at 0x7000000000", faults.count(), 2)?;
    let traps = lines
        .iter()
        .filter(|line| line.starts_with("inject: ") && line.ends_with("vector=14 error=0x0"));
    same("traps 14", traps.count(), 2)?;
    let init = format!("number=1 args={DATA:#x},0x0,0x0");
    check!(
        lines.iter().any(|line| line.ends_with(&init)),
        "events: expected a hypercall {init:?}, got {lines:?}"
    );
    // Others are not told of.
    drop(listener);
    let mut guest = Guest::new(FAULT);
    guest.traps();
    guest.run_to_poweroff(0)?;
    let listener = Listener::new()?;
    let number = Figures::of_guest(&guest)?.get("guest")?;
    same(
        "events before anybody listened",
        listener.heard(number)?.len(),
        0,
    )
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cost/exits-add-up", exits),
        Case::new("cost/a-fault-counts-once", once),
        Case::new("cost/read-by-others-while-it-runs", while_it_runs),
        Case::new("cost/hypercalls-by-number", hypercalls),
        Case::new("cost/interrupts-delivered", interrupts),
        Case::new("cost/faults-filled-or-reflected", faults),
        Case::new("cost/where-a-guest-is", places),
        Case::new("cost/memory", memory),
        Case::new("cost/each-cpu-has-its-own", two_cpus),
        Case::new("cost/as-many-events-as-counts", events_are_counts).needing([Need::TRACEPOINTS]),
        Case::new("cost/events-say-what-happened", events_say_what_happened)
            .needing([Need::TRACEPOINTS]),
    ]
}
