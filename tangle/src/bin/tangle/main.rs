//! The `tangle` command.

mod imports;
#[cfg(feature = "mdbook")]
mod init;
mod inspect;
mod lab;
mod lsp;
mod shared;
mod stitch;
mod tangle;
mod watch;
mod whereis;
mod wrap;

use std::process::ExitCode;

use ::tangle::disk::Error;
use clap::{Parser, Subcommand};
use shared::Status;

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
        1  the book has mistakes; all of them were printed, nothing was written; `where`: there is nothing\n  \
        2  the command line is wrong\n  \
        3  a file could not be read or written, or book.toml makes no sense\n  \
        4  a file was edited by hand, or its edit cannot be stitched; nothing was written\n  \
        5  --check: some files are not as the chapters say"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tangle: tangle::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Write the files (this is also what `tangle` alone does)
    Tangle(tangle::Options),
    #[cfg(feature = "mdbook")]
    Init(init::Options),
    Watch(watch::Options),
    Stitch(stitch::Options),
    Imports(imports::Options),
    /// Find the mistakes of the book, and write nothing
    Check(inspect::Check),
    Where(whereis::Options),
    /// Draw the fragments and who uses them, as SVG
    Graph(inspect::Graph),
    /// Count words, lines and names
    Stats(inspect::Stats),
    /// List the chapters as states of the system, for `tangle --as-of`
    States(inspect::States),
    #[command(subcommand, verbatim_doc_comment)]
    Lab(lab::Command),
    Lsp(lsp::Options),
    Wrap(wrap::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => tangle::run(&cli.tangle),
        Some(Command::Tangle(options)) => tangle::run(&options),
        Some(Command::Stitch(options)) => stitch::run(&options),
        Some(Command::Imports(options)) => imports::run(&options),
        #[cfg(feature = "mdbook")]
        Some(Command::Init(options)) => init::run(&options),
        Some(Command::Watch(options)) => watch::run(&options),
        Some(Command::Check(options)) => options.run(),
        Some(Command::Where(options)) => whereis::run(&options),
        Some(Command::Graph(options)) => options.run(),
        Some(Command::Stats(options)) => options.run(),
        Some(Command::States(options)) => options.run(),
        Some(Command::Lab(command)) => lab::run(&command),
        Some(Command::Lsp(options)) => Ok(lsp::run(options)),
        Some(Command::Wrap(options)) => match wrap::run(&options) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
    };
    let status = result.unwrap_or_else(|error| {
        for line in error.to_string().lines() {
            anstream::eprintln!("error: {line}");
        }
        match error {
            Error::Conflicts(_) | Error::Unknown(_) => Status::Edited,
            Error::Io(..) | Error::Config(..) => Status::Trouble,
        }
    });
    ExitCode::from(status as u8)
}
