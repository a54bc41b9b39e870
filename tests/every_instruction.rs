//! NMI, machine check and an interrupt of the Host, each placed before every single instruction of the Switcher, on the way in
//! and on the way out, while Guests run; and after each a search of every page that the Guest can read.
//!
//! QEMU stops at an instruction, is told of the event, and goes on. The event must reach the Host's own handler before the Guest
//! runs again, and nothing of the Host's may lie where the Guest can see it when it does.

mod common;

use common::gdb::{Answer, Gdb, Place, TRAP_FLAG, ZERO_FLAG};
use common::switcher::{Instruction, Switcher};
use common::{Machine, Ran, Vm, start_vm, top};
use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the machine may take to get anywhere. It takes milliseconds.
const SOON: Duration = Duration::from_secs(60);
/// After so long an event that nobody has seen is lost. It takes milliseconds, too, but for a machine that others keep busy.
const LOST: Duration = Duration::from_secs(30);
/// How long the Guests run until an instruction that they reach by themselves must have been seen.
const A_WHILE: Duration = Duration::from_secs(2);
/// Where a message to the first CPU's interrupt controller is written to: as a device would, so from its next instruction on.
const MESSAGES: u64 = 0xfee0_0000;
/// A vector that Linux has a handler for, and no use on a PC.
const PLATFORM_IPI: u32 = 0xf7;
/// Delivered as an NMI.
const AS_NMI: u32 = 4 << 8;
/// The vector of a hypercall.
const HYPERCALL: u8 = 0x1f;
/// Bank 1 of the first CPU: an uncorrected error whose handling can wait. Linux counts it, logs it, and goes on.
const MACHINE_CHECK: &str = "mce 0 1 0xb000100000000000 5 0 0";

/// A function of the Host's that a stay ends with, and that anybody may probe.
const PROBED: &str = "rcu_note_context_switch";

/// What comes at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Nmi,
    MachineCheck,
    Interrupt,
}

impl Event {
    const ALL: [Self; 3] = [Self::Nmi, Self::MachineCheck, Self::Interrupt];

    /// The Host's function that sees it.
    fn handler(self) -> &'static str {
        match self {
            Self::Nmi => "exc_nmi",
            Self::MachineCheck => "do_machine_check",
            Self::Interrupt => "sysvec_x86_platform_ipi",
        }
    }

    /// The line of /proc/interrupts that counts it, if there is one.
    fn counter(self) -> Option<&'static str> {
        match self {
            Self::Nmi => Some("NMI:"),
            Self::MachineCheck => Some("MCE:"),
            Self::Interrupt => None,
        }
    }

    fn send(self, gdb: &mut Gdb) -> Answer<()> {
        match self {
            Self::Nmi => gdb.write(MESSAGES, &AS_NMI.to_le_bytes()),
            Self::Interrupt => gdb.write(MESSAGES, &PLATFORM_IPI.to_le_bytes()),
            Self::MachineCheck => match gdb.monitor(MACHINE_CHECK)?.trim() {
                "" => Ok(()),
                complaint => Err(complaint.to_owned()),
            },
        }
    }
}

/// How an instruction of the Switcher is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By Guests that do what they do.
    Alone,
    /// By an event just before the Guest would run.
    Before(Event),
    /// By an event just after its first instruction.
    After(Event),
    /// By a conditional jump, here, that on this CPU always jumps, made not to.
    Past(u64),
    /// By a single step of the Guest's that goes on in a stub, as one does behind `mov %ss`.
    Stepping,
}

impl Way {
    const USUAL: [Self; 7] = [
        Self::Alone,
        Self::Before(Event::Interrupt),
        Self::Before(Event::Nmi),
        Self::Before(Event::MachineCheck),
        Self::After(Event::Nmi),
        Self::After(Event::MachineCheck),
        Self::Stepping,
    ];

    /// The event that was sent to get there.
    fn event(self) -> Option<Event> {
        match self {
            Self::Before(event) | Self::After(event) => Some(event),
            Self::Alone | Self::Past(_) | Self::Stepping => None,
        }
    }
}

/// The machine under fire.
struct Range {
    gdb: Gdb,
    switcher: Switcher,
    /// The instruction by which Guests are entered.
    gate: u64,
    /// The CPU has instructions for the bases of FS and GS.
    fsgsbase: bool,
    /// A machine check is lost: the next one would be the machine's last.
    fragile: bool,
    /// How many of each event were sent.
    sent: BTreeMap<Event, u64>,
    /// What is wrong, and where it was seen.
    wrong: BTreeMap<String, Vec<String>>,
}

impl Range {
    fn new(mut gdb: Gdb, symbols: BTreeMap<String, u64>, fsgsbase: bool) -> Answer<Self> {
        let switcher = Switcher::find(&mut gdb, symbols)?;
        let mut range = Self {
            gate: switcher.instructions[0].at,
            gdb,
            switcher,
            fsgsbase,
            fragile: false,
            sent: BTreeMap::new(),
            wrong: BTreeMap::new(),
        };
        range.find_gate()?;
        Ok(range)
    }

    /// Of the instructions that may enter a Guest, that which does.
    fn find_gate(&mut self) -> Answer<()> {
        let returns: Vec<u64> = self.switcher.returns().collect();
        for at in &returns {
            self.gdb.stop_at(*at)?;
        }
        let place = self.gdb.go(SOON)?.ok_or("no Guest is entered")?;
        self.gate = place.rip;
        for at in &returns {
            self.gdb.pass(*at)?;
        }
        Ok(())
    }

    fn send(&mut self, event: Event) -> Answer<()> {
        *self.sent.entry(event).or_default() += 1;
        event.send(&mut self.gdb)
    }

    /// Runs up to this address.
    fn run_to(&mut self, address: u64, limit: Duration) -> Answer<Option<Place>> {
        self.gdb.stop_at(address)?;
        let place = self.gdb.go(limit);
        self.gdb.pass(address)?;
        place
    }

    fn must_run_to(&mut self, address: u64) -> Answer<()> {
        match self.run_to(address, SOON)? {
            Some(place) if place.rip == address => Ok(()),
            Some(place) => Err(format!("{address:#x} is not reached, but {place:x?}")),
            None => Err(format!(
                "{address:#x} is not reached:\n{}",
                self.everywhere()?
            )),
        }
    }

    /// Where all CPUs are, for somebody who has to find out why they are not elsewhere.
    fn everywhere(&mut self) -> Answer<String> {
        let registers = self.gdb.monitor("info registers -a")?;
        let told = |line: &&str| {
            ["CPU#", "RIP=", "RSP"]
                .iter()
                .any(|name| line.contains(name))
        };
        Ok(registers
            .lines()
            .filter(told)
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// Prepares the machine so that it will come to what this way leads to.
    fn set_out(&mut self, way: Way) -> Answer<()> {
        match way {
            Way::Alone => Ok(()),
            Way::Before(event) => {
                self.must_run_to(self.gate)?;
                self.send(event)
            }
            Way::After(event) => {
                self.must_run_to(self.gate)?;
                match self.gdb.step()?.ring {
                    0 => Err("IRETQ does not lead out of ring 0".into()),
                    _ => self.send(event),
                }
            }
            Way::Past(jump) => {
                self.must_run_to(jump)?;
                self.gdb.toggle(ZERO_FLAG)
            }
            Way::Stepping => {
                let stub = self.switcher.stub(HYPERCALL);
                self.must_run_to(stub)?;
                self.gdb.toggle(TRAP_FLAG)
            }
        }
    }

    /// By which way each instruction is reached; the rest are wrong.
    fn survey(&mut self, wanted: &[Instruction]) -> Answer<Vec<(Instruction, Way)>> {
        let mut missing: BTreeMap<u64, Instruction> =
            wanted.iter().map(|one| (one.at, one.clone())).collect();
        let mut found = Vec::new();
        for way in Way::USUAL {
            self.explore(way, &mut missing, &mut found)?;
        }
        // What only some CPUs need is behind jumps that this one never falls through.
        let mut tried = BTreeSet::new();
        while let Some(jump) = missing
            .keys()
            .filter_map(|at| self.switcher.jump_past(*at))
            .find(|jump| !missing.contains_key(jump) && !tried.contains(jump))
        {
            tried.insert(jump);
            self.explore(Way::Past(jump), &mut missing, &mut found)?;
        }
        for instruction in missing.values() {
            self.blame("never reached", instruction.to_string());
        }
        Ok(found)
    }

    /// Goes a way, and finds what of the missing it leads to.
    fn explore(
        &mut self,
        way: Way,
        missing: &mut BTreeMap<u64, Instruction>,
        found: &mut Vec<(Instruction, Way)>,
    ) -> Answer<()> {
        if missing.is_empty() {
            return Ok(());
        }
        self.set_out(way)?;
        let handler = way
            .event()
            .map(|event| self.switcher.symbol(event.handler()));
        let handler = handler.transpose()?;
        let stops: Vec<u64> = missing.keys().copied().chain(handler).collect();
        for at in &stops {
            self.gdb.stop_at(*at)?;
        }
        while let Some(place) = self.gdb.go(A_WHILE)? {
            self.gdb.pass(place.rip)?;
            match missing.remove(&place.rip) {
                Some(instruction) => found.push((instruction, way)),
                None => break,
            }
        }
        for at in stops {
            // Whatever was reached is passed already, which is an error to say twice and no harm.
            let _ = self.gdb.pass(at);
        }
        Ok(())
    }

    /// Sends an event before this instruction, and sees where it gets to.
    fn shoot(&mut self, event: Event, instruction: &Instruction, way: Way) -> Answer<()> {
        let events: Vec<Event> = way.event().into_iter().chain([event]).collect();
        let checks = events.iter().filter(|one| **one == Event::MachineCheck);
        // A machine check in a machine check stops any CPU.
        if checks.count() > usize::from(!self.fragile) {
            return Ok(());
        }
        let place = format!("{event:?} at {instruction} ({way:?})");
        self.set_out(way)?;
        self.must_run_to(instruction.at)?;
        self.send(event)?;
        let lost = self.lost_of(events, &place)?;
        self.fragile |= lost.contains(&Event::MachineCheck);
        self.must_enter(&place)?;
        for finding in self.switcher.search(&mut self.gdb)? {
            self.blame(&finding, place.clone());
        }
        Ok(())
    }

    /// The Host's handlers must see these before the Guest runs. (For an interrupt, it must have been about to: only there is
    /// the CPU open for it.) Those that they never see.
    fn lost_of(&mut self, mut waiting: Vec<Event>, place: &str) -> Answer<Vec<Event>> {
        let mut entries = usize::from(waiting.contains(&Event::Interrupt));
        let late = Instant::now() + LOST;
        while !waiting.is_empty() {
            let mut handlers = BTreeMap::new();
            for event in &waiting {
                handlers.insert(self.switcher.symbol(event.handler())?, *event);
            }
            let stops: Vec<u64> = handlers.keys().copied().chain([self.gate]).collect();
            for at in &stops {
                self.gdb.stop_at(*at)?;
            }
            let left = late.saturating_duration_since(Instant::now());
            let stopped = self.gdb.go(left)?.map(|place| place.rip);
            for at in &stops {
                self.gdb.pass(*at)?;
            }
            match stopped.and_then(|at| handlers.get(&at)) {
                Some(event) => {
                    let index = waiting.iter().position(|one| one == event);
                    waiting.remove(index.expect("one of them"));
                }
                None if stopped == Some(self.gate) && entries > 0 => entries -= 1,
                None if stopped == Some(self.gate) => {
                    let what = "the Guest is entered with it waiting";
                    self.blame(what, format!("{place}, {waiting:?}"));
                    // It may be late, and not lost.
                    entries = usize::MAX;
                }
                None => {
                    self.blame("nobody sees it", format!("{place}, {waiting:?}"));
                    return Ok(waiting);
                }
            }
            // Off the stop.
            self.gdb.step()?;
        }
        Ok(waiting)
    }

    /// Goes on until the Guest is entered, which must be at the first attempt: all that waited has been handled.
    fn must_enter(&mut self, place: &str) -> Answer<()> {
        let enter = self.switcher.enter()?;
        let mut attempts = 0;
        loop {
            self.gdb.stop_at(enter)?;
            let reached = self.must_run_to(self.gate);
            self.gdb.pass(enter)?;
            if reached.is_ok() || attempts > 20 || self.gdb.place()?.rip != enter {
                break reached;
            }
            attempts += 1;
            if attempts == 2 {
                self.blame("the Guest is turned back for nothing", place.to_owned());
            }
            // Off the stop.
            self.gdb.step()?;
        }
    }

    /// A debug trap inside the Switcher must not end the CPU's holding back of further NMIs: that is for the Host's handler.
    fn nmis_stay_blocked(&mut self) -> Answer<()> {
        self.must_run_to(self.gate)?;
        self.send(Event::Nmi)?;
        let stub = self.switcher.stub(2);
        self.must_run_to(stub)?;
        self.gdb.toggle(TRAP_FLAG)?;
        self.send(Event::Nmi)?;
        let handler = self.switcher.symbol(Event::Nmi.handler())?;
        self.gdb.step()?;
        self.gdb.stop_at(stub)?;
        self.must_run_to(handler).or_else(|_| {
            self.blame(
                "a debug trap lets the next NMI in before the Host's handler",
                "the NMI stub".into(),
            );
            Ok::<(), String>(())
        })?;
        self.gdb.pass(stub)
    }

    /// The Host gets an NMI that the Switcher holds before anything of the Host's runs that may fault or be probed: to return from
    /// that is an IRETQ, and lets the next NMI in at the handler's first instructions.
    fn the_held_nmi_comes_first(&mut self) -> Answer<()> {
        let handler = self.switcher.symbol(Event::Nmi.handler())?;
        let probed = self.switcher.symbol(PROBED)?;
        for way in [Way::Before(Event::Nmi), Way::After(Event::Nmi)] {
            self.set_out(way)?;
            self.gdb.stop_at(handler)?;
            self.gdb.stop_at(probed)?;
            let first = self.gdb.go(SOON)?.map(|place| place.rip);
            self.gdb.pass(probed)?;
            if first == Some(probed) {
                self.blame(
                    "code that may be probed runs before a held NMI",
                    format!("{way:?}"),
                );
                let _ = self.gdb.go(SOON)?;
            }
            self.gdb.pass(handler)?;
            self.gdb.step()?;
        }
        Ok(())
    }

    /// Tells the Guests to stop, and lets go of the machine.
    fn end(&mut self) -> Answer<()> {
        // One that has just begun has not looked yet whether it shall.
        for _ in 0..1000 {
            self.must_run_to(self.gate)?;
            if self.switcher.stop_guest(&mut self.gdb)? {
                return self.gdb.leave();
            }
            self.gdb.step()?;
        }
        Err("the Guest does not look at STOP".to_owned())
    }

    fn blame(&mut self, what: &str, place: String) {
        self.wrong.entry(what.to_owned()).or_default().push(place);
    }
}

/// What the VM does meanwhile.
fn script() -> String {
    let handlers = [&Event::ALL.map(Event::handler)[..], &[PROBED]]
        .concat()
        .join("|");
    format!(
        "grep -E ' ({handlers})$' /proc/kallsyms | while read line; do echo \"symbol $line\" >/dev/kmsg; done
        ./vmtests --victims; status=$?
        cat /proc/interrupts
        exit $status"
    )
}

/// The addresses that the VM told.
fn symbols(log: &str) -> BTreeMap<String, u64> {
    log.lines()
        .filter_map(|line| line.split_once("symbol ")?.1.split_once(' '))
        .filter_map(|(address, rest)| {
            let name = rest.split_whitespace().last()?;
            Some((name.to_owned(), u64::from_str_radix(address, 16).ok()?))
        })
        .collect()
}

/// Waits until the victims run; whether they do.
fn victims_are_here(vm: &mut Vm) -> bool {
    while vm.runs() {
        if vm.kernel_log().contains("victims: here") {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

/// Boots, shoots and looks at what is left.
fn under_fire(name: &str, machine: Machine, shots: impl Fn(&mut Range) -> Answer<()>) {
    let socket = top().join("target/vm").join(format!("{name}.gdb"));
    let qemu_args = format!("-gdb unix:{},server=on,wait=off", socket.display());
    let fsgsbase = machine.cpu.starts_with("max");
    let boot = || {
        let _ = std::fs::remove_file(&socket);
        let mut vm = start_vm(name, machine, &script(), "", &qemu_args);
        let here = victims_are_here(&mut vm);
        (vm, here)
    };
    let (mut vm, mut here) = boot();
    // An emulated kernel now and then trips before its first program: that is nothing of ours.
    if !here && !vm.kernel_log().contains("Run /init") {
        vm.wait();
        (vm, here) = boot();
    }
    if !here {
        vm.wait().fail("the VM ended before it began");
    }
    let mut sent = BTreeMap::new();
    let outcome = Gdb::connect(&socket).and_then(|gdb| {
        let mut range = Range::new(gdb, symbols(&vm.kernel_log()), fsgsbase)?;
        let done = shots(&mut range).and_then(|()| range.end());
        done.map_err(|e| e + "\n" + &told(&range.wrong))?;
        sent = range.sent;
        Ok(range.wrong)
    });
    let _ = std::fs::remove_file(&socket);
    if outcome.is_err() {
        vm.end();
    }
    let ran = vm.wait();
    let mut wrong = outcome.unwrap_or_else(|why| ran.fail(why));
    for (event, sent) in sent {
        let counted = event.counter().map_or(sent, |line| counted(&ran, line));
        if counted != sent {
            let what = format!("of {sent} {event:?} the Host counted {counted}");
            wrong.insert(what, Vec::new());
        }
    }
    if !wrong.is_empty() {
        ran.fail(told(&wrong));
    }
    ran.expect_status(0);
}

/// How many the Host counted in this line of /proc/interrupts, on all CPUs.
fn counted(ran: &Ran, counter: &str) -> u64 {
    ran.lines
        .iter()
        .filter(|line| line.trim_start().starts_with(counter))
        .flat_map(|line| line.split_whitespace())
        .filter_map(|word| word.parse::<u64>().ok())
        .sum()
}

/// Each fault with the first few places where it was seen.
fn told(wrong: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::new();
    for (what, places) in wrong {
        text += &format!("{what}: {} times\n", places.len());
        for place in places.iter().take(5) {
            text += &format!("    {place}\n");
        }
    }
    text
}

/// Every event at each `step`th instruction of those that are reached.
fn at_every(step: usize, range: &mut Range, events: &[Event]) -> Answer<()> {
    let fsgsbase = range.fsgsbase;
    let wanted: Vec<Instruction> = range.switcher.worth_a_shot(fsgsbase).cloned().collect();
    let found = range.survey(&wanted)?;
    println!("{} instructions, {} reached", wanted.len(), found.len());
    for event in events {
        for (instruction, way) in found.iter().step_by(step) {
            range
                .shoot(*event, instruction, *way)
                .map_err(|e| format!("{event:?} at {instruction} ({way:?}): {e}"))?;
        }
    }
    Ok(())
}

#[test]
fn an_event_at_every_instruction_of_the_switcher() {
    let machine = Machine {
        cpu: "max,-la57",
        smp: 1,
    };
    under_fire("every-instruction", machine, |range| {
        at_every(1, range, &Event::ALL)
    });
}

/// Linux then tells by GS base alone what its NMI handler has interrupted.
#[test]
fn an_nmi_at_every_instruction_without_fsgsbase() {
    let machine = Machine {
        cpu: "qemu64",
        smp: 1,
    };
    under_fire("every-instruction-qemu64", machine, |range| {
        at_every(1, range, &[Event::Nmi])
    });
}

#[test]
fn an_nmi_at_some_instructions_with_two_cpus_and_five_levels() {
    under_fire(
        "some-instructions",
        Machine { cpu: "max", smp: 2 },
        |range| at_every(7, range, &[Event::Nmi]),
    );
}

#[test]
fn a_debug_trap_in_the_switcher_lets_no_nmi_in() {
    let machine = Machine {
        cpu: "max,-la57",
        smp: 1,
    };
    under_fire("debug-trap-and-nmi", machine, Range::nmis_stay_blocked);
}

#[test]
fn the_nmi_that_is_held_comes_before_all_that_may_let_in_another() {
    let machine = Machine {
        cpu: "max,-la57",
        smp: 1,
    };
    under_fire("held-nmi", machine, Range::the_held_nmi_comes_first);
}
