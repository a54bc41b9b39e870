//! Joins the imports of Rust files.
//!
//! A file names one fragment that imports what it needs, and a later chapter adds a line to that with `+=`. In the file such lines
//! would stand one behind the other, each with a `use` of its own for the same crate. [`join`] makes of each `+=` a `:=`
//! that imports everything so far, with one `use` for each crate. After that all chapters say again what the file is
//! made of, to the letter, and every state of the book compiles.

use std::collections::{BTreeMap, BTreeSet};

use crate::header::Operation;
use crate::model::{FragmentId, Model, PieceId};
use crate::source::{Book, Source};

/// A book whose imports are joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// All chapters.
    pub book: Book,
    /// Those that changed: indices into [`Book::sources`].
    pub changed: Vec<usize>,
    /// The titles of the fragments that changed, in the order of their definitions.
    pub fragments: Vec<String>,
}

/// Joins the imports of those files of `book`, which `model` was read from, that are `wanted`. `layout` is a formatter:
/// it gets some `use` lines and returns them as they shall stand.
///
/// A fragment that is anything but imports is left alone, and so is one in a list or a quotation.
///
/// ```
/// use tangle::imports;
/// use tangle::source::Book;
///
/// let chapter = "~~~rust file=a.rs\n<<names>>\n~~~\n~~~rust #names\nuse k::b;\n~~~\n~~~rust #names +=\n\nuse k::a;\n~~~\n";
/// let book = Book::new([("one.md", chapter)]);
/// let model = tangle::model(&book).unwrap();
/// let as_it_is = |text: &str| Ok::<_, ()>(text.to_owned());
/// let joined = imports::join(&book, &model, |path| path == "a.rs", as_it_is).unwrap();
/// assert!(joined.book.sources[0].text().ends_with("~~~rust #names :=\nuse k::{a, b};\n~~~\n"));
/// ```
///
/// # Errors
/// What `layout` says.
pub fn join<E>(
    book: &Book,
    model: &Model,
    wanted: impl Fn(&str) -> bool,
    layout: impl Fn(&str) -> Result<String, E>,
) -> Result<Joined, E> {
    let mut found = BTreeSet::new();
    for (file, path) in model.files() {
        if wanted(path) {
            reach(model, file, &mut found);
        }
    }
    let mut edits: Vec<(PieceId, bool, String)> = Vec::new();
    let mut fragments = Vec::new();
    for id in found {
        let new = joined_pieces(book, model, id);
        if !new.is_empty() {
            fragments.push(model.fragments[id].title().to_owned());
        }
        for (piece, uses) in new {
            let replaces = model.pieces[piece].fence.header.operation == Operation::Append;
            edits.push((piece, replaces, layout(&uses)?));
        }
    }
    // From the end of each chapter to its beginning: what was found further up is still where it was.
    edits.sort_by_key(|(piece, ..)| std::cmp::Reverse(model.pieces[*piece].fence.range.start));
    let mut new = book.clone();
    let mut changed = BTreeSet::new();
    for (piece, replaces, body) in edits {
        let index = model.pieces[piece].source;
        let text = rewritten(model, piece, new.sources[index].text(), replaces, &body);
        new.sources[index] = Source::new(book.sources[index].path(), text);
        changed.insert(index);
    }
    Ok(Joined {
        book: new,
        changed: changed.into_iter().collect(),
        fragments,
    })
}

/// Adds `id` and all fragments that it is made of.
fn reach(model: &Model, id: FragmentId, found: &mut BTreeSet<FragmentId>) {
    if !found.insert(id) {
        return;
    }
    for &piece in model.fragments[id].live() {
        let references = model.pieces[piece].fence.lines();
        for used in references.filter_map(|line| model.meant(piece, line.reference()?.name)) {
            reach(model, used, found);
        }
    }
}

/// The pieces of a fragment that have to change, and what each imports then.
fn joined_pieces(book: &Book, model: &Model, id: FragmentId) -> Vec<(PieceId, String)> {
    let mut all = Tree::default();
    let mut new = Vec::new();
    for &piece in model.fragments[id].live() {
        let here = &model.pieces[piece];
        let source = &book.sources[here.source];
        let stands_free = source.line_start(here.fence.range.start) == here.fence.range.start;
        let Some(count) = read(&here.fence.code(), &mut all).filter(|_| stands_free) else {
            return Vec::new();
        };
        let adds = here.fence.header.operation == Operation::Append;
        if adds || count > all.children.len() {
            new.push((piece, all.written()));
        }
    }
    new
}

/// The chapter with another body in a fence, which takes the place of what was before it if it `replaces` that.
fn rewritten(model: &Model, piece: PieceId, text: &str, replaces: bool, body: &str) -> String {
    let fence = &model.pieces[piece].fence;
    let end_of = |at: usize| text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
    let mut opening = text[..end_of(fence.info.end)].to_owned();
    if replaces && let Some(at) = opening.rfind("+=") {
        opening.replace_range(at..at + 2, ":=");
    }
    let closing = text[..fence.range.end].rfind('\n').map_or(0, |at| at + 1);
    opening + body.trim_matches('\n') + "\n" + &text[closing..]
}

/// What is imported from somewhere: things, and what is imported from inside of things.
#[derive(Default)]
struct Tree {
    /// The thing itself is.
    itself: bool,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn add(&mut self, path: &[String]) {
        match path {
            [] => self.itself = true,
            [last] if last == "self" => self.itself = true,
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().add(rest),
        }
    }

    /// One `use` for each child.
    fn written(&self) -> String {
        let uses = self.children.iter();
        uses.flat_map(|(name, tree)| ["use ", &tree.named(name), ";\n"].map(str::to_owned))
            .collect()
    }

    fn named(&self, name: &str) -> String {
        let own = self.itself.then(|| "self".to_owned());
        let children = self.children.iter().map(|(name, tree)| tree.named(name));
        let inside: Vec<String> = own.into_iter().chain(children).collect();
        match inside.as_slice() {
            [] => name.to_owned(),
            [_] if self.children.is_empty() => name.to_owned(),
            [one] => format!("{name}::{one}"),
            several => format!("{name}::{{{}}}", several.join(", ")),
        }
    }
}

/// Adds what `code` imports to `all`, and says how many `use` it has; `None` if it has anything else.
fn read(code: &str, all: &mut Tree) -> Option<usize> {
    let mut words = words(code)?.into_iter().peekable();
    let mut count = 0;
    while words.next_if(|&word| word == "use").is_some() {
        tree(&mut words, &mut Vec::new(), all)?;
        words.next_if(|&word| word == ";")?;
        count += 1;
    }
    (count > 0 && words.next().is_none()).then_some(count)
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

/// Reads what follows `before` and `::`.
fn tree(words: &mut Words, before: &mut Vec<String>, all: &mut Tree) -> Option<()> {
    if words.next_if(|&word| word == "{").is_some() {
        while words.next_if(|&word| word == "}").is_none() {
            tree(words, before, all)?;
            if words.next_if(|&word| word == ",").is_none() && words.peek() != Some(&"}") {
                return None;
            }
        }
        return Some(());
    }
    let mut name = words.next_if(|word| is_name(word) || *word == "*")?.to_owned();
    if words.next_if(|&word| word == "as").is_some() {
        name = format!("{name} as {}", words.next_if(|word| is_name(word))?);
    }
    before.push(name);
    let read = if words.next_if(|&word| word == "::").is_some() {
        tree(words, before, all)
    } else {
        all.add(before);
        Some(())
    };
    before.pop();
    read
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// The words and signs of imports; `None` if the text has signs that imports do not have.
fn words(code: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while !rest.is_empty() {
        let length = match rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '#'))) {
            Some(0) if rest.starts_with("::") => 2,
            Some(0) if rest.starts_with(['{', '}', ',', ';', '*']) => 1,
            Some(0) => return None,
            length => length.unwrap_or(rest.len()),
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chapter after joining, with the layout that `read` makes.
    fn joined(chapter: &str) -> String {
        let book = Book::new([("a.md", chapter)]);
        let model = crate::model(&book).expect("a book without mistakes");
        let as_it_is = |text: &str| Ok::<_, ()>(text.to_owned());
        let joined = join(&book, &model, |path| path.starts_with("in/"), as_it_is).unwrap();
        assert_eq!(joined.changed.is_empty(), joined.book.sources[0].text() == chapter);
        joined.book.sources[0].text().to_owned()
    }

    fn once(uses: &str) -> Option<String> {
        let mut all = Tree::default();
        read(uses, &mut all).map(|_| all.written())
    }

    #[test]
    fn one_use_for_each_crate() {
        for (uses, written) in [
            ("use a;", "use a;\n"),
            ("use a::b;\nuse a::c;", "use a::{b, c};\n"),
            ("use a::{b::c, b::d};", "use a::b::{c, d};\n"),
            ("use a::b;\nuse a::b::c;", "use a::b::{self, c};\n"),
            ("use a::{b::{self},\n c::{self, d,},};", "use a::{b, c::{self, d}};\n"),
            ("use a::b as c;\nuse a::b;", "use a::{b, b as c};\n"),
            ("use a::*; use b::r#type;", "use a::*;\nuse b::r#type;\n"),
            ("use a::b;\n\nuse a::b;\n", "use a::b;\n"),
        ] {
            assert_eq!(once(uses).as_deref(), Some(written), "{uses}");
        }
    }

    #[test]
    fn what_is_not_all_imports_is_none() {
        for code in [
            "",
            "fn a() {}",
            "use a::b;\nmod c;",
            "pub use a::b;",
            "use a::b; // why",
            "#[cfg(x)]\nuse a::b;",
            "use ::a;",
            "use a::{b c};",
            "use a::b",
            "use a::;",
        ] {
            assert_eq!(once(code), None, "{code}");
        }
    }

    #[test]
    fn every_addition_becomes_all_that_was_imported_so_far() {
        let chapter = concat!(
            "```rust file=in/a.rs\n<<names>>\n\nfn a() {}\n```\n",
            "```rust #names\nuse k::a;\n```\ntext\n",
            "```rust #names +=\n\nuse c::x;\nuse k::b;\n```\ntext\n",
            "```rust #names +=\n\nuse k::c::d;\n```\nend\n",
        );
        let expected = concat!(
            "```rust file=in/a.rs\n<<names>>\n\nfn a() {}\n```\n",
            "```rust #names\nuse k::a;\n```\ntext\n",
            "```rust #names :=\nuse c::x;\nuse k::{a, b};\n```\ntext\n",
            "```rust #names :=\nuse c::x;\nuse k::{a, b, c::d};\n```\nend\n",
        );
        assert_eq!(joined(chapter), expected);
        assert_eq!(joined(expected), expected);
        let more = expected.to_owned() + "```rust #names +=\nuse k::e;\n```\n";
        let after = "```rust #names :=\nuse c::x;\nuse k::{a, b, c::d, e};\n```\n";
        assert_eq!(joined(&more), expected.to_owned() + after);
    }

    #[test]
    fn a_crate_that_is_named_twice_at_once_is_named_once() {
        let chapter = "```rust file=in/a.rs\n<<names>>\n```\n```rust #names\nuse k::b;\nuse k::a;\n```\n";
        assert!(joined(chapter).ends_with("```rust #names\nuse k::{a, b};\n```\n"));
    }

    #[test]
    fn only_imports_of_the_files_that_are_meant_are_joined() {
        for chapter in [
            "```rust file=out/a.rs\n<<names>>\n```\n```rust #names\nuse k::a;\n```\n```rust #names +=\nuse k::b;\n```\n",
            "```rust file=in/a.rs\n<<names>>\n```\n```rust #names\nuse k::a;\n```\n```rust #names +=\nfn b() {}\n```\n",
            "```rust file=in/a.rs\n<<names>>\n```\n```rust #names\nuse k::a;\n```\n> ```rust #names +=\n> use k::b;\n> ```\n",
        ] {
            assert_eq!(joined(chapter), chapter);
        }
    }
}
