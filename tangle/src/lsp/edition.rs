//! Which chapters: those of the book, or those and a lab behind them.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::documents::{Documents, real};
use crate::dialect::Dialect;
use crate::disk::{self, Error, Inputs};
use crate::lab::{self, Fault, View};
use crate::parse;
use crate::source::Source;

/// Where students work, in the directory of labs.
const WORK: &str = "work";
/// Where the wrong solutions are, in the directory of labs.
const WRONG: &str = "wrong";

/// The book as one opens it: by itself, or with a lab behind its last chapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// Where the generated files go, if `book.toml` shall not say it.
    pub out: Option<PathBuf>,
    /// What comes behind it, if anything does.
    pub lab: Option<Lab>,
}

/// A lab that is read as a chapter of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// The real path of the file.
    pub path: PathBuf,
    /// Which of the two chapters that its author wrote; a student's is the same in both views.
    pub view: View,
    /// Of a wrong solution: the lab whose solution it spoils.
    spoils: Option<PathBuf>,
    /// Whether its author writes here, and wants to know what is wrong with its form.
    form: bool,
}

/// The chapters of an edition, and what there is to say of the lab.
#[derive(Debug)]
pub struct Reading {
    /// The chapters.
    pub inputs: Inputs,
    /// The number of the first chapter behind those of the book; of the book by itself, of its own first.
    pub own: usize,
    /// Which parts of the lab are not in its view.
    pub hidden: Vec<Range<usize>>,
    /// Why it cannot be taken apart; then it stands there as it is.
    pub broken: Vec<Fault>,
    /// What is wrong with its form.
    pub form: Vec<Fault>,
}

impl Reading {
    /// Adds a chapter behind the last one.
    fn add(&mut self, path: &Path, text: String, view: View) {
        let shown = match lab::regions(&text) {
            Ok(regions) => {
                self.hidden = regions.iter().flat_map(|region| region.hidden(view)).collect();
                lab::view(&text, view).unwrap_or(text)
            }
            Err(faults) => {
                self.hidden.clear();
                self.broken = faults;
                text
            }
        };
        let inputs = self.inputs.clone();
        self.inputs = inputs.with_chapter(path, shown.into_bytes());
    }
}

impl Edition {
    /// The book by itself.
    pub fn book(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            out: None,
            lab: None,
        }
    }

    /// The book with each lab behind it that is open, in each view that it has. `labs` is where they are, and `out` where
    /// their files go. What has neither the name of a lab nor code is a text like any other.
    pub fn with_labs(root: &Path, labs: &Path, out: &Path, dialect: Dialect, documents: &Documents) -> Vec<Self> {
        let (directory, work) = (real(labs), real(&labs.join(WORK)));
        let mut editions = Vec::new();
        for (path, text) in documents
            .iter()
            .filter(|(path, _)| path.extension() == Some(OsStr::new("md")))
        {
            // Where students work may be a link to anywhere.
            let below = path.strip_prefix(&directory).map(Path::to_owned);
            let Ok(below) = below.or_else(|_| path.strip_prefix(&work).map(|below| Path::new(WORK).join(below))) else {
                continue;
            };
            let source = Source::new("", text);
            let number = lab::number(&below.to_string_lossy()).map(str::to_owned);
            if number.is_none() && !has_code(&source, dialect) {
                continue;
            }
            let edition = |view| Self {
                root: root.to_owned(),
                out: Some(out.join(below.with_extension("")).join("generated")),
                lab: Some(Lab {
                    path: path.to_owned(),
                    view,
                    spoils: spoils(labs, &below),
                    form: below.iter().count() == 1 && number.is_some(),
                }),
            };
            editions.push(edition(View::Solution));
            if lab::has_regions(&source) {
                editions.push(edition(View::Starter));
            }
        }
        editions
    }

    /// Reads its chapters.
    ///
    /// # Errors
    /// When `book.toml`, `SUMMARY.md` or a chapter cannot be read.
    pub fn read(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Reading, Error> {
        let mut inputs = Inputs::read_through(&self.root, &read)?;
        if let Some(out) = &self.out {
            inputs = inputs.with_out(out);
        }
        let mut reading = Reading {
            own: self.lab.as_ref().map_or(0, |_| inputs.chapters().len()),
            inputs,
            hidden: Vec::new(),
            broken: Vec::new(),
            form: Vec::new(),
        };
        let Some(lab) = &self.lab else { return Ok(reading) };
        let text = |path: &Path| {
            let bytes = read(path).map_err(|error| Error::Io("read", path.to_owned(), error))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        if let Some(path) = &lab.spoils {
            reading.add(path, text(path)?, View::Solution);
        }
        let text = text(&lab.path)?;
        if lab.form {
            reading.form = lab::read(&lab.path.to_string_lossy(), &text).1;
        }
        reading.add(&lab.path, text, lab.view);
        Ok(reading)
    }

    /// The book comes first, and a lab that is solved before what it is for its readers.
    pub fn rank(&self) -> impl Ord + '_ {
        let lab = self.lab.as_ref();
        lab.map(|lab| (&lab.path, lab.view == View::Starter))
    }

    /// Whether an analyzer looks at its code, which costs it much memory: not at what a lab is before anybody solves it.
    pub fn is_analyzed(&self) -> bool {
        self.lab.as_ref().is_none_or(|lab| lab.view == View::Solution)
    }

    /// What the analyzer takes for the root of everything: a system beside that of the book has its packages for itself.
    pub fn system<'a>(&'a self, out: &'a Path) -> &'a Path {
        match self.lab {
            Some(_) => out.parent().unwrap_or(out),
            None => &self.root,
        }
    }
}

/// Whether anything in a text takes part in the program, or means to.
fn has_code(source: &Source, dialect: Dialect) -> bool {
    let parsed = parse::parse(source, dialect);
    !parsed.fences.is_empty() || !parsed.faults.is_empty() || !parsed.unterminated.is_empty()
}

/// The lab with the number in `wrong/NN/mistake.md`.
fn spoils(labs: &Path, below: &Path) -> Option<PathBuf> {
    let mut parts = below.iter();
    let (WRONG, number) = (parts.next()?.to_str()?, parts.next()?.to_str()?) else {
        return None;
    };
    let known = disk::labs(labs).ok()?;
    known
        .into_iter()
        .find(|path| lab::number(&path.to_string_lossy()) == Some(number))
}
