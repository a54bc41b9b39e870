//! What the subcommands share.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tangle::Program;
use tangle::diagnostic::{self, Diagnostic, Format};
use tangle::disk::{Error, Inputs, Project};
use tangle::lab::View;
use tangle::source::Book;

/// What `main` returns; the meaning of each is in the help.
#[derive(Clone, Copy, PartialEq)]
pub enum Status {
    Fine = 0,
    Mistakes = 1,
    Trouble = 3,
    Edited = 4,
    Outdated = 5,
}

/// Which book, and where its files are.
#[derive(Args)]
pub struct Place {
    /// The directory that holds book.toml [default: this one or the nearest above it]
    #[arg(long, value_name = "DIR")]
    book: Option<PathBuf>,

    /// Where the files go [default: `out` under [preprocessor.tangle] in book.toml, else `generated` beside it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Read this file as one chapter more, behind all others: a lab, or what a student made of it (may be repeated)
    #[arg(long = "chapter", value_name = "FILE")]
    chapters: Vec<PathBuf>,

    /// Of a lab take the solution, where otherwise its stubs stand
    #[arg(long, requires = "chapters")]
    solved: bool,
}

impl Place {
    /// The directory of book.toml.
    pub fn root(&self) -> PathBuf {
        match &self.book {
            Some(root) => root.clone(),
            None => find_root().unwrap_or_default(),
        }
    }

    /// The directory of book.toml and that of the files, as far as the command line names them.
    pub fn given(self) -> (Option<PathBuf>, Option<PathBuf>) {
        (self.book, self.out)
    }

    /// The output directory, if the book says `default`.
    pub fn out<'a>(&'a self, default: &'a Path) -> &'a Path {
        self.out.as_deref().unwrap_or(default)
    }

    /// Sees to it that what a book with one chapter more becomes does not take the place of the book's own files.
    pub fn apart(&self) -> Result<(), Error> {
        match (self.chapters.first(), &self.out) {
            (Some(chapter), None) => Err(Error::Config(
                chapter.clone(),
                "with --chapter the files need a directory of their own: --out DIR".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Reads the files of the book.
    pub fn inputs(&self) -> Result<Inputs, Error> {
        let view = if self.solved { View::Solution } else { View::Starter };
        let book = Inputs::read(&self.root())?;
        self.chapters
            .iter()
            .try_fold(book, |book, chapter| book.followed_by(chapter, view))
    }

    /// Reads and tangles the book. `Err` holds its mistakes.
    pub fn program(&self) -> Result<(Project, Result<Program, Vec<Diagnostic>>), Error> {
        let project = self.inputs()?.project()?;
        let program = tangle::program(&project.book);
        Ok((project, program))
    }
}

/// The nearest directory upwards that holds a book, unless it is this one.
fn find_root() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    Project::find_root(&here).filter(|root| *root != here)
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
pub enum MessageFormat {
    /// On standard error, with the lines of the chapters
    #[default]
    Human,
    /// On standard output, one JSON object a line, shaped like rustc's
    Json,
}

/// Prints the mistakes of a book.
pub fn mistakes(book: &Book, diagnostics: &[Diagnostic], format: MessageFormat) -> Status {
    match format {
        MessageFormat::Json => print!("{}", diagnostic::render(book, diagnostics, Format::Json)),
        MessageFormat::Human => {
            let format = if std::io::stderr().is_terminal() {
                Format::Color
            } else {
                Format::Human
            };
            anstream::eprint!("{}", diagnostic::render(book, diagnostics, format));
            eprintln!(
                "error: {} in the book; nothing was written",
                count(diagnostics.len(), "mistake")
            );
        }
    }
    Status::Mistakes
}

/// `1 file`, `2 files`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Prints `text`; that whoever reads it has read enough is no mistake.
pub fn print(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = write!(std::io::stdout().lock(), "{text}");
}
