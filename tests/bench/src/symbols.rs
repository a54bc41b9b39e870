//! Whose instructions they are: from addresses to names.
//!
//! The Host's own list of symbols tells functions. Of the module there is more: the compiler's notes (DWARF) tell which function an
//! instruction was written in, before it was inlined into another.

use crate::privileged::Class;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Where the Host's kernel begins; a Guest of the ruler's lies below, from the same linear map's beginning on.
const HOST_TEXT: u64 = 0xffff_ffff_8100_0000;
/// Addresses of programs end here, with any number of levels.
const USER_END: u64 = 1 << 56;
/// The upper bits of the Switcher's slot, 256 of the top level, with five levels and with four.
const SLOTS: [(u64, u32); 2] = [(0xff00_0000_0000_0000, 48), (0xffff_8000_0000_0000, 39)];
const PAGE: u64 = 4096;

/// What the Host said of itself.
#[derive(Debug, Default)]
pub struct Symbols {
    /// By address: the name, with its module.
    functions: BTreeMap<u64, String>,
    /// Where the sections of our module begin.
    sections: BTreeMap<u64, String>,
    /// Where the Switcher begins and ends.
    switcher: Option<(u64, u64)>,
}

impl Symbols {
    /// Reads lines of `/proc/kallsyms`, and those that `grep . /sys/module/lguest/sections/*` prints.
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        let mut bounds = (None, None);
        for line in text.lines() {
            if let Some((section, address)) = line.rsplit_once(":0x") {
                let name = section.rsplit('/').next().unwrap_or(section);
                if let Ok(address) = u64::from_str_radix(address, 16) {
                    all.sections.insert(address, name.to_owned());
                }
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [address, kind, name, ref module @ ..] = words[..] else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            match name {
                "lguest_switcher" => bounds.0 = Some(address),
                "lguest_switcher_end" => bounds.1 = Some(address),
                _ => {}
            }
            if kind.eq_ignore_ascii_case("t") && !name.starts_with("__pfx_") {
                let name = [&[name], module].concat().join(" ");
                all.functions.insert(address, name);
            }
        }
        all.switcher = bounds.0.zip(bounds.1);
        all
    }

    /// The section of our module in which an address is, and how far inside.
    fn section(&self, address: u64) -> Option<(&str, u64)> {
        let (_, symbol) = self.functions.range(..=address).next_back()?;
        let (from, name) = self.sections.range(..=address).next_back()?;
        symbol
            .ends_with("[lguest]")
            .then_some((name.as_str(), address - from))
    }

    /// Whether an address is in the Host's kernel, or in a module other than ours.
    fn is_hosts(&self, address: u64) -> bool {
        address >= HOST_TEXT && self.section(address).is_none()
    }

    /// The name for an address of which no more is known.
    fn function(&self, address: u64) -> String {
        match address {
            ..USER_END => "(user space)".to_owned(),
            0xffff_ffff_8000_0000..HOST_TEXT => "(the Guest's kernel)".to_owned(),
            _ => match self.functions.range(..=address).next_back() {
                Some((_, name)) => name.clone(),
                None => format!("{address:#x}"),
            },
        }
    }
}

/// Whether an address is in the Switcher's slot.
fn in_slot(address: u64) -> bool {
    SLOTS
        .iter()
        .any(|(top, bits)| address >> bits == top >> bits)
}

/// An instruction that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    address: u64,
    /// Whether it is privileged or serialising.
    privileged: bool,
}

/// Reads what the plugin wrote ([`Profile::lines`](crate::profile::Profile::lines)).
pub fn executed(text: &str) -> Result<Vec<Executed>, String> {
    let read = |line: &str| {
        let (address, class) = line.split_once(' ')?;
        Some(Executed {
            address: u64::from_str_radix(address, 16).ok()?,
            privileged: match class {
                "-" => false,
                number => number.parse::<u8>().ok()? != Class::Round as u8,
            },
        })
    };
    text.lines()
        .map(|line| read(line).ok_or(format!("not an instruction: {line:?}")))
        .collect()
}

/// In the slot the Switcher's code lies a second time. There it ends with the highest page on which anything was executed: the way
/// into a Guest.
pub fn out_of_the_slot(all: &mut [Executed], symbols: &Symbols) {
    let highest = all.iter().map(|one| one.address).filter(|a| in_slot(*a));
    if let (Some(highest), Some((_, end))) = (highest.max(), symbols.switcher) {
        let slot_end = highest / PAGE * PAGE + PAGE;
        for one in all.iter_mut().filter(|one| in_slot(one.address)) {
            one.address = end - (slot_end - one.address);
        }
    }
}

/// Asks `addr2line` in which function each instruction of our module was written: those that are ours, by address.
pub fn written_in(
    all: &[Executed],
    symbols: &Symbols,
    module: &Path,
) -> Result<BTreeMap<u64, String>, String> {
    let mut sections: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let addresses: BTreeSet<u64> = all.iter().map(|one| one.address).collect();
    for address in addresses {
        if let Some((section, offset)) = symbols.section(address) {
            let of_section = sections.entry(section).or_default();
            of_section.push((offset, address));
        }
    }
    let mut names = BTreeMap::new();
    for (section, offsets) in sections {
        let output = Command::new("addr2line")
            .args(["--addresses", "--inlines", "--functions", "--demangle"])
            .arg(format!("--section={section}"))
            .arg("--exe")
            .arg(module)
            .args(offsets.iter().map(|(offset, _)| format!("{offset:#x}")))
            .output()
            .map_err(|e| format!("addr2line: {e}"))?;
        let answers = answers(&String::from_utf8_lossy(&output.stdout));
        for ((_, address), answer) in offsets.iter().zip(answers) {
            if let Some(name) = answer {
                names.insert(*address, name);
            }
        }
    }
    Ok(names)
}

/// What `addr2line` said, for each address: the innermost function that is ours, if there is one.
fn answers(text: &str) -> Vec<Option<String>> {
    let mut all: Vec<Option<String>> = Vec::new();
    for line in text.lines() {
        if line.starts_with("0x") {
            all.push(None);
        } else if let Some(answer @ None) = all.last_mut()
            && line.trim_start_matches('<').starts_with("lguest::")
        {
            *answer = Some(line.to_owned());
        }
    }
    all
}

/// A line for each function: instructions, privileged or serialising ones among them, name. The longest first. What a function
/// of the Host's does is told apart by who had it done: the last that was not the Host's.
pub fn report(all: &[Executed], symbols: &Symbols, names: &BTreeMap<u64, String>) -> String {
    let mut functions: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut last = String::new();
    for one in all {
        let name = match names.get(&one.address) {
            Some(name) => name.clone(),
            None => symbols.function(one.address),
        };
        let name = if symbols.is_hosts(one.address) {
            format!("{name} for {last}")
        } else {
            last.clone_from(&name);
            name
        };
        let sum = functions.entry(name).or_default();
        *sum = (sum.0 + 1, sum.1 + u64::from(one.privileged));
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let total = |sum: (u64, u64), (_, one): &(_, (u64, u64))| (sum.0 + one.0, sum.1 + one.1);
    let total = functions.iter().fold((0, 0), total);
    functions.push(("together".to_owned(), total));
    let mut text = String::from("instructions  privileged\n");
    for (name, (count, privileged)) in functions {
        let privileged = match privileged {
            0 => String::new(),
            number => number.to_string(),
        };
        let _ = writeln!(text, "{count:>12}  {privileged:>10}  {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
ffffffff81000000 T _text
ffffffff81000100 T schedule
ffffffffc0001000 t run\t[lguest]
ffffffffc0003000 t lguest_switcher\t[lguest]
ffffffffc000311a t lguest_enter\t[lguest]
ffffffffc0005000 T lguest_switcher_end\t[lguest]
ffffffffc0008000 t other\t[kvm]
ffffffffc0001000 d data\t[lguest]
/sys/module/lguest/sections/.kprobes.text:0xffffffffc0003000
/sys/module/lguest/sections/.text:0xffffffffc0001000
";

    fn at(address: u64) -> Executed {
        Executed {
            address,
            privileged: false,
        }
    }

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let symbols = Symbols::parse(HOST);
        for (address, name) in [
            (0x40_1000, "(user space)"),
            (0xffff_ffff_8001_4000, "(the Guest's kernel)"),
            (0xffff_ffff_8100_00ff, "_text"),
            (0xffff_ffff_8100_0100, "schedule"),
            (0xffff_ffff_c000_1000, "run [lguest]"),
        ] {
            assert_eq!(symbols.function(address), name);
        }
    }

    #[test]
    fn what_is_ours_is_told_by_section() {
        let symbols = Symbols::parse(HOST);
        let section = |address| symbols.section(address);
        assert_eq!(section(0xffff_ffff_c000_1010), Some((".text", 0x10)));
        assert_eq!(
            section(0xffff_ffff_c000_3120),
            Some((".kprobes.text", 0x120))
        );
        assert_eq!(section(0xffff_ffff_c000_8000), None);
        assert_eq!(section(0xffff_ffff_8100_0100), None);
    }

    #[test]
    fn what_ran_in_the_slot_is_the_switchers() {
        let symbols = Symbols::parse(HOST);
        for slot in [0xffff_8012_3400_0000, 0xff00_0012_3400_0000] {
            let mut all = [at(slot + 0x5120), at(slot + 0x6010), at(5)];
            out_of_the_slot(&mut all, &symbols);
            let addresses = all.map(|one| one.address);
            assert_eq!(addresses, [0xffff_ffff_c000_3120, 0xffff_ffff_c000_4010, 5]);
            assert_eq!(symbols.function(addresses[0]), "lguest_enter [lguest]");
        }
    }

    #[test]
    fn the_innermost_function_of_ours_is_named() {
        let said = "\
0x0000000000002200
core::ptr::read_volatile
/rust/core/src/ptr.rs:1
<lguest::arch::context::GuestTime>::end
/run/generated/module/arch/context.rs:24
lguest::run::run
/run/generated/module/run.rs:7
0x0000000000000010
??
??:0
0x0000000000000020
lguest::walk::walk
/run/generated/module/walk.rs:2
";
        let answers = answers(said);
        let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
        assert_eq!(
            answers,
            [
                Some("<lguest::arch::context::GuestTime>::end"),
                None,
                Some("lguest::walk::walk")
            ]
        );
    }

    #[test]
    fn the_longest_function_comes_first_and_who_called_the_host_is_told() {
        let symbols = Symbols::parse(HOST);
        let all = executed(&format!(
            "401000 -
ffffffff81000104 {iret}
ffffffffc0001000 {round}
ffffffffc0001000 {round}
ffffffff81000104 {iret}
ffffffff81000108 -
ffffffff81000108 -
",
            iret = Class::Iret as u8,
            round = Class::Round as u8
        ))
        .expect("good lines");
        let names = BTreeMap::from([(0xffff_ffff_c000_1000, "lguest::run".to_owned())]);
        assert_eq!(
            report(&all, &symbols, &names),
            "\
instructions  privileged
           3           1  schedule for lguest::run
           2              lguest::run
           1           1  schedule for (user space)
           1              (user space)
           7           2  together
"
        );
        assert!(executed("x -").is_err());
    }
}
