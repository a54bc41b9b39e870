//! The texts that are open in the editor, saved or not.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lsp_types::{TextDocumentContentChangeEvent, Uri};

use super::encoding::Encoding;
use super::uri;
use crate::source::Source;

/// One open text.
#[derive(Debug)]
pub struct Document {
    /// As the editor names it.
    pub uri: Uri,
    /// As the editor counts its states.
    pub version: i32,
    /// What the editor shows.
    pub text: String,
}

/// All open texts, by the real path of their files.
#[derive(Debug, Default)]
pub struct Documents(HashMap<PathBuf, Document>);

impl Documents {
    /// A text was opened.
    pub fn open(&mut self, uri: Uri, version: i32, text: String) {
        if let Some(path) = uri::to_path(&uri) {
            self.0.insert(real(&path), Document { uri, version, text });
        }
    }

    /// A text was edited.
    pub fn change(
        &mut self,
        uri: &Uri,
        version: i32,
        changes: Vec<TextDocumentContentChangeEvent>,
        encoding: Encoding,
    ) {
        let document = uri::to_path(uri).and_then(|path| self.0.get_mut(&real(&path)));
        let Some(document) = document else { return };
        document.version = version;
        for change in changes {
            match change.range {
                None => document.text = change.text,
                Some(range) => {
                    let bytes = encoding.bytes(&Source::new("", document.text.as_str()), range);
                    document.text.replace_range(bytes, &change.text);
                }
            }
        }
    }

    /// A text was closed.
    pub fn close(&mut self, uri: &Uri) {
        if let Some(path) = uri::to_path(uri) {
            self.0.remove(&real(&path));
        }
    }

    /// All of them with the real paths of their files, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        let documents = self.0.iter();
        documents.map(|(path, document)| (path.as_path(), document.text.as_str()))
    }

    /// The open text of the file at `path`.
    pub fn get(&self, path: &Path) -> Option<&Document> {
        self.0.get(&real(path))
    }

    /// What the file at `path` would hold if everything were saved now.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.get(path) {
            Some(document) => Ok(document.text.clone().into_bytes()),
            None => fs::read(path),
        }
    }
}

/// The path by which a file is known whatever links lead to it.
pub fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use lsp_types::{Position, Range};

    use super::*;

    #[test]
    fn edits_follow_each_other() {
        let uri: Uri = "file:///nowhere/a.md".parse().unwrap();
        let mut documents = Documents::default();
        documents.open(uri.clone(), 1, "é one\ntwo\n".to_owned());
        let change = |from: (u32, u32), to: (u32, u32), text: &str| TextDocumentContentChangeEvent {
            range: Some(Range::new(Position::new(from.0, from.1), Position::new(to.0, to.1))),
            range_length: None,
            text: text.to_owned(),
        };
        let changes = vec![change((0, 2), (1, 0), "1\n\n"), change((2, 0), (2, 3), "2")];
        documents.change(&uri, 2, changes, Encoding::Utf16);
        let document = documents.get(Path::new("/nowhere/a.md")).unwrap();
        assert_eq!((document.version, document.text.as_str()), (2, "é 1\n\n2\n"));
    }
}
