//! The book at one moment, as the editor shows it.

use std::collections::BTreeMap;
use std::ops;
use std::path::PathBuf;

use lsp_types::{Location, Position, Range, Uri};

use super::documents::{Documents, real};
use super::edition::Edition;
use super::encoding::Encoding;
use super::uri;
use crate::diagnostic::{Code, Diagnostic};
use crate::disk::Error;
use crate::lab;
use crate::map::Span;
use crate::model::{FragmentId, Model, Piece, PieceId};
use crate::source::{Book, Place, Source};
use crate::tangle;

/// Everything that is known about the book.
#[derive(Debug)]
pub struct Snapshot {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// Where the generated files are.
    pub out: PathBuf,
    /// How the editor counts columns.
    pub encoding: Encoding,
    /// The chapters.
    pub book: Book,
    /// Their fragments, as far as they can be read.
    pub model: Model,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// The files by path, relative to `out`; `None` if what is wrong leaves them without a meaning.
    pub outputs: Option<BTreeMap<String, Output>>,
    /// The number of the chapter that is a lab.
    pub lab: Option<usize>,
    /// The number of the first chapter that this edition is about.
    own: usize,
    /// The parts of it that are not in the view.
    hidden: Vec<ops::Range<usize>>,
    /// Where labs are.
    labs: Option<PathBuf>,
    /// Where their files go.
    labs_out: PathBuf,
    /// The chapters as the editor names them, and the real paths of their files.
    names: Vec<(Uri, PathBuf)>,
}

/// A generated file.
#[derive(Debug)]
pub struct Output {
    /// Its text.
    pub source: Source,
    /// Where its lines came from.
    pub spans: Vec<Span>,
    /// The lines (from 1) that each piece became, together with all that it refers to.
    pub pieces: Vec<(PieceId, ops::Range<usize>)>,
}

impl Snapshot {
    /// Reads the chapters of `edition`: what is open from the editor, the rest from the disk.
    pub fn take(edition: &Edition, encoding: Encoding, documents: &Documents) -> Result<Self, Error> {
        let reading = edition.read(|path| documents.read(path))?;
        let (labs, labs_out) = (reading.inputs.labs(), reading.inputs.labs_out());
        let project = reading.inputs.project()?;
        let lab = edition.lab.as_ref().map(|_| project.book.sources.len() - 1);
        let (model, mut diagnostics) = crate::examine(&project.book);
        let broken = lab::diagnostics(lab.unwrap_or_default(), reading.broken);
        let sound = broken.is_empty() && !diagnostics.iter().any(|diagnostic| senseless(diagnostic.code));
        if broken.is_empty() {
            diagnostics.extend(lab::diagnostics(lab.unwrap_or_default(), reading.form));
        } else {
            // What is wrong with it as one piece is nobody's mistake.
            diagnostics = broken;
        }
        let names = project.book.sources.iter().map(|source| {
            let path = project.root.join(source.path());
            let open = documents.get(&path).map(|document| document.uri.clone());
            (open.unwrap_or_else(|| uri::from_path(&path)), real(&path))
        });
        Ok(Self {
            names: names.collect(),
            outputs: sound.then(|| outputs(&model)),
            lab,
            own: reading.own,
            hidden: reading.hidden,
            labs,
            labs_out,
            out: project.out,
            root: project.root,
            book: project.book,
            encoding,
            model,
            diagnostics,
        })
    }

    /// The number of the chapter that the editor calls `uri`.
    pub fn chapter(&self, uri: &Uri) -> Option<usize> {
        let path = uri::to_path(uri)?;
        let path = real(&path);
        self.names
            .iter()
            .position(|(name, known)| name == uri || *known == path)
    }

    /// Whether a chapter is what this edition is about: any of the book, or what is behind it.
    pub fn is_own(&self, chapter: usize) -> bool {
        chapter >= self.own
    }

    /// Whether a position of a chapter is in the view of it that this book has.
    pub fn shows(&self, chapter: usize, position: Position) -> bool {
        let offset = self.offset(chapter, position);
        !self
            .hidden
            .iter()
            .any(|hidden| self.lab == Some(chapter) && hidden.contains(&offset))
    }

    /// The editions of the book with the labs that are open.
    pub fn labs(&self, documents: &Documents) -> Vec<Edition> {
        let Some(labs) = &self.labs else { return Vec::new() };
        let mut editions = Edition::with_labs(&self.root, labs, &self.labs_out, self.book.dialect, documents);
        editions.retain(|edition| {
            let path = edition.lab.as_ref().map(|lab| &lab.path);
            !self.names.iter().any(|(_, chapter)| Some(chapter) == path)
        });
        editions
    }

    /// What the editor calls the chapter of this number.
    pub fn uri(&self, chapter: usize) -> &Uri {
        &self.names[chapter].0
    }

    /// A place in the terms of the editor.
    pub fn location(&self, place: &Place) -> Location {
        Location::new(self.uri(place.source).clone(), self.range(place))
    }

    /// The range of a place in its chapter.
    pub fn range(&self, place: &Place) -> Range {
        self.encoding
            .range(&self.book.sources[place.source], place.range.clone())
    }

    /// The byte at a position of a chapter.
    pub fn offset(&self, chapter: usize, position: Position) -> usize {
        self.encoding.offset(&self.book.sources[chapter], position)
    }

    /// The fence around a byte of a chapter.
    pub fn piece_at(&self, chapter: usize, offset: usize) -> Option<(PieceId, &Piece)> {
        let pieces = &self.model.pieces;
        let behind = pieces.partition_point(|piece| (piece.source, piece.fence.range.start) <= (chapter, offset));
        let id = behind.checked_sub(1)?;
        let piece = &pieces[id];
        (piece.source == chapter && offset <= piece.fence.range.end).then_some((id, piece))
    }

    /// Where the code of a line (from 1) of a chapter begins, if it is a line of code: behind the prefix of a list or a quotation.
    pub fn code_start(&self, chapter: usize, line: usize) -> Option<usize> {
        let start = self.book.sources[chapter].line_range(line)?.start;
        // A fence in a quotation begins behind its prefix, but never on a line of code.
        let (_, piece) = self.piece_at(chapter, start)?;
        Some(piece.fence.numbered(line)?.offset)
    }

    /// Where the fragment `id` is defined.
    pub fn definition(&self, id: FragmentId) -> Place {
        self.model.pieces[self.model.fragments[id].pieces[0]].place()
    }

    /// Every `<<name>>` of the fragment `id`.
    pub fn uses(&self, id: FragmentId) -> Vec<Place> {
        let mut uses = Vec::new();
        for (user, piece) in self.model.pieces.iter().enumerate() {
            let references = piece.fence.lines().filter_map(|line| line.reference());
            uses.extend(
                references
                    .filter(|reference| self.model.meant(user, reference.name) == Some(id))
                    .map(|reference| Place {
                        source: piece.source,
                        range: reference.range,
                    }),
            );
        }
        uses
    }

    /// The path of a chapter and a line, as one says it.
    pub fn says(&self, place: &Place) -> String {
        let source = &self.book.sources[place.source];
        format!("{}:{}", source.path(), source.line(place.range.start))
    }
}

/// Whether the files of a book with such a mistake would hold what nobody meant. Where a fragment is merely missing or
/// superfluous they are as good as they can be while somebody is typing.
fn senseless(code: Code) -> bool {
    matches!(
        code,
        Code::UnterminatedFence | Code::CyclicFragment | Code::TooLarge | Code::BadPath | Code::PathInPath
    )
}

fn outputs(model: &Model) -> BTreeMap<String, Output> {
    let tangled = tangle::tangle(model);
    let output = |(path, file): (String, tangle::File)| {
        let source = Source::new(path.as_str(), file.text);
        (
            path,
            Output {
                source,
                spans: file.spans,
                pieces: file.pieces,
            },
        )
    };
    tangled.files.into_iter().map(output).collect()
}
