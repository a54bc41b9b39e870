//! The mistakes of a book as an editor shows them.

use lsp_types::{Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, NumberOrString};

use super::snapshot::Snapshot;
use crate::advice;
use crate::diagnostic::{self, Code};

/// The mistakes of the book, by the number of the chapter; if there are none, what reads badly.
pub fn own(snapshot: &Snapshot) -> impl Iterator<Item = (usize, Diagnostic)> {
    let advice = match snapshot.diagnostics.as_slice() {
        [] => advice::advice(&snapshot.book, &snapshot.model),
        _ => Vec::new(),
    };
    let found = snapshot.diagnostics.iter().cloned().chain(advice);
    found.map(|mistake| (mistake.primary.place.source, translate(snapshot, &mistake)))
}

fn translate(snapshot: &Snapshot, mistake: &diagnostic::Diagnostic) -> Diagnostic {
    let related = mistake.secondary.iter().map(|label| DiagnosticRelatedInformation {
        location: snapshot.location(&label.place),
        message: label.text.clone(),
    });
    Diagnostic {
        range: snapshot.range(&mistake.primary.place),
        severity: Some(if mistake.code.is_advice() {
            DiagnosticSeverity::WARNING
        } else {
            DiagnosticSeverity::ERROR
        }),
        code: Some(NumberOrString::String(mistake.code.name().to_owned())),
        source: Some("tangle".to_owned()),
        message: message(mistake),
        related_information: (!mistake.secondary.is_empty()).then(|| related.collect()),
        ..Diagnostic::default()
    }
}

/// The protocol has no place for the words beside an underline, nor for advice.
fn message(mistake: &diagnostic::Diagnostic) -> String {
    let mut message = mistake.message.clone();
    // Elsewhere these words only say again what the underline shows.
    if matches!(mistake.code, Code::BadHeader | Code::BadLab | Code::BadPath) {
        message = format!("{message}: {}", mistake.primary.text);
    }
    if let Some(help) = &mistake.help {
        message = format!("{message}\nhelp: {help}");
    }
    message
}
