//! `lab diff`.

use std::collections::BTreeSet;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use lab::report::{BAD, BOLD, GOOD, styled};
use lab::system::{self, Files};
use lab::trouble::Result;

use crate::{Context, Status, Which};

/// `lab diff`: what a chapter changes in the files of the system.
pub fn run(context: &Context, which: &Which) -> Result<Status> {
    let lab = context.lab(which)?;
    let submission = context.submission(lab)?;
    let book = system::files(&system::extend(&context.course, &[])?.program);
    let with = system::extend(&context.course, &[(submission.path, submission.text)])?;
    let changes = text(&book, &system::files(&with.program));
    if changes.is_empty() {
        println!("Your chapter changes nothing in the system.");
    }
    anstream::print!("{changes}");
    Ok(Status::Fine)
}

fn text(book: &Files, with: &Files) -> String {
    let mut out = String::new();
    let paths: BTreeSet<&String> = book.keys().chain(with.keys()).collect();
    for path in paths {
        let of = |files: &Files| files.get(path).cloned().unwrap_or_default();
        for line in tangle::diff::unified(path, &of(book), &of(with)).lines() {
            let style = match line.as_bytes() {
                [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => BOLD,
                [b'+', ..] => GOOD,
                [b'-', ..] => BAD,
                [b'@', ..] => AnsiColor::Cyan.on_default(),
                _ => Style::new(),
            };
            let _ = writeln!(out, "{}", styled(style, line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_shown() {
        let files = |text: &str| Files::from([("a".to_owned(), "1\n".to_owned()), ("b".to_owned(), text.to_owned())]);
        let shown = lab::report::plain(&text(&files("x\n"), &files("y\n")));
        assert_eq!(shown, "--- a/b\n+++ b/b\n@@ -1,1 +1,1 @@\n-x\n+y\n");
        assert_eq!(text(&files("x\n"), &files("x\n")), "");
    }
}
