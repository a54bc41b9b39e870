//! Writes new text into fences and leaves every other byte of the chapter as it is.

use std::collections::BTreeMap;
use std::ops::Range;

use super::settle::BodyLine;
use crate::model::{Model, PieceId};
use crate::parse::Fence;
use crate::source::{Book, Source};

/// The chapters with `bodies` in their fences; those that stay as they are are left out.
pub(super) fn chapters(
    book: &Book,
    model: &Model,
    bodies: &BTreeMap<PieceId, Vec<BodyLine>>,
) -> BTreeMap<usize, String> {
    let mut edits: BTreeMap<usize, Vec<(Range<usize>, String)>> = BTreeMap::new();
    for (&id, body) in bodies {
        let piece = &model.pieces[id];
        let source = &book.sources[piece.source];
        edits
            .entry(piece.source)
            .or_default()
            .extend(fence_edits(source, model, id, body));
    }
    edits
        .into_iter()
        .filter_map(|(index, mut edits)| {
            let old = book.sources[index].text();
            edits.sort_by_key(|(range, _)| (range.start, range.end));
            let mut new = String::with_capacity(old.len());
            let mut done = 0;
            for (range, text) in edits {
                new.push_str(&old[done..range.start]);
                new.push_str(&text);
                done = range.end;
            }
            new.push_str(&old[done..]);
            (new != old).then_some((index, new))
        })
        .collect()
}

fn fence_edits(source: &Source, model: &Model, id: PieceId, body: &[BodyLine]) -> Vec<(Range<usize>, String)> {
    let text = source.text();
    let fence = &model.pieces[id].fence;
    let start = text[fence.info.end..]
        .find('\n')
        .map_or(text.len(), |at| fence.info.end + at + 1);
    let end = source.line_start(fence.range.end - 1).max(start);
    let line_end = if text[..start].ends_with("\r\n") { "\r\n" } else { "\n" };
    let prefix = prefix(source, fence);
    let mut new = String::new();
    let mut longest = 0;
    for line in body {
        let written = match line {
            BodyLine::Text { text: code, old } => match old.map(|old| fence.line(old)) {
                Some(line) if line.text == *code => {
                    new.push_str(raw_line(source, line.offset));
                    longest = longest.max(closing_run(fence, source, code));
                    continue;
                }
                _ => (*code).to_owned(),
            },
            BodyLine::Reference { written, indent } => {
                let home = &model.pieces[written.0].fence;
                let line = home.line(written.1);
                if written.0 == id && line.reference().is_some_and(|old| old.indent == indent.as_str()) {
                    new.push_str(raw_line(source, line.offset));
                    continue;
                }
                format!("{indent}{}", line.text.trim())
            }
        };
        longest = longest.max(closing_run(fence, source, &written));
        if written.is_empty() {
            new.push_str(prefix.trim_end());
        } else {
            new.push_str(&prefix);
            new.push_str(&written);
        }
        new.push_str(line_end);
    }
    let mut edits = Vec::new();
    if new != text[start..end] {
        edits.push((start..end, new));
    }
    let mark = mark(fence, source);
    let opening = run_length(&text[fence.range.start..], mark);
    if longest >= opening {
        // Some line would close the fence: make it longer.
        let closing = text[..fence.range.end].chars().rev().take_while(|&c| c == mark).count();
        let longer = mark.to_string().repeat(longest + 1);
        edits.push((fence.range.start..fence.range.start + opening, longer.clone()));
        edits.push((fence.range.end - closing..fence.range.end, longer));
    }
    edits
}

/// What the list or the quotation around a fence puts before its lines.
fn prefix(source: &Source, fence: &Fence) -> String {
    let text = source.text();
    let opening = &text[source.line_start(fence.range.start)..fence.range.start];
    if opening.chars().any(|c| !matches!(c, ' ' | '\t' | '>')) {
        // The fence stands behind the mark of a list, which stands there only once.
        let line = fence.lines().find(|line| !line.text.trim().is_empty());
        if let Some(line) = line {
            return text[source.line_start(line.offset)..line.offset].to_owned();
        }
    }
    let keep = |c| if matches!(c, '\t' | '>') { c } else { ' ' };
    opening.chars().map(keep).collect()
}

/// The line around `offset` with its end.
fn raw_line(source: &Source, offset: usize) -> &str {
    let text = source.text();
    let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at + 1);
    &text[source.line_start(offset)..end]
}

fn mark(fence: &Fence, source: &Source) -> char {
    source.text()[fence.range.start..].chars().next().unwrap_or('`')
}

/// The length of the run of marks by which `code` would close `fence` if it is long enough; 0 if it cannot.
fn closing_run(fence: &Fence, source: &Source, code: &str) -> usize {
    let mark = mark(fence, source);
    let code = code.trim();
    let run = run_length(code, mark);
    if run == code.len() { run } else { 0 }
}

fn run_length(text: &str, mark: char) -> usize {
    text.chars().take_while(|&c| c == mark).count()
}
