//! Another name for a fragment, in all chapters at once.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use lsp_types::{PrepareRenameResponse, TextEdit, Uri, WorkspaceEdit};

use super::super::cursor::{self, Target};
use super::super::snapshot::Snapshot;
use super::navigate;
use crate::dialect::Dialect;
use crate::header;
use crate::model::FragmentId;
use crate::source::{Book, Place};
use crate::tangle;

/// Why there is no other name.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The book follows other rules, by which names are not found so easily.
    Foreign,
    /// The cursor is somewhere else.
    NoFragment,
    /// The fragment is only a file.
    NoName,
    /// Another fragment has the name, and stands here.
    Taken(String, String),
    /// No header can hold it.
    NotAName(String),
    /// A header spells the old name in a way that cannot be changed here.
    Spelling(String),
    /// The book would become another one.
    Different(String),
    /// The name stands in the book, too, in this place, and a lab changes nothing there.
    OfTheBook(String, String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "fragments of a book for entangled are renamed by hand"),
            Self::NoFragment => write!(f, "no fragment is named here"),
            Self::NoName => write!(
                f,
                "this fence has a path and no `#NAME`: change the path where it stands"
            ),
            Self::Taken(name, place) => write!(f, "`{name}` is taken: it is defined in {place}"),
            Self::NotAName(name) => write!(f, "`{name}` cannot be the name of a fragment in all of its headers"),
            Self::Spelling(place) => write!(
                f,
                "the header in {place} spells the name with escapes; change it by hand"
            ),
            Self::Different(name) => write!(
                f,
                "the files would not be the same if the fragment were called `{name}`"
            ),
            Self::OfTheBook(name, place) => write!(
                f,
                "`{name}` stands in the book as well, in {place}, and a lab leaves the book's chapters alone: rename it there"
            ),
        }
    }
}

/// What would be renamed.
pub fn prepare(snapshot: &Snapshot, target: Option<&Target>) -> Result<PrepareRenameResponse, Refused> {
    let target = target.ok_or(Refused::NoFragment)?;
    let id = fragment(snapshot, Some(target))?;
    let name = snapshot.model.fragments[id].name.as_deref().ok_or(Refused::NoName)?;
    leaves_the_book(snapshot, id, name)?;
    let (place, placeholder) = navigate::name(snapshot, target).ok_or(Refused::NoName)?;
    Ok(PrepareRenameResponse::RangeWithPlaceholder {
        range: snapshot.range(&place),
        placeholder,
    })
}

fn fragment(snapshot: &Snapshot, target: Option<&Target>) -> Result<FragmentId, Refused> {
    if snapshot.model.dialect != Dialect::Tangle {
        return Err(Refused::Foreign);
    }
    target
        .and_then(|target| target.fragment(snapshot))
        .ok_or(Refused::NoFragment)
}

/// Nothing that a lab wants changes the book before it.
fn leaves_the_book(snapshot: &Snapshot, id: FragmentId, name: &str) -> Result<(), Refused> {
    let pieces = snapshot.model.fragments[id].pieces.iter();
    let headers = pieces.map(|piece| snapshot.model.pieces[*piece].place());
    let mut places = headers.chain(snapshot.uses(id));
    match places.find(|place| !snapshot.is_own(place.source)) {
        Some(place) => Err(Refused::OfTheBook(name.to_owned(), snapshot.says(&place))),
        None => Ok(()),
    }
}

/// The edits that give the fragment under the cursor a new name, there and in `others`: the same book in other editions.
pub fn rename(
    snapshot: &Snapshot,
    target: Option<&Target>,
    new: &str,
    others: &[Rc<Snapshot>],
) -> Result<WorkspaceEdit, Refused> {
    let id = fragment(snapshot, target)?;
    let old = snapshot.model.fragments[id].name.as_deref().ok_or(Refused::NoName)?;
    let new = new.trim();
    // A URI knows nothing that could change, whatever its type suggests.
    #[expect(
        clippy::mutable_key_type,
        reason = "this is the type that the protocol's crate has chosen"
    )]
    let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
    let mut add = |edition: &Snapshot, id: FragmentId| {
        if let Some(other) = edition.model.named(new).filter(|other| *other != id) {
            let place = edition.says(&edition.definition(other));
            return Err(Refused::Taken(new.to_owned(), place));
        }
        if snapshot.lab.is_some() {
            leaves_the_book(edition, id, old)?;
        }
        let places = names(edition, id, old, new)?;
        verify(edition, &places, new)?;
        for place in &places {
            let edits = changes.entry(edition.uri(place.source).clone()).or_default();
            let edit = TextEdit::new(edition.range(place), new.to_owned());
            if !edits.contains(&edit) {
                edits.push(edit);
            }
        }
        Ok(())
    };
    add(snapshot, id)?;
    for other in others {
        if let Some(id) = other.model.named(old) {
            add(other, id)?;
        }
    }
    Ok(WorkspaceEdit::new(changes))
}

/// Where the name stands, in headers and in references.
fn names(snapshot: &Snapshot, id: FragmentId, old: &str, new: &str) -> Result<Vec<Place>, Refused> {
    let not_a_name = || Refused::NotAName(new.to_owned());
    if new.is_empty() || new.contains(['\n', '\r']) {
        return Err(not_a_name());
    }
    let mut places = Vec::new();
    for &piece in &snapshot.model.fragments[id].pieces {
        let piece = &snapshot.model.pieces[piece];
        if piece.fence.header.name.is_none() {
            continue;
        }
        let spelling = || Refused::Spelling(snapshot.says(&piece.place()));
        let range = cursor::name_in_header(snapshot, piece).ok_or_else(spelling)?;
        let source = &snapshot.book.sources[piece.source];
        let info = &piece.fence.info;
        let (before, behind) = (
            &source.text()[info.start..range.start],
            &source.text()[range.end..info.end],
        );
        let mut wanted = piece.fence.header.clone();
        wanted.name = Some(new.to_owned());
        if header::parse(&format!("{before}{new}{behind}")) != Ok(Some(wanted)) {
            return Err(not_a_name());
        }
        places.push(Place {
            source: piece.source,
            range,
        });
    }
    for place in snapshot.uses(id) {
        let range = cursor::name_in_reference(snapshot, &place, old).ok_or_else(not_a_name)?;
        places.push(Place {
            source: place.source,
            range,
        });
    }
    places.sort_by_key(|place| (place.source, place.range.start));
    Ok(places)
}

/// The new book must have the mistakes of the old one and no others, and become the same files.
fn verify(snapshot: &Snapshot, places: &[Place], new: &str) -> Result<(), Refused> {
    let sources = snapshot.book.sources.iter().enumerate().map(|(number, source)| {
        let mut text = source.text().to_owned();
        for place in places.iter().rev().filter(|place| place.source == number) {
            text.replace_range(place.range.clone(), new);
        }
        (source.path().to_owned(), text)
    });
    let renamed = Book {
        dialect: snapshot.book.dialect,
        ..Book::new(sources)
    };
    let (model, diagnostics) = crate::examine(&renamed);
    let codes = |diagnostics: &[crate::diagnostic::Diagnostic]| -> Vec<_> {
        diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
    };
    // Only what has no new circle can be tangled.
    let same_files = || {
        snapshot.outputs.as_ref().is_none_or(|outputs| {
            let tangled = tangle::tangle(&model);
            outputs.len() == tangled.files.len()
                && outputs.iter().all(|(path, output)| {
                    tangled
                        .files
                        .get(path)
                        .is_some_and(|file| file.text == output.source.text())
                })
        })
    };
    if codes(&diagnostics) == codes(&snapshot.diagnostics) && same_files() {
        Ok(())
    } else {
        Err(Refused::Different(new.to_owned()))
    }
}
