//! From the chapters to the generated files and back, byte by byte.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::rc::Rc;

use super::snapshot::{Output, Snapshot};
use crate::diff;
use crate::map::Span;
use crate::source::Source;

/// Connects the chapters as they are `now` with the files of the last `sound` state, which are those that the analyzer has seen.
#[derive(Debug, Clone)]
pub struct Mapping {
    now: Rc<Snapshot>,
    sound: Rc<Snapshot>,
    /// By chapter of `now`: its number in `sound`, and which line is which if its text changed since.
    chapters: Rc<Vec<Option<Chapter>>>,
}

#[derive(Debug)]
struct Chapter {
    sound: usize,
    lines: Option<Lines>,
}

/// Equal lines of two states of a chapter.
#[derive(Debug, Default)]
struct Lines {
    then: HashMap<usize, usize>,
    now: HashMap<usize, usize>,
}

/// A byte of a generated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated<'a> {
    /// Which file.
    pub path: &'a str,
    /// Which byte.
    pub offset: usize,
}

/// A byte of a chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which chapter of the present book.
    pub chapter: usize,
    /// Which byte.
    pub offset: usize,
}

/// One line that stands in a chapter and in a file.
struct Line {
    /// In the chapter of the sound state: number, and where the code begins behind the prefix of a list or a quotation.
    chapter: usize,
    code_start: usize,
    /// The end of the chapter's line, and start and end of the file's.
    chapter_end: usize,
    start: usize,
    end: usize,
}

impl Line {
    /// How many bytes at the ends of both lines are the same.
    fn code_length(&self) -> usize {
        self.chapter_end.saturating_sub(self.code_start)
    }
}

impl Mapping {
    /// Connects two states, which may be the same.
    pub fn new(now: Rc<Snapshot>, sound: Rc<Snapshot>) -> Self {
        let chapters = now.book.sources.iter().enumerate();
        let chapters = chapters.map(|(number, source)| {
            if Rc::ptr_eq(&now, &sound) {
                return Some(Chapter {
                    sound: number,
                    lines: None,
                });
            }
            let mut known = sound.book.sources.iter();
            let then = known.position(|known| known.path() == source.path())?;
            Some(Chapter {
                sound: then,
                lines: lines(&sound.book.sources[then], source),
            })
        });
        Self {
            chapters: Rc::new(chapters.collect()),
            now,
            sound,
        }
    }

    /// The chapters at one end.
    pub fn now(&self) -> &Snapshot {
        &self.now
    }

    /// The files at the other end.
    pub fn outputs(&self) -> Option<&BTreeMap<String, Output>> {
        self.sound.outputs.as_ref()
    }

    /// Where a byte of a chapter goes; the first place of several. `wanted` chooses among the files.
    pub fn forward(&self, written: Written, wanted: impl Fn(&str) -> bool) -> Option<Generated<'_>> {
        let source = &self.now.book.sources[written.chapter];
        let number = source.line(written.offset);
        let chapter = self.chapters[written.chapter].as_ref()?;
        let then = match &chapter.lines {
            None => number,
            Some(lines) => *lines.then.get(&number)?,
        };
        let (path, output, span) = self.outputs()?.iter().find_map(|(path, output)| {
            let here = |span: &&Span| {
                span.source == chapter.sound && (span.source_line..span.source_line + span.count).contains(&then)
            };
            let span = output.spans.iter().find(here).filter(|_| wanted(path))?;
            Some((path, output, span))
        })?;
        let line = self.line(output, span, span.line + (then - span.source_line))?;
        // Both lines end with the same text, so the distance from their ends is the same.
        let behind = source.line_range(number)?.end.saturating_sub(written.offset);
        let code_start = line.end.saturating_sub(line.code_length()).max(line.start);
        let offset = line.end.saturating_sub(behind).max(code_start);
        output
            .source
            .text()
            .is_char_boundary(offset)
            .then_some(Generated { path, offset })
    }

    /// Where a byte of a generated file was written. White space that only the file has is where the code begins.
    pub fn back(&self, path: &str, offset: usize) -> Option<Written> {
        let output = self.outputs()?.get(path)?;
        let text = output.source.text();
        // Behind the last line there is nothing that a chapter has; its end is the nearest place.
        let offset = offset.min(text.len().saturating_sub(usize::from(text.ends_with('\n'))));
        let number = output.source.line(offset);
        let span = output.spans[..output.spans.partition_point(|span| span.line <= number)].last()?;
        let line = self.line(output, span, number)?;
        let then = span.source_line + (number - span.line);
        let (chapter, now) = self.chapters.iter().enumerate().find_map(|(chapter, known)| {
            let known = known.as_ref().filter(|known| known.sound == line.chapter)?;
            match &known.lines {
                None => Some((chapter, then)),
                Some(lines) => Some((chapter, *lines.now.get(&then)?)),
            }
        })?;
        let source = &self.now.book.sources[chapter];
        let here = source.line_range(now)?;
        let behind = line.end.saturating_sub(offset);
        let code = line.code_length().min(here.len());
        let offset = here.end - behind.min(code);
        source
            .text()
            .is_char_boundary(offset)
            .then_some(Written { chapter, offset })
    }

    /// What stands before the code of a generated line and not of the chapter's, and the other way round.
    pub fn margins(&self, path: &str, offset: usize) -> Option<(&str, &str)> {
        let output = self.outputs()?.get(path)?;
        let number = output.source.line(offset);
        let span = output.spans[..output.spans.partition_point(|span| span.line <= number)].last()?;
        let line = self.line(output, span, number)?;
        let code = line.code_length();
        let indent = &output.source.text()[line.start..line.end.saturating_sub(code).max(line.start)];
        let chapter = &self.sound.book.sources[line.chapter];
        let prefix = &chapter.text()[chapter.line_start(line.code_start)..line.code_start];
        Some((indent, prefix))
    }

    fn line(&self, output: &Output, span: &Span, number: usize) -> Option<Line> {
        let there = output.source.line_range(number)?;
        let then = span.source_line + (number - span.line);
        Some(Line {
            chapter: span.source,
            code_start: self.sound.code_start(span.source, then)?,
            chapter_end: self.sound.book.sources[span.source].line_range(then)?.end,
            start: there.start,
            end: there.end,
        })
    }
}

/// Pairs the equal lines of two states of a chapter; `None` if all are.
fn lines(then: &Source, now: &Source) -> Option<Lines> {
    if then.text() == now.text() {
        return None;
    }
    let (old, new) = (diff::lines(then.text()), diff::lines(now.text()));
    let hunks = diff::compare(&old, &new);
    let mut lines = Lines::default();
    for (old, new) in diff::equal_pairs(&hunks, old.len(), new.len()) {
        lines.then.insert(new + 1, old + 1);
        lines.now.insert(old + 1, new + 1);
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use lsp_types::{TextDocumentContentChangeEvent, Uri};

    use super::super::documents::Documents;
    use super::super::edition::Edition;
    use super::super::encoding::Encoding;
    use super::super::uri;
    use super::*;

    const CHAPTER: &str = concat!(
        "Text\n\n```rust file=a.rs\nfn a() {\n    <<body>>\n}\n```\n\n",
        "- item\n\n  ```rust #body\n  let é = \"x\";\n\n  <<deeper>>\n  ```\n\n",
        "> ```rust #deeper\n> if x {\n>     y();\n> }\n> ```\n",
    );
    const FILE: &str = "fn a() {\n    let é = \"x\";\n\n    if x {\n        y();\n    }\n}\n";

    struct Scene {
        _directory: tempfile::TempDir,
        root: std::path::PathBuf,
        documents: Documents,
        uri: Uri,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = fs::canonicalize(directory.path()).unwrap();
            fs::create_dir(root.join("src")).unwrap();
            fs::write(root.join("book.toml"), "").unwrap();
            fs::write(root.join("src/SUMMARY.md"), "- [One](one.md)\n").unwrap();
            fs::write(root.join("src/one.md"), CHAPTER).unwrap();
            let uri = uri::from_path(&root.join("src/one.md"));
            let mut documents = Documents::default();
            documents.open(uri.clone(), 1, CHAPTER.to_owned());
            Self {
                _directory: directory,
                root,
                documents,
                uri,
            }
        }

        fn take(&self) -> Rc<Snapshot> {
            Rc::new(Snapshot::take(&Edition::book(&self.root), Encoding::Utf16, &self.documents).unwrap())
        }

        fn edit(&mut self, text: &str) -> Rc<Snapshot> {
            let whole = TextDocumentContentChangeEvent {
                range: None,
                range_length: None,
                text: text.to_owned(),
            };
            self.documents.change(&self.uri, 2, vec![whole], Encoding::Utf16);
            self.take()
        }
    }

    fn forward(mapping: &Mapping, text: &str, needle: &str) -> Option<usize> {
        let offset = text.find(needle).unwrap();
        let written = Written { chapter: 0, offset };
        Some(mapping.forward(written, |_| true)?.offset)
    }

    #[test]
    fn there_and_back_through_lists_and_quotations() {
        let scene = Scene::new();
        let now = scene.take();
        assert_eq!(now.outputs.as_ref().unwrap()["a.rs"].source.text(), FILE);
        let mapping = Mapping::new(now.clone(), now);
        for needle in ["fn a", "let é", "= \"x\"", "x\";", "if x", "y();", "}\n> ```"] {
            let there = forward(&mapping, CHAPTER, needle).unwrap();
            assert!(FILE[there..].starts_with(&needle[..1]), "{needle}");
            let offset = CHAPTER.find(needle).unwrap();
            assert_eq!(mapping.back("a.rs", there), Some(Written { chapter: 0, offset }));
        }
    }

    #[test]
    fn every_character_of_a_book_finds_its_way_back() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for book in ["editor", "program"] {
            let now = Snapshot::take(
                &Edition::book(&golden.join(book)),
                Encoding::Utf8,
                &Documents::default(),
            )
            .unwrap();
            let now = Rc::new(now);
            let mapping = Mapping::new(now.clone(), now.clone());
            let mut seen = 0;
            for (path, output) in now.outputs.as_ref().unwrap() {
                let text = output.source.text();
                for (offset, character) in text.char_indices().filter(|(_, character)| !character.is_whitespace()) {
                    let written = mapping.back(path, offset).unwrap();
                    let chapter = now.book.sources[written.chapter].text();
                    assert!(chapter[written.offset..].starts_with(character), "{path} {offset}");
                    let again = mapping.forward(written, |wanted| wanted == path).unwrap();
                    assert!(again.offset <= offset && text[again.offset..].starts_with(character));
                    seen += usize::from(again.offset == offset);
                }
            }
            assert!(seen > 200, "{book}: {seen}");
        }
    }

    #[test]
    fn prose_and_references_go_nowhere() {
        let scene = Scene::new();
        let now = scene.take();
        let mapping = Mapping::new(now.clone(), now);
        for needle in ["Text", "```rust file", "<<body>>", "item"] {
            assert_eq!(forward(&mapping, CHAPTER, needle), None, "{needle}");
        }
    }

    #[test]
    fn indentation_that_only_the_file_has_is_where_the_code_begins() {
        let scene = Scene::new();
        let now = scene.take();
        let mapping = Mapping::new(now.clone(), now);
        let chapter = |needle: &str| CHAPTER.find(needle).unwrap();
        let back = |at: usize| mapping.back("a.rs", at).map(|written| written.offset);
        assert_eq!(back(FILE.find("    if x").unwrap()), Some(chapter("if x")));
        assert_eq!(back(FILE.find("        y").unwrap() + 4), Some(chapter("    y();")));
        assert_eq!(
            back(FILE.len()),
            Some(chapter("}\n```\n\n- item") + 1),
            "the end of the file"
        );
        assert_eq!(
            mapping.margins("a.rs", FILE.find("y();").unwrap()),
            Some(("    ", "> "))
        );
        assert_eq!(mapping.back("b.rs", 0), None);
    }

    #[test]
    fn a_broken_chapter_keeps_the_places_of_its_equal_lines() {
        let mut scene = Scene::new();
        let sound = scene.take();
        let broken = CHAPTER.replacen("Text", "Text\n\n~~~rust #new", 1);
        let now = scene.edit(&broken);
        assert!(now.outputs.is_none());
        let mapping = Mapping::new(now, sound);
        let there = forward(&mapping, &broken, "let é").unwrap();
        assert!(FILE[there..].starts_with("let é"));
        let offset = broken.find("let é").unwrap();
        assert_eq!(mapping.back("a.rs", there), Some(Written { chapter: 0, offset }));
        assert_eq!(forward(&mapping, &broken, "~~~rust #new"), None);
        assert_eq!(Path::new(mapping.now().book.sources[0].path()), Path::new("src/one.md"));
    }
}
