//! Why something could not be done.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done: what happened, where, and what to do about it.
#[derive(Debug)]
pub enum Trouble {
    /// The chapter has mistakes that tangle or a compiler found; they are shown as those show them.
    Mistakes {
        /// What was found, in full.
        shown: String,
        /// Where it is kept, if it is.
        log: Option<PathBuf>,
    },
    /// The chapter does what no chapter of a student may do.
    Refused(Vec<String>),
    /// A file could not be read or written.
    Io(&'static str, PathBuf, io::Error),
    /// Anything else: what happened, and what to do about it.
    Other(String, Vec<String>),
    /// Somebody asked for the end.
    Stopped,
}

impl Trouble {
    /// What happened, and nothing to advise.
    pub fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into(), Vec::new())
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn help(mut self, line: impl Into<String>) -> Self {
        if let Self::Other(_, help) = &mut self {
            help.push(line.into());
        }
        self
    }

    /// Whether the chapter is at fault, and not this machine.
    #[must_use]
    pub fn is_the_chapters(&self) -> bool {
        matches!(self, Self::Mistakes { .. } | Self::Refused(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistakes { shown, log } => {
                f.write_str(shown.trim_end())?;
                match log {
                    Some(log) => write!(f, "\n  all of it: {}", log.display()),
                    None => Ok(()),
                }
            }
            Self::Refused(why) => {
                f.write_str("error: this chapter is not built:")?;
                why.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Io(verb, path, error) => write!(f, "error: cannot {verb} {}: {error}", path.display()),
            Self::Other(what, help) => {
                write!(f, "error: {what}")?;
                help.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<tangle::disk::Error> for Trouble {
    fn from(error: tangle::disk::Error) -> Self {
        Self::other(error.to_string())
    }
}

/// A shorthand for what most of this crate returns.
pub type Result<T> = std::result::Result<T, Trouble>;

/// Names the file in an error of the operating system.
pub trait At<T> {
    /// Says that `verb` did not work on `path`.
    ///
    /// # Errors
    /// Those that there were, with a name.
    fn at(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Trouble::Io(verb, path.to_owned(), error))
    }
}
