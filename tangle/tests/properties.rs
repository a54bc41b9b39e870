//! What holds for every book, tried on thousands of books thrown together at random (always the same ones).

mod books;
mod checks;
mod dice;

use books::sound_book;
use checks::the_map_tells_the_truth;
use dice::Dice;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use tangle::source::Book;
use tangle::weave::{Page, Target, Weaver};

/// What mdBook reads.
const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_HEADING_ATTRIBUTES)
    .union(Options::ENABLE_DEFINITION_LIST)
    .union(Options::ENABLE_GFM);

/// Lines that are likely to mean something to each other.
const LINES: &[&str] = &[
    "",
    "",
    "text",
    "```",
    "```",
    "~~~",
    "````",
    "```rust",
    "```rust file=a.rs",
    "```rust file=a.rs +=",
    "```rust file=b/c.rs #two",
    "```rust #one",
    "```rust #one +=",
    "  ```rust #one :=",
    "~~~ {.c #two}",
    "```c #two +=",
    "> ```c #three",
    "> ```",
    "> code",
    ">",
    "- item",
    "- ```rust #three",
    "  ```rust #one +=",
    "  ```",
    "  code",
    "1. > ```c #two +=",
    "\t<<two>>",
    "    <<one>>",
    "<<three>>",
    "<< two >>",
    "é <<one>> é",
    "\tcode\u{e9}",
    "# not a heading",
    "<div>",
    "</div>",
    "[^1]: ```rust #one +=",
    "| a | b |",
    "\r",
    "    code",
    "fn f() { r#\"",
    "'\"\\",
];

fn book(dice: &mut Dice) -> Book {
    let chapters = 1 + dice.roll(3);
    Book::new((0..chapters).map(|chapter| {
        let mut text = String::new();
        for _ in 0..dice.roll(40) {
            text.push_str(LINES[dice.roll(LINES.len())]);
            text.push('\n');
        }
        (format!("c{chapter}.md"), text)
    }))
}

fn weaving_keeps_the_program(book: &Book, program: &tangle::Program) {
    let pages: Vec<_> = book
        .sources
        .iter()
        .map(|source| Page {
            path: source.path().to_owned(),
            title: source.path().to_owned(),
        })
        .collect();
    for target in [Target::Html, Target::Markdown, Target::Test] {
        let weaver = Weaver::new(book, program, &pages, target);
        for (index, source) in book.sources.iter().enumerate() {
            let woven = weaver.chapter(index);
            if !program.model.pieces.iter().any(|piece| piece.source == index) {
                assert_eq!(woven, source.text());
            }
            if target != Target::Html || !source.text().contains("# ") {
                assert_eq!(
                    code_blocks(&woven),
                    code_blocks(source.text()),
                    "{}\n====\n{woven}",
                    source.text()
                );
            }
            if target == Target::Test {
                assert_eq!(woven.lines().count(), source.text().lines().count());
            }
        }
        drop(weaver.appendix());
    }
}

/// The text of all code blocks as a renderer sees them.
fn code_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside = false;
    for event in Parser::new_ext(markdown, OPTIONS) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                inside = true;
                blocks.push(String::new());
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => blocks.last_mut().unwrap().push_str(&text),
            _ => {}
        }
    }
    blocks
}

#[test]
fn any_text_is_read_and_woven_without_a_panic() {
    let mut dice = Dice(1);
    let mut sound = 0;
    for _ in 0..4_000 {
        let book = book(&mut dice);
        match tangle::program(&book) {
            Ok(program) => {
                sound += usize::from(!program.tangled.files.is_empty());
                the_map_tells_the_truth(&book, &program);
                weaving_keeps_the_program(&book, &program);
            }
            Err(diagnostics) => {
                let json = tangle::diagnostic::render(&book, &diagnostics[..1], tangle::diagnostic::Format::Json);
                assert!(json.starts_with('{'));
            }
        }
    }
    assert!(sound > 5, "only {sound} of these books were programs");
}

#[test]
fn every_line_of_a_program_is_where_the_map_says() {
    let mut dice = Dice(2);
    for _ in 0..1_500 {
        let book = sound_book(&mut dice);
        let program = tangle::program(&book)
            .map_err(|diagnostics| tangle::diagnostic::render(&book, &diagnostics, tangle::diagnostic::Format::Human))
            .unwrap_or_else(|shown| panic!("{shown}\n{}", book.sources[0].text()));
        the_map_tells_the_truth(&book, &program);
        weaving_keeps_the_program(&book, &program);
    }
}
