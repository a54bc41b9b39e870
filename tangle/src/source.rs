//! Chapters as text, and places inside them.

use std::ops::Range;
use std::sync::Arc;

use crate::dialect::Dialect;

/// One chapter: its text and where each of its lines begins.
#[derive(Debug, Clone)]
pub struct Source {
    path: String,
    text: Arc<str>,
    line_starts: Vec<u32>,
}

impl Source {
    /// The most bytes that a chapter may have: places in it are 32 bits wide.
    pub const LONGEST: usize = u32::MAX as usize - 1;

    /// Takes the text of the chapter at `path`, which is relative to the root of the book.
    ///
    /// # Panics
    /// When the text is longer than [`Self::LONGEST`].
    pub fn new(path: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        assert!(text.len() <= Self::LONGEST, "a chapter of {} bytes", text.len());
        let lines = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let mut line_starts = Vec::with_capacity(lines);
        line_starts.push(0);
        line_starts.extend(text.match_indices('\n').map(|(at, _)| narrow(at + 1)));
        Self {
            path: path.into(),
            text,
            line_starts,
        }
    }

    /// The path that errors, captions and the line map show.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The whole text, exactly as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, for those who keep parts of it.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The line (from 1) that holds the byte at `offset`.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start as usize <= offset)
    }

    /// Line and column (both from 1, columns counted in characters) of the byte at `offset`.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let before = &self.text[self.line_starts[line - 1] as usize..offset];
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }

    /// The bytes of `line` (from 1) without its end; `None` behind the last line.
    #[must_use]
    pub fn line_range(&self, line: usize) -> Option<Range<usize>> {
        let start = *self.line_starts.get(line.checked_sub(1)?)? as usize;
        let end = self
            .line_starts
            .get(line)
            .map_or(self.text.len(), |&next| next as usize - 1);
        Some(start..start + self.text[start..end].trim_end_matches('\r').len())
    }

    /// Where the line that holds the byte at `offset` begins.
    #[must_use]
    pub fn line_start(&self, offset: usize) -> usize {
        self.line_starts[self.line(offset) - 1] as usize
    }
}

/// A place in a chapter, in 32 bits.
pub(crate) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("no chapter is longer than `Source::LONGEST`")
}

/// A line and a column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// A stretch of bytes in one chapter of a [`Book`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which chapter: an index into [`Book::sources`].
    pub source: usize,
    /// Which bytes of it.
    pub range: Range<usize>,
}

/// The chapters of a book in reading order.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The chapters, first to last.
    pub sources: Vec<Source>,
    /// The rules that they follow.
    pub dialect: Dialect,
}

impl Book {
    /// Makes a book from `(path, text)` pairs in reading order.
    pub fn new<P: Into<String>, T: Into<Arc<str>>>(chapters: impl IntoIterator<Item = (P, T)>) -> Self {
        Self {
            sources: chapters
                .into_iter()
                .map(|(path, text)| Source::new(path, text))
                .collect(),
            dialect: Dialect::default(),
        }
    }

    /// The text at `place`.
    #[must_use]
    pub fn text(&self, place: &Place) -> &str {
        &self.sources[place.source].text()[place.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("a.md", "é<<x>>\n\nlast");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(2), Position { line: 1, column: 2 });
        assert_eq!(source.position(8), Position { line: 2, column: 1 });
        assert_eq!(source.position(13), Position { line: 3, column: 5 });
    }

    #[test]
    fn a_line_ends_before_its_end_of_line() {
        let source = Source::new("a.md", "one\r\n\nlast");
        assert_eq!(source.line_range(1), Some(0..3));
        assert_eq!(source.line_range(2), Some(5..5));
        assert_eq!(source.line_range(3), Some(6..10));
        assert_eq!((source.line_range(0), source.line_range(4)), (None, None));
    }
}
