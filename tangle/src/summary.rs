//! The reading order: which chapters `SUMMARY.md` names.

use pulldown_cmark::{Event, Parser, Tag};

/// The chapters that a `SUMMARY.md` links to, in order and each once, relative to the directory it lies in.
/// Draft chapters (without a link target) and links to other sites are left out.
#[must_use]
pub fn chapters(summary: &str) -> Vec<String> {
    let mut chapters = Vec::new();
    for event in Parser::new_ext(summary, crate::parse::options()) {
        if let Event::Start(Tag::Link { dest_url, .. }) = event {
            let path = decode(&dest_url);
            let path = path.trim_start_matches("./");
            if !path.is_empty() && !path.contains("://") && !chapters.iter().any(|known| known == path) {
                chapters.push(path.to_owned());
            }
        }
    }
    chapters
}

/// Undoes `%20` and its like, as mdBook does.
fn decode(url: &str) -> String {
    let mut bytes = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(first));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_appearance() {
        let summary = "# Summary\n\n[Preface](README.md)\n\n- [One](one.md)\n  - [Two](./sub/two%20b.md)\n- [Draft]()\n\
                       - [Again](one.md)\n\n[Site](https://example.org/x.md)\n";
        assert_eq!(chapters(summary), ["README.md", "one.md", "sub/two b.md"]);
        assert_eq!(decode("100%"), "100%");
    }
}
