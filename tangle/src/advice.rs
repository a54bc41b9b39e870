//! What makes a book hard to read although it is a program.
//!
//! A fragment is a unit: somebody who reads it with the sentence before it should understand it. So its brackets balance, it is
//! more than another fragment's name, and something is said before it. What is folded ([`Header::folded`]) is plumbing, of which
//! nothing need be said.
//!
//! [`Header::folded`]: crate::header::Header::folded

use crate::diagnostic::{Code, Diagnostic};
use crate::header::Operation;
use crate::identifiers::brackets;
use crate::model::{Model, Piece};
use crate::parse::takes_part;
use crate::source::{Book, Place};

/// Everything that could be said better, in reading order.
///
/// ```
/// use tangle::source::Book;
///
/// let book = Book::new([("one.md", "~~~rust file=a.rs\nfn main() {\n<<do it>>\n~~~\n\nSo:\n\n~~~rust #do it\n}\n~~~\n")]);
/// let program = tangle::program(&book).unwrap();
/// assert_eq!(tangle::advice::advice(&book, &program.model).len(), 2);
/// ```
#[must_use]
pub fn advice(book: &Book, model: &Model) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut before: Option<&Piece> = None;
    for piece in &model.pieces {
        found.extend(unbalanced(piece));
        found.extend(only_a_name(piece));
        found.extend(fence_in_fence(model, piece));
        // Where nobody can write `fold`, plumbing looks like all else.
        if !book.dialect.is_lenient() {
            found.extend(before.and_then(|before| nothing_said(book, before, piece)));
        }
        before = Some(piece);
    }
    found.extend(said_in_vain(model));
    found.sort_by_key(|diagnostic| (diagnostic.primary.place.source, diagnostic.primary.place.range.start));
    found
}

/// A line that would open another fence of the program: the end of this one may be missing, and that of the next one closes it.
fn fence_in_fence(model: &Model, piece: &Piece) -> Option<Diagnostic> {
    let line = piece
        .fence
        .lines()
        .find(|line| line.text.starts_with("```") && takes_part(model.dialect, line.text))?;
    let place = Place {
        source: piece.source,
        range: line.place(0)..line.place(line.text.len()),
    };
    let diagnostic = Diagnostic::new(
        Code::FenceInFence,
        "this line looks as if it opened a fence, and is code of another one",
        place,
        "code",
    );
    Some(
        diagnostic
            .with(piece.place(), "this fence is still open there")
            .help("close the first one before; whoever wants such a line in a file writes `~~~` around it"),
    )
}

/// What the same chapter replaces further down: whoever wrote `+=` and then `:=` has lost the first.
fn said_in_vain(model: &Model) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for fragment in &model.fragments {
        for (at, &id) in fragment.pieces[..fragment.replaced].iter().enumerate() {
            let piece = &model.pieces[id];
            let by = fragment.pieces[at + 1..]
                .iter()
                .map(|&later| &model.pieces[later])
                .find(|later| later.fence.header.operation == Operation::Override);
            let Some(by) =
                by.filter(|by| by.source == piece.source && piece.fence.header.joins == by.fence.header.joins)
            else {
                continue;
            };
            let diagnostic = Diagnostic::new(
                Code::SaidInVain,
                format!("this part of `{}` is in no file", fragment.title()),
                piece.place(),
                "replaced in the same chapter",
            );
            found.push(diagnostic.with(by.place(), "by this").help(
                "`:=` takes the place of all that comes before it: put both into one, or let `+=` come behind it",
            ));
        }
    }
    found
}

/// The first bracket without its partner.
fn unbalanced(piece: &Piece) -> Option<Diagnostic> {
    // References are lines of their own, and no code.
    let code: String = piece
        .fence
        .lines()
        .flat_map(|line| [if line.reference().is_some() { "" } else { line.text }, "\n"])
        .collect();
    let mut open = Vec::new();
    let mut alone = None;
    for (at, bracket) in brackets(&code, &piece.fence.header.language)? {
        let partner = match bracket {
            ')' => '(',
            ']' => '[',
            '}' => '{',
            _ => {
                open.push((at, bracket));
                continue;
            }
        };
        if open.pop().is_none_or(|(_, opened)| opened != partner) {
            alone = Some((at, bracket, "opened"));
            break;
        }
    }
    let (at, bracket, what) = alone.or_else(|| open.first().map(|&(at, bracket)| (at, bracket, "closed")))?;
    let before = &code[..at];
    let line = piece.fence.lines().nth(before.matches('\n').count())?;
    let column = at - before.rfind('\n').map_or(0, |end| end + 1);
    let place = Place {
        source: piece.source,
        range: line.place(column)..line.place(column + 1),
    };
    let diagnostic = Diagnostic::new(
        Code::UnbalancedFragment,
        format!("`{bracket}` is not {what} in this fragment"),
        place,
        format!("{what} elsewhere"),
    );
    Some(diagnostic.help("let the fragment that opens a bracket close it, with a reference between"))
}

fn only_a_name(piece: &Piece) -> Option<Diagnostic> {
    let mut lines = piece.fence.lines().filter(|line| !line.text.trim().is_empty());
    let (only, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let reference = only.reference()?;
    let place = Place {
        source: piece.source,
        range: reference.range,
    };
    let diagnostic = Diagnostic::new(
        Code::OnlyAName,
        "this fragment is only another name",
        place,
        "and nothing else",
    );
    Some(diagnostic.help("tell the other one in its place"))
}

fn nothing_said(book: &Book, before: &Piece, piece: &Piece) -> Option<Diagnostic> {
    if before.source != piece.source || before.fence.header.folded || piece.fence.header.folded {
        return None;
    }
    let between = before.fence.range.end..piece.fence.range.start;
    // What a list or a quotation puts there says nothing.
    if book.sources[piece.source]
        .text()
        .get(between)?
        .contains(char::is_alphabetic)
    {
        return None;
    }
    let diagnostic = Diagnostic::new(
        Code::NothingSaid,
        "nothing is said between two fragments",
        piece.place(),
        "why does this one come next?",
    );
    Some(diagnostic.help("say why it exists, put both into one, or write `fold` behind its language if it is plumbing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn codes(text: &str) -> Vec<Code> {
        let book = Book::new([("a.md", text)]);
        let program = crate::program(&book).unwrap();
        let found = advice(&book, &program.model);
        found.into_iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn brackets_balance_in_each_fragment() {
        for (code, balanced) in [
            ("fn a() { [1, 2] }", true),
            ("// {\nlet a = \"(\"; let b = '{';", true),
            ("if a {\n<<b>>\n}", true),
            ("if a {\n<<b>>", false),
            ("}", false),
            ("} else {", false),
            ("(]", false),
        ] {
            let text = format!("```rust file=a\n{code}\n```\n\nAnd\n\n```rust #b\nb\n```\n");
            let text = if code.contains("<<b>>") {
                text
            } else {
                text.split("And").next().unwrap().to_owned()
            };
            let expected: &[Code] = if balanced { &[] } else { &[Code::UnbalancedFragment] };
            assert_eq!(codes(&text), expected, "{code}");
        }
        // Nobody knows what a bracket is there.
        assert_eq!(codes("```sh file=a\ncase x in y) ;; esac\n```\n"), []);
    }

    #[test]
    fn the_bracket_is_shown() {
        let book = Book::new([("a.md", "- list\n\n  ```rust file=a\n  fn a() {\n  ```\n")]);
        let program = crate::program(&book).unwrap();
        let found = advice(&book, &program.model);
        assert_eq!(&book.sources[0].text()[found[0].primary.place.range.clone()], "{");
    }

    #[test]
    fn a_fence_that_the_next_one_closes_is_noticed() {
        let open = "```c file=a\nx\n\ntext\n\n```c #b\ny\n```\n";
        assert_eq!(codes(open), [Code::FenceInFence]);
        let shown = "~~~c file=a\nx\n~~~\n\n```c\n```c #b\n```\n\n~~~c file=b\n``` x\n~~~\n";
        assert_eq!(codes(shown), []);
    }

    #[test]
    fn an_addition_that_the_same_chapter_replaces_is_noticed() {
        let first = "```c file=a\nx\n<<b>>\n```\n\nAnd\n\n```c #b\nb\n```\n";
        let lost = "It grows.\n\n```c #b +=\nc\n```\n\nIt is another.\n\n```c #b :=\nd\n```\n\nIt grows.\n\n```c #b +=\ne\n```\n";
        let book = Book::new([("a.md", first), ("b.md", lost)]);
        let program = crate::program(&book).unwrap();
        let found = advice(&book, &program.model);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, Code::SaidInVain);
        assert_eq!(&lost[found[0].primary.place.range.clone()], "c #b +=");
    }

    #[test]
    fn another_name_is_no_fragment() {
        assert_eq!(
            codes("```rust file=a\n\n<<b>>\n```\n\nAnd\n\n```rust #b\nb\n```\n"),
            [Code::OnlyAName]
        );
    }

    #[test]
    fn a_book_for_the_other_tool_cannot_fold() {
        let text = "```rust file=a.rs\n<<b>>\nb\n```\n\n```rust #b\n{\n```\n";
        let mut book = Book::new([("a.md", text)]);
        book.dialect = Dialect::Entangled {
            split: false,
            namespaces: false,
        };
        let program = crate::program(&book).unwrap();
        let found = advice(&book, &program.model);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, Code::UnbalancedFragment);
    }

    #[test]
    fn something_is_said_between_fragments() {
        let text = |between: &str, fold: &str| {
            format!("```rust file=a\na\n<<b>>\n```\n\n{between}\n\n```rust {fold}#b\nb\n```\n")
        };
        assert_eq!(codes(&text("", "")), [Code::NothingSaid]);
        for nothing in ["***", "> 1.", "- \n\n2)"] {
            assert_eq!(codes(&text(nothing, "")), [Code::NothingSaid], "{nothing}");
        }
        let listed = "- ```rust file=a\n  a\n  <<b>>\n  ```\n- ```rust #b\n  b\n  ```\n";
        assert_eq!(codes(listed), [Code::NothingSaid]);
        assert_eq!(codes(&text("Something.", "")), []);
        assert_eq!(codes(&text("", "fold ")), []);
    }
}
