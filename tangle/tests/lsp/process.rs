//! How servers begin and end.

use serde_json::json;

use crate::common::copy;
use crate::editor::{Editor, at, editor, range};

const ONE: &str = "chapters/one.md";

#[test]
fn a_proper_goodbye_ends_well() {
    assert!(editor().quit().success());
}

#[test]
fn an_editor_that_is_gone_takes_the_server_along() {
    assert_eq!(editor().vanish().code(), Some(1));
}

#[test]
fn nothing_is_answered_after_the_goodbye() {
    let mut editor = editor();
    editor.request("shutdown", json!(null));
    let refused = editor.ask("workspace/symbol", json!({ "query": "" })).unwrap_err();
    assert!(refused.message.contains("shutdown"), "{}", refused.message);
}

#[test]
fn without_an_analyzer_fragments_work() {
    let mut editor = Editor::start(copy("editor"), &["--analyzer", "no-such-analyzer"], &json!({}));
    editor.open(ONE);
    let there = editor.about("textDocument/definition", ONE, &at(14, 5));
    assert_eq!(there["range"], range(2, 3, 26));
    assert_eq!(editor.about("textDocument/hover", ONE, &at(17, 10)), json!(null));
    assert_eq!(editor.shown.len(), 1, "{:?}", editor.shown);
    assert!(
        editor.shown[0].starts_with("`no-such-analyzer` could not be started"),
        "{:?}",
        editor.shown
    );
}

#[cfg(unix)]
#[test]
fn an_analyzer_that_ends_at_once_is_not_started_again() {
    let book = copy("editor");
    let script = book.path().join("analyzer");
    std::fs::write(&script, "#!/bin/sh\necho 'nothing to analyze' >&2\nexit 3\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let mut editor = Editor::start(book, &["--analyzer", script.to_str().unwrap()], &json!({}));
    editor.open(ONE);
    editor.wait("a message", |editor| !editor.shown.is_empty());
    assert!(editor.shown[0].contains("nothing to analyze"), "{:?}", editor.shown);
    let there = editor.about("textDocument/definition", ONE, &at(14, 5));
    assert_eq!(there["range"], range(2, 3, 26));
    assert_eq!(editor.shown.len(), 1, "{:?}", editor.shown);
}
