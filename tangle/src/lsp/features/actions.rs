//! What can be done about a mistake with one key.

use std::collections::HashMap;

use lsp_types::{CodeAction, CodeActionKind, Diagnostic, Range, TextEdit, Uri, WorkspaceEdit};

use super::super::cursor::{self, Target};
use super::super::snapshot::Snapshot;
use super::navigate;
use crate::diagnostic::Code;
use crate::source::{Place, Source};

/// The actions for the mistakes that `range` touches. `diagnostics` are those that the editor shows there.
pub fn actions(snapshot: &Snapshot, chapter: usize, range: Range, diagnostics: &[Diagnostic]) -> Vec<CodeAction> {
    let source = &snapshot.book.sources[chapter];
    let touched = snapshot.encoding.bytes(source, range);
    let mistakes = snapshot.diagnostics.iter().filter(|mistake| {
        let place = &mistake.primary.place;
        place.source == chapter && place.range.start <= touched.end && touched.start <= place.range.end
    });
    let mut actions = Vec::new();
    for mistake in mistakes {
        let Some(target) = cursor::target(snapshot, chapter, mistake.primary.place.range.start) else {
            continue;
        };
        let shown: Vec<_> = diagnostics
            .iter()
            .filter(|shown| shown.range == snapshot.range(&mistake.primary.place))
            .cloned()
            .collect();
        let mut offer = |title: String, place: &Place, text: String, preferred: bool| {
            actions.push(action(snapshot, title, place, text, shown.clone(), preferred));
        };
        match mistake.code {
            Code::UndefinedFragment | Code::AppendToNothing | Code::OverrideOfNothing => {
                let Some((place, name)) = navigate::name(snapshot, &target) else {
                    continue;
                };
                let near = snapshot.model.nearest(&name);
                if let Some(near) = near {
                    offer(format!("Change it to `{near}`"), &place, near.to_owned(), true);
                }
                if let Target::Reference { piece, name, .. } = target {
                    let piece = &snapshot.model.pieces[piece];
                    let end = piece.fence.range.end;
                    let behind = Place {
                        source: chapter,
                        range: end..end,
                    };
                    let title = format!("Define `<<{name}>>` below this fence");
                    offer(title, &behind, fence(source, piece, name), near.is_none());
                }
            }
            _ => {}
        }
    }
    actions
}

/// An empty fence that looks like `like`.
fn fence(source: &Source, like: &crate::model::Piece, name: &str) -> String {
    let fence = &like.fence;
    let prefix = &source.text()[source.line_start(fence.range.start)..fence.range.start];
    // In a list the bullet stands before the first fence, and white space before the next one.
    let prefix: String = prefix
        .chars()
        .map(|character| if character == '>' { '>' } else { ' ' })
        .collect();
    let first = source.text()[fence.range.start..].chars().next().unwrap_or('`');
    let length = source.text()[fence.range.start..]
        .chars()
        .take_while(|character| *character == first)
        .count();
    let marks = String::from(first).repeat(length);
    let language = &fence.header.language;
    let blank = prefix.trim_end();
    format!("\n{blank}\n{prefix}{marks}{language} #{name}\n{blank}\n{prefix}{marks}")
}

fn action(
    snapshot: &Snapshot,
    title: String,
    place: &Place,
    text: String,
    diagnostics: Vec<Diagnostic>,
    preferred: bool,
) -> CodeAction {
    let edit = TextEdit::new(snapshot.range(place), text);
    #[expect(
        clippy::mutable_key_type,
        reason = "this is the type that the protocol's crate has chosen"
    )]
    let changes: HashMap<Uri, Vec<TextEdit>> = HashMap::from([(snapshot.uri(place.source).clone(), vec![edit])]);
    CodeAction {
        title,
        kind: Some(CodeActionKind::QUICKFIX),
        diagnostics: Some(diagnostics),
        edit: Some(WorkspaceEdit::new(changes)),
        is_preferred: Some(preferred),
        ..CodeAction::default()
    }
}
