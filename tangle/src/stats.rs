//! How long the prose is, how long the fragments are, how much of the code the prose speaks of, and how long it takes to read.

use std::collections::HashSet;
use std::fmt;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use serde::Serialize;

use crate::advice;
use crate::identifiers;
use crate::model::Model;
use crate::source::Book;

/// How fast prose is read that one wants to understand.
pub const WORDS_A_MINUTE: usize = 220;

/// And code that was explained before.
pub const LINES_A_MINUTE: usize = 25;

/// What is counted, for a chapter or the whole book.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Counts {
    /// Words outside of code.
    pub words: usize,
    /// Lines of code that take part in the program, blank ones and references included.
    pub code_lines: usize,
    /// Those of them that the page shows at once and that are not blank: all that is not folded.
    pub shown_lines: usize,
    /// Minutes that it takes to read: [`WORDS_A_MINUTE`] of prose, and [`LINES_A_MINUTE`] of the code that is shown.
    pub minutes: f64,
    /// Fences that take part.
    pub fences: usize,
    /// What [`crate::advice`] says of them.
    pub warnings: usize,
    /// The longest of them, in lines.
    pub longest: usize,
    /// The names that the code defines.
    pub names: usize,
    /// Those of them that the prose of the book mentions.
    pub named: usize,
}

/// The numbers of a book.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Every chapter.
    pub chapters: Vec<(String, Counts)>,
    /// All of them together.
    pub total: Counts,
    /// The fragments and files that the book defines.
    pub fragments: usize,
    /// The lengths of all fences, ascending: the one in the middle, and the one that nine of ten do not exceed.
    pub median_length: usize,
    /// See [`Self::median_length`].
    pub ninth_decile: usize,
    /// The longest fences: chapter, line and length.
    pub longest: Vec<(String, usize, usize)>,
}

/// Counts.
#[must_use]
pub fn stats(book: &Book, model: &Model) -> Stats {
    let mut mentioned: HashSet<String> = HashSet::new();
    let mut chapters: Vec<(String, Counts)> = Vec::new();
    for source in &book.sources {
        let mut counts = Counts::default();
        let mut in_code = false;
        for event in Parser::new_ext(source.text(), crate::parse::options()) {
            match event {
                Event::Start(Tag::CodeBlock(_)) => in_code = true,
                Event::End(TagEnd::CodeBlock) => in_code = false,
                Event::Text(text) | Event::Code(text) if !in_code => {
                    counts.words += text
                        .split_whitespace()
                        .filter(|word| word.contains(char::is_alphanumeric))
                        .count();
                    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                    mentioned.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
                }
                _ => {}
            }
        }
        chapters.push((source.path().to_owned(), counts));
    }
    let mut lengths = Vec::new();
    let mut longest = Vec::new();
    for piece in &model.pieces {
        let length = piece.fence.len();
        let counts = &mut chapters[piece.source].1;
        counts.code_lines += length;
        if !piece.fence.header.folded {
            counts.shown_lines += piece.fence.lines().filter(|line| !line.text.trim().is_empty()).count();
        }
        counts.fences += 1;
        counts.longest = counts.longest.max(length);
        lengths.push(length);
        let source = &book.sources[piece.source];
        longest.push((source.path().to_owned(), source.line(piece.fence.range.start), length));
    }
    for entry in identifiers::index(model) {
        let counts = &mut chapters[model.pieces[entry.definitions[0].piece].source].1;
        counts.names += 1;
        counts.named += usize::from(mentioned.contains(&entry.name));
    }
    for diagnostic in advice::advice(book, model) {
        chapters[diagnostic.primary.place.source].1.warnings += 1;
    }
    for (_, counts) in &mut chapters {
        counts.minutes = minutes(counts);
    }
    lengths.sort_unstable();
    longest.sort_by_key(|(_, _, length)| std::cmp::Reverse(*length));
    longest.truncate(5);
    let at = |tenths: usize| {
        lengths
            .get(lengths.len().saturating_sub(1) * tenths / 10)
            .copied()
            .unwrap_or(0)
    };
    let total = chapters.iter().fold(Counts::default(), |sum, (_, counts)| Counts {
        words: sum.words + counts.words,
        code_lines: sum.code_lines + counts.code_lines,
        shown_lines: sum.shown_lines + counts.shown_lines,
        minutes: sum.minutes + counts.minutes,
        warnings: sum.warnings + counts.warnings,
        fences: sum.fences + counts.fences,
        longest: sum.longest.max(counts.longest),
        names: sum.names + counts.names,
        named: sum.named + counts.named,
    });
    Stats {
        total,
        fragments: model.fragments.len(),
        median_length: at(5),
        ninth_decile: at(9),
        chapters,
        longest,
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody writes chapters that long")]
fn minutes(counts: &Counts) -> f64 {
    counts.words as f64 / WORDS_A_MINUTE as f64 + counts.shown_lines as f64 / LINES_A_MINUTE as f64
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .chapters
            .iter()
            .map(|(path, _)| path.chars().count())
            .max()
            .unwrap_or(0)
            .max(7);
        writeln!(
            f,
            "{:width$}  {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  {:>11} {:>8}",
            "chapter", "minutes", "words", "code", "shown", "fences", "longest", "named", "warnings"
        )?;
        let mut row = |name: &str, counts: &Counts| {
            let named = format!("{}/{}", counts.named, counts.names);
            writeln!(
                f,
                "{name:width$}  {:>7.1} {:>7} {:>7} {:>7} {:>7} {:>7}  {named:>11} {:>8}",
                counts.minutes,
                counts.words,
                counts.code_lines,
                counts.shown_lines,
                counts.fences,
                counts.longest,
                counts.warnings
            )
        };
        self.chapters.iter().try_for_each(|(path, counts)| row(path, counts))?;
        row("total", &self.total)?;
        writeln!(
            f,
            "\n{} fragments; of their fences half have at most {} lines, nine of ten at most {}",
            self.fragments, self.median_length, self.ninth_decile
        )?;
        for (path, line, length) in &self.longest {
            writeln!(f, "{length:>6} lines at {path}:{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lines_and_names() {
        let text = "# A title\n\nCall `start` - now.\n\n```rust file=a.rs\nfn start() {}\nfn stop() {}\n```\n\n```rust\nnot counted\n```\n";
        let book = Book::new([("a.md", text)]);
        let program = crate::program(&book).unwrap();
        let stats = stats(&book, &program.model);
        let counts = Counts {
            words: 5,
            code_lines: 2,
            shown_lines: 2,
            minutes: 5.0 / 220.0 + 2.0 / 25.0,
            fences: 1,
            warnings: 0,
            longest: 2,
            names: 2,
            named: 1,
        };
        assert_eq!(stats.total, counts);
        assert!(stats.to_string().contains("1/2"), "{stats}");
    }
}
