//! What stands in a lab, in the words of this tool.

use tangle::lab as form;
use tangle::source::Source;

pub use tangle::lab::{Hint, Question, View};

/// A lab, as its file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lab {
    /// Its number: `1`.
    pub number: u32,
    /// Its file's name without the ending: `01-hypercall`.
    pub name: String,
    /// Its file, relative to the root of the book: `labs/01-hypercall.md`.
    pub path: String,
    /// All that stands in it.
    pub text: String,
    /// Its title, without `Lab 1:`.
    pub title: String,
    /// How long it takes: `an hour`.
    pub time: String,
    /// Filters that choose the book's own cases which must still pass.
    pub cases: Vec<String>,
    /// What `make lab-run` types in the Host.
    pub run: String,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// The questions.
    pub questions: Vec<Question>,
    /// The table of the tests, in its order.
    pub rows: Vec<Row>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// Its number, from 1.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// Its hints, from vague to nearly the code.
    pub hints: Vec<Hint>,
    /// The line of its heading.
    pub line: usize,
}

/// A row of the table: a test and what it is worth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The test's name.
    pub name: String,
    /// What it is worth.
    pub points: u32,
    /// The task that it tests.
    pub task: Option<u32>,
    /// The tests that must have passed for this one to count.
    pub after: Vec<String>,
    /// What it shows.
    pub shows: String,
    /// The line of the row.
    pub line: usize,
}

/// The row for the book's own cases.
pub const THE_BOOK: &str = "the book";
/// The row for the chapter itself.
pub const THE_CHAPTER: &str = "the chapter";
/// What `make lab-run` types where a lab says nothing else.
const RUN: &str = "lguest run /guests/guest";

impl Row {
    /// Whether it is a test of the lab's own, which runs in the VM.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.name != THE_BOOK && self.name != THE_CHAPTER
    }
}

/// What is wrong with a lab, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Lab {
    /// Reads the lab in the file `path`, whose name begins with its number.
    #[must_use]
    pub fn read(path: &str, text: &str) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path);
        let (lab, faults) = form::read(path, text);
        let source = Source::new(path, text);
        let rows = lab.tests.iter().map(|test| Row {
            name: test.name.clone(),
            points: test.points,
            task: test.task.map(number),
            after: test.after.clone(),
            shows: test.shows.clone(),
            line: source.line(test.place.start),
        });
        let tasks = lab.tasks.iter().map(|task| Task {
            number: number(task.number),
            title: task.title.clone(),
            hints: task.hints.clone(),
            line: source.line(task.place.start),
        });
        let problems = faults.iter().map(|(range, what)| Problem {
            line: source.line(range.start),
            what: what.clone(),
        });
        let title = &lab.title;
        Self {
            number: lab.number.parse().unwrap_or_default(),
            name: file.strip_suffix(".md").unwrap_or(file).to_owned(),
            path: path.to_owned(),
            text: text.to_owned(),
            title: title
                .split_once(": ")
                .map_or(title.as_str(), |(_, title)| title)
                .to_owned(),
            time: lab.time.clone(),
            cases: lab.cases.split_whitespace().map(str::to_owned).collect(),
            run: if lab.run.is_empty() {
                RUN.to_owned()
            } else {
                lab.run.clone()
            },
            tasks: tasks.collect(),
            rows: rows.collect(),
            problems: problems.collect(),
            questions: lab.questions,
        }
    }

    /// `01`: its number in two digits, as in the names of its files.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:02}", self.number)
    }

    /// The chapter that somebody begins with, or the one that solves it.
    #[must_use]
    pub fn extract(&self, view: View) -> String {
        // What is not in order is among the problems.
        form::extract(&self.text, view).unwrap_or_else(|_| self.text.clone())
    }

    /// The same with each line where it is in the lab's file, so that whatever is said of it is said of the file.
    #[must_use]
    pub fn in_place(&self, view: View) -> String {
        form::view(&self.text, view).unwrap_or_else(|_| self.text.clone())
    }

    /// Whether its solution is in it; a student's copy has none.
    #[must_use]
    pub fn has_solution(&self) -> bool {
        form::regions(&self.text).is_ok_and(|regions| {
            regions
                .iter()
                .any(|region| !self.text[region.solution.clone()].trim().is_empty())
        })
    }

    /// All its points.
    #[must_use]
    pub fn points(&self) -> u32 {
        self.rows.iter().map(|row| row.points).sum()
    }

    /// The row with this name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The task with this number.
    #[must_use]
    pub fn task(&self, number: u32) -> Option<&Task> {
        self.tasks.iter().find(|task| task.number == number)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small lab.
    pub(crate) const LAB: &str = "\
---
time: an hour
cases: hypercall/ errno/write
---
# Lab 1: A number

Goal.

## Task 1: ask

Write `#ask +=`.

<!-- solution -->
The Guest asks with a number of its own, which nobody else has:

```rust #ask +=
ask(1);
```
<!-- stub -->
*(Say here what you do and why.)*

```rust #ask +=
missing(1);
```
<!-- end -->

<details><summary>Hint 1: where to look</summary>

There.
</details>
<details><summary>Hint 2: the idea</summary>

```rust
## not a heading
```
</details>
<details><summary>Hint 3: nearly the code</summary>
`ask`
</details>

## Questions
1. Why a number?

<!-- solution -->
   > Because registers hold numbers and the Host must copy nothing then.
<!-- stub -->
   > *Your answer.*
<!-- end -->

2. Why not two?

   > *Your answer.*

## How it is graded
| Test | Points | Task | After | What it shows |
|---|---:|---:|---|---|
| `answers` | 3 | 1 | | A Guest gets `x \\| y`. |
| `refuses` | 2 | 1 | `answers` | No. |
| `the book` | 2 | | `answers` | Cases. |
| `the chapter` | 3 | | `answers`, `refuses` | Prose. |

## Further
1. Not a question.
";

    #[test]
    fn a_lab_is_read() {
        let lab = Lab::read("labs/01-number.md", LAB);
        assert_eq!(lab.problems, []);
        assert_eq!(
            (lab.number, lab.id().as_str(), lab.title.as_str()),
            (1, "01", "A number")
        );
        assert_eq!((lab.time.as_str(), lab.cases.len()), ("an hour", 2));
        assert_eq!(lab.run, "lguest run /guests/guest");
        assert_eq!(lab.tasks.len(), 1);
        let hints = &lab.tasks[0].hints;
        assert_eq!(hints.len(), 3);
        assert_eq!(hints[0].title, "where to look");
        assert_eq!(hints[0].text, "There.");
        assert_eq!(lab.questions.len(), 2);
        assert_eq!(lab.points(), 10);
        assert_eq!(lab.rows[0].shows, "A Guest gets x | y.");
        assert_eq!(lab.rows[3].after, ["answers", "refuses"]);
        assert_eq!(lab.rows.iter().filter(|row| row.is_test()).count(), 2);
    }

    #[test]
    fn starter_and_solution_are_views() {
        let lab = Lab::read("labs/01-number.md", LAB);
        let starter = lab.extract(View::Starter);
        let solution = lab.extract(View::Solution);
        assert!(starter.contains("missing(1)") && !starter.contains("\nask(1)") && !starter.contains("<!--"));
        assert!(solution.contains("\nask(1)") && !solution.contains("missing(1)") && !solution.contains("<!--"));
        assert!(lab.has_solution());
        let handed_out = Lab::read("labs/01-number.md", &form::without_solutions(LAB).unwrap());
        assert!(!handed_out.has_solution());
        assert_eq!(handed_out.extract(View::Starter), starter);
        assert_eq!(handed_out.rows.len(), 4);
    }
}
