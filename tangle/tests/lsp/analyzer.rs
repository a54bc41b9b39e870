//! Rust in chapters, with the real rust-analyzer.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{copy, tangle};
use crate::editor::{Editor, at, range};
use crate::labs::{self, WORK};

const ONE: &str = "chapters/one.md";
const TWO: &str = "chapters/two.md";

/// An editor with both chapters open and rust-analyzer ready; `None`, and a line that nobody can miss, if this machine
/// has none. It does not run cargo check, which only one test needs.
fn editor() -> Option<Editor> {
    editor_for(copy("editor"), &quiet())
}

/// Settings of an analyzer that does no more than it is asked.
fn quiet() -> Value {
    json!({ "checkOnSave": false, "cachePriming": { "enable": false } })
}

fn editor_for(book: TempDir, settings: &Value) -> Option<Editor> {
    let mut editor = beginning(book, settings)?;
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    Some(editor)
}

/// The same without waiting for rust-analyzer.
fn beginning(book: TempDir, settings: &Value) -> Option<Editor> {
    let mut editor = start(book, settings)?;
    editor.open(ONE);
    editor.open(TWO);
    Some(editor)
}

/// The same with nothing open.
fn start(book: TempDir, settings: &Value) -> Option<Editor> {
    let version = Command::new("rust-analyzer").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        // Past the test harness, which hides what successful tests print.
        io::stderr()
            .write_all(b"SKIPPED: no rust-analyzer in PATH, so nothing was forwarded\n")
            .unwrap();
        return None;
    }
    let capabilities = json!({
        "textDocument": {
            "completion": { "completionItem": {
                "documentationFormat": ["markdown"],
                "resolveSupport": { "properties": ["documentation", "detail", "additionalTextEdits"] },
            } },
            "hover": { "contentFormat": ["markdown"] },
            "publishDiagnostics": { "relatedInformation": true },
        },
        "window": { "workDoneProgress": true },
        "experimental": { "serverStatusNotification": true },
    });
    Some(Editor::start(
        book,
        &[],
        &json!({ "capabilities": capabilities, "initializationOptions": { "rust-analyzer": settings } }),
    ))
}

/// An editor with a student's chapter open, and rust-analyzer ready for it.
fn lab_editor(settings: &Value) -> Option<Editor> {
    let mut editor = start(labs::book(), settings)?;
    editor.open(WORK);
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    Some(editor)
}

/// The completion with this label.
fn completion(editor: &mut Editor, path: &str, position: &Value, label: &str) -> Value {
    let list = editor.about("textDocument/completion", path, position);
    let items = list["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|item| item["label"].as_str().unwrap().starts_with(label));
    found.unwrap_or_else(|| panic!("{label} is not in {list}")).clone()
}

/// Waits for a diagnostic of a text whose message begins so.
fn diagnostic(editor: &mut Editor, path: &str, message: &str) -> Value {
    let is = |diagnostic: &&Value| diagnostic["message"].as_str().unwrap().starts_with(message);
    editor.wait(message, |editor| {
        editor.diagnostics(path).iter().any(|found| is(&found))
    });
    editor.diagnostics(path).iter().find(is).unwrap().clone()
}

#[test]
fn a_method_is_completed_at_the_cursor() {
    let Some(mut editor) = editor() else { return };
    editor.edit(ONE, "counter.add(step);", "counter.ad");
    let item = completion(&mut editor, ONE, &at(29, 16), "add");
    assert_eq!(item["textEdit"]["range"], range(29, 14, 16));
}

#[test]
fn a_completion_is_documented_when_it_is_looked_at() {
    let Some(mut editor) = editor() else { return };
    editor.edit(ONE, "counter.add(step);", "counter.ad");
    let item = completion(&mut editor, ONE, &at(29, 16), "add");
    assert_eq!(item["documentation"], Value::Null);
    let resolved = editor.request("completionItem/resolve", item);
    assert_eq!(resolved["documentation"]["value"], "Adds some.");
    assert_eq!(resolved["textEdit"]["range"], range(29, 14, 16));
}

#[test]
fn an_import_goes_into_the_chapter_where_the_file_begins() {
    let Some(mut editor) = editor() else { return };
    editor.edit(
        TWO,
        "/// Counts.\n",
        "mod shapes {\n    pub struct Circle;\n}\n\n/// Counts.\n",
    );
    editor.edit(ONE, "    println!", "    let _ = Circ\n    println!");
    let item = completion(&mut editor, ONE, &at(19, 16), "Circle");
    let resolved = editor.request("completionItem/resolve", item);
    assert_eq!(resolved["textEdit"]["range"], range(19, 12, 16));
    editor.request("workspace/executeCommand", resolved["command"].clone());
    editor.wait("an edit", |editor| !editor.applied.is_empty());
    let edits = &editor.applied[0]["changes"][editor.uri(TWO)];
    assert!(
        edits[0]["newText"]
            .as_str()
            .unwrap()
            .starts_with("use crate::shapes::Circle;"),
        "{edits}"
    );
    assert_eq!(
        edits[0]["range"]["start"]["line"], 3,
        "the first line of the file: {edits}"
    );
}

#[test]
fn hover_shows_a_type() {
    let Some(mut editor) = editor() else { return };
    let hover = editor.about("textDocument/hover", ONE, &at(17, 24));
    assert_eq!(hover["range"], range(17, 22, 29));
    let shown = hover["contents"]["value"].as_str().unwrap();
    assert!(shown.contains("struct Counter") && shown.contains("Counts."), "{shown}");
}

#[test]
fn a_definition_is_found_across_chapters() {
    let Some(mut editor) = editor() else { return };
    let there = editor.about("textDocument/definition", ONE, &at(19, 33));
    assert_eq!(there[0]["uri"], editor.uri(TWO));
    assert_eq!(there[0]["range"]["start"]["line"], 23);
}

#[test]
fn a_definition_is_found_from_a_quotation() {
    let Some(mut editor) = editor() else { return };
    let there = editor.about("textDocument/definition", TWO, &at(30, 8));
    assert_eq!(there[0]["uri"], editor.uri(TWO));
    assert_eq!(there[0]["range"]["start"]["line"], 6);
}

#[test]
fn a_file_that_was_edited_by_hand_is_analyzed_as_the_book_has_it() {
    let book = copy("editor");
    let path = |path: &str| book.path().join(path);
    let add = |file: &str, text: &str| {
        let there = fs::read_to_string(path(file)).unwrap_or_default();
        fs::write(path(file), there + text).unwrap();
    };
    add("chapters/SUMMARY.md", "- [More](three.md)\n");
    add("chapters/three.md", "```rust file=src/more.rs\npub fn far() {}\n```\n");
    add(
        "chapters/two.md",
        "\n```rust #add it +=\nmore::far();\n```\n\n```rust #what a counter is +=\nmod more;\n```\n",
    );
    assert!(tangle(book.path(), &[]).status.success());
    fs::write(path("generated/src/more.rs"), "// mine\n\n\npub fn far() {}\n").unwrap();
    let Some(mut editor) = editor_for(book, &json!({ "checkOnSave": false })) else {
        return;
    };
    let position = editor.find(TWO, "far();");
    let there = editor.about("textDocument/definition", TWO, &position);
    assert_eq!(there[0]["uri"], editor.uri("chapters/three.md"));
    assert_eq!(there[0]["range"], range(1, 7, 10));
}

#[test]
fn a_package_that_comes_later_is_found() {
    let book = copy("editor");
    let chapter = book.path().join(ONE);
    let text = fs::read_to_string(&chapter).unwrap();
    // So deep rust-analyzer looks for no package by itself.
    let config = book.path().join("book.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(config, settings + "out = \"deep/down\"\n").unwrap();
    // With this mistake nothing is tangled.
    fs::write(&chapter, text.replace("<<count>>", "<<cuont>>")).unwrap();
    let Some(mut editor) = beginning(book, &json!({ "checkOnSave": false })) else {
        return;
    };
    editor.wait_for_codes(ONE, &["undefined-fragment", "unused-fragment"]);
    editor.edit(ONE, "<<cuont>>", "<<count>>");
    editor.save(ONE);
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    let hover = editor.about("textDocument/hover", ONE, &at(17, 24));
    assert_eq!(hover["range"], range(17, 22, 29));
}

#[test]
fn references_are_found_in_all_chapters() {
    let Some(mut editor) = editor() else { return };
    let params = json!({
        "textDocument": editor.document(TWO),
        "position": at(18, 8),
        "context": { "includeDeclaration": true },
    });
    let places = editor.request("textDocument/references", params);
    let mut places = places.as_array().unwrap().clone();
    places.sort_by_key(|place| place["uri"].as_str().unwrap().to_owned());
    let place = |path: &str, range: Value| json!({ "uri": editor.uri(path), "range": range });
    assert_eq!(places, [place(ONE, range(29, 14, 17)), place(TWO, range(18, 7, 10))]);
}

#[test]
fn a_call_shows_its_signature() {
    let Some(mut editor) = editor() else { return };
    let help = editor.about("textDocument/signatureHelp", ONE, &at(29, 19));
    let label = help["signatures"][0]["label"].as_str().unwrap();
    assert!(label.contains("some: u32"), "{label}");
}

#[test]
fn a_type_error_shows_before_anything_is_saved_and_goes_again() {
    let Some(mut editor) = editor() else { return };
    editor.edit(TWO, "        self.total\n", "        true\n");
    let error = diagnostic(&mut editor, TWO, "expected u32, found bool");
    assert_eq!(error["range"], range(24, 8, 12));
    assert_eq!(error["source"], "rust-analyzer");
    editor.edit(TWO, "        true\n", "        self.total\n");
    // What tangle itself advises stays.
    editor.wait_for_codes(TWO, &["nothing-said"]);
}

#[test]
fn a_diagnostic_moves_with_the_prose_above_it() {
    let Some(mut editor) = editor() else { return };
    editor.edit(TWO, "        self.total\n", "        true\n");
    diagnostic(&mut editor, TWO, "expected u32, found bool");
    editor.edit(TWO, "A fragment grows.", "A fragment\ngrows.");
    editor.wait("another line", |editor| {
        editor
            .diagnostics(TWO)
            .iter()
            .any(|error| error["range"] == range(25, 8, 12))
    });
}

#[test]
fn cargo_check_speaks_of_chapters_when_a_chapter_is_saved() {
    let Some(mut editor) = editor_for(copy("editor"), &json!({})) else {
        return;
    };
    editor.edit(
        ONE,
        "    println!(\"😀 {}\", counter",
        "    let moved = counter;\n    println!(\"😀 {}\", counter",
    );
    editor.save(ONE);
    let error = diagnostic(&mut editor, ONE, "borrow of moved value: `counter`");
    assert_eq!(error["range"], range(20, 22, 29));
    assert_eq!(error["source"], "rustc");
    let related = error["relatedInformation"].as_array().unwrap();
    let moved = related
        .iter()
        .find(|related| related["message"] == "value moved here")
        .unwrap();
    assert_eq!(moved["location"]["uri"], editor.uri(ONE));
    assert_eq!(moved["location"]["range"], range(19, 16, 23));
    editor.edit(ONE, "    let moved = counter;\n", "");
    editor.save(ONE);
    editor.wait_for_codes(ONE, &[]);
}

#[test]
fn code_outside_of_a_broken_fence_is_still_known() {
    let Some(mut editor) = editor() else { return };
    editor.edit(ONE, "## The program", "~~~rust #new");
    editor.wait("a mistake", |editor| !editor.diagnostics(ONE).is_empty());
    let hover = editor.about("textDocument/hover", ONE, &at(17, 24));
    assert_eq!(hover["range"], range(17, 22, 29));
}

#[test]
fn nothing_is_left_when_the_editor_says_goodbye() {
    let Some(editor) = editor() else { return };
    let children = editor.children();
    assert!(!children.is_empty());
    assert!(editor.quit().success());
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists());
    }
}

#[test]
fn an_analyzer_that_dies_is_started_again() {
    let Some(mut editor) = editor() else { return };
    for child in editor.children() {
        assert!(
            Command::new("kill")
                .arg("-9")
                .arg(child.to_string())
                .status()
                .unwrap()
                .success()
        );
    }
    editor.wait("a message", |editor| !editor.shown.is_empty());
    assert!(editor.shown[0].ends_with("it is started again"), "{:?}", editor.shown);
    editor.quiescent = false;
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    let hover = editor.about("textDocument/hover", ONE, &at(17, 24));
    assert_eq!(hover["range"], range(17, 22, 29));
}

#[test]
fn code_of_the_book_is_known_in_a_lab() {
    let Some(mut editor) = lab_editor(&quiet()) else { return };
    let there = editor.about("textDocument/definition", WORK, &at(6, 6));
    assert_eq!(there[0]["uri"], editor.uri(TWO));
    assert_eq!(there[0]["range"]["start"]["line"], 6);
    let hover = editor.about("textDocument/hover", WORK, &at(6, 18));
    let shown = hover["contents"]["value"].as_str().unwrap();
    assert!(shown.contains("some: u32"), "{shown}");
    editor.edit(WORK, "self.total += 2 * some;", "self.to");
    let item = completion(&mut editor, WORK, &at(6, 7), "total");
    assert_eq!(item["textEdit"]["range"], range(6, 5, 7));
    editor.request("completionItem/resolve", item);
}

#[test]
fn a_type_error_in_a_lab_is_shown_there() {
    let Some(mut editor) = lab_editor(&quiet()) else { return };
    editor.edit(WORK, "some > 1000", "some");
    let error = diagnostic(&mut editor, WORK, "expected bool, found u32");
    assert_eq!(error["range"], range(12, 3, 7));
    editor.edit(WORK, "if some", "if some > 1000");
    editor.wait_for_codes(WORK, &[]);
}

#[test]
fn cargo_check_speaks_of_a_lab_when_it_is_saved() {
    let Some(mut editor) = lab_editor(&json!({})) else {
        return;
    };
    editor.edit(WORK, "    return;", "    let unread = 1;\n    return;");
    editor.save(WORK);
    let warning = diagnostic(&mut editor, WORK, "unused variable: `unread`");
    assert_eq!(warning["range"], range(13, 8, 14));
    assert_eq!(warning["source"], "rustc");
}

#[cfg(target_os = "linux")]
#[test]
fn book_and_lab_are_analyzed_apart() {
    let Some(mut editor) = lab_editor(&quiet()) else { return };
    assert_eq!(editor.children().len(), 1, "nobody looks at a chapter yet");
    editor.quiescent = false;
    editor.open(TWO);
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    assert_eq!(editor.children().len(), 2);
    editor.edit(WORK, "some > 1000", "some");
    diagnostic(&mut editor, WORK, "expected bool, found u32");
    editor.edit(TWO, "        self.total\n", "        true\n");
    diagnostic(&mut editor, TWO, "expected u32, found bool");
    for (path, line, column) in [(WORK, 6, 6), (TWO, 30, 8)] {
        let there = editor.about("textDocument/definition", path, &at(line, column));
        assert_eq!(there[0]["uri"], editor.uri(TWO), "{path}");
    }
    editor.close(WORK);
    editor.wait_for_codes(WORK, &[]);
    assert_eq!(editor.children().len(), 1);
    let there = editor.about("textDocument/definition", TWO, &at(30, 8));
    assert_eq!(there[0]["uri"], editor.uri(TWO));
}

#[test]
fn a_lab_with_a_mistake_is_analyzed_once_it_has_none() {
    let book = labs::book();
    let chapter = book.path().join(WORK);
    let text = fs::read_to_string(&chapter).unwrap();
    fs::write(&chapter, text.replace("<<leave", "<<leeve")).unwrap();
    let Some(mut editor) = start(book, &quiet()) else {
        return;
    };
    editor.open(WORK);
    editor.wait_for_codes(WORK, &["undefined-fragment", "unused-fragment"]);
    editor.edit(WORK, "<<leeve", "<<leave");
    editor.save(WORK);
    editor.wait("rust-analyzer", |editor| editor.quiescent);
    let hover = editor.about("textDocument/hover", WORK, &at(6, 18));
    let shown = hover["contents"]["value"].as_str().unwrap();
    assert!(shown.contains("some: u32"), "{shown}");
    assert!(editor.shown.is_empty(), "{:?}", editor.shown);
}
