//! The headings of a chapter with their fragments, and the fragments of the book.

use std::ops::Range;

use lsp_types::{DocumentSymbol, OneOf, SymbolKind, WorkspaceSymbol};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::super::snapshot::Snapshot;
use crate::header::Operation;
use crate::model::Piece;
use crate::parse;
use crate::source::Place;

/// A heading or a fence.
struct Item {
    /// 1 to 6 for headings, deeper for fences.
    level: usize,
    name: String,
    detail: Option<String>,
    kind: SymbolKind,
    /// What is selected when one goes there.
    title: Range<usize>,
    /// Where it ends at the latest.
    end: usize,
}

/// The level of a fence, which is inside of any heading.
const FENCE: usize = 7;

/// The headings of a chapter; below each the fragments and the smaller headings up to the next one.
pub fn outline(snapshot: &Snapshot, chapter: usize) -> Vec<DocumentSymbol> {
    let text = snapshot.book.sources[chapter].text();
    let mut items = headings(text);
    let pieces = snapshot.model.pieces.iter().filter(|piece| piece.source == chapter);
    items.extend(pieces.map(fence));
    items.sort_by_key(|item| item.title.start);
    let mut rest = items.as_slice();
    nest(snapshot, chapter, &mut rest, 0, text.len())
}

/// Takes the items that are deeper than `level`, up to the first one that is not.
fn nest(snapshot: &Snapshot, chapter: usize, rest: &mut &[Item], level: usize, end: usize) -> Vec<DocumentSymbol> {
    let range = |range| snapshot.range(&Place { source: chapter, range });
    let mut symbols = Vec::new();
    while let Some((item, behind)) = rest.split_first().filter(|(item, _)| item.level > level) {
        *rest = behind;
        let next = behind.iter().find(|next| next.level <= item.level);
        let end = next.map_or(end, |next| next.title.start).min(end).min(item.end);
        let children = nest(snapshot, chapter, rest, item.level, end);
        #[expect(deprecated, reason = "the field has no other way to be left out")]
        symbols.push(DocumentSymbol {
            name: item.name.clone(),
            detail: item.detail.clone(),
            kind: item.kind,
            tags: None,
            deprecated: None,
            range: range(item.title.start..end.max(item.title.end)),
            selection_range: range(item.title.clone()),
            children: (!children.is_empty()).then_some(children),
        });
    }
    symbols
}

fn headings(text: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut open = None;
    for (event, range) in Parser::new_ext(text, parse::options()).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let title = range.start..range.start + text[range.clone()].trim_end().len();
                open = Some(Item {
                    level: level as usize,
                    name: String::new(),
                    detail: None,
                    kind: SymbolKind::STRING,
                    title,
                    end: usize::MAX,
                });
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut open {
                    heading.name.push_str(&part);
                }
            }
            // An editor refuses a symbol without a name.
            Event::End(TagEnd::Heading(_)) => items.extend(open.take().filter(|heading| !heading.name.is_empty())),
            _ => {}
        }
    }
    items
}

fn fence(piece: &Piece) -> Item {
    let header = &piece.fence.header;
    let (name, kind) = title(piece);
    let operation = match header.operation {
        Operation::Define => None,
        operation => Some(operation.symbol().to_owned()),
    };
    Item {
        level: FENCE,
        name,
        detail: operation,
        kind,
        title: piece.fence.info.clone(),
        end: piece.fence.range.end,
    }
}

/// As a fragment is shown, and whether it is a file.
fn title(piece: &Piece) -> (String, SymbolKind) {
    match (&piece.fence.header.name, &piece.fence.header.path) {
        (Some(name), None) => (format!("<<{name}>>"), SymbolKind::NAMESPACE),
        (_, path) => (path.clone().unwrap_or_default(), SymbolKind::FILE),
    }
}

/// The fragments and files whose name contains `query`, letter case aside.
pub fn symbols(snapshot: &Snapshot, query: &str) -> Vec<WorkspaceSymbol> {
    let query = query.to_lowercase();
    let mut symbols = Vec::new();
    for (id, fragment) in snapshot.model.fragments.iter().enumerate() {
        let names = [
            (&fragment.name, SymbolKind::NAMESPACE),
            (&fragment.path, SymbolKind::FILE),
        ];
        for (name, kind) in names {
            let Some(name) = name.as_ref().filter(|name| name.to_lowercase().contains(&query)) else {
                continue;
            };
            let place = snapshot.definition(id);
            symbols.push(WorkspaceSymbol {
                name: name.clone(),
                kind,
                tags: None,
                container_name: Some(snapshot.book.sources[place.source].path().to_owned()),
                location: OneOf::Left(snapshot.location(&place)),
                data: None,
            });
        }
    }
    symbols
}
