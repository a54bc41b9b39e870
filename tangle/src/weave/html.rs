//! Small pieces of HTML.

/// Text that is safe between tags and in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// The link that leads from the page `from` to the page `to`; both are relative to the same directory.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let above: Vec<_> = from.split('/').collect();
    let parts: Vec<_> = to.split('/').collect();
    let above = &above[..above.len() - 1];
    let common = above
        .iter()
        .zip(&parts[..parts.len() - 1])
        .take_while(|(a, b)| a == b)
        .count();
    let mut url = "../".repeat(above.len() - common);
    url.push_str(&encode(&parts[common..].join("/")));
    url
}

/// A path as part of a link.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ' ' => out.push_str("%20"),
            '"' => out.push_str("%22"),
            '#' => out.push_str("%23"),
            '%' => out.push_str("%25"),
            '&' => out.push_str("%26"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '?' => out.push_str("%3F"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_up_and_down() {
        assert_eq!(relative("a.md", "b.md"), "b.md");
        assert_eq!(relative("x/a.md", "b.md"), "../b.md");
        assert_eq!(relative("x/y/a.md", "x/z/b c.md"), "../z/b%20c.md");
        assert_eq!(relative("a.md", "x/b.md"), "x/b.md");
        assert_eq!(relative("x/a.md", "x/b.md"), "b.md");
    }
}
