//! Labs in an editor: chapters that are none of the book, and know all of it.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::copy;
use crate::editor::{Editor, at, range};

const ONE: &str = "chapters/one.md";
const TWO: &str = "chapters/two.md";
/// A student's chapter.
pub const WORK: &str = "labs/work/01-twice.md";
/// The lab that it began as.
const LAB: &str = "labs/01-twice.md";

const WORK_TEXT: &str = "\
# Lab 1: Twice

Everything counts twice.

```rust #add it :=
<<leave alone what is too much>>
self.total += 2 * some;
```

Some numbers are too much.

```rust #leave alone what is too much
if some > 1000 {
    return;
}
```
";

const LAB_TEXT: &str = "\
---
time: an hour
---
# Lab 1: Twice

## Task 1: Count twice

<!-- solution -->
Everything counts twice.

```rust #add it :=
let some = some.min(1000);
<<the sum>>
```

This often:

```rust #the sum
self.total += 2 * some;
```
<!-- stub -->
*(Say here what you do.)*

```rust #add it :=
let some = some.min(1000);
<<the sum>>
```

So far:

```rust #the sum
self.total += some;
```
<!-- end -->

## How it is graded

| Test | Points | Task | After | What it shows |
|---|---:|---:|---|---|
| `twice` | 10 | 1 | | One and two are six. |
";

/// A book with labs: the one that a student works at, and its original.
pub fn book() -> TempDir {
    let book = copy("editor");
    let config = book.path().join("book.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(config, settings + "labs = \"labs\"\n").unwrap();
    fs::create_dir_all(book.path().join("labs/work")).unwrap();
    fs::write(book.path().join(WORK), WORK_TEXT).unwrap();
    fs::write(book.path().join(LAB), LAB_TEXT).unwrap();
    book
}

fn editor() -> Editor {
    Editor::start(book(), &["--no-analyzer"], &json!({}))
}

fn locations(editor: &mut Editor, path: &str, needle: &str) -> Vec<(String, u64)> {
    let params = json!({
        "textDocument": editor.document(path),
        "position": editor.find(path, needle),
        "context": { "includeDeclaration": true },
    });
    let found = editor.request("textDocument/references", params);
    let place = |location: &Value| {
        let line = location["range"]["start"]["line"].as_u64().unwrap();
        (location["uri"].as_str().unwrap().to_owned(), line)
    };
    found.as_array().unwrap().iter().map(place).collect()
}

fn rename(editor: &mut Editor, path: &str, needle: &str, name: &str) -> Result<Value, String> {
    let params = json!({
        "textDocument": editor.document(path),
        "position": editor.find(path, needle),
        "newName": name,
    });
    editor.ask("textDocument/rename", params).map_err(|error| error.message)
}

#[test]
fn the_fragments_of_the_book_are_known_in_a_lab() {
    let mut editor = editor();
    editor.open(WORK);
    let there = editor.about("textDocument/definition", WORK, &at(4, 10));
    assert_eq!(there, json!({ "uri": editor.uri(TWO), "range": range(29, 5, 17) }));
    assert_eq!(
        locations(&mut editor, WORK, "add it"),
        [(editor.uri(TWO), 29), (editor.uri(WORK), 4), (editor.uri(TWO), 19)]
    );
    editor.edit(WORK, "self.total += 2 * some;", "<<");
    let position = editor.find(WORK, "<<\n");
    let line = position["line"].as_u64().unwrap();
    let items = editor.about("textDocument/completion", WORK, &at(line.try_into().unwrap(), 2));
    let labels: Vec<_> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["label"].as_str().unwrap())
        .collect();
    assert!(
        labels.contains(&"count") && labels.contains(&"leave alone what is too much"),
        "{labels:?}"
    );
}

#[test]
fn hover_shows_what_the_lab_makes_of_the_book() {
    let mut editor = editor();
    editor.open(WORK);
    editor.open(ONE);
    let in_the_lab = editor.about("textDocument/hover", WORK, &at(4, 10));
    let shown = in_the_lab["contents"]["value"].as_str().unwrap();
    assert!(shown.contains("if some > 1000 {\n    return;"), "{shown}");
    assert!(
        shown.contains("target/editor/work/01-twice/generated/src/main.rs:"),
        "{shown}"
    );
    // In its own chapters the book is what it was.
    let in_the_book = editor.about("textDocument/hover", ONE, &at(14, 5));
    let shown = in_the_book["contents"]["value"].as_str().unwrap();
    assert!(
        shown.contains("self.total += some;") && !shown.contains("1000"),
        "{shown}"
    );
}

#[test]
fn a_mistake_in_a_lab_shows_in_the_lab() {
    let mut editor = editor();
    editor.open(ONE);
    editor.open(WORK);
    editor.edit(WORK, "<<leave alone", "<<leeve alone");
    editor.wait_for_codes(WORK, &["undefined-fragment", "unused-fragment"]);
    assert_eq!(editor.diagnostics(WORK)[0]["range"], range(5, 0, 32));
    editor.edit(WORK, "<<leeve alone", "<<leave alone");
    editor.wait_for_codes(WORK, &[]);
    // What the book's own chapters are advised stays with them.
    editor.wait_for_codes(TWO, &["nothing-said"]);
    assert!(editor.diagnostics(ONE).is_empty());
}

#[test]
fn a_lab_gets_advice() {
    let mut editor = editor();
    editor.open(WORK);
    editor.edit(WORK, "Some numbers are too much.\n", "");
    editor.wait_for_codes(WORK, &["nothing-said"]);
}

#[test]
fn what_a_lab_breaks_in_the_book_says_so() {
    let mut editor = editor();
    editor.open(WORK);
    editor.edit(WORK, "self.total += 2 * some;", "<<what a counter is>>");
    editor.wait("a circle", |editor| {
        let mut shown = editor.diagnostics(TWO).iter().chain(editor.diagnostics(WORK));
        shown.any(|diagnostic| diagnostic["code"] == "cyclic-fragment")
    });
    let shown = editor.diagnostics(TWO);
    assert!(
        shown.iter().any(|diagnostic| {
            diagnostic["code"] == "cyclic-fragment"
                && diagnostic["message"]
                    .as_str()
                    .unwrap()
                    .ends_with(" (with labs/work/01-twice.md behind the book)")
        }),
        "{shown:?}"
    );
}

#[test]
fn a_chapter_that_changes_is_seen_from_the_lab() {
    let mut editor = editor();
    editor.open(TWO);
    editor.open(WORK);
    editor.edit(TWO, "#add it", "#add something");
    editor.wait_for_codes(WORK, &["override-of-nothing"]);
    editor.edit(TWO, "#add something", "#add it");
    editor.wait_for_codes(WORK, &[]);
}

#[test]
fn a_closed_lab_is_forgotten() {
    let mut editor = editor();
    editor.open(ONE);
    editor.open(WORK);
    editor.edit(WORK, "<<leave alone", "<<leeve alone");
    editor.wait_for_codes(WORK, &["undefined-fragment", "unused-fragment"]);
    editor.close(WORK);
    editor.wait_for_codes(WORK, &[]);
    let there = editor.about("textDocument/definition", ONE, &at(14, 5));
    assert_eq!(there["range"], range(2, 3, 26));
}

#[test]
fn a_fragment_of_a_lab_is_renamed_and_one_of_the_book_is_not() {
    let mut editor = editor();
    editor.open(WORK);
    let edit = rename(&mut editor, WORK, "leave alone", "be modest").unwrap();
    assert_eq!(edit["changes"].as_object().unwrap().len(), 1);
    let text = editor.apply(WORK, &edit["changes"][editor.uri(WORK)]);
    assert!(
        text.contains("\n<<be modest>>\n") && text.contains("```rust #be modest\n"),
        "{text}"
    );
    let refused = "`add it` stands in the book as well, in chapters/two.md:30, and a lab leaves the book's chapters alone: \
                   rename it there";
    assert_eq!(rename(&mut editor, WORK, "add it", "increase").unwrap_err(), refused);
    let params = json!({ "textDocument": editor.document(WORK), "position": at(4, 10) });
    let prepared = editor.ask("textDocument/prepareRename", params).unwrap_err();
    assert_eq!(prepared.message, refused);
}

#[test]
fn a_fragment_that_the_book_renames_is_renamed_in_open_labs() {
    let mut editor = editor();
    editor.open(WORK);
    editor.open(TWO);
    let edit = rename(&mut editor, TWO, "add it\n", "increase").unwrap();
    let text = editor.apply(WORK, &edit["changes"][editor.uri(WORK)]);
    assert!(text.contains("```rust #increase :=\n"), "{text}");
    let text = editor.apply(TWO, &edit["changes"][editor.uri(TWO)]);
    assert_eq!(text.matches("increase").count(), 2, "{text}");
    assert!(!text.contains("add it"), "{text}");
}

#[test]
fn symbols_of_book_and_lab_are_found_once() {
    let mut editor = editor();
    editor.open(WORK);
    let mut names = |query: &str| {
        let symbols = editor.request("workspace/symbol", json!({ "query": query }));
        let symbols = symbols.as_array().unwrap().iter();
        symbols
            .map(|symbol| symbol["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("too much"), ["leave alone what is too much"]);
    assert_eq!(names("add it"), ["add it"]);
}

#[test]
fn a_saved_lab_becomes_a_system_of_its_own() {
    let mut editor = editor();
    editor.open(WORK);
    editor.edit(WORK, "> 1000", "> 2000");
    editor.save(WORK);
    editor.request("workspace/symbol", json!({ "query": "" }));
    let read = |path: &str| fs::read_to_string(editor.path(path)).unwrap();
    let system = read("target/editor/work/01-twice/generated/src/main.rs");
    assert!(system.contains("if some > 2000 {"), "{system}");
    let book = read("generated/src/main.rs");
    assert!(book.contains("self.total += some;") && !book.contains("2000"), "{book}");
}

#[test]
fn a_saved_chapter_of_the_book_is_in_the_system_of_an_open_lab() {
    let mut editor = editor();
    editor.open(WORK);
    editor.open(TWO);
    editor.edit(TWO, "/// Counts.", "/// Counts well.");
    editor.save(TWO);
    editor.request("workspace/symbol", json!({ "query": "" }));
    for path in ["target/editor/work/01-twice/generated", "generated"] {
        let file = fs::read_to_string(editor.path(path).join("src/main.rs")).unwrap();
        assert!(file.starts_with("/// Counts well.\n"), "{path}: {file}");
    }
}

#[test]
fn the_place_of_a_lab_s_system_can_be_chosen() {
    let book = book();
    let config = book.path().join("book.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(config, settings + "labs-out = \"elsewhere\"\n").unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.open(WORK);
    editor.request("workspace/symbol", json!({ "query": "" }));
    assert!(editor.path("elsewhere/work/01-twice/generated/src/main.rs").is_file());
    assert!(!editor.path("target").exists());
}

#[test]
fn where_no_labs_are_no_text_is_a_lab() {
    let book = book();
    let config = book.path().join("book.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(config, settings.replace("labs = \"labs\"\n", "")).unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.open(WORK);
    assert_eq!(editor.about("textDocument/hover", WORK, &at(4, 10)), Value::Null);
}

#[cfg(unix)]
#[test]
fn students_may_work_elsewhere() {
    let book = book();
    let elsewhere = tempfile::tempdir().unwrap();
    let work = book.path().join("labs/work");
    fs::remove_dir_all(&work).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), work).unwrap();
    fs::write(book.path().join(WORK), WORK_TEXT).unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.open(WORK);
    let there = editor.about("textDocument/definition", WORK, &at(4, 10));
    assert_eq!(there["uri"], editor.uri(TWO));
    editor.edit(WORK, "<<leave alone", "<<leeve alone");
    editor.wait_for_codes(WORK, &["undefined-fragment", "unused-fragment"]);
}

#[test]
fn the_author_of_a_lab_sees_the_solution_and_the_starter() {
    let mut editor = editor();
    editor.open(LAB);
    editor.edit(LAB, "self.total += 2 * some;", "<<something>>");
    editor.wait_for_codes(LAB, &["undefined-fragment"]);
    let mistake = &editor.diagnostics(LAB)[0];
    assert_eq!(mistake["range"], range(18, 0, 13));
    assert_eq!(mistake["message"], "no fragment is called `something`");
    editor.edit(LAB, "<<something>>", "self.total += 2 * some;");
    editor.wait_for_codes(LAB, &[]);
    editor.edit(LAB, "self.total += some;", "<<something>>");
    editor.wait_for_codes(LAB, &["undefined-fragment"]);
    let mistake = &editor.diagnostics(LAB)[0];
    assert_eq!(mistake["range"], range(31, 0, 13));
    assert_eq!(mistake["message"], "no fragment is called `something` (in the starter)");
}

#[test]
fn both_views_of_a_lab_answer() {
    let mut editor = editor();
    editor.open(LAB);
    for (line, becomes) in [(17, "self.total += 2 * some;"), (30, "self.total += some;")] {
        let hover = editor.about("textDocument/hover", LAB, &at(line, 4));
        let shown = hover["contents"]["value"].as_str().unwrap();
        assert!(shown.starts_with(&format!("```rust\n{becomes}\n")), "{line}: {shown}");
    }
    let edit = rename(&mut editor, LAB, "the sum", "what comes to it").unwrap();
    let text = editor.apply(LAB, &edit["changes"][editor.uri(LAB)]);
    assert_eq!(text, LAB_TEXT.replace("the sum", "what comes to it"));
    // The system is that of the solution.
    let file = editor.path("target/editor/01-twice/generated/src/main.rs");
    assert!(fs::read_to_string(file).unwrap().contains("2 * some"));
}

#[test]
fn a_lab_that_cannot_be_taken_apart_says_where() {
    let mut editor = editor();
    editor.open(LAB);
    editor.edit(LAB, "<!-- stub -->", "<!-- stab -->");
    editor.wait_for_codes(LAB, &["bad-lab"]);
    let mistake = &editor.diagnostics(LAB)[0];
    assert_eq!(mistake["range"]["start"], editor.find(LAB, "<!-- end -->"));
    assert!(editor.shown.is_empty(), "{:?}", editor.shown);
    editor.edit(LAB, "<!-- stab -->", "<!-- stub -->");
    editor.wait_for_codes(LAB, &[]);
    editor.edit(LAB, "| 10 | 1 |", "| 10 | 2 |");
    editor.wait_for_codes(LAB, &["bad-lab"]);
    assert_eq!(
        editor.diagnostics(LAB)[0]["message"],
        "this lab has not the form of one: there is no task 2"
    );
}

#[test]
fn a_wrong_solution_comes_behind_the_right_one() {
    const WRONG: &str = "labs/wrong/01/twice--three.md";
    let book = book();
    fs::create_dir_all(book.path().join("labs/wrong/01")).unwrap();
    let text = "Three is not two.\n\n```rust #the sum :=\nself.total += 3 * some;\n```\n";
    fs::write(book.path().join(WRONG), text).unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.open(WRONG);
    let there = editor.about("textDocument/definition", WRONG, &at(2, 12));
    assert_eq!(
        (&there["uri"], &there["range"]),
        (&json!(editor.uri(LAB)), &range(17, 3, 16))
    );
    editor.edit(WRONG, "#the sum", "#the some");
    editor.wait_for_codes(WRONG, &["override-of-nothing"]);
}

#[test]
fn a_page_beside_the_labs_is_no_lab() {
    let book = book();
    fs::write(
        book.path().join("labs/README.md"),
        "# Labs\n\n```console\n$ make\n```\n",
    )
    .unwrap();
    let mut editor = Editor::start(book, &["--no-analyzer"], &json!({}));
    editor.open("labs/README.md");
    assert_eq!(
        editor.about("textDocument/hover", "labs/README.md", &at(3, 3)),
        Value::Null
    );
    assert!(!editor.path("target").exists());
}

#[test]
fn a_lab_that_nobody_saved_yet_is_one() {
    let mut editor = editor();
    let text = fs::read_to_string(editor.path(WORK)).unwrap();
    fs::remove_file(editor.path(WORK)).unwrap();
    editor.open_with(WORK, text);
    let there = editor.about("textDocument/definition", WORK, &at(4, 10));
    assert_eq!(there["uri"], editor.uri(TWO));
    assert!(editor.shown.is_empty(), "{:?}", editor.shown);
    editor.save(WORK);
    editor.request("workspace/symbol", json!({ "query": "" }));
    assert!(
        editor
            .path("target/editor/work/01-twice/generated/src/main.rs")
            .is_file()
    );
}
