//! The system as it stands at the end of a chapter.
//!
//! The tag of a chapter is its file name up to the first dash or dot: `L050` of `L050-interrupts.md`. A chapter that
//! promises to run at its end says so in front matter, which the weave takes away:
//!
//! ```text
//! ---
//! runs: true
//! ---
//! ```
//!
//! One with `runs: tests` promises less: the tests of those parts that can be tested by themselves pass.
//!
//! What later chapters define does not exist yet: a reference to it is nothing, as if its line were not there, and a
//! fragment that only later chapters use goes nowhere.

use crate::diagnostic::{Code, Diagnostic};
use crate::source::{Book, Source};
use crate::{Program, check, model::Model, tangle};

/// A chapter as a state of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What it is called.
    pub tag: String,
    /// The chapter, relative to the root of the book.
    pub path: String,
    /// What it promises of the system at its end.
    pub promise: Promise,
}

/// What a chapter promises of the system at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Promise {
    /// Nothing, or `runs: false`.
    #[default]
    Nothing,
    /// `runs: tests`: the tests of those parts that can be tested by themselves pass.
    Tests,
    /// `runs: true`: it runs.
    Runs,
}

/// The states of `book`, in reading order.
#[must_use]
pub fn states(book: &Book) -> Vec<State> {
    book.sources
        .iter()
        .map(|source| State {
            tag: tag(source.path()).to_owned(),
            path: source.path().to_owned(),
            promise: front_matter(source.text())
                .map(|(_, promise)| promise)
                .unwrap_or_default(),
        })
        .collect()
}

/// `L050` of `chapters/L050-interrupts.md`.
#[must_use]
pub fn tag(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split(['-', '.']).next().unwrap_or(name)
}

/// The length of the front matter at the beginning of `text`, and what it promises. Only front matter that says
/// `runs: true`, `runs: tests` or `runs: false` and nothing else is tangle's own; other people's is text like any other.
#[must_use]
pub fn front_matter(text: &str) -> Option<(usize, Promise)> {
    let mut end = 0;
    let mut line = || {
        let rest = &text[end..];
        end += rest.find('\n').map_or(rest.len(), |at| at + 1);
        rest.lines().next().map(str::trim_end)
    };
    if line()? != "---" {
        return None;
    }
    let promise = match line()?.strip_prefix("runs:")?.trim() {
        "true" => Promise::Runs,
        "tests" => Promise::Tests,
        "false" => Promise::Nothing,
        _ => return None,
    };
    if line()? != "---" {
        return None;
    }
    Some((end, promise))
}

/// What a state is.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The chapters so far.
    pub book: Book,
    /// The program that they are.
    pub program: Program,
    /// The references to fragments that are not defined yet: chapter, line and name.
    pub missing: Vec<(String, usize, String)>,
}

/// Why there is no such state.
#[derive(Debug, Clone)]
pub enum Error {
    /// No chapter has that tag.
    NoSuchTag,
    /// The chapters up to there have mistakes that later ones cannot mend.
    Mistakes(Vec<Diagnostic>),
}

/// The system as at the end of the chapter with `tag`.
///
/// ```
/// use tangle::source::Book;
///
/// let book = Book::new([
///     ("L010-first.md", "~~~c file=a.c\nint a;\n<<more>>\n~~~\n"),
///     ("L020-second.md", "~~~c #more\nint b;\n~~~\n"),
/// ]);
/// let first = tangle::states::as_of(&book, "L010").unwrap();
/// assert_eq!(first.program.tangled.files["a.c"].text, "int a;\n");
/// let second = tangle::states::as_of(&book, "L020").unwrap();
/// assert_eq!(second.program.tangled.files["a.c"].text, "int a;\nint b;\n");
/// ```
///
/// # Errors
/// When there is no such chapter, or the chapters up to it have mistakes.
pub fn as_of(book: &Book, tag: &str) -> Result<Snapshot, Error> {
    let last = book
        .sources
        .iter()
        .position(|source| self::tag(source.path()) == tag)
        .ok_or(Error::NoSuchTag)?;
    let later = &book.sources[last + 1..];
    let book = Book {
        sources: book.sources[..=last].to_vec(),
        dialect: book.dialect,
    };
    let (model, mut diagnostics) = Model::read_before(&book, later);
    diagnostics.extend(check::check(&book, &model));
    diagnostics.retain(|diagnostic| !matches!(diagnostic.code, Code::UndefinedFragment | Code::UnusedFragment));
    if !diagnostics.is_empty() {
        return Err(Error::Mistakes(diagnostics));
    }
    let missing = missing(&book.sources, &model);
    let tangled = tangle::tangle(&model);
    Ok(Snapshot {
        book,
        program: Program { model, tangled },
        missing,
    })
}

fn missing(sources: &[Source], model: &Model) -> Vec<(String, usize, String)> {
    let mut missing = Vec::new();
    for &id in model.fragments.iter().flat_map(crate::model::Fragment::live) {
        let piece = &model.pieces[id];
        for line in piece.fence.lines() {
            if let Some(reference) = line.reference()
                && model.meant(id, reference.name).is_none()
            {
                let source = sources[piece.source].path().to_owned();
                missing.push((source, line.number, reference.name.to_owned()));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_chapters_do_not_exist_yet() {
        let book = Book::new([
            (
                "src/A010-one.md",
                "---\nruns: true\n---\n\n```c file=a.c\n1\n<<two>>\n<<here>>\n```\n```c #here\nh\n```\n```c #later\n```\n",
            ),
            ("src/A020.md", "```c #two\n<<later>>\n2\n```\n```c #here :=\nnew\n```\n"),
        ]);
        let first = as_of(&book, "A010").unwrap();
        assert_eq!(first.program.tangled.files["a.c"].text, "1\nh\n");
        assert_eq!(first.missing, [("src/A010-one.md".to_owned(), 7, "two".to_owned())]);
        let second = as_of(&book, "A020").unwrap();
        assert_eq!(second.program.tangled.files["a.c"].text, "1\n2\nnew\n");
        assert!(second.missing.is_empty());
        assert!(matches!(as_of(&book, "A03"), Err(Error::NoSuchTag)));
        let runs: Vec<_> = states(&book)
            .into_iter()
            .map(|state| (state.tag, state.promise))
            .collect();
        assert_eq!(
            runs,
            [
                ("A010".to_owned(), Promise::Runs),
                ("A020".to_owned(), Promise::Nothing)
            ]
        );
    }

    #[test]
    fn what_joins_later_is_not_there_yet() {
        let book = Book::new([
            (
                "A010.md",
                "```c file=a.c\n<<one>>\n<<two>>\n```\n```c joins=A020 #one\n1\n<<three>>\n```\n```c #two\n2\n```\n",
            ),
            ("A020.md", "```c #three\n3\n```\n"),
        ]);
        let text = |tag| as_of(&book, tag).unwrap().program.tangled.files["a.c"].text.clone();
        assert_eq!(text("A010"), "2\n");
        assert_eq!(text("A020"), "1\n3\n2\n");
        let nowhere = Book::new([
            ("A010.md", "```c file=a.c\n```\n"),
            ("A020.md", "```c joins=A010 file=b.c\n```\n"),
        ]);
        assert!(crate::program(&nowhere).is_err());
    }

    #[test]
    fn of_two_chapters_with_a_tag_the_first_behind_the_fence_counts() {
        let book = Book::new([
            ("A010.md", "```c file=a.c\n1\n```\n"),
            (
                "B/A010.md",
                "```c joins=A010 file=b.c\n2\n```\n```c joins=A020 file=a.c +=\n3\n```\n",
            ),
            ("A020-one.md", ""),
            ("A020-two.md", ""),
        ]);
        let text = |tag| as_of(&book, tag).unwrap().program.tangled.files;
        assert_eq!(text("A010")["a.c"].text, "1\n");
        assert_eq!(text("A020")["a.c"].text, "1\n3\n");
        assert_eq!(text("A020")["b.c"].text, "2\n");
    }

    #[test]
    fn what_is_added_to_is_there_before() {
        let codes = |more: &str, tail: &str| {
            let book = Book::new([
                (
                    "A010.md",
                    format!("```c file=a.c\n<<one>>\n```\n```c joins=A030 #one\n1\n```\n{more}"),
                ),
                ("A020.md", format!("```c {tail}\n2\n```\n")),
                ("A030.md", "```c #one +=\n3\n```\n".to_owned()),
                ("A040.md", "```c #one :=\n4\n```\n".to_owned()),
            ]);
            let mistakes = crate::program(&book).err().unwrap_or_default();
            // Whatever is wrong as of some chapter, is wrong in the book.
            if mistakes.is_empty() {
                for tag in ["A010", "A020", "A030", "A040"] {
                    assert!(as_of(&book, tag).is_ok(), "{more}{tail} as of {tag}");
                }
            }
            mistakes.into_iter().map(|one| one.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("", "joins=A030 #one +="), []);
        assert_eq!(codes("", "joins=A040 #one :="), []);
        assert_eq!(codes("```c joins=A030 #one +=\n```\n", "joins=A030 #one :="), []);
        assert_eq!(codes("", "#one +="), [Code::AppendToNothing]);
        assert_eq!(codes("", "#one :="), [Code::OverrideOfNothing]);
        assert_eq!(codes("```c #one +=\n```\n", "file=b.c"), [Code::AppendToNothing]);
        assert_eq!(
            codes("```c joins=A030 file=b.c\n```\n", "file=b.c +="),
            [Code::AppendToNothing]
        );
    }

    #[test]
    fn front_matter_of_others_is_theirs() {
        assert_eq!(front_matter("---\nruns: true\n---\ntext"), Some((19, Promise::Runs)));
        assert_eq!(front_matter("---\nruns: tests\n---\n"), Some((20, Promise::Tests)));
        assert_eq!(
            front_matter("---\r\nruns:false\r\n---\r\n"),
            Some((22, Promise::Nothing))
        );
        for text in [
            "---\ntitle: x\n---\n",
            "---\nruns: true\ntitle: x\n---\n",
            "---\n",
            "",
            "text\n---\nruns: true\n---\n",
        ] {
            assert_eq!(front_matter(text), None, "{text:?}");
        }
    }
}
