//! Random edits of the files of a real book: the one around this crate, or the one in `TANGLE_BOOK`.
//!
//! `EDITS=2000 SEED=5 cargo test --release --test edits -- --nocapture` tries that many and counts what was refused.

mod dice;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dice::Dice;
use tangle::Program;
use tangle::disk::Project;
use tangle::stitch::{Conflict, Edit, stitch};

/// How a file is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Insert,
    Change,
    Delete,
    Blank,
    Duplicate,
    Move,
    Swap,
    Join,
    Split,
    Indent,
    Dedent,
    DeleteItem,
    AtBorder,
    Odd,
    Fence,
    Return,
    Returns,
    Tabs,
    Empty,
    NoEnd,
    Zero,
    Reference,
}

const KINDS: [Kind; 22] = [
    Kind::Insert,
    Kind::Change,
    Kind::Delete,
    Kind::Blank,
    Kind::Duplicate,
    Kind::Move,
    Kind::Swap,
    Kind::Join,
    Kind::Split,
    Kind::Indent,
    Kind::Dedent,
    Kind::DeleteItem,
    Kind::AtBorder,
    Kind::Odd,
    Kind::Fence,
    Kind::Return,
    Kind::Returns,
    Kind::Tabs,
    Kind::Empty,
    Kind::NoEnd,
    Kind::Zero,
    Kind::Reference,
];

impl Kind {
    /// No chapter can hold what this leaves behind.
    fn is_hopeless(self) -> bool {
        matches!(self, Self::NoEnd | Self::Zero | Self::Reference)
    }

    fn apply(self, dice: &mut Dice, lines: &mut Vec<String>, borders: &[usize]) {
        if lines.is_empty() {
            lines.push("new".to_owned());
        }
        let at = dice.roll(lines.len());
        let end = (at + 1 + dice.roll(6)).min(lines.len());
        let indent = lines[at][..lines[at].len() - lines[at].trim_start().len()].to_owned();
        match self {
            Self::Insert => lines.insert(at, format!("{indent}{}", ["new();", "// a note", "}"][dice.roll(3)])),
            Self::Change => lines[at].push_str(" // changed"),
            Self::Delete => drop(lines.drain(at..end)),
            Self::Blank => lines.insert(at, ["", "    ", "\t"][dice.roll(3)].to_owned()),
            Self::Duplicate => {
                let copy = lines[at..end].to_vec();
                lines.splice(at..at, copy);
            }
            Self::Move => {
                let block: Vec<_> = lines.drain(at..end).collect();
                let to = dice.roll(lines.len() + 1);
                lines.splice(to..to, block);
            }
            Self::Swap => {
                let other = dice.roll(lines.len());
                lines.swap(at, other);
            }
            Self::Join => {
                let joined: Vec<_> = lines[at..end].iter().map(|line| line.trim()).collect();
                let joined = joined.join(" ");
                lines.splice(at..end, [joined]);
            }
            Self::Split => {
                let middle = lines[at]
                    .char_indices()
                    .nth(dice.roll(20))
                    .map_or(0, |(middle, _)| middle);
                let rest = lines[at].split_off(middle);
                lines.insert(at + 1, rest);
            }
            Self::Indent => lines[at..end].iter_mut().for_each(|line| line.insert_str(0, "    ")),
            Self::Dedent => lines[at..end].iter_mut().for_each(|line| {
                let less = line.len() - line.trim_start().len();
                line.drain(..less.min(4));
            }),
            Self::DeleteItem => {
                let end = (at..lines.len()).find(|&end| lines[end].trim_end() == format!("{indent}}}"));
                drop(lines.drain(at..=end.unwrap_or(at)));
            }
            Self::AtBorder => {
                let border = borders[dice.roll(borders.len())].min(lines.len());
                lines.insert(border, format!("{indent}border();"));
            }
            Self::Odd => lines.insert(
                at,
                ["   odd \u{e9}\u{2028}", "\t \tx", "#", "- x", "\\"][dice.roll(5)].to_owned(),
            ),
            Self::Fence => lines.insert(at, ["```", "`````", "~~~", "```rust #x"][dice.roll(4)].to_owned()),
            Self::Return => lines[at].push('\r'),
            Self::Returns => lines.iter_mut().for_each(|line| line.push('\r')),
            Self::Tabs => lines.iter_mut().for_each(|line| *line = line.replace("    ", "\t")),
            Self::Empty => lines.clear(),
            Self::Zero => lines[at].push('\0'),
            Self::Reference => lines.insert(at, "<<no such name>>".to_owned()),
            Self::NoEnd => {}
        }
    }
}

/// Some files of the book, each changed in one to three ways.
fn edits(dice: &mut Dice, program: &Program) -> (BTreeMap<String, Edit>, Vec<Kind>) {
    let paths: Vec<_> = program.tangled.files.keys().collect();
    let mut edits = BTreeMap::new();
    let mut kinds = Vec::new();
    for _ in 0..[1, 1, 1, 1, 3][dice.roll(5)] {
        let path = paths[dice.roll(paths.len())];
        let file = &program.tangled.files[path];
        let borders: Vec<_> = file
            .spans
            .iter()
            .map(|span| span.line - 1)
            .chain([file.lines])
            .collect();
        let mut lines: Vec<_> = file.text.split_terminator('\n').map(str::to_owned).collect();
        let first = kinds.len();
        for _ in 0..[1, 1, 1, 2, 3][dice.roll(5)] {
            let kind = KINDS[dice.roll(KINDS.len())];
            kind.apply(dice, &mut lines, &borders);
            kinds.push(kind);
        }
        let mut text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        if kinds[first..].contains(&Kind::NoEnd) {
            text.pop();
        }
        let base = file.text.clone();
        edits.insert(path.clone(), Edit { base, text });
    }
    (edits, kinds)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn edits_of_a_real_book_come_back_or_are_refused() {
    let around = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let root = std::env::var_os("TANGLE_BOOK").map_or(around, PathBuf::from);
    if !root.join("book.toml").is_file() {
        eprintln!("skipped: there is no book around this crate, and none in TANGLE_BOOK");
        return;
    }
    let project = Project::open(&root).unwrap();
    let program = tangle::program(&project.book).expect("the book has no mistakes");
    let mut dice = Dice(number("SEED", 1));
    let (mut stitched, mut hopeless, mut shared) = (0, 0, 0);
    for round in 0..number("EDITS", 25) {
        let (edits, kinds) = edits(&mut dice, &program);
        match stitch(&project.book, &program, &edits) {
            Ok(new) => {
                let again = tangle::program(&new.book).expect("the new chapters have no mistakes");
                for (path, file) in &program.tangled.files {
                    let wanted = edits.get(path).map_or(&file.text, |edit| &edit.text);
                    assert_eq!(
                        &again.tangled.files[path].text, wanted,
                        "round {round}: {path}, {kinds:?}"
                    );
                }
                stitched += 1;
            }
            Err(_) if kinds.iter().any(|kind| kind.is_hopeless()) => hopeless += 1,
            // One use of a fragment was changed, and the others were not.
            Err(conflicts)
                if conflicts
                    .iter()
                    .all(|conflict| matches!(conflict, Conflict::Disagree { .. })) =>
            {
                shared += 1;
            }
            Err(conflicts) => panic!("round {round}: {kinds:?} was refused: {}", conflicts[0]),
        }
    }
    println!(
        "{stitched} stitched, {hopeless} that no chapter can hold, {shared} of fragments that are used elsewhere, too"
    );
    assert!(stitched > hopeless + shared);
}
