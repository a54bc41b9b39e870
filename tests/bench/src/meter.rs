//! What the plugin does with counters and marks.

use crate::marks::Mark;
use crate::privileged::CLASSES;
use crate::profile::Profile;
use std::collections::HashMap;
use std::fmt::Write;

/// A program that waits for an interrupt begins its operation in every round of a loop: a round is shorter than this. Whatever
/// takes longer has come.
const WAITING: u64 = 16;

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Instructions that were executed.
    pub instructions: u64,
    /// Those of each class.
    pub privileged: [u64; CLASSES],
}

/// Takes the readings at the marks, and writes a line for each operation that ended:
///
/// ```text
/// SYSTEM OPERATION INSTRUCTIONS EMULATION CLASS...
/// ```
///
/// *Emulation* is what was executed for a function whose bounds the measured program told, outside of that function itself.
#[derive(Default)]
pub struct Meter {
    system: u16,
    number: u64,
    /// Where that function begins and ends.
    bounds: Vec<u64>,
    /// What the counter will be when the function goes on, if nothing is executed for it meanwhile.
    left: u64,
    emulation: u64,
    /// Operations that have begun: the counters then, and what was emulated until then.
    begun: HashMap<u16, (Reading, u64)>,
    lines: String,
    /// Where the instructions of an operation are, if somebody wants to know.
    pub profile: Option<Profile>,
}

impl Meter {
    /// A mark is executed.
    pub fn meet(&mut self, mark: Mark, now: &Reading) {
        match mark {
            Mark::Begin(operation) => {
                let waits =
                    |(begun, _): &(Reading, u64)| now.instructions - begun.instructions < WAITING;
                if self.begun.get(&operation).is_none_or(waits) {
                    self.begun.insert(operation, (*now, self.emulation));
                    if let Some(profile) = &mut self.profile {
                        profile.begin(operation);
                    }
                }
            }
            Mark::End(operation) => {
                if let Some((begun, emulation)) = self.begun.remove(&operation) {
                    self.tell(operation, &begun, now, self.emulation - emulation);
                    if let Some(profile) = &mut self.profile {
                        profile.end(operation);
                    }
                }
            }
            Mark::System(system) => self.system = system,
            Mark::Digit(digit) => self.number = self.number << 4 | u64::from(digit),
            Mark::Bound => {
                if self.bounds.len() == 2 {
                    self.bounds.clear();
                }
                self.bounds.push(self.number);
            }
        }
    }

    fn tell(&mut self, operation: u16, begun: &Reading, now: &Reading, emulation: u64) {
        let instructions = now.instructions - begun.instructions;
        let system = self.system;
        let _ = write!(
            self.lines,
            "{system} {operation} {instructions} {emulation}"
        );
        for (now, begun) in now.privileged.iter().zip(&begun.privileged) {
            let _ = write!(self.lines, " {}", now - begun);
        }
        self.lines.push('\n');
    }

    /// Whether the instruction at this address belongs to the function that has others emulate; if so, whether a call begins with
    /// it.
    pub fn emulates(&self, address: u64) -> Option<bool> {
        match self.bounds[..] {
            [from, to] if (from..to).contains(&address) => Some(address == from),
            _ => None,
        }
    }

    /// An instruction of that function is executed, perhaps the first of a call; so many were before it.
    pub fn emulator(&mut self, first: bool, instructions: u64) {
        if !first {
            self.emulation += instructions - self.left;
        }
        self.left = instructions + 1;
    }

    /// All lines.
    pub fn lines(&self) -> &str {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privileged::Class;

    fn at(instructions: u64) -> Reading {
        Reading {
            instructions,
            ..Reading::default()
        }
    }

    /// The first four words of each line.
    fn told(meter: &Meter) -> Vec<[u64; 4]> {
        meter
            .lines()
            .lines()
            .map(|line| {
                let words: Vec<u64> = line
                    .split(' ')
                    .map(|word| word.parse().expect("a number"))
                    .collect();
                assert_eq!(words.len(), 4 + CLASSES);
                [words[0], words[1], words[2], words[3]]
            })
            .collect()
    }

    #[test]
    fn an_operation_costs_what_was_executed_between_its_marks() {
        let mut meter = Meter::default();
        meter.meet(Mark::System(2), &at(5));
        meter.meet(Mark::Begin(4), &at(100));
        meter.meet(Mark::End(4), &at(1415));
        meter.meet(Mark::End(4), &at(1500));
        assert_eq!(told(&meter), [[2, 4, 1315, 0]]);
    }

    #[test]
    fn classes_are_counted_between_the_marks() {
        let mut meter = Meter::default();
        let mut reading = at(100);
        reading.privileged[Class::WriteMsr as usize] = 7;
        meter.meet(Mark::Begin(4), &reading);
        reading.privileged[Class::WriteMsr as usize] = 17;
        meter.meet(Mark::End(4), &reading);
        let words: Vec<&str> = meter.lines().split_whitespace().collect();
        assert_eq!(words[4 + Class::WriteMsr as usize], "10");
        assert_eq!(words[4 + Class::ReadMsr as usize], "0");
    }

    #[test]
    fn operations_may_lie_in_each_other() {
        let mut meter = Meter::default();
        meter.meet(Mark::Begin(1), &at(0));
        meter.meet(Mark::Begin(2), &at(10));
        meter.meet(Mark::End(2), &at(30));
        meter.meet(Mark::End(1), &at(100));
        assert_eq!(told(&meter), [[0, 2, 20, 0], [0, 1, 100, 0]]);
    }

    #[test]
    fn who_waits_begins_anew_until_it_comes() {
        let mut meter = Meter::default();
        for round in 0..10 {
            meter.meet(Mark::Begin(3), &at(3 * round));
        }
        // The interrupt comes before the mark of the next round.
        meter.meet(Mark::Begin(3), &at(5000));
        meter.meet(Mark::End(3), &at(5002));
        assert_eq!(told(&meter), [[0, 3, 5002 - 27, 0]]);
    }

    /// The digits of an address, then `Bound`.
    fn bound(meter: &mut Meter, address: u64) {
        for digit in (0..16).rev() {
            meter.meet(Mark::Digit((address >> (4 * digit) & 15) as u16), &at(0));
        }
        meter.meet(Mark::Bound, &at(0));
    }

    #[test]
    fn bounds_are_told_digit_by_digit() {
        let mut meter = Meter::default();
        bound(&mut meter, 0xffff_ffff_c06b_6970);
        assert_eq!(meter.emulates(0xffff_ffff_c06b_6970), None);
        bound(&mut meter, 0xffff_ffff_c06b_6a50);
        assert_eq!(meter.emulates(0xffff_ffff_c06b_6970), Some(true));
        assert_eq!(meter.emulates(0xffff_ffff_c06b_6971), Some(false));
        assert_eq!(meter.emulates(0xffff_ffff_c06b_6a50), None);
        // The module was loaded again, elsewhere.
        bound(&mut meter, 0x1000);
        bound(&mut meter, 0x2000);
        assert_eq!(meter.emulates(0x1800), Some(false));
    }

    #[test]
    fn emulation_is_what_runs_between_two_instructions_of_the_function() {
        let mut meter = Meter::default();
        for call in [1000, 2000] {
            meter.meet(Mark::Begin(4), &at(call));
            meter.emulator(true, call + 10);
            meter.emulator(false, call + 11);
            meter.emulator(false, call + 212); // 200 were executed elsewhere
            meter.meet(Mark::End(4), &at(call + 300));
        }
        assert_eq!(told(&meter), [[0, 4, 300, 200]; 2]);
    }
}
