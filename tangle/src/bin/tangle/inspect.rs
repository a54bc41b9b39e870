//! The subcommands that look at a book and write nothing into it.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tangle::diagnostic::{self, Format};
use tangle::disk::{Error, Project};
use tangle::source::Book;
use tangle::states::Promise;
use tangle::{Program, advice, graph, sarif, states, stats};

use crate::shared::{MessageFormat, Place, Status, count, mistakes, print};

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    place: Place,

    /// How mistakes are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: CheckFormat,

    /// Print nothing when all goes well
    #[arg(long, short)]
    quiet: bool,

    /// Fail for warnings, too
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum CheckFormat {
    /// On standard error, with the lines of the chapters
    #[default]
    Text,
    /// On standard output, one JSON object a line, shaped like rustc's
    Json,
    /// On standard output, a SARIF 2.1.0 log
    Sarif,
}

impl Check {
    pub fn run(&self) -> Result<Status, Error> {
        let (project, program) = self.place.program()?;
        let book = &project.book;
        // How a book reads matters when it is a program.
        let diagnostics = match &program {
            Ok(program) => advice::advice(book, &program.model),
            Err(diagnostics) => diagnostics.clone(),
        };
        match self.format {
            CheckFormat::Sarif => print!("{}", sarif::log(book, &diagnostics)),
            CheckFormat::Json => print!("{}", diagnostic::render(book, &diagnostics, Format::Json)),
            CheckFormat::Text => self.tell(book, program.as_ref().ok(), &diagnostics),
        }
        Ok(if diagnostics.is_empty() || program.is_ok() && !self.strict {
            Status::Fine
        } else {
            Status::Mistakes
        })
    }

    fn tell(&self, book: &Book, program: Option<&Program>, diagnostics: &[diagnostic::Diagnostic]) {
        let Some(program) = program else {
            mistakes(book, diagnostics, MessageFormat::Human);
            return;
        };
        let color = std::io::stderr().is_terminal();
        let format = if color { Format::Color } else { Format::Human };
        anstream::eprint!("{}", diagnostic::render(book, diagnostics, format));
        if self.quiet {
            return;
        }
        let warnings = match diagnostics.len() {
            0 => String::new(),
            some => format!(", {}", count(some, "warning")),
        };
        println!(
            "{}, {}, {}: no mistakes{warnings}",
            count(book.sources.len(), "chapter"),
            count(program.model.fragments.len(), "fragment"),
            count(program.tangled.files.len(), "file")
        );
    }
}

/// Reads the book for a command that needs one without mistakes; prints them otherwise.
pub fn sound(place: &Place) -> Result<Option<(Project, Program)>, Error> {
    match place.program()? {
        (project, Ok(program)) => Ok(Some((project, program))),
        (project, Err(diagnostics)) => {
            mistakes(&project.book, &diagnostics, MessageFormat::Human);
            Ok(None)
        }
    }
}

#[derive(Args)]
pub struct Graph {
    #[command(flatten)]
    place: Place,

    /// Where to write the picture [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Graph {
    pub fn run(&self) -> Result<Status, Error> {
        let Some((project, program)) = sound(&self.place)? else {
            return Ok(Status::Mistakes);
        };
        let svg = graph::svg(&project.book, &program.model);
        match &self.output {
            Some(path) => fs::write(path, svg).map_err(|error| Error::Io("write", path.clone(), error))?,
            None => print!("{svg}"),
        }
        Ok(Status::Fine)
    }
}

#[derive(Args)]
pub struct Stats {
    #[command(flatten)]
    place: Place,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub fn run(&self) -> Result<Status, Error> {
        let Some((project, program)) = sound(&self.place)? else {
            return Ok(Status::Mistakes);
        };
        let stats = stats::stats(&project.book, &program.model);
        if self.json {
            println!(
                "{}",
                serde_json::to_string(&stats).expect("numbers and strings always serialize")
            );
        } else {
            print(stats);
        }
        Ok(Status::Fine)
    }
}

#[derive(Args)]
pub struct States {
    #[command(flatten)]
    place: Place,

    /// Only the tags of the chapters that promise to run at their end
    #[arg(long)]
    runs: bool,

    /// Only the tags of the chapters that promise that tests pass at their end
    #[arg(long, conflicts_with = "runs")]
    tests: bool,
}

impl States {
    pub fn run(&self) -> Result<Status, Error> {
        let project = Project::open(&self.place.root())?;
        let states = states::states(&project.book);
        let wanted = match (self.runs, self.tests) {
            (true, _) => Some((Promise::Runs, "to run", "runs: true")),
            (_, true) => Some((Promise::Tests, "that its tests pass", "runs: tests")),
            _ => None,
        };
        let Some((wanted, what, written)) = wanted else {
            for state in states {
                let promise = match state.promise {
                    Promise::Nothing => "",
                    Promise::Tests => "tests",
                    Promise::Runs => "runs",
                };
                println!("{:8} {promise:5} {}", state.tag, state.path);
            }
            return Ok(Status::Fine);
        };
        let mut tags = states.iter().filter(|state| state.promise == wanted).peekable();
        if tags.peek().is_none() {
            eprintln!(
                "error: no chapter promises {what}; one that does begins with the lines `---`, `{written}`, `---`"
            );
            return Ok(Status::Mistakes);
        }
        tags.for_each(|state| println!("{}", state.tag));
        Ok(Status::Fine)
    }
}
