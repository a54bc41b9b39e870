//! Tangle, edit, stitch, tangle: thousands of edits at random (always the same ones).

mod books;
mod dice;

use std::collections::BTreeMap;
use std::fmt::Write;

use books::sound_book;
use dice::Dice;
use tangle::source::Book;
use tangle::stitch::{Conflict, Edit, stitch};

/// A book whose fragments are each used once, nested at random, some of them in lists and quotations.
fn plain_book(dice: &mut Dice) -> Book {
    let mut text = String::new();
    let fragments = 2 + dice.roll(8);
    // Each fragment is used by an earlier one; number 0 is the file.
    let users: Vec<usize> = (1..fragments).map(|fragment| dice.roll(fragment)).collect();
    for fragment in 0..fragments {
        let mut pieces = vec![vec![]; 1 + dice.roll(2)];
        for piece in &mut pieces {
            for line in 0..dice.roll(5) {
                piece.push(match dice.roll(7) {
                    0 => String::new(),
                    1 => "}".to_owned(),
                    2 => "    deeper();".to_owned(),
                    _ => format!("let v{fragment}_{line} = call(a, {line});"),
                });
            }
        }
        for (user, _) in users.iter().enumerate().filter(|(_, user)| **user == fragment) {
            let piece = dice.roll(pieces.len());
            let at = dice.roll(pieces[piece].len() + 1);
            let indent = ["", "    ", "        ", "\t"][dice.roll(4)];
            pieces[piece].insert(at, format!("{indent}<<fragment {}>>", user + 1));
        }
        for (number, piece) in pieces.iter().enumerate() {
            let name = if fragment == 0 {
                "file=a.rs".to_owned()
            } else {
                format!("#fragment {fragment}")
            };
            let append = if number == 0 { "" } else { " +=" };
            let (first, next) = [("", ""), ("- ", "  "), ("> ", "> "), ("1. > ", "   > "), ("  ", "  ")][dice.roll(5)];
            writeln!(text, "Words.\n\n{first}```rust {name}{append}").unwrap();
            for line in piece {
                writeln!(text, "{}", format!("{next}{line}").trim_end()).unwrap();
            }
            writeln!(text, "{next}```\n").unwrap();
        }
    }
    Book::new([("a.md", text)])
}

/// Changes a few things in a text, as editors and formatters do.
fn edit(dice: &mut Dice, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(lines.len() + 1);
        let end = (at + 1 + dice.roll(4)).min(lines.len());
        let Some(line) = lines.get(at).cloned() else {
            lines.push("at the end".to_owned());
            continue;
        };
        match dice.roll(12) {
            0 => lines.insert(at, "new();".to_owned()),
            1 => lines.insert(at, format!("{}new();", &line[..line.len() - line.trim_start().len()])),
            2 => lines.insert(at, "        let x = y;".to_owned()),
            3 => drop(lines.drain(at..end)),
            4 => lines[at] = line.replace("call", "shout"),
            5 => lines[at..end].iter_mut().for_each(|line| line.insert_str(0, "    ")),
            6 => line.trim_start().clone_into(&mut lines[at]),
            7 => lines.insert(at, String::new()),
            8 => {
                let joined = lines[at..end]
                    .iter()
                    .map(|line| line.trim())
                    .collect::<Vec<_>>()
                    .join(" ");
                lines.splice(at..end, [joined]);
            }
            9 => {
                let halves = line.replacen('(', "(\n", 1);
                lines.splice(at..=at, halves.split('\n').map(str::to_owned));
            }
            10 => lines.insert(at, "```".to_owned()),
            _ => {
                let copy: Vec<_> = lines[at..end].to_vec();
                let to = dice.roll(lines.len() + 1);
                lines.splice(to..to, copy);
            }
        }
    }
    lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// Edits `book`; true if the edit was brought back, false if it was refused.
fn round_trip(dice: &mut Dice, book: &Book) -> Result<(), Vec<Conflict>> {
    let program = tangle::program(book).unwrap_or_else(|mistakes| {
        panic!("{mistakes:?}\n{}", book.sources[0].text());
    });
    let base = program.tangled.files["a.rs"].text.clone();
    let text = edit(dice, &base);
    let edits = BTreeMap::from([(
        "a.rs".to_owned(),
        Edit {
            base,
            text: text.clone(),
        },
    )]);
    let stitched = stitch(book, &program, &edits)?;
    let again = tangle::program(&stitched.book).expect("the new chapters have no mistakes");
    assert_eq!(again.tangled.files["a.rs"].text, text);
    let prose = |book: &Book| -> Vec<String> {
        let lines = book.sources[0].text().lines();
        lines
            .filter(|line| line.starts_with("Words"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(prose(book), prose(&stitched.book));
    Ok(())
}

#[test]
fn every_edit_of_fragments_used_once_comes_back() {
    let mut dice = Dice(3);
    for round in 0..3_000 {
        let book = plain_book(&mut dice);
        if let Err(conflicts) = round_trip(&mut dice, &book) {
            panic!("round {round}: {}\n{}", conflicts[0], book.sources[0].text());
        }
    }
}

#[test]
fn an_edit_of_fragments_used_often_comes_back_or_is_refused() {
    let mut dice = Dice(4);
    let mut refused = 0;
    for _ in 0..2_000 {
        let book = sound_book(&mut dice);
        refused += usize::from(round_trip(&mut dice, &book).is_err());
    }
    assert!((100..1_600).contains(&refused), "{refused} of 2000 were refused");
}
