//! How long the prose is, how long the fragments are, and how much of the code the prose speaks of.

use std::collections::HashSet;
use std::fmt;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use serde::Serialize;

use crate::identifiers;
use crate::model::Model;
use crate::source::Book;

/// What is counted, for a chapter or the whole book.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Words outside of code.
    pub words: usize,
    /// Lines of code that take part in the program, blank ones and references included.
    pub code_lines: usize,
    /// Fences that take part.
    pub fences: usize,
    /// The longest of them, in lines.
    pub longest: usize,
    /// The names that the code defines.
    pub names: usize,
    /// Those of them that the prose of the book mentions.
    pub named: usize,
}

/// The numbers of a book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
            "{:width$}  {:>7} {:>7} {:>7} {:>7}  {:>11}",
            "chapter", "words", "code", "fences", "longest", "named"
        )?;
        let mut row = |name: &str, counts: &Counts| {
            let named = format!("{}/{}", counts.named, counts.names);
            writeln!(
                f,
                "{name:width$}  {:>7} {:>7} {:>7} {:>7}  {named:>11}",
                counts.words, counts.code_lines, counts.fences, counts.longest
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
            fences: 1,
            longest: 2,
            names: 2,
            named: 1,
        };
        assert_eq!(stats.total, counts);
        assert!(stats.to_string().contains("1/2"), "{stats}");
    }
}
