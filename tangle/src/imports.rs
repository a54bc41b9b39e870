//! Joins the imports of Rust files.
//!
//! A file names one fragment that imports what it needs, and a later chapter adds a line to that with `+=`, or fills a hole in it. In
//! the file such lines would stand one behind the other, each with a `use` of its own for the same crate. [`join`] makes of each
//! addition a `:=` that imports everything so far, with one `use` for each crate. After that all chapters say again what the file is
//! made of, to the letter, and every state of the book compiles.

use std::collections::{BTreeMap, BTreeSet};

use crate::header::{Header, Operation};
use crate::model::{FragmentId, Model, PieceId, joining};
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
    let uses = uses(model);
    let mut edits = Vec::new();
    let mut fragments = Vec::new();
    let mut inside = BTreeSet::new();
    for id in found {
        if inside.contains(&id) {
            continue;
        }
        let new = joined_pieces(book, model, &uses, id, &mut inside);
        if !new.is_empty() {
            fragments.push(model.fragments[id].title().to_owned());
        }
        for edit in new {
            let body = layout(&edit.body)?;
            edits.push(Edit { body, ..edit });
        }
    }
    // From the end of each chapter to its beginning: what was found further up is still where it was.
    edits.sort_by_key(|edit| std::cmp::Reverse(model.pieces[edit.piece].fence.range.start));
    let mut new = book.clone();
    let mut changed = BTreeSet::new();
    for edit in edits {
        let index = model.pieces[edit.piece].source;
        let text = rewritten(model, new.sources[index].text(), &edit);
        new.sources[index] = Source::new(book.sources[index].path(), text);
        changed.insert(index);
    }
    Ok(Joined {
        book: new,
        changed: changed.into_iter().collect(),
        fragments,
    })
}

/// What a fence shall be.
struct Edit {
    piece: PieceId,
    /// Its info string, if it is another one.
    info: Option<String>,
    body: String,
}

/// The fragments that a piece refers to, one for each reference.
fn references(model: &Model, piece: PieceId) -> impl Iterator<Item = FragmentId> {
    let lines = model.pieces[piece].fence.lines();
    lines.filter_map(move |line| model.meant(piece, line.reference()?.name))
}

/// Adds `id` and all fragments that it is made of.
fn reach(model: &Model, id: FragmentId, found: &mut BTreeSet<FragmentId>) {
    if found.insert(id) {
        for &piece in model.fragments[id].live() {
            references(model, piece).for_each(|used| reach(model, used, found));
        }
    }
}

/// How often each fragment is referred to.
fn uses(model: &Model) -> Vec<usize> {
    let mut uses = vec![0; model.fragments.len()];
    for fragment in &model.fragments {
        for &piece in fragment.live() {
            references(model, piece).for_each(|used| uses[used] += 1);
        }
    }
    uses
}

/// The pieces that make up a fragment, those of the fragments in it, too, in reading order.
fn pieces(model: &Model, id: FragmentId) -> BTreeSet<PieceId> {
    let mut fragments = BTreeSet::new();
    reach(model, id, &mut fragments);
    let pieces = fragments.iter().flat_map(|&id| model.fragments[id].live());
    pieces.copied().collect()
}

/// What has to change in the pieces of a fragment; nothing if it is not all imports. The fragments that it takes in
/// are added to `inside`.
fn joined_pieces(
    book: &Book,
    model: &Model,
    uses: &[usize],
    id: FragmentId,
    inside: &mut BTreeSet<FragmentId>,
) -> Vec<Edit> {
    let name = model.fragments[id].name.as_deref();
    let mut all = Tree::default();
    let mut edits = Vec::new();
    let pieces = pieces(model, id);
    // What joins the program after a piece that the book tells later cannot say what both import.
    let joining = |&piece: &PieceId| joining(&book.sources, model.pieces[piece].source, &model.pieces[piece].fence);
    if !pieces.iter().map(joining).is_sorted() {
        return edits;
    }
    for piece in pieces {
        let here = &model.pieces[piece];
        let (fence, source) = (&here.fence, &book.sources[here.source]);
        let info = &source.text()[fence.info.clone()];
        let stands_free = source.line_start(fence.range.start) == fence.range.start;
        let own = here.fragment == id;
        // A fragment inside of this one becomes a piece of it, if it is nothing else anywhere, and not the first.
        let can_be_taken_in = name.is_some()
            && uses[here.fragment] == 1
            && fence.header.path.is_none()
            && !info.starts_with('{')
            && !all.children.is_empty();
        let code: String = fence
            .lines()
            .filter(|line| line.reference().is_none())
            .flat_map(|line| [line.text, "\n"])
            .collect();
        let count = read(&code, &mut all);
        let Some(count) = count.filter(|_| stands_free && (own || can_be_taken_in)) else {
            return Vec::new();
        };
        let adds = fence.header.operation == Operation::Append;
        let new_info = match name {
            Some(name) if !own => Some(taken_in(&fence.header, name)),
            _ if adds => info
                .rfind("+=")
                .map(|at| info[..at].to_owned() + ":=" + &info[at + 2..]),
            _ => None,
        };
        let refers = references(model, piece).next().is_some();
        if new_info.is_some() || refers || count > all.children.len() {
            edits.push(Edit {
                piece,
                info: new_info,
                body: all.written(),
            });
        }
    }
    let taken_in = edits.iter().map(|edit| model.pieces[edit.piece].fragment);
    inside.extend(taken_in.filter(|&it| it != id));
    edits
}

/// The info string of a fence that replaces `name` now: else it says what it has said.
fn taken_in(header: &Header, name: &str) -> String {
    let fold = if header.folded { " fold" } else { "" };
    let joins = header.joins.iter().map(|tag| format!(" joins={tag}"));
    format!("{}{fold}{} #{name} :=", header.language, joins.collect::<String>())
}

/// The chapter with another fence.
fn rewritten(model: &Model, text: &str, edit: &Edit) -> String {
    let fence = &model.pieces[edit.piece].fence;
    let info = edit.info.as_deref().unwrap_or(&text[fence.info.clone()]);
    let rest = text[fence.info.end..]
        .find('\n')
        .map_or(text.len(), |end| fence.info.end + end);
    let closing = text[..fence.range.end].rfind('\n').map_or(0, |at| at + 1);
    let (before, line_end) = (&text[..fence.info.start], &text[fence.info.end..rest]);
    let body = edit.body.trim_matches('\n');
    format!("{before}{info}{line_end}\n{body}\n{}", &text[closing..])
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
    fn a_hole_that_a_later_chapter_fills_is_an_addition() {
        let chapter = concat!(
            "```rust file=in/a.rs\n<<names>>\n```\n",
            "```rust #names\n<<more names>>\nuse k::b;\nuse k::c;\n```\n",
            "```rust #more names\nuse c::x;\nuse k::a;\n```\n",
            "```rust #more names +=\nuse k::d;\n```\n",
        );
        let expected = concat!(
            "```rust file=in/a.rs\n<<names>>\n```\n",
            "```rust #names\nuse k::{b, c};\n```\n",
            "```rust #names :=\nuse c::x;\nuse k::{a, b, c};\n```\n",
            "```rust #names :=\nuse c::x;\nuse k::{a, b, c, d};\n```\n",
        );
        assert_eq!(joined(chapter), expected);
        let used_elsewhere = chapter.to_owned() + "```rust file=in/b.rs\n<<more names>>\n```\n";
        let more_joined = used_elsewhere.replace("names +=\nuse k::d;", "names :=\nuse c::x;\nuse k::{a, d};");
        assert_eq!(joined(&used_elsewhere), more_joined);
    }

    #[test]
    fn a_fence_says_of_itself_what_it_has_said() {
        let chapter = concat!(
            "```rust file=in/a.rs\n<<names>>\n```\n",
            "```rust #names\nuse k::a;\n<<more names>>\n```\n",
            "```rust fold joins=a #more names\nuse k::b;\n```\n",
            "```rust joins=a fold #names +=\nuse k::c;\n```\n",
        );
        let expected = concat!(
            "```rust file=in/a.rs\n<<names>>\n```\n",
            "```rust #names\nuse k::a;\n```\n",
            "```rust fold joins=a #names :=\nuse k::{a, b};\n```\n",
            "```rust joins=a fold #names :=\nuse k::{a, b, c};\n```\n",
        );
        assert_eq!(joined(chapter), expected);
    }

    #[test]
    fn what_joins_after_it_was_told_joins_no_imports() {
        let book = Book::new([
            (
                "A.md",
                "```rust file=in/a.rs\n<<names>>\n```\n```rust #names\nuse k::a;\n```\n```rust joins=C #names +=\nuse k::b;\n```\n",
            ),
            ("B.md", "```rust #names +=\nuse k::c;\n```\n"),
            ("C.md", ""),
        ]);
        let model = crate::model(&book).unwrap();
        let joined = join(&book, &model, |_| true, |text| Ok::<_, ()>(text.to_owned())).unwrap();
        assert!(joined.changed.is_empty());
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
