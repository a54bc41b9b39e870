//! Finds the fences of a chapter and where each of their lines lies in it.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::header::{self, Header};
use crate::source::Source;

/// A fence that takes part in the program.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The whole fence, from its first backtick to the end of its last line.
    pub range: Range<usize>,
    /// Its info string.
    pub info: Range<usize>,
    /// What the info string says.
    pub header: Header,
    /// The code inside, free of the indentation of a list and the `>` of a quotation.
    pub body: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One line of the code in a [`Fence`].
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it lies in [`Fence::body`], without its end of line.
    pub body: Range<usize>,
    /// Where its first character lies in the chapter.
    pub offset: usize,
    /// Its number in the chapter, from 1.
    pub number: usize,
    /// How many characters of the chapter's line stand before it.
    pub prefix: usize,
    /// Where in `body` the name lies, if the line is `<<a reference>>`.
    pub reference: Option<Box<Range<usize>>>,
}

impl Fence {
    /// The text of `line`.
    #[must_use]
    pub fn text(&self, line: &Line) -> &str {
        &self.body[line.body.clone()]
    }

    /// The name that `line` refers to and the indentation before it.
    #[must_use]
    pub fn reference(&self, line: &Line) -> Option<Reference<'_>> {
        let name = line.reference.as_deref()?.clone();
        let text = self.text(line);
        let indent = &text[..text.len() - text.trim_start().len()];
        let start = line.offset + indent.len();
        Some(Reference {
            name: &self.body[name],
            indent,
            range: start..start + text.trim().len(),
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
    /// The opening lines of fences that nothing closes.
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

/// Reads a chapter.
#[must_use]
pub fn parse(source: &Source) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<Open> = None;
    for (event, range) in Parser::new_ext(source.text(), options()).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                open = Some(Open::new(source, range, &info));
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
    range: Range<usize>,
    info: Range<usize>,
    header: Result<Option<Header>, String>,
    body: String,
    lines: Vec<Line>,
    /// The last line of `lines` has no end yet.
    in_line: bool,
    /// Where in the chapter the text seen so far ends.
    seen: usize,
}

impl Open {
    fn new(source: &Source, range: Range<usize>, info: &str) -> Self {
        let text = source.text();
        let first_line_end = text[range.start..].find('\n').map_or(text.len(), |at| range.start + at);
        let first_line = &text[range.start..first_line_end];
        let mark = first_line.chars().next().unwrap_or('`');
        let after_mark = first_line.trim_start_matches(mark);
        let start = first_line_end - after_mark.trim_start().len();
        Self {
            info: start..start + after_mark.trim().len(),
            range,
            header: header::parse(info),
            body: String::new(),
            lines: Vec::new(),
            in_line: false,
            seen: (first_line_end + 1).min(text.len()),
        }
    }

    fn text(&mut self, source: &Source, text: &str, range: Range<usize>) {
        self.seen = range.end;
        if !matches!(self.header, Ok(Some(_))) {
            return;
        }
        let mut offset = range.start;
        for piece in text.split_inclusive('\n') {
            if !self.in_line {
                self.lines.push(Line {
                    body: self.body.len()..self.body.len(),
                    offset,
                    number: source.line(offset),
                    prefix: source.text()[source.line_start(offset)..offset].chars().count(),
                    reference: None,
                });
            }
            self.body.push_str(piece);
            offset += piece.len();
            self.in_line = !piece.ends_with('\n');
            if let Some(line) = self.lines.last_mut() {
                line.body.end = self.body.trim_end_matches(['\n', '\r']).len().max(line.body.start);
            }
        }
    }

    fn finish(mut self, source: &Source, parsed: &mut Parsed) {
        let opening = self.range.start..self.info.end;
        // Whatever closes a fence lies behind its text and inside its range.
        if self.range.end <= self.seen || !source.text()[self.range.clone()].trim_end().ends_with(['`', '~']) {
            parsed.unterminated.push(opening);
        }
        match self.header {
            Ok(None) => {}
            Err(fault) => parsed.faults.push((self.info, fault)),
            Ok(Some(header)) => {
                for line in &mut self.lines {
                    line.reference = reference(&self.body, &line.body).map(Box::new);
                }
                // A book has many of these, and they live as long as it does.
                self.lines.shrink_to_fit();
                self.body.shrink_to_fit();
                let text = &source.text()[self.range.clone()];
                parsed.fences.push(Fence {
                    range: self.range.start..self.range.start + text.trim_end().len(),
                    info: self.info,
                    header,
                    body: self.body,
                    lines: self.lines,
                });
            }
        }
    }
}

/// Where the name lies if this line of `body` is `<<name>>` and nothing else.
fn reference(body: &str, line: &Range<usize>) -> Option<Range<usize>> {
    let text = &body[line.clone()];
    let inner = text.trim().strip_prefix("<<")?.strip_suffix(">>")?;
    let name = inner.trim();
    if name.is_empty() || name.contains("<<") || name.contains(">>") {
        return None;
    }
    let start = line.start + (text.len() - text.trim_start().len()) + 2 + (inner.len() - inner.trim_start().len());
    Some(start..start + name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Parsed {
        parse(&Source::new("a.md", text))
    }

    #[test]
    fn a_fence_knows_its_lines() {
        let text = "Text\n\n```rust #a b\nfn a() {\n    <<c d>>\n}\n```\n\n```rust\n<<x>>\n```\n";
        let parsed = parsed(text);
        assert_eq!(parsed.fences.len(), 1);
        let fence = &parsed.fences[0];
        assert_eq!(&text[fence.info.clone()], "rust #a b");
        assert_eq!(&text[fence.range.clone()], text[6..].split_once("\n\n").unwrap().0);
        assert_eq!(
            fence.lines.iter().map(|line| line.number).collect::<Vec<_>>(),
            [4, 5, 6]
        );
        let reference = fence.reference(&fence.lines[1]).unwrap();
        assert_eq!((reference.name, reference.indent), ("c d", "    "));
        assert_eq!(&text[reference.range], "<<c d>>");
    }

    #[test]
    fn fences_in_lists_and_quotations_lose_their_prefix() {
        let text = "- item\n\n  ~~~c file=a.c\n  int a;\n\n    int b;\n  ~~~\n\n> ```c #q\n> x\n> ```\n";
        let parsed = parsed(text);
        assert_eq!(parsed.fences[0].body, "int a;\n\n  int b;\n");
        assert_eq!(parsed.fences[0].lines[0].prefix, 2);
        assert_eq!(&text[parsed.fences[0].lines[0].offset..][..3], "int");
        assert_eq!(parsed.fences[0].lines[2].number, 6);
        assert_eq!(parsed.fences[1].body, "x\n");
        assert!(parsed.unterminated.is_empty());
    }

    #[test]
    fn carriage_returns_are_no_part_of_a_line() {
        let parsed = parsed("```c #a\r\nint a;\r\n\r\n<<b>>\r\n```\r\n");
        let fence = &parsed.fences[0];
        let lines: Vec<_> = fence.lines.iter().map(|line| fence.text(line)).collect();
        assert_eq!(lines, ["int a;", "", "<<b>>"]);
        assert!(fence.lines[2].reference.is_some());
        assert!(parsed.unterminated.is_empty());
    }

    #[test]
    fn an_open_fence_is_noticed() {
        for text in [
            "```rust #a\nx\n",
            "```rust #a",
            "> ```rust #a\n> x\n\ntext\n",
            "~~~\n```\n",
            "```rust #a\n```x\n",
        ] {
            assert_eq!(parsed(text).unterminated.len(), 1, "{text:?}");
        }
        for text in ["```rust #a\n```", "```\n\n````\n", "    ```rust #a\n", "`` ` ``"] {
            assert_eq!(parsed(text).unterminated.len(), 0, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_alone_is_no_reference() {
        for line in ["<<a>>,", "x <<a>>", "<<>>", "<<a>> <<b>>", "<a>", "<< >>"] {
            assert_eq!(reference(line, &(0..line.len())), None, "{line}");
        }
    }
}
