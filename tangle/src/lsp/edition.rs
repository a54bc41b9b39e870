//! Which chapters: those of the book, or those and a lab behind them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::documents::real;
use crate::disk::{Error, Inputs};

/// The book as one opens it: by itself, or with a lab as its last chapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// The chapter behind the book's last one, relative to `root`.
    pub lab: Option<String>,
    /// Where the generated files go, if `book.toml` shall not say it.
    pub out: Option<PathBuf>,
}

impl Edition {
    /// Reads its chapters.
    ///
    /// # Errors
    /// When `book.toml`, `SUMMARY.md` or a chapter cannot be read.
    pub fn inputs(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Inputs, Error> {
        let mut inputs = Inputs::read_through(&self.root, &read)?;
        if let Some(lab) = &self.lab {
            inputs.add_lab(lab, &read)?;
        }
        if let Some(out) = &self.out {
            inputs.set_out(out);
        }
        Ok(inputs)
    }

    /// What the analyzer takes for the root of everything: a system of its own beside the book has its packages there.
    pub fn system<'a>(&'a self, out: &'a Path) -> &'a Path {
        match self.lab {
            Some(_) => out.parent().unwrap_or(out),
            None => &self.root,
        }
    }
}
