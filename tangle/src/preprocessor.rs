//! mdBook's side of the weave: a book comes in as JSON, goes out woven, and nothing is written.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use mdbook_preprocessor::book::{Book as MdBook, BookItem, Chapter};
use mdbook_preprocessor::{MDBOOK_VERSION, PreprocessorContext, parse_input};

use crate::diagnostic::{self, Format};
use crate::dialect::Dialect;
use crate::source::{Book, Source};
use crate::weave::{Extra, Page, Promises, Target, Weaver};

/// What the pages are for when mdBook renders with `renderer`; `None` for a renderer that is not supported.
#[must_use]
pub fn target(renderer: &str) -> Option<Target> {
    match renderer {
        "html" => Some(Target::Html),
        "markdown" => Some(Target::Markdown),
        "test" => Some(Target::Test),
        _ => None,
    }
}

/// Reads a context and a book as mdBook writes them, and writes the woven book.
/// Warnings go to `log`.
///
/// # Errors
/// A text that says what is wrong with the book, with the input, or with writing the output.
pub fn run(input: impl Read, mut output: impl Write, mut log: impl Write) -> Result<(), String> {
    let (context, mut book) = parse_input(input).map_err(|error| format!("{error:#}"))?;
    if minor(&context.mdbook_version) != minor(MDBOOK_VERSION) {
        // Only a warning: if even it cannot be shown, the book is still right.
        let _ = writeln!(
            log,
            "warning: mdbook-tangle was made for mdBook {MDBOOK_VERSION}, this is {}",
            context.mdbook_version
        );
    }
    weave(&context, &mut book)?;
    serde_json::to_writer(&mut output, &book).map_err(|error| error.to_string())?;
    output.flush().map_err(|error| error.to_string())
}

/// `0.5` of `0.5.4`.
fn minor(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    dots.nth(1).map_or(version, |second| &version[..second])
}

/// Weaves every chapter of `book` and adds the pages behind them.
///
/// # Errors
/// All mistakes of the book, as they are shown to people.
pub fn weave(context: &PreprocessorContext, book: &mut MdBook) -> Result<(), String> {
    let target = target(&context.renderer).unwrap_or(Target::Markdown);
    let mut sources = Vec::new();
    let mut pages = Vec::new();
    let mut known = HashMap::new();
    for chapter in book.chapters() {
        let Some(path) = file_of(chapter) else { continue };
        if known.contains_key(path) {
            continue;
        }
        known.insert(path.to_owned(), sources.len());
        let shown = slashes(&context.config.book.src.join(path));
        sources.push(Source::new(shown, chapter.content.as_str()));
        pages.push(Page {
            path: slashes(chapter.path.as_deref().unwrap_or(path)),
            title: chapter.name.clone(),
        });
    }
    let wanted = setting(context, "dialect")?;
    let settings = context.root.join(Dialect::FILE);
    let settings = settings.is_file().then(|| fs::read_to_string(settings));
    let settings = settings
        .transpose()
        .map_err(|error| format!("cannot read {}: {error}", Dialect::FILE))?;
    let source = Book {
        sources,
        dialect: Dialect::choose(wanted.as_deref(), settings.as_deref())?,
    };
    let program =
        crate::program(&source).map_err(|diagnostics| diagnostic::render(&source, &diagnostics, Format::Human))?;
    let (runs, tests) = (setting(context, "runs")?, setting(context, "tests")?);
    let usual = Promises::default();
    let weaver = Weaver::new(&source, &program, &pages, target).promising(Promises {
        runs: runs.as_deref().unwrap_or(usual.runs),
        tests: tests.as_deref().unwrap_or(usual.tests),
    });
    book.for_each_chapter_mut(|chapter| {
        if let Some(&index) = file_of(chapter).and_then(|path| known.get(path)) {
            chapter.content = weaver.chapter(index);
        }
    });
    let appendix = weaver.appendix();
    if !appendix.is_empty() {
        book.push_item(BookItem::Separator);
        book.push_item(BookItem::PartTitle("Appendix".to_owned()));
        for extra in appendix {
            book.push_item(chapter(extra, Vec::new()));
        }
    }
    Ok(())
}

/// A text from the table `[preprocessor.tangle]` of `book.toml`.
fn setting(context: &PreprocessorContext, name: &str) -> Result<Option<String>, String> {
    let found = context.config.get(&format!("preprocessor.tangle.{name}"));
    found.map_err(|error| format!("book.toml: {error:#}"))
}

/// The file that a chapter was read from.
fn file_of(chapter: &Chapter) -> Option<&Path> {
    chapter.source_path.as_deref()
}

fn chapter(extra: Extra, parent_names: Vec<String>) -> Chapter {
    let mut below = parent_names.clone();
    below.push(extra.page.title.clone());
    Chapter {
        content: extra.content,
        path: Some(PathBuf::from(extra.page.path)),
        sub_items: extra
            .children
            .into_iter()
            .map(|child| BookItem::Chapter(chapter(child, below.clone())))
            .collect(),
        name: extra.page.title,
        parent_names,
        ..Chapter::default()
    }
}

/// A path with `/` between its parts on every system.
fn slashes(path: &Path) -> String {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(renderer: &str, chapters: &[(&str, &str)]) -> String {
        let items: Vec<_> = chapters
            .iter()
            .map(|(path, content)| {
                serde_json::json!({"Chapter": {
                    "name": path, "content": content, "number": [1], "sub_items": [],
                    "path": path, "source_path": path, "parent_names": []
                }})
            })
            .collect();
        serde_json::json!([
            {"root": "/book", "config": {"book": {"src": "chapters"}}, "renderer": renderer, "mdbook_version": MDBOOK_VERSION},
            {"items": items}
        ])
        .to_string()
    }

    fn woven(renderer: &str, chapters: &[(&str, &str)]) -> Result<MdBook, String> {
        let (mut output, mut log) = (Vec::new(), Vec::new());
        run(input(renderer, chapters).as_bytes(), &mut output, &mut log)?;
        assert!(log.is_empty());
        Ok(serde_json::from_slice(&output).unwrap())
    }

    #[test]
    fn a_book_without_fragments_comes_back_as_it_went() {
        let text = "# A\r\n\n```rust\n<<x>>\n```\n\n    ```rust #a\n\n<div>\n```rust #b\n</div>\n\n~~~";
        let book = woven("html", &[("a.md", text)]).unwrap();
        assert_eq!(book.items.len(), 1);
        assert_eq!(book.chapters().next().unwrap().content, text);
    }

    #[test]
    fn the_appendix_is_not_numbered() {
        let chapters = [
            ("a.md", "```rust file=x.rs\n<<b>>\n```\n"),
            ("b.md", "```rust #b\nfn b() {}\n```\n"),
        ];
        let book = woven("html", &chapters).unwrap();
        let names: Vec<_> = book.chapters().map(|chapter| chapter.name.as_str()).collect();
        assert_eq!(
            names,
            ["a.md", "b.md", "Index of identifiers", "The generated files", "x.rs"]
        );
        assert!(book.chapters().skip(2).all(|chapter| chapter.number.is_none()));
        assert_eq!(book.chapters().last().unwrap().parent_names, ["The generated files"]);
        assert_eq!(woven("markdown", &chapters).unwrap().items.len(), 2);
    }

    #[test]
    fn mistakes_end_the_build_with_the_path_of_the_chapter() {
        let said = woven("html", &[("a.md", "```rust file=x.rs\n<<b>>\n```\n")]).unwrap_err();
        assert!(said.contains("chapters/a.md:2:1"), "{said}");
    }

    #[test]
    fn another_mdbook_is_warned_about() {
        let (mut output, mut log) = (Vec::new(), Vec::new());
        let other = input("html", &[]).replace(MDBOOK_VERSION, "0.6.1");
        run(other.as_bytes(), &mut output, &mut log).unwrap();
        assert!(String::from_utf8(log).unwrap().contains("this is 0.6.1"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(run("[]".as_bytes(), Vec::new(), Vec::new()).is_err());
    }
}
