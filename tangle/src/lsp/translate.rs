//! What the analyzer says of generated files, said of the chapters.
//!
//! A place in a generated file becomes the place where it was written, or nothing if no chapter has it. A place in any
//! other file, such as the standard library's, stays as it is.

use std::path::PathBuf;

use lsp_types::{
    CompletionItem, CompletionTextEdit, Diagnostic, DocumentHighlight, GotoDefinitionResponse, Hover,
    InsertReplaceEdit, Location, LocationLink, Position, Range, TextEdit, Uri,
};

use super::encoding::Encoding;
use super::mapping::{Mapping, Written};
use super::uri;
use crate::source::Source;

/// Translates with the help of one state of the book: the one that the analyzer had seen when it was asked.
#[derive(Debug, Clone)]
pub struct Translator {
    /// The way between chapters and files.
    pub mapping: Mapping,
    /// How the analyzer counts columns.
    pub analyzer: Encoding,
    /// The output directory.
    pub out: PathBuf,
}

/// A range in a chapter, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The chapter.
    pub chapter: usize,
    /// Where in it.
    pub range: Range,
}

/// An edit in a chapter, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The chapter.
    pub chapter: usize,
    /// What changes there.
    pub edit: TextEdit,
}

impl Translator {
    /// The generated file that `uri` names, relative to the output directory.
    pub fn generated(&self, uri: &Uri) -> Option<String> {
        let path = uri::to_path(uri)?;
        let path = path.strip_prefix(&self.out).ok()?.to_str()?.to_owned();
        self.mapping.outputs()?.contains_key(&path).then_some(path)
    }

    /// Where a position of a chapter is for the analyzer, if it is in Rust code.
    pub fn forward(&self, chapter: usize, position: Position) -> Option<(Uri, Position)> {
        let offset = self.mapping.now().offset(chapter, position);
        let generated = self.mapping.forward(Written { chapter, offset }, is_rust)?;
        let output = &self.mapping.outputs()?[generated.path];
        let position = self.analyzer.position(&output.source, generated.offset);
        Some((uri::from_path(&self.out.join(generated.path)), position))
    }

    /// Where a range of the generated file `path` was written.
    pub fn range(&self, path: &str, range: Range) -> Option<Place> {
        let output = self.mapping.outputs()?.get(path)?;
        let bytes = self.analyzer.bytes(&output.source, range);
        let start = self.mapping.back(path, bytes.start)?;
        let source = &self.mapping.now().book.sources[start.chapter];
        let line_end = source.line_range(source.line(start.offset))?.end;
        // What begins in one fragment and ends in another, or in a chapter before, ends with its first line.
        let end = self.mapping.back(path, bytes.end);
        let end = end
            .filter(|end| end.chapter == start.chapter && end.offset >= start.offset)
            .map_or(line_end, |end| end.offset);
        Some(Place {
            chapter: start.chapter,
            range: self.mapping.now().encoding.range(source, start.offset..end),
        })
    }

    /// Where a range of any file is for the editor.
    fn place(&self, uri: &Uri, range: Range) -> Option<(Uri, Range)> {
        match self.generated(uri) {
            None => Some((uri.clone(), range)),
            Some(path) => {
                let place = self.range(&path, range)?;
                Some((self.mapping.now().uri(place.chapter).clone(), place.range))
            }
        }
    }

    /// A place to go to.
    pub fn location(&self, location: &Location) -> Option<Location> {
        let (uri, range) = self.place(&location.uri, location.range)?;
        Some(Location::new(uri, range))
    }

    /// Places to go to; two that became the same are one.
    pub fn locations(&self, locations: &[Location]) -> Vec<Location> {
        let mut translated = Vec::new();
        for location in locations.iter().filter_map(|location| self.location(location)) {
            if !translated.contains(&location) {
                translated.push(location);
            }
        }
        translated
    }

    fn link(&self, path: &str, link: &LocationLink) -> Option<LocationLink> {
        let (target_uri, target_selection_range) = self.place(&link.target_uri, link.target_selection_range)?;
        let (around, target_range) = self.place(&link.target_uri, link.target_range)?;
        // What is selected must lie in what is shown, which may begin in another chapter.
        let fits = around == target_uri
            && target_range.start <= target_selection_range.start
            && target_selection_range.end <= target_range.end;
        Some(LocationLink {
            origin_selection_range: link
                .origin_selection_range
                .and_then(|range| Some(self.range(path, range)?.range)),
            target_range: if fits { target_range } else { target_selection_range },
            target_uri,
            target_selection_range,
        })
    }

    /// The answer to a question that was asked in the generated file `path`.
    pub fn definitions(&self, path: &str, response: GotoDefinitionResponse) -> GotoDefinitionResponse {
        match response {
            GotoDefinitionResponse::Scalar(location) => {
                GotoDefinitionResponse::Array(self.location(&location).into_iter().collect())
            }
            GotoDefinitionResponse::Array(locations) => GotoDefinitionResponse::Array(self.locations(&locations)),
            GotoDefinitionResponse::Link(links) => {
                GotoDefinitionResponse::Link(links.into_iter().filter_map(|link| self.link(path, &link)).collect())
            }
        }
    }

    /// A hover text; without its range if that has become another one.
    pub fn hover(&self, path: &str, hover: Hover) -> Hover {
        Hover {
            range: hover.range.and_then(|range| Some(self.range(path, range)?.range)),
            ..hover
        }
    }

    /// The highlights that are in `chapter`.
    pub fn highlights(&self, path: &str, chapter: usize, highlights: Vec<DocumentHighlight>) -> Vec<DocumentHighlight> {
        let translate = |highlight: DocumentHighlight| {
            let place = self.range(path, highlight.range)?;
            (place.chapter == chapter).then_some(DocumentHighlight {
                range: place.range,
                ..highlight
            })
        };
        highlights.into_iter().filter_map(translate).collect()
    }

    /// A diagnostic of the generated file `path`, and its chapter.
    pub fn diagnostic(&self, path: &str, diagnostic: &Diagnostic) -> Option<(usize, Diagnostic)> {
        let place = self.range(path, diagnostic.range)?;
        let related = diagnostic.related_information.as_ref().map(|related| {
            let translate = |information: &lsp_types::DiagnosticRelatedInformation| {
                let location = self.location(&information.location)?;
                let message = information.message.clone();
                Some(lsp_types::DiagnosticRelatedInformation { location, message })
            };
            related.iter().filter_map(translate).collect()
        });
        let diagnostic = Diagnostic {
            range: place.range,
            related_information: related,
            ..diagnostic.clone()
        };
        Some((place.chapter, diagnostic))
    }

    /// A completion for `chapter`. `None` if it would change what is not there. What belongs into other chapters, an
    /// import most likely, is returned beside it.
    pub fn completion(&self, path: &str, chapter: usize, item: CompletionItem) -> Option<(CompletionItem, Vec<Edit>)> {
        let here = |edit: Option<Edit>| edit.filter(|edit| edit.chapter == chapter).map(|edit| edit.edit);
        let text_edit = match item.text_edit {
            None => None,
            // Editors indent the further lines of what is typed; the chapter's own margin is in the line already.
            Some(CompletionTextEdit::Edit(edit)) => Some(CompletionTextEdit::Edit(here(self.edit(path, edit, false))?)),
            Some(CompletionTextEdit::InsertAndReplace(edit)) => {
                let range = |range| here(self.edit(path, TextEdit::new(range, edit.new_text.clone()), false));
                Some(CompletionTextEdit::InsertAndReplace(InsertReplaceEdit {
                    insert: range(edit.insert)?.range,
                    replace: range(edit.replace)?.range,
                    new_text: edit.new_text.clone(),
                }))
            }
        };
        let edits: Option<Vec<_>> = item.additional_text_edits.map(|edits| {
            let edits: Option<Vec<_>> = edits.into_iter().map(|edit| self.edit(path, edit, true)).collect();
            // Half of them would be worse than none.
            edits.unwrap_or_default()
        });
        let (near, far): (Vec<_>, Vec<_>) = edits
            .unwrap_or_default()
            .into_iter()
            .partition(|edit| edit.chapter == chapter);
        let item = CompletionItem {
            text_edit,
            additional_text_edits: (!near.is_empty()).then(|| near.into_iter().map(|edit| edit.edit).collect()),
            ..item
        };
        Some((item, far))
    }

    /// An edit of the generated file `path`. With `margins`, the lines of its text stand in the file and lose the
    /// indentation that the references to the fragment add; in a quotation they get its mark.
    fn edit(&self, path: &str, edit: TextEdit, margins: bool) -> Option<Edit> {
        let output = self.mapping.outputs()?.get(path)?;
        let bytes = self.analyzer.bytes(&output.source, edit.range);
        let (start, end) = (
            self.mapping.back(path, bytes.start)?,
            self.mapping.back(path, bytes.end)?,
        );
        if start.chapter != end.chapter || end.offset < start.offset {
            return None;
        }
        let source = &self.mapping.now().book.sources[start.chapter];
        // From one line to another the chapter may hold anything, prose for instance.
        if line_ends(&output.source, bytes.start, bytes.end) > 0 || line_ends(source, start.offset, end.offset) > 0 {
            return None;
        }
        let mut text = edit.new_text;
        if margins {
            let (indent, prefix) = self.mapping.margins(path, bytes.start)?;
            let in_margin = bytes.start < output.source.line_start(bytes.start) + indent.len();
            text = rebase(&text, in_margin, indent, prefix);
        }
        Some(Edit {
            chapter: start.chapter,
            edit: TextEdit::new(
                self.mapping.now().encoding.range(source, start.offset..end.offset),
                text,
            ),
        })
    }
}

/// Whether the analyzer knows about such a file.
pub fn is_rust(path: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

fn line_ends(source: &Source, start: usize, end: usize) -> usize {
    source.line(end) - source.line(start)
}

/// Gives the lines of `text` another margin.
fn rebase(text: &str, first_too: bool, indent: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
            out.push_str(prefix);
        }
        let strip = number > 0 || first_too;
        out.push_str(line.strip_prefix(indent).filter(|_| strip).unwrap_or(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::rc::Rc;

    use lsp_types::CompletionTextEdit::Edit as Main;

    use super::super::documents::Documents;
    use super::super::edition::Edition;
    use super::super::snapshot::Snapshot;
    use super::*;

    const FIRST: &str = concat!(
        "```rust file=a.rs\n",       // 0
        "<<imports>>\n",             // 1
        "fn main() {\n",             // 2
        "    <<body>>\n",            // 3
        "}\n```\n",                  // 4
        "Prose.\n",                  // 6
        "```rust file=b.rs\n",       // 7
        "<<body>>\n```\n",           // 8
        "```toml file=Cargo.toml\n", // 10
        "name = 1\n```\n",           // 11
    );
    const SECOND: &str = concat!(
        "> ```rust #imports\n",    // 0
        "> use std::fs;\n> ```\n", // 1
        "\n",                      // 3
        "- ```rust #body\n",       // 4
        "  let é = \"ü\"; x();\n", // 5
        "  ```\n",                 // 6
    );

    fn translator(encoding: Encoding, analyzer: Encoding) -> Translator {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(root.join("src")).unwrap();
        fs::write(root.join("book.toml"), "").unwrap();
        fs::write(root.join("src/SUMMARY.md"), "- [One](one.md)\n- [Two](two.md)\n").unwrap();
        fs::write(root.join("src/one.md"), FIRST).unwrap();
        fs::write(root.join("src/two.md"), SECOND).unwrap();
        let snapshot = Rc::new(Snapshot::take(&Edition::book(&root), encoding, &Documents::default()).unwrap());
        assert!(snapshot.diagnostics.is_empty(), "{:?}", snapshot.diagnostics);
        Translator {
            out: snapshot.out.clone(),
            mapping: Mapping::new(snapshot.clone(), snapshot),
            analyzer,
        }
    }

    fn range(line: u32, from: u32, to: u32) -> Range {
        Range::new(Position::new(line, from), Position::new(line, to))
    }

    fn uri_of(translator: &Translator, path: &str) -> Uri {
        uri::from_path(&translator.out.join(path))
    }

    #[test]
    fn columns_are_right_on_both_sides_of_every_pair_of_encodings() {
        // x stands behind "  let é = "ü"; " in the chapter and behind "    let é = "ü"; " in the file.
        for (editor, column) in [(Encoding::Utf8, 17), (Encoding::Utf16, 15)] {
            for (analyzer, there) in [(Encoding::Utf8, 19), (Encoding::Utf16, 17)] {
                let translator = translator(editor, analyzer);
                let (uri, position) = translator.forward(1, Position::new(5, column)).unwrap();
                assert_eq!(uri, uri_of(&translator, "a.rs"), "the first of two files");
                assert_eq!(position, Position::new(2, there), "{editor:?} {analyzer:?}");
                let place = translator.range("a.rs", range(2, there, there + 1)).unwrap();
                assert_eq!((place.chapter, place.range), (1, range(5, column, column + 1)));
            }
        }
    }

    #[test]
    fn only_rust_is_forwarded() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        assert_eq!(translator.forward(0, Position::new(11, 2)), None);
        assert_eq!(translator.forward(0, Position::new(6, 2)), None);
    }

    #[test]
    fn other_files_stay_and_places_without_a_chapter_go() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let location = |uri: Uri, range| translator.location(&Location::new(uri, range));
        let library: Uri = "file:///usr/lib/string.rs".parse().unwrap();
        let there = Location::new(library.clone(), range(7, 1, 2));
        assert_eq!(location(library, range(7, 1, 2)), Some(there));
        let stranger = uri_of(&translator, "README.md");
        assert!(location(stranger.clone(), range(0, 0, 1)).is_some_and(|there| there.uri == stranger));
        let known = location(uri_of(&translator, "a.rs"), range(1, 3, 7)).unwrap();
        assert_eq!(
            (&known.uri, known.range),
            (translator.mapping.now().uri(0), range(2, 3, 7))
        );
    }

    #[test]
    fn places_that_become_one_are_named_once() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let both = [("a.rs", range(2, 8, 9)), ("b.rs", range(0, 4, 5))]
            .map(|(path, range)| Location::new(uri_of(&translator, path), range));
        let locations = translator.locations(&both);
        assert_eq!(locations.len(), 1);
        assert_eq!(locations[0].range, range(5, 6, 7));
    }

    #[test]
    fn what_crosses_fragments_ends_with_its_first_line() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let whole = Range::new(Position::new(0, 4), Position::new(2, 8));
        let place = translator.range("a.rs", whole).unwrap();
        assert_eq!((place.chapter, place.range.start), (1, Position::new(1, 6)));
        let function = Range::new(Position::new(1, 0), Position::new(3, 1));
        let place = translator.range("a.rs", function).unwrap();
        assert_eq!(place.range.end, Position::new(4, 1), "one fragment around another");
        let back = Range::new(Position::new(2, 4), Position::new(3, 1));
        let place = translator.range("a.rs", back).unwrap();
        assert_eq!((place.chapter, place.range), (1, range(5, 2, 19)));
    }

    #[test]
    fn a_link_shows_what_it_selects() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let link = LocationLink {
            origin_selection_range: Some(range(2, 4, 7)),
            target_uri: uri_of(&translator, "a.rs"),
            target_range: Range::new(Position::new(0, 0), Position::new(3, 1)),
            target_selection_range: range(1, 3, 7),
        };
        let response = translator.definitions("a.rs", GotoDefinitionResponse::Link(vec![link]));
        let GotoDefinitionResponse::Link(links) = response else {
            panic!("{response:?}");
        };
        assert_eq!(links[0].origin_selection_range, Some(range(5, 2, 5)));
        assert_eq!(&links[0].target_uri, translator.mapping.now().uri(0));
        assert_eq!(links[0].target_selection_range, range(2, 3, 7));
        assert_eq!(links[0].target_range, range(2, 3, 7), "it began in another chapter");
    }

    #[test]
    fn a_completion_types_where_the_cursor_is_and_its_import_goes_elsewhere() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let item = CompletionItem {
            text_edit: Some(Main(TextEdit::new(range(2, 17, 18), "xyz".to_owned()))),
            additional_text_edits: Some(vec![TextEdit::new(range(0, 12, 12), "\nuse std::io;".to_owned())]),
            ..CompletionItem::default()
        };
        let (item, far) = translator.completion("a.rs", 1, item).unwrap();
        assert_eq!(
            item.text_edit,
            Some(Main(TextEdit::new(range(5, 15, 16), "xyz".to_owned())))
        );
        // The quotation is continued.
        let import = TextEdit::new(range(1, 14, 14), "\n> use std::io;".to_owned());
        assert_eq!((item.additional_text_edits, far), (Some(vec![import]), Vec::new()));
    }

    #[test]
    fn an_import_for_another_chapter_is_set_apart() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let item = CompletionItem {
            additional_text_edits: Some(vec![TextEdit::new(range(0, 0, 0), "use std::io;\n".to_owned())]),
            ..CompletionItem::default()
        };
        let (item, far) = translator.completion("a.rs", 0, item).unwrap();
        assert_eq!(item.additional_text_edits, None);
        let import = TextEdit::new(range(1, 2, 2), "use std::io;\n> ".to_owned());
        assert_eq!(
            far,
            [Edit {
                chapter: 1,
                edit: import
            }]
        );
    }

    #[test]
    fn an_edit_over_a_border_is_no_edit() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let over = Range::new(Position::new(1, 11), Position::new(2, 4));
        let item = CompletionItem {
            text_edit: Some(Main(TextEdit::new(over, String::new()))),
            ..CompletionItem::default()
        };
        assert!(translator.completion("a.rs", 0, item).is_none());
    }

    #[test]
    fn margins_are_exchanged() {
        assert_eq!(rebase("    a\n      b\nc", true, "    ", "> "), "a\n>   b\n> c");
        assert_eq!(rebase("    a\n    b", false, "    ", ""), "    a\nb");
    }

    #[test]
    fn a_diagnostic_takes_its_other_places_along() {
        let translator = translator(Encoding::Utf16, Encoding::Utf16);
        let related = lsp_types::DiagnosticRelatedInformation {
            location: Location::new(uri_of(&translator, "a.rs"), range(1, 3, 7)),
            message: "here".to_owned(),
        };
        let diagnostic = Diagnostic {
            range: range(2, 8, 9),
            related_information: Some(vec![related]),
            ..Diagnostic::default()
        };
        let (chapter, diagnostic) = translator.diagnostic("a.rs", &diagnostic).unwrap();
        assert_eq!((chapter, diagnostic.range), (1, range(5, 6, 7)));
        let related = &diagnostic.related_information.unwrap()[0];
        assert_eq!(&related.location.uri, translator.mapping.now().uri(0));
        assert_eq!(related.location.range, range(2, 3, 7));
    }
}
