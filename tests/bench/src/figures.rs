//! From a thousand samples to one figure.

use crate::operations::{LOOP, Operation, System};
use crate::privileged::{CLASSES, Class, NAMES};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one operation costs on one system: medians, each counted by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Executed instructions.
    pub instructions: u64,
    /// Those of them that emulate an instruction only to find out how long it is (KVM on a CPU that does not tell).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub emulation: u64,
    /// Those of them that are rounds of a string instruction.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rounds: u64,
    /// Those of them that are privileged or serialising, by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub privileged: BTreeMap<String, u64>,
}

// serde wants a reference.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Figure {
    /// All privileged and serialising instructions.
    pub fn privileged_total(&self) -> u64 {
        self.privileged.values().sum()
    }

    /// Those of some classes.
    pub fn of(&self, classes: &[Class]) -> u64 {
        classes
            .iter()
            .filter_map(|class| self.privileged.get(NAMES[*class as usize].1))
            .sum()
    }
}

/// All that was measured, and on what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The Host's kernel.
    pub kernel: String,
    /// The emulator.
    pub qemu: String,
    /// By the key of a system and the key of an operation.
    pub figures: BTreeMap<String, BTreeMap<String, Figure>>,
}

/// The middle one; of two in the middle the lower, so that a figure is one that occurred.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

impl Figures {
    /// The figure of an operation, if it was measured there.
    pub fn get(&self, system: System, operation: Operation) -> Option<&Figure> {
        self.figures.get(system.key())?.get(operation.key())
    }

    /// Reads what the plugin wrote.
    pub fn from_samples(text: &str) -> Result<Self, String> {
        let mut samples: BTreeMap<(u16, u16), Vec<Vec<u64>>> = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let bad = || format!("line {number} is no sample: {line:?}");
            let words: Vec<u64> = line
                .split(' ')
                .map(|word| word.parse().map_err(|_| bad()))
                .collect::<Result<_, _>>()?;
            let [system, operation, ref counts @ ..] = words[..] else {
                return Err(bad());
            };
            if counts.len() != 2 + CLASSES {
                return Err(bad());
            }
            let key = (u16::try_from(system), u16::try_from(operation));
            let (Ok(system), Ok(operation)) = key else {
                return Err(bad());
            };
            samples
                .entry((system, operation))
                .or_default()
                .push(counts.to_vec());
        }
        let mut all = Self::default();
        for ((system, operation), samples) in samples {
            let system = System::from_number(system).ok_or(format!("no system {system}"))?;
            let operation =
                Operation::from_number(operation).ok_or(format!("no operation {operation}"))?;
            all.figures
                .entry(system.key().to_owned())
                .or_default()
                .insert(operation.key().to_owned(), figure(&samples));
        }
        Ok(all)
    }

    /// Refuses what a ruler that counts wrongly has measured.
    pub fn check(&self) -> Result<(), String> {
        let counted = self
            .get(System::Calibration, Operation::Loop)
            .ok_or("nothing was measured")?
            .instructions;
        if counted == LOOP {
            Ok(())
        } else {
            Err(format!(
                "a loop of {LOOP} instructions was counted as {counted}"
            ))
        }
    }
}

fn figure(samples: &[Vec<u64>]) -> Figure {
    let column = |index: usize| median(samples.iter().map(|sample| sample[index]).collect());
    Figure {
        instructions: column(0),
        emulation: column(1),
        rounds: column(2 + Class::Round as usize),
        privileged: NAMES
            .iter()
            .filter(|(class, _)| *class != Class::Round)
            .map(|(class, name)| ((*name).to_owned(), column(2 + *class as usize)))
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Figures of a few (system, operation, instructions).
    pub(crate) fn some(given: &[(System, Operation, u64)]) -> Figures {
        let mut all = Figures {
            kernel: "7".into(),
            qemu: "7".into(),
            ..Figures::default()
        };
        for (system, operation, instructions) in given {
            all.figures.entry(system.key().into()).or_default().insert(
                operation.key().into(),
                Figure {
                    instructions: *instructions,
                    ..Figure::default()
                },
            );
        }
        all
    }

    /// A line as the plugin writes it.
    fn sample(
        system: System,
        operation: Operation,
        instructions: u64,
        classes: &[(Class, u64)],
    ) -> String {
        let mut counts = [0; CLASSES];
        for (class, count) in classes {
            counts[*class as usize] = *count;
        }
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        format!(
            "{} {} {instructions} 7 {}\n",
            system as u16,
            operation as u16,
            counts.join(" ")
        )
    }

    #[test]
    fn a_median_is_a_value_that_occurred() {
        assert_eq!(median(vec![5]), 5);
        assert_eq!(median(vec![9, 1, 5]), 5);
        assert_eq!(median(vec![9, 1, 5, 7]), 5);
        assert_eq!(median(vec![1, 1, 1, 90_000]), 1);
    }

    #[test]
    fn samples_become_medians_of_each_column() {
        let text = [(10, 1), (90_000, 30), (12, 2)]
            .map(|(instructions, writes)| {
                sample(
                    System::Lguest,
                    Operation::Hypercall,
                    instructions,
                    &[(Class::WriteMsr, writes), (Class::Round, 4)],
                )
            })
            .concat();
        let figures = Figures::from_samples(&text).expect("good samples");
        let figure = figures
            .get(System::Lguest, Operation::Hypercall)
            .expect("measured");
        assert_eq!(figure.instructions, 12);
        assert_eq!(figure.emulation, 7);
        assert_eq!(figure.rounds, 4);
        assert_eq!(figure.privileged, BTreeMap::from([("wrmsr".to_owned(), 2)]));
        assert_eq!(figure.of(&[Class::WriteMsr, Class::ReadMsr]), 2);
        assert_eq!(figures.get(System::Native, Operation::Hypercall), None);
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for text in [
            "x",
            "1 2 3",
            "",
            "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 -1",
        ] {
            assert!(
                Figures::from_samples(&format!("{text}\n")).is_err(),
                "{text}"
            );
        }
        let unknown = sample(System::Native, Operation::Loop, 1, &[]).replacen('1', "99", 1);
        assert!(Figures::from_samples(&unknown).is_err());
    }

    #[test]
    fn a_ruler_that_counts_wrongly_is_not_believed() {
        let with = |counted| some(&[(System::Calibration, Operation::Loop, counted)]).check();
        assert!(with(LOOP).is_ok());
        assert!(with(LOOP + 1).is_err());
        assert!(Figures::default().check().is_err());
    }
}
