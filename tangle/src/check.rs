//! The mistakes that show only when the whole book is known.

use std::collections::{BTreeMap, HashSet};

use crate::diagnostic::{Code, Diagnostic};
use crate::model::{FragmentId, Model, Piece, PieceId};
use crate::source::{Book, Place};

/// Finds every mistake in `model` that reading it alone could not show.
#[must_use]
pub fn check(book: &Book, model: &Model) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if model.dialect.is_lenient() {
        // What becomes part of no file may be as it likes.
        let reached = reached(model);
        let pieces = |id: &PieceId| reached.contains(&model.pieces[*id].fragment);
        undefined(model, (0..model.pieces.len()).filter(pieces), &mut diagnostics);
        sizes(
            model,
            &cycles(model, |id| reached.contains(&id), &mut diagnostics),
            &mut diagnostics,
        );
    } else {
        undefined(model, 0..model.pieces.len(), &mut diagnostics);
        unused(model, &mut diagnostics);
        not_alone(book, model, &mut diagnostics);
        sizes(model, &cycles(model, |_| true, &mut diagnostics), &mut diagnostics);
    }
    paths(model, &mut diagnostics);
    diagnostics
}

/// The fragments that are part of a file.
fn reached(model: &Model) -> HashSet<FragmentId> {
    let mut reached = HashSet::new();
    let mut open: Vec<FragmentId> = model.files().map(|(id, _)| id).collect();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            let pieces = model.fragments[id].live().iter();
            open.extend(pieces.flat_map(|&piece| {
                references_of(&model.pieces[piece]).filter_map(move |(_, name)| model.meant(piece, name))
            }));
        }
    }
    reached
}

/// References to nothing.
fn undefined(model: &Model, pieces: impl Iterator<Item = PieceId>, diagnostics: &mut Vec<Diagnostic>) {
    for id in pieces {
        for (place, name) in references_of(&model.pieces[id]) {
            if model.meant(id, name).is_none() {
                let diagnostic = Diagnostic::new(
                    Code::UndefinedFragment,
                    format!("no fragment is called `{name}`"),
                    place,
                    "referred to here",
                );
                diagnostics.push(
                    match model.nearest(name).and_then(|near| Some((near, model.named(near)?))) {
                        Some((near, id)) => diagnostic
                            .with(definition(model, id), format!("`{near}` is defined here"))
                            .help(format!("did you mean `<<{near}>>`?")),
                        None => diagnostic,
                    },
                );
            }
        }
    }
}

/// Fragments that nobody refers to.
fn unused(model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    // What an overridden piece refers to counts as used: the lab that overrides it is to blame for nothing.
    let used: HashSet<_> = model
        .pieces
        .iter()
        .flat_map(references_of)
        .map(|(_, name)| name)
        .collect();
    for (id, fragment) in model.fragments.iter().enumerate() {
        if let (Some(name), None) = (&fragment.name, &fragment.path)
            && !used.contains(name.as_str())
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnusedFragment,
                    format!("the fragment `{name}` is never used"),
                    definition(model, id),
                    "defined here",
                )
                .help(format!(
                    "refer to it with `<<{name}>>`, or take `#{name}` away to make this fence an example"
                )),
            );
        }
    }
}

/// `<<name>>` of a known fragment that shares its line with other code, and so would land in the program as it is.
fn not_alone(book: &Book, model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    for piece in &model.pieces {
        for line in piece.fence.lines() {
            let text = line.text;
            if !text.contains("<<") || line.reference().is_some() {
                continue;
            }
            let source = &book.sources[piece.source];
            for (at, _) in text.match_indices("<<") {
                let Some(end) = text[at..].find(">>") else { break };
                if model.named(text[at + 2..at + end].trim()).is_none() {
                    continue;
                }
                let range = line.place(at)..line.place(at + end + 2);
                if source.text().get(range.clone()).is_none() {
                    continue;
                }
                diagnostics.push(
                    Diagnostic::new(
                        Code::ReferenceNotAlone,
                        "a reference must stand alone on its line",
                        Place {
                            source: piece.source,
                            range,
                        },
                        "other code stands beside it",
                    )
                    .help("move what stands beside it into the fragment"),
                );
            }
        }
    }
}

/// Fragments that contain themselves. Each circle is reported once. Returns the fragments, each after all that it refers to, or
/// nothing where there is a circle.
fn cycles(model: &Model, concerned: impl Fn(FragmentId) -> bool, diagnostics: &mut Vec<Diagnostic>) -> Vec<FragmentId> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let edges: Vec<Vec<(Place, FragmentId)>> = model
        .fragments
        .iter()
        .map(|fragment| {
            fragment
                .live()
                .iter()
                .flat_map(|&id| references_of(&model.pieces[id]).map(move |reference| (id, reference)))
                .filter_map(|(id, (place, name))| Some((place, model.meant(id, name)?)))
                .collect()
        })
        .collect();
    let mut state = vec![State::New; edges.len()];
    let before = diagnostics.len();
    let mut order = Vec::new();
    for root in 0..edges.len() {
        if state[root] != State::New || !concerned(root) {
            continue;
        }
        state[root] = State::Open;
        // A fragment on the way down, and how many of its edges were followed.
        let mut path = vec![(root, 0)];
        while let Some((id, next)) = path.last_mut() {
            let id = *id;
            let Some((_, to)) = edges[id].get(*next) else {
                state[id] = State::Done;
                order.push(id);
                path.pop();
                continue;
            };
            *next += 1;
            match state[*to] {
                State::New => {
                    state[*to] = State::Open;
                    path.push((*to, 0));
                }
                State::Done => {}
                State::Open => {
                    let from = path.iter().position(|(id, _)| id == to).unwrap_or(0);
                    let circle: Vec<_> = path[from..].iter().map(|&(id, next)| &edges[id][next - 1]).collect();
                    diagnostics.push(circular(model, *to, &circle));
                }
            }
        }
    }
    if diagnostics.len() > before {
        order.clear();
    }
    order
}

/// How much text a book may become, in bytes. A fragment that is used twice by one that is used twice and so on for a page becomes more
/// than any disk holds; a book of a thousand pages is far below this.
const LARGEST: u64 = 64 << 20;

/// Fragments that become too much text. `order` has each fragment after those that it refers to.
fn sizes(model: &Model, order: &[FragmentId], diagnostics: &mut Vec<Diagnostic>) {
    // Of each fragment its bytes and its lines, since each line moves to the right with the reference. A reference counts, too: what
    // becomes nothing takes its time all the same.
    let mut sizes = vec![(0_u64, 0_u64); model.fragments.len()];
    let too_large = |id: FragmentId| {
        Diagnostic::new(
            Code::TooLarge,
            format!(
                "`{}` would become more than {} MiB",
                model.fragments[id].title(),
                LARGEST >> 20
            ),
            definition(model, id),
            "with all that it refers to",
        )
    };
    for &id in order {
        let (mut bytes, mut lines) = (0_u64, 0_u64);
        for &piece in model.fragments[id].live() {
            bytes = bytes.saturating_add(1);
            for line in model.pieces[piece].fence.lines() {
                let (more, of) = match line.reference() {
                    Some(reference) => {
                        let (bytes, lines) = model.meant(piece, reference.name).map_or((0, 0), |to| sizes[to]);
                        let indents = lines.saturating_mul(reference.indent.len() as u64);
                        (bytes.saturating_add(indents).saturating_add(1), lines)
                    }
                    None => (line.text.len() as u64 + 1, 1),
                };
                bytes = bytes.saturating_add(more);
                lines = lines.saturating_add(of);
            }
        }
        sizes[id] = (bytes, lines);
        if bytes > LARGEST {
            // Whatever refers to it is too large as well.
            diagnostics.push(too_large(id));
            return;
        }
    }
    let all = model.files().map(|(id, _)| sizes[id].0).fold(0, u64::saturating_add);
    if let Some((id, _)) = model
        .files()
        .max_by_key(|(id, _)| sizes[*id].0)
        .filter(|_| all > LARGEST)
    {
        diagnostics.push(too_large(id).help("all files together are too much"));
    }
}

fn circular(model: &Model, start: FragmentId, circle: &[&(Place, FragmentId)]) -> Diagnostic {
    let name = model.fragments[start].title();
    let mut steps = circle.iter();
    let first = steps.next().expect("a circle has at least one step");
    let closes = |id: FragmentId| {
        if id == start && circle.len() == 1 {
            "refers to itself".to_owned()
        } else if id == start {
            format!("refers to `{name}` again")
        } else {
            format!("refers to `{}`", model.fragments[id].title())
        }
    };
    let diagnostic = Diagnostic::new(
        Code::CyclicFragment,
        format!("the fragment `{name}` contains itself"),
        first.0.clone(),
        closes(first.1),
    );
    steps.fold(diagnostic, |diagnostic, step| {
        diagnostic.with(step.0.clone(), closes(step.1))
    })
}

/// Paths that lead elsewhere, and files that would have to be directories.
fn paths(model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    let mut files: BTreeMap<&str, FragmentId> = BTreeMap::new();
    for (id, path) in model.files() {
        if let Err(why) = acceptable(path) {
            diagnostics.push(
                Diagnostic::new(
                    Code::BadPath,
                    format!("`{path}` is no path inside the output directory"),
                    definition(model, id),
                    why,
                )
                .help("write the path relative to the output directory, with `/` between its parts"),
            );
        }
        files.insert(path, id);
    }
    for (path, &id) in &files {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        for (directory, &other) in above.filter_map(|above| files.get_key_value(above)) {
            diagnostics.push(
                Diagnostic::new(
                    Code::PathInPath,
                    format!("`{directory}` cannot be a file and a directory"),
                    definition(model, id),
                    "a directory here",
                )
                .with(definition(model, other), "a file here"),
            );
        }
    }
}

/// The one place that decides which paths may be written.
fn acceptable(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.starts_with('/') || path.contains(':') {
        return Err("it is absolute");
    }
    if path.contains(['\\', '\0']) {
        return Err("it holds a character that does not belong in a path");
    }
    for part in path.split('/') {
        match part {
            ".." => return Err("it leads out of the output directory"),
            "" | "." => return Err("it has an empty part"),
            _ => {}
        }
    }
    if path == crate::map::DIRECTORY || path.starts_with(concat!(".tangle", "/")) {
        return Err("this directory belongs to tangle itself");
    }
    Ok(())
}

fn references_of(piece: &Piece) -> impl Iterator<Item = (Place, &str)> {
    piece.fence.lines().filter_map(move |line| {
        let reference = line.reference()?;
        let place = Place {
            source: piece.source,
            range: reference.range,
        };
        Some((place, reference.name))
    })
}

/// Where the fragment `id` is defined.
fn definition(model: &Model, id: FragmentId) -> Place {
    model.pieces[model.fragments[id].pieces[0]].place()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<Code> {
        let book = Book::new([("a.md", text)]);
        let (model, first) = Model::read(&book);
        assert!(first.is_empty(), "{first:?}");
        check(&book, &model)
            .into_iter()
            .map(|diagnostic| diagnostic.code)
            .collect()
    }

    #[test]
    fn undefined_and_unused() {
        assert_eq!(codes("```c file=a\n<<b>>\n```\n"), [Code::UndefinedFragment]);
        assert_eq!(codes("```c #b\n```\n"), [Code::UnusedFragment]);
        assert_eq!(codes("```c file=a\n<<b>>\n```\n```c #b\n```\n"), []);
    }

    #[test]
    fn what_an_overridden_piece_uses_is_used() {
        assert_eq!(
            codes("```c file=a\n<<b>>\n```\n```c #b\n<<c>>\n```\n```c #c\n```\n```c #b :=\n1\n```\n"),
            []
        );
    }

    #[test]
    fn each_circle_is_reported_once() {
        assert_eq!(codes("```c #a file=a\n<<a>>\n```\n"), [Code::CyclicFragment]);
        let two = "```c file=f\n<<a>>\n```\n```c #a\n<<b>>\n```\n```c #b\n<<c>>\n<<a>>\n```\n```c #c\n<<b>>\n```\n";
        assert_eq!(codes(two), [Code::CyclicFragment, Code::CyclicFragment]);
    }

    #[test]
    fn what_doubles_forty_times_is_too_large() {
        use std::fmt::Write;
        for end in ["end\n", ""] {
            let mut text = String::from("```c file=f\n<<0>>\n```\n");
            for depth in 0..40 {
                write!(text, "```c #{depth}\n<<{0}>>\n<<{0}>>\n```\n", depth + 1).unwrap();
            }
            write!(text, "```c #40\n{end}```\n").unwrap();
            assert_eq!(codes(&text), [Code::TooLarge]);
        }
        // So are many files that each are not.
        let mut text = String::new();
        for file in 0..40 {
            write!(text, "```c file={file}\n<<0>>\n```\n").unwrap();
        }
        for depth in 0..20 {
            write!(text, "```c #{depth}\n<<{0}>>\n<<{0}>>\n```\n", depth + 1).unwrap();
        }
        text.push_str("```c #20\nend\n```\n");
        assert_eq!(codes(&text), [Code::TooLarge]);
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        use std::fmt::Write;
        let mut text = String::from("```c file=f\n<<0>>\n```\n");
        for depth in 0..20_000 {
            write!(text, "```c #{depth}\n<<{}>>\n```\n", depth + 1).unwrap();
        }
        text.push_str("```c #20000\nend\n```\n");
        assert_eq!(codes(&text), []);
    }

    #[test]
    fn a_reference_beside_code_is_noticed() {
        assert_eq!(
            codes("```c file=f\nx(<<a>>);\n<<a>>\ny << 1 >> 2;\n```\n```c #a\n```\n"),
            [Code::ReferenceNotAlone]
        );
    }

    #[test]
    fn paths_stay_inside() {
        for path in [
            "/etc/x",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            "c:\\x",
            "a\\b",
            ".tangle/map.json",
        ] {
            assert_eq!(codes(&format!("```c file={path}\n```\n")), [Code::BadPath], "{path}");
        }
        assert_eq!(codes("```c file=\"\"\n```\n"), [Code::BadPath]);
        for path in ["a", ".gitignore", "a/b.c/d", "a b"] {
            assert_eq!(codes(&format!("```c file=\"{path}\"\n```\n")), [], "{path}");
        }
        assert_eq!(codes("```c file=a\n```\n```c file=a/b\n```\n"), [Code::PathInPath]);
    }
}
