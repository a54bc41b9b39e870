//! Finds the fences of a chapter and where each of their lines lies in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::dialect::Dialect;
use crate::header::Header;
use crate::source::{Source, narrow};

/// A fence that takes part in the program.
///
/// A book has some hundred thousand lines of code, so they are not copied: a fence knows where in the chapter
/// they lie, and shares its text.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The whole fence, from its first backtick to the end of its last line.
    pub range: Range<usize>,
    /// Its info string.
    pub info: Range<usize>,
    /// What the info string says.
    pub header: Header,
    chapter: Arc<str>,
    dialect: Dialect,
    /// The number of the first line; the others follow without a gap.
    first: usize,
    lines: Vec<Stretch>,
    /// By index, the few lines that are no stretch of the chapter: a tab before them belongs half to the list around them.
    odd: BTreeMap<usize, Box<str>>,
}

/// Where a line of code lies in its chapter, without its end of line.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    offset: u32,
    len: u32,
}

impl Fence {
    /// Its lines of code, free of the indentation of a list and the `>` of a quotation.
    ///
    /// A carriage return at the end of a line belongs to the end if the fence's first line ends so, too. If that line
    /// ends without one, it belongs to the code, and so to the generated file.
    #[must_use]
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = Line<'_>> + ExactSizeIterator {
        (0..self.lines.len()).map(|index| self.line(index))
    }

    /// How many lines it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line with this index, from 0.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn line(&self, index: usize) -> Line<'_> {
        let Stretch { offset, len } = self.lines[index];
        let (offset, len) = (offset as usize, len as usize);
        let (text, virtual_spaces) = match self.odd.get(&index) {
            Some(text) => {
                let written = self.chapter[offset..].split('\n').next().unwrap_or_default();
                let length = |line: &str| line.trim_end_matches('\r').len();
                (&**text, length(text).saturating_sub(length(written)))
            }
            None => (&self.chapter[offset..offset + len], 0),
        };
        Line {
            text,
            virtual_spaces,
            number: self.first + index,
            offset,
            before: &self.chapter[..offset],
            dialect: self.dialect,
        }
    }

    /// The line that has this number in the chapter.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Option<Line<'_>> {
        let index = number.checked_sub(self.first)?;
        (index < self.len()).then(|| self.line(index))
    }

    /// All its code.
    #[must_use]
    pub fn code(&self) -> String {
        self.lines().flat_map(|line| [line.text, "\n"]).collect()
    }
}

/// One line of the code in a [`Fence`].
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// What it says, without its end.
    pub text: &'a str,
    /// Its number in the chapter, from 1.
    pub number: usize,
    /// Where its first character lies in the chapter.
    pub offset: usize,
    /// The chapter up to there.
    before: &'a str,
    /// How many spaces at its beginning are what is left of a tab that belongs half to the list around the fence.
    virtual_spaces: usize,
    dialect: Dialect,
}

impl<'a> Line<'a> {
    /// Columns in the chapter minus columns in the code: how many characters of the chapter's line stand before it,
    /// less those of the code that stand for half a tab there.
    #[must_use]
    pub fn prefix(&self) -> isize {
        let before = self.before.chars().rev().take_while(|&c| c != '\n').count();
        before.cast_signed() - self.virtual_spaces.cast_signed()
    }

    /// Where the byte at `at` in the text lies in the chapter.
    #[must_use]
    pub fn place(&self, at: usize) -> usize {
        self.offset + at.saturating_sub(self.virtual_spaces)
    }

    /// The name that it refers to and the indentation before it, if it is `<<a reference>>` and nothing else.
    #[must_use]
    pub fn reference(&self) -> Option<Reference<'a>> {
        let name = self.dialect.reference(self.text)?;
        let indent = &self.text[..self.text.len() - self.text.trim_start().len()];
        Some(Reference {
            name,
            indent,
            range: self.place(indent.len())..self.place(self.text.trim_end().len()),
        })
    }
}

/// A `<<name>>` alone on its line.
#[derive(Debug, Clone)]
pub struct Reference<'a> {
    /// The fragment that is meant.
    pub name: &'a str,
    /// The white space before it.
    pub indent: &'a str,
    /// Where `<<name>>` lies in the chapter.
    pub range: Range<usize>,
}

/// What a chapter holds.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The fences that take part, in order.
    pub fences: Vec<Fence>,
    /// Info strings that mean to take part but cannot be read, and why.
    pub faults: Vec<(Range<usize>, String)>,
    /// The opening lines of fences that nothing closes, and that take part or hide others that would.
    pub unterminated: Vec<Range<usize>>,
}

/// The Markdown that mdBook reads.
pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_DEFINITION_LIST
        | Options::ENABLE_GFM
}

/// Reads a chapter of a book that follows the rules of `dialect`.
///
/// ```
/// use tangle::dialect::Dialect;
/// use tangle::parse::parse;
/// use tangle::source::Source;
///
/// let text = "- In a list:\n\n  ~~~rust #greet\n  hello();\n    <<ask>>\n  ~~~\n";
/// let parsed = parse(&Source::new("one.md", text), Dialect::Tangle);
/// let fence = &parsed.fences[0];
/// assert_eq!(fence.header.name.as_deref(), Some("greet"));
/// assert_eq!(fence.code(), "hello();\n  <<ask>>\n");
/// let reference = fence.line(1).reference().unwrap();
/// assert_eq!((reference.name, reference.indent), ("ask", "  "));
/// assert_eq!(&text[reference.range], "<<ask>>");
/// ```
#[must_use]
pub fn parse(source: &Source, dialect: Dialect) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<Open> = None;
    for (event, range) in Parser::new_ext(source.text(), options()).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                open = Some(Open::new(source, dialect, range, &info));
            }
            Event::Text(text) => {
                if let Some(open) = &mut open {
                    open.text(source, &text, range);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some(open) = open.take() {
                    open.finish(source, &mut parsed);
                }
            }
            _ => {}
        }
    }
    parsed
}

/// A fence whose end has not been seen yet.
struct Open {
    dialect: Dialect,
    range: Range<usize>,
    info: Range<usize>,
    header: Result<Option<Header>, String>,
    /// The end of its first line is `\r\n`.
    returns: bool,
    first: usize,
    lines: Vec<Stretch>,
    odd: BTreeMap<usize, Box<str>>,
    /// Where the line begins that has no end yet, and what is known of it.
    line: Option<(usize, String)>,
    /// Where in the chapter the text seen so far ends.
    seen: usize,
}

impl Open {
    fn new(source: &Source, dialect: Dialect, range: Range<usize>, info: &str) -> Self {
        let text = source.text();
        let first_line_end = text[range.start..].find('\n').map_or(text.len(), |at| range.start + at);
        let first_line = &text[range.start..first_line_end];
        let mark = first_line.chars().next().unwrap_or('`');
        let after_mark = first_line.trim_start_matches(mark);
        let written = after_mark.trim();
        let start = first_line_end - after_mark.trim_start().len();
        Self {
            info: start..start + written.len(),
            returns: first_line.ends_with('\r'),
            first: source.line(range.start) + 1,
            range,
            // Markdown takes backslashes and entities away, which the other tool knows nothing of.
            header: dialect.header(if dialect == Dialect::Tangle { info } else { written }),
            dialect,
            lines: Vec::new(),
            odd: BTreeMap::new(),
            line: None,
            seen: (first_line_end + 1).min(text.len()),
        }
    }

    /// Takes what the parser says; it says a line in one piece or in several.
    fn text(&mut self, source: &Source, text: &str, range: Range<usize>) {
        self.seen = range.end;
        if !matches!(self.header, Ok(Some(_))) {
            return;
        }
        let mut offset = range.start;
        for piece in text.split_inclusive('\n') {
            let (_, line) = self.line.get_or_insert_with(|| (offset, String::new()));
            line.push_str(piece);
            offset += piece.len();
            if piece.ends_with('\n') {
                self.end_line(source);
            }
        }
    }

    fn end_line(&mut self, source: &Source) {
        let Some((mut offset, mut line)) = self.line.take() else {
            return;
        };
        let text = source.text();
        let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        let returns = end - text[..end].trim_end_matches('\r').len();
        // The parser leaves carriage returns out: where a line is nothing else, it begins behind them.
        offset = offset.min(end - returns);
        line.truncate(line.trim_end_matches(['\n', '\r']).len());
        if !self.returns && self.dialect == Dialect::Tangle {
            line.push_str(&text[end - returns..end]);
        }
        debug_assert_eq!(source.line(offset), self.first + self.lines.len());
        if !text[offset..].starts_with(&line) {
            self.odd.insert(self.lines.len(), line.as_str().into());
        }
        self.lines.push(Stretch {
            offset: narrow(offset),
            len: narrow(line.len()),
        });
    }

    fn finish(mut self, source: &Source, parsed: &mut Parsed) {
        self.end_line(source);
        let opening = self.range.start..self.info.end;
        let whole = &source.text()[self.range.clone()];
        // Whatever closes a fence lies behind its text and inside its range.
        let is_open = self.range.end <= self.seen || !whole.trim_end().ends_with(['`', '~']);
        if is_open && (self.header != Ok(None) || whole.lines().skip(1).any(|line| takes_part(self.dialect, line))) {
            parsed.unterminated.push(opening);
        }
        match self.header {
            Ok(None) => {}
            Err(fault) => parsed.faults.push((self.info, fault)),
            Ok(Some(header)) => {
                if self.dialect != Dialect::Tangle && self.lines.last().is_some_and(|line| line.len == 0) {
                    self.lines.pop();
                }
                // A book has many of these, and they live as long as it does.
                self.lines.shrink_to_fit();
                let text = &source.text()[self.range.clone()];
                parsed.fences.push(Fence {
                    range: self.range.start..self.range.start + text.trim_end().len(),
                    info: self.info,
                    header,
                    chapter: source.shared(),
                    dialect: self.dialect,
                    first: self.first,
                    lines: self.lines,
                    odd: self.odd,
                });
            }
        }
    }
}

/// Whether `line` would open a fence that takes part.
pub(crate) fn takes_part(dialect: Dialect, line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t', '>']);
    ["```", "~~~"].into_iter().any(|mark| {
        line.strip_prefix(mark)
            .is_some_and(|rest| dialect.header(rest.trim_start_matches(['`', '~'])) != Ok(None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Parsed {
        parse(&Source::new("a.md", text), Dialect::Tangle)
    }

    #[test]
    fn a_fence_knows_its_lines() {
        let text = "Text\n\n```rust #a b\nfn a() {\n    <<c d>>\n}\n```\n\n```rust\n<<x>>\n```\n";
        let parsed = parsed(text);
        assert_eq!(parsed.fences.len(), 1);
        let fence = &parsed.fences[0];
        assert_eq!(&text[fence.info.clone()], "rust #a b");
        assert_eq!(&text[fence.range.clone()], text[6..].split_once("\n\n").unwrap().0);
        assert_eq!(fence.lines().map(|line| line.number).collect::<Vec<_>>(), [4, 5, 6]);
        let reference = fence.line(1).reference().unwrap();
        assert_eq!((reference.name, reference.indent), ("c d", "    "));
        assert_eq!(&text[reference.range], "<<c d>>");
    }

    #[test]
    fn fences_in_lists_and_quotations_lose_their_prefix() {
        let text = "- item\n\n  ~~~c file=a.c\n  int a;\n\n    int b;\n  ~~~\n\n> ```c #q\n> x\n> ```\n";
        let parsed = parsed(text);
        assert_eq!(parsed.fences[0].code(), "int a;\n\n  int b;\n");
        let line = parsed.fences[0].line(0);
        assert_eq!((line.prefix(), line.place(1)), (2, line.offset + 1));
        assert_eq!(&text[line.offset..][..3], "int");
        assert_eq!(parsed.fences[0].line(2).number, 6);
        assert_eq!(parsed.fences[1].code(), "x\n");
        assert!(parsed.unterminated.is_empty());
    }

    #[test]
    fn carriage_returns_are_no_part_of_a_line() {
        let parsed = parsed("```c #a\r\nint a;\r\n\r\n<<b>>\r\n```\r\n");
        let fence = &parsed.fences[0];
        let lines: Vec<_> = fence.lines().map(|line| line.text).collect();
        assert_eq!(lines, ["int a;", "", "<<b>>"]);
        assert!(fence.line(2).reference().is_some());
        assert!(parsed.unterminated.is_empty());
    }

    #[test]
    fn a_carriage_return_in_a_fence_that_begins_without_one_is_code() {
        for (text, lines) in [
            (
                "```c #a\nint a;\r\n\r\n  \r\n<<b>>\r\n\n```\n",
                ["int a;\r", "\r", "  \r", "<<b>>\r", ""],
            ),
            (
                "> ```c #a\n> int a;\r\n>\r\n>   \r\n> <<b>>\r\n>\n> ```\n",
                ["int a;\r", "\r", "  \r", "<<b>>\r", ""],
            ),
        ] {
            let parsed = parsed(text);
            let fence = &parsed.fences[0];
            assert_eq!(fence.lines().map(|line| line.text).collect::<Vec<_>>(), lines);
            assert_eq!(fence.line(3).reference().unwrap().name, "b");
        }
    }

    #[test]
    fn a_tab_that_belongs_half_to_a_list_is_half_a_tab() {
        let parsed = parsed("- ```c #a\n\t\tx\n  y\n  ```\n");
        assert_eq!(parsed.fences[0].code(), "  \tx\ny\n");
        let line = parsed.fences[0].line(0);
        // The x is the third character in the chapter and the fourth of the code.
        assert_eq!((line.prefix(), line.place(3)), (-1, 12));
        let text = "- ```c #a\n\t<<b>>\n  ```\n";
        let parsed = super::parse(&Source::new("a.md", text), Dialect::Tangle);
        assert_eq!(&text[parsed.fences[0].line(0).reference().unwrap().range], "<<b>>");
    }

    #[test]
    fn an_open_fence_is_noticed() {
        for text in [
            "```rust #a\nx\n",
            "```rust #a",
            "> ```rust #a\n> x\n\ntext\n",
            "~~~\n```rust #a\n```\n",
            "> ~~~~\n>  ~~~ {.rust file=a}\n",
            "```rust #a\n```x\n",
        ] {
            assert_eq!(parsed(text).unterminated.len(), 1, "{text:?}");
        }
        for text in [
            "```rust #a\n```",
            "```\n\n````\n",
            "    ```rust #a\n",
            "`` ` ``",
            "~~~\n```\n",
            "```rust\n#a\n",
        ] {
            assert_eq!(parsed(text).unterminated.len(), 0, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_alone_is_no_reference() {
        for line in ["<<a>>,", "x <<a>>", "<<>>", "<<a>> <<b>>", "<a>", "<< >>"] {
            let parsed = parsed(&format!("```c #a\n{line}\n```\n"));
            assert!(parsed.fences[0].line(0).reference().is_none(), "{line}");
        }
    }
}
