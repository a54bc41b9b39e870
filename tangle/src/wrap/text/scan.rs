//! Finds the locations in a line.

use std::ops::Range;

use super::colour::escape_length;

/// A location inside a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the whole location lies in the line.
    pub range: Range<usize>,
    /// Where the path lies in the line.
    pub path: Range<usize>,
    pub line: usize,
    pub column: Option<usize>,
    pub style: Style,
}

/// How a location is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `PATH:LINE:COLUMN`, with a column or without.
    Colons,
    /// `PATH, line LINE`, as gdb writes it.
    Comma,
    /// `Line LINE of "PATH"`, which is gdb's, too.
    Sentence,
}

/// All that looks like a location in `line`.
pub fn locations(line: &str) -> Vec<Found> {
    if let Some(found) = sentence(line) {
        return vec![found];
    }
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
        if path.is_empty() || found.last().is_some_and(|last| path.start < last.range.end) {
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
            range: path.start..end,
            path,
            line: number,
            column,
            style: if gdb { Style::Comma } else { Style::Colons },
        });
        at = end;
    }
    found
}

/// A line that begins with `Line 12 of "a.rs"`.
fn sentence(line: &str) -> Option<Found> {
    const BEGIN: &str = "Line ";
    const OF: &str = " of \"";
    let (number, end) = number(line.strip_prefix(BEGIN).and(Some(line))?, BEGIN.len())?;
    let path = line[end..].strip_prefix(OF)?.find('"')?;
    let path = end + OF.len()..end + OF.len() + path;
    Some(Found {
        range: 0..path.end + 1,
        path,
        line: number,
        column: None,
        style: Style::Sentence,
    })
}

fn number(line: &str, at: usize) -> Option<(usize, usize)> {
    let digits = line[at..].len() - line[at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
    Some((line[at..at + digits].parse().ok()?, at + digits))
}

/// The path that ends at `end`.
fn path_before(line: &str, end: usize) -> Range<usize> {
    let no_path = |c: char| c.is_whitespace() || "\"'`()<>[]{}:,;=|\x1b".contains(c);
    let start = line[..end]
        .rfind(no_path)
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    // `[` may be the second character of an escape sequence, which ends with a letter.
    let mut start = start;
    if line[..start].ends_with("\x1b[") {
        let rest = &line[start..end];
        let parameters = rest.len() - rest.trim_start_matches(|c: char| ('\x20'..='\x3f').contains(&c)).len();
        let last = rest[parameters..].chars().next().map_or(0, char::len_utf8);
        start += parameters + last;
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
        assert_eq!(found("Line 7 of \"a b.rs\" starts at 1:2"), [("a b.rs", 7, None)]);
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
        assert_eq!(found("\x1b[0éa.rs:1"), [("a.rs", 1, None)]);
    }
}
