//! The preprocessor of mdBook that weaves.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tangle::{install, preprocessor};

/// Weave the named fragments of a book: mdBook runs this for every build.
///
/// To use it, run `mdbook-tangle install` once in the directory of book.toml. It adds the preprocessor, a style sheet and a
/// script. After that mdBook calls it by itself, with the book as JSON on its standard input; it never writes a
/// file. The command that writes the program is `tangle`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Exit with 0 if pages for this renderer can be woven: html, markdown and test
    Supports {
        /// What mdBook renders with
        renderer: String,
    },
    /// Add the preprocessor, its style sheet and its script to a book
    Install {
        /// The directory that holds book.toml
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Some(Command::Supports { renderer }) => match preprocessor::target(&renderer) {
            Some(_) => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        },
        Some(Command::Install { dir }) => finish(install::install(&dir).map(|written| match written.as_slice() {
            [] => println!("nothing to do"),
            paths => println!("wrote {}", paths.join(", ")),
        })),
        None if io::stdin().is_terminal() => {
            eprintln!("error: mdBook calls this with a book on standard input; `mdbook-tangle --help` tells more");
            ExitCode::from(2)
        }
        None => finish(preprocessor::run(io::stdin().lock(), io::stdout().lock(), io::stderr())),
    }
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}
