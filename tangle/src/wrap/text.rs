//! Rewrites what tools print for people.
//!
//! A location is `PATH:LINE`, `PATH:LINE:COLUMN`, or `PATH, line LINE` as gdb writes it. Behind `symbol+offset`, as kernels and
//! objtool print it, the chapter line is added. In the snippets that rustc and gcc draw, the numbers before the lines
//! become those of the chapter. Colours stay where they are.

use std::fmt::Write;

use super::locate::{Location, Locator};
use super::symbols::Objects;

/// Rewrites lines as they come.
#[derive(Debug)]
pub struct Rewriter<'a> {
    locator: &'a mut Locator,
    objects: &'a mut Objects,
    /// Lines of a snippet that is not complete yet: their numbers need to be aligned with each other.
    block: Vec<String>,
    /// The width of the numbers of the snippet before that, which went out already.
    width: Option<(usize, usize)>,
    /// The generated file of the last location at the beginning of a line, as gcc writes it.
    gcc: Option<String>,
}

impl<'a> Rewriter<'a> {
    /// Rewrites with the help of `locator` and `objects`.
    pub fn new(locator: &'a mut Locator, objects: &'a mut Objects) -> Self {
        locator.refresh();
        Self {
            locator,
            objects,
            block: Vec::new(),
            width: None,
            gcc: None,
        }
    }

    /// Takes one line without its end, and adds to `out` what can be shown by now.
    pub fn line(&mut self, line: &str, out: &mut String) {
        let seen = visible(line);
        if seen.trim().is_empty() {
            self.flush(out);
            self.width = None;
            self.gcc = None;
        } else if !self.block.is_empty() || self.width.is_some() || is_arrow(&seen) {
            self.block.push(line.to_owned());
            return;
        }
        self.plain(line, &seen, out);
        out.push('\n');
    }

    /// Shows what was held back so far.
    pub fn flush(&mut self, out: &mut String) {
        if self.block.is_empty() {
            return;
        }
        self.locator.refresh();
        let block = std::mem::take(&mut self.block);
        self.snippet(&block, out);
    }

    /// Takes a line that may be JSON, with its end.
    pub fn json(&mut self, line: &str, out: &mut String) {
        self.flush(out);
        match super::json::rewrite(line, self.locator, self.objects) {
            Some(new) => {
                out.push_str(&new);
                out.push('\n');
            }
            None => out.push_str(line),
        }
    }

    /// Takes the part of a line that is there by now; nothing of it is held back.
    pub fn part(&mut self, text: &str, out: &mut String) {
        self.flush(out);
        self.inline(text, out);
    }

    /// Whether lines are held back.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.block.is_empty()
    }

    /// Rewrites a whole text.
    pub fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            self.line(line.trim_end_matches('\n'), &mut out);
        }
        self.flush(&mut out);
        self.width = None;
        if !text.ends_with('\n') {
            out.pop();
        }
        out
    }

    /// A line outside of rustc's snippets.
    fn plain(&mut self, line: &str, seen: &str, out: &mut String) {
        if let Some(directory) = quoted_behind(seen, ": Entering directory ") {
            self.locator.enter(directory);
        } else if seen.contains(": Leaving directory ") {
            self.locator.leave();
        }
        if let Some(file) = self.gcc.clone()
            && let Some(number) = gcc_number(seen)
            && let Some(location) = self.locator.locate(&file, number, 1)
        {
            let (from, to) = digits_at(line, seen.find(|c: char| c.is_ascii_digit()).unwrap_or(0));
            let new = location.line.to_string();
            // The numbers stand at the right of their column.
            let spare = (to - from).abs_diff(new.len());
            if new.len() >= to - from {
                let cut = line[..from].len() - line[..from].trim_end_matches(' ').len();
                out.push_str(&line[..from - spare.min(cut)]);
            } else {
                out.push_str(&line[..from]);
                out.push_str(&" ".repeat(spare));
            }
            out.push_str(&new);
            out.push_str(&line[to..]);
            return;
        }
        let first = first_location(seen).and_then(|path| self.locator.generated(path));
        if let Some(file) = first {
            self.gcc = Some(file.to_owned());
        }
        self.inline(line, out);
    }

    /// Rewrites the locations inside a line.
    fn inline(&mut self, line: &str, out: &mut String) {
        let mut done = 0;
        for found in locations(line) {
            let Some(file) = self.locator.generated(&line[found.path.clone()]) else {
                continue;
            };
            let Some(location) = self.locator.locate(file, found.line, found.column.unwrap_or(1)) else {
                continue;
            };
            self.symbols(line, done, found.path.start, out);
            let Location {
                chapter, line, column, ..
            } = location;
            match (found.gdb, found.column) {
                (true, _) => write!(out, "{chapter}, line {line}"),
                (_, Some(_)) => write!(out, "{chapter}:{line}:{column}"),
                (_, None) => write!(out, "{chapter}:{line}"),
            }
            .expect("strings take everything");
            done = found.end;
        }
        self.symbols(line, done, line.len(), out);
    }

    /// Copies `line[from..to]`, with the chapter line behind every `symbol+offset`.
    fn symbols(&mut self, line: &str, from: usize, to: usize, out: &mut String) {
        let mut done = from;
        for found in super::symbols::find(line) {
            if found.range.start < from || found.range.end > to {
                continue;
            }
            let Some(frames) = self.objects.frames(&found, self.locator) else {
                continue;
            };
            out.push_str(&line[done..found.range.end]);
            out.push_str(&frames);
            done = found.range.end;
        }
        out.push_str(&line[done..to]);
    }

    /// Writes one of rustc's snippets, or what follows of it.
    fn snippet(&mut self, lines: &[String], out: &mut String) {
        let seen: Vec<String> = lines.iter().map(|line| visible(line)).collect();
        let start = seen.iter().find(|seen| is_arrow(seen));
        let old = match (self.width, start) {
            (Some((old, _)), _) => old,
            (None, Some(arrow)) => arrow.len() - arrow.trim_start().len(),
            (None, None) => 0,
        };
        // First find the numbers, then the room that they need.
        let mut primary: Option<(String, Option<Location>)> = None;
        let mut current: Option<String> = None;
        let mut last: Option<Location> = None;
        let mut shown = Vec::new();
        for seen in &seen {
            if is_arrow(seen) {
                let found = locations(seen).into_iter().next();
                let file = found
                    .as_ref()
                    .and_then(|found| self.locator.generated(&seen[found.path.clone()]));
                last = found
                    .as_ref()
                    .zip(file)
                    .and_then(|(found, file)| self.locator.locate(file, found.line, 1));
                current = file.map(str::to_owned);
                if primary.is_none() {
                    primary = current.clone().map(|file| (file, last.clone()));
                }
            } else if seen.starts_with(|c: char| c.is_alphabetic()) {
                // `help:` and `note:` speak of the file that the message began with, unless they name another.
                current = primary.as_ref().map(|(file, _)| file.clone());
                last = primary.as_ref().and_then(|(_, location)| location.clone());
            }
            let number = rustc_number(seen, old);
            let here = number.zip(current.as_ref()).map(|(number, file)| {
                self.locator.locate(file, number, 1).unwrap_or_else(|| {
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
            let elsewhere = here
                .as_ref()
                .zip(last.as_ref())
                .is_some_and(|(here, last)| here.chapter != last.chapter);
            if here.is_some() {
                last.clone_from(&here);
            }
            shown.push((here, elsewhere));
        }
        let new = match self.width {
            Some((_, new)) => new,
            None => shown
                .iter()
                .filter_map(|(here, _)| Some(here.as_ref()?.line.to_string().len()))
                .fold(old, usize::max),
        };
        self.width = Some((old, new));
        for ((line, seen), (here, elsewhere)) in lines.iter().zip(&seen).zip(shown) {
            if let Some(here) = here {
                if elsewhere {
                    writeln!(out, "{:new$}::: {}:{}", "", here.chapter, here.line).expect("strings take everything");
                }
                renumber(line, here.line, old, new, out);
            } else {
                if seen.starts_with(' ') {
                    out.push_str(&" ".repeat(new - old));
                } else if rustc_number(seen, old).is_some() {
                    let (_, to) = digits_at(line, 0);
                    out.push_str(&line[..to]);
                    out.push_str(&" ".repeat(new - old));
                    out.push_str(&line[to..]);
                    out.push('\n');
                    continue;
                }
                self.inline(line, out);
            }
            out.push('\n');
        }
    }
}

/// Puts another number at the beginning of a line, and makes its column `new` wide instead of `old`.
fn renumber(line: &str, number: usize, old: usize, new: usize, out: &mut String) {
    let (from, to) = digits_at(line, 0);
    let number = number.to_string();
    out.push_str(&line[..from]);
    out.push_str(&number);
    let (had, wanted) = (old.saturating_sub(to - from), new.saturating_sub(number.len()));
    out.push_str(&" ".repeat(wanted.saturating_sub(had)));
    let mut surplus = had.saturating_sub(wanted);
    let mut rest = &line[to..];
    while surplus > 0 {
        // Colours may stand before the spaces.
        let escape = escape_length(rest);
        out.push_str(&rest[..escape]);
        rest = &rest[escape..];
        match rest.strip_prefix(' ') {
            Some(behind) => rest = behind,
            None => break,
        }
        surplus -= 1;
    }
    out.push_str(rest);
}

/// Whether rustc begins a snippet here.
fn is_arrow(seen: &str) -> bool {
    let text = seen.trim_start();
    text.starts_with("--> ") || text.starts_with("::: ")
}

/// The number before a line of a snippet whose numbers are `width` wide.
fn rustc_number(seen: &str, width: usize) -> Option<usize> {
    let digits = seen.len() - seen.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let padding = seen.get(digits..)?;
    let behind = padding.trim_start_matches(' ');
    let gap = padding.len() - behind.len();
    let drawn = behind.starts_with(['|', '+', '-', '~', '\u{2502}', '\u{b1}', '/', '\\']);
    (digits > 0 && digits + gap == width + 1 && drawn).then(|| seen[..digits].parse().ok())?
}

/// The number before a line that gcc shows.
fn gcc_number(seen: &str) -> Option<usize> {
    let (number, _) = seen.strip_prefix(' ')?.split_once(" |")?;
    number.trim_start().parse().ok()
}

/// Where the digits at or behind the visible position 0 of `line` lie, colours skipped.
fn digits_at(line: &str, skip: usize) -> (usize, usize) {
    let mut at = 0;
    let mut skipped = 0;
    loop {
        at += escape_length(&line[at..]);
        if skipped == skip {
            break;
        }
        at += line[at..].chars().next().map_or(0, char::len_utf8);
        skipped += 1;
    }
    let digits = line[at..].len() - line[at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
    (at, at + digits)
}

/// The length of the escape sequences at the beginning of `text`.
fn escape_length(text: &str) -> usize {
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix("\x1b[") {
        let parameters = rest.len() - rest.trim_start_matches(|c: char| ('\x20'..='\x3f').contains(&c)).len();
        length += 2 + parameters + usize::from(parameters < rest.len());
        if !text.is_char_boundary(length) {
            return 0;
        }
    }
    length
}

/// A line without escape sequences.
fn visible(line: &str) -> String {
    let mut seen = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        rest = &rest[escape_length(rest)..];
        let Some(first) = rest.chars().next() else { break };
        seen.push(first);
        rest = &rest[first.len_utf8()..];
    }
    seen
}

fn quoted_behind<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let (_, behind) = text.split_once(key)?;
    behind.trim().strip_prefix(['\'', '`'])?.strip_suffix('\'')
}

/// The path of a location that begins a line.
fn first_location(seen: &str) -> Option<&str> {
    let found = locations(seen).into_iter().next()?;
    (found.path.start == 0).then(|| &seen[found.path])
}

/// A location inside a line.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: std::ops::Range<usize>,
    line: usize,
    column: Option<usize>,
    end: usize,
    /// Written as `PATH, line LINE`.
    gdb: bool,
}

/// All that looks like a location in `line`.
fn locations(line: &str) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while let Some(next) = line[at..].find([':', ',']).map(|next| at + next) {
        at = next + 1;
        let gdb = line[next..].starts_with(", line ");
        if !gdb && line[next..].starts_with(',') {
            continue;
        }
        let digits = if gdb { next + ", line ".len() } else { next + 1 };
        let Some((number, mut end)) = number(line, digits) else {
            continue;
        };
        let path = path_before(line, next);
        if path.is_empty() || found.last().is_some_and(|last| path.start < last.end) {
            continue;
        }
        let mut column = None;
        if !gdb
            && line[end..].starts_with(':')
            && let Some((value, behind)) = self::number(line, end + 1)
        {
            column = Some(value);
            end = behind;
        }
        found.push(Found {
            path,
            line: number,
            column,
            end,
            gdb,
        });
        at = end;
    }
    found
}

fn number(line: &str, at: usize) -> Option<(usize, usize)> {
    let digits = line[at..].len() - line[at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
    Some((line[at..at + digits].parse().ok()?, at + digits))
}

/// The path that ends at `end`.
fn path_before(line: &str, end: usize) -> std::ops::Range<usize> {
    let no_path = |c: char| c.is_whitespace() || "\"'`()<>[]{}:,;=|\x1b".contains(c);
    let start = line[..end]
        .rfind(no_path)
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    // `[` may be the second character of an escape sequence, which ends with a letter.
    let mut start = start;
    if line[..start].ends_with("\x1b[") {
        let rest = &line[start..end];
        let parameters = rest.len() - rest.trim_start_matches(|c: char| ('\x20'..='\x3f').contains(&c)).len();
        start = (start + parameters + 1).min(end);
    } else if line[..start].ends_with(';') {
        // `;` stands inside of one.
        if let Some(escape) = line[..start].rfind("\x1b[") {
            start = (escape + escape_length(&line[escape..])).min(end);
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<(&str, usize, Option<usize>)> {
        locations(line)
            .into_iter()
            .map(|found| (&line[found.path], found.line, found.column))
            .collect()
    }

    #[test]
    fn locations_in_all_their_forms() {
        assert_eq!(found("  --> a/b.rs:12:5"), [("a/b.rs", 12, Some(5))]);
        assert_eq!(
            found("\x1b[01m\x1b[Ka.c:3:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror"),
            [("a.c", 3, Some(5))]
        );
        assert_eq!(found("\x1b[1;31ma.c:3: x"), [("a.c", 3, None)]);
        assert_eq!(found("file a.rs, line 12."), [("a.rs", 12, None)]);
        assert_eq!(
            found("panicked at a.rs:1:2, b.rs:3"),
            [("a.rs", 1, Some(2)), ("b.rs", 3, None)]
        );
        assert_eq!(
            found(">>> referenced by m.rs:7 (x/m.rs:7)"),
            [("m.rs", 7, None), ("x/m.rs", 7, None)]
        );
        assert_eq!(found("12:30, a: b"), [("12", 30, None)]);
        assert_eq!(found("é:1"), [("é", 1, None)]);
    }

    #[test]
    fn colours_are_not_seen() {
        assert_eq!(visible("\x1b[1m\x1b[94m12\x1b[0m \x1b[1m|\x1b[0m x"), "12 | x");
        assert_eq!(digits_at("\x1b[1m\x1b[94m12\x1b[0m |", 0), (9, 11));
        assert_eq!(visible("\x1b["), "");
    }

    #[test]
    fn numbers_of_snippets() {
        assert_eq!(rustc_number("12 |  x", 2), Some(12));
        assert_eq!(rustc_number("9  |  x", 2), Some(9));
        assert_eq!(rustc_number("9 + x", 1), Some(9));
        assert_eq!(rustc_number("9 x", 1), None);
        assert_eq!(gcc_number("    3 |   int"), Some(3));
        let mut out = String::new();
        renumber("9  |  x", 1234, 2, 4, &mut out);
        assert_eq!(out, "1234 |  x");
        out.clear();
        renumber("\x1b[1m12\x1b[0m |  x", 7, 2, 2, &mut out);
        assert_eq!(out, "\x1b[1m7 \x1b[0m |  x");
    }
}
