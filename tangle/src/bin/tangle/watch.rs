//! `tangle watch`.

mod job;
mod screen;
mod session;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};

use clap::Args;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tangle::disk::{Error, Inputs};

use crate::shared::{Place, Status};
use job::End;
use session::Session;

/// Tangle again whenever a chapter is saved, and run what depends on it
///
/// What that is, the book says, in book.toml; paths are relative to that:
///
///     [[preprocessor.tangle.watch]]
///     name = "tests"
///     when = ["generated/src/**"]           globs of generated files and chapters
///     run = "cargo test -- $TANGLE_TESTS"   a line of shell
///     tests-of = "generated/src/main.rs"    the tests of this crate that a change reaches
///     show = true                           show the output as it comes, not only when it fails
///
/// Rules run in their order; the first that fails ends the round, and is the first of the next one. A chapter that is saved
/// meanwhile ends what runs, and begins a new round. Commands find in `$TANGLE_CHANGED` the files that changed, one a line, and
/// in `$TANGLE_TESTS` the tests to run: those that a change reaches in the crate `tests-of`, and those that the table `tests`
/// names for files. If these keys are there and no test is reached, the rule does not run; if all tests are, the
/// variable is empty.
///
///     tests = { "generated/src/io.rs" = "read write" }
///
/// One line tells how things are; while nothing happens nothing is printed. What fails is shown once, with chapter lines. It
/// compares contents, never times. ^C ends it and everything that it started.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// Stop after the first round; the exit status is 1 if something failed
    #[arg(long)]
    once: bool,

    /// A line of shell to keep running meanwhile, like `mdbook serve` (may be repeated)
    #[arg(long, value_name = "COMMAND")]
    with: Vec<String>,

    /// What to run after every change, instead of what book.toml says
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What can happen.
pub enum Event {
    /// A chapter may have been saved.
    Saved,
    /// A command has ended.
    Ended(End),
    /// Somebody wants us to end.
    Stop,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    let root = options.place.root();
    let inputs = Inputs::read(&root)?;
    let (sender, events) = mpsc::channel();
    // Kept until the end: it listens as long as it lives.
    let _watcher = listen(&root, &inputs, sender.clone())?;
    let stop = sender.clone();
    ctrlc::set_handler(move || {
        // Without a receiver, this program is about to end anyway.
        let _ = stop.send(Event::Stop);
    })
    .map_err(|error| Error::Io("wait for", "signals".into(), std::io::Error::other(error)))?;
    let mut session = Session::new(options, root, &inputs, sender)?;
    for command in &options.with {
        session.accompany(command)?;
    }
    let status = session.begin(&inputs).unwrap_or_else(|| session.listen(&events));
    session.end(&events);
    Ok(status)
}

/// Sends an event whenever something in the directory of the chapters is saved, or `book.toml`.
fn listen(root: &Path, inputs: &Inputs, events: Sender<Event>) -> Result<notify::RecommendedWatcher, Error> {
    let concerns = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "md")
            || path.file_name().is_some_and(|name| name == "book.toml")
    };
    let is_change = |kind: &EventKind| match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // After an error, like too many events to remember, anything may have changed.
        if event.is_ok_and(|event| !(is_change(&event.kind) && event.paths.iter().any(concerns))) {
            return;
        }
        let _ = events.send(Event::Saved);
    })
    .map_err(|error| trouble(root, error))?;
    let here = if root.as_os_str().is_empty() {
        Path::new(".")
    } else {
        root
    };
    for (directory, mode) in [
        (here, RecursiveMode::NonRecursive),
        (&inputs.source_dir(), RecursiveMode::Recursive),
    ] {
        watcher
            .watch(directory, mode)
            .map_err(|error| trouble(directory, error))?;
    }
    Ok(watcher)
}

fn trouble(path: &Path, error: notify::Error) -> Error {
    Error::Io("watch", path.to_owned(), std::io::Error::other(error))
}
