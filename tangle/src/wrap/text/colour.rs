//! Escape sequences: what is on the screen, and where it is in the line.

/// Where the digits at or behind the visible position 0 of `line` lie, colours skipped.
pub fn digits_at(line: &str, skip: usize) -> (usize, usize) {
    let mut at = 0;
    let mut skipped = 0;
    loop {
        at += escape_length(&line[at..]);
        if skipped == skip {
            break;
        }
        at += line[at..].chars().next().map_or(0, char::len_utf8);
        skipped += 1;
    }
    let digits = line[at..].len() - line[at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
    (at, at + digits)
}

/// The length of the escape sequences at the beginning of `text`.
pub fn escape_length(text: &str) -> usize {
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix("\x1b[") {
        let parameters = rest.len() - rest.trim_start_matches(|c: char| ('\x20'..='\x3f').contains(&c)).len();
        length += 2 + parameters + usize::from(parameters < rest.len());
        if !text.is_char_boundary(length) {
            return 0;
        }
    }
    length
}

/// A line without escape sequences.
pub fn visible(line: &str) -> String {
    let mut seen = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        rest = &rest[escape_length(rest)..];
        let Some(first) = rest.chars().next() else { break };
        seen.push(first);
        rest = &rest[first.len_utf8()..];
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_not_seen() {
        assert_eq!(visible("\x1b[1m\x1b[94m12\x1b[0m \x1b[1m|\x1b[0m x"), "12 | x");
        assert_eq!(digits_at("\x1b[1m\x1b[94m12\x1b[0m |", 0), (9, 11));
        assert_eq!(visible("\x1b["), "");
    }
}
