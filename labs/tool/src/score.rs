//! From what came out of the VM, and what was read in the chapter, to points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boot::Outcome;
use crate::chapter::{Prose, WORDS_BEFORE_A_FRAGMENT, WORDS_OF_AN_ANSWER};
use crate::lab::{Lab, Row, THE_CHAPTER};

/// What a row of the table has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The test.
    pub name: String,
    /// What it has brought.
    pub points: u32,
    /// What it is worth.
    pub of: u32,
    /// The task that it is about.
    pub task: Option<u32>,
    /// Its story.
    pub shows: String,
    /// How it went.
    pub state: State,
    /// Why it did not bring everything, one reason each.
    pub why: Vec<String>,
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has brought everything.
    Passed,
    /// It has brought a part.
    Partly,
    /// It failed.
    Failed,
    /// It counts only when others have passed.
    Waiting,
}

impl Mark {
    /// What was expected and what was found, if the test says both.
    #[must_use]
    pub fn sides(&self) -> Option<(&str, &str, &str)> {
        sides(self.why.first()?)
    }
}

/// `WHAT: expected X, got Y` in its three parts.
#[must_use]
pub fn sides(message: &str) -> Option<(&str, &str, &str)> {
    let (what, rest) = message.split_once(": expected ")?;
    let (expected, got) = rest.split_once(", got ")?;
    Some((what, expected, got))
}

/// All marks of a lab, in the order of its table. Without `prose` the chapter was not read, since it makes no system.
#[must_use]
pub fn score(lab: &Lab, outcomes: &BTreeMap<String, Outcome>, prose: Option<&Prose>) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for row in &lab.rows {
        let missed = row.after.iter().find(|name| {
            !marks
                .iter()
                .any(|mark| mark.name == **name && mark.state == State::Passed)
        });
        let mark = if let Some(missed) = missed {
            let why = format!("it counts only when `{missed}` has passed");
            mark(row, 0, State::Waiting, vec![why])
        } else if row.name == THE_CHAPTER {
            the_chapter(row, prose)
        } else {
            match outcomes.get(&row.name) {
                Some(Outcome::Passed) => mark(row, row.points, State::Passed, Vec::new()),
                Some(Outcome::Failed(why) | Outcome::NotRun(why)) => mark(row, 0, State::Failed, vec![why.clone()]),
                Some(Outcome::After(name)) => {
                    let why = format!("it counts only when `{name}` has passed");
                    mark(row, 0, State::Waiting, vec![why])
                }
                None => mark(row, 0, State::Failed, vec!["it was not run".to_owned()]),
            }
        };
        marks.push(mark);
    }
    marks
}

fn mark(row: &Row, points: u32, state: State, why: Vec<String>) -> Mark {
    Mark {
        name: row.name.clone(),
        points,
        of: row.points,
        task: row.task,
        shows: row.shows.clone(),
        state,
        why,
    }
}

/// How the points of a chapter are divided among its three demands: explained, answered, easy to read. What has no share
/// of its own is demanded by the one before it.
#[must_use]
pub fn shares(points: u32) -> [u32; 3] {
    let third = points / 3;
    let rest = points % 3;
    [third + u32::from(rest > 0), third + u32::from(rest > 1), third]
}

fn the_chapter(row: &Row, prose: Option<&Prose>) -> Mark {
    let Some(prose) = prose else {
        return mark(row, 0, State::Failed, vec!["it was not read".to_owned()]);
    };
    let shares = shares(row.points);
    let complaints = [unexplained(prose), unanswered(prose), advised(prose)];
    let mut points = row.points;
    let mut why = Vec::new();
    for (at, complaints) in complaints.into_iter().enumerate() {
        if complaints.is_empty() {
            continue;
        }
        // The nearest share that is one.
        let at = (0..=at).rev().find(|&at| shares[at] > 0).unwrap_or_default();
        why.extend(complaints);
        points -= shares[at].min(points);
    }
    let state = match points {
        _ if why.is_empty() => State::Passed,
        0 => State::Failed,
        _ => State::Partly,
    };
    mark(row, points, state, why)
}

fn unexplained(prose: &Prose) -> Vec<String> {
    if prose.fragments == 0 {
        return vec!["there is no fragment in it that is not in the starter".to_owned()];
    }
    let tell = |one: &crate::chapter::Unexplained| {
        format!(
            "line {}: the text before {} says why it is there: expected {WORDS_BEFORE_A_FRAGMENT} words of your own, got {}",
            one.line, one.title, one.words
        )
    };
    prose.unexplained.iter().map(tell).collect()
}

fn unanswered(prose: &Prose) -> Vec<String> {
    let tell = |(number, words): &(usize, usize)| {
        format!(
            "the answer to question {number}: expected {WORDS_OF_AN_ANSWER} words that are not all the same, got {words}"
        )
    };
    prose.unanswered.iter().map(tell).collect()
}

fn advised(prose: &Prose) -> Vec<String> {
    prose
        .advice
        .iter()
        .map(|advice| format!("tangle check --strict:\n{advice}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chapter::Unexplained;
    use crate::lab::THE_BOOK;
    use crate::lab::tests::LAB;

    fn outcomes(list: &[(&str, Outcome)]) -> BTreeMap<String, Outcome> {
        list.iter()
            .map(|(name, outcome)| ((*name).to_owned(), outcome.clone()))
            .collect()
    }

    fn good() -> Prose {
        Prose {
            fragments: 1,
            ..Prose::default()
        }
    }

    fn points(outcomes: &BTreeMap<String, Outcome>, prose: Option<&Prose>) -> Vec<u32> {
        let lab = Lab::read("labs/01-a.md", LAB);
        score(&lab, outcomes, prose).iter().map(|mark| mark.points).collect()
    }

    #[test]
    fn who_has_everything_gets_everything() {
        let all = outcomes(&[
            ("answers", Outcome::Passed),
            ("refuses", Outcome::Passed),
            (THE_BOOK, Outcome::Passed),
        ]);
        assert_eq!(points(&all, Some(&good())), [3, 2, 2, 3]);
        assert_eq!(points(&all, None), [3, 2, 2, 0]);
    }

    #[test]
    fn what_others_are_needed_for_counts_only_with_them() {
        let some = outcomes(&[
            ("answers", Outcome::Failed("x: expected 1, got 2".to_owned())),
            ("refuses", Outcome::Passed),
            (THE_BOOK, Outcome::Passed),
        ]);
        assert_eq!(points(&some, Some(&good())), [0, 0, 0, 0]);
        let some = outcomes(&[("answers", Outcome::Passed), (THE_BOOK, Outcome::Passed)]);
        assert_eq!(points(&some, Some(&good())), [3, 0, 2, 0]);
    }

    #[test]
    fn the_chapter_has_three_demands() {
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(shares),
            [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2]]
        );
        let row = |points| Row {
            points,
            ..Row::default()
        };
        let unexplained = Prose {
            unexplained: vec![Unexplained {
                line: 7,
                title: "#a".to_owned(),
                words: 0,
            }],
            ..good()
        };
        let unanswered = Prose {
            unanswered: vec![(1, 0), (2, 0)],
            ..good()
        };
        let advised = Prose {
            advice: vec!["no".to_owned()],
            ..good()
        };
        let got = |points, prose: &Prose| the_chapter(&row(points), Some(prose)).points;
        assert_eq!([1, 2, 3, 4].map(|points| got(points, &good())), [1, 2, 3, 4]);
        assert_eq!([1, 2, 3, 4].map(|points| got(points, &unexplained)), [0, 1, 2, 2]);
        assert_eq!([1, 2, 3, 4].map(|points| got(points, &unanswered)), [0, 1, 2, 3]);
        assert_eq!([1, 2, 3, 4].map(|points| got(points, &advised)), [0, 1, 2, 3]);
        assert_eq!(the_chapter(&row(3), Some(&unanswered)).state, State::Partly);
        assert_eq!(got(3, &Prose::default()), 2);
    }

    #[test]
    fn what_was_expected_and_what_was_found_stand_side_by_side() {
        assert_eq!(sides("the sum: expected 3, got 4"), Some(("the sum", "3", "4")));
        assert_eq!(sides("panicked"), None);
    }
}
