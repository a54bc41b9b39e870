//! What stands in a lab: a chapter with tasks, hints, questions and the table of its tests.

use std::ops::Range;

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
    /// Its hints, each with a title.
    pub hints: Vec<Hint>,
    /// The line of its heading.
    pub line: usize,
}

/// A hint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// `where to look`.
    pub title: String,
    /// What it says.
    pub text: String,
}

/// A question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Its number, from 1.
    pub number: u32,
    /// Its first line.
    pub text: String,
    /// Where that stands.
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

/// What somebody wants to see of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What a student begins with.
    Starter,
    /// The same with everything done.
    Solution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Common,
    Solution,
    Stub,
}

/// The part of the lab that a line belongs to; a marker belongs to none.
fn parts(text: &str) -> impl Iterator<Item = (Option<Part>, &str)> {
    let mut part = Part::Common;
    text.split_inclusive('\n').map(move |line| {
        part = match line.trim() {
            "<!-- solution -->" => Part::Solution,
            "<!-- stub -->" => Part::Stub,
            "<!-- end -->" => Part::Common,
            _ => return (Some(part), line),
        };
        (None, line)
    })
}

impl Lab {
    /// Reads the lab in the file `path`, whose name begins with its number.
    #[must_use]
    pub fn read(path: &str, text: &str) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.strip_suffix(".md").unwrap_or(file);
        let mut lab = Self {
            number: name
                .split('-')
                .next()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or_default(),
            name: name.to_owned(),
            path: path.to_owned(),
            text: text.to_owned(),
            run: "lguest run /guests/guest".to_owned(),
            ..Self::default()
        };
        Reader::default().read(&mut lab);
        lab
    }

    /// `01`: its number in two digits, as in the names of its files.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:02}", self.number)
    }

    /// The chapter that somebody wants to see.
    #[must_use]
    pub fn view(&self, view: View) -> String {
        let unwanted = match view {
            View::Starter => Part::Solution,
            View::Solution => Part::Stub,
        };
        parts(&self.text)
            .filter(|(part, _)| part.is_some_and(|part| part != unwanted))
            .map(|(_, line)| line)
            .collect()
    }

    /// Whether its solution is in it; a student's copy has none.
    #[must_use]
    pub fn has_solution(&self) -> bool {
        parts(&self.text).any(|(part, _)| part == Some(Part::Solution))
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

/// The section of a lab that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Section {
    #[default]
    Other,
    Task,
    Questions,
    Grading,
}

#[derive(Debug, Default)]
struct Reader {
    section: Section,
    /// The run of backticks or tildes that opened the fence around the line.
    fence: Option<String>,
    hint: Option<Hint>,
}

impl Reader {
    fn read(&mut self, lab: &mut Lab) {
        let text = lab.text.clone();
        let from = Self::front_matter(lab, &text);
        for (at, (part, line)) in parts(&text).enumerate().skip(from) {
            if matches!(part, Some(Part::Common | Part::Stub)) {
                self.line(lab, at + 1, line.trim_end());
            }
        }
    }

    /// How many lines the front matter has.
    fn front_matter(lab: &mut Lab, text: &str) -> usize {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line.trim_end()) != Some("---") {
            return 0;
        }
        for (at, line) in lines {
            if line.trim_end() == "---" {
                return at + 1;
            }
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "time" => value.clone_into(&mut lab.time),
                "cases" => lab.cases = value.split_whitespace().map(str::to_owned).collect(),
                "run" => value.clone_into(&mut lab.run),
                other => lab.problems.push(Problem {
                    line: at + 1,
                    what: format!("front matter of a lab has no `{other}:`"),
                }),
            }
        }
        0
    }

    fn line(&mut self, lab: &mut Lab, number: usize, line: &str) {
        if self.is_code(line) {
            self.keep_hint(line);
            return;
        }
        if let Some(title) = line.strip_prefix("# ") {
            lab.title = title.split_once(": ").map_or(title, |(_, title)| title).to_owned();
        } else if let Some(title) = line.strip_prefix("## ") {
            self.heading(lab, number, title);
        } else if let Some(summary) = hint_summary(line) {
            let title = summary
                .split_once(": ")
                .map_or("", |(_, title)| title)
                .to_owned();
            self.hint = Some(Hint {
                title,
                text: String::new(),
            });
        } else if line.trim() == "</details>" {
            if let (Some(mut hint), Some(task)) = (self.hint.take(), lab.tasks.last_mut()) {
                hint.text = hint.text.trim().to_owned();
                task.hints.push(hint);
            }
        } else if self.hint.is_some() {
            self.keep_hint(line);
        } else if self.section == Section::Questions {
            if let Some((number_of, text)) = item(line) {
                lab.questions.push(Question {
                    number: number_of,
                    text: text.to_owned(),
                    line: number,
                });
            }
        } else if self.section == Section::Grading && line.starts_with('|') {
            match row(line, number) {
                Ok(Some(row)) => lab.rows.push(row),
                Ok(None) => {}
                Err(what) => lab.problems.push(Problem { line: number, what }),
            }
        }
    }

    fn keep_hint(&mut self, line: &str) {
        if let Some(hint) = &mut self.hint {
            hint.text.push_str(line);
            hint.text.push('\n');
        }
    }

    fn is_code(&mut self, line: &str) -> bool {
        let line = line.trim_start();
        match &self.fence {
            Some(fence) => {
                if line.starts_with(fence.as_str()) && line.trim_start_matches(&fence[..1]).trim().is_empty() {
                    self.fence = None;
                }
                true
            }
            None => {
                let mark = if line.starts_with("```") {
                    '`'
                } else if line.starts_with("~~~") {
                    '~'
                } else {
                    return false;
                };
                self.fence = Some(line.chars().take_while(|&c| c == mark).collect());
                true
            }
        }
    }

    fn heading(&mut self, lab: &mut Lab, line: usize, title: &str) {
        self.section = match title.trim() {
            "Questions" => Section::Questions,
            "How it is graded" => Section::Grading,
            other => match other.strip_prefix("Task ").and_then(|rest| rest.split_once(':')) {
                Some((number, title)) => {
                    lab.tasks.push(Task {
                        number: number.trim().parse().unwrap_or_default(),
                        title: title.trim().to_owned(),
                        hints: Vec::new(),
                        line,
                    });
                    Section::Task
                }
                None => Section::Other,
            },
        };
    }
}

fn hint_summary(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("<details><summary>")?;
    let summary = rest.strip_suffix("</summary>")?;
    summary.starts_with("Hint ").then_some(summary)
}

/// The number and text of a line that begins an item: `1. Why?`.
pub(crate) fn item(line: &str) -> Option<(u32, &str)> {
    let (number, text) = line.split_once(". ")?;
    Some((number.parse().ok()?, text.trim()))
}

/// The names in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The cells of a line of a table, where `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let mut cells = vec![String::new()];
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => cells.push(String::new()),
            '\\' => {
                let next = chars.next();
                if next != Some('|') {
                    cells.last_mut().expect("there is one").push('\\');
                }
                cells.last_mut().expect("there is one").extend(next);
            }
            c => cells.last_mut().expect("there is one").push(c),
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn row(line: &str, number: usize) -> Result<Option<Row>, String> {
    let cells = cells(line);
    let [name, points, task, after, shows] = cells.as_slice() else {
        return Err(format!("a row of the table has five cells, this one has {}", cells.len()));
    };
    if name == "Test" || name.chars().all(|c| matches!(c, '-' | ':')) {
        return Ok(None);
    }
    let names = quoted(name);
    let [name] = names.as_slice() else {
        return Err("the first cell of a row is the test's name, in backticks".to_owned());
    };
    let points = points
        .parse()
        .map_err(|_| format!("`{points}` is no number of points"))?;
    let task = if task.is_empty() {
        None
    } else {
        Some(task.parse().map_err(|_| format!("`{task}` is no number of a task"))?)
    };
    Ok(Some(Row {
        name: name.clone(),
        points,
        task,
        after: quoted(after),
        shows: shows.clone(),
        line: number,
    }))
}

/// The range of lines (from 0) of the section with this heading, without the heading.
pub(crate) fn section(text: &str, heading: &str) -> Option<Range<usize>> {
    let mut reader = Reader::default();
    let mut begin = None;
    let mut end = 0;
    for (at, line) in text.lines().enumerate() {
        end = at + 1;
        if reader.is_code(line) {
            continue;
        }
        if line.starts_with("# ") || line.starts_with("## ") {
            if let Some(begin) = begin {
                return Some(begin..at);
            }
            if line.trim_end().strip_prefix("## ") == Some(heading) {
                begin = Some(at + 1);
            }
        }
    }
    begin.map(|begin| begin..end)
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
        assert_eq!((lab.number, lab.id().as_str(), lab.title.as_str()), (1, "01", "A number"));
        assert_eq!((lab.time.as_str(), lab.cases.len()), ("an hour", 2));
        assert_eq!(lab.run, "lguest run /guests/guest");
        assert_eq!(lab.tasks.len(), 1);
        let hints = &lab.tasks[0].hints;
        assert_eq!(hints.len(), 3);
        assert_eq!(hints[0].title, "where to look");
        assert_eq!(hints[0].text, "There.");
        assert_eq!(hints[1].text, "```rust\n## not a heading\n```");
        assert_eq!(lab.questions.iter().map(|q| q.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(lab.points(), 10);
        assert_eq!(lab.rows[0].shows, "A Guest gets `x | y`.");
        assert_eq!(lab.rows[3].after, ["answers", "refuses"]);
        assert_eq!(lab.rows.iter().filter(|row| row.is_test()).count(), 2);
    }

    #[test]
    fn starter_and_solution_are_views() {
        let lab = Lab::read("labs/01-number.md", LAB);
        let starter = lab.view(View::Starter);
        let solution = lab.view(View::Solution);
        assert!(starter.contains("missing(1)") && !starter.contains("\nask(1)") && !starter.contains("<!--"));
        assert!(solution.contains("\nask(1)") && !solution.contains("missing(1)") && !solution.contains("<!--"));
        assert!(lab.has_solution());
        let handed_out = Lab::read("labs/01-number.md", &starter);
        assert!(!handed_out.has_solution());
        assert_eq!(handed_out.view(View::Starter), starter);
        assert_eq!(handed_out.rows.len(), 4);
    }

    #[test]
    fn a_broken_row_is_told_at_its_line() {
        let lab = Lab::read("labs/01-a.md", "# Lab 1: A\n\n## How it is graded\n| `a` | x | | | |\n| b | 1 | | | |\n| `c` |\n");
        assert_eq!(lab.problems.iter().map(|p| p.line).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
