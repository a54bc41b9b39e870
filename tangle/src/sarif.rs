//! Mistakes as SARIF 2.1.0, which code hosts and editors show beside the lines.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Label};
use crate::source::Book;

/// A SARIF log with one run that found `diagnostics` in `book`.
#[must_use]
pub fn log(book: &Book, diagnostics: &[Diagnostic]) -> String {
    let mut rules: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code.name()).collect();
    rules.sort_unstable();
    rules.dedup();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            let mut text = diagnostic.message.clone();
            if let Some(help) = &diagnostic.help {
                text.push_str("\n\nhelp: ");
                text.push_str(help);
            }
            json!({
                "ruleId": diagnostic.code.name(),
                "level": diagnostic.code.level(),
                "message": {"text": text},
                "locations": [location(book, &diagnostic.primary)],
                "relatedLocations": diagnostic.secondary.iter().map(|label| location(book, label)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "tangle",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({"id": rule})).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn location(book: &Book, label: &Label) -> Value {
    let source = &book.sources[label.place.source];
    let (start, end) = (
        source.position(label.place.range.start),
        source.position(label.place.range.end),
    );
    json!({
        "physicalLocation": {
            "artifactLocation": {"uri": uri(source.path())},
            "region": {
                "startLine": start.line, "startColumn": start.column,
                "endLine": end.line, "endColumn": end.column,
            },
        },
        "message": {"text": label.text},
    })
}

/// A relative path as a URI.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("strings take everything");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_place() {
        let book = Book::new([("a b.md", "```c file=x\n<<é>>\n```\n")]);
        let diagnostics = crate::program(&book).unwrap_err();
        let log: Value = serde_json::from_str(&log(&book, &diagnostics)).unwrap();
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "undefined-fragment");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.md");
        assert_eq!(
            (&place["region"]["startLine"], &place["region"]["endColumn"]),
            (&2.into(), &6.into())
        );
    }
}
