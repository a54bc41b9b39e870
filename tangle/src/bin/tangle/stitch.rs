//! `tangle stitch`.

use std::fs;

use clap::Args;
use tangle::disk::{self, Error, Mode};
use tangle::{diff, record, stitch};

use crate::shared::{MessageFormat, Place, Status, count, mistakes};

/// Bring edits of the generated files back into the chapters.
///
/// Every change of a generated file since it was tangled is written into the fence that its lines come from: the one that
/// an editor, a formatter or a reader made. If the chapters changed too, both changes are kept, unless they
/// touch the same lines. Tangling the new chapters gives the edited files back byte for byte; what cannot be brought back in
/// that way is shown, and then nothing at all is written.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// Write nothing, only find out what would happen
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Show the changes of the chapters, in the format of `diff -u`
    #[arg(long)]
    diff: bool,

    /// Print nothing when all goes well, except for the diff
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    options.place.apart()?;
    let (project, program) = options.place.program()?;
    let program = match program {
        Ok(program) => program,
        Err(diagnostics) => return Ok(mistakes(&project.book, &diagnostics, MessageFormat::Human)),
    };
    let out = options.place.out(&project.out);
    let edits = disk::edits(out, &program.tangled)?;
    let stitched = match stitch::stitch(&project.book, &program, &edits) {
        Ok(stitched) => stitched,
        Err(conflicts) => {
            for conflict in &conflicts {
                anstream::eprintln!("error: {}", conflict.to_string().trim_end());
            }
            eprintln!(
                "error: {} could not be brought back; nothing was written",
                count(conflicts.len(), "edit")
            );
            return Ok(Status::Edited);
        }
    };
    let chapters: Vec<_> = stitched
        .changed
        .iter()
        .map(|&source| (&project.book.sources[source], &stitched.book.sources[source]))
        .collect();
    if options.diff {
        for (old, new) in &chapters {
            print!("{}", diff::unified(old.path(), old.text(), new.text()));
        }
    }
    for note in &stitched.notes {
        anstream::eprintln!("note: {note}");
    }
    for (old, _) in &chapters {
        let path = project.root.join(old.path());
        let there = fs::read_to_string(&path).map_err(|error| Error::Io("read", path.clone(), error))?;
        if there != old.text() {
            let why = "of a lab with its solution only one view was tangled: edit the lab itself";
            return Err(Error::Config(path, why.to_owned()));
        }
    }
    if !options.dry_run {
        let texts: Vec<_> = chapters.iter().map(|(_, new)| (new.path(), new.text())).collect();
        disk::write_chapters(&project.root, &texts)?;
        disk::settle(out, &stitched.program.tangled, &edits)?;
        if !edits.is_empty() {
            let map = stitched
                .program
                .tangled
                .line_map(&stitched.book, &stitched.program.model);
            disk::write(out, &stitched.program.tangled, &map, Mode::Write)?;
            let fingerprint = options.place.inputs()?.fingerprint();
            record::write_stamp(out, &fingerprint, &map)
                .map_err(|error| Error::Io("write", out.join(record::STAMP), error))?;
        }
    }
    if !options.quiet {
        let would = if options.dry_run { "would change" } else { "changed" };
        let files = count(edits.len(), "edited file");
        match chapters.as_slice() {
            [] => println!("{files}, no chapter {would}"),
            chapters => println!("{files}, {} {would}", count(chapters.len(), "chapter")),
        }
    }
    Ok(Status::Fine)
}
