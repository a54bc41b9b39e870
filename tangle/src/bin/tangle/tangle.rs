//! `tangle` itself.

use clap::Args;
use tangle::disk::{self, Error, Inputs, Mode, Report};
use tangle::record;

use crate::shared::{MessageFormat, Place, Status, count, mistakes};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,

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
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    message_format: MessageFormat,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    let inputs = Inputs::read(&options.place.root())?;
    let fingerprint = inputs.fingerprint();
    if let Some(files) = record::up_to_date(options.place.out(inputs.out()), &fingerprint) {
        let report = Report {
            files,
            ..Report::default()
        };
        return Ok(done(options, &report));
    }
    let project = inputs.project()?;
    let program = match tangle::program(&project.book) {
        Ok(program) => program,
        Err(diagnostics) => return Ok(mistakes(&project.book, &diagnostics, options.message_format)),
    };
    let mode = match (options.check, options.force) {
        (true, _) => Mode::Check,
        (_, true) => Mode::Force,
        _ => Mode::Write,
    };
    let map = program.tangled.line_map(&project.book, &program.model);
    let out = options.place.out(&project.out);
    let report = disk::write(out, &program.tangled, &map, mode)?;
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
