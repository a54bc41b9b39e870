//! The pages behind the chapters.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::html::{escape, relative};
use super::{Extra, Page, Weaver, language, list};
use crate::identifiers::{self, Entry};
use crate::model::PieceId;
use crate::tangle::File;

/// Where the page of a generated file lies among the chapters.
pub(super) fn file_page(path: &str) -> String {
    format!("tangle/files/{path}.md")
}

const FILES: &str = "tangle/files.md";
const IDENTIFIERS: &str = "tangle/identifiers.md";

pub(super) fn pages(weaver: &Weaver<'_>) -> Vec<Extra> {
    let files = &weaver.program.tangled.files;
    vec![
        Extra {
            page: Page {
                path: IDENTIFIERS.to_owned(),
                title: "Index of identifiers".to_owned(),
            },
            content: index(weaver),
            children: Vec::new(),
        },
        Extra {
            page: Page {
                path: FILES.to_owned(),
                title: "The generated files".to_owned(),
            },
            content: overview(weaver),
            children: files
                .iter()
                .map(|(path, file)| Extra {
                    page: Page {
                        path: file_page(path),
                        title: path.clone(),
                    },
                    content: file_content(weaver, path, file),
                    children: Vec::new(),
                })
                .collect(),
        },
    ]
}

/// All files, each with the chapters that it comes from.
fn overview(weaver: &Weaver<'_>) -> String {
    let mut out = String::from(
        "# The generated files\n\nEvery line of these files stands in a chapter; the number before a line leads there.\n\n\
         <table class=\"tangle-files\">\n<thead><tr><th>File</th><th>Lines</th><th>Told in</th></tr></thead>\n<tbody>\n",
    );
    for (path, file) in &weaver.program.tangled.files {
        let _ = writeln!(
            out,
            "<tr><td><a href=\"{}\"><code>{}</code></a></td><td>{}</td><td>{}</td></tr>",
            relative(FILES, &file_page(path)),
            escape(path),
            file.lines,
            chapters(weaver, FILES, file)
        );
    }
    out.push_str("</tbody>\n</table>\n");
    out
}

/// Links to the chapters that a file comes from, in the order of its lines.
fn chapters(weaver: &Weaver<'_>, here: &str, file: &File) -> String {
    let mut seen = Vec::new();
    for span in &file.spans {
        if !seen.contains(&span.source) {
            seen.push(span.source);
        }
    }
    let links: Vec<_> = seen
        .into_iter()
        .map(|source| {
            let page = &weaver.pages[source];
            format!("<a href=\"{}\">{}</a>", relative(here, &page.path), escape(&page.title))
        })
        .collect();
    list(&links)
}

/// One file: a column of line numbers that lead to the chapters, and the code beside it.
fn file_content(weaver: &Weaver<'_>, path: &str, file: &File) -> String {
    let model = &weaver.program.model;
    let here = file_page(path);
    let mut out = format!("# `{path}`\n\n<p>Told in {}.</p>\n\n", chapters(weaver, &here, file));
    out.push_str("<div class=\"tangle-file\">\n<div class=\"tangle-gutter\">\n");
    // The pieces that lines can come from, by fragment and chapter, to find the one that holds a line.
    for span in &file.spans {
        let source = &weaver.book.sources[span.source];
        for offset in 0..span.count {
            let line = span.source_line + offset;
            let piece = piece_at(weaver, span.fragment, span.source, line);
            let url = piece.map_or_else(
                || relative(&here, &weaver.pages[span.source].path),
                |piece| weaver.url_from(&here, piece),
            );
            let number = span.line + offset;
            let _ = writeln!(
                out,
                "<a id=\"L{number}\" href=\"{url}\" title=\"{} in {}:{line}\">{number}</a>",
                escape(model.fragments[span.fragment].title()),
                escape(source.path()),
            );
        }
    }
    let language = model
        .file(path)
        .map(|id| {
            model.pieces[model.fragments[id].pieces[0]]
                .fence
                .header
                .language
                .as_str()
        })
        .map(language)
        .unwrap_or_default();
    let class = if language == "rust" {
        "rust,noplayground"
    } else {
        language
    };
    let fence = "`".repeat(longest_run(&file.text) + 1);
    let _ = write!(out, "</div>\n\n{fence}{class}\n");
    for line in file.text.lines() {
        let code = line.trim_start();
        if language == "rust" && (code == "#" || code.starts_with("# ") || code.starts_with("##")) {
            // Otherwise mdBook would hide it.
            out.push_str(&line[..line.len() - code.len()]);
            out.push('#');
            out.push_str(code);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    let _ = write!(out, "{fence}\n\n</div>\n");
    out
}

fn piece_at(weaver: &Weaver<'_>, fragment: usize, source: usize, line: usize) -> Option<PieceId> {
    let model = &weaver.program.model;
    model.fragments[fragment].pieces.iter().copied().find(|&id| {
        let piece = &model.pieces[id];
        let (first, last) = match (piece.fence.lines().next(), piece.fence.lines().next_back()) {
            (Some(first), Some(last)) => (first.number, last.number),
            _ => return false,
        };
        piece.source == source && (first..=last).contains(&line)
    })
}

/// The longest run of backticks, at least two.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0).max(2)
}

/// The index: what is defined where and used where, by first letter.
fn index(weaver: &Weaver<'_>) -> String {
    let entries = identifiers::index(&weaver.program.model);
    let mut out = String::from(
        "# Index of identifiers\n\nWhat the code names, where it is defined, and the fragments that use it.\n",
    );
    let mut letters: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in &entries {
        let first = entry.name.trim_start_matches('_').chars().next().unwrap_or('_');
        letters.entry(first.to_uppercase().to_string()).or_default().push(entry);
    }
    for (letter, entries) in letters {
        let _ = write!(out, "\n## {letter}\n\n<ul class=\"tangle-index\">\n");
        for entry in entries {
            let definitions: Vec<_> = entry
                .definitions
                .iter()
                .map(|definition| {
                    format!(
                        "<em>{}</em> {}",
                        definition.kind,
                        fragment_link(weaver, definition.piece)
                    )
                })
                .collect();
            let name = escape(&entry.name);
            let _ = write!(out, "<li id=\"id-{name}\"><code>{name}</code> {}", list(&definitions));
            if !entry.uses.is_empty() {
                let uses: Vec<_> = entry.uses.iter().map(|&piece| fragment_link(weaver, piece)).collect();
                let _ = write!(out, "; used in {}", list(&uses));
            }
            out.push_str("</li>\n");
        }
        out.push_str("</ul>\n");
    }
    out
}

fn fragment_link(weaver: &Weaver<'_>, id: PieceId) -> String {
    let model = &weaver.program.model;
    let piece = &model.pieces[id];
    format!(
        "<a href=\"{}\" title=\"{}\">{}</a>",
        weaver.url_from(IDENTIFIERS, id),
        escape(&format!(
            "{} \u{a7}{}",
            weaver.pages[piece.source].title, weaver.numbers[id]
        )),
        escape(model.fragments[piece.fragment].title())
    )
}
