//! What is said of a class: a table, files for programs and spreadsheets, and a report for each student.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::submissions::is_harmless;
use super::{Outcome, Told};
use crate::course::Course;
use crate::report::{self, BAD, BOLD, DIM, GOOD, OPEN, count, styled};
use crate::score::{self, State};
use crate::trouble::{Result, Trouble};

/// A reason is shown in so many characters, where it must be one line.
const GIST: usize = 160;
/// So many of the last lines of a log stand in a report.
const LINES: usize = 40;

/// The sentence that says what is wrong, out of all that was said: that of whoever ended it, or the first mistake.
#[must_use]
pub fn gist(shown: &str) -> String {
    let plain = report::plain(shown);
    let mut lines = plain.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or_default();
    let stopped = plain.lines().rev().find_map(|line| line.strip_prefix("confine: "));
    // Rust's compiler, which ends with a page about itself then.
    if let Some(line) = plain.lines().find(|line| line.starts_with("memory allocation of ")) {
        return format!("the compiler had no memory left: {line}");
    }
    let line = match stopped {
        Some(stopped) => stopped,
        // What follows says why.
        None if first.ends_with(':') => lines.nth(1).unwrap_or(first),
        None => lines.find(|line| line.starts_with("error")).unwrap_or(first),
    };
    line.chars().filter(|&c| is_harmless(c)).take(GIST).collect()
}

/// How it went, in two words.
fn outcome(told: &Told) -> &'static str {
    match told.outcome {
        Outcome::Graded => "graded",
        Outcome::NotBuilt => "not built",
        Outcome::NotRead => "not read",
        Outcome::Unclear => "look at it",
        Outcome::NotGraded => "not graded",
    }
}

/// The table, and what stands under it.
#[must_use]
pub fn table(told: &[Told]) -> String {
    let student = |told: &Told| told.student.chars().take(30).collect::<String>();
    let lab = |told: &Told| {
        told.lab
            .clone()
            .unwrap_or_else(|| "?".to_owned())
            .chars()
            .take(2)
            .collect::<String>()
    };
    let longest = told
        .iter()
        .map(|one| student(one).chars().count())
        .max()
        .unwrap_or_default()
        .max(7);
    let mut out = format!(
        "\n  {}\n",
        styled(DIM, format_args!("{:<longest$}  lab  points", "student"))
    );
    for one in told {
        let style = match one.outcome {
            Outcome::Graded if one.points == one.of => GOOD,
            Outcome::Graded => OPEN,
            _ => BAD,
        };
        let mut why = one
            .reason
            .clone()
            .map(|reason| format!("{}: {reason}", outcome(one)))
            .unwrap_or_default();
        if why.is_empty() {
            why = failed(one);
        }
        for note in &one.notes {
            let _ = write!(why, "{}{note}", if why.is_empty() { "" } else { "; " });
        }
        let points = format!("{:>3}/{:<3}", one.points, one.of);
        let _ = writeln!(
            out,
            "  {:<longest$}  {:<3}  {}  {why}",
            student(one),
            lab(one),
            styled(style, points)
        );
    }
    let graded: Vec<&Told> = told
        .iter()
        .filter(|one| one.of > 0 && one.outcome != Outcome::NotGraded)
        .collect();
    let percent: u64 = graded
        .iter()
        .map(|one| u64::from(one.points) * 100 / u64::from(one.of))
        .sum();
    if let Some(mean) = percent.checked_div(graded.len() as u64) {
        let full = graded.iter().filter(|one| one.points == one.of).count();
        let _ = writeln!(
            out,
            "\n  {}: {mean} % on average, {full} with full marks",
            styled(BOLD, count(told.len(), "submission"))
        );
    }
    for (kind, says) in [
        (
            Outcome::NotGraded,
            "could not be graded here; make grade-all tries again",
        ),
        (Outcome::Unclear, "should be looked at by somebody"),
    ] {
        let number = told.iter().filter(|one| one.outcome == kind).count();
        if number > 0 {
            let _ = writeln!(out, "  {}", styled(BAD, format_args!("{number} {says}")));
        }
    }
    out
}

/// The tests that did not bring everything.
fn failed(told: &Told) -> String {
    let marks = told.grade.iter().flat_map(|grade| &grade.tests);
    let names: Vec<&str> = marks
        .filter(|mark| matches!(mark.state, State::Failed | State::Partly))
        .map(|mark| mark.name.as_str())
        .collect();
    names.join(", ")
}

/// A line for each submission, with a column for the reason and one for each test that any lab has.
#[must_use]
pub fn csv(told: &[Told]) -> String {
    let mut out = String::from("student,lab,points,of,percent,outcome,failed,reason,notes,seconds\n");
    for one in told {
        let percent = (one.points * 100).checked_div(one.of).unwrap_or_default();
        let cells = [
            one.student.clone(),
            one.lab.clone().unwrap_or_default(),
            one.points.to_string(),
            one.of.to_string(),
            percent.to_string(),
            outcome(one).to_owned(),
            failed(one),
            one.reason.clone().unwrap_or_default(),
            one.notes.join("; "),
            one.seconds.to_string(),
        ];
        let line: Vec<String> = cells.iter().map(|text| cell(text)).collect();
        out.push_str(&line.join(","));
        out.push('\n');
    }
    out
}

/// A cell that a spreadsheet shows, and neither computes nor looks up elsewhere, whatever a student is called.
fn cell(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    // Some spreadsheets take the wide forms, too, or look behind a space.
    let text = if text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
    {
        format!("'{text}")
    } else {
        text
    };
    if text.contains(['"', ',', ';']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[derive(Serialize)]
struct Marks<'a> {
    students: BTreeMap<&'a str, Student<'a>>,
    submissions: &'a [Told],
}

#[derive(Default, Serialize)]
struct Student<'a> {
    points: u32,
    of: u32,
    labs: BTreeMap<&'a str, u32>,
}

/// All of it for programs.
///
/// # Errors
/// Never, as far as anybody knows.
pub fn json(told: &[Told]) -> Result<String> {
    let mut students: BTreeMap<&str, Student<'_>> = BTreeMap::new();
    for one in told {
        let student = students.entry(&one.student).or_default();
        student.points += one.points;
        student.of += one.of;
        if let Some(lab) = &one.lab {
            student.labs.insert(lab, one.points);
        }
    }
    let marks = Marks {
        students,
        submissions: told,
    };
    let text = serde_json::to_string_pretty(&marks).map_err(|error| Trouble::other(error.to_string()))?;
    Ok(text + "\n")
}

/// What one student gets to read, in Markdown: all that was handed in.
#[must_use]
pub fn student(course: &Course, told: &[&Told], logs: &Path) -> String {
    let name = told.first().map_or("", |one| one.student.as_str());
    let mut out = format!("# {}\n", escaped(name));
    for one in told {
        let lab = one.lab.as_deref().and_then(|lab| course.find(lab).ok());
        let title = lab.map_or_else(
            || "No lab".to_owned(),
            |lab| format!("Lab {}: {}", lab.number, lab.title),
        );
        let _ = write!(
            out,
            "\n## {title}\n\n**{} of {}**",
            one.points,
            count(one.of as usize, "point")
        );
        match &one.reason {
            Some(reason) => {
                let _ = writeln!(out, ": {}, since {}", outcome(one), escaped(reason));
            }
            None => out.push('\n'),
        }
        for note in &one.notes {
            let _ = write!(out, "\nNote: {}.\n", escaped(note));
        }
        let Some(grade) = &one.grade else { continue };
        if let Some(trouble) = &grade.trouble {
            out.push_str("\nAll that was said:\n");
            out.push_str(&quoted(&report::plain(trouble), usize::MAX));
            continue;
        }
        out.push_str("\n| Test | Points | |\n|---|---:|---|\n");
        for mark in &grade.tests {
            let state = match mark.state {
                State::Passed => "passed",
                State::Partly => "in part",
                State::Failed => "**failed**",
                State::Waiting => "after another",
            };
            let _ = writeln!(
                out,
                "| {} | {}/{} | {state} |",
                escaped(&mark.name),
                mark.points,
                mark.of
            );
        }
        for mark in grade
            .tests
            .iter()
            .filter(|mark| matches!(mark.state, State::Failed | State::Partly))
        {
            let _ = write!(out, "\n### {}\n\n{}\n", escaped(&mark.name), escaped(&mark.shows));
            if let Some(task) = mark.task.and_then(|number| lab?.task(number)) {
                let _ = writeln!(out, "It belongs to task {}, {}.", task.number, escaped(&task.title));
            }
            for why in &mark.why {
                let why = report::plain(why);
                match score::sides(&why) {
                    Some((what, expected, got)) => {
                        let both = format!("{what}\n  expected: {expected}\n  found:    {got}");
                        out.push_str(&quoted(&both, usize::MAX));
                    }
                    None => out.push_str(&quoted(&why, usize::MAX)),
                }
            }
        }
        if one.points < one.of {
            for log in &grade.logs {
                let name = log.file_name().unwrap_or_default().to_string_lossy();
                let text = fs::read(log)
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default();
                let _ = write!(
                    out,
                    "\nThe end of {name} (all of it: {}):\n",
                    log.strip_prefix(logs).unwrap_or(log).display()
                );
                out.push_str(&quoted(&report::plain(&text), LINES));
            }
        }
    }
    out
}

/// Text as it is, which nothing that stands in it can end: each line moved to the right. The last so many lines of it.
fn quoted(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(most);
    // A paragraph must not go on as one.
    let mut out = String::from("\n");
    for line in &lines[from..] {
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        out.push_str(format!("    {line}").trim_end());
        out.push('\n');
    }
    out
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Writes all of it to `out`: `marks.csv`, `marks.json`, and a report for each student in `reports`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(course: &Course, told: &[Told], out: &Path) -> Result<()> {
    super::write(&out.join("marks.csv"), &csv(told))?;
    super::write(&out.join("marks.json"), &json(told)?)?;
    let mut students: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for one in told {
        students.entry(&one.id).or_default().push(one);
    }
    for (id, told) in students {
        super::write(
            &out.join("reports").join(format!("{id}.md")),
            &student(course, &told, out),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::Grade;
    use crate::lab::Lab;
    use crate::score::Mark;

    fn told(student: &str, reason: Option<&str>) -> Told {
        Told {
            student: student.to_owned(),
            id: "x".to_owned(),
            lab: Some("01-a".to_owned()),
            file: String::new(),
            points: 1,
            of: 10,
            outcome: Outcome::Graded,
            reason: reason.map(str::to_owned),
            notes: Vec::new(),
            grade: None,
            seconds: 3,
            fingerprint: String::new(),
        }
    }

    #[test]
    fn the_gist_is_the_sentence_that_counts() {
        assert_eq!(
            gist("  Compiling x\n\x1b[31merror[E1]\x1b[0m: no\n  at y\n"),
            "error[E1]: no"
        );
        assert_eq!(
            gist("error: this chapter is not built:\n  it writes Makefile\n"),
            "it writes Makefile"
        );
        assert_eq!(gist("error: x\nconfine: stopped after 3 s\n"), "stopped after 3 s");
        assert!(gist("memory allocation of 8 bytes failed\nerror: could not compile\n").contains("no memory left"));
        assert_eq!(gist(""), "");
    }

    #[test]
    fn a_student_s_name_computes_nothing() {
        let csv = csv(&[told("=HYPERLINK(\"x\",1)", Some("a,b"))]);
        let line = csv.lines().nth(1).unwrap();
        assert_eq!(line, "\"'=HYPERLINK(\"\"x\"\",1)\",01-a,1,10,10,graded,,\"a,b\",,3");
    }

    #[test]
    fn neither_do_its_wide_forms() {
        for name in ["\u{ff1d}1+1", " =1+1", "\u{ff20}SUM(1)"] {
            let csv = csv(&[told(name, None)]);
            assert!(csv.lines().nth(1).unwrap().starts_with(&format!("'{name}")), "{csv}");
        }
    }

    #[test]
    fn a_reason_does_not_turn_the_line_around() {
        assert_eq!(gist("error: a\u{202e}b\u{200b}\n"), "error: ab");
    }

    #[test]
    fn what_a_student_wrote_is_quoted_in_the_report() {
        let course = Course {
            root: "/book".into(),
            labs: vec![Lab::read("labs/01-a.md", crate::lab::tests::LAB)],
        };
        let mut one = told("<b>*x*", None);
        one.grade = Some(Grade {
            lab: "01-a".to_owned(),
            chapter: String::new(),
            points: 1,
            of: 10,
            tests: vec![Mark {
                name: "answers".to_owned(),
                points: 0,
                of: 3,
                task: Some(1),
                shows: "A Guest gets it.".to_owned(),
                state: State::Failed,
                why: vec!["the sum: expected 1, got 2\n```\n# full marks".to_owned()],
            }],
            trouble: None,
            logs: Vec::new(),
        });
        let report = student(&course, &[&one], Path::new("/"));
        assert!(report.starts_with("# \\<b\\>\\*x\\*\n"), "{report}");
        assert!(
            report.contains("\n    the sum\n      expected: 1\n      found:    2\n    ```\n    # full marks\n"),
            "{report}"
        );
        assert!(report.contains("| answers | 0/3 | **failed** |"));
        assert!(
            !report
                .lines()
                .any(|line| line.starts_with("```") || line == "# full marks")
        );
        let table = report::plain(&table(&[one]));
        assert!(table.contains("<b>*x*   01     1/10   answers"), "{table}");
    }
}
