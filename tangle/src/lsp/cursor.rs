//! What a place in a chapter is to the book.

use std::ops::Range;

use super::snapshot::Snapshot;
use crate::model::{FragmentId, Piece, PieceId};
use crate::source::Place;

/// What stands under the cursor.
#[derive(Debug)]
pub enum Target<'a> {
    /// The info string of a fence.
    Header(&'a Piece),
    /// `<<name>>`.
    Reference {
        /// The fence that it stands in.
        piece: PieceId,
        /// The name.
        name: &'a str,
        /// The whole of it, marks included.
        place: Place,
    },
    /// Code of this fence.
    Code,
}

impl Target<'_> {
    /// The fragment that is meant, if there is one.
    pub fn fragment(&self, snapshot: &Snapshot) -> Option<FragmentId> {
        match self {
            Self::Header(piece) => Some(piece.fragment),
            Self::Reference { piece, name, .. } => snapshot.model.meant(*piece, name),
            Self::Code => None,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Header(piece) => Some(piece.place()),
            Self::Reference { place, .. } => Some(place.clone()),
            Self::Code => None,
        }
    }
}

/// Looks at a byte of a chapter.
pub fn target(snapshot: &Snapshot, chapter: usize, offset: usize) -> Option<Target<'_>> {
    let source = &snapshot.book.sources[chapter];
    let (id, piece) = snapshot.piece_at(chapter, offset)?;
    let line = source.line(offset);
    if line == source.line(piece.fence.info.start) {
        return Some(Target::Header(piece));
    }
    match piece.fence.numbered(line)?.reference() {
        Some(reference) if reference.range.start <= offset && offset <= reference.range.end => {
            Some(Target::Reference {
                piece: id,
                name: reference.name,
                place: Place {
                    source: chapter,
                    range: reference.range,
                },
            })
        }
        _ => Some(Target::Code),
    }
}

/// Where in a chapter the name between `<<` and `>>` stands.
pub fn name_in_reference(snapshot: &Snapshot, place: &Place, name: &str) -> Option<Range<usize>> {
    let start = place.range.start + snapshot.book.text(place).find(name)?;
    Some(start..start + name.len())
}

/// Where in a chapter the name behind `#` stands; `None` if the header spells it in another way, with `&amp;` perhaps.
pub fn name_in_header(snapshot: &Snapshot, piece: &Piece) -> Option<Range<usize>> {
    let name = piece.fence.header.name.as_deref()?;
    let info = snapshot.book.text(&piece.place());
    info.match_indices('#').find_map(|(at, _)| {
        let behind = info[at + 1..].trim_start();
        let start = info.len() - behind.len();
        let end = behind.strip_prefix(name)?;
        // Behind a name comes a space, the brace or nothing, and not more of a longer one.
        (end.is_empty() || end.starts_with(char::is_whitespace) || end == "}").then(|| {
            let start = piece.fence.info.start + start;
            start..start + name.len()
        })
    })
}
