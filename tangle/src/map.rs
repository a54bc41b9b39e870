//! The line map: for every line of every generated file, the line of the chapter that it came from.
//!
//! It lies in [`FILE`] inside the output directory and is also the record of what tangle wrote, so that an edit by hand
//! is noticed and a file that the book no longer has is removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The directory inside the output directory that belongs to tangle.
pub const DIRECTORY: &str = ".tangle";
/// The map inside the output directory.
pub const FILE: &str = ".tangle/map.json";
/// The version of the format; a map of another version is not used.
pub const VERSION: u32 = 1;

/// The map of a whole output directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineMap {
    /// [`VERSION`].
    pub version: u32,
    /// The chapters, relative to the root of the book; spans name them by number.
    pub sources: Vec<String>,
    /// The titles of the fragments; spans name them by number.
    pub fragments: Vec<String>,
    /// The generated files by path, relative to the output directory.
    pub files: BTreeMap<String, FileMap>,
    /// Files that an interrupted run may have left in either of two states: path and the older fingerprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<String, String>,
}

/// The map of one generated file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMap {
    /// The [`fingerprint`] of the whole file as tangle wrote it.
    pub hash: String,
    /// How many lines it has.
    pub lines: usize,
    /// Its lines in stretches, first to last, without a gap.
    pub spans: Vec<Span>,
}

/// Consecutive lines of a generated file that are consecutive lines of one fence.
/// In JSON it is the array of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    from = "(usize, usize, usize, usize, isize, usize)",
    into = "(usize, usize, usize, usize, isize, usize)"
)]
pub struct Span {
    /// The first line in the generated file, from 1.
    pub line: usize,
    /// How many lines.
    pub count: usize,
    /// The chapter: an index into [`LineMap::sources`].
    pub source: usize,
    /// The first line in the chapter, from 1.
    pub source_line: usize,
    /// Generated column minus chapter column, in characters: the indentation of the references that led here, less the
    /// prefix that a list or a quotation puts before the fence. Empty lines have no columns to shift.
    pub shift: isize,
    /// The fragment: an index into [`LineMap::fragments`].
    pub fragment: usize,
}

type Tuple = (usize, usize, usize, usize, isize, usize);

impl From<Tuple> for Span {
    fn from((line, count, source, source_line, shift, fragment): Tuple) -> Self {
        Self {
            line,
            count,
            source,
            source_line,
            shift,
            fragment,
        }
    }
}

impl From<Span> for Tuple {
    fn from(span: Span) -> Self {
        (
            span.line,
            span.count,
            span.source,
            span.source_line,
            span.shift,
            span.fragment,
        )
    }
}

/// Where a place in a generated file was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The chapter, relative to the root of the book.
    pub source: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The title of the fragment.
    pub fragment: &'a str,
}

impl FileMap {
    /// The span that holds `line` (from 1).
    #[must_use]
    pub fn span(&self, line: usize) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.line <= line);
        let span = self.spans.get(after.checked_sub(1)?)?;
        (line < span.line + span.count).then_some(span)
    }
}

impl LineMap {
    /// Where `line` and `column` (both from 1) of the generated file `path` were written.
    ///
    /// ```
    /// use tangle::source::Book;
    ///
    /// let chapter = "~~~rust file=a.rs\nfn main() {\n    <<greet>>\n}\n~~~\n\n~~~rust #greet\ngreet();\n~~~\n";
    /// let book = Book::new([("one.md", chapter)]);
    /// let program = tangle::program(&book).unwrap();
    /// let map = program.tangled.line_map(&book, &program.model);
    /// // In the file, the call is indented.
    /// let origin = map.origin("a.rs", 2, 5).unwrap();
    /// assert_eq!((origin.source, origin.line, origin.column), ("one.md", 8, 1));
    /// assert_eq!(origin.fragment, "greet");
    /// ```
    #[must_use]
    pub fn origin(&self, path: &str, line: usize, column: usize) -> Option<Origin<'_>> {
        let span = self.files.get(path)?.span(line)?;
        Some(Origin {
            source: self.sources.get(span.source)?,
            line: span.source_line + (line - span.line),
            column: column.checked_add_signed(-span.shift).unwrap_or(0).max(1),
            fragment: self.fragments.get(span.fragment)?,
        })
    }

    /// As it is written to [`FILE`].
    ///
    /// # Panics
    /// Never: strings and numbers always serialize.
    #[must_use]
    pub fn to_json(&self) -> String {
        json(self)
    }

    /// The same while files are being changed, with what is [`pending`](Self::pending).
    pub(crate) fn to_journal(&self, pending: &BTreeMap<String, String>) -> String {
        #[derive(Serialize)]
        struct Journal<'a> {
            version: u32,
            sources: &'a [String],
            fragments: &'a [String],
            files: &'a BTreeMap<String, FileMap>,
            pending: &'a BTreeMap<String, String>,
        }
        json(&Journal {
            version: self.version,
            sources: &self.sources,
            fragments: &self.fragments,
            files: &self.files,
            pending,
        })
    }

    /// Reads what [`Self::to_json`] wrote; `None` if it is something else or of another version.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json)
            .ok()
            .filter(|map: &Self| map.version == VERSION)
    }
}

fn json(map: &impl Serialize) -> String {
    let mut json = serde_json::to_string(map).expect("strings and numbers always serialize");
    json.push('\n');
    json
}

/// The fingerprint by which the text of a file is recognised.
#[must_use]
pub fn fingerprint(text: &[u8]) -> String {
    hex(xxhash_rust::xxh3::xxh3_128(text))
}

/// A fingerprint as it is written.
pub(crate) fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_finds_its_origin() {
        let span = |line, count, source_line, shift| Span {
            line,
            count,
            source: 0,
            source_line,
            shift,
            fragment: 0,
        };
        let map = LineMap {
            version: VERSION,
            sources: vec!["a.md".to_owned()],
            fragments: vec!["f".to_owned()],
            files: BTreeMap::from([(
                "x".to_owned(),
                FileMap {
                    hash: fingerprint(b""),
                    lines: 5,
                    spans: vec![span(1, 2, 10, 0), span(3, 3, 20, 4)],
                },
            )]),
            pending: BTreeMap::new(),
        };
        assert_eq!(LineMap::from_json(&map.to_json()).as_ref(), Some(&map));
        let at = |line, column| map.origin("x", line, column).map(|origin| (origin.line, origin.column));
        assert_eq!(at(2, 3), Some((11, 3)));
        assert_eq!(at(5, 6), Some((22, 2)));
        assert_eq!(at(5, 2), Some((22, 1)));
        assert_eq!(at(6, 1), None);
        assert_eq!(at(0, 1), None);
        assert_eq!(map.origin("y", 1, 1), None);
    }
}
