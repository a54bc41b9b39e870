//! Two measurements beside each other.

use crate::figures::{Figure, Figures};
use crate::operations::{Operation, System};
use std::fmt;

/// How one figure differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    system: System,
    operation: Operation,
    /// Instructions, and the privileged among them; none: it was not measured.
    before: Option<(u64, u64)>,
    now: Option<(u64, u64)>,
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Kernel or emulator are not those of the baseline.
    pub elsewhere: Option<String>,
    /// How many figures both have.
    pub common: usize,
    /// Figures that are not the same.
    pub differences: Vec<Difference>,
}

impl Difference {
    fn is_ours(&self) -> bool {
        matches!(self.system, System::Lguest | System::Undefended)
    }

    /// Whether it is worth a line: what others need of privileged instructions is not.
    fn is_told(&self) -> bool {
        let (Some(before), Some(now)) = (self.before, self.now) else {
            return true;
        };
        before.0.abs_diff(now.0) * 1000 >= before.0 * SLIGHT_PER_MILLE
            || self.is_ours() && before.1 != now.1
    }

    /// Whether this book's Guest pays more than before: a hundredth of the instructions, or one privileged instruction.
    fn is_worse(&self) -> bool {
        let ours = self.is_ours();
        match (self.before, self.now) {
            (Some(before), Some(now)) => ours && (now.0 * 100 > before.0 * 101 || now.1 > before.1),
            (Some(_), None) => ours,
            (None, _) => false,
        }
    }
}

/// Fewer thousandths are not worth a line, where nothing else changed: code that lies elsewhere meets the Host's ticks
/// elsewhere.
const SLIGHT_PER_MILLE: u64 = 5;

/// Compares a measurement with a kept one.
pub fn compare(before: &Figures, now: &Figures) -> Comparison {
    let counts = |figure: Option<&Figure>| {
        figure.map(|figure| (figure.instructions, figure.privileged_total()))
    };
    let mut common = 0;
    let mut differences = Vec::new();
    for system in System::ALL {
        for operation in Operation::ALL {
            let (then, today) = (before.get(system, operation), now.get(system, operation));
            common += usize::from(then.is_some() && today.is_some());
            if then != today {
                differences.push(Difference {
                    system,
                    operation,
                    before: counts(then),
                    now: counts(today),
                });
            }
        }
    }
    let here = |figures: &Figures| format!("Linux {} under QEMU {}", figures.kernel, figures.qemu);
    let elsewhere = (here(before) != here(now)).then(|| {
        format!(
            "the baseline is of {}, this is {}: the Host's own share may differ",
            here(before),
            here(now)
        )
    });
    Comparison {
        elsewhere,
        common,
        differences,
    }
}

impl Comparison {
    /// Whether this book's Guest pays more for anything.
    pub fn is_worse(&self) -> bool {
        self.differences.iter().any(Difference::is_worse)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(elsewhere) = &self.elsewhere {
            writeln!(f, "{elsewhere}")?;
        }
        let told = || {
            self.differences
                .iter()
                .filter(|difference| difference.is_told())
        };
        for difference in told() {
            writeln!(f, "{difference}")?;
        }
        let (told, all) = (told().count(), self.differences.len());
        match all {
            0 => write!(f, "{} figures, all as in the baseline", self.common),
            _ => write!(
                f,
                "{} figures: {told} differ from the baseline, {} more by less than {} %",
                self.common,
                all - told,
                SLIGHT_PER_MILLE as f64 / 10.0
            ),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_worse() { '!' } else { ' ' };
        write!(
            f,
            "{mark} {:<24} {:<14}",
            self.system.key(),
            self.operation.key()
        )?;
        match (self.before, self.now) {
            (Some(before), Some(now)) => {
                let change = (now.0 as f64 / before.0.max(1) as f64 - 1.0) * 100.0;
                write!(f, "{:>9} -> {:>9} {change:>+8.1} %", before.0, now.0)?;
                if before.1 != now.1 {
                    write!(f, ", privileged {} -> {}", before.1, now.1)?;
                }
                Ok(())
            }
            (Some(before), None) => write!(f, "{:>9} -> not measured", before.0),
            (None, Some(now)) => write!(f, "      new -> {:>9}", now.0),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::some;

    #[test]
    fn a_measurement_is_equal_to_itself() {
        let figures = some(&[(System::Lguest, Operation::Hypercall, 1315)]);
        let comparison = compare(&figures, &figures);
        assert!(!comparison.is_worse());
        assert_eq!(comparison.to_string(), "1 figures, all as in the baseline");
    }

    #[test]
    fn a_guest_that_pays_more_is_worse() {
        let figures = |instructions| some(&[(System::Lguest, Operation::Hypercall, instructions)]);
        assert!(compare(&figures(1000), &figures(1011)).is_worse());
        assert!(!compare(&figures(1000), &figures(1010)).is_worse());
        assert!(!compare(&figures(1000), &figures(400)).is_worse());
        assert!(compare(&figures(1000), &some(&[])).is_worse());
        assert!(!compare(&some(&[]), &figures(1000)).is_worse());
    }

    #[test]
    fn one_privileged_instruction_more_is_worse() {
        let before = some(&[(System::Lguest, Operation::Hypercall, 1000)]);
        let mut now = before.clone();
        let guests = now.figures.get_mut("lguest").expect("measured");
        let figure = guests.get_mut("hypercall").expect("measured");
        figure.privileged.insert("wrmsr".into(), 1);
        assert!(compare(&before, &now).is_worse());
        assert!(
            compare(&before, &now)
                .to_string()
                .contains("privileged 0 -> 1")
        );
    }

    #[test]
    fn what_others_pay_is_told_and_is_no_fault() {
        let figures =
            |instructions| some(&[(System::KvmShadow, Operation::Hypercall, instructions)]);
        let comparison = compare(&figures(1000), &figures(2000));
        assert!(!comparison.is_worse());
        assert!(comparison.to_string().contains("+100.0 %"), "{comparison}");
    }

    #[test]
    fn a_slight_change_is_only_counted() {
        let figures = |instructions| some(&[(System::Uml, Operation::DemandFault, instructions)]);
        assert_eq!(
            compare(&figures(10_000), &figures(10_049)).to_string(),
            "1 figures: 0 differ from the baseline, 1 more by less than 0.5 %"
        );
        let more = compare(&figures(10_000), &figures(10_050)).to_string();
        assert!(more.contains("demand-fault"), "{more}");
    }

    #[test]
    fn another_kernel_is_told() {
        let before = some(&[(System::Lguest, Operation::Hypercall, 1)]);
        let now = Figures {
            kernel: "8".into(),
            ..before.clone()
        };
        assert!(compare(&before, &now).to_string().contains("Linux 8"));
    }
}
