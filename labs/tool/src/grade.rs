//! Grading one chapter, from its text to its points.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::boot::{self, Event};
use crate::chapter;
use crate::course::Course;
use crate::job::{self, Stop};
use crate::lab::{Lab, Row};
use crate::score::{self, Mark, State};
use crate::system::{self, Extended, System};
use crate::trouble::{Result, Trouble};

/// A student's chapter.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where it is said to lie, relative to the root of the book: what compilers say of it they say with this name.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// How grading goes about it.
#[derive(Clone)]
pub struct Setting {
    /// The words before each command that builds or boots: a program that confines it, for instance.
    pub within: Vec<OsString>,
    /// Whoever asks for the end gets it soon.
    pub stop: Stop,
    /// Whether compilers may use colours.
    pub colours: bool,
    /// How long a build may take.
    pub build_time: Duration,
    /// How long one boot with all tests may take.
    pub boot_time: Duration,
    /// Where `scripts/vm` leaves the kernels' logs, if that is not `target/vm`.
    pub vm_logs: Option<PathBuf>,
    /// Who wants to know what is going on.
    pub listener: Arc<dyn Fn(&News<'_>) + Send + Sync>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            within: Vec::new(),
            stop: Stop::default(),
            colours: false,
            build_time: system::BUILD_TIME,
            boot_time: Duration::from_secs(1800),
            vm_logs: None,
            listener: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// What is going on.
#[derive(Debug)]
pub enum News<'a> {
    /// A step has begun.
    Step(&'a str),
    /// A compiler has a warning.
    Warning(&'a str),
    /// A test has begun or ended.
    Test(&'a Event),
}

impl Setting {
    /// A command that is run as this setting says.
    #[must_use]
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        let mut words = self.within.iter().cloned().chain([program.into()]);
        let mut command = job::command(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    pub(crate) fn says(&self, step: &str) {
        (self.listener)(&News::Step(step));
    }

    pub(crate) fn hears(&self, warning: &str) {
        (self.listener)(&News::Warning(warning));
    }

    pub(crate) fn tells(&self, event: &Event) {
        (self.listener)(&News::Test(event));
    }
}

/// What a chapter is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// The lab: `01-name`.
    pub lab: String,
    /// The chapter.
    pub chapter: String,
    /// What it has brought.
    pub points: u32,
    /// The most that can be had.
    pub of: u32,
    /// Row by row.
    pub tests: Vec<Mark>,
    /// Why it makes no system that could be tested.
    pub trouble: Option<String>,
    /// Where all that was said is kept.
    pub logs: Vec<PathBuf>,
}

impl Grade {
    /// Whether it has brought everything.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.trouble.is_none() && self.points == self.of
    }

    /// Whether all tests in the VM have passed, whatever is said of the chapter.
    #[must_use]
    pub fn tests_passed(&self) -> bool {
        self.trouble.is_none()
            && self
                .tests
                .iter()
                .all(|mark| mark.name == crate::lab::THE_CHAPTER || mark.state == State::Passed)
    }

    /// The first test that has not brought everything.
    #[must_use]
    pub fn first_missing(&self) -> Option<&Mark> {
        self.tests.iter().find(|mark| mark.state != State::Passed)
    }

    fn new(lab: &Lab, submission: &Submission, tests: Vec<Mark>, trouble: Option<String>, logs: Vec<PathBuf>) -> Self {
        Self {
            lab: lab.name.clone(),
            chapter: submission.path.clone(),
            points: tests.iter().map(|mark| mark.points).sum(),
            of: lab.points(),
            tests,
            trouble,
            logs,
        }
    }
}

/// Makes a system of the book and one chapter: reads it, refuses what no chapter may do, writes it to `dir` and builds it there.
///
/// # Errors
/// Where [`Trouble::is_the_chapters`], the chapter is at fault; else this machine.
pub fn build(
    course: &Course,
    lab: &Lab,
    submission: &Submission,
    dir: &Path,
    setting: &Setting,
) -> Result<(Extended, System)> {
    build_in(course, lab, submission, dir, dir, setting)
}

fn build_in(
    course: &Course,
    lab: &Lab,
    submission: &Submission,
    dir: &Path,
    logs: &Path,
    setting: &Setting,
) -> Result<(Extended, System)> {
    setting.says("reading the chapters");
    let chapter = (submission.path.clone(), submission.text.clone());
    let extended = system::extend(course, &[chapter])?;
    let files = system::files(&extended.program);
    let refusals = system::refused(course, lab, &files)?;
    if !refusals.is_empty() {
        return Err(Trouble::Refused(refusals));
    }
    setting.stop.check()?;
    let system = System::at(dir);
    system.write(&extended)?;
    system.build(course, &files, logs, setting)?;
    Ok((extended, system))
}

/// Grades a chapter: builds it in `dir`, where all logs are kept too, boots it, and counts. With `only` no other rows than these run.
///
/// A chapter that makes no system gets a [`Grade`], too: one without points that says why.
///
/// # Errors
/// When this machine cannot grade: then nothing is said of the chapter.
pub fn grade(
    course: &Course,
    lab: &Lab,
    submission: &Submission,
    dir: &Path,
    only: Option<&[String]>,
    setting: &Setting,
) -> Result<Grade> {
    grade_in(course, lab, submission, dir, dir, only, setting)
}

/// The same with the system in a directory of its own, where only what is built and booted needs to be written to.
///
/// # Errors
/// Those of [`grade`].
pub fn grade_in(
    course: &Course,
    lab: &Lab,
    submission: &Submission,
    system: &Path,
    dir: &Path,
    only: Option<&[String]>,
    setting: &Setting,
) -> Result<Grade> {
    let (extended, system) = match build_in(course, lab, submission, system, dir, setting) {
        Ok(built) => built,
        Err(trouble) if trouble.is_the_chapters() => {
            let logs = match &trouble {
                Trouble::Mistakes { log: Some(log), .. } => vec![log.clone()],
                _ => Vec::new(),
            };
            let tests = score::score(lab, &std::collections::BTreeMap::new(), None);
            return Ok(Grade::new(lab, submission, tests, Some(trouble.to_string()), logs));
        }
        Err(trouble) => return Err(trouble),
    };
    let prose = chapter::read(lab, &extended);
    let rows: Vec<&Row> = lab
        .rows
        .iter()
        .filter(|row| row.name != crate::lab::THE_CHAPTER)
        .filter(|row| only.is_none_or(|only| only.contains(&row.name)))
        .collect();
    let ran = boot::run(course, lab, &rows, &system, dir, setting)?;
    let tests = score::score(lab, &ran.outcomes, Some(&prose));
    Ok(Grade::new(lab, submission, tests, None, ran.logs))
}
