//! Puts together two changes of one text.

use crate::diff::{self, Hunk};

/// A place that both sides changed, each in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    /// The first line of it in the text called `ours`, from 1.
    pub line: usize,
    pub base: String,
    pub ours: String,
    pub theirs: String,
}

/// A stretch of the base that one side or both replaced.
struct Region {
    base: (usize, usize),
    ours: (usize, usize),
    theirs: (usize, usize),
}

/// The text with the changes from `base` to `ours` and those from `base` to `theirs`.
pub(super) fn merge(base: &str, ours: &str, theirs: &str) -> Result<String, Vec<Clash>> {
    if base == ours {
        return Ok(theirs.to_owned());
    }
    if base == theirs || ours == theirs {
        return Ok(ours.to_owned());
    }
    let split = |text| -> Vec<&str> { str::split_inclusive(text, '\n').collect() };
    let (base, ours, theirs) = (split(base), split(ours), split(theirs));
    let (our_hunks, their_hunks) = (diff::compare(&base, &ours), diff::compare(&base, &theirs));
    let mut merged = String::new();
    let mut clashes = Vec::new();
    let mut done = 0;
    for region in regions(&our_hunks, &their_hunks) {
        merged.extend(base[done..region.base.0].iter().copied());
        done = region.base.1;
        let [base, our, their] = [
            base[region.base.0..region.base.1].concat(),
            ours[region.ours.0..region.ours.1].concat(),
            theirs[region.theirs.0..region.theirs.1].concat(),
        ];
        if our == their || their == base {
            merged.push_str(&our);
        } else if our == base {
            merged.push_str(&their);
        } else {
            clashes.push(Clash {
                line: region.ours.0 + 1,
                base,
                ours: our,
                theirs: their,
            });
        }
    }
    merged.extend(base[done..].iter().copied());
    if clashes.is_empty() { Ok(merged) } else { Err(clashes) }
}

/// Joins hunks that touch each other into regions.
fn regions(ours: &[Hunk], theirs: &[Hunk]) -> Vec<Region> {
    let mut regions = Vec::new();
    let (mut ours, mut theirs) = (ours, theirs);
    // How far the lines of each side are ahead of those of the base.
    let (mut our_shift, mut their_shift) = (0isize, 0isize);
    let start = |hunks: &[Hunk]| hunks.first().map_or(usize::MAX, |hunk| hunk.old.start);
    while !(ours.is_empty() && theirs.is_empty()) {
        let from = start(ours).min(start(theirs));
        let (first_our, first_their) = (our_shift, their_shift);
        let mut to = from;
        while start(ours) <= to || start(theirs) <= to {
            let (side, shift) = if start(ours) <= to {
                (&mut ours, &mut our_shift)
            } else {
                (&mut theirs, &mut their_shift)
            };
            let hunk = &side[0];
            to = to.max(hunk.old.end);
            *shift += hunk.new.len().cast_signed() - hunk.old.len().cast_signed();
            *side = &side[1..];
        }
        let side = |first, last| (from.saturating_add_signed(first), to.saturating_add_signed(last));
        regions.push(Region {
            base: (from, to),
            ours: side(first_our, our_shift),
            theirs: side(first_their, their_shift),
        });
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_apart_are_both_kept() {
        let merged = merge("1\n2\n3\n4\n5\n", "1\ntwo\nnew\n3\n4\n5\n", "0\n1\n2\n3\n4\n");
        assert_eq!(merged.unwrap(), "0\n1\ntwo\nnew\n3\n4\n");
    }

    #[test]
    fn the_same_change_is_made_once() {
        assert_eq!(merge("1\n2\n3\n", "1\nx\n3\n", "1\nx\n3\n4\n").unwrap(), "1\nx\n3\n4\n");
    }

    #[test]
    fn changes_of_one_line_clash() {
        let clashes = merge("1\n2\n3\n", "0\n1\nx\n3\n", "1\ny\n3\n").unwrap_err();
        assert_eq!(
            clashes,
            [Clash {
                line: 3,
                base: "2\n".to_owned(),
                ours: "x\n".to_owned(),
                theirs: "y\n".to_owned()
            }]
        );
    }
}
