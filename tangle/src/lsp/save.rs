//! The generated files on disk.

use std::fs;

use super::edition::Edition;
use crate::disk::{self, Error, Mode};
use crate::record;
use crate::tangle;

/// Tangles what is saved, as the command `tangle` does, and returns the files that changed. A book with mistakes changes none: they
/// are shown elsewhere.
///
/// # Errors
/// When a file cannot be read or written, or was edited by hand.
pub fn tangle(edition: &Edition) -> Result<Vec<String>, Error> {
    if edition.lab.as_ref().is_some_and(|lab| !lab.path.is_file()) {
        // The editor has it, and nobody has saved it yet.
        return Ok(Vec::new());
    }
    let reading = edition.read(|path| fs::read(path))?;
    if !reading.broken.is_empty() {
        return Ok(Vec::new());
    }
    let inputs = reading.inputs;
    let fingerprint = inputs.fingerprint();
    let out = inputs.out().to_owned();
    if record::up_to_date(&out, &fingerprint).is_some() {
        return Ok(Vec::new());
    }
    let project = inputs.project()?;
    let Ok(model) = crate::model(&project.book) else {
        return Ok(Vec::new());
    };
    let map = tangle::line_map(&project.book, &model);
    let report = disk::write(&out, &model, &map, Mode::Write)?;
    record::write_stamp(&out, &fingerprint, &map)
        .map_err(|error| Error::Io("write", out.join(record::STAMP), error))?;
    Ok(report.written)
}
