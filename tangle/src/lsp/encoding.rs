//! Positions as editors count them, and the bytes that they mean.

use std::ops;

use lsp_types::{Position, PositionEncodingKind, Range};

use crate::source::Source;

/// The unit in which the columns of a line are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Bytes.
    Utf8,
    /// What the protocol prescribes where nothing else was agreed.
    #[default]
    Utf16,
}

impl Encoding {
    /// The better one of those that are on offer.
    pub fn choose(offered: &[PositionEncodingKind]) -> Self {
        if offered.contains(&PositionEncodingKind::UTF8) {
            Self::Utf8
        } else {
            Self::Utf16
        }
    }

    /// Its name in the protocol.
    pub fn kind(self) -> PositionEncodingKind {
        match self {
            Self::Utf8 => PositionEncodingKind::UTF8,
            Self::Utf16 => PositionEncodingKind::UTF16,
        }
    }

    fn width(self, character: char) -> usize {
        match self {
            Self::Utf8 => character.len_utf8(),
            Self::Utf16 => character.len_utf16(),
        }
    }

    /// The position of the byte at `offset`.
    pub fn position(self, source: &Source, offset: usize) -> Position {
        let before = &source.text()[source.line_start(offset)..offset];
        let column = before.chars().map(|character| self.width(character)).sum();
        Position::new(number(source.line(offset) - 1), number(column))
    }

    /// The positions of a stretch of bytes.
    pub fn range(self, source: &Source, range: ops::Range<usize>) -> Range {
        Range::new(self.position(source, range.start), self.position(source, range.end))
    }

    /// The byte at `position`; a column behind the end of its line is that end, as the protocol has it.
    pub fn offset(self, source: &Source, position: Position) -> usize {
        let Some(line) = source.line_range(position.line as usize + 1) else {
            return source.text().len();
        };
        let mut left = position.character as usize;
        let before: usize = source.text()[line.clone()]
            .chars()
            .take_while(|&character| {
                let fits = self.width(character) <= left;
                left = left.saturating_sub(self.width(character));
                fits
            })
            .map(char::len_utf8)
            .sum();
        line.start + before
    }

    /// The bytes between two positions.
    pub fn bytes(self, source: &Source, range: Range) -> ops::Range<usize> {
        let start = self.offset(source, range.start);
        start..self.offset(source, range.end).max(start)
    }
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\r\né😀<<x>>\n\nend";

    #[test]
    fn columns_are_counted_in_the_unit_that_was_agreed() {
        let source = Source::new("a.md", TEXT);
        let at = TEXT.find('<').unwrap();
        assert_eq!(Encoding::Utf8.position(&source, at), Position::new(1, 6));
        assert_eq!(Encoding::Utf16.position(&source, at), Position::new(1, 3));
    }

    #[test]
    fn every_byte_is_found_again() {
        let source = Source::new("a.md", TEXT);
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            for (offset, _) in TEXT.char_indices().filter(|(_, character)| *character != '\n') {
                assert_eq!(
                    encoding.offset(&source, encoding.position(&source, offset)),
                    offset,
                    "{encoding:?}"
                );
            }
        }
    }

    #[test]
    fn what_lies_outside_is_the_nearest_place_inside() {
        let source = Source::new("a.md", TEXT);
        let offset = |line, column| Encoding::Utf16.offset(&source, Position::new(line, column));
        assert_eq!(offset(0, 99), 1);
        assert_eq!(offset(1, 2), TEXT.find('😀').unwrap(), "inside of a character");
        assert_eq!(offset(9, 0), TEXT.len());
    }
}
