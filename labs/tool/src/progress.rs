//! What a student has reached, from one day to the next: `labs/work/.progress.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::grade::Grade;
use crate::lab::Lab;
use crate::score::State;
use crate::trouble::{At, Result, Trouble};

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The lab that was last worked on: `01-name`.
    pub last: Option<String>,
    /// By name.
    pub labs: BTreeMap<String, Reached>,
}

/// How far somebody is with a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reached {
    /// The best mark so far.
    pub best: u32,
    /// How often it was graded.
    pub graded: u32,
    /// Whether all tests passed at some time, whatever was said of the chapter.
    pub tests_passed: bool,
    /// The tests that passed the last time that they ran.
    pub passed: Vec<String>,
    /// How many hints were shown, by task.
    pub hints: BTreeMap<u32, usize>,
}

impl Progress {
    fn file(work: &Path) -> PathBuf {
        work.join(".progress.json")
    }

    /// Reads it; nothing there is the beginning.
    ///
    /// # Errors
    /// When there is something that is no progress.
    pub fn read(work: &Path) -> Result<Self> {
        let path = Self::file(work);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.at("read", &path)?,
        };
        serde_json::from_str(&text).map_err(|error| {
            Trouble::other(format!("{} makes no sense: {error}", path.display()))
                .help("it only remembers marks and hints: remove it, and they begin anew; no chapter is lost")
        })
    }

    /// Writes it, all or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, work: &Path) -> Result<()> {
        fs::create_dir_all(work).at("create", work)?;
        let path = Self::file(work);
        let new = work.join(format!(".progress.json.{}", std::process::id()));
        let text = serde_json::to_string_pretty(self).map_err(|error| Trouble::other(error.to_string()))?;
        fs::write(&new, text + "\n").at("write", &new)?;
        fs::rename(&new, &path).at("write", &path)
    }

    /// How far somebody is with this lab.
    #[must_use]
    pub fn of(&self, lab: &Lab) -> Reached {
        self.labs.get(&lab.name).cloned().unwrap_or_default()
    }

    /// The same, to change it; and this is the lab that was last worked on.
    pub fn work_on(&mut self, lab: &Lab) -> &mut Reached {
        self.last = Some(lab.name.clone());
        self.labs.entry(lab.name.clone()).or_default()
    }

    /// Remembers a grade.
    pub fn remember(&mut self, lab: &Lab, grade: &Grade) {
        let reached = self.work_on(lab);
        reached.graded += 1;
        reached.best = reached.best.max(grade.points);
        reached.tests_passed |= grade.tests_passed();
        reached.passed = passed(grade);
    }
}

/// The tests that have passed.
#[must_use]
pub fn passed(grade: &Grade) -> Vec<String> {
    grade
        .tests
        .iter()
        .filter(|mark| mark.state == State::Passed)
        .map(|mark| mark.name.clone())
        .collect()
}

/// The next step with a lab, in a few words.
#[must_use]
pub fn next_step(lab: &Lab, reached: &Reached, has_chapter: bool) -> String {
    let id = lab.number;
    if !has_chapter {
        return format!("make lab LAB={id}");
    }
    if reached.best == lab.points() {
        return "done".to_owned();
    }
    if reached.graded == 0 {
        return format!("make grade LAB={id}");
    }
    let missing = lab.rows.iter().find(|row| !reached.passed.contains(&row.name));
    match missing.and_then(|row| row.task).and_then(|task| lab.task(task)) {
        Some(task) => format!("task {}: {}", task.number, task.title),
        None => missing.map_or_else(String::new, |row| format!("`{}`", row.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::LAB;
    use crate::score::Mark;

    fn grade(points: u32, states: [State; 2]) -> Grade {
        let mark = |name: &str, state| Mark {
            name: name.to_owned(),
            points: 0,
            of: 0,
            task: None,
            shows: String::new(),
            state,
            why: Vec::new(),
        };
        Grade {
            lab: "01-number".to_owned(),
            chapter: String::new(),
            points,
            of: 10,
            tests: vec![mark("answers", states[0]), mark("the chapter", states[1])],
            trouble: None,
            logs: Vec::new(),
        }
    }

    #[test]
    fn the_best_mark_stays() {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::read("labs/01-number.md", LAB);
        let mut progress = Progress::read(directory.path()).unwrap();
        assert_eq!(progress, Progress::default());
        progress.remember(&lab, &grade(7, [State::Passed, State::Failed]));
        progress.remember(&lab, &grade(0, [State::Failed, State::Failed]));
        progress.work_on(&lab).hints.insert(1, 2);
        progress.write(directory.path()).unwrap();
        let again = Progress::read(directory.path()).unwrap();
        assert_eq!(again, progress);
        let reached = again.of(&lab);
        assert_eq!((reached.best, reached.graded, reached.tests_passed), (7, 2, true));
        assert_eq!(reached.passed, Vec::<String>::new());
        assert_eq!(again.last.as_deref(), Some("01-number"));
    }

    #[test]
    fn what_is_no_progress_is_told_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".progress.json");
        fs::write(&path, "{").unwrap();
        assert!(
            Progress::read(directory.path())
                .unwrap_err()
                .to_string()
                .contains("makes no sense")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    }

    #[test]
    fn there_is_a_next_step() {
        let lab = Lab::read("labs/01-number.md", LAB);
        let mut reached = Reached::default();
        assert_eq!(next_step(&lab, &reached, false), "make lab LAB=1");
        assert_eq!(next_step(&lab, &reached, true), "make grade LAB=1");
        reached.graded = 1;
        assert_eq!(next_step(&lab, &reached, true), "task 1: ask");
        reached.passed = vec!["answers".to_owned(), "refuses".to_owned()];
        assert_eq!(next_step(&lab, &reached, true), "`the book`");
        reached.best = 10;
        assert_eq!(next_step(&lab, &reached, true), "done");
    }
}
