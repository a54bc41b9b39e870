//! `tangle where`.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use tangle::Program;
use tangle::disk::{Error, Project};
use tangle::map::LineMap;

use crate::inspect::sound;
use crate::shared::{Place, Status};

/// Say where a line of a file or of a chapter goes or comes from, or where a fragment is.
///
///     tangle where generated/module/device.rs:12      which line of which chapter is this?
///     tangle where chapters/L010-write.md:30          which lines of which files does it become?
///     tangle where "wake the Guest"                   where is it defined and used, what does it become?
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// A line of a file, a line of a chapter, or the name of a fragment
    #[arg(value_name = "PLACE")]
    what: String,
}

pub fn run(options: &Options) -> Result<Status, Error> {
    let Some((project, program)) = sound(&options.place)? else {
        return Ok(Status::Mistakes);
    };
    let out = options.place.out(&project.out);
    let map = program.tangled.line_map(&project.book, &program.model);
    let answers = match split(&options.what) {
        Some((path, line, column)) => location(&project, &map, out, path, line, column),
        None => fragment(&project, &program, out, &options.what),
    };
    if answers.is_empty() {
        let near = program.model.nearest(&options.what);
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        eprintln!("error: the book has no `{}`{hint}", options.what);
        return Ok(Status::Mistakes);
    }
    for answer in answers {
        println!("{answer}");
    }
    Ok(Status::Fine)
}

/// `PATH:LINE` or `PATH:LINE:COLUMN`.
fn split(what: &str) -> Option<(&str, usize, usize)> {
    let (rest, last) = what.rsplit_once(':')?;
    let last = last.parse().ok()?;
    match rest.rsplit_once(':') {
        Some((path, line)) if line.parse::<usize>().is_ok() => Some((path, line.parse().ok()?, last)),
        _ => Some((rest, last, 1)),
    }
}

fn location(project: &Project, map: &LineMap, out: &Path, path: &str, line: usize, column: usize) -> Vec<String> {
    if let Some(file) = relative(path, out).filter(|file| map.files.contains_key(file)) {
        let origin = map.origin(&file, line, column);
        let answer = origin.map(|origin| {
            let place = project.root.join(origin.source);
            format!(
                "{}:{}:{} in <<{}>>",
                place.display(),
                origin.line,
                origin.column,
                origin.fragment
            )
        });
        return answer.into_iter().collect();
    }
    let Some(chapter) = relative(path, &project.root) else {
        return Vec::new();
    };
    let Some(source) = map.sources.iter().position(|known| *known == chapter) else {
        return Vec::new();
    };
    let mut answers = Vec::new();
    for (file, lines) in &map.files {
        for span in &lines.spans {
            if span.source == source && (span.source_line..span.source_line + span.count).contains(&line) {
                answers.push(format!(
                    "{}:{}:{} in <<{}>>",
                    out.join(file).display(),
                    span.line + line - span.source_line,
                    column.saturating_add_signed(span.shift).max(1),
                    map.fragments[span.fragment]
                ));
            }
        }
    }
    answers
}

/// `path` relative to `directory`, wherever both are seen from; a path that is relative to it already stays.
fn relative(path: &str, directory: &Path) -> Option<String> {
    let here = std::env::current_dir().unwrap_or_default();
    let full = |path: &Path| {
        let mut full = PathBuf::new();
        for part in here.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(full.pop()),
                part => full.push(part),
            }
        }
        full
    };
    let below = full(Path::new(path));
    match below.strip_prefix(full(directory)) {
        Ok(below) if below.exists() || full(Path::new(path)).exists() => below.to_str().map(str::to_owned),
        _ => Some(path.trim_start_matches("./").to_owned()),
    }
}

fn fragment(project: &Project, program: &Program, out: &Path, name: &str) -> Vec<String> {
    let model = &program.model;
    let name = name
        .trim()
        .strip_prefix("<<")
        .and_then(|name| name.strip_suffix(">>"))
        .unwrap_or(name)
        .trim();
    let Some(id) = model.named(name).or_else(|| model.file(relative(name, out)?.as_str())) else {
        return Vec::new();
    };
    let mut answers = Vec::new();
    let fragment = &model.fragments[id];
    for (number, &piece) in fragment.pieces.iter().enumerate() {
        let piece = &model.pieces[piece];
        let source = &project.book.sources[piece.source];
        let verb = match (number, number < fragment.replaced) {
            (_, true) => "replaced",
            (0, _) => "defined",
            _ => "continued",
        };
        let place = project.root.join(source.path());
        answers.push(format!(
            "{verb:9} {}:{}",
            place.display(),
            source.line(piece.fence.range.start)
        ));
    }
    for piece in &model.pieces {
        for line in piece.fence.lines() {
            if line
                .reference()
                .is_some_and(|reference| model.named(reference.name) == Some(id))
            {
                let place = project.root.join(project.book.sources[piece.source].path());
                let user = model.fragments[piece.fragment].title();
                answers.push(format!(
                    "{:9} {}:{} in <<{user}>>",
                    "used",
                    place.display(),
                    line.number
                ));
            }
        }
    }
    for (path, file) in &program.tangled.files {
        for (piece, lines) in &file.pieces {
            if fragment.live().contains(piece) && !lines.is_empty() {
                let place = out.join(path);
                answers.push(format!(
                    "{:9} {}:{}-{}",
                    "becomes",
                    place.display(),
                    lines.start,
                    lines.end - 1
                ));
            }
        }
    }
    answers
}
