//! What a fragment becomes, shown beside the cursor.

use std::fmt::Write;

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};

use super::super::cursor::Target;
use super::super::snapshot::Snapshot;
use crate::model::FragmentId;
use crate::tangle;

/// How many lines of a fragment fit beside a cursor.
const LINES: usize = 60;

/// Shows the fragment under the cursor, with everything that it refers to in its place.
pub fn hover(snapshot: &Snapshot, target: &Target) -> Option<Hover> {
    let id = target.fragment(snapshot)?;
    let place = target.place()?;
    Some(Hover {
        contents: HoverContents::Markup(MarkupContent {
            kind: MarkupKind::Markdown,
            value: markdown(snapshot, id),
        }),
        range: Some(snapshot.range(&place)),
    })
}

fn markdown(snapshot: &Snapshot, id: FragmentId) -> String {
    let model = &snapshot.model;
    let fragment = &model.fragments[id];
    let text = text(snapshot, id);
    let lines = text.lines().count();
    let shown: String = text.split_inclusive('\n').take(LINES).collect();
    let language = model.pieces[fragment.pieces[0]].fence.header.language.as_str();
    let language = language.split(',').next().unwrap_or_default();
    let marks = "`".repeat(longest_run(&shown).max(2) + 1);
    let mut out = format!("{marks}{language}\n{shown}{marks}\n");
    if lines > LINES {
        write!(out, "\nand {} more lines\n", lines - LINES).expect("strings take everything");
    }
    let places: Vec<_> = fragment
        .pieces
        .iter()
        .map(|&piece| snapshot.says(&model.pieces[piece].place()))
        .collect();
    write!(out, "\nwritten in {}", places.join(", ")).expect("strings take everything");
    let becomes = becomes(snapshot, id);
    if !becomes.is_empty() {
        write!(out, "  \nbecomes {}", becomes.join(", ")).expect("strings take everything");
    }
    out
}

/// The whole text; in a book with a circle only that of the fragment itself, which always has an end.
fn text(snapshot: &Snapshot, id: FragmentId) -> String {
    let model = &snapshot.model;
    if snapshot.outputs.is_some() {
        return tangle::file(model, id).text;
    }
    let live = model.fragments[id].live();
    live.iter().map(|&piece| model.pieces[piece].fence.code()).collect()
}

/// The lines of the files that come from the fragment, what it refers to included.
fn becomes(snapshot: &Snapshot, id: FragmentId) -> Vec<String> {
    let live = snapshot.model.fragments[id].live();
    let out = snapshot.out.strip_prefix(&snapshot.root).unwrap_or(&snapshot.out);
    let mut becomes = Vec::new();
    for (path, output) in snapshot.outputs.iter().flatten() {
        let lines = output.pieces.iter().filter(|(piece, _)| live.contains(piece));
        for (_, lines) in lines.filter(|(_, lines)| !lines.is_empty()) {
            becomes.push(format!(
                "{}:{}-{}",
                out.join(path).display(),
                lines.start,
                lines.end - 1
            ));
        }
    }
    becomes
}

/// The length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`')
        .map(str::len)
        .max()
        .unwrap_or_default()
}
