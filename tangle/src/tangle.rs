//! Turns fragments into files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::map::{self, FileMap, LineMap, Span};
use crate::model::{FragmentId, Model, PieceId};
use crate::source::Book;

/// All files of a book.
#[derive(Debug, Clone, Default)]
pub struct Tangled {
    /// By path, relative to the output directory.
    pub files: BTreeMap<String, File>,
}

/// One file.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Its whole text.
    pub text: String,
    /// Where its lines came from.
    pub spans: Vec<Span>,
    /// How many lines it has.
    pub lines: usize,
    /// The lines (from 1) that each piece became, together with all that it refers to.
    pub pieces: Vec<(PieceId, Range<usize>)>,
}

/// Who knows the texts of all files of a book: from memory, as [`Tangled`] does, or by writing each when it is asked for,
/// as a [`Model`] can. The second way needs room for one file at a time.
pub trait Texts {
    /// The text of the file `path`, which the book has.
    ///
    /// # Panics
    /// When the book has no such file.
    fn text(&self, path: &str) -> Cow<'_, str>;
}

impl Texts for Tangled {
    fn text(&self, path: &str) -> Cow<'_, str> {
        Cow::Borrowed(&self.files[path].text)
    }
}

/// Of a model without cycles.
impl Texts for Model {
    fn text(&self, path: &str) -> Cow<'_, str> {
        let id = self.file(path).expect("only files of the book are asked for");
        Cow::Owned(file(self, id).text)
    }
}

/// Writes every file of `model`, which must be free of cycles. A reference to nothing becomes nothing.
#[must_use]
pub fn tangle(model: &Model) -> Tangled {
    Tangled {
        files: model
            .files()
            .map(|(id, path)| (path.to_owned(), file(model, id)))
            .collect(),
    }
}

/// The line map of all files of `model`, which must be free of cycles. No more than one of them is in memory at a time.
#[must_use]
pub fn line_map(book: &Book, model: &Model) -> LineMap {
    let files = model.files().map(|(id, path)| (path, file(model, id)));
    map_of(
        book,
        model,
        files.map(|(path, file)| (path, file_map(&file.text, file.lines, file.spans))),
    )
}

fn map_of<'a>(book: &Book, model: &Model, files: impl Iterator<Item = (&'a str, FileMap)>) -> LineMap {
    LineMap {
        version: map::VERSION,
        sources: book.sources.iter().map(|source| source.path().to_owned()).collect(),
        fragments: model
            .fragments
            .iter()
            .map(|fragment| fragment.title().to_owned())
            .collect(),
        files: files.map(|(path, map)| (path.to_owned(), map)).collect(),
        pending: BTreeMap::new(),
    }
}

fn file_map(text: &str, lines: usize, spans: Vec<Span>) -> FileMap {
    FileMap {
        hash: map::fingerprint(text.as_bytes()),
        lines,
        spans,
    }
}

impl Tangled {
    /// The line map of all files.
    #[must_use]
    pub fn line_map(&self, book: &Book, model: &Model) -> LineMap {
        let files = self.files.iter();
        map_of(
            book,
            model,
            files.map(|(path, file)| (path.as_str(), file_map(&file.text, file.lines, file.spans.clone()))),
        )
    }
}

/// A piece that is being written: how far it got, and where it began.
struct Frame {
    piece: PieceId,
    /// The index of its next line.
    next: usize,
    indent: usize,
    start: usize,
}

/// Writes the file that a fragment of `model` is. The fragment must not contain itself.
#[must_use]
pub fn file(model: &Model, file: FragmentId) -> File {
    let mut out = File::default();
    // The indentation of all open references, one behind the other; each frame knows how much of it is its own.
    let mut indent = String::new();
    let mut stack = Vec::new();
    push(model, file, 0, &mut stack);
    while let Some(frame) = stack.last_mut() {
        indent.truncate(frame.indent);
        if frame.start == 0 {
            frame.start = out.lines + 1;
        }
        let piece = &model.pieces[frame.piece];
        if frame.next == piece.fence.len() {
            out.pieces.push((frame.piece, frame.start..out.lines + 1));
            stack.pop();
            continue;
        }
        let line = piece.fence.line(frame.next);
        frame.next += 1;
        if let Some(reference) = line.reference() {
            indent.push_str(reference.indent);
            if let Some(id) = model.meant(frame.piece, reference.name) {
                push(model, id, indent.len(), &mut stack);
            }
            continue;
        }
        if model.dialect.indents(line.text) {
            out.text.push_str(&indent);
        }
        out.text.push_str(line.text);
        out.text.push('\n');
        out.lines += 1;
        let shift = indent.chars().count().cast_signed() - line.prefix();
        out.span(piece.source, line.number, shift, piece.fragment);
    }
    out.text.shrink_to_fit();
    out.spans.shrink_to_fit();
    out
}

/// Puts the pieces of a fragment on the stack, the first on top.
fn push(model: &Model, id: FragmentId, indent: usize, stack: &mut Vec<Frame>) {
    stack.extend(model.fragments[id].live().iter().rev().map(|&piece| Frame {
        piece,
        next: 0,
        indent,
        start: 0,
    }));
}

impl File {
    /// Notes where the line just written came from.
    fn span(&mut self, source: usize, source_line: usize, shift: isize, fragment: FragmentId) {
        if let Some(last) = self.spans.last_mut()
            && (last.source, last.shift, last.fragment) == (source, shift, fragment)
            && last.source_line + last.count == source_line
        {
            last.count += 1;
            return;
        }
        self.spans.push(Span {
            line: self.lines,
            count: 1,
            source,
            source_line,
            shift,
            fragment,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Tangled {
        let (model, diagnostics) = Model::read(&Book::new([("a.md", text)]));
        assert!(diagnostics.is_empty());
        tangle(&model)
    }

    #[test]
    fn indentation_goes_before_every_line_that_is_not_empty() {
        let tangled = files(concat!(
            "```rust file=a.rs\nfn a() {\n    <<b>>\n}\n```\n",
            "```rust #b\nif x {\n\t<<c>>\n}\n\nend();\n```\n",
            "```rust #c\n1;\n\n2;\n```\n",
        ));
        let file = &tangled.files["a.rs"];
        assert_eq!(
            file.text,
            "fn a() {\n    if x {\n    \t1;\n\n    \t2;\n    }\n\n    end();\n}\n"
        );
        assert_eq!(file.lines, 9);
        let spans: Vec<_> = file
            .spans
            .iter()
            .map(|span| (span.line, span.count, span.source_line, span.shift))
            .collect();
        assert_eq!(
            spans,
            [(1, 1, 2, 0), (2, 1, 7, 4), (3, 3, 14, 5), (6, 3, 9, 4), (9, 1, 4, 0)]
        );
        assert_eq!(file.pieces, [(2, 3..6), (1, 2..9), (0, 1..10)]);
    }

    #[test]
    fn pieces_follow_each_other_and_overrides_replace() {
        let tangled = files(concat!(
            "```c file=a\n<<x>>\n```\n```c #x\n1\n```\n```c #x +=\n2\n```\n",
            "```c file=a +=\n<<x>>\n```\n```c #y file=b\nold\n```\n```c #y :=\nnew\n```\n",
        ));
        assert_eq!(tangled.files["a"].text, "1\n2\n1\n2\n");
        assert_eq!(tangled.files["b"].text, "new\n");
    }

    #[test]
    fn an_empty_fence_is_an_empty_file() {
        let tangled = files("```c file=a\n```\n");
        assert_eq!(tangled.files["a"].text, "");
        assert_eq!(tangled.files["a"].pieces, [(0, 1..1)]);
    }
}
