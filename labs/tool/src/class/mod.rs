//! Grading a class: all that students have handed in, a few submissions at a time, each where it can harm nobody.
//!
//! A submission is graded by a process of its own, which reads it, and starts what builds and boots it inside `scripts/confine`. What a
//! submission does to the one or the other is its own misfortune: it is told in its report, and the others are graded as if it were
//! not there. What is known of one is written at once, as a whole or not at all, together with what it depends on; so whoever ends
//! this program in the middle, however rudely, loses what was being graded then, and nothing else.

pub mod submissions;
pub mod summary;
pub mod worker;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tangle::disk::Inputs;
use tangle::map::fingerprint;

use crate::course::Course;
use crate::grade::Grade;
use crate::job::{self, End, Limits, Stop};
use crate::lab::{Lab, View};
use crate::score;
use crate::trouble::{At, Result, Trouble};
use submissions::Submission;

/// How a class is graded.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the submissions are.
    pub submissions: PathBuf,
    /// Where everything goes that is said of them.
    pub out: PathBuf,
    /// The only lab that is graded.
    pub lab: Option<String>,
    /// How many submissions at a time.
    pub jobs: usize,
    /// How long one may take.
    pub time: Duration,
    /// How much memory what it builds and boots may use, as `scripts/confine` reads it.
    pub memory: String,
    /// Whether what a submission builds and boots runs without confinement, since this machine has none to offer and nobody would
    /// miss it.
    pub unconfined: bool,
    /// Whether the directory in which a system was built is kept.
    pub keep: bool,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The student.
    pub student: String,
    /// The student's name in names of files.
    pub id: String,
    /// The lab, where that is known.
    pub lab: Option<String>,
    /// Its file, as it was found.
    pub file: String,
    /// What it has brought.
    pub points: u32,
    /// The most that could be had.
    pub of: u32,
    /// How it went.
    pub outcome: Outcome,
    /// Why it brought nothing at all, in a sentence.
    pub reason: Option<String>,
    /// What a teacher should know: that another one is identical, for instance.
    pub notes: Vec<String>,
    /// Test by test, if it came to that.
    pub grade: Option<Grade>,
    /// How long it took.
    pub seconds: u64,
    /// What the submission is, and what graded it. Another one is another submission, or another grader.
    pub fingerprint: String,
}

/// How it went with a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was built, booted and tested.
    Graded,
    /// It makes no system.
    NotBuilt,
    /// It is nothing that could be read.
    NotRead,
    /// The grader itself did not survive it, or not in time. Somebody should look.
    Unclear,
    /// This machine could not grade it. It is tried again the next time.
    NotGraded,
}

/// Grades a class, and tells `show` what is going on. Returns what became of each submission, in their order.
///
/// # Errors
/// When nothing can be graded here at all, and [`Trouble::Stopped`] when somebody asked for the end.
pub fn grade(course: &Course, plan: &Plan, stop: &Stop, show: &(dyn Fn(&News<'_>) + Sync)) -> Result<Vec<Told>> {
    let only = plan.lab.as_deref().map(|lab| course.find(lab)).transpose()?;
    let found = submissions::find(course, &plan.submissions, only)?;
    fs::create_dir_all(&plan.out).at("create", &plan.out)?;
    let _lock = lock(&plan.out)?;
    let graders = Graders::read(course)?;
    let mut told: Vec<Option<Told>> = Vec::new();
    let mut open = Vec::new();
    for (at, submission) in found.iter().enumerate() {
        let fingerprint = graders.fingerprint(submission);
        let known = remembered(plan, submission)
            .filter(|told| told.fingerprint == fingerprint && told.outcome != Outcome::NotGraded);
        if known.is_none() {
            open.push((at, fingerprint));
        }
        told.push(known);
    }
    show(&News::Begins {
        all: found.len(),
        known: found.len() - open.len(),
    });
    if !plan.unconfined && open.iter().any(|(at, _)| found[*at].text.is_ok()) {
        confines(course, stop)?;
    }
    // What a run that was killed has left there.
    let work = plan.out.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).at("remove", &work)?;
    }
    let told = Mutex::new(told);
    let queue = Mutex::new(open.iter());
    let trouble = Mutex::new(None);
    let stop = stop.child();
    thread::scope(|scope| {
        for slot in 0..plan.jobs.max(1) {
            let (told, queue, trouble, found, stop) = (&told, &queue, &trouble, &found, &stop);
            scope.spawn(move || {
                loop {
                    // The others take theirs meanwhile.
                    let next = held(queue).next();
                    let Some((at, fingerprint)) = next else { return };
                    let submission = &found[*at];
                    show(&News::Takes(submission));
                    let one = match one(course, plan, submission, fingerprint, slot, stop) {
                        Ok(one) => one,
                        Err(error) => {
                            held(trouble).get_or_insert(error);
                            stop.ask();
                            return;
                        }
                    };
                    let mut told = held(told);
                    show(&News::Knows(&one));
                    told[*at] = Some(one);
                }
            });
        }
    });
    if let Some(trouble) = held(&trouble).take() {
        return Err(trouble);
    }
    stop.check()?;
    let mut told: Vec<Told> = held(&told).drain(..).flatten().collect();
    note_what_is_identical(course, &found, &mut told);
    Ok(told)
}

/// What is going on.
#[derive(Debug)]
pub enum News<'a> {
    /// There are so many submissions, and so many of them are known already.
    Begins {
        /// All of them.
        all: usize,
        /// Those that an earlier run has graded.
        known: usize,
    },
    /// One is taken up.
    Takes(&'a Submission),
    /// One is through.
    Knows(&'a Told),
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One grader at a time works in a directory. The lock ends with this program, however that ends.
fn lock(out: &Path) -> Result<nix::fcntl::Flock<File>> {
    let path = out.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .at("open", &path)?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|(_, _)| Trouble::other(format!("another make grade-all works in {}", out.display())))
}

/// Whether this machine can confine anybody; `scripts/confine` says why not.
fn confines(course: &Course, stop: &Stop) -> Result<()> {
    let mut command = job::command(course.root.join("scripts/confine"));
    command.arg("--works");
    let mut said = Vec::new();
    let end = job::run(command, &Limits::default(), None, stop, |line| {
        said.push(line.to_owned());
    })?;
    if end.success() {
        return Ok(());
    }
    let mut said = said.into_iter();
    let first = said.next().unwrap_or_default();
    let trouble = Trouble::other(first.trim_start_matches("error: "));
    Err(said.fold(trouble, |trouble, line| trouble.help(line.trim())))
}

/// What decides about a mark besides the submission: the book, the labs, their tests, and this program.
struct Graders {
    common: String,
    labs: BTreeMap<String, String>,
}

impl Graders {
    fn read(course: &Course) -> Result<Self> {
        let mut common = Inputs::read(&course.root)?.fingerprint();
        let this = std::env::current_exe().at("find", Path::new("this program"))?;
        let scripts = [
            "vm",
            "vm-init",
            "confine",
            "in-root",
            "module-build",
            "lib.sh",
            "machine-qemu",
            "machine-bochs",
        ];
        let scripts = scripts.map(|name| course.root.join("scripts").join(name));
        for path in scripts.into_iter().chain([course.root.join("Makefile"), this]) {
            common.push_str(&fingerprint(&fs::read(&path).unwrap_or_default()));
        }
        for name in ["HOST", "MACHINE", "CPU", "SMP"] {
            common.push_str(&std::env::var(name).unwrap_or_default());
            common.push(' ');
        }
        let mut labs = BTreeMap::new();
        for lab in &course.labs {
            let tests = fs::read(course.root.join(Course::tests_of(lab))).unwrap_or_default();
            labs.insert(
                lab.name.clone(),
                format!("{}{}", fingerprint(lab.text.as_bytes()), fingerprint(&tests)),
            );
        }
        Ok(Self { common, labs })
    }

    fn fingerprint(&self, submission: &Submission) -> String {
        let lab = submission.lab.as_deref().unwrap_or_default();
        let (kind, text) = match &submission.text {
            Ok(text) => ("text", text),
            Err(why) => ("not read", why),
        };
        let all = [
            self.common.as_str(),
            lab,
            self.labs.get(lab).map(String::as_str).unwrap_or_default(),
            kind,
            text,
        ];
        fingerprint(all.join("\n").as_bytes())
    }
}

/// A name for what belongs to one submission.
fn place(submission: &Submission) -> String {
    let lab = submission.lab.as_deref().unwrap_or("no-lab");
    format!("{}/{lab}", submission.id)
}

fn remembered(plan: &Plan, submission: &Submission) -> Option<Told> {
    let path = plan.out.join("results").join(place(submission)).with_extension("json");
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a file as a whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).at("create", directory)?;
    }
    let part = path.with_extension("part");
    let mut file = File::create(&part).at("write", &part)?;
    file.write_all(text.as_bytes()).at("write", &part)?;
    file.sync_all().at("write", &part)?;
    fs::rename(&part, path).at("write", path)
}

/// Grades one submission, and writes what is known of it.
fn one(
    course: &Course,
    plan: &Plan,
    submission: &Submission,
    fingerprint: &str,
    slot: usize,
    stop: &Stop,
) -> Result<Told> {
    let begun = Instant::now();
    let lab = submission.lab.as_deref().and_then(|name| course.find(name).ok());
    let mut told = Told {
        student: submission.student.clone(),
        id: submission.id.clone(),
        lab: submission.lab.clone(),
        file: submission.path.to_string_lossy().into_owned(),
        points: 0,
        of: lab.map_or(0, Lab::points),
        outcome: Outcome::NotRead,
        reason: None,
        notes: Vec::new(),
        grade: None,
        seconds: 0,
        fingerprint: fingerprint.to_owned(),
    };
    match (&submission.text, lab) {
        (Err(why), _) => told.reason = Some(why.clone()),
        (Ok(_), None) => told.reason = Some("there is no such lab".to_owned()),
        (Ok(text), Some(lab)) => {
            let mut end = work(course, plan, submission, lab, text, slot, stop)?;
            if let Finding::Machine(_) = end {
                // A machine may have its bad minutes.
                end = work(course, plan, submission, lab, text, slot, stop)?;
            }
            end.tell(&mut told);
        }
    }
    told.seconds = begun.elapsed().as_secs();
    let path = plan.out.join("results").join(place(submission)).with_extension("json");
    let text = serde_json::to_string_pretty(&told).map_err(|error| Trouble::other(error.to_string()))?;
    write(&path, &text)?;
    Ok(told)
}

/// What a worker found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// A grade.
    Grade(Box<Grade>),
    /// That this machine cannot do it.
    Machine(String),
    /// Nothing: it did not come to an end of its own.
    Nothing(String),
}

impl Finding {
    fn tell(self, told: &mut Told) {
        match self {
            Self::Grade(grade) => {
                told.points = grade.points;
                told.outcome = if grade.trouble.is_some() {
                    Outcome::NotBuilt
                } else {
                    Outcome::Graded
                };
                told.reason = grade.trouble.as_deref().map(summary::gist);
                told.grade = Some(*grade);
            }
            Self::Machine(why) => {
                told.outcome = Outcome::NotGraded;
                told.reason = Some(why);
            }
            Self::Nothing(why) => {
                told.outcome = Outcome::Unclear;
                told.reason = Some(why);
            }
        }
    }
}

/// Lets a process of its own grade a submission.
fn work(
    course: &Course,
    plan: &Plan,
    submission: &Submission,
    lab: &Lab,
    text: &str,
    slot: usize,
    stop: &Stop,
) -> Result<Finding> {
    let logs = plan.out.join("logs").join(place(submission));
    let work = plan.out.join("work").join(place(submission));
    for directory in [&logs, &work] {
        if directory.exists() {
            fs::remove_dir_all(directory).at("remove", directory)?;
        }
        fs::create_dir_all(directory).at("create", directory)?;
    }
    // The worker reads what was read here: the file may be another one by now.
    let chapter = work.join("chapter.md");
    fs::write(&chapter, text).at("write", &chapter)?;
    let this = std::env::current_exe().at("find", Path::new("this program"))?;
    // It ends when this program does, and what it started with it.
    let mut command = job::command("setpriv");
    command
        .args(["--pdeathsig", "TERM", "--"])
        .arg(this)
        .arg("--book")
        .arg(&course.root)
        .arg("grade-one")
        .arg("--lab")
        .arg(&lab.name)
        .arg("--chapter")
        .arg(&chapter)
        .arg("--dir")
        .arg(&logs)
        .arg("--confined")
        .arg(work.join("confined"))
        .arg("--memory")
        .arg(&plan.memory)
        .arg("--user")
        .arg((FIRST_USER + slot).to_string())
        .arg("--hide")
        .arg(&plan.submissions)
        .arg("--hide")
        .arg(&plan.out);
    if plan.unconfined {
        command.arg("--unconfined");
    }
    let limits = Limits {
        silence: None,
        whole: Some(plan.time),
    };
    let mut finding = None;
    let mut last = String::new();
    let end = job::run(
        command,
        &limits,
        Some(&logs.join("grader.log")),
        stop,
        |line| match line.strip_prefix(worker::FINDING).map(serde_json::from_str) {
            Some(Ok(found)) => finding = Some(found),
            _ => line.clone_into(&mut last),
        },
    )?;
    if !plan.keep {
        // A system is a few hundred megabytes.
        fs::remove_dir_all(&work).at("remove", &work)?;
    }
    Ok(match (finding, end) {
        // Whoever makes it panic chooses some of its last words.
        (Some(finding), end) if end.success() => finding,
        (_, End::TooLong) => Finding::Nothing(format!(
            "it was not graded in {} s; does something in it wait, or compute, forever?",
            plan.time.as_secs()
        )),
        (_, end) => Finding::Nothing(format!("the grader itself did not survive it ({end:?}): {last}")),
    })
}

/// The user who is the first of those that are confined. They are nobody's on Debian, and in a container with users of its own.
const FIRST_USER: usize = 62_000;

/// What is identical up to its white space. Whoever hands in what others have handed in, too, has perhaps not written it.
fn note_what_is_identical(course: &Course, found: &[Submission], told: &mut [Told]) {
    let plain = |text: &str| fingerprint(text.split_whitespace().collect::<Vec<_>>().join(" ").as_bytes());
    let mut groups: BTreeMap<(Option<&str>, String), Vec<usize>> = BTreeMap::new();
    for (at, submission) in found.iter().enumerate() {
        if let Ok(text) = &submission.text {
            groups
                .entry((submission.lab.as_deref(), plain(text)))
                .or_default()
                .push(at);
        }
    }
    for ((lab, print), group) in groups {
        let lab = lab.and_then(|lab| course.find(lab).ok());
        let is = |view| lab.is_some_and(|lab| plain(&lab.extract(view)) == print);
        let (starter, solution) = (is(View::Starter), is(View::Solution));
        for &at in &group {
            let notes = &mut told[at].notes;
            notes.clear();
            if starter {
                notes.push("this is the chapter as it was handed out".to_owned());
                continue;
            }
            if solution {
                notes.push("this is the lab's own solution".to_owned());
            }
            let others: Vec<&str> = group
                .iter()
                .filter(|&&other| other != at)
                .map(|&other| found[other].student.as_str())
                .collect();
            if !others.is_empty() {
                notes.push(format!("identical to what {} handed in", others.join(", ")));
            }
        }
    }
}

/// Marks without points: all that can be said of what was never tested.
#[must_use]
pub fn nothing(lab: &Lab) -> Vec<score::Mark> {
    score::score(lab, &BTreeMap::new(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(student: &str, text: &str) -> Submission {
        Submission {
            student: student.to_owned(),
            id: student.to_owned(),
            lab: Some("01-a".to_owned()),
            path: student.into(),
            text: Ok(text.to_owned()),
        }
    }

    #[test]
    fn who_has_copied_is_noted() {
        let lab = crate::lab::tests::LAB;
        let course = Course {
            root: "/book".into(),
            labs: vec![Lab::read("labs/01-a.md", lab)],
        };
        let starter = course.labs[0].extract(View::Starter);
        let solution = course.labs[0].extract(View::Solution);
        let found = [
            submission("ann", "one  two\n"),
            submission("bob", "one\ntwo"),
            submission("cat", "one two three"),
            submission("dan", &starter),
            submission("eve", &solution),
        ];
        let graders = Graders {
            common: String::new(),
            labs: BTreeMap::new(),
        };
        let mut told: Vec<Told> = found
            .iter()
            .map(|one| Told {
                student: one.student.clone(),
                id: one.id.clone(),
                lab: one.lab.clone(),
                file: String::new(),
                points: 0,
                of: 0,
                outcome: Outcome::Graded,
                reason: None,
                notes: vec!["an old note".to_owned()],
                grade: None,
                seconds: 0,
                fingerprint: graders.fingerprint(one),
            })
            .collect();
        note_what_is_identical(&course, &found, &mut told);
        let notes: Vec<&[String]> = told.iter().map(|one| one.notes.as_slice()).collect();
        assert_eq!(notes[0], ["identical to what bob handed in"]);
        assert_eq!(notes[1], ["identical to what ann handed in"]);
        assert!(notes[2].is_empty());
        assert_eq!(notes[3], ["this is the chapter as it was handed out"]);
        assert_eq!(notes[4], ["this is the lab's own solution"]);
        assert_ne!(told[0].fingerprint, told[2].fingerprint);
    }

    #[test]
    fn only_one_works_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).is_err());
        drop(first);
        lock(dir.path()).unwrap();
    }
}
