//! Rewrites what cargo and rustc print for programs: one JSON object on a line.

use serde_json::{Map, Value};

use super::locate::{Location, Locator};
use super::symbols::Objects;
use super::text::Rewriter;

/// Rewrites a line of JSON; `None` if it is something else, or speaks of no generated file.
#[must_use]
pub fn rewrite(line: &str, locator: &mut Locator, objects: &mut Objects) -> Option<String> {
    let text = line.trim();
    if !(text.starts_with('{') && text.ends_with('}')) {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    locator.refresh();
    walk(&mut value, locator, objects).then(|| value.to_string())
}

/// Rewrites everything in `value`; true if anything changed.
fn walk(value: &mut Value, locator: &mut Locator, objects: &mut Objects) -> bool {
    match value {
        Value::Array(values) => {
            let mut changed = false;
            for value in values {
                changed |= walk(value, locator, objects);
            }
            changed
        }
        Value::Object(fields) => {
            let mut changed = span(fields, locator);
            for (key, value) in fields {
                if let ("rendered" | "message", Value::String(text)) = (key.as_str(), &mut *value) {
                    let new = Rewriter::new(locator, objects).text(text);
                    changed |= new != *text;
                    *text = new;
                } else {
                    changed |= walk(value, locator, objects);
                }
            }
            changed
        }
        _ => false,
    }
}

/// Rewrites an object that is a span of rustc's diagnostics.
fn span(fields: &mut Map<String, Value>, locator: &mut Locator) -> bool {
    let number =
        |fields: &Map<String, Value>, key: &str| -> Option<usize> { usize::try_from(fields.get(key)?.as_u64()?).ok() };
    let Some(Value::String(path)) = fields.get("file_name") else {
        return false;
    };
    let Some(file) = locator.generated(path).map(str::to_owned) else {
        return false;
    };
    let at = |fields: &Map<String, Value>, locator: &Locator, line: &str, column: &str| {
        locator.locate(&file, number(fields, line)?, number(fields, column)?)
    };
    let Some(start) = at(fields, locator, "line_start", "column_start") else {
        return false;
    };
    let end = at(fields, locator, "line_end", "column_end").unwrap_or_else(|| start.clone());
    // A span that goes on in another chapter can only be shown up to its end there; keep it on one line then.
    let end = if end.chapter == start.chapter && end.line >= start.line {
        end
    } else {
        start.clone()
    };
    if let Some(bytes) = byte_range(locator, &start, &end) {
        fields.insert("byte_start".to_owned(), bytes.0.into());
        fields.insert("byte_end".to_owned(), bytes.1.into());
    }
    if let Some(Value::String(text)) = fields.get_mut("suggested_replacement")
        && start.shift > 0
    {
        // The lines behind the first one have the indentation of the generated file.
        let indent = "\n".to_owned() + &" ".repeat(start.shift.unsigned_abs());
        *text = text.replace(&indent, "\n");
    }
    let first = number(fields, "line_start").unwrap_or(1);
    if let Some(Value::Array(lines)) = fields.get_mut("text") {
        for (count, line) in lines.iter_mut().enumerate() {
            if let Value::Object(line) = line {
                text_line(line, &file, first + count, locator);
            }
        }
    }
    fields.insert("file_name".to_owned(), start.chapter.clone().into());
    fields.insert("line_start".to_owned(), start.line.into());
    fields.insert("column_start".to_owned(), start.column.into());
    fields.insert("line_end".to_owned(), end.line.into());
    fields.insert("column_end".to_owned(), end.column.into());
    true
}

/// One line of a span's text and the columns that are marked in it.
fn text_line(line: &mut Map<String, Value>, file: &str, number: usize, locator: &mut Locator) {
    for key in ["highlight_start", "highlight_end"] {
        let Some(column) = line
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|column| usize::try_from(column).ok())
        else {
            continue;
        };
        let Some(location) = locator.locate(file, number, column) else {
            continue;
        };
        if let Some((text, _)) = locator.chapter_line(&location) {
            line.insert("text".to_owned(), text.into());
        }
        line.insert(key.to_owned(), location.column.into());
    }
}

fn byte_range(locator: &mut Locator, start: &Location, end: &Location) -> Option<(usize, usize)> {
    let mut byte = |location: &Location| {
        let (text, offset) = locator.chapter_line(location)?;
        let column: usize = text.chars().take(location.column - 1).map(char::len_utf8).sum();
        Some(offset + column)
    };
    Some((byte(start)?, byte(end)?))
}
