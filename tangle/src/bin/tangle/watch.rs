//! `tangle watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use tangle::diagnostic::{self, Format};
use tangle::disk::{self, Error, Inputs, Mode};
use tangle::record;

use crate::shared::{Place, Status, count};

/// Tangle again whenever a chapter is saved, and run a command when files changed.
///
/// One line tells what happened; while nothing happens nothing is printed. The command (`make`, `cargo test`) runs wrapped, so its
/// messages speak of chapters, and it finds the changed files in the environment variable `TANGLE_CHANGED`, one a line.
/// It compares contents, never times.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// How long to wait between two looks, in milliseconds
    #[arg(long, default_value_t = 300, value_name = "MS")]
    interval: u64,

    /// Stop after the first change and its command; the exit status is the command's
    #[arg(long)]
    once: bool,

    /// What to run after a change
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    let root = options.place.root();
    let mut seen = String::new();
    println!(
        "watching {}",
        Inputs::read(&root)?.out().parent().unwrap_or(&root).display()
    );
    loop {
        // An editor may be in the middle of saving: what cannot be read now is read the next time.
        if let Ok(inputs) = Inputs::read(&root) {
            let fingerprint = inputs.fingerprint();
            if fingerprint != seen {
                seen.clone_from(&fingerprint);
                let changed = tangle_once(options, inputs, &fingerprint);
                if !changed.is_empty() && !options.command.is_empty() {
                    let status = command(options, &root, &changed)?;
                    if options.once {
                        return Ok(status);
                    }
                } else if !changed.is_empty() && options.once {
                    return Ok(Status::Fine);
                }
            }
        }
        thread::sleep(Duration::from_millis(options.interval));
    }
}

/// Tangles and prints one line, or the mistakes. Returns what was written or removed.
fn tangle_once(options: &Options, inputs: Inputs, fingerprint: &str) -> Vec<String> {
    let out = options.place.out(inputs.out()).to_owned();
    if record::up_to_date(&out, fingerprint).is_some() {
        return Vec::new();
    }
    let result = inputs.project().and_then(|project| {
        let program = match tangle::program(&project.book) {
            Ok(program) => program,
            Err(diagnostics) => {
                anstream::eprint!("{}", diagnostic::render(&project.book, &diagnostics, Format::Color));
                println!("{} in the book", count(diagnostics.len(), "mistake"));
                return Ok(Vec::new());
            }
        };
        let map = program.tangled.line_map(&project.book, &program.model);
        let report = disk::write(&out, &program.tangled, &map, Mode::Write)?;
        record::write_stamp(&out, fingerprint, &map)
            .map_err(|error| Error::Io("write", out.join(record::STAMP), error))?;
        let changed = [report.written, report.removed].concat();
        match changed.as_slice() {
            [] => println!("no file changed"),
            [one] => println!("changed {one}"),
            many => println!("changed {}", count(many.len(), "file")),
        }
        Ok(changed)
    });
    result.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error}");
        Vec::new()
    })
}

/// Runs the command wrapped, by this same program.
fn command(options: &Options, root: &std::path::Path, changed: &[String]) -> Result<Status, Error> {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tangle"));
    let status = Command::new(&own)
        .args(["wrap", "--book"])
        .arg(if root.as_os_str().is_empty() {
            ".".as_ref()
        } else {
            root
        })
        .arg("--")
        .args(&options.command)
        .env("TANGLE_CHANGED", changed.join("\n"))
        .status()
        .map_err(|error| Error::Io("run", own, error))?;
    println!("{}", if status.success() { "fine" } else { "failed" });
    Ok(if status.success() {
        Status::Fine
    } else {
        Status::Mistakes
    })
}
