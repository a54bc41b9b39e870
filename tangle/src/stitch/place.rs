//! Decides which piece each line of an edited file belongs to.
//!
//! Lines that did not change stay where they were. Inside a change, a new line goes to the place of the old line that it
//! resembles: first one that differs in white space only, then the one that shares most of its words. That splits a change
//! at the borders of the fragments that it crosses. What resembles nothing takes the place of what went away beside it, or
//! else continues the line before it, if its indentation allows; failing that it goes to whichever piece around it fits.

use std::collections::HashSet;
use std::ops::Range;

use super::outline::{InstanceId, Outline, Step};
use super::settle;
use crate::diff::{self, Hunk};
use crate::model::FragmentId;

/// A line of the edited file and where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    pub text: &'a str,
    /// A step of the [`Outline`].
    pub step: usize,
    /// In the place of the line that this step writes, not behind it.
    pub instead: bool,
    /// The line did not change at all.
    pub same: bool,
}

/// Places every line of `new`, a later state of `old`, which `outline` describes. Fragments in `avoid` get no lines at
/// their borders if that can be helped.
pub(super) fn place<'a>(
    outline: &Outline,
    old: &[&str],
    new: &[&'a str],
    avoid: &HashSet<FragmentId>,
) -> Vec<Placed<'a>> {
    let hunks = diff::compare(old, new);
    // For each new line the old line in whose place it goes.
    let mut targets: Vec<Option<(usize, bool)>> = vec![None; new.len()];
    for (from, to) in diff::equal_pairs(&hunks, old.len(), new.len()) {
        targets[to] = Some((from, true));
    }
    for hunk in &hunks {
        match_hunk(outline, old, new, hunk, &mut targets);
    }
    let at = |text: &'a str, target: usize, same| Placed {
        text,
        step: outline.lines[target],
        instead: true,
        same,
    };
    let certain: Vec<_> = new
        .iter()
        .zip(&targets)
        .filter_map(|(text, target)| target.map(|(target, same)| at(text, target, same)))
        .collect();
    let filler = Filler {
        outline,
        indents: settle::indents(outline, old, &certain),
        avoid,
    };
    let mut placed = Vec::with_capacity(new.len());
    let mut next = 0;
    while next < new.len() {
        if let Some((target, same)) = targets[next] {
            placed.push(at(new[next], target, same));
            next += 1;
            continue;
        }
        let end = (next..new.len()).find(|&at| targets[at].is_some()).unwrap_or(new.len());
        let before = placed.last().map(|placed: &Placed| placed.step);
        let after = targets
            .get(end)
            .copied()
            .flatten()
            .map(|(target, _)| outline.lines[target]);
        let (step, instead) = filler.find(&new[next..end], before, after);
        placed.extend(new[next..end].iter().map(|text| Placed {
            text,
            step,
            instead,
            same: false,
        }));
        next = end;
    }
    placed
}

/// Finds old lines for the new lines of one hunk.
fn match_hunk(outline: &Outline, old: &[&str], new: &[&str], hunk: &Hunk, targets: &mut [Option<(usize, bool)>]) {
    if hunk.old.is_empty() || hunk.new.is_empty() {
        return;
    }
    let steps = outline.lines[hunk.old.start]..=outline.lines[hunk.old.end - 1];
    if outline.steps[steps].iter().all(|step| matches!(step, Step::Line(..))) {
        // It crosses no border.
        for target in &mut targets[hunk.new.clone()] {
            *target = Some((hunk.old.start, false));
        }
        return;
    }
    let squeezed = |lines: &[&str]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line.split_whitespace().collect::<String>())
            .collect()
    };
    let (before, after) = (squeezed(&old[hunk.old.clone()]), squeezed(&new[hunk.new.clone()]));
    let inner = diff::compare_words(&strs(&before), &strs(&after));
    for (from, to) in diff::equal_pairs(&inner, before.len(), after.len()) {
        targets[hunk.new.start + to] = Some((hunk.old.start + from, false));
    }
    for Hunk { old: from, new: to } in inner {
        match_words(
            old,
            hunk.old.start + from.start..hunk.old.start + from.end,
            new,
            hunk.new.start + to.start..hunk.new.start + to.end,
            targets,
        );
    }
}

fn strs(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

/// Gives each new line the old line that it shares most characters with, words being compared whole.
fn match_words(
    old: &[&str],
    from: Range<usize>,
    new: &[&str],
    to: Range<usize>,
    targets: &mut [Option<(usize, bool)>],
) {
    fn words<'a>(lines: &[&'a str], range: Range<usize>) -> (Vec<&'a str>, Vec<usize>) {
        let mut words = Vec::new();
        let mut at = Vec::new();
        for line in range {
            for word in split_words(lines[line]) {
                words.push(word);
                at.push(line);
            }
        }
        (words, at)
    }
    if from.is_empty() || to.is_empty() {
        return;
    }
    let (before, before_lines) = words(old, from);
    let (after, after_lines) = words(new, to);
    let hunks = diff::compare_words(&before, &after);
    // Both lists of lines ascend, so all votes for one pair come one after the other.
    let mut votes: Vec<(usize, usize, usize)> = Vec::new();
    for (from, to) in diff::equal_pairs(&hunks, before.len(), after.len()) {
        let (from, to, weight) = (before_lines[from], after_lines[to], after[to].len());
        match votes.last_mut() {
            Some(last) if (last.0, last.1) == (to, from) => last.2 += weight,
            _ => votes.push((to, from, weight)),
        }
    }
    let mut best: Option<(usize, usize, usize)> = None;
    for vote in votes {
        match best {
            Some(known) if known.0 == vote.0 && known.2 >= vote.2 => {}
            _ => {
                best = Some(vote);
                targets[vote.0] = Some((vote.1, false));
            }
        }
    }
}

/// Words and single signs, without white space.
fn split_words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim_start();
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, behind) = rest.split_at(end);
        rest = behind.trim_start();
        Some(word)
    })
}

/// Places the lines that resemble no old line.
struct Filler<'a> {
    outline: &'a Outline,
    /// For each reference, the indentation that it will have as far as is known.
    indents: Vec<String>,
    avoid: &'a HashSet<FragmentId>,
}

impl Filler<'_> {
    /// The step for `lines`, which stand behind the line of the step `before` and in front of that of the step `after`.
    fn find(&self, lines: &[&str], before: Option<usize>, after: Option<usize>) -> (usize, bool) {
        let outline = self.outline;
        let first = before.unwrap_or(0);
        let end = after.unwrap_or(outline.steps.len());
        let fits = |instance: InstanceId| {
            let indent = self.indent(instance);
            lines
                .iter()
                .all(|line| line.trim().is_empty() || line.starts_with(indent))
        };
        // A line that went away here makes room.
        let gone = (first..end)
            .filter(|&step| Some(step) != before)
            .find(|&step| match outline.steps[step] {
                Step::Line(instance, _) => fits(instance) && !self.avoided(instance),
                _ => false,
            });
        if let Some(step) = gone {
            return (step, true);
        }
        let gaps: Vec<(usize, InstanceId)> = (first..end)
            .filter_map(|step| Some((step, outline.owner_behind(step)?)))
            .collect();
        let good = |&&(_, instance): &&(usize, InstanceId)| fits(instance) && !self.avoided(instance);
        let continued = gaps.first().filter(|_| before.is_some()).filter(good);
        let led = gaps.last().filter(|_| after.is_some()).filter(good);
        let deepest = || {
            gaps.iter().filter(good).reduce(|best, gap| {
                if self.depth(gap.1) > self.depth(best.1) {
                    gap
                } else {
                    best
                }
            })
        };
        let shallowest = || {
            let free = gaps.iter().filter(|(_, instance)| !self.avoided(*instance));
            free.reduce(|best, gap| {
                if self.depth(gap.1) < self.depth(best.1) {
                    gap
                } else {
                    best
                }
            })
        };
        let found = continued.or(led).or_else(deepest).or_else(shallowest).or(gaps.first());
        (found.map_or(first, |(step, _)| *step), false)
    }

    fn indent(&self, instance: InstanceId) -> &str {
        match self.outline.instances[instance].reference {
            Some(reference) => &self.indents[reference],
            None => "",
        }
    }

    fn depth(&self, instance: InstanceId) -> usize {
        self.indent(instance).len()
    }

    /// Whether `instance` or anything around it belongs to a fragment that is to be avoided.
    fn avoided(&self, mut instance: InstanceId) -> bool {
        if self.avoid.is_empty() {
            return false;
        }
        loop {
            let here = &self.outline.instances[instance];
            if self.avoid.contains(&here.fragment) {
                return true;
            }
            match here.reference {
                Some(reference) => instance = self.outline.references[reference].within,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_signs() {
        assert_eq!(
            split_words("  let x_1=\"é y\"; ").collect::<Vec<_>>(),
            ["let", "x_1", "=", "\"", "é", "y", "\"", ";"]
        );
    }
}
