//! `tangle where`.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use tangle::Program;
use tangle::disk::{Error, Project};
use tangle::map::LineMap;

use crate::inspect::sound;
use crate::shared::{Place, Status};

/// Say where a line of a file or of a chapter goes or comes from, or where a fragment is
///
///     tangle where generated/module/device.rs:12      which line of which chapter is this?
///     tangle where chapters/L010-write.md:30          which lines of which files does it become?
///     tangle where L010:30                            the same, by the chapter's tag
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
        Some((path, line, column)) => location(&project, &program, &map, out, path, line, column),
        None => fragment(&project, &program, out, &options.what),
    };
    match answers {
        Ok(answers) => {
            for answer in answers {
                println!("{answer}");
            }
            Ok(Status::Fine)
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            Ok(Status::Mistakes)
        }
    }
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

/// Where a line of a file comes from, or of a chapter goes; else why there is no answer.
fn location(
    project: &Project,
    program: &Program,
    map: &LineMap,
    out: &Path,
    path: &str,
    line: usize,
    column: usize,
) -> Result<Vec<String>, String> {
    if let Some((file, lines)) = relative(path, out).and_then(|file| map.files.get_key_value(&file)) {
        let Some(origin) = map.origin(file, line, column) else {
            return Err(format!("`{path}` has {} lines", lines.lines));
        };
        let place = project.root.join(origin.source);
        return Ok(vec![format!(
            "{}:{}:{} in <<{}>>",
            place.display(),
            origin.line,
            origin.column,
            origin.fragment
        )]);
    }
    let Some(source) = chapter(project, map, path) else {
        return Err(format!("the book has neither a chapter nor a file `{path}`"));
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
    if !answers.is_empty() {
        return Ok(answers);
    }
    no_code(project, program, out, source, line)
}

/// The chapter that `path` means: its path, or its tag.
fn chapter(project: &Project, map: &LineMap, path: &str) -> Option<usize> {
    let known = relative(path, &project.root);
    let by_path = map.sources.iter().position(|source| Some(source) == known.as_ref());
    by_path.or_else(|| {
        map.sources
            .iter()
            .position(|source| tangle::states::tag(source) == path)
    })
}

/// What there is to say of a line of a chapter that is no line of a file.
fn no_code(
    project: &Project,
    program: &Program,
    out: &Path,
    source: usize,
    line: usize,
) -> Result<Vec<String>, String> {
    let chapter = &project.book.sources[source];
    let path = project.root.join(chapter.path());
    let count = chapter.text().lines().count();
    if !(1..=count).contains(&line) {
        return Err(format!("`{}` has {count} lines", path.display()));
    }
    for piece in program.model.pieces.iter().filter(|piece| piece.source == source) {
        let fence = &piece.fence;
        let first = chapter.line(fence.range.start);
        if !(first..=chapter.line(fence.range.end)).contains(&line) {
            continue;
        }
        let referred = fence
            .lines()
            .find(|code| code.number == line)
            .and_then(|code| code.reference());
        return match referred {
            Some(reference) => fragment(project, program, out, reference.name),
            None => fragment(project, program, out, program.model.fragments[piece.fragment].title()),
        };
    }
    Err(format!("{}:{line} is prose: no file has it", path.display()))
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

/// All places of a fragment: where it is defined, continued and used, and what it becomes.
fn fragment(project: &Project, program: &Program, out: &Path, name: &str) -> Result<Vec<String>, String> {
    let model = &program.model;
    let name = name
        .trim()
        .strip_prefix("<<")
        .and_then(|name| name.strip_suffix(">>"))
        .unwrap_or(name)
        .trim();
    let Some(id) = model.named(name).or_else(|| model.file(relative(name, out)?.as_str())) else {
        let near = model.nearest(name);
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("the book has no fragment `{name}`{hint}"));
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
    for (number, piece) in model.pieces.iter().enumerate() {
        for line in piece.fence.lines() {
            if line
                .reference()
                .is_some_and(|reference| model.meant(number, reference.name) == Some(id))
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
    Ok(answers)
}
