//! Which hint somebody gets: the next one of the first task that is not done.

use crate::lab::{Hint, Lab, Task};
use crate::progress::Reached;

/// A hint, and where it stands in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The task that it is about.
    pub task: &'a Task,
    /// The hint.
    pub hint: &'a Hint,
    /// Its number, from 1.
    pub number: usize,
}

impl Shown<'_> {
    /// Whether there is no other after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number == self.task.hints.len()
    }
}

/// The first task with a test that has not passed.
#[must_use]
pub fn first_open<'a>(lab: &'a Lab, reached: &Reached) -> Option<&'a Task> {
    lab.tasks.iter().find(|task| {
        lab.rows
            .iter()
            .any(|row| row.task == Some(task.number) && !reached.passed.contains(&row.name))
    })
}

/// The task that somebody wants a hint for who does not say. That is the first open one; but tasks before it that no test is about
/// are done, or not, before that can be: their hints come first.
#[must_use]
pub fn wanted<'a>(lab: &'a Lab, reached: &Reached) -> Option<&'a Task> {
    let open = first_open(lab, reached)?;
    let is_tested = |task: &Task| lab.rows.iter().any(|row| row.task == Some(task.number));
    let shown = |task: &Task| reached.hints.get(&task.number).copied().unwrap_or_default();
    let at = lab.tasks.iter().position(|task| task.number == open.number)?;
    let before = lab.tasks[..at].iter().rev().take_while(|task| !is_tested(task));
    before
        .filter(|task| shown(task) < task.hints.len())
        .last()
        .or(Some(open))
}

/// The next hint of `task`, and remembers that it was shown. After the last one it is the last again.
pub fn next<'a>(task: &'a Task, reached: &mut Reached) -> Option<Shown<'a>> {
    let shown = reached.hints.entry(task.number).or_default();
    *shown = (*shown + 1).min(task.hints.len());
    let number = *shown;
    Some(Shown {
        task,
        hint: task.hints.get(number.checked_sub(1)?)?,
        number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::LAB;

    #[test]
    fn the_hints_of_a_task_that_no_test_is_about_come_before_those_of_the_next() {
        let task = |number| Task {
            number,
            hints: vec![Hint {
                title: String::new(),
                text: String::new(),
            }],
            ..Task::default()
        };
        let row = |name: &str, task| crate::lab::Row {
            name: name.to_owned(),
            task: Some(task),
            ..crate::lab::Row::default()
        };
        let lab = Lab {
            tasks: [1, 2, 3, 4].map(task).to_vec(),
            rows: vec![row("a", 1), row("b", 4)],
            ..Lab::default()
        };
        let mut reached = Reached::default();
        let number = |reached: &Reached| wanted(&lab, reached).map(|task| task.number);
        assert_eq!(number(&reached), Some(1));
        reached.passed.push("a".to_owned());
        assert_eq!(number(&reached), Some(2));
        reached.hints.insert(2, 1);
        assert_eq!(number(&reached), Some(3));
        reached.hints.insert(3, 1);
        assert_eq!(number(&reached), Some(4));
        reached.passed.push("b".to_owned());
        assert_eq!(number(&reached), None);
    }

    #[test]
    fn hints_come_one_by_one() {
        let lab = Lab::read("labs/01-number.md", LAB);
        let mut reached = Reached::default();
        let task = first_open(&lab, &reached).unwrap();
        let mut titles = Vec::new();
        for _ in 0..4 {
            let shown = next(task, &mut reached).unwrap();
            titles.push((shown.hint.title.clone(), shown.is_last()));
        }
        let expected = [
            ("where to look", false),
            ("the idea", false),
            ("nearly the code", true),
            ("nearly the code", true),
        ];
        assert_eq!(titles, expected.map(|(title, last)| (title.to_owned(), last)));
        reached.passed = vec!["answers".to_owned()];
        assert_eq!(first_open(&lab, &reached).map(|task| task.number), Some(1));
        reached.passed.push("refuses".to_owned());
        assert_eq!(first_open(&lab, &reached), None);
    }
}
