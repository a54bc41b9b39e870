//! mdBook's side of the weave: a book comes in as JSON, goes out woven, and nothing is written.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use mdbook_preprocessor::book::{Book as MdBook, BookItem, Chapter};
use mdbook_preprocessor::{MDBOOK_VERSION, PreprocessorContext, parse_input};

use pulldown_cmark::{Event, Parser, Tag};

use crate::diagnostic::{self, Format};
use crate::dialect::Dialect;
use crate::disk;
use crate::lab::{self, View};
use crate::source::{Book, Source};
use crate::weave::{Extra, Page, Promises, Target, Weaver, relative};

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
    let labs = Labs::read(context)?;
    let places = Places::new(context, &source, &pages, &labs);
    book.for_each_chapter_mut(|chapter| {
        if let Some(&index) = file_of(chapter).and_then(|path| known.get(path)) {
            chapter.content = places.relink(&weaver.chapter(index), source.sources[index].path());
        }
    });
    if !labs.pages.is_empty() {
        book.push_item(BookItem::Separator);
        book.push_item(BookItem::PartTitle("Labs".to_owned()));
    }
    for page in &labs.pages {
        let woven = labs.weave(page, &source, &pages, target)?;
        let extra = Extra {
            content: places.relink(&woven, page.source.path()),
            page: Page {
                path: page.source.path().to_owned(),
                title: page.title.clone(),
            },
            children: Vec::new(),
        };
        book.push_item(chapter(extra, Vec::new()));
    }
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

/// The chapters that readers finish, and what is said about them.
struct Labs {
    /// What the page of a lab says below its title.
    line: String,
    pages: Vec<LabPage>,
}

/// A file beside the labs, or a lab.
struct LabPage {
    source: Source,
    title: String,
    lab: Option<lab::Lab>,
}

/// What the page of a lab says, if the book says nothing else.
const LAB_LINE: &str = "This lab takes {time} and is worth {points} points.";

impl Labs {
    /// Reads the directory of the labs: its README first, then the labs, then what else there is to read.
    fn read(context: &PreprocessorContext) -> Result<Self, String> {
        let mut labs = Self {
            line: setting(context, "lab")?.unwrap_or_else(|| LAB_LINE.to_owned()),
            pages: Vec::new(),
        };
        let Some(name) = setting(context, "labs")? else {
            return Ok(labs);
        };
        let directory = context.root.join(&name);
        if !directory.is_dir() {
            return Ok(labs);
        }
        for path in disk::pages_of_labs(&directory).map_err(|error| error.to_string())? {
            let shown = slashes(path.strip_prefix(&context.root).unwrap_or(&path));
            let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            let (mut title, mut lab) = (title(&text).unwrap_or_else(|| shown.clone()), None);
            let mut source = Source::new(shown.clone(), text.as_str());
            if lab::number(&shown).is_some() {
                let (read, faults) = lab::read(&shown, &text);
                if !faults.is_empty() {
                    let book = Book::new([(shown, text)]);
                    return Err(diagnostic::render(&book, &lab::diagnostics(0, faults), Format::Human));
                }
                let starter = lab::view(&text, View::Starter).unwrap_or(text);
                source = Source::new(shown, starter);
                title.clone_from(&read.title);
                lab = Some(read);
            }
            labs.pages.push(LabPage { source, title, lab });
        }
        Ok(labs)
    }

    /// The page of a lab, which is the last chapter of a book of its own.
    fn weave(&self, page: &LabPage, book: &Book, pages: &[Page], target: Target) -> Result<String, String> {
        let Some(lab) = &page.lab else {
            return Ok(page.source.text().to_owned());
        };
        let mut book = book.clone();
        book.sources.push(page.source.clone());
        let mut pages = pages.to_vec();
        pages.push(Page {
            path: page.source.path().to_owned(),
            title: page.title.clone(),
        });
        let program =
            crate::program(&book).map_err(|diagnostics| diagnostic::render(&book, &diagnostics, Format::Human))?;
        let line = self
            .line
            .replace("{n}", lab.number.trim_start_matches('0'))
            .replace("{time}", &lab.time)
            .replace("{points}", &lab.points().to_string());
        let weaver = Weaver::new(&book, &program, &pages, target).of_lab(&line);
        Ok(weaver.chapter(pages.len() - 1))
    }
}

/// What stands behind the first `# ` of a page.
fn title(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| Some(line.strip_prefix("# ")?.trim().to_owned()))
}

/// Where the files of the book are in the end: labs lie beside the chapters, and their pages below those.
struct Places {
    /// The page that a chapter or a lab becomes.
    pages: HashMap<String, String>,
    /// The directory of the chapters. What else lies there goes where they go.
    source_dir: String,
}

impl Places {
    fn new(context: &PreprocessorContext, book: &Book, pages: &[Page], labs: &Labs) -> Self {
        let chapters = book.sources.iter().zip(pages);
        let chapters = chapters.map(|(source, page)| (source.path().to_owned(), page.path.clone()));
        let labs = labs.pages.iter().map(|page| page.source.path().to_owned());
        Self {
            pages: chapters.chain(labs.map(|path| (path.clone(), path))).collect(),
            source_dir: slashes(&context.config.book.src),
        }
    }

    /// The text of the page that the file `here` becomes, with links to the pages of other files.
    fn relink(&self, text: &str, here: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (event, range) in Parser::new_ext(text, crate::parse::options()).into_offset_iter() {
            let Event::Start(Tag::Link { dest_url: url, .. } | Tag::Image { dest_url: url, .. }) = event else {
                continue;
            };
            let (file, behind) = url.split_at(url.find('#').unwrap_or(url.len()));
            let written = text[range.clone()].rfind(&format!("]({url}"));
            if let (Some(link), Some(at)) = (self.moved(here, file), written)
                && let at = range.start + at + "](".len()
                && at >= done
            {
                out.push_str(&text[done..at]);
                out.push_str(&link);
                out.push_str(behind);
                done = at + url.len();
            }
        }
        out.push_str(&text[done..]);
        out
    }

    /// The link from the page of the file `here` to what `file` becomes; `None` if it is that already.
    fn moved(&self, here: &str, file: &str) -> Option<String> {
        let page = self.pages.get(here)?;
        if file.is_empty() || file.contains("://") || file.starts_with('/') {
            return None;
        }
        let mut parts: Vec<&str> = here.split('/').collect();
        parts.pop();
        for part in file.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()?),
                _ => parts.push(part),
            }
        }
        let target = parts.join("/");
        let below = || target.strip_prefix(&self.source_dir)?.strip_prefix('/');
        let there = self.pages.get(&target).map(String::as_str).or_else(below)?;
        // Where nothing has moved the link stays as somebody wrote it.
        let link = relative(page, there);
        (link != relative(here, &target)).then_some(link)
    }
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
    fn labs_come_behind_the_chapters_as_their_starters() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("labs")).unwrap();
        let lab = "---\ntime: an hour\n---\n# Lab 1: Louder\n\nSee [A](../src/a.md#top) and ![p](../src/p.svg), [us](README.md).\n\n\
            ## Task 1: Shout\n\n<!-- solution -->\nSo.\n\n```c #b :=\nB!\n```\n<!-- stub -->\n```c #b :=\nb?\n```\n<!-- end -->\n\n\
            ## How it is graded\n\n|T|P|K|A|S|\n|-|-|-|-|-|\n|`x`|5|1||y|\n";
        fs::write(root.path().join("labs/01-louder.md"), lab).unwrap();
        fs::write(root.path().join("labs/README.md"), "# For teachers\n").unwrap();
        let chapter = "```c file=x.c\n<<b>>\n```\n\n```c #b\nb\n```\n\n[Lab](../labs/01-louder.md)\n";
        let input = input("html", &[("a.md", chapter)])
            .replace("\"/book\"", &serde_json::to_string(root.path()).unwrap())
            .replace(
                r#"{"src":"chapters"}}"#,
                r#"{"src":"src"},"preprocessor":{"tangle":{"labs":"labs","lab":"{n}: {time}, {points}"}}}"#,
            );
        let (mut output, mut log) = (Vec::new(), Vec::new());
        run(input.as_bytes(), &mut output, &mut log).unwrap();
        let book: MdBook = serde_json::from_slice(&output).unwrap();
        let pages: Vec<_> = book.chapters().map(|page| page.name.as_str()).collect();
        assert_eq!(pages[..3], ["a.md", "For teachers", "Lab 1: Louder"]);
        let content = |index: usize| &book.chapters().nth(index).unwrap().content;
        assert!(content(0).contains("[Lab](labs/01-louder.md)"), "{}", content(0));
        let page = content(2);
        assert!(
            page.contains("[A](../a.md#top) and ![p](../p.svg), [us](README.md)"),
            "{page}"
        );
        assert!(
            page.contains("b?") && !page.contains("B!") && !page.contains("time:"),
            "{page}"
        );
        assert!(
            page.starts_with("# Lab 1: Louder\n\n<div class=\"tangle-runs\">\n\n1: an hour, 5\n"),
            "{page}"
        );
        assert!(page.contains("line 1 of <code>x.c</code>"), "{page}");
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
