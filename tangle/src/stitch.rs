//! Brings edits of generated files back into the chapters, without any mark in the code.
//!
//! The edited file is compared with the text that tangle wrote; every line that changed finds the piece that it belongs to
//! (`place`), loses the indentation of the references that led there (`settle`) and is written into the fence
//! (`splice`). If the chapters changed too since they were tangled, both changes are put together first (`merge`).
//!
//! The result is tangled in memory before anybody sees it: either it reproduces every edited file byte for byte, or the
//! edit is refused.

mod merge;
mod outline;
mod place;
mod settle;
mod splice;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Write};

use crate::Program;
use crate::dialect::Dialect;
use crate::diff;
use crate::model::{FragmentId, PieceId};
use crate::source::{Book, Source};
use outline::{Outline, Step};
use place::Placed;
use settle::{Bodies, BodyLine, Inlined, Use};

/// A file that somebody changed after it was tangled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its text as tangle wrote it.
    pub base: String,
    /// Its text now.
    pub text: String,
}

/// The book with the edits in it.
#[derive(Debug, Clone)]
pub struct Stitched {
    /// All chapters.
    pub book: Book,
    /// Those that changed: indices into [`Book::sources`].
    pub changed: Vec<usize>,
    /// The program that the new chapters are.
    pub program: Program,
    /// References that had to give way to their text, because the uses of a fragment differ in their layout now:
    /// what was said of each.
    pub notes: Vec<String>,
}

/// Why an edit could not be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// The chapters changed the same lines in another way.
    Both {
        /// The generated file.
        path: String,
        /// The line in the edited file, from 1.
        line: usize,
        /// The lines as they were tangled.
        base: String,
        /// The lines in the edited file.
        edited: String,
        /// The lines that the chapters have for them now.
        chapters: String,
    },
    /// A fragment that is used several times was edited differently.
    Disagree {
        /// The title of the fragment.
        fragment: String,
        /// The generated file and the text there of each use.
        uses: Vec<(String, String)>,
    },
    /// Chapters cannot express such a line, or tangling them would not give the edited file back.
    Impossible {
        /// The generated file.
        path: String,
        /// The line in the edited file, from 1.
        line: usize,
        /// Why.
        why: String,
        /// What the file says.
        edited: String,
        /// What the chapters would make of it.
        chapters: String,
    },
    /// The book does not have this file any more.
    Gone {
        /// The generated file.
        path: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both {
                path,
                line,
                base,
                edited,
                chapters,
            } => {
                writeln!(f, "{path}:{line}: the chapters changed here too")?;
                quote(f, "tangled", base)?;
                quote(f, "edited", edited)?;
                quote(f, "chapters", chapters)
            }
            Self::Disagree { fragment, uses } => {
                writeln!(
                    f,
                    "the fragment `{fragment}` is used several times, and the edits of it differ"
                )?;
                uses.iter().try_for_each(|(path, text)| quote(f, path, text))
            }
            Self::Impossible {
                path,
                line,
                why,
                edited,
                chapters,
            } => {
                writeln!(f, "{path}:{line}: {why}")?;
                quote(f, "edited", edited)?;
                quote(f, "chapters", chapters)
            }
            Self::Gone { path } => writeln!(
                f,
                "{path}: it was edited, but the book does not have this file any more"
            ),
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {title}:")?;
    text.lines().try_for_each(|line| writeln!(f, "    | {line}"))
}

/// Brings `edits`, by path, back into `book`, which is `program` as it stands.
///
/// ```
/// use std::collections::BTreeMap;
/// use tangle::source::Book;
/// use tangle::stitch::{Edit, stitch};
///
/// let chapter = "~~~rust file=a.rs\nfn main() {\n    <<greet>>\n}\n~~~\n\n- ~~~rust #greet\n  greet();\n  ~~~\n";
/// let book = Book::new([("one.md", chapter)]);
/// let program = tangle::program(&book).unwrap();
/// let base = program.tangled.files["a.rs"].text.clone();
/// let text = base.replace("greet();", "greet();\n    greet_again();");
/// let stitched = stitch(&book, &program, &BTreeMap::from([("a.rs".to_owned(), Edit { base, text })])).unwrap();
/// assert!(stitched.book.sources[0].text().ends_with("#greet\n  greet();\n  greet_again();\n  ~~~\n"));
/// ```
///
/// # Errors
/// Every edit that cannot be brought back.
pub fn stitch(book: &Book, program: &Program, edits: &BTreeMap<String, Edit>) -> Result<Stitched, Vec<Conflict>> {
    let wanted = wanted(program, edits)?;
    if wanted.is_empty() {
        return Ok(Stitched {
            book: book.clone(),
            changed: Vec::new(),
            program: program.clone(),
            notes: Vec::new(),
        });
    }
    let mut avoid = HashSet::new();
    let mut inlined = Inlined::new();
    loop {
        let attempt = Attempt::new(program, &wanted, &avoid, &inlined);
        let disagreeing = attempt.disagreeing();
        if disagreeing.is_empty() {
            return attempt.finish(book, &inlined);
        }
        // Perhaps a line at the border of such a fragment went to one of its uses, and belongs beside it.
        let before = avoid.len();
        avoid.extend(disagreeing.iter().copied());
        if avoid.len() > before {
            continue;
        }
        let before = inlined.len();
        let different: Vec<_> = disagreeing
            .iter()
            .copied()
            .filter(|&fragment| match attempt.inline(fragment) {
                Some(uses) => {
                    inlined.extend(uses);
                    false
                }
                None => true,
            })
            .collect();
        if inlined.len() == before || !different.is_empty() {
            let shown = if different.is_empty() {
                disagreeing.into_iter().collect()
            } else {
                different
            };
            return Err(shown
                .into_iter()
                .map(|fragment| attempt.disagreement(fragment))
                .collect());
        }
    }
}

/// What the files shall be: the edits and what the chapters changed meanwhile, put together.
fn wanted(program: &Program, edits: &BTreeMap<String, Edit>) -> Result<BTreeMap<String, String>, Vec<Conflict>> {
    let mut wanted = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (path, edit) in edits {
        let Some(file) = program.tangled.files.get(path) else {
            conflicts.push(Conflict::Gone { path: path.clone() });
            continue;
        };
        match merge::merge(&edit.base, &edit.text, &file.text) {
            Ok(text) if text == file.text => {}
            Ok(text) => match inexpressible(program.model.dialect, &text) {
                None => drop(wanted.insert(path.clone(), text)),
                Some((line, why)) => conflicts.push(Conflict::Impossible {
                    path: path.clone(),
                    line: line + 1,
                    why: why.to_owned(),
                    edited: text.split('\n').nth(line).unwrap_or_default().to_owned(),
                    chapters: String::new(),
                }),
            },
            Err(clashes) => conflicts.extend(clashes.into_iter().map(|clash| Conflict::Both {
                path: path.clone(),
                line: clash.line,
                base: clash.base,
                edited: clash.ours,
                chapters: clash.theirs,
            })),
        }
    }
    if conflicts.is_empty() {
        Ok(wanted)
    } else {
        Err(conflicts)
    }
}

/// The line (from 0) of a text that no chapter can hold, and why not.
fn inexpressible(dialect: Dialect, text: &str) -> Option<(usize, &'static str)> {
    let line_of = |at| text[..at].matches('\n').count();
    if !text.is_empty() && !text.ends_with('\n') {
        return Some((
            line_of(text.len()),
            "a tangled file ends with a line end, this one does not",
        ));
    }
    if let Some(at) = text.find('\0') {
        return Some((line_of(at), "Markdown has no zero bytes"));
    }
    text.split('\n')
        .position(|line| dialect.reference(line).is_some())
        .map(|line| (line, "in a chapter this line would be a reference to a fragment"))
}

/// One file of an [`Attempt`].
struct FileAttempt<'a> {
    path: &'a str,
    outline: Outline,
    bodies: Bodies<'a>,
}

/// One way to divide the edited files among the pieces.
struct Attempt<'a> {
    program: &'a Program,
    wanted: &'a BTreeMap<String, String>,
    files: Vec<FileAttempt<'a>>,
}

impl<'a> Attempt<'a> {
    fn new(
        program: &'a Program,
        wanted: &'a BTreeMap<String, String>,
        avoid: &HashSet<FragmentId>,
        inlined: &Inlined,
    ) -> Self {
        let mut attempt = Self {
            program,
            wanted,
            files: Vec::new(),
        };
        for path in wanted.keys() {
            attempt.add(path, avoid, inlined);
        }
        // What other files share with these must agree with them.
        let touched: HashSet<PieceId> = attempt
            .files
            .iter()
            .flat_map(|file| file.outline.instances.iter().map(|instance| instance.piece))
            .collect();
        for (path, file) in &program.tangled.files {
            if !wanted.contains_key(path) && file.pieces.iter().any(|(piece, _)| touched.contains(piece)) {
                attempt.add(path, avoid, inlined);
            }
        }
        attempt
    }

    fn add(&mut self, path: &'a str, avoid: &HashSet<FragmentId>, inlined: &Inlined) {
        let Some(id) = self.program.model.file(path) else {
            return;
        };
        let file = &self.program.tangled.files[path];
        let outline = Outline::new(&self.program.model, id);
        let old = diff::lines(&file.text);
        let placed = match self.wanted.get(path) {
            Some(text) => place::place(&outline, &old, &diff::lines(text), avoid),
            None => unchanged(&outline, &old),
        };
        let bodies = settle::bodies(self.program.model.dialect, &outline, &old, &placed, inlined);
        self.files.push(FileAttempt { path, outline, bodies });
    }

    /// The instances of each piece: file and instance.
    fn instances(&self) -> BTreeMap<PieceId, Vec<(&FileAttempt<'a>, usize)>> {
        let mut instances: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for file in &self.files {
            for (id, instance) in file.outline.instances.iter().enumerate() {
                if file.bodies.owners[id] == id {
                    instances.entry(instance.piece).or_default().push((file, id));
                }
            }
        }
        instances
    }

    /// The fragments whose uses differ now.
    fn disagreeing(&self) -> BTreeSet<FragmentId> {
        self.instances()
            .into_iter()
            .filter(|(_, instances)| {
                let mut texts = instances.iter().map(|(file, id)| &file.bodies.texts[*id]);
                let first = texts.next();
                texts.any(|text| Some(text) != first)
            })
            .map(|(piece, _)| self.program.model.pieces[piece].fragment)
            .collect()
    }

    /// The uses of a fragment: which `<<name>>` it is, the file, and the new text there.
    fn uses(&self, fragment: FragmentId) -> Vec<(Use, &'a str, Vec<&BodyLine<'a>>)> {
        let mut uses = Vec::new();
        for file in &self.files {
            let mut by_reference: BTreeMap<usize, Vec<&BodyLine>> = BTreeMap::new();
            for (id, instance) in file.outline.instances.iter().enumerate() {
                if let Some(reference) = instance.reference
                    && instance.fragment == fragment
                    && file.bodies.owners[id] == id
                {
                    by_reference
                        .entry(reference)
                        .or_default()
                        .extend(&file.bodies.texts[id]);
                }
            }
            uses.extend(
                by_reference
                    .into_iter()
                    .map(|(reference, text)| (file.bodies.use_of(&file.outline, reference), file.path, text)),
            );
        }
        uses
    }

    /// The references to put the text in the place of, so that the uses of `fragment` agree again; `None` if they
    /// differ in more than their layout.
    fn inline(&self, mut fragment: FragmentId) -> Option<Vec<Use>> {
        loop {
            let uses = self.uses(fragment);
            let (first, _, text) = uses.first()?;
            let words = self.words(text);
            if uses.iter().any(|(_, _, text)| self.words(text) != words) {
                return None;
            }
            if uses.iter().all(|(other, ..)| other == first) {
                // Only one `<<name>>` is written, so it is what contains it that is used several times.
                fragment = self.program.model.pieces[first.0].fragment;
                continue;
            }
            let count = |wanted: &Vec<&BodyLine>| uses.iter().filter(|(_, _, text)| text == wanted).count();
            let kept = uses
                .iter()
                .rev()
                .max_by_key(|(_, _, text)| count(text))
                .map(|(_, _, text)| text)?;
            return Some(
                uses.iter()
                    .filter(|(_, _, text)| text != kept)
                    .map(|(used, ..)| *used)
                    .collect(),
            );
        }
    }

    /// A text without what a formatter may change.
    fn words(&self, text: &[&BodyLine]) -> String {
        self.show(text)
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, ',' | '{' | '}'))
            .collect()
    }

    fn show(&self, text: &[&BodyLine]) -> String {
        let mut shown = String::new();
        for line in text {
            match line {
                BodyLine::Text { text, .. } => writeln!(shown, "{text}"),
                BodyLine::Reference { written, indent } => {
                    let line = self.program.model.pieces[written.0].fence.line(written.1);
                    writeln!(shown, "{indent}{}", line.text.trim())
                }
            }
            .expect("strings take everything");
        }
        shown
    }

    fn disagreement(&self, fragment: FragmentId) -> Conflict {
        let mut uses: Vec<(String, String)> = Vec::new();
        for (_, path, text) in self.uses(fragment) {
            let text = self.show(&text);
            if !uses.iter().any(|(_, known)| *known == text) {
                uses.push((path.to_owned(), text));
            }
        }
        Conflict::Disagree {
            fragment: self.program.model.fragments[fragment].title().to_owned(),
            uses,
        }
    }

    /// Writes the chapters, and makes sure that they are what was wanted.
    fn finish(self, book: &Book, inlined: &Inlined) -> Result<Stitched, Vec<Conflict>> {
        let model = &self.program.model;
        let mut bodies: BTreeMap<PieceId, Vec<BodyLine>> = BTreeMap::new();
        for file in &self.files {
            for (id, instance) in file.outline.instances.iter().enumerate() {
                if file.bodies.owners[id] == id && !bodies.contains_key(&instance.piece) {
                    bodies.insert(instance.piece, file.bodies.texts[id].clone());
                }
            }
        }
        let chapters = splice::chapters(book, model, &bodies);
        let changed = chapters.keys().copied().collect();
        let mut new = book.clone();
        for (source, text) in chapters {
            new.sources[source] = Source::new(book.sources[source].path(), text);
        }
        let program = crate::program(&new).map_err(|diagnostics| {
            let diagnostic = &diagnostics[0];
            let (path, text) = self.wanted.first_key_value().expect("something was edited");
            vec![Conflict::Impossible {
                path: path.clone(),
                line: 1,
                why: format!("the chapters would have a mistake then: {}", diagnostic.message),
                edited: text.lines().next().unwrap_or_default().to_owned(),
                chapters: new.text(&diagnostic.primary.place).to_owned(),
            }]
        })?;
        let conflicts = self.differences(&program);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let notes = inlined
            .iter()
            .map(|&(_, piece, line)| {
                let piece = &model.pieces[piece];
                let line = piece.fence.line(line);
                format!(
                    "{}:{}: {} gave way to its text, because the uses of this fragment have different layouts now",
                    book.sources[piece.source].path(),
                    line.number,
                    line.text.trim()
                )
            })
            .collect::<BTreeSet<_>>();
        Ok(Stitched {
            book: new,
            changed,
            program,
            notes: notes.into_iter().collect(),
        })
    }

    /// Where `program` is not what was wanted.
    fn differences(&self, program: &Program) -> Vec<Conflict> {
        let (old, new) = (&self.program.tangled.files, &program.tangled.files);
        let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let text = |files: &BTreeMap<String, crate::tangle::File>, path: &String| {
            files.get(path).map_or_else(String::new, |file| file.text.clone())
        };
        paths
            .into_iter()
            .filter_map(|path| {
                let wanted = self.wanted.get(path).cloned().unwrap_or_else(|| text(old, path));
                let got = text(new, path);
                if wanted == got && old.contains_key(path) == new.contains_key(path) {
                    return None;
                }
                let (wanted_lines, got_lines) = (diff::lines(&wanted), diff::lines(&got));
                let hunk = diff::compare(&wanted_lines, &got_lines).into_iter().next()?;
                Some(Conflict::Impossible {
                    path: path.clone(),
                    line: hunk.old.start + 1,
                    why: "tangling the chapters would not give these lines back".to_owned(),
                    edited: wanted_lines[hunk.old].join("\n"),
                    chapters: got_lines[hunk.new].join("\n"),
                })
            })
            .collect()
    }
}

/// The lines of a file that nobody edited, where they are.
fn unchanged<'a>(outline: &Outline, lines: &[&'a str]) -> Vec<Placed<'a>> {
    outline
        .lines
        .iter()
        .zip(lines)
        .map(|(&step, text)| Placed {
            text,
            step,
            instead: matches!(outline.steps[step], Step::Line(..)),
            same: true,
        })
        .collect()
}
