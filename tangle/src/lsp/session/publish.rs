//! Diagnostics on their way to the editor.

use std::collections::BTreeMap;

use lsp_types::notification::PublishDiagnostics;
use lsp_types::{Diagnostic, PublishDiagnosticsParams, Uri};

use super::super::{diagnostics, uri};
use super::Session;

impl Session {
    /// Publishes the diagnostics of every file for which they changed.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let Some(book) = &self.book else { return };
        let mut all: BTreeMap<String, (Uri, Vec<Diagnostic>)> = BTreeMap::new();
        let mut add = |uri: &Uri, diagnostic: Diagnostic| {
            let (_, known) = all
                .entry(uri.as_str().to_owned())
                .or_insert_with(|| (uri.clone(), Vec::new()));
            // A fragment that is used in two files has its mistakes twice.
            if !known.contains(&diagnostic) {
                known.push(diagnostic);
            }
        };
        for (chapter, diagnostic) in diagnostics::own(&book.now) {
            add(book.now.uri(chapter), diagnostic);
        }
        if let (Some(downstream), Some(translator)) = (&self.downstream, self.translator()) {
            for (uri, reported) in downstream.reported() {
                let path = translator.generated(uri);
                for diagnostic in reported {
                    match &path {
                        None => add(uri, diagnostic.clone()),
                        Some(path) => {
                            if let Some((chapter, diagnostic)) = translator.diagnostic(path, diagnostic) {
                                add(book.now.uri(chapter), diagnostic);
                            }
                        }
                    }
                }
            }
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
        let document = uri::to_path(uri).and_then(|path| self.documents.get(&path));
        let version = document.map(|document| document.version);
        self.client
            .notify::<PublishDiagnostics>(PublishDiagnosticsParams::new(uri.clone(), diagnostics, version));
    }
}
