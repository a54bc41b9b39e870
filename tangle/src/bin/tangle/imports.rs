//! `tangle imports`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use glob::{MatchOptions, Pattern};
use tangle::disk::{self, Error};
use tangle::imports;

use crate::shared::{MessageFormat, Place, Status, count, mistakes};

/// Join what later chapters import with what earlier ones did.
///
/// Where a fragment of Rust imports is added to (`+=`), or a hole in it is filled, the addition becomes the whole (`:=`): all that was
/// imported so far, with one `use` for each crate. Where one fence has two `use` for a crate, they become one. A fragment that has
/// anything else in it is left alone.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// A line of shell that lays out code as it comes in and goes out, `rustfmt` for instance
    #[arg(long, value_name = "COMMAND", default_value = "rustfmt")]
    layout: String,

    /// Change nothing, and fail if there is something to join
    #[arg(long)]
    check: bool,

    /// Only what these generated files are made of, relative to the output directory [default: all that are Rust]
    #[arg(value_name = "GLOB", default_value = "**/*.rs", hide_default_value = true)]
    files: Vec<Pattern>,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    let (project, program) = options.place.program()?;
    let model = match program {
        Ok(program) => program.model,
        Err(diagnostics) => return Ok(mistakes(&project.book, &diagnostics, MessageFormat::Human)),
    };
    let literal = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::new()
    };
    let wanted = |path: &str| options.files.iter().any(|glob| glob.matches_with(path, literal));
    let joined = imports::join(&project.book, &model, wanted, |uses| laid_out(&options.layout, uses))
        .map_err(|error| Error::Io("run", PathBuf::from(&options.layout), error))?;
    for fragment in &joined.fragments {
        let what = if options.check { "to be joined" } else { "joined" };
        println!("{what}: {fragment}");
    }
    if options.check {
        return Ok(if joined.fragments.is_empty() {
            Status::Fine
        } else {
            Status::Outdated
        });
    }
    let changed = joined.changed.iter().map(|&source| &joined.book.sources[source]);
    let texts: Vec<_> = changed.map(|source| (source.path(), source.text())).collect();
    disk::write_chapters(&project.root, &texts)?;
    if !texts.is_empty() {
        println!("{} changed", count(texts.len(), "chapter"));
    }
    Ok(Status::Fine)
}

/// What `command` makes of `text`.
fn laid_out(command: &str, text: &str) -> io::Result<String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // A few lines: the pipe holds them before anybody reads.
    child
        .stdin
        .take()
        .expect("it was asked for")
        .write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("it failed with {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
