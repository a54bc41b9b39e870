//! Where the instructions of one operation are: the address of each, in the order in which they were executed.

use crate::privileged::Class;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Follows the rounds of one operation. Most take the same number of instructions, the median: it is a round of those that is told.
#[derive(Default)]
pub struct Profile {
    operation: u16,
    /// The round that has begun and not ended.
    round: Option<Vec<u64>>,
    /// By number of instructions: how many rounds had so many, and the first of them.
    rounds: BTreeMap<usize, (usize, Vec<u64>)>,
    classes: HashMap<u64, Class>,
}

impl Profile {
    /// Follows this operation.
    pub fn new(operation: u16) -> Self {
        Self {
            operation,
            ..Self::default()
        }
    }

    /// What lies at this address is known now.
    pub fn translated(&mut self, address: u64, class: Option<Class>) {
        match class {
            Some(class) => self.classes.insert(address, class),
            None => self.classes.remove(&address),
        };
    }

    /// An operation begins, or begins anew.
    pub fn begin(&mut self, operation: u16) {
        if operation == self.operation {
            self.round = Some(Vec::new());
        }
    }

    /// An instruction is executed.
    pub fn executed(&mut self, address: u64) {
        if let Some(round) = &mut self.round {
            round.push(address);
        }
    }

    /// An operation has ended.
    pub fn end(&mut self, operation: u16) {
        if operation != self.operation {
            return;
        }
        let Some(round) = self.round.take() else {
            return;
        };
        let of_this_length = self.rounds.entry(round.len()).or_insert((0, round));
        of_this_length.0 += 1;
    }

    /// Whether a round has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.round.is_some()
    }

    /// A round of median length.
    fn median(&self) -> &[u64] {
        let all: usize = self.rounds.values().map(|(times, _)| times).sum();
        let mut seen = 0;
        let median = self.rounds.values().find(|(times, _)| {
            seen += times;
            2 * seen >= all
        });
        median.map_or(&[], |(_, round)| round)
    }

    /// A line for each instruction of it: the address, and the number of its class or `-`.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for address in self.median() {
            let _ = match self.classes.get(address) {
                Some(class) => writeln!(lines, "{address:x} {}", *class as usize),
                None => writeln!(lines, "{address:x} -"),
            };
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(profile: &mut Profile, operation: u16, addresses: &[u64]) {
        profile.begin(operation);
        addresses
            .iter()
            .for_each(|address| profile.executed(*address));
        profile.end(operation);
    }

    #[test]
    fn a_round_of_median_length_is_told() {
        let mut profile = Profile::new(4);
        round(&mut profile, 4, &[0x10]);
        round(&mut profile, 4, &[0x10, 0x20, 0x10]);
        round(&mut profile, 4, &[0x10, 0x30, 0x10, 0x30, 0x30]);
        assert_eq!(profile.lines(), "10 -\n20 -\n10 -\n");
    }

    #[test]
    fn other_operations_are_not_followed() {
        let mut profile = Profile::new(4);
        round(&mut profile, 5, &[0x10]);
        profile.executed(0x20);
        assert!(!profile.is_open());
        assert_eq!(profile.lines(), "");
    }

    #[test]
    fn what_is_privileged_is_told() {
        let mut profile = Profile::new(4);
        profile.translated(0x10, Some(Class::Iret));
        profile.translated(0x20, Some(Class::Iret));
        // Other code lies there by now.
        profile.translated(0x20, None);
        round(&mut profile, 4, &[0x10, 0x20]);
        assert_eq!(
            profile.lines(),
            format!("10 {}\n20 -\n", Class::Iret as usize)
        );
    }
}
