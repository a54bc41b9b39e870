//! `tangle` itself.

use clap::Args;
use tangle::disk::{self, Error, Mode, Report};
use tangle::{record, states};

use crate::shared::{MessageFormat, Place, Status, count, mistakes};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// Overwrite and remove files even if they were edited by hand
    #[arg(long, conflicts_with = "check")]
    force: bool,

    /// Write nothing, only find mistakes and name the files that are not as the chapters say
    #[arg(long)]
    check: bool,

    /// Write the system as it stands at the end of a chapter, named by its tag: L050 for L050-interrupts.md. What later
    /// chapters define is left out. Needs --out
    #[arg(long, value_name = "TAG", requires = "out")]
    as_of: Option<String>,

    /// Name the references that --as-of leaves out
    #[arg(long, short)]
    verbose: bool,

    /// Print nothing when all goes well
    #[arg(long, short)]
    quiet: bool,

    /// How mistakes are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    message_format: MessageFormat,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    options.place.apart()?;
    let inputs = options.place.inputs()?;
    let mut fingerprint = inputs.fingerprint();
    if let Some(tag) = &options.as_of {
        fingerprint = format!("{fingerprint} as of {tag}");
    }
    if !options.verbose
        && let Some(files) = record::up_to_date(options.place.out(inputs.out()), &fingerprint)
    {
        let report = Report {
            files,
            ..Report::default()
        };
        return Ok(done(options, &report));
    }
    let mut project = inputs.project()?;
    let model = if let Some(tag) = &options.as_of {
        match states::as_of(&project.book, tag) {
            Ok(snapshot) => {
                if options.verbose {
                    for (chapter, line, name) in &snapshot.missing {
                        eprintln!("note: {chapter}:{line}: <<{name}>> is not defined yet");
                    }
                }
                project.book = snapshot.book;
                snapshot.program.model
            }
            Err(states::Error::NoSuchTag) => {
                eprintln!("error: no chapter has the tag `{tag}`; `tangle states` lists them");
                return Ok(Status::Mistakes);
            }
            Err(states::Error::Mistakes(diagnostics)) => {
                return Ok(mistakes(&project.book, &diagnostics, options.message_format));
            }
        }
    } else {
        match tangle::model(&project.book) {
            Ok(model) => model,
            Err(diagnostics) => return Ok(mistakes(&project.book, &diagnostics, options.message_format)),
        }
    };
    let mode = match (options.check, options.force) {
        (true, _) => Mode::Check,
        (_, true) => Mode::Force,
        _ => Mode::Write,
    };
    let map = tangle::tangle::line_map(&project.book, &model);
    let out = options.place.out(&project.out);
    let report = disk::write(out, &model, &map, mode)?;
    if !options.check {
        record::write_stamp(out, &fingerprint, &map)
            .map_err(|error| Error::Io("write", out.join(record::STAMP), error))?;
    } else if !(report.written.is_empty() && report.removed.is_empty()) {
        for path in report.written.iter().chain(&report.removed) {
            eprintln!("error: {} is not as the chapters say", out.join(path).display());
        }
        return Ok(Status::Outdated);
    }
    Ok(done(options, &report))
}

fn done(options: &Options, report: &Report) -> Status {
    if !options.quiet {
        println!("{}", summary(report));
    }
    Status::Fine
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
