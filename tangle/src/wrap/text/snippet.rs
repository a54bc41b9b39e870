//! The snippets that rustc draws: an arrow with a place, and below it numbered lines.
//!
//! The numbers become those of the chapters. They stand in a column of their own, at its right or, up to some version of
//! rustc, at its left; when a chapter's number needs more room, the column of the whole message becomes wider.

use std::fmt::Write;

use super::super::locate::{Location, Locator};
use super::Rewriter;
use super::colour::{digits_at, escape_length, visible};
use super::scan::locations;

/// The column of numbers in the message that is being shown.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// How wide the compiler made it.
    old: usize,
    /// How wide it is shown.
    new: usize,
    /// Whether the numbers stand at its right.
    right: bool,
}

/// A file that the lines of a snippet belong to.
#[derive(Debug, Clone)]
struct Current {
    file: String,
    /// What has to be added to the numbers that are shown to get those of the file.
    shift: isize,
}

/// What stands before a line of a snippet instead of the compiler's number.
#[derive(Debug)]
struct Row {
    location: Location,
    /// It continues in another chapter than the row before.
    elsewhere: bool,
}

impl Rewriter<'_> {
    /// Writes one of rustc's snippets, or what follows of it.
    pub(super) fn snippet(&mut self, lines: &[String], out: &mut String) {
        let seen: Vec<String> = lines.iter().map(|line| visible(line)).collect();
        let old = self.numbers.map_or_else(
            || {
                seen.iter()
                    .find(|seen| is_arrow(seen))
                    .map_or(0, |arrow| leading(arrow))
            },
            |numbers| numbers.old,
        );
        // First find the numbers, then the room that they need.
        let rows = rows(self.locator, &seen, old);
        let numbers = self.numbers.unwrap_or_else(|| Numbers {
            old,
            new: rows
                .iter()
                .flatten()
                .map(|row| row.location.line.to_string().len())
                .fold(old, usize::max),
            right: !seen.iter().any(|seen| {
                number(seen, old).is_some_and(|number| number.to_string().len() < old) && leading(seen) == 0
            }),
        });
        self.numbers = Some(numbers);
        for (at, (line, row)) in lines.iter().zip(rows).enumerate() {
            let old_number = number(&seen[at], old);
            match (row, old_number) {
                (Some(row), _) => {
                    if row.elsewhere {
                        let Location { chapter, line, .. } = &row.location;
                        writeln!(out, "{:width$}::: {chapter}:{line}", "", width = numbers.new)
                            .expect("strings take everything");
                    }
                    renumber(line, row.location.line, numbers, out);
                }
                (None, Some(_)) if numbers.new == old => out.push_str(line),
                (None, Some(number)) => renumber(line, number, numbers, out),
                (None, None) => {
                    let line = widen(line, &seen[at], numbers.new - old);
                    match assembly(self.locator, &seen[at..], old) {
                        Some((shown, _, location)) => {
                            let Location {
                                chapter,
                                line: number,
                                column,
                                ..
                            } = location;
                            out.push_str(&line.replace(&shown, &format!("{chapter}:{number}:{column}")));
                        }
                        None => self.inline(&line, out),
                    }
                }
            }
            out.push('\n');
        }
    }
}

/// The places of the lines that have a number and belong to a generated file.
fn rows(locator: &Locator, seen: &[String], width: usize) -> Vec<Option<Row>> {
    let mut primary: Option<(Current, Option<Location>)> = None;
    let mut current: Option<Current> = None;
    let mut last: Option<Location> = None;
    let mut rows = Vec::new();
    for (at, line) in seen.iter().enumerate() {
        if is_arrow(line) {
            (current, last) = match assembly(locator, &seen[at..], width) {
                Some((_, current, location)) => (Some(current), Some(location)),
                None => arrow(locator, line),
            };
            if primary.is_none() {
                primary = current.clone().map(|file| (file, last.clone()));
            }
        } else if line.starts_with(|c: char| c.is_alphabetic()) {
            // `help:` and `note:` speak of the file that the message began with, unless they name another.
            current = primary.as_ref().map(|(file, _)| file.clone());
            last = primary.as_ref().and_then(|(_, location)| location.clone());
        }
        let location = number(line, width).zip(current.as_ref()).map(|(number, current)| {
            let found = number
                .checked_add_signed(current.shift)
                .and_then(|number| locator.locate(&current.file, number, 1));
            found.unwrap_or_else(|| {
                // Behind the end of the file: a suggestion adds lines there.
                let mut next = last.clone().unwrap_or(Location {
                    chapter: String::new(),
                    line: number,
                    column: 1,
                    shift: 0,
                });
                next.line += 1;
                next
            })
        });
        rows.push(location.map(|location| {
            let elsewhere = last.as_ref().is_some_and(|last| last.chapter != location.chapter);
            last = Some(location.clone());
            Row { location, elsewhere }
        }));
    }
    rows
}

/// Where an arrow points to.
fn arrow(locator: &Locator, seen: &str) -> (Option<Current>, Option<Location>) {
    let Some(found) = locations(seen).into_iter().next() else {
        return (None, None);
    };
    let Some(file) = locator.generated(&seen[found.path]).map(str::to_owned) else {
        return (None, None);
    };
    let location = locator.locate(&file, found.line, 1);
    (Some(Current { file, shift: 0 }), location)
}

/// What the compiler calls assembly that it got as a text.
const ASSEMBLY: &str = "<inline asm>:";

/// An arrow into assembly: how it was written, the file that has the line which is shown below it, and where that is.
fn assembly(locator: &Locator, seen: &[String], width: usize) -> Option<(String, Current, Location)> {
    let (arrow, below) = seen.split_first()?;
    let start = arrow.find(ASSEMBLY).filter(|_| is_arrow(arrow))?;
    let place = arrow[start..].trim_end();
    let (line, column) = place[ASSEMBLY.len()..].split_once(':')?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let text = below.iter().find(|seen| number(seen, width) == Some(line))?;
    let (_, text) = text.split_once('|')?;
    let (file, there) = locator.find(text, line)?;
    let location = locator.locate(&file, there, column)?;
    let shift = isize::try_from(there).ok()? - isize::try_from(line).ok()?;
    Some((place.to_owned(), Current { file, shift }, location))
}

/// Puts `number` at the beginning of a line.
fn renumber(line: &str, number: usize, numbers: Numbers, out: &mut String) {
    let (from, to) = digits_at(line, leading(&visible(line)));
    let number = number.to_string();
    let room = " ".repeat(numbers.new.saturating_sub(number.len()));
    // Before the digits there are colours and spaces.
    let before: String = line[..from].chars().filter(|&c| c != ' ').collect();
    if numbers.right {
        out.extend([before.as_str(), &room, &number, &line[to..]]);
        return;
    }
    out.extend([before, number, room]);
    // The old room may have colours before it.
    let mut rest = &line[to..];
    for _ in 0..numbers.old.saturating_sub(to - from) {
        let escape = escape_length(rest);
        out.push_str(&rest[..escape]);
        rest = rest[escape..].strip_prefix(' ').unwrap_or(&rest[escape..]);
    }
    out.push_str(rest);
}

/// Makes the column of numbers wider in a line that has none there.
fn widen(line: &str, seen: &str, more: usize) -> String {
    let more = " ".repeat(more);
    if seen.starts_with(' ') {
        return more + line;
    }
    match line.split_once("...") {
        // Lines are left out here, and the line that holds a span of many lines together goes on.
        Some((before, behind)) if seen.starts_with("... ") => format!("{before}...{more}{behind}"),
        _ => line.to_owned(),
    }
}

/// Whether rustc begins a snippet here.
pub fn is_arrow(seen: &str) -> bool {
    let text = seen.trim_start();
    text.starts_with("--> ") || text.starts_with("::: ")
}

/// The spaces at the beginning.
fn leading(seen: &str) -> usize {
    seen.len() - seen.trim_start_matches(' ').len()
}

/// The number before a line of a snippet whose numbers are `width` wide.
fn number(seen: &str, width: usize) -> Option<usize> {
    let (column, behind) = seen.split_at_checked(width)?;
    let drawn = behind
        .strip_prefix(' ')?
        .starts_with(['|', '+', '-', '~', '\u{2502}', '\u{b1}', '/', '\\']);
    let digits = column.trim_matches(' ');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (drawn && is_number).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_of_no_generated_file_stays_as_it_is() {
        let nowhere = std::path::Path::new("/nowhere");
        let mut locator = Locator::new(nowhere, nowhere);
        let mut objects = crate::wrap::symbols::Objects::new(Vec::new());
        // The numbers stand at both sides of their column.
        let said = "  --> a.rs:1:1\n 2 | let b\n1  | let a\n";
        assert_eq!(Rewriter::new(&mut locator, &mut objects).text(said), said);
    }

    #[test]
    fn numbers_stand_at_either_side() {
        assert_eq!(number("12 |  x", 2), Some(12));
        assert_eq!(number("9  |  x", 2), Some(9));
        assert_eq!(number(" 9 |  x", 2), Some(9));
        assert_eq!(number("9 + x", 1), Some(9));
        assert_eq!(number("9 x", 1), None);
        assert_eq!(number("   |", 2), None);
        assert_eq!(number("é9 | x", 2), None);
    }

    fn renumbered(line: &str, number: usize, old: usize, new: usize, right: bool) -> String {
        let mut out = String::new();
        renumber(line, number, Numbers { old, new, right }, &mut out);
        out
    }

    #[test]
    fn lines_without_a_number_make_room_too() {
        assert_eq!(widen("  | ^", "  | ^", 2), "    | ^");
        assert_eq!(widen("\x1b[1m...\x1b[0m |", "... |", 2), "\x1b[1m...  \x1b[0m |");
        assert_eq!(widen("help: x ...", "help: x ...", 2), "help: x ...");
        assert_eq!(widen("...", "...", 2), "...");
    }

    #[test]
    fn the_column_of_numbers_stays_straight() {
        assert_eq!(renumbered("9  |  x", 1234, 2, 4, false), "1234 |  x");
        assert_eq!(renumbered("9  |  x", 7, 2, 4, false), "7    |  x");
        assert_eq!(renumbered(" 9 |  x", 1234, 2, 4, true), "1234 |  x");
        assert_eq!(renumbered(" 9 |  x", 7, 2, 4, true), "   7 |  x");
        assert_eq!(
            renumbered("\x1b[1m12\x1b[0m |  x", 7, 2, 2, false),
            "\x1b[1m7 \x1b[0m |  x"
        );
        assert_eq!(
            renumbered("\x1b[1m9\x1b[0m  | x", 123, 2, 3, false),
            "\x1b[1m123\x1b[0m | x"
        );
        assert_eq!(
            renumbered("\x1b[1m 9\x1b[0m | x", 123, 2, 3, true),
            "\x1b[1m123\x1b[0m | x"
        );
    }
}
