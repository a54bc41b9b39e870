//! How a grade is shown: as a table for people, as JSON, and as CSV.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::course::Course;
use crate::grade::Grade;
use crate::lab::Lab;
use crate::score::{self, Mark, State};
use crate::trouble::{Result, Trouble};

/// What is good.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What is not yet.
pub const OPEN: Style = AnsiColor::Yellow.on_default();
/// What stands out.
pub const BOLD: Style = Style::new().bold();
/// What is said by the way.
pub const DIM: Style = Style::new().dimmed();

/// `text` in a style. Where nobody sees colours, anstream takes them out again.
#[must_use]
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `1 point`, `2 points`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The table, the stories of what failed, and the sum. `width` is the terminal's.
#[must_use]
pub fn text(course: &Course, lab: &Lab, grade: &Grade, width: usize) -> String {
    let mut out = format!(
        "\n{}\n\n",
        styled(BOLD, format_args!("Lab {}: {}", lab.number, lab.title))
    );
    if let Some(trouble) = &grade.trouble {
        // Then no test has anything to tell.
        let none = styled(OPEN.bold(), "0");
        let _ = write!(
            out,
            "{}\n\n{none} of {}.\n",
            trouble.trim_end(),
            count(grade.of as usize, "point")
        );
        return out;
    }
    let names = grade.tests.iter().map(|mark| mark.name.chars().count());
    let longest = names.max().unwrap_or_default();
    for mark in &grade.tests {
        let (style, sign) = match mark.state {
            State::Passed => (GOOD, "✓"),
            State::Partly => (OPEN, "~"),
            State::Failed => (BAD, "✗"),
            State::Waiting => (DIM, "·"),
        };
        let space = " ".repeat(longest - mark.name.chars().count());
        let task = mark
            .task
            .map_or_else(|| "      ".to_owned(), |task| format!("task {task}"));
        let _ = writeln!(
            out,
            "  {} {}{space}  {:>2}/{:<2}  {}",
            styled(style, sign),
            styled(style, &mark.name),
            mark.points,
            mark.of,
            styled(DIM, task),
        );
    }
    for mark in &grade.tests {
        match mark.state {
            State::Passed | State::Waiting => {}
            State::Partly | State::Failed => out.push_str(&story(lab, mark, width)),
        }
    }
    let style = if grade.is_full() { GOOD } else { OPEN };
    let _ = write!(
        out,
        "\n{} of {}",
        styled(style.bold(), grade.points),
        count(grade.of as usize, "point")
    );
    if !grade.is_full() && !grade.logs.is_empty() {
        out.push_str(". All that was said:\n");
        for log in &grade.logs {
            let _ = writeln!(out, "  {}", course.shown(log));
        }
    } else {
        out.push_str(".\n");
    }
    out
}

/// Why a test did not bring everything.
fn story(lab: &Lab, mark: &Mark, width: usize) -> String {
    let mut out = format!("\n{} {}\n", styled(BAD, "✗"), styled(BOLD, &mark.name));
    for line in wrapped(&mark.shows, width.saturating_sub(2)) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(task) = mark.task.and_then(|number| lab.task(number)) {
        let _ = writeln!(out, "  Task {}: {}", task.number, task.title);
    }
    for why in &mark.why {
        if let Some((what, expected, got)) = score::sides(why) {
            out.push_str(&beside(what, expected, got, width));
        } else {
            for line in why.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

/// What was expected on the left, and what was found on the right; one below the other where both do not fit.
fn beside(what: &str, expected: &str, got: &str, width: usize) -> String {
    let mut out = format!("  {what}:\n");
    let half = width.saturating_sub(7) / 2;
    let fits = |text: &str| text.lines().all(|line| line.chars().count() <= half);
    if fits(expected) && fits(got) {
        let column = expected
            .lines()
            .map(|line| line.chars().count())
            .chain(["expected".len()])
            .max()
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "    {}{}   {}",
            styled(GOOD, "expected"),
            " ".repeat(column - "expected".len()),
            styled(BAD, "found")
        );
        let (mut left, mut right) = (expected.lines(), got.lines());
        loop {
            let (one, other) = (left.next(), right.next());
            if one.is_none() && other.is_none() {
                return out;
            }
            let one = one.unwrap_or_default();
            let space = " ".repeat(column - one.chars().count());
            let _ = writeln!(
                out,
                "    {}",
                format!("{one}{space}   {}", other.unwrap_or_default()).trim_end()
            );
        }
    }
    for (style, name, text) in [(GOOD, "expected", expected), (BAD, "found", got)] {
        let _ = writeln!(out, "    {}", styled(style, name));
        for line in text.lines() {
            let _ = writeln!(out, "      {line}");
        }
    }
    out
}

/// The text in lines of at most so many characters, where a word allows it.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// All of it for programs.
///
/// # Errors
/// When a path is no text.
pub fn json(grade: &Grade) -> Result<String> {
    let mut grade = grade.clone();
    grade.trouble = grade.trouble.as_deref().map(plain);
    for why in grade.tests.iter_mut().flat_map(|mark| &mut mark.why) {
        *why = plain(why);
    }
    serde_json::to_string_pretty(&grade)
        .map(|text| text + "\n")
        .map_err(|error| Trouble::other(format!("this grade makes no JSON: {error}")))
}

/// The first line of the CSV.
pub const CSV_HEAD: &str = "lab,chapter,test,task,points,of,state,why\n";

/// A line for each row, without the first one ([`CSV_HEAD`]).
#[must_use]
pub fn csv(grade: &Grade) -> String {
    let mut out = String::new();
    for mark in &grade.tests {
        let state = match mark.state {
            State::Passed => "passed",
            State::Partly => "partly",
            State::Failed => "failed",
            State::Waiting => "waiting",
        };
        let why = match (&grade.trouble, mark.why.is_empty()) {
            (Some(trouble), false) => plain(trouble),
            _ => plain(&mark.why.join("\n")),
        };
        let cells = [
            grade.lab.clone(),
            grade.chapter.clone(),
            mark.name.clone(),
            mark.task.map(|task| task.to_string()).unwrap_or_default(),
            mark.points.to_string(),
            mark.of.to_string(),
            state.to_owned(),
            why,
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

/// A cell of CSV. One that a spreadsheet would take for a formula is told to be none: it comes from a student.
#[must_use]
pub fn quoted(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

/// Without colours.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::LAB;

    fn grade(why: &str) -> Grade {
        let mark = |name: &str, points, state, why: &[&str]| Mark {
            name: name.to_owned(),
            points,
            of: 3,
            task: (name == "answers").then_some(1),
            shows: "A Guest gets it.".to_owned(),
            state,
            why: why.iter().map(|&why| why.to_owned()).collect(),
        };
        Grade {
            lab: "01-number".to_owned(),
            chapter: "labs/work/01-number.md".to_owned(),
            points: 3,
            of: 9,
            tests: vec![
                mark("refuses", 3, State::Passed, &[]),
                mark("answers", 0, State::Failed, &[why]),
                mark("the book", 0, State::Waiting, &["later"]),
            ],
            trouble: None,
            logs: vec!["/book/target/labs/01/boot-1.log".into()],
        }
    }

    fn shown(why: &str, width: usize) -> String {
        let course = Course {
            root: "/book".into(),
            labs: Vec::new(),
        };
        plain(&text(&course, &Lab::read("labs/01-number.md", LAB), &grade(why), width))
    }

    #[test]
    fn a_failure_tells_its_story() {
        let expected = "
Lab 1: A number

  ✓ refuses    3/3         
  ✗ answers    0/3   task 1
  · the book   0/3         

✗ answers
  A Guest gets it.
  Task 1: ask
  the sum:
    expected   found
    3          4

3 of 9 points. All that was said:
  target/labs/01/boot-1.log
";
        assert_eq!(shown("the sum: expected 3, got 4", 80), expected);
    }

    #[test]
    fn what_is_too_wide_is_told_below() {
        let wide = shown("the sum: expected three hundred and three, got four", 30);
        assert!(
            wide.contains("    expected\n      three hundred and three\n    found\n      four\n"),
            "{wide}"
        );
    }

    #[test]
    fn csv_is_what_spreadsheets_read() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
        let csv = csv(&grade("x, y"));
        assert_eq!(
            csv.lines().nth(1),
            Some("01-number,labs/work/01-number.md,answers,1,0,3,failed,\"x, y\"")
        );
    }

    #[test]
    fn json_can_be_read_again() {
        let grade = grade("no");
        assert_eq!(serde_json::from_str::<Grade>(&json(&grade).unwrap()).unwrap(), grade);
    }
}
