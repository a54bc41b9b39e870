//! What the server knows by itself: where fragments are, what they become, and how they are renamed.

use std::fs;

use serde_json::{Value, json};

use crate::common::{copy, stderr, tangle};
use crate::editor::{Editor, at, editor, range};

const ONE: &str = "chapters/one.md";
const TWO: &str = "chapters/two.md";

/// A location in a chapter.
fn location(editor: &Editor, path: &str, range: &Value) -> Value {
    json!({ "uri": editor.uri(path), "range": range })
}

#[test]
fn a_reference_leads_to_the_definition() {
    let mut editor = editor();
    editor.open(ONE);
    let there = editor.about("textDocument/definition", ONE, &at(14, 5));
    assert_eq!(there, location(&editor, TWO, &range(2, 3, 26)));
}

#[test]
fn an_addition_leads_to_the_definition() {
    let mut editor = editor();
    editor.open(TWO);
    let there = editor.about("textDocument/definition", TWO, &at(14, 12));
    assert_eq!(there, location(&editor, TWO, &range(2, 3, 26)));
}

#[test]
fn prose_leads_nowhere() {
    let mut editor = editor();
    editor.open(TWO);
    assert_eq!(editor.about("textDocument/definition", TWO, &at(12, 3)), Value::Null);
}

#[test]
fn a_fragment_knows_all_its_places() {
    let mut editor = editor();
    editor.open(TWO);
    let mut references = |declaration: bool| {
        let params = json!({
            "textDocument": editor.document(TWO),
            "position": at(2, 10),
            "context": { "includeDeclaration": declaration },
        });
        let places = editor.request("textDocument/references", params);
        (places, location(&editor, TWO, &range(2, 3, 26)))
    };
    let (all, definition) = references(true);
    let (others, _) = references(false);
    let addition = location(&editor, TWO, &range(14, 3, 29));
    let used = location(&editor, ONE, &range(14, 0, 21));
    assert_eq!(all, json!([definition, addition, used]));
    assert_eq!(others, json!([addition, used]));
}

#[test]
fn columns_are_counted_as_agreed() {
    // "rust #what é😀 is" is 17 units of UTF-16, and 20 bytes.
    for (offered, agreed, width) in [(json!([]), "utf-16", 17), (json!(["utf-8", "utf-16"]), "utf-8", 20)] {
        let book = copy("editor");
        let chapter = book.path().join(TWO);
        let text = fs::read_to_string(&chapter).unwrap();
        fs::write(&chapter, text.replace("a counter is", "é😀 is")).unwrap();
        let first = book.path().join(ONE);
        let text = fs::read_to_string(&first).unwrap();
        fs::write(&first, text.replace("a counter is", "é😀 is")).unwrap();
        let capabilities = json!({ "general": { "positionEncodings": offered } });
        let mut editor = Editor::start(book, &["--no-analyzer"], &json!({ "capabilities": capabilities }));
        assert_eq!(editor.capabilities["positionEncoding"], agreed);
        editor.open(ONE);
        let there = editor.about("textDocument/definition", ONE, &at(14, 5));
        assert_eq!(there["range"], range(2, 3, 3 + width));
    }
}

#[test]
fn hover_shows_what_a_fragment_becomes() {
    let mut editor = editor();
    editor.open(ONE);
    let hover = editor.about("textDocument/hover", ONE, &at(14, 5));
    assert_eq!(hover["range"], range(14, 0, 21));
    let shown = hover["contents"]["value"].as_str().unwrap();
    assert!(
        shown.starts_with("```rust\n/// Counts.\n#[derive(Default)]\nstruct Counter {\n"),
        "{shown}"
    );
    assert!(
        shown.contains("some: u32) {\n        self.total += some;\n    }\n"),
        "{shown}"
    );
    assert!(
        shown.ends_with("\nwritten in chapters/two.md:3, chapters/two.md:15  \nbecomes generated/src/main.rs:1-5, generated/src/main.rs:6-17"),
        "{shown}"
    );
}

#[test]
fn hover_sees_what_is_not_saved() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "/// Counts.", "/// Counts `` anything.");
    let hover = editor.about("textDocument/hover", TWO, &at(14, 12));
    let shown = hover["contents"]["value"].as_str().unwrap();
    assert!(shown.contains("/// Counts `` anything."), "{shown}");
}

#[test]
fn headings_hold_their_fragments() {
    let mut editor = editor();
    editor.open(ONE);
    let params = json!({ "textDocument": editor.document(ONE) });
    let outline = editor.request("textDocument/documentSymbol", params);
    let mut lines = Vec::new();
    flatten(&outline, 0, &mut lines);
    assert_eq!(
        lines,
        [
            "A counter 0-32",
            "  Cargo.toml 2-9",
            "  The program 11-32",
            "    src/main.rs 13-21",
            "    In a list 23-32",
            "      <<count>> 27-31",
        ]
    );
}

/// The names of symbols with their lines, indented by their depth.
fn flatten(symbols: &Value, depth: usize, lines: &mut Vec<String>) {
    for symbol in symbols.as_array().into_iter().flatten() {
        let (start, end) = (&symbol["range"]["start"]["line"], &symbol["range"]["end"]["line"]);
        let name = symbol["name"].as_str().unwrap();
        lines.push(format!("{}{name} {start}-{end}", "  ".repeat(depth)));
        flatten(&symbol["children"], depth + 1, lines);
    }
}

#[test]
fn fragments_and_files_are_found_by_a_part_of_their_name() {
    let mut editor = editor();
    let mut names = |query: &str| {
        let symbols = editor.request("workspace/symbol", json!({ "query": query }));
        let symbols = symbols.as_array().unwrap().iter();
        symbols
            .map(|symbol| symbol["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("COUNT"), ["count", "what a counter is"]);
    assert_eq!(names("main"), ["src/main.rs"]);
}

#[test]
fn names_are_completed_behind_two_angles() {
    let mut editor = editor();
    editor.open(ONE);
    editor.edit(ONE, "    <<count>>", "    <<count>>\n    <<ad>>");
    let items = editor.about("textDocument/completion", ONE, &at(19, 8));
    let items = items.as_array().unwrap();
    let labels: Vec<_> = items.iter().map(|item| item["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["count", "what a counter is", "add it"]);
    // The angles behind the cursor are not doubled.
    assert_eq!(
        items[2]["textEdit"],
        json!({ "range": range(19, 6, 10), "newText": "add it>>" })
    );
    assert_eq!(items[2]["detail"], "chapters/two.md:30");
}

#[test]
fn what_nobody_uses_yet_is_proposed_first() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "        <<add it>>", "        <<");
    let items = editor.about("textDocument/completion", TWO, &at(19, 10));
    let mut items = items.as_array().unwrap().clone();
    items.sort_by_key(|item| item["sortText"].as_str().unwrap().to_owned());
    let labels: Vec<_> = items.iter().map(|item| item["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["add it", "count"]);
}

#[test]
fn a_shift_to_the_left_is_no_reference() {
    let mut editor = editor();
    editor.open(TWO);
    editor.edit(TWO, "        self.total\n", "        1 <<\n");
    assert_eq!(editor.about("textDocument/completion", TWO, &at(24, 12)), Value::Null);
}

#[test]
fn the_places_in_one_chapter_are_highlighted() {
    let mut editor = editor();
    editor.open(TWO);
    let highlights = editor.about("textDocument/documentHighlight", TWO, &at(14, 10));
    assert_eq!(
        highlights,
        json!([{ "range": range(2, 3, 26), "kind": 3 }, { "range": range(14, 3, 29), "kind": 3 }])
    );
}

#[test]
fn a_path_in_a_header_is_a_link_to_the_file() {
    let mut editor = editor();
    editor.open(ONE);
    let params = json!({ "textDocument": editor.document(ONE) });
    let links = editor.request("textDocument/documentLink", params);
    assert_eq!(links[1]["range"], range(13, 13, 24));
    assert_eq!(links[1]["target"], editor.uri("generated/src/main.rs"));
}

#[test]
fn only_a_name_can_be_renamed() {
    let mut editor = editor();
    editor.open(TWO);
    let prepared = editor.about("textDocument/prepareRename", TWO, &at(19, 12));
    assert_eq!(prepared, json!({ "range": range(19, 10, 16), "placeholder": "add it" }));
    let params = json!({ "textDocument": editor.document(TWO), "position": at(12, 3) });
    let refused = editor.ask("textDocument/prepareRename", params).unwrap_err();
    assert_eq!(refused.message, "no fragment is named here");
}

fn rename(editor: &mut Editor, path: &str, position: &Value, name: &str) -> Result<Value, String> {
    let params = json!({ "textDocument": editor.document(path), "position": position, "newName": name });
    editor.ask("textDocument/rename", params).map_err(|error| error.message)
}

#[test]
fn a_renamed_book_becomes_the_same_files() {
    let mut editor = editor();
    editor.open(ONE);
    let file = editor.path("generated/src/main.rs");
    let edit = rename(&mut editor, ONE, &at(14, 5), "the counter, its methods").unwrap();
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(edit["changes"].as_object().unwrap().len(), 2);
    for path in [ONE, TWO] {
        let text = editor.apply(path, &edit["changes"][editor.uri(path)]);
        assert!(text.contains("the counter, its methods") && !text.contains("what a counter is"));
        fs::write(editor.path(path), text).unwrap();
    }
    let output = tangle(editor.book.path(), &["--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn what_a_fence_says_of_itself_outlives_its_name() {
    let mut editor = editor();
    let text = fs::read_to_string(editor.path(TWO)).unwrap();
    let text = text.replacen("rust #what a counter is", "rust fold joins=two #what a counter is", 1);
    fs::write(editor.path(TWO), text).unwrap();
    editor.open(TWO);
    let edit = rename(&mut editor, TWO, &at(2, 24), "the counter").unwrap();
    let text = editor.apply(TWO, &edit["changes"][editor.uri(TWO)]);
    assert!(text.contains("rust fold joins=two #the counter\n"), "{text}");
}

#[test]
fn a_name_that_is_taken_or_no_name_is_refused() {
    let mut editor = editor();
    editor.open(TWO);
    let mut refused = |name: &str| rename(&mut editor, TWO, &at(2, 10), name).unwrap_err();
    assert_eq!(
        refused("add it"),
        "`add it` is taken: it is defined in chapters/two.md:30"
    );
    for name in ["", "a >> b", "a +=", "a file=b", "two\nlines", "tick `` ` ``"] {
        let said = refused(name);
        assert!(
            said.contains("cannot be the name of a fragment") || said.contains("would not be the same"),
            "{name}: {said}"
        );
    }
}

#[test]
fn other_documents_are_none_of_our_business() {
    let mut editor = editor();
    fs::write(editor.path("notes.md"), "```rust #a\n<<b>>\n```\n").unwrap();
    editor.open("notes.md");
    assert_eq!(editor.about("textDocument/hover", "notes.md", &at(1, 3)), Value::Null);
}

#[test]
fn the_book_is_found_from_one_of_its_chapters() {
    let book = copy("editor");
    let elsewhere = tempfile::tempdir().unwrap();
    let root = format!("file://{}", elsewhere.path().display());
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({ "rootUri": root }));
    editor.open(ONE);
    assert_eq!(
        editor.about("textDocument/definition", ONE, &at(14, 5))["range"],
        range(2, 3, 26)
    );
}
