//! The program that a book holds: fragments, the pieces that they are made of, and the files that some of them are.

use std::collections::HashMap;
use std::path::Path;

use crate::diagnostic::{Code, Diagnostic};
use crate::dialect::{self, Dialect};
use crate::header::Operation;
use crate::parse::{self, Fence};
use crate::source::{Book, Place, Source};
use crate::states;

/// What to do about two fences of one name in a book for `entangled-cli`.
const SPLIT: &str = "give each a name of its own, or set `split_blocks = true` in entangled.toml to put them together";

/// An index into [`Model::fragments`].
pub type FragmentId = usize;
/// An index into [`Model::pieces`].
pub type PieceId = usize;

/// A stretch of code with a name, or a file, or both.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// What `<<...>>` calls it.
    pub name: Option<String>,
    /// The chapter that the name belongs to, where each chapter has its own.
    pub namespace: Option<String>,
    /// The file that it is, relative to the output directory.
    pub path: Option<String>,
    /// Every piece that the book gives it, in reading order, replaced ones too.
    pub pieces: Vec<PieceId>,
    /// How many of `pieces` were replaced by an override: the first so many.
    pub replaced: usize,
}

impl Fragment {
    /// The pieces that make it up in the end.
    #[must_use]
    pub fn live(&self) -> &[PieceId] {
        &self.pieces[self.replaced..]
    }

    /// Its name; for a file without one, its path.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().or(self.path.as_deref()).unwrap_or_default()
    }
}

/// One fence of a fragment.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The chapter: an index into [`Book::sources`].
    pub source: usize,
    /// The fragment that it belongs to.
    pub fragment: FragmentId,
    /// The fence.
    pub fence: Fence,
}

impl Piece {
    /// Where its info string stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            source: self.source,
            range: self.fence.info.clone(),
        }
    }
}

/// Everything that takes part in the program.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The fragments in the order of their definitions.
    pub fragments: Vec<Fragment>,
    /// Their pieces in reading order.
    pub pieces: Vec<Piece>,
    /// The rules that the book follows.
    pub dialect: Dialect,
    by_name: HashMap<String, FragmentId>,
    by_path: HashMap<String, FragmentId>,
}

impl Model {
    /// The fragment called `name`, from wherever. Where each chapter has its own names, that is `CHAPTER#NAME`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<FragmentId> {
        self.by_name.get(name).copied()
    }

    /// The fragment that a reference to `name` in `piece` stands for.
    #[must_use]
    pub fn meant(&self, piece: PieceId, name: &str) -> Option<FragmentId> {
        let here = self.fragments[self.pieces[piece].fragment].namespace.as_deref();
        here.and_then(|here| self.named(&dialect::qualified(here, name)))
            .or_else(|| self.named(name))
    }

    /// The fragment that is the file `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<FragmentId> {
        self.by_path.get(path).copied()
    }

    /// The fragments that are files, in the order of their definitions.
    pub fn files(&self) -> impl Iterator<Item = (FragmentId, &str)> {
        self.fragments
            .iter()
            .enumerate()
            .filter_map(|(id, fragment)| Some((id, fragment.path.as_deref()?)))
    }

    /// Reads all chapters. What cannot be made sense of is reported and then read in the way that
    /// causes the fewest errors further on.
    #[must_use]
    pub fn read(book: &Book) -> (Self, Vec<Diagnostic>) {
        Self::read_before(book, &[])
    }

    /// The same without `later`, chapters that come after those of `book`: what joins the program there is not in it yet.
    #[must_use]
    pub fn read_before(book: &Book, later: &[Source]) -> (Self, Vec<Diagnostic>) {
        let mut model = Self {
            dialect: book.dialect,
            ..Self::default()
        };
        let mut diagnostics = Vec::new();
        let mut unterminated = Vec::new();
        for (source, chapter) in book.sources.iter().enumerate() {
            let parsed = parse::parse(chapter, book.dialect);
            for (range, fault) in parsed.faults {
                diagnostics.push(Diagnostic::new(
                    Code::BadHeader,
                    "this fence takes part in the program, but its first line cannot be read",
                    Place { source, range },
                    fault,
                ));
            }
            unterminated.extend(parsed.unterminated.into_iter().map(|range| Place { source, range }));
            for fence in parsed.fences {
                if let (Some(tag), None) = (&fence.header.joins, joining(&book.sources, source, &fence)) {
                    if later.iter().any(|other| states::tag(other.path()) == tag) {
                        continue;
                    }
                    let place = Place {
                        source,
                        range: fence.info.clone(),
                    };
                    diagnostics.push(Diagnostic::new(
                        Code::BadHeader,
                        "this fence joins the program at a chapter that is not there",
                        place,
                        format!("neither this chapter nor a later one has the tag `{tag}`"),
                    ));
                }
                model.not_there_yet(book, source, &fence, &mut diagnostics);
                model.add(chapter.path(), source, fence, &mut diagnostics);
            }
        }
        if let Dialect::Entangled { split: true, .. } = book.dialect {
            for fragment in &mut model.fragments {
                let pieces = &model.pieces;
                fragment
                    .pieces
                    .sort_by_key(|&id| (Path::new(book.sources[pieces[id].source].path()), id));
            }
        }
        // In a book without a program an open fence is nobody's business.
        if !model.pieces.is_empty() || !diagnostics.is_empty() {
            diagnostics.extend(unterminated.into_iter().map(|place| {
                Diagnostic::new(
                    Code::UnterminatedFence,
                    "nothing closes this fence",
                    place,
                    "everything from here to the end of the text around it is code",
                )
            }));
        }
        (model, diagnostics)
    }

    /// Notices a fence that would be part of the program before what it adds to or replaces is.
    fn not_there_yet(&self, book: &Book, source: usize, fence: &Fence, diagnostics: &mut Vec<Diagnostic>) {
        let header = &fence.header;
        let code = match header.operation {
            Operation::Define => return,
            Operation::Append => Code::AppendToNothing,
            Operation::Override => Code::OverrideOfNothing,
        };
        let named = header.name.as_deref().and_then(|name| self.named(name));
        let Some(id) = named.or_else(|| self.file(header.path.as_deref()?)) else {
            return;
        };
        let first = &self.pieces[self.fragments[id].pieces[0]];
        let Some(tag) = &first.fence.header.joins else {
            return;
        };
        if joining(&book.sources, source, fence) < joining(&book.sources, first.source, &first.fence) {
            let title = self.fragments[id].title();
            let place = Place {
                source,
                range: fence.info.clone(),
            };
            diagnostics.push(
                Diagnostic::new(
                    code,
                    format!("`{title}` is not part of the program yet: it joins at {tag}"),
                    place,
                    "part of it before that",
                )
                .with(first.place(), "defined here")
                .help(format!("write `joins={tag}` here, too, or move this fence there")),
            );
        }
    }

    fn add(&mut self, chapter: &str, source: usize, fence: Fence, diagnostics: &mut Vec<Diagnostic>) {
        let header = &fence.header;
        let place = Place {
            source,
            range: fence.info.clone(),
        };
        let key = self
            .dialect
            .key(chapter, header.name.as_deref(), header.path.as_deref());
        let named = key.as_deref().and_then(|key| self.named(key));
        let filed = header.path.as_deref().and_then(|path| self.file(path));
        let known = match header.operation {
            Operation::Define if self.dialect.adds() => {
                if let (Some(id), Some(path)) = (filed.filter(|_| filed != named), &header.path) {
                    diagnostics.push(self.file_twice(id, path, place.clone()));
                }
                if let (Some(id), Some(path)) = (named, &header.path)
                    && let known = self.fragments[id].path.get_or_insert_with(|| path.clone())
                    && known != path
                {
                    diagnostics.push(self.two_files(id, path, place.clone()));
                }
                named.or(filed)
            }
            Operation::Define => {
                if let (Some(id), Some(name)) = (named, &header.name) {
                    diagnostics.push(self.defined_twice(id, name, place.clone()));
                }
                if let (Some(id), Some(path)) = (filed, &header.path) {
                    diagnostics.push(self.file_twice(id, path, place.clone()));
                }
                named.or(filed)
            }
            operation => {
                let consistent = match (&header.name, &header.path) {
                    (Some(_), Some(_)) => named == filed,
                    _ => true,
                };
                let known = named.or(filed);
                if known.is_none() || !consistent {
                    diagnostics.push(self.nothing_there(&fence, operation, place.clone()));
                }
                known
            }
        };
        let id = known.unwrap_or_else(|| {
            self.fragments.push(Fragment {
                name: header.name.clone(),
                namespace: self.dialect.namespace(chapter).filter(|_| header.name.is_some()),
                path: header.path.clone(),
                pieces: Vec::new(),
                replaced: 0,
            });
            self.fragments.len() - 1
        });
        for (key, index) in [(&key, &mut self.by_name), (&header.path, &mut self.by_path)] {
            if let Some(key) = key {
                index.entry(key.clone()).or_insert(id);
            }
        }
        if header.operation == Operation::Override {
            self.fragments[id].replaced = self.fragments[id].pieces.len();
        }
        self.fragments[id].pieces.push(self.pieces.len());
        self.pieces.push(Piece {
            source,
            fragment: id,
            fence,
        });
    }

    /// Where the fragment `id` begins.
    fn first_place(&self, id: FragmentId) -> Place {
        self.pieces[self.fragments[id].pieces[0]].place()
    }

    fn defined_twice(&self, id: FragmentId, name: &str, place: Place) -> Diagnostic {
        Diagnostic::new(
            Code::DefinedTwice,
            format!("the fragment `{name}` is defined twice"),
            place,
            "defined again here",
        )
        .with(self.first_place(id), "first defined here")
        .help(match self.dialect {
            Dialect::Tangle => format!(
                "write `#{name} +=` to add to it, `#{name} :=` to replace it; a book for entangled says \
                 `dialect = \"entangled\"` in book.toml"
            ),
            Dialect::Entangled { .. } => SPLIT.to_owned(),
        })
    }

    fn two_files(&self, id: FragmentId, path: &str, place: Place) -> Diagnostic {
        let title = self.fragments[id].title();
        Diagnostic::new(
            Code::FileTwice,
            format!("`{title}` cannot be two files"),
            place,
            format!("`{path}` here"),
        )
        .with(self.first_place(id), "first defined here")
    }

    fn file_twice(&self, id: FragmentId, path: &str, place: Place) -> Diagnostic {
        Diagnostic::new(
            Code::FileTwice,
            format!("two fences open the file `{path}`"),
            place,
            "opened again here",
        )
        .with(self.first_place(id), "first opened here")
        .help(match self.dialect {
            Dialect::Tangle => format!("write `file={path} +=` to add to it"),
            Dialect::Entangled { .. } => SPLIT.to_owned(),
        })
    }

    fn nothing_there(&self, fence: &Fence, operation: Operation, place: Place) -> Diagnostic {
        let (code, verb) = match operation {
            Operation::Override => (Code::OverrideOfNothing, "replace"),
            _ => (Code::AppendToNothing, "add to"),
        };
        let target = match (&fence.header.name, &fence.header.path) {
            (Some(name), Some(path)) => format!("a fragment `{name}` that is the file `{path}`"),
            (Some(name), None) => format!("a fragment `{name}`"),
            (None, path) => format!("a file `{}`", path.as_deref().unwrap_or_default()),
        };
        let diagnostic = Diagnostic::new(
            code,
            format!("there is nothing to {verb}: the book has not defined {target} yet"),
            place,
            "not defined before this fence",
        );
        let near = fence.header.name.as_deref().and_then(|name| self.nearest(name));
        match near {
            Some(near) => diagnostic.help(format!("did you mean `#{near} {}`?", operation.symbol())),
            None => diagnostic.help(format!(
                "leave out `{}` to define it here, or move this fence behind its definition",
                operation.symbol()
            )),
        }
    }

    /// The name of a fragment that `name` may be a misspelling of.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let mut candidates: Vec<_> = self
            .by_name
            .keys()
            .filter(|candidate| *candidate != name)
            .map(|candidate| {
                (
                    strsim::normalized_damerau_levenshtein(name, candidate),
                    candidate.as_str(),
                )
            })
            .filter(|(likeness, _)| *likeness > 0.7)
            .collect();
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        candidates.first().map(|(_, candidate)| *candidate)
    }
}

/// The chapter from whose end on `fence`, which stands in `source`, is part of the program; `None` if none of `chapters` is it.
pub(crate) fn joining(chapters: &[Source], source: usize, fence: &Fence) -> Option<usize> {
    let Some(tag) = &fence.header.joins else {
        return Some(source);
    };
    let is_it = |chapter: &Source| states::tag(chapter.path()) == tag;
    Some(source + chapters[source..].iter().position(is_it)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Model, Vec<Code>) {
        let (model, diagnostics) = Model::read(&Book::new([("a.md", text)]));
        (
            model,
            diagnostics.into_iter().map(|diagnostic| diagnostic.code).collect(),
        )
    }

    #[test]
    fn an_override_replaces_what_came_before_and_can_be_added_to() {
        let (model, codes) = read("```c #a\n1\n```\n```c #a +=\n2\n```\n```c #a :=\n3\n```\n```c #a +=\n4\n```\n");
        assert!(codes.is_empty());
        assert_eq!(model.fragments[0].live(), [2, 3]);
        assert_eq!(model.fragments[0].pieces, [0, 1, 2, 3]);
    }

    #[test]
    fn a_fence_may_be_fragment_and_file_at_once() {
        let (model, codes) = read("```c #a file=a.c\n1\n```\n```c #a +=\n2\n```\n```c file=a.c +=\n3\n```\n");
        assert!(codes.is_empty());
        assert_eq!(model.fragments.len(), 1);
        assert_eq!(model.fragments[0].live(), [0, 1, 2]);
    }

    #[test]
    fn every_clash_is_reported() {
        assert_eq!(read("```c #a\n```\n```c #a\n```\n").1, [Code::DefinedTwice]);
        assert_eq!(read("```c file=a\n```\n```c file=a\n```\n").1, [Code::FileTwice]);
        assert_eq!(
            read("```c #a +=\n```\n```c #a\n```\n").1,
            [Code::AppendToNothing, Code::DefinedTwice]
        );
        assert_eq!(read("```c #a :=\n```\n").1, [Code::OverrideOfNothing]);
        assert_eq!(
            read("```c #a\n```\n```c file=b\n```\n```c #a file=b +=\n```\n").1,
            [Code::AppendToNothing]
        );
        assert_eq!(read("```c #\n```\n").1, [Code::BadHeader]);
    }

    #[test]
    fn an_open_fence_matters_only_where_there_is_a_program() {
        assert_eq!(read("```c\n").1, []);
        assert_eq!(read("```c #a\n```\n\n```c\n").1, []);
        assert_eq!(read("```c #a\n```\n\n~~~c\n```c #b\n").1, [Code::UnterminatedFence]);
        assert_eq!(read("~~~c\n```c #b\n").1, []);
    }

    #[test]
    fn a_misspelling_is_guessed() {
        let (model, _) = read("```c #refuse what the Guest may not name\n```\n```c #other\n```\n");
        assert_eq!(
            model.nearest("refuse what the guest may not name"),
            Some("refuse what the Guest may not name")
        );
        assert_eq!(model.nearest("something else"), None);
    }
}
