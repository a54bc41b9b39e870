//! From one place of a fragment to the others.

use lsp_types::{DocumentHighlight, DocumentHighlightKind, DocumentLink, Location};

use super::super::cursor::{self, Target};
use super::super::snapshot::Snapshot;
use super::super::uri;
use crate::model::FragmentId;
use crate::source::Place;

/// Where the fragment under the cursor is defined.
pub fn definition(snapshot: &Snapshot, target: &Target) -> Option<Location> {
    let id = target.fragment(snapshot)?;
    Some(snapshot.location(&snapshot.definition(id)))
}

/// Everything that the book has to say about a fragment: its headers in reading order, then its uses.
fn places(snapshot: &Snapshot, id: FragmentId) -> (Vec<Place>, Vec<Place>) {
    let pieces = &snapshot.model.fragments[id].pieces;
    let headers = pieces.iter().map(|&piece| snapshot.model.pieces[piece].place());
    (headers.collect(), snapshot.uses(id))
}

/// Every place of the fragment under the cursor.
pub fn references(snapshot: &Snapshot, target: &Target, declaration: bool) -> Option<Vec<Location>> {
    let (headers, uses) = places(snapshot, target.fragment(snapshot)?);
    let headers = headers.iter().skip(usize::from(!declaration));
    Some(headers.chain(&uses).map(|place| snapshot.location(place)).collect())
}

/// The places of the fragment under the cursor that are in the same chapter.
pub fn highlight(snapshot: &Snapshot, target: &Target, chapter: usize) -> Option<Vec<DocumentHighlight>> {
    let (headers, uses) = places(snapshot, target.fragment(snapshot)?);
    let kinds = [
        (headers, DocumentHighlightKind::WRITE),
        (uses, DocumentHighlightKind::READ),
    ];
    let mut highlights: Vec<_> = kinds
        .into_iter()
        .flat_map(|(places, kind)| places.into_iter().map(move |place| (place, kind)))
        .filter(|(place, _)| place.source == chapter)
        .map(|(place, kind)| DocumentHighlight {
            range: snapshot.range(&place),
            kind: Some(kind),
        })
        .collect();
    highlights.sort_by_key(|highlight| (highlight.range.start.line, highlight.range.start.character));
    Some(highlights)
}

/// From `file=PATH` to the file, in every header of a chapter.
pub fn links(snapshot: &Snapshot, chapter: usize) -> Vec<DocumentLink> {
    let pieces = snapshot.model.pieces.iter().filter(|piece| piece.source == chapter);
    let link = |piece: &crate::model::Piece| {
        let path = piece.fence.header.path.as_deref()?;
        let place = piece.place();
        let info = snapshot.book.text(&place);
        let value = info.find("file=")? + "file=".len();
        let start = place.range.start + value + info[value..].find(path)?;
        let range = start..start + path.len();
        Some(DocumentLink {
            range: snapshot.range(&Place { source: chapter, range }),
            target: Some(uri::from_path(&snapshot.out.join(path))),
            tooltip: Some("Open the generated file".to_owned()),
            data: None,
        })
    };
    pieces.filter_map(link).collect()
}

/// The range of the fragment's name under the cursor, and the name.
pub fn name(snapshot: &Snapshot, target: &Target) -> Option<(Place, String)> {
    let (source, range, name) = match target {
        Target::Header(piece) => (
            piece.source,
            cursor::name_in_header(snapshot, piece)?,
            piece.fence.header.name.clone()?,
        ),
        Target::Reference { name, place, .. } => (
            place.source,
            cursor::name_in_reference(snapshot, place, name)?,
            (*name).to_owned(),
        ),
        Target::Code => return None,
    };
    Some((Place { source, range }, name))
}
