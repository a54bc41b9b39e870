//! Compares texts line by line.

use std::fmt::Write;
use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

/// Lines of an old text, and the lines of a new text that stand in their place. One of them may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Which lines of the old text, from 0.
    pub old: Range<usize>,
    /// Which lines of the new text, from 0.
    pub new: Range<usize>,
}

/// The lines of `text` without their ends. A last line without an end counts too, nothing behind the last end does not.
#[must_use]
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

/// What changed from `old` to `new`; where a change could stand in several places, the one that a person would choose.
#[must_use]
pub fn compare(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let mut input: InternedInput<&str> = InternedInput::default();
    input.update_before(old.iter().copied());
    input.update_after(new.iter().copied());
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    hunks(&diff)
}

/// What changed from `old` to `new`, where no choice among equal changes matters.
pub(crate) fn compare_words(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let mut input: InternedInput<&str> = InternedInput::default();
    input.update_before(old.iter().copied());
    input.update_after(new.iter().copied());
    hunks(&Diff::compute(Algorithm::Histogram, &input))
}

fn hunks(diff: &Diff) -> Vec<Hunk> {
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    diff.hunks()
        .map(|hunk| Hunk {
            old: range(hunk.before),
            new: range(hunk.after),
        })
        .collect()
}

/// The pairs of equal elements: their indices in the old and in the new text.
pub(crate) fn equal_pairs(hunks: &[Hunk], old: usize, new: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = Hunk {
        old: old..old,
        new: new..new,
    };
    let mut from = (0, 0);
    hunks.iter().cloned().chain(std::iter::once(end)).flat_map(move |hunk| {
        let pairs = (from.0..hunk.old.start).zip(from.1..hunk.new.start);
        from = (hunk.old.end, hunk.new.end);
        pairs
    })
}

/// How many equal lines a unified diff shows around a change.
const CONTEXT: usize = 3;

/// The change from `old` to `new` of the file `path` as a unified diff, which `patch` and `git apply` read; empty if there is none.
///
/// ```
/// let diff = tangle::diff::unified("a.c", "int a;\n", "long a;\n");
/// assert_eq!(diff, "--- a/a.c\n+++ b/a.c\n@@ -1,1 +1,1 @@\n-int a;\n+long a;\n");
/// ```
#[must_use]
pub fn unified(path: &str, old: &str, new: &str) -> String {
    let (before, after) = (lines(old), lines(new));
    let hunks = if old.ends_with('\n') == new.ends_with('\n') || old.is_empty() || new.is_empty() {
        compare(&before, &after)
    } else {
        // The last lines differ in their ends, which `lines` does not show.
        vec![Hunk {
            old: 0..before.len(),
            new: 0..after.len(),
        }]
    };
    let mut out = String::new();
    if hunks.is_empty() {
        return out;
    }
    let side = |text: &str, name: String| if text.is_empty() { "/dev/null".to_owned() } else { name };
    write!(
        out,
        "--- {}\n+++ {}\n",
        side(old, format!("a/{path}")),
        side(new, format!("b/{path}"))
    )
    .expect("strings take everything");
    let mut rest = hunks.as_slice();
    while let Some(first) = rest.first() {
        let mut count = 1;
        while count < rest.len() && rest[count].old.start - rest[count - 1].old.end <= 2 * CONTEXT {
            count += 1;
        }
        let (group, behind) = rest.split_at(count);
        rest = behind;
        let last = &group[count - 1];
        let lead = first.old.start.min(CONTEXT);
        let trail = (before.len() - last.old.end).min(CONTEXT);
        let range = |start: usize, len: usize| format!("{},{len}", if len == 0 { start } else { start + 1 });
        writeln!(
            out,
            "@@ -{} +{} @@",
            range(first.old.start - lead, last.old.end + trail + lead - first.old.start),
            range(first.new.start - lead, last.new.end + trail + lead - first.new.start),
        )
        .expect("strings take everything");
        let mut put = |sign: char, text: &str, lines: &[&str], at: usize| {
            writeln!(out, "{sign}{}", lines[at]).expect("strings take everything");
            if at + 1 == lines.len() && !text.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        };
        let mut shown = first.old.start - lead;
        for hunk in group {
            (shown..hunk.old.start).for_each(|at| put(' ', old, &before, at));
            hunk.old.clone().for_each(|at| put('-', old, &before, at));
            hunk.new.clone().for_each(|at| put('+', new, &after, at));
            shown = hunk.old.end;
        }
        (shown..shown + trail).for_each(|at| put(' ', old, &before, at));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unified_diff_is_what_patch_reads() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n12\n13\n";
        assert_eq!(
            unified("x", old, new),
            "--- a/x\n+++ b/x\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13\n"
        );
        assert_eq!(unified("x", old, old), "");
        assert_eq!(
            unified("x", "a\n", "a"),
            "--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n-a\n+a\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("x", "", "a\n"), "--- /dev/null\n+++ b/x\n@@ -0,0 +1,1 @@\n+a\n");
    }

    #[test]
    fn a_new_function_is_added_whole() {
        let old = lines("fn a() {\n}\n\nfn c() {\n}\n");
        let new = lines("fn a() {\n}\n\nfn b() {\n}\n\nfn c() {\n}\n");
        assert_eq!(compare(&old, &new), [Hunk { old: 3..3, new: 3..6 }]);
    }

    #[test]
    fn equal_elements_are_paired() {
        let hunks = compare(&["a", "b", "c"], &["a", "x", "y", "c"]);
        assert_eq!(equal_pairs(&hunks, 3, 4).collect::<Vec<_>>(), [(0, 0), (2, 3)]);
    }
}
