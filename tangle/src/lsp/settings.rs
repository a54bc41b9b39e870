//! What the analyzer is told about the editor and the book.

use std::fs;
use std::path::{Path, PathBuf};

use lsp_types::{InitializeParams, WorkspaceFolder};
use serde_json::{Map, Value, json};

use super::client::value;
use super::encoding::Encoding;
use super::uri;
use crate::map;

/// The name under which editors keep the analyzer's settings.
pub const SECTION: &str = "rust-analyzer";

/// What the analyzer may do is what the editor can show, as far as it comes through here.
const FORWARDED: &[&str] = &[
    "completion",
    "declaration",
    "definition",
    "documentHighlight",
    "hover",
    "implementation",
    "publishDiagnostics",
    "references",
    "signatureHelp",
    "typeDefinition",
];

/// The parameters with which the analyzer is started.
pub fn initialize(editor: &InitializeParams, root: &Path, encoding: Encoding, settings: &Value) -> Value {
    let editor = value(&editor.capabilities);
    let mut text_document = Map::new();
    for feature in FORWARDED {
        if let Some(capability) = editor["textDocument"].get(feature) {
            text_document.insert((*feature).to_owned(), capability.clone());
        }
    }
    let folder = WorkspaceFolder {
        uri: uri::from_path(root),
        name: root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    json!({
        "processId": std::process::id(),
        "clientInfo": { "name": "tangle", "version": env!("CARGO_PKG_VERSION") },
        "rootUri": folder.uri,
        "workspaceFolders": [folder],
        "initializationOptions": settings,
        "capabilities": {
            "general": { "positionEncodings": [encoding.kind()] },
            "window": { "workDoneProgress": editor["window"]["workDoneProgress"] == true },
            // Without a watcher here the analyzer watches the files by itself.
            "workspace": { "configuration": true, "didChangeConfiguration": {}, "workspaceFolders": true },
            "textDocument": text_document,
            "experimental": {
                "serverStatusNotification": editor["experimental"]["serverStatusNotification"] == true,
            },
        },
    })
}

/// The analyzer's settings: those of the editor, and which packages there are.
pub fn complete(editor: &Value, root: &Path, out: &Path) -> Value {
    let mut settings = editor.as_object().cloned().unwrap_or_default();
    let projects = projects(root, out);
    if !projects.is_empty() {
        settings.entry("linkedProjects").or_insert_with(|| json!(projects));
    }
    Value::Object(settings)
}

/// Every package of the book: beside `book.toml`, and anywhere below the output directory.
fn projects(root: &Path, out: &Path) -> Vec<PathBuf> {
    let mut projects = Vec::new();
    projects_in(root, &mut projects);
    let mut directories = vec![out.to_owned()];
    while let Some(directory) = directories.pop() {
        if directory != root {
            projects_in(&directory, &mut projects);
        }
        // What cannot be read has no package for anybody.
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        let below = entries.filter_map(Result::ok).filter(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_dir())
                && ![map::DIRECTORY, "target", ".git"].contains(&&*entry.file_name().to_string_lossy())
        });
        directories.extend(below.map(|entry| entry.path()));
    }
    projects.sort();
    projects
}

/// The files that describe a package.
const PROJECTS: [&str; 2] = ["Cargo.toml", "rust-project.json"];

/// Whether a file of this name describes a package.
pub fn is_project(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| PROJECTS.iter().any(|project| name == *project))
}

fn projects_in(directory: &Path, projects: &mut Vec<PathBuf>) {
    let named = PROJECTS.map(|name| directory.join(name));
    projects.extend(named.into_iter().filter(|path| path.is_file()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_book_is_found() {
        let book = tempfile::tempdir().unwrap();
        let root = book.path();
        let out = root.join("generated");
        for path in [
            "Cargo.toml",
            "other/Cargo.toml",
            "generated/guest/Cargo.toml",
            "generated/guest/target/package/x/Cargo.toml",
            "generated/module/rust-project.json",
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        let found = [
            "Cargo.toml",
            "generated/guest/Cargo.toml",
            "generated/module/rust-project.json",
        ];
        assert_eq!(projects(root, &out), found.map(|path| root.join(path)));
    }

    #[test]
    fn the_editor_has_the_last_word() {
        let book = tempfile::tempdir().unwrap();
        fs::write(book.path().join("Cargo.toml"), "").unwrap();
        let settings = complete(
            &json!({ "linkedProjects": ["mine"], "check": {} }),
            book.path(),
            book.path(),
        );
        assert_eq!(settings, json!({ "linkedProjects": ["mine"], "check": {} }));
    }
}
