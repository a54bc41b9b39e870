//! Rewrites what tools print for people.
//!
//! A location is `PATH:LINE`, `PATH:LINE:COLUMN`, or what gdb makes of it. Behind `symbol+offset`, as kernels and
//! objtool print it, the chapter line is added. In the snippets that rustc and gcc draw, the numbers before the lines
//! become those of the chapter. Colours stay where they are.

mod colour;
mod scan;
mod snippet;

use std::fmt::Write;

use colour::{digits_at, visible};
use scan::{Style, locations};
use snippet::{Numbers, is_arrow};

use super::locate::{Location, Locator};
use super::symbols::{self, Objects};

/// Rewrites lines as they come.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path();
/// # let book = tangle::source::Book::new([("src/one.md", "Words.\n\n~~~c file=a.c\nint a;\n~~~\n")]);
/// # let program = tangle::program(&book).unwrap();
/// # let map = program.tangled.line_map(&book, &program.model);
/// # tangle::disk::write(&root.join("generated"), &program.tangled, &map, Default::default())?;
/// use tangle::wrap::{Locator, symbols::Objects, text::Rewriter};
///
/// // The book lies in `root`; line 1 of a.c is line 4 of its chapter.
/// let mut locator = Locator::new(root, &root.join("generated"));
/// let mut objects = Objects::new(Vec::new());
/// let mut rewriter = Rewriter::new(&mut locator, &mut objects);
/// let said = format!("{}/generated/a.c:1:5: warning: unused\n", root.display());
/// let shown = rewriter.text(&said);
/// assert!(shown.ends_with("src/one.md:4:5: warning: unused\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rewriter<'a> {
    locator: &'a mut Locator,
    objects: &'a mut Objects,
    /// Lines of a snippet that is not complete yet: their numbers need to be aligned with each other.
    block: Vec<String>,
    /// The column of numbers of the snippet before that, which went out already.
    numbers: Option<Numbers>,
    /// The generated file of the last location at the beginning of a line, as gcc writes it.
    gcc: Option<String>,
    /// The generated file of the last location anywhere: gdb lists lines of it.
    listed: Option<String>,
}

impl<'a> Rewriter<'a> {
    /// Rewrites with the help of `locator` and `objects`.
    pub fn new(locator: &'a mut Locator, objects: &'a mut Objects) -> Self {
        locator.refresh();
        Self {
            locator,
            objects,
            block: Vec::new(),
            numbers: None,
            gcc: None,
            listed: None,
        }
    }

    /// Takes one line without its end, and adds to `out` what can be shown by now.
    pub fn line(&mut self, line: &str, out: &mut String) {
        let seen = visible(line);
        if seen.trim().is_empty() {
            self.flush(out);
            self.numbers = None;
            self.gcc = None;
        } else if !self.block.is_empty() || self.numbers.is_some() || is_arrow(&seen) {
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
        self.numbers = None;
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
        if self.listing(line, seen, out).is_some() {
            return;
        }
        let first = first_location(seen).and_then(|path| self.locator.generated(path));
        if let Some(file) = first {
            self.gcc = Some(file.to_owned());
        }
        self.inline(line, out);
    }

    /// Rewrites a line that gdb lists: its number, a tab, its text.
    fn listing(&mut self, line: &str, seen: &str, out: &mut String) -> Option<()> {
        let (number, text) = seen.split_once('\t')?;
        let number: usize = number.parse().ok()?;
        let is_it = |file: &String| self.locator.has(file, number, text);
        let known = self.listed.take_if(|file| is_it(file));
        let file = known.or_else(|| self.locator.find(text, number).map(|(file, _)| file).filter(is_it))?;
        let location = self.locator.locate(&file, number, 1);
        self.listed = Some(file);
        let (from, to) = digits_at(line, 0);
        write!(out, "{}{}{}", &line[..from], location?.line, &line[to..]).expect("strings take everything");
        Some(())
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
            self.listed = Some(file.to_owned());
            self.symbols(line, done, found.range.start, out);
            let Location {
                chapter, line, column, ..
            } = location;
            match (found.style, found.column) {
                (Style::Comma, _) => write!(out, "{chapter}, line {line}"),
                (Style::Sentence, _) => write!(out, "Line {line} of \"{chapter}\""),
                (Style::Colons, Some(_)) => write!(out, "{chapter}:{line}:{column}"),
                (Style::Colons, None) => write!(out, "{chapter}:{line}"),
            }
            .expect("strings take everything");
            done = found.range.end;
        }
        self.symbols(line, done, line.len(), out);
        if let Some(missing) = symbols::missing(line)
            && let Some(uses) = self.objects.uses(&missing, self.locator)
        {
            out.push_str(&uses);
        }
    }

    /// Copies `line[from..to]`, with the chapter line behind every `symbol+offset`.
    fn symbols(&mut self, line: &str, from: usize, to: usize, out: &mut String) {
        let mut done = from;
        for found in symbols::find(line) {
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
}

/// The number before a line that gcc shows.
fn gcc_number(seen: &str) -> Option<usize> {
    let (number, _) = seen.strip_prefix(' ')?.split_once(" |")?;
    number.trim_start().parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_gcc() {
        assert_eq!(gcc_number("    3 |   int"), Some(3));
        assert_eq!(gcc_number("3 |   int"), None);
    }
}
