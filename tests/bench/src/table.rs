//! The book's tables.

use crate::figures::{Figure, Figures};
use crate::operations::{Operation, System};
use crate::privileged::Class;
use std::fmt::Write;

/// Columns, with their headings.
const SYSTEMS: [(System, &str); 6] = [
    (System::Native, "Host"),
    (System::KvmNested, "KVM, nested"),
    (System::KvmShadow, "KVM, shadow"),
    (System::Uml, "UML"),
    (System::Lguest, "lguest"),
    (System::Undefended, "lguest, `mitigations=0`"),
];

/// Fewer rounds of string instructions are not worth a word.
const MANY_ROUNDS: u64 = 100;

/// Where the tables stand in a chapter.
const BEGIN: &str = "<!-- make bench: begin -->\n";
const END: &str = "<!-- make bench: end -->\n";

/// 1234567 as people write it.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cell(figure: Option<&Figure>) -> String {
    let Some(figure) = figure else {
        return "-".to_owned();
    };
    let mut text = grouped(figure.instructions);
    if figure.emulation > 0 {
        let _ = write!(
            text,
            " ({})",
            grouped(figure.instructions - figure.emulation)
        );
    }
    if figure.rounds >= MANY_ROUNDS {
        let _ = write!(text, " [{}]", grouped(figure.rounds));
    }
    text
}

/// The operations that a reader wants to see: not those that only show that the ruler is straight.
pub fn shown() -> impl Iterator<Item = Operation> {
    Operation::ALL
        .into_iter()
        .filter(|operation| !matches!(operation, Operation::Loop | Operation::Copy))
}

/// Instructions: a row for each operation, a column for each system that was measured.
fn instructions(figures: &Figures) -> String {
    let measured = |system: System| figures.figures.contains_key(system.key());
    let systems: Vec<_> = SYSTEMS
        .into_iter()
        .filter(|(system, _)| measured(*system))
        .collect();
    let mut text = String::from("| instructions |");
    for (_, heading) in &systems {
        let _ = write!(text, " {heading} |");
    }
    let _ = write!(text, "\n|---|{}", "--:|".repeat(systems.len()));
    for operation in shown() {
        let _ = write!(text, "\n| {} |", operation.title());
        for (system, _) in &systems {
            let _ = write!(text, " {} |", cell(figures.get(*system, operation)));
        }
    }
    text.push('\n');
    text
}

/// Privileged and serialising instructions: those of KVM and ours, and ours by kind.
fn privileged(figures: &Figures) -> String {
    use Class::{AccessFlag, LoadTable, ReadMsr, WriteCr3, WriteCr4, WriteMsr};
    let kinds: [(&str, &[Class]); 6] = [
        ("CR3", &[WriteCr3]),
        ("CR4", &[WriteCr4]),
        ("`wrmsr`", &[WriteMsr]),
        ("`rdmsr`", &[ReadMsr]),
        ("tables", &[LoadTable]),
        ("`stac`, `clac`", &[AccessFlag]),
    ];
    let mut text = String::from("| privileged or serialising | KVM, shadow | lguest |");
    for (heading, _) in kinds {
        let _ = write!(text, " {heading} |");
    }
    let _ = write!(
        text,
        " others |\n|---|--:|--:|{}--:|",
        "--:|".repeat(kinds.len())
    );
    for operation in shown() {
        let Some(ours) = figures.get(System::Lguest, operation) else {
            continue;
        };
        let total = ours.privileged_total();
        let kvm = match figures.get(System::KvmShadow, operation) {
            Some(figure) => grouped(figure.privileged_total()),
            None => "-".to_owned(),
        };
        let _ = write!(
            text,
            "\n| {} | {kvm} | {} |",
            operation.title(),
            grouped(total)
        );
        let mut named = 0;
        for (_, classes) in kinds {
            let count = ours.of(classes);
            named += count;
            let _ = write!(text, " {} |", grouped(count));
        }
        let _ = write!(text, " {} |", grouped(total - named));
    }
    text.push('\n');
    text
}

/// The chapter with its tables made anew.
pub fn into_chapter(chapter: &str, figures: &Figures) -> Result<String, String> {
    let missing = || {
        format!(
            "the chapter has no {} ... {}",
            BEGIN.trim_end(),
            END.trim_end()
        )
    };
    let (before, rest) = chapter.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n{}\nLinux {} under QEMU {}.\n\n{END}{after}",
        instructions(figures),
        privileged(figures),
        figures.kernel,
        figures.qemu
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::some;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1000, 123_456, 1_234_567].map(grouped),
            ["0", "999", "1,000", "123,456", "1,234,567"]
        );
    }

    #[test]
    fn a_cell_tells_emulation_and_rounds() {
        let figure = Figure {
            instructions: 3529,
            emulation: 2138,
            rounds: 0,
            ..Figure::default()
        };
        assert_eq!(cell(Some(&figure)), "3,529 (1,391)");
        let figure = Figure {
            instructions: 5658,
            rounds: 4097,
            ..Figure::default()
        };
        assert_eq!(cell(Some(&figure)), "5,658 [4,097]");
        assert_eq!(cell(None), "-");
    }

    #[test]
    fn a_table_has_the_columns_that_were_measured() {
        let table = instructions(&some(&[(System::Lguest, Operation::Hypercall, 1315)]));
        assert!(
            table.starts_with("| instructions | lguest |\n|---|--:|\n"),
            "{table}"
        );
        assert!(
            table.contains("\n| hypercall and back | 1,315 |\n"),
            "{table}"
        );
    }

    #[test]
    fn the_chapter_keeps_everything_else() {
        let figures = some(&[(System::Lguest, Operation::Hypercall, 1315)]);
        let once =
            into_chapter(&format!("before\n{BEGIN}old\n{END}after\n"), &figures).expect("markers");
        assert!(
            once.starts_with("before\n<!--")
                && once.ends_with("-->\nafter\n")
                && !once.contains("old")
        );
        assert_eq!(into_chapter(&once, &figures).as_deref(), Ok(once.as_str()));
        assert!(into_chapter("no markers", &figures).is_err());
    }

    #[test]
    fn the_book_shows_the_baseline() {
        let top = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let read = |path: &str| std::fs::read_to_string(format!("{top}/{path}")).expect(path);
        let baseline = serde_json::from_str(&read("tests/bench/baseline.json")).expect("figures");
        let chapter = read("chapters/M100-ruler.md");
        assert_eq!(
            into_chapter(&chapter, &baseline).as_deref(),
            Ok(chapter.as_str())
        );
        assert_eq!(
            crate::plot::plot(&baseline),
            read("chapters/figures/ruler.svg")
        );
    }
}
