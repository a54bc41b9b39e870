//! Diagnostics on their way to the editor.

use std::collections::BTreeMap;

use lsp_types::notification::PublishDiagnostics;
use lsp_types::{Diagnostic, PublishDiagnosticsParams, Uri};

use super::super::uri;
use super::Session;

impl Session {
    /// Publishes the diagnostics of every file for which they changed.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let mut all: BTreeMap<String, (Uri, Vec<Diagnostic>)> = BTreeMap::new();
        let mut add = |uri: &Uri, mut diagnostic: Diagnostic, note: &str| {
            let (_, known) = all
                .entry(uri.as_str().to_owned())
                .or_insert_with(|| (uri.clone(), Vec::new()));
            // A fragment that is used in two files has its mistakes twice, and one that is in two books as well.
            if !known.contains(&diagnostic) {
                diagnostic.message.push_str(note);
                known.push(diagnostic);
            }
        };
        for book in &self.books {
            book.diagnostics(&mut add);
        }
        let gone: Vec<_> = self
            .published
            .keys()
            .filter(|uri| !all.contains_key(*uri))
            .cloned()
            .collect();
        for uri in gone {
            self.published.remove(&uri);
            if let Ok(uri) = uri.parse() {
                self.send_diagnostics(&uri, Vec::new());
            }
        }
        for (key, (uri, diagnostics)) in all {
            if self.published.get(&key) != Some(&diagnostics) {
                self.published.insert(key, diagnostics.clone());
                self.send_diagnostics(&uri, diagnostics);
            }
        }
    }

    fn send_diagnostics(&self, uri: &Uri, diagnostics: Vec<Diagnostic>) {
        let document = uri::to_path(uri).and_then(|path| self.desk.documents.get(&path));
        let version = document.map(|document| document.version);
        self.desk
            .client
            .notify::<PublishDiagnostics>(PublishDiagnosticsParams::new(uri.clone(), diagnostics, version));
    }
}
