//! Mistakes in the book appear while it is edited, and go when they are mended.

use std::fs;

use serde_json::json;

use crate::common::{copy, stdout, tangle};
use crate::editor::{Editor, at, editor, range};

const ONE: &str = "chapters/one.md";
const TWO: &str = "chapters/two.md";

#[test]
fn a_mistake_appears_while_it_is_typed_and_goes_again() {
    let mut editor = editor();
    editor.open(ONE);
    editor.edit(ONE, "<<count>>", "<<cuont>>");
    editor.wait_for_codes(ONE, &["undefined-fragment", "unused-fragment"]);
    let mistake = &editor.diagnostics(ONE)[0];
    assert_eq!(mistake["range"], range(18, 4, 13));
    assert_eq!(
        (&mistake["source"], &mistake["severity"]),
        (&json!("tangle"), &json!(1))
    );
    assert_eq!(
        mistake["message"],
        "no fragment is called `cuont`\nhelp: did you mean `<<count>>`?"
    );
    let related = json!([{
        "location": { "uri": editor.uri(ONE), "range": range(27, 5, 16) },
        "message": "`count` is defined here",
    }]);
    assert_eq!(mistake["relatedInformation"], related);
    editor.edit(ONE, "<<cuont>>", "<<count>>");
    editor.wait_for_codes(ONE, &[]);
}

#[test]
fn a_mistake_in_one_chapter_names_the_place_in_the_other() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "#add it", "#count");
    editor.wait_for_codes(TWO, &["undefined-fragment", "defined-twice"]);
    let twice = &editor.diagnostics(TWO)[1];
    assert_eq!(twice["range"], range(29, 5, 16));
    let first = &twice["relatedInformation"][0]["location"];
    assert_eq!(
        (&first["uri"], &first["range"]),
        (&json!(editor.uri(ONE)), &range(27, 5, 16))
    );
}

#[test]
fn a_mistake_shows_in_a_chapter_that_is_not_open() {
    let mut editor = editor();
    editor.open(ONE);
    editor.edit(ONE, "<<what a counter is>>", "");
    editor.wait_for_codes(TWO, &["unused-fragment"]);
}

#[test]
fn columns_behind_strange_characters_are_right() {
    let mut editor = editor();
    editor.open(ONE);
    // In UTF-16 the face counts twice, in bytes four times.
    editor.edit(ONE, "😀 {}\", counter.total()", "😀 {}\", <<count>>");
    editor.wait_for_codes(ONE, &["reference-not-alone"]);
    assert_eq!(editor.diagnostics(ONE)[0]["range"], range(19, 22, 31));
}

#[test]
fn a_broken_chapter_still_has_an_outline_and_completion() {
    let mut editor = editor();
    editor.open(ONE);
    editor.edit(ONE, "### In a list", "~~~rust #new\n<<");
    editor.wait_for_codes(ONE, &["undefined-fragment", "unterminated-fence", "unused-fragment"]);
    let params = json!({ "textDocument": editor.document(ONE) });
    let outline = editor.request("textDocument/documentSymbol", params);
    assert_eq!(outline[0]["children"][1]["name"], "The program");
    let items = editor.about("textDocument/completion", ONE, &at(24, 2));
    assert!(!items.as_array().unwrap().is_empty());
}

#[test]
fn a_misspelling_is_mended_with_one_key() {
    let mut editor = editor();
    editor.open(ONE);
    editor.edit(ONE, "<<count>>", "<<cuont>>");
    editor.wait_for_codes(ONE, &["undefined-fragment", "unused-fragment"]);
    let params = json!({
        "textDocument": editor.document(ONE),
        "range": range(18, 6, 6),
        "context": { "diagnostics": editor.diagnostics(ONE) },
    });
    let actions = editor.request("textDocument/codeAction", params);
    assert_eq!(actions[0]["title"], "Change it to `count`");
    assert_eq!(actions[0]["diagnostics"], json!([editor.diagnostics(ONE)[0]]));
    let edits = &actions[0]["edit"]["changes"][editor.uri(ONE)];
    assert_eq!(*edits, json!([{ "range": range(18, 6, 11), "newText": "count" }]));
}

#[test]
fn a_fragment_that_is_missing_is_defined_with_one_key() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "> self.total += some;", "> <<do the sum>>");
    editor.wait_for_codes(TWO, &["undefined-fragment"]);
    let params = json!({
        "textDocument": editor.document(TWO),
        "range": range(30, 4, 4),
        "context": { "diagnostics": [] },
    });
    let actions = editor.request("textDocument/codeAction", params);
    assert_eq!(actions[0]["title"], "Define `<<do the sum>>` below this fence");
    editor.save(TWO);
    let edits = &actions[0]["edit"]["changes"][editor.uri(TWO)];
    let text = editor.apply(TWO, edits);
    assert!(text.ends_with("> ```\n>\n> ```rust #do the sum\n>\n> ```\n"), "{text}");
}

#[test]
fn saving_a_chapter_tangles_it() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "/// Counts.", "/// Counts well.");
    editor.save(TWO);
    // Whoever has the answer to a later question has seen the end of what was before.
    editor.request("workspace/symbol", json!({ "query": "" }));
    let file = fs::read_to_string(editor.path("generated/src/main.rs")).unwrap();
    assert!(file.starts_with("/// Counts well.\n"), "{file}");
    let output = tangle(editor.book.path(), &[]);
    assert_eq!(stdout(&output), "2 files, nothing changed\n");
}

#[test]
fn a_file_edited_by_hand_is_left_alone_and_named() {
    let mut editor = editor();
    editor.open(TWO);
    editor.request("workspace/symbol", json!({ "query": "" }));
    let file = editor.path("generated/src/main.rs");
    fs::write(&file, "// mine\n").unwrap();
    editor.edit(TWO, "/// Counts.", "/// Counts well.");
    editor.save(TWO);
    editor.wait("a message", |editor| !editor.shown.is_empty());
    assert!(
        editor.shown[0].contains("main.rs was edited by hand"),
        "{:?}",
        editor.shown
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "// mine\n");
}

#[test]
fn a_book_that_cannot_be_read_is_mended_in_the_editor() {
    let book = copy("editor");
    let config = book.path().join("book.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("[book]", "[book")).unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.wait("a message", |editor| !editor.shown.is_empty());
    assert!(editor.shown[0].contains("book.toml"), "{:?}", editor.shown);
    editor.open("book.toml");
    editor.open(ONE);
    editor.edit("book.toml", "[book", "[book]");
    let there = editor.about("textDocument/definition", ONE, &at(14, 5));
    assert_eq!(there["range"], range(2, 3, 26));
}
