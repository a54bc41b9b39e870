//! The `tangle` command.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tangle::diagnostic::{self, Format};
use tangle::disk::{self, Error, Mode, Project, Report};

/// Turn the chapters of a book into the program that they describe.
///
/// The chapters are those that SUMMARY.md names, in its order. A code fence takes part when its first line names a file
/// or a fragment after the language:
///
///     ```rust file=module/device.rs      opens a file
///     ```rust file=module/device.rs +=   adds to it
///     ```rust #check the range           defines a fragment
///     ```rust #check the range +=        adds to it
///     ```rust #check the range :=        replaces it
///
/// and <<check the range>> alone on a line stands for the fragment, at the indentation of that line. Every other fence is
/// an example: shown, but part of nothing.
///
/// Beside the files, .tangle/map.json in the output directory says for every generated line which line of which
/// chapter it is. Files that did not change are not written, files that the book no longer has are removed, and
/// a file that somebody edited by hand is never overwritten.
#[derive(Parser)]
#[command(
    version,
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    after_help = "Exit status:\n  \
        0  everything is as the chapters say\n  \
        1  the book has mistakes; all of them were printed, nothing was written\n  \
        2  the command line is wrong\n  \
        3  a file could not be read or written, or book.toml makes no sense\n  \
        4  a file was edited by hand; nothing was written\n  \
        5  --check: some files are not as the chapters say"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tangle: TangleArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Write the files (this is also what `tangle` alone does)
    Tangle(TangleArgs),
}

#[derive(Args)]
struct TangleArgs {
    /// The directory that holds book.toml [default: this one or the nearest above it]
    #[arg(long, value_name = "DIR")]
    book: Option<PathBuf>,

    /// Where the files go [default: `out` under [preprocessor.tangle] in book.toml, else `generated` beside it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Overwrite and remove files even if they were edited by hand
    #[arg(long, conflicts_with = "check")]
    force: bool,

    /// Write nothing, only find mistakes and name the files that are not as the chapters say
    #[arg(long)]
    check: bool,

    /// Print nothing when all goes well
    #[arg(long, short)]
    quiet: bool,

    /// How mistakes are printed
    #[arg(long, value_enum, default_value_t = MessageFormat::Human, value_name = "FORMAT")]
    message_format: MessageFormat,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum MessageFormat {
    /// On standard error, with the lines of the chapters
    Human,
    /// On standard output, one JSON object a line, shaped like rustc's
    Json,
}

/// What `main` returns; the meaning of each is in the help.
#[derive(Clone, Copy)]
enum Status {
    Fine = 0,
    Mistakes = 1,
    Trouble = 3,
    Edited = 4,
    Outdated = 5,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let args = match cli.command {
        Some(Command::Tangle(args)) => args,
        None => cli.tangle,
    };
    let status = run(&args).unwrap_or_else(|error| {
        for line in error.to_string().lines() {
            anstream::eprintln!("error: {line}");
        }
        match error {
            Error::Conflicts(_) => Status::Edited,
            Error::Io(..) | Error::Config(..) => Status::Trouble,
        }
    });
    ExitCode::from(status as u8)
}

fn run(args: &TangleArgs) -> Result<Status, Error> {
    let root = match &args.book {
        Some(root) => root.clone(),
        None => find_root().unwrap_or_default(),
    };
    let project = Project::open(&root)?;
    let program = match tangle::program(&project.book) {
        Ok(program) => program,
        Err(diagnostics) => {
            match args.message_format {
                MessageFormat::Json => print!("{}", diagnostic::render(&project.book, &diagnostics, Format::Json)),
                MessageFormat::Human => {
                    let format = if std::io::stderr().is_terminal() {
                        Format::Color
                    } else {
                        Format::Human
                    };
                    anstream::eprint!("{}", diagnostic::render(&project.book, &diagnostics, format));
                    eprintln!(
                        "error: {} in the book; nothing was written",
                        count(diagnostics.len(), "mistake")
                    );
                }
            }
            return Ok(Status::Mistakes);
        }
    };
    let mode = match (args.check, args.force) {
        (true, _) => Mode::Check,
        (_, true) => Mode::Force,
        _ => Mode::Write,
    };
    let map = program.tangled.line_map(&project.book, &program.model);
    let out = args.out.as_ref().unwrap_or(&project.out);
    let report = disk::write(out, &program.tangled, &map, mode)?;
    let outdated = args.check && !(report.written.is_empty() && report.removed.is_empty());
    if outdated {
        for path in report.written.iter().chain(&report.removed) {
            eprintln!("error: {} is not as the chapters say", out.join(path).display());
        }
        return Ok(Status::Outdated);
    }
    if !args.quiet {
        println!("{}", summary(&report));
    }
    Ok(Status::Fine)
}

/// The nearest directory upwards that holds a book, unless it is this one.
fn find_root() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    Project::find_root(&here).filter(|root| *root != here)
}

fn summary(report: &Report) -> String {
    let files = count(report.files, "file");
    let mut done = Vec::new();
    for (paths, verb) in [(&report.written, "written"), (&report.removed, "removed")] {
        if !paths.is_empty() {
            done.push(format!("{} {verb}", paths.len()));
        }
    }
    if done.is_empty() {
        format!("{files}, nothing changed")
    } else {
        format!("tangled {files}, {}", done.join(", "))
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
