//! Turns chapters into pages that explain themselves: every fragment gets its name, an anchor, links to its other pieces and
//! to where it is used, and says which lines of which file it becomes. Behind the chapters come an index of
//! identifiers and one page for each generated file, whose lines link back.
//!
//! A chapter is never written anew: text is inserted at byte positions, and what has no fragment stays as it is.

mod anchor;
mod appendix;
mod html;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use crate::Program;
use crate::header::Operation;
use crate::lab;
use crate::model::{FragmentId, Piece, PieceId, joining};
use crate::source::Book;
use crate::states::{self, Promise};
use anchor::Anchors;
use html::escape;
pub(crate) use html::relative;

/// What the woven pages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A web site: HTML around the fences, and the appendix.
    Html,
    /// Markdown for people and other programs: names and captions as plain paragraphs.
    Markdown,
    /// `mdbook test`: fragments are no programs of their own, so they are marked as not to be tested.
    Test,
}

/// What the pages of chapters with a promise say of it, as Markdown; `{tag}` stands for the chapter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises<'a> {
    /// Of `runs: true`.
    pub runs: &'a str,
    /// Of `runs: tests`.
    pub tests: &'a str,
}

impl Default for Promises<'_> {
    fn default() -> Self {
        Self {
            runs: "As of this page the program runs: `tangle --as-of {tag} --out DIR` writes it.",
            tests: "As of this page the tests of the parts pass: `tangle --as-of {tag} --out DIR` writes them.",
        }
    }
}

/// How a chapter of the book is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its path relative to the directory of the chapters, with `/` between the parts.
    pub path: String,
    /// Its title in the table of contents.
    pub title: String,
}

/// A page that no chapter file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// How it is reached.
    pub page: Page,
    /// Its Markdown.
    pub content: String,
    /// The pages below it.
    pub children: Vec<Extra>,
}

/// Weaves one book.
///
/// ```
/// use tangle::source::Book;
/// use tangle::weave::{Page, Target, Weaver};
///
/// let book = Book::new([("src/one.md", "# One\n\n~~~rust file=a.rs\nfn main() {}\n~~~\n")]);
/// let program = tangle::program(&book).unwrap();
/// let pages = [Page { path: "one.md".to_owned(), title: "One".to_owned() }];
/// let weaver = Weaver::new(&book, &program, &pages, Target::Markdown);
/// let page = weaver.chapter(0);
/// assert!(page.starts_with("# One\n\n**`a.rs`**\n\n~~~rust\nfn main() {}\n~~~\n"));
/// assert!(page.contains("*Becomes line 1 of `a.rs`.*"));
/// ```
pub struct Weaver<'a> {
    book: &'a Book,
    program: &'a Program,
    pages: &'a [Page],
    target: Target,
    promises: Promises<'a>,
    /// What the page of a lab says below its title, if the last chapter is one.
    lab: Option<&'a str>,
    anchors: Anchors,
    /// For each piece, its number in its chapter, from 1.
    numbers: Vec<usize>,
    /// For each piece, the lines that it becomes, by file.
    lines: Vec<BTreeMap<&'a str, Vec<Range<usize>>>>,
    /// For each fragment, the pieces that refer to it, without those that were replaced.
    users: Vec<Vec<PieceId>>,
}

impl<'a> Weaver<'a> {
    /// Prepares to weave `book`, which is `program`; `pages` says of each chapter how it is reached.
    ///
    /// # Panics
    /// When there are not as many pages as chapters.
    #[must_use]
    pub fn new(book: &'a Book, program: &'a Program, pages: &'a [Page], target: Target) -> Self {
        assert_eq!(book.sources.len(), pages.len(), "every chapter needs a page");
        let model = &program.model;
        let mut chapter_counts = vec![0; pages.len()];
        let numbers = model
            .pieces
            .iter()
            .map(|piece| {
                chapter_counts[piece.source] += 1;
                chapter_counts[piece.source]
            })
            .collect();
        let mut lines = vec![BTreeMap::<&str, Vec<_>>::new(); model.pieces.len()];
        for (path, file) in &program.tangled.files {
            for (piece, range) in &file.pieces {
                lines[*piece].entry(path).or_default().push(range.clone());
            }
        }
        let mut users = vec![Vec::new(); model.fragments.len()];
        for (id, piece) in model.pieces.iter().enumerate() {
            if !model.fragments[piece.fragment].live().contains(&id) {
                continue;
            }
            for line in piece.fence.lines() {
                let used = line.reference().and_then(|reference| model.meant(id, reference.name));
                if let Some(used) = used
                    && !users[used].contains(&id)
                {
                    users[used].push(id);
                }
            }
        }
        Self {
            book,
            program,
            pages,
            target,
            promises: Promises::default(),
            lab: None,
            anchors: Anchors::new(model),
            numbers,
            lines,
            users,
        }
    }

    /// Says these sentences.
    #[must_use]
    pub fn promising(mut self, promises: Promises<'a>) -> Self {
        self.promises = promises;
        self
    }

    /// The last chapter is a [lab], and its page says `line` below the title. The files that it becomes have no pages: those of the
    /// appendix are the book's alone.
    #[must_use]
    pub fn of_lab(mut self, line: &'a str) -> Self {
        self.lab = Some(line);
        self
    }

    /// The woven text of the chapter with this index.
    #[must_use]
    pub fn chapter(&self, source: usize) -> String {
        let text = self.book.sources[source].text();
        let mut edits = Vec::new();
        for (id, piece) in self.program.model.pieces.iter().enumerate() {
            if piece.source == source {
                self.fence(id, &mut edits);
            }
        }
        let mut woven = splice(text, &edits);
        if let Some(line) = self.lab.filter(|_| source + 1 == self.pages.len()) {
            woven.replace_range(..lab::front_matter(text).0, "");
            woven.insert_str(below_title(&woven), &self.badge(line));
            return woven;
        }
        if let Some((length, promise)) = states::front_matter(text) {
            // Tests count lines, and speak of those of the chapter.
            let lines = if self.target == Target::Test { 3 } else { 0 };
            woven.replace_range(..length, &"\n".repeat(lines));
            let text = match promise {
                Promise::Nothing => None,
                Promise::Tests => Some(self.promises.tests),
                Promise::Runs => Some(self.promises.runs),
            };
            if let Some(text) = text.filter(|_| self.target != Target::Test) {
                let text = text.replace("{tag}", states::tag(self.book.sources[source].path()));
                woven.insert_str(below_title(&woven), &self.badge(&text));
            }
        }
        woven
    }

    /// What stands below a title, in a box.
    fn badge(&self, text: &str) -> String {
        match self.target {
            Target::Html => format!("\n<div class=\"tangle-runs\">\n\n{text}\n\n</div>\n"),
            Target::Markdown | Target::Test => format!("\n{text}\n"),
        }
    }

    /// The pages behind the chapters; none for a book without a program, and none but for the web.
    #[must_use]
    pub fn appendix(&self) -> Vec<Extra> {
        if self.target != Target::Html || self.program.tangled.files.is_empty() {
            return Vec::new();
        }
        appendix::pages(self)
    }

    /// What changes around and inside the fence of `id`.
    fn fence(&self, id: PieceId, edits: &mut Vec<Edit>) {
        let piece = &self.program.model.pieces[id];
        let (source, fence) = (&self.book.sources[piece.source], &piece.fence);
        let start = source.line_start(fence.range.start);
        let lead = &source.text()[start..fence.range.start];
        // Inside a list or a quotation, every new line needs what makes it part of that.
        let prefix: String = lead
            .chars()
            .map(|c| if matches!(c, '>' | '\t') { c } else { ' ' })
            .collect();
        let mut before = self.before(id);
        let mut after = self.after(id);
        for text in [&mut before, &mut after] {
            if !text.is_empty() {
                *text = text.replace('\n', &format!("\n{prefix}"));
            }
        }
        edits.push(Edit::insert(fence.range.start, before));
        edits.push(Edit {
            range: fence.info.clone(),
            text: self.info(id),
        });
        if self.target == Target::Html && language(&fence.header.language) == "rust" {
            // mdBook hides lines that begin with `# ` in Rust, and shows `##` as `#`.
            for line in fence.lines() {
                let code = line.text.trim_start();
                if code == "#" || code.starts_with("# ") || code.starts_with("##") {
                    edits.push(Edit::insert(line.place(line.text.len() - code.len()), "#".to_owned()));
                }
            }
        }
        edits.push(Edit::insert(fence.range.end, after));
    }

    fn info(&self, id: PieceId) -> String {
        let written = &self.program.model.pieces[id].fence.header.language;
        let language = language(written);
        let class = match self.target {
            Target::Html => "noplayground",
            Target::Test => "ignore",
            Target::Markdown => return language.to_owned(),
        };
        if language == "rust" && !written.split(',').any(|word| word == class) {
            format!("{written},{class}")
        } else {
            written.clone()
        }
    }

    /// What comes before a fence.
    fn before(&self, id: PieceId) -> String {
        let model = &self.program.model;
        let fragment = &model.fragments[model.pieces[id].fragment];
        let operation = model.pieces[id].fence.header.operation.symbol();
        match self.target {
            Target::Test => String::new(),
            Target::Markdown => {
                let name = match (&fragment.name, &fragment.path) {
                    (Some(name), _) => format!("**{}**", markdown_text(name)),
                    (None, path) => format!("**`{}`**", path.as_deref().unwrap_or_default()),
                };
                format!("{name}{}{operation}\n\n", if operation.is_empty() { "" } else { " " })
            }
            Target::Html => {
                let anchor = self.anchors.piece(model, id);
                let (block, top) = self.elements(id);
                let mut head = format!(
                    "<{block} class=\"tangle\" id=\"{anchor}\">\n<{top} class=\"tangle-head\"><a class=\"tangle-name\" href=\"#{anchor}\">"
                );
                match (&fragment.name, &fragment.path) {
                    (Some(name), _) => head.push_str(&escape(name)),
                    (None, path) => {
                        let _ = write!(head, "<code>{}</code>", escape(path.as_deref().unwrap_or_default()));
                    }
                }
                head.push_str("</a>");
                if !operation.is_empty() {
                    let _ = write!(head, " <span class=\"tangle-operation\">{operation}</span>");
                }
                let _ = write!(
                    head,
                    " <span class=\"tangle-number\">\u{a7}{}</span></{top}>\n\n",
                    self.numbers[id]
                );
                head
            }
        }
    }

    /// What comes behind a fence.
    fn after(&self, id: PieceId) -> String {
        let notes = match self.target {
            Target::Test => return String::new(),
            _ => self.notes(id),
        };
        let mut out = String::from("\n\n");
        if self.target == Target::Markdown {
            let _ = writeln!(out, "*{}*", notes.join(" "));
            return out;
        }
        out.push_str("<div class=\"tangle-foot\">\n");
        for note in notes {
            let _ = writeln!(out, "<span>{note}</span>");
        }
        let (block, _) = self.elements(id);
        let _ = writeln!(out, "</div>\n</{block}>");
        out
    }

    /// The HTML elements of a piece and of its name: what is plumbing is closed until somebody asks for it.
    fn elements(&self, id: PieceId) -> (&'static str, &'static str) {
        if self.program.model.pieces[id].fence.header.folded {
            ("details", "summary")
        } else {
            ("div", "div")
        }
    }

    /// The sentences about a piece: where it goes, who uses it, what it uses, what comes before and after.
    fn notes(&self, id: PieceId) -> Vec<String> {
        let model = &self.program.model;
        let piece = &model.pieces[id];
        let fragment = &model.fragments[piece.fragment];
        let here = piece.source;
        let mut notes = Vec::new();
        let position = fragment.pieces.iter().position(|&other| other == id).unwrap_or(0);
        if position < fragment.replaced {
            let by = fragment.pieces[fragment.replaced];
            notes.push(format!("Replaced by {}.", self.link(here, by)));
        } else if self.lines[id].is_empty() {
            notes.push("Part of no file: what used it was replaced.".to_owned());
        } else {
            let places: Vec<_> = self.lines[id]
                .iter()
                .map(|(path, ranges)| self.lines_of_file(here, path, ranges))
                .collect();
            notes.push(format!("Becomes {}.", list(&places)));
        }
        let users: Vec<_> = self.users[piece.fragment]
            .iter()
            .map(|&user| self.link(here, user))
            .collect();
        if position >= fragment.replaced && !users.is_empty() {
            notes.push(format!("Used in {}.", list(&users)));
        }
        notes.extend(self.joins(piece));
        let mut used = Vec::new();
        for line in piece.fence.lines() {
            let reference = line.reference().and_then(|reference| model.meant(id, reference.name));
            if let Some(other) = reference
                && !used.contains(&other)
            {
                used.push(other);
            }
        }
        if !used.is_empty() {
            let links: Vec<_> = used.iter().map(|&other| self.reference(here, other)).collect();
            notes.push(format!("Refers to {}.", list(&links)));
        }
        if piece.fence.header.operation == Operation::Override
            && let Some(previous) = position.checked_sub(1)
        {
            notes.push(format!("Replaces {}.", self.link(here, fragment.pieces[previous])));
        } else if let Some(previous) = position.checked_sub(1) {
            notes.push(format!("Continues {}.", self.link(here, fragment.pieces[previous])));
        }
        if let Some(&next) = fragment.pieces.get(position + 1)
            && model.pieces[next].fence.header.operation == Operation::Append
        {
            notes.push(format!("Continued in {}.", self.link(here, next)));
        }
        notes
    }

    /// A link from the chapter `here` to a piece.
    fn link(&self, here: usize, id: PieceId) -> String {
        let model = &self.program.model;
        let piece = &model.pieces[id];
        let fragment = &model.fragments[piece.fragment];
        let chapter = if piece.source == here {
            String::new()
        } else {
            format!(" in {}", self.pages[piece.source].title)
        };
        let number = self.numbers[id];
        if self.target == Target::Markdown {
            let url = relative(&self.pages[here].path, &self.pages[piece.source].path);
            return format!(
                "[{}]({url}) (\u{a7}{number}{})",
                markdown_text(fragment.title()),
                markdown_text(&chapter)
            );
        }
        format!(
            "<a href=\"{}\">{}</a> (\u{a7}{number}{})",
            self.url(here, id),
            escape(fragment.title()),
            escape(&chapter)
        )
    }

    /// From which chapter on it is part of the program, if that is not this one.
    fn joins(&self, piece: &Piece) -> Option<String> {
        let there = joining(&self.book.sources, piece.source, &piece.fence)?;
        if there == piece.source {
            return None;
        }
        let (here, there) = (&self.pages[piece.source], &self.pages[there]);
        let url = relative(&here.path, &there.path);
        Some(match self.target {
            Target::Markdown => format!("Joins the program at [{}]({url}).", markdown_text(&there.title)),
            _ => format!("Joins the program at <a href=\"{url}\">{}</a>.", escape(&there.title)),
        })
    }

    /// A link to where a fragment is defined, by which a script can also find the target of `<<name>>`.
    fn reference(&self, here: usize, fragment: FragmentId) -> String {
        let model = &self.program.model;
        let first = model.fragments[fragment].pieces[model.fragments[fragment].replaced];
        if self.target == Target::Markdown {
            return self.link(here, first);
        }
        let name = escape(model.fragments[fragment].title());
        format!(
            "<a data-tangle-reference=\"{name}\" href=\"{}\">{name}</a>",
            self.url(here, first)
        )
    }

    /// From the chapter `here` to the anchor of a piece.
    fn url(&self, here: usize, id: PieceId) -> String {
        self.url_from(&self.pages[here].path, id)
    }

    fn url_from(&self, here: &str, id: PieceId) -> String {
        let there = &self.pages[self.program.model.pieces[id].source].path;
        let anchor = self.anchors.piece(&self.program.model, id);
        if there == here {
            format!("#{anchor}")
        } else {
            format!("{}#{anchor}", relative(here, there))
        }
    }

    fn lines_of_file(&self, here: usize, path: &str, ranges: &[Range<usize>]) -> String {
        let lines = lines(ranges);
        if self.target == Target::Markdown {
            return format!("{lines} of `{path}`");
        }
        if self.lab.is_some() {
            return format!("{lines} of <code>{}</code>", escape(path));
        }
        let page = relative(&self.pages[here].path, &appendix::file_page(path));
        let first = ranges[0].start;
        format!(
            "<a href=\"{page}#L{first}\">{lines} of <code>{}</code></a>",
            escape(path)
        )
    }
}

/// A change of a stretch of a chapter.
struct Edit {
    range: Range<usize>,
    text: String,
}

impl Edit {
    fn insert(at: usize, text: String) -> Self {
        Self { range: at..at, text }
    }
}

/// Applies edits that are in order and do not overlap.
fn splice(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        out.push_str(&text[done..edit.range.start]);
        out.push_str(&edit.text);
        done = edit.range.end;
    }
    out.push_str(&text[done..]);
    out
}

/// Where the line below the title of a chapter begins; without a title, its text.
fn below_title(text: &str) -> usize {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with("# ") {
        return start;
    }
    text[start..].find('\n').map_or(text.len(), |end| start + end + 1)
}

/// The language alone, without the classes behind a comma.
fn language(written: &str) -> &str {
    written.split(',').next().unwrap_or_default()
}

/// "line 3", "lines 3-5", "lines 3-5 and 9".
fn lines(ranges: &[Range<usize>]) -> String {
    let stretches: Vec<_> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .map(|range| match range.len() {
            1 => range.start.to_string(),
            _ => format!("{}\u{2013}{}", range.start, range.end - 1),
        })
        .collect();
    match ranges.iter().map(Range::len).sum() {
        0 => "no line".to_owned(),
        1 => format!("line {}", list(&stretches)),
        _ => format!("lines {}", list(&stretches)),
    }
}

/// "a", "a and b", "a, b and c".
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Text in which Markdown sees nothing but text.
fn markdown_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '&' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
