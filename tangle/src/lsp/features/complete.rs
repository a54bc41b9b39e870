//! The names of fragments behind `<<`.

use std::collections::HashSet;

use lsp_types::{CompletionItem, CompletionItemKind, CompletionTextEdit, TextEdit};

use super::super::cursor::{self, Target};
use super::super::snapshot::Snapshot;
use crate::source::Place;

/// The fragments that the line under the cursor may want to name; `None` if it does not begin with `<<`.
pub fn complete(snapshot: &Snapshot, chapter: usize, offset: usize) -> Option<Vec<CompletionItem>> {
    let (Target::Code | Target::Reference { .. }) = cursor::target(snapshot, chapter, offset)? else {
        return None;
    };
    let source = &snapshot.book.sources[chapter];
    let line = source.line(offset);
    let start = snapshot.code_start(chapter, line)?;
    let before = source.text().get(start..offset)?.trim_start();
    let typed = before.strip_prefix("<<")?;
    if typed.contains(">>") {
        return None;
    }
    let from = offset - typed.trim_start().len();
    let behind = &source.text()[offset..source.line_range(line)?.end];
    let to = behind.find(">>").map_or(offset, |at| offset + at + 2);
    let range = snapshot.range(&Place {
        source: chapter,
        range: from..to,
    });

    let own = snapshot.piece_at(chapter, offset)?.1.fragment;
    let used = used(snapshot);
    let fragments = snapshot.model.fragments.iter().enumerate();
    let items = fragments.filter(|(id, _)| *id != own).filter_map(|(id, fragment)| {
        let name = fragment.name.as_ref()?;
        // What nothing refers to yet is what somebody is most likely to write now.
        let order = u8::from(used.contains(name.as_str()));
        Some(CompletionItem {
            label: name.clone(),
            kind: Some(CompletionItemKind::REFERENCE),
            detail: Some(snapshot.says(&snapshot.definition(id))),
            sort_text: Some(format!("{order}{name}")),
            filter_text: Some(name.clone()),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit::new(range, format!("{name}>>")))),
            ..CompletionItem::default()
        })
    });
    Some(items.collect())
}

fn used(snapshot: &Snapshot) -> HashSet<&str> {
    let fences = snapshot.model.pieces.iter().map(|piece| &piece.fence);
    fences
        .flat_map(|fence| fence.lines().filter_map(|line| Some(line.reference()?.name)))
        .collect()
}
