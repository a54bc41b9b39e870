//! For a package whose sources are tangled: what its `build.rs` calls.

use std::fs::{self, File};
use std::path::Path;
use std::process::exit;
use std::time::SystemTime;

use crate::diagnostic::{self, Format};
use crate::dialect::Dialect;
use crate::disk::{self, Inputs, Mode};
use crate::map;
use crate::record;

/// Tangles the book in `root` ("" is the package's own directory) and tells cargo to do so again when a chapter changes. Mistakes in the book are
/// printed and end the build.
///
/// ```no_run
/// // build.rs
/// tangle::build_script::run("");
/// ```
pub fn run(root: impl AsRef<Path>) {
    if let Err(message) = try_run(root.as_ref()) {
        eprintln!("{}", message.trim_end());
        exit(1);
    }
}

fn try_run(root: &Path) -> Result<(), String> {
    let rerun = |path: &Path| println!("cargo::rerun-if-changed={}", path.display());
    let settings = root.join(Dialect::FILE);
    // A file that is not there would make cargo run this every time.
    if settings.is_file() {
        rerun(&settings);
    }
    rerun(&root.join("book.toml"));
    let inputs = Inputs::read(root).map_err(|error| error.to_string())?;
    let fingerprint = inputs.fingerprint();
    let known = record::up_to_date(inputs.out(), &fingerprint).is_some();
    let project = inputs.project().map_err(|error| error.to_string())?;
    let summary = root.join(&project.source_dir).join("SUMMARY.md");
    let chapters: Vec<_> = project
        .book
        .sources
        .iter()
        .map(|source| root.join(source.path()))
        .collect();
    rerun(&summary);
    for chapter in &chapters {
        rerun(chapter);
    }
    let map_path = project.out.join(map::FILE);
    // When the whole output directory is gone it must come back.
    rerun(&map_path);

    if known {
        return Ok(());
    }
    let model = crate::model(&project.book)
        .map_err(|diagnostics| diagnostic::render(&project.book, &diagnostics, Format::Human))?;
    let map = crate::tangle::line_map(&project.book, &model);
    disk::write(&project.out, &model, &map, Mode::Write).map_err(|error| error.to_string())?;
    record::write_stamp(&project.out, &fingerprint, &map)
        .map_err(|error| format!("cannot write the stamp: {error}"))?;
    // The map is as old as what it was made from: were it newer than the start of this script, cargo would run the
    // script once more.
    age(&map_path, newest(&chapters)).map_err(|error| format!("cannot set the time of {}: {error}", map_path.display()))
}

fn newest(paths: &[std::path::PathBuf]) -> Option<SystemTime> {
    paths
        .iter()
        .filter_map(|path| fs::metadata(path).ok()?.modified().ok())
        .max()
}

fn age(path: &Path, time: Option<SystemTime>) -> std::io::Result<()> {
    match time {
        Some(time) if fs::metadata(path)?.modified()? > time => {
            File::options().write(true).open(path)?.set_modified(time)
        }
        _ => Ok(()),
    }
}
