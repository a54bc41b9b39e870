//! A debugger for the machine that QEMU plays: gdb's remote protocol, as much of it as stopping between two instructions needs.
//!
//! Memory is physical memory here, whatever tables the CPU has loaded: [`Gdb::walk`] goes through tables by itself.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an answer may take that QEMU gives at once.
const ANSWER: Duration = Duration::from_secs(60);
/// How many bytes of memory are asked for at a time: QEMU's packets hold 4096 letters.
const PIECE: u64 = 1024;
/// How many steps an instruction may take. One is usual.
const STEPS: u32 = 100;
/// Flags of a page-table entry.
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Single steps.
pub const TRAP_FLAG: u32 = 1 << 8;
/// What a comparison has found equal.
pub const ZERO_FLAG: u32 = 1 << 6;
/// gdb's number of EFLAGS.
const EFLAGS: usize = 17;

/// What goes wrong between us and QEMU.
pub type Answer<T> = Result<T, String>;

/// A page that a table maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where it is mapped.
    pub virt: u64,
    /// The entry that maps it.
    pub entry: u64,
}

impl Leaf {
    /// Where the page is.
    pub fn phys(&self) -> u64 {
        self.entry & ADDRESS
    }

    /// Whether instructions may be fetched from it.
    pub fn executable(&self) -> bool {
        self.entry >> 63 == 0
    }

    /// Whether it may be written to.
    pub fn writable(&self) -> bool {
        self.entry & 2 != 0
    }
}

/// The registers that say where a CPU is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The next instruction.
    pub rip: u64,
    /// The stack.
    pub rsp: u64,
    /// The ring, from CS.
    pub ring: u64,
}

/// A connection to QEMU's debugging stub. While it is there, the machine stands still but for [`Gdb::go`].
pub struct Gdb {
    stream: UnixStream,
    /// Received, and not yet understood.
    received: Vec<u8>,
}

impl Gdb {
    /// Connects, and so stops the machine.
    pub fn connect(socket: &Path) -> Answer<Self> {
        let stream = UnixStream::connect(socket).map_err(|e| format!("{socket:?}: {e}"))?;
        let mut gdb = Self {
            stream,
            received: Vec::new(),
        };
        // It says that the machine has stopped, once or twice; then it obeys.
        gdb.send("Qqemu.PhyMemMode:1")?;
        while gdb.answer("Qqemu.PhyMemMode:1")? != "OK" {}
        // Who has not read what registers there are is not told of one alone.
        gdb.ask("qXfer:features:read:target.xml:0,fff")?;
        // The CPU on which everything happens; the stub forgets it at each stop of another one.
        gdb.choose_first_cpu()?;
        Ok(gdb)
    }

    /// Lets the machine go on without us.
    pub fn leave(&mut self) -> Answer<()> {
        self.expect_ok("D")
    }

    /// Runs one of QEMU's own commands; what it printed.
    pub fn monitor(&mut self, command: &str) -> Answer<String> {
        self.send(&format!("qRcmd,{}", hex(command.as_bytes())))?;
        let mut printed = Vec::new();
        loop {
            match self.answer(command)?.as_str() {
                "OK" => return Ok(String::from_utf8_lossy(&printed).into_owned()),
                text if text.starts_with('O') => printed.extend(bytes(&text[1..])?),
                other => return Err(format!("{command}: {other}")),
            }
        }
    }

    /// Stops whoever comes to this address, before the instruction there.
    pub fn stop_at(&mut self, address: u64) -> Answer<()> {
        self.expect_ok(&format!("Z0,{address:x},1"))
    }

    /// No longer.
    pub fn pass(&mut self, address: u64) -> Answer<()> {
        self.expect_ok(&format!("z0,{address:x},1"))
    }

    /// Lets the machine run until it stops: where. None if it ran all that time without.
    pub fn go(&mut self, limit: Duration) -> Answer<Option<Place>> {
        self.send("c")?;
        if self.packet(Instant::now() + limit)?.is_some() {
            return self.place().map(Some);
        }
        // Two stops may cross: ours, and that at a breakpoint.
        self.stream.write_all(&[3]).map_err(lost)?;
        self.answer("interrupt")?;
        Ok(None)
    }

    /// Executes one instruction, with interrupts held back. Behind a stop QEMU's first step may be none, and the CPU would meet
    /// the stop again that it has met: so until it is somewhere else.
    pub fn step(&mut self) -> Answer<Place> {
        let before = self.place()?;
        for _ in 0..STEPS {
            self.send("s")?;
            self.answer("s")?;
            let place = self.place()?;
            if place.rip != before.rip {
                return Ok(place);
            }
        }
        Err(format!("no step leads away from {:#x}", before.rip))
    }

    /// Where the first CPU is.
    pub fn place(&mut self) -> Answer<Place> {
        self.choose_first_cpu()?;
        let registers = bytes(&self.ask("g")?)?;
        let word = |at: usize| -> Answer<u64> {
            let word = registers.get(at..at + 8).ok_or("too few registers")?;
            Ok(u64::from_le_bytes(word.try_into().expect("8 bytes")))
        };
        Ok(Place {
            rip: word(8 * 16)?,
            rsp: word(8 * 7)?,
            // Behind RIP and 32 bits of flags.
            ring: word(8 * 17 + 4)? & 3,
        })
    }

    /// Turns a flag of the first CPU over.
    pub fn toggle(&mut self, flag: u32) -> Answer<()> {
        self.choose_first_cpu()?;
        let flags = bytes(&self.ask(&format!("p{EFLAGS:x}"))?)?;
        let flags = flags.try_into().map_err(|_| "EFLAGS of another size")?;
        let flags = u32::from_le_bytes(flags) ^ flag;
        self.expect_ok(&format!("P{EFLAGS:x}={}", hex(&flags.to_le_bytes())))
    }

    /// Reads physical memory.
    pub fn read(&mut self, phys: u64, len: u64) -> Answer<Vec<u8>> {
        let mut all = Vec::new();
        for at in (phys..phys + len).step_by(PIECE as usize) {
            let piece = PIECE.min(phys + len - at);
            let answer = self.ask(&format!("m{at:x},{piece:x}"))?;
            all.extend(bytes(&answer).map_err(|_| format!("reading {at:#x}: {answer}"))?);
        }
        Ok(all)
    }

    /// Reads a word of physical memory.
    pub fn word(&mut self, phys: u64) -> Answer<u64> {
        let word = self.read(phys, 8)?;
        Ok(u64::from_le_bytes(
            word.try_into().map_err(|_| "no 8 bytes")?,
        ))
    }

    /// Writes to physical memory; what is no memory is written to as well.
    pub fn write(&mut self, phys: u64, data: &[u8]) -> Answer<()> {
        self.expect_ok(&format!("M{phys:x},{:x}:{}", data.len(), hex(data)))
    }

    /// Where tables of so many levels lead with an address.
    pub fn walk(&mut self, cr3: u64, levels: u32, virt: u64) -> Answer<Option<u64>> {
        let mut table = cr3 & ADDRESS;
        for level in (1..=levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let entry = self.word(table + (virt >> shift & 511) * 8)?;
            if entry & PRESENT == 0 {
                return Ok(None);
            }
            if level == 1 || entry & LARGE != 0 {
                let inside = (1 << shift) - 1;
                return Ok(Some(entry & ADDRESS & !inside | virt & inside));
            }
            table = entry & ADDRESS;
        }
        Ok(None)
    }

    /// All pages that an entry of a table `level` levels above the pages leads to; `virt` is what the entry stands for.
    pub fn leaves(&mut self, entry: u64, level: u32, virt: u64) -> Answer<Vec<Leaf>> {
        if entry & PRESENT == 0 {
            return Ok(Vec::new());
        }
        if level == 0 || entry & LARGE != 0 {
            return Ok(vec![Leaf { virt, entry }]);
        }
        let table = self.read(entry & ADDRESS, 4096)?;
        let mut leaves = Vec::new();
        for (index, below) in (0..).zip(table.chunks_exact(8)) {
            let below = u64::from_le_bytes(below.try_into().expect("8 bytes"));
            let virt = virt + (index << (12 + 9 * (level - 1)));
            leaves.extend(self.leaves(below, level - 1, virt)?);
        }
        Ok(leaves)
    }

    fn choose_first_cpu(&mut self) -> Answer<()> {
        self.expect_ok("Hg1")
    }

    fn expect_ok(&mut self, command: &str) -> Answer<()> {
        match self.ask(command)?.as_str() {
            "OK" => Ok(()),
            other => Err(format!("{command}: {other:?}")),
        }
    }

    fn ask(&mut self, command: &str) -> Answer<String> {
        self.send(command)?;
        self.answer(command)
    }

    fn answer(&mut self, command: &str) -> Answer<String> {
        self.packet(Instant::now() + ANSWER)?
            .ok_or_else(|| format!("{command}: no answer"))
    }

    fn send(&mut self, command: &str) -> Answer<()> {
        let sum = command.bytes().fold(0, u8::wrapping_add);
        let packet = format!("${command}#{sum:02x}");
        self.stream.write_all(packet.as_bytes()).map_err(lost)
    }

    /// The next packet; None if none came in time.
    fn packet(&mut self, deadline: Instant) -> Answer<Option<String>> {
        loop {
            let begin = self.received.iter().position(|byte| *byte == b'$');
            let end = self.received.iter().position(|byte| *byte == b'#');
            if let (Some(begin), Some(end)) = (begin, end)
                && self.received.len() >= end + 3
            {
                let packet = String::from_utf8_lossy(&self.received[begin + 1..end]).into_owned();
                self.received.drain(..end + 3);
                // Received well.
                self.stream.write_all(b"+").map_err(lost)?;
                return Ok(Some(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).map_err(lost)?;
            let mut some = [0; 16384];
            match self.stream.read(&mut some) {
                Ok(0) => return Err("QEMU has gone".into()),
                Ok(len) => self.received.extend(&some[..len]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(lost(e)),
            }
        }
    }
}

fn lost(error: std::io::Error) -> String {
    format!("the connection to QEMU: {error}")
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Answer<Vec<u8>> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digit = |letter: &u8| char::from(*letter).to_digit(16);
            match pair {
                [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
                _ => None,
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("not in hexadecimal: {hex:?}"))
}
