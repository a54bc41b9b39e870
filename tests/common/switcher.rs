//! The Switcher in a machine that stands still: its instructions, and what of its slot a Guest can read.

use super::gdb::{Answer, Gdb, Leaf};
use super::top;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Mnemonic};
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// The top-level entry that is the Switcher's.
const SLOT: u64 = 256;
/// The linear map of a test Guest, and the word in it that stops the Guest (`tests/vm/src/layout.rs`).
const GUEST_OFFSET: u64 = 0xffff_ffff_8000_0000;
const GUEST_MEMORY: u64 = 4 << 20;
const STOP: u64 = 0x6128;
/// CR4: five levels of tables.
const LA57: u64 = 1 << 12;
/// Vectors by which Guests and our events come to the Host; all other stubs are the same but for a number.
const USED: [u8; 8] = [1, 2, 13, 14, 18, 0x1b, 0x1f, 0xf7];

/// One instruction of the Switcher.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Its address, in the first CPU's copy.
    pub at: u64,
    /// Where that is, for people: symbol and distance, and what it does.
    name: String,
    mnemonic: Mnemonic,
    /// Where it jumps to, always.
    target: Option<u64>,
    /// Whether it jumps sometimes.
    conditional: bool,
    /// Where it jumps to, always or sometimes.
    to: u64,
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The Switcher's code as the module's file has it.
struct Code {
    bytes: Vec<u8>,
    /// What begins where, as distances from the first byte.
    symbols: BTreeMap<u64, String>,
}

impl Code {
    fn load() -> Answer<Self> {
        let host = std::env::var("HOST").unwrap_or_else(|_| "debian".to_owned());
        let path = top().join(format!("target/host-{host}/modules/lguest.ko"));
        let file = std::fs::read(&path).map_err(|e| format!("{path:?}: {e}"))?;
        let file = object::File::parse(&*file).map_err(|e| e.to_string())?;
        let symbol = |name: &str| {
            file.symbol_by_name(name)
                .ok_or_else(|| format!("lguest.ko has no {name}"))
        };
        let (first, end) = (symbol("lguest_switcher")?, symbol("lguest_switcher_end")?);
        let index = first.section_index().ok_or("lguest_switcher is nowhere")?;
        let section = file.section_by_index(index).map_err(|e| e.to_string())?;
        let data = section.data().map_err(|e| e.to_string())?;
        let (start, end) = (first.address(), end.address());
        let symbols = file
            .symbols()
            .filter(|one| one.section_index() == Some(index))
            .filter(|one| (start..end).contains(&one.address()))
            .filter_map(|one| Some((one.address() - start, one.name().ok()?.to_owned())))
            .filter(|(_, name)| !name.is_empty() && !name.starts_with('.'))
            .collect();
        let mut bytes = data[start as usize..end as usize].to_vec();
        relocate(&mut bytes, start, &file, &section)?;
        Ok(Self { bytes, symbols })
    }

    /// Its instructions when it lies there.
    fn instructions(&self, at: u64) -> Vec<Instruction> {
        let mut decoder = Decoder::with_ip(64, &self.bytes, at, DecoderOptions::NONE);
        let mut formatter = GasFormatter::new();
        let mut all = Vec::new();
        for one in &mut decoder {
            let mut text = String::new();
            formatter.format(&one, &mut text);
            let distance = one.ip() - at;
            let (begin, symbol) = self
                .symbols
                .range(..=distance)
                .next_back()
                .map_or((&0, "lguest_switcher"), |(at, name)| (at, name.as_str()));
            all.push(Instruction {
                at: one.ip(),
                name: format!("{symbol}+{:#x} `{text}`", distance - begin),
                mnemonic: one.mnemonic(),
                target: (one.mnemonic() == Mnemonic::Jmp && one.is_jmp_short_or_near())
                    .then(|| one.near_branch_target()),
                conditional: one.is_jcc_short_or_near(),
                to: one.near_branch_target(),
            });
        }
        all
    }
}

/// Fills in what the loader would where the code refers to itself. It may refer to nothing else: each Guest can read it.
fn relocate<'data>(
    code: &mut [u8],
    start: u64,
    file: &object::File<'data>,
    section: &object::Section<'data, '_>,
) -> Answer<()> {
    for (at, relocation) in section.relocations() {
        let Some(place) = at.checked_sub(start).map(|at| at as usize) else {
            continue;
        };
        let Some(word) = code.get_mut(place..place + 4) else {
            continue;
        };
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return Err(format!("the Switcher refers to something at {at:#x}"));
        };
        let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        let relative = matches!(
            relocation.kind(),
            RelocationKind::Relative | RelocationKind::PltRelative
        );
        if !relative || relocation.size() != 32 || symbol.section_index() != Some(section.index()) {
            return Err(format!("the Switcher refers to {:?}", symbol.name()));
        }
        let distance = (symbol.address() as i64 + relocation.addend() - at as i64) as i32;
        word.copy_from_slice(&distance.to_le_bytes());
    }
    Ok(())
}

/// The Switcher of the first CPU.
pub struct Switcher {
    /// In the order of their addresses.
    pub instructions: Vec<Instruction>,
    code: Code,
    /// Where each vector leads.
    stubs: Vec<u64>,
    /// Where the Host's functions are.
    symbols: BTreeMap<String, u64>,
    levels: u32,
    secrets: Secrets,
}

/// What the Host would not tell.
struct Secrets {
    cr3: u64,
    gs_base: u64,
}

impl Switcher {
    /// Lets the machine run until a Guest does on the first CPU, whose IDT shows the way.
    pub fn find(gdb: &mut Gdb, symbols: BTreeMap<String, u64>) -> Answer<Self> {
        let code = Code::load()?;
        let mut registers = Registers::read(gdb)?;
        for _ in 0..1000 {
            if in_slot(registers.idt, registers.levels()) {
                break;
            }
            gdb.go(Duration::from_millis(3))?;
            registers = Registers::read(gdb)?;
        }
        let levels = registers.levels();
        if !in_slot(registers.idt, levels) {
            return Err("no Guest was seen to run".into());
        }
        let idt = gdb
            .walk(registers.cr3, levels, registers.idt)?
            .ok_or("the IDT is not mapped")?;
        let stubs: Vec<u64> = gdb.read(idt, 4096)?.chunks_exact(16).map(handler).collect();
        // A Guest's own handlers may be among them.
        let first = stubs
            .iter()
            .copied()
            .filter(|at| in_slot(*at, levels))
            .min();
        let first = first.ok_or("the IDT leads nowhere in the slot")? & !0xfff;
        let mut switcher = Self {
            instructions: code.instructions(first),
            code,
            stubs,
            symbols,
            levels,
            secrets: Secrets { cr3: 0, gs_base: 0 },
        };
        switcher.learn_secrets(gdb)?;
        Ok(switcher)
    }

    /// Stops where the Host still is the Host.
    fn learn_secrets(&mut self, gdb: &mut Gdb) -> Answer<()> {
        let enter = self.enter()?;
        gdb.stop_at(enter)?;
        let stopped = gdb.go(Duration::from_secs(20))?;
        gdb.pass(enter)?;
        stopped.ok_or("lguest_enter is not reached")?;
        let registers = Registers::read(gdb)?;
        self.secrets = Secrets {
            cr3: registers.cr3 & !0xfff,
            gs_base: registers.gs_base,
        };
        Ok(())
    }

    /// Where the Host calls.
    pub fn enter(&self) -> Answer<u64> {
        let mut symbols = self.code.symbols.iter();
        let enter = symbols.find(|(_, name)| *name == "lguest_enter");
        let (distance, _) = enter.ok_or("lguest.ko has no lguest_enter")?;
        Ok(self.instructions[0].at + distance)
    }

    /// The address of a function of the Host.
    pub fn symbol(&self, name: &str) -> Answer<u64> {
        let found = self.symbols.get(name).copied();
        found.ok_or_else(|| format!("the Host has no {name}"))
    }

    /// Where a vector leads.
    pub fn stub(&self, vector: u8) -> u64 {
        self.stubs[usize::from(vector)]
    }

    /// The conditional jump just before an instruction, if there is one.
    pub fn jump_past(&self, at: u64) -> Option<u64> {
        let before = self.instructions.iter().rfind(|one| one.at < at)?;
        before.conditional.then_some(before.at)
    }

    /// Each IRETQ.
    pub fn returns(&self) -> impl Iterator<Item = u64> {
        let returns = |one: &&Instruction| one.mnemonic == Mnemonic::Iretq;
        self.instructions.iter().filter(returns).map(|one| one.at)
    }

    /// Whether an instruction belongs to a loop for speculation to be caught in: PAUSE, LFENCE and a jump back. No CPU gets there.
    fn only_guessed(&self, index: usize) -> bool {
        let mut from_here = self.instructions[index..].iter();
        let waits = |one: &Instruction| matches!(one.mnemonic, Mnemonic::Pause | Mnemonic::Lfence);
        let jump = from_here.find(|one| !waits(one));
        jump.and_then(|jump| jump.target).is_some_and(|begin| {
            let loops = |one: &&Instruction| one.at == begin && one.mnemonic == Mnemonic::Pause;
            begin <= self.instructions[index].at && self.instructions.iter().any(|one| loops(&one))
        })
    }

    /// What a CPU with the instructions for the bases of FS and GS, or without, jumps over: how the other kind does the same.
    fn for_the_other_kind(&self, fsgsbase: bool) -> Vec<Range<u64>> {
        let between = |from: u64, to: u64| {
            let all = self.instructions.iter();
            all.filter(move |one| (from + 1..to).contains(&one.at))
        };
        let knows =
            |one: &Instruction| matches!(one.mnemonic, Mnemonic::Rdgsbase | Mnemonic::Wrgsbase);
        let choices = self.instructions.iter().filter(|one| one.conditional);
        choices
            .filter(|jump| between(jump.at, jump.to).any(knows))
            .filter_map(|jump| match fsgsbase {
                true => {
                    let over = between(jump.at, jump.to).next_back()?.target?;
                    Some(jump.to..over)
                }
                false => Some(jump.at + 1..jump.to),
            })
            .collect()
    }

    /// All instructions that mean something on such a CPU, of the stubs those that are used.
    pub fn worth_a_shot(&self, fsgsbase: bool) -> impl Iterator<Item = &Instruction> {
        let others = self.for_the_other_kind(fsgsbase);
        let begin = self.instructions[0].at;
        let (stubs, size) = (begin..begin + 256 * 16, 16);
        let real = |(index, _): &(usize, &Instruction)| !self.only_guessed(*index);
        let all = self.instructions.iter().enumerate().filter(real);
        all.map(|(_, one)| one).filter(move |one| {
            let filling = matches!(one.mnemonic, Mnemonic::Nop | Mnemonic::Int3);
            let used = USED.map(u64::from).contains(&((one.at - begin) / size));
            let here = !others.iter().any(|range| range.contains(&one.at));
            !filling && here && (used || !stubs.contains(&one.at))
        })
    }

    /// Looks at every page of the slot that a Guest can read that is about to run: what is there that must not be.
    pub fn search(&self, gdb: &mut Gdb) -> Answer<Vec<String>> {
        let registers = Registers::read(gdb)?;
        let top = gdb.word((registers.cr3 & !0xfff) + SLOT * 8)?;
        let leaves = gdb.leaves(top, self.levels - 1, slot(self.levels))?;
        let mut findings = Vec::new();
        if leaves.is_empty() {
            findings.push("no page of the slot is there: is this a Guest's table?".to_owned());
        }
        let code: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.executable()).collect();
        for (leaf, index) in code.into_iter().zip(0..) {
            let page = gdb.read(leaf.phys(), 4096)?;
            findings.extend(self.foreign_code(index, &page));
            if leaf.writable() {
                findings.push(format!("page {index} of the code is writable"));
            }
        }
        for leaf in leaves.iter().filter(|leaf| !leaf.executable()) {
            let page = gdb.read(leaf.phys(), 4096)?;
            let name = format!("{:#x}", leaf.virt & 0x1f_ffff);
            findings.extend(
                self.secrets_on(&page)
                    .map(|found| format!("{found} on the data page at {name}")),
            );
        }
        Ok(findings)
    }

    /// Whether a page of code holds more than its part of the Switcher.
    fn foreign_code(&self, index: usize, page: &[u8]) -> Option<String> {
        let ours = self.code.bytes.get(4096 * index..).unwrap_or_default();
        let (ours, page) = (&ours[..ours.len().min(4096)], page);
        if page[..ours.len()] != *ours {
            return Some(format!("page {index} of the code is not the Switcher's"));
        }
        let rest = &page[ours.len()..];
        // Nothing, or what traps.
        let empty = rest.iter().all(|byte| matches!(byte, 0 | 0xcc));
        (!empty).then(|| format!("behind the Switcher, page {index} of the code goes on"))
    }

    /// What the Host would not have on a page.
    fn secrets_on(&self, page: &[u8]) -> impl Iterator<Item = String> {
        let Secrets { cr3, gs_base } = self.secrets;
        let mut found = Vec::new();
        for word in page.chunks_exact(8) {
            let word = u64::from_le_bytes(word.try_into().expect("8 bytes"));
            if self.host_pointer(word) {
                found.push("an address of the Host's kernel".to_owned());
            }
            if word & !0xfff & (u64::MAX >> 12) == cr3 {
                found.push("the Host's CR3".to_owned());
            }
        }
        for half in page.chunks_exact(4) {
            let half = u32::from_le_bytes(half.try_into().expect("4 bytes"));
            if half == gs_base as u32 || half == (gs_base >> 32) as u32 {
                found.push("half of the Host's GS base".to_owned());
            }
        }
        found.sort();
        found.dedup();
        found.into_iter()
    }

    /// Whether a word looks like an address of the Host's kernel: in the upper half, and neither in the slot nor the Guest's.
    fn host_pointer(&self, word: u64) -> bool {
        let upper_half = (word as i64) >> (12 + 9 * self.levels - 1) == -1;
        let guests_own = (GUEST_OFFSET..GUEST_OFFSET + GUEST_MEMORY).contains(&word);
        let small_negative = word > 0xffff_ffff_ffff_f000;
        upper_half && !guests_own && !small_negative && !in_slot(word, self.levels)
    }

    /// Tells the Guest whose tables are loaded to stop. Says whether it is one that looks.
    pub fn stop_guest(&self, gdb: &mut Gdb) -> Answer<bool> {
        let registers = Registers::read(gdb)?;
        match gdb.walk(registers.cr3, self.levels, GUEST_OFFSET + STOP)? {
            Some(word) => gdb.write(word, &1u64.to_le_bytes()).map(|()| true),
            None => Ok(false),
        }
    }
}

/// The registers of the first CPU that only QEMU tells.
struct Registers {
    cr3: u64,
    cr4: u64,
    idt: u64,
    gs_base: u64,
}

impl Registers {
    fn read(gdb: &mut Gdb) -> Answer<Self> {
        let text = gdb.monitor("info registers")?;
        let number = |after: &str, word: usize| {
            text.split_once(after)
                .and_then(|(_, rest)| rest.split_whitespace().nth(word))
                .and_then(|number| u64::from_str_radix(number, 16).ok())
                .ok_or_else(|| format!("no {after:?} in {text}"))
        };
        Ok(Self {
            cr3: number("CR3=", 0)?,
            cr4: number("CR4=", 0)?,
            idt: number("IDT=", 0)?,
            gs_base: number("GS =", 1)?,
        })
    }

    fn levels(&self) -> u32 {
        if self.cr4 & LA57 == 0 { 4 } else { 5 }
    }
}

/// The first address of the Switcher's slot.
fn slot(levels: u32) -> u64 {
    u64::MAX << (12 + 9 * levels - 1)
}

fn in_slot(address: u64, levels: u32) -> bool {
    address >> (12 + 9 * (levels - 1)) == slot(levels) >> (12 + 9 * (levels - 1))
}

/// Where a gate leads.
fn handler(gate: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(gate[at..at + 8].try_into().expect("8 bytes"));
    let (low, high) = (word(0), word(8));
    low & 0xffff | low >> 32 & 0xffff_0000 | high << 32
}
