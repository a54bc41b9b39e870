//! Proves the labs: that each is what it says it is.
//!
//! * Its form: a table that adds up, three hints for each task, tests of just these names, a wrong solution for each test.
//! * Its starter compiles without a warning, gets no point, and the book's own cases pass on it.
//! * Its solution gets all points.
//! * Each of its wrong solutions, which come after the solution and spoil it, fails the test that it is named after.
//! * Its solution is a good chapter, too, every fragment explained and every question answered; one without a word is none.
//!
//! All systems of a lab are tried in one boot of the VM, one after the other; one that ends it gets the others another. What is
//! said of a lab is said at a line of its file.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tangle::map;

use crate::boot::{self, Event, Outcome, word};
use crate::chapter;
use crate::course::Course;
use crate::grade::{News, Setting};
use crate::job::{self, Limits};
use crate::lab::{Lab, Problem, THE_BOOK, THE_CHAPTER, View};
use crate::score::{self, State};
use crate::system::{self, System};
use crate::trouble::{At, Result, Trouble};

/// What was proved, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// `lab/01/solution`.
    pub name: String,
    /// What is wrong.
    pub wrong: Option<String>,
}

/// How many systems are in one boot at most: all of them are in the VM's memory.
const TOGETHER: usize = 24;

/// One of the systems of a lab.
#[derive(Debug, Clone)]
struct Candidate {
    /// `solution`, or `wrong/answers--what-is-wrong`.
    label: String,
    kind: Kind,
    /// The chapters after the book: path and text.
    chapters: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Starter,
    Solution,
    /// It must fail this test.
    Wrong(String),
}

/// What is known of a candidate that was built, or of why it was not.
type Built = std::result::Result<System, String>;

/// Who hears of each proof as soon as there is one.
pub type Listener<'a> = &'a (dyn Fn(&Proof) + Sync);

/// Which of a lab's wrong solutions are tried, if not all: so many, as a word decides.
#[derive(Debug, Clone)]
pub struct Lot {
    /// How many of each lab's.
    pub many: usize,
    /// The same word draws the same ones.
    pub word: String,
}

impl Lot {
    /// Leaves what was drawn, in its order, and all that is not wrong.
    fn draw(&self, lab: &Lab, candidates: &mut Vec<Candidate>) {
        let ticket = |one: &Candidate| map::fingerprint(format!("{} {} {}", self.word, lab.id(), one.label).as_bytes());
        let is_wrong = |one: &&Candidate| matches!(one.kind, Kind::Wrong(_));
        let mut tickets: Vec<String> = candidates.iter().filter(is_wrong).map(ticket).collect();
        tickets.sort();
        tickets.truncate(self.many);
        candidates.retain(|one| !is_wrong(&one) || tickets.contains(&ticket(one)));
    }
}

/// Proves `labs`, two things at a time. A proof whose name does not contain one of the `filters` (any will do, if there is none)
/// is not asked for, nor is what is wrong and not drawn by `lot`.
///
/// # Errors
/// When this machine cannot do it, or somebody asks for the end.
pub fn prove(
    course: &Course,
    labs: &[&Lab],
    filters: &[String],
    lot: Option<&Lot>,
    setting: &Setting,
    tell: Listener<'_>,
) -> Result<()> {
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let named = names_of_tests(course, setting)?;
    let mut plans = Vec::new();
    for lab in labs {
        let wrong = course.wrong(lab)?;
        let problems = form(lab, &wrong, named.get(&lab.number));
        let name = format!("lab/{}/form", lab.id());
        if wanted(&name) {
            tell(&Proof {
                name,
                wrong: at_lines(lab, &problems),
            });
        }
        let mut candidates = candidates(course, lab, &wrong)?;
        candidates.retain(|one| wanted(&format!("lab/{}/{}", lab.id(), one.label)));
        if let Some(lot) = lot {
            lot.draw(lab, &mut candidates);
        }
        let name = format!("lab/{}/chapter", lab.id());
        if lab.has_solution() && wanted(&name) {
            tell(&Proof {
                name,
                wrong: not_a_good_chapter(course, lab),
            });
        }
        if lab.has_solution() && wanted(&format!("lab/{}/{SILENT}", lab.id())) {
            tell(&silent(course, lab));
        }
        plans.push((*lab, candidates));
    }
    Work::new(course, plans, setting, tell).run()
}

/// The tests that the program in the VM has, by the number of the lab.
fn names_of_tests(course: &Course, setting: &Setting) -> Result<BTreeMap<u32, Vec<String>>> {
    let program = course.root.join("target/vmtests/payload/vmtests");
    let mut all = BTreeMap::new();
    for lab in &course.labs {
        let mut command = setting.command(&program);
        command.args(["--lab", &lab.id(), "--list"]);
        let mut names = Vec::new();
        let end = job::run(command, &Limits::default(), None, &setting.stop, |line| {
            names.push(line.to_owned());
        })?;
        if end.success() {
            all.insert(lab.number, names);
        }
    }
    Ok(all)
}

/// What is wrong with the form of a lab. `tests` are the names of those that there are.
fn form(lab: &Lab, wrong: &[(String, String)], tests: Option<&Vec<String>>) -> Vec<Problem> {
    let mut problems = lab.problems.clone();
    let mut say = |line: usize, what: String| problems.push(Problem { line, what });
    let table = lab.rows.first().map_or(1, |row| row.line);
    let file = Course::tests_of(lab);
    match tests {
        None => say(table, format!("its tests are not there: {file}")),
        Some(tests) => {
            for row in lab
                .rows
                .iter()
                .filter(|row| row.is_test() && !tests.contains(&row.name))
            {
                say(row.line, format!("{file} has no test `{}`", row.name));
            }
            for test in tests.iter().filter(|test| lab.row(test).is_none()) {
                say(table, format!("{file} has a test `{test}`, and the table has not"));
            }
        }
    }
    let first = lab.rows.iter().find(|row| row.is_test());
    for name in [THE_BOOK, THE_CHAPTER] {
        match (lab.row(name), first) {
            (None, _) => say(table, format!("the table has no row `{name}`")),
            (Some(row), Some(first)) if !row.after.contains(&first.name) => say(
                row.line,
                format!(
                    "`{name}` counts only after `{}`, or the starter would get points",
                    first.name
                ),
            ),
            _ => {}
        }
    }
    let points = match lab.time.as_str() {
        "an hour" => 10..=10,
        "an evening" => 20..=20,
        "a weekend" => 30..=40,
        other => {
            say(
                2,
                format!("`time: {other}` is none of `an hour`, `an evening`, `a weekend`"),
            );
            0..=u32::MAX
        }
    };
    if !points.contains(&lab.points()) {
        let what = format!(
            "{} has {} to {} points, this one has {}",
            lab.time,
            points.start(),
            points.end(),
            lab.points()
        );
        say(table, what);
    }
    for task in &lab.tasks {
        if task.hints.len() != 3 {
            say(
                task.line,
                format!("a task has three hints, this one has {}", task.hints.len()),
            );
        }
        if task.hints.iter().any(|hint| hint.text.is_empty()) {
            say(task.line, "a hint of this task says nothing".to_owned());
        }
    }
    if lab.questions.is_empty() {
        say(1, "there is no question to answer: a section `## Questions`".to_owned());
    }
    if !lab.has_solution() {
        say(1, "there is no solution in it".to_owned());
    }
    for row in lab.rows.iter().filter(|row| row.is_test()) {
        if !wrong.iter().any(|(test, _)| is_named(test, &row.name)) {
            let name = row.name.replace(' ', "-");
            let place = format!("labs/wrong/{}/{name}--what-is-wrong.md", lab.id());
            say(
                row.line,
                format!("no wrong solution fails `{}`: {place} would", row.name),
            );
        }
    }
    for (test, path) in wrong {
        if !lab.rows.iter().any(|row| is_named(test, &row.name)) {
            say(
                table,
                format!("{path} is named after a test that there is not: `{test}`"),
            );
        }
    }
    problems
}

/// Whether a file that begins with `test` is named after the test `name`, in which there may be spaces.
fn is_named(test: &str, name: &str) -> bool {
    test == name || test == name.replace(' ', "-")
}

fn at_lines(lab: &Lab, problems: &[Problem]) -> Option<String> {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}:{}: {}", lab.path, problem.line, problem.what))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// All systems of a lab.
fn candidates(course: &Course, lab: &Lab, wrong: &[(String, String)]) -> Result<Vec<Candidate>> {
    let view = |view| (lab.path.clone(), lab.in_place(view));
    let mut all = vec![Candidate {
        label: "starter".to_owned(),
        kind: Kind::Starter,
        chapters: vec![view(View::Starter)],
    }];
    if !lab.has_solution() {
        return Ok(all);
    }
    all.push(Candidate {
        label: "solution".to_owned(),
        kind: Kind::Solution,
        chapters: vec![view(View::Solution)],
    });
    for (test, path) in wrong {
        let Some(row) = lab.rows.iter().find(|row| is_named(test, &row.name)) else {
            continue;
        };
        let full = course.root.join(path);
        let text = fs::read_to_string(&full).at("read", &full)?;
        let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".md");
        all.push(Candidate {
            label: format!("wrong/{stem}"),
            kind: Kind::Wrong(row.name.clone()),
            chapters: vec![view(View::Solution), (path.clone(), text)],
        });
    }
    Ok(all)
}

/// The name of the proof that words are asked for.
const SILENT: &str = "wrong/the-chapter--says-nothing";

/// A solution of which nothing but the code is left must not be taken for a chapter.
fn silent(course: &Course, lab: &Lab) -> Proof {
    let name = format!("lab/{}/{SILENT}", lab.id());
    let text = without_words(&lab.in_place(View::Starter), &lab.in_place(View::Solution));
    let wrong = match system::extend(course, &[(lab.path.clone(), text)]) {
        Err(trouble) => Some(trouble.to_string()),
        Ok(extended) => {
            let marks = score::score(lab, &all_passed(lab), Some(&chapter::read(lab, &extended)));
            let mark = marks.iter().find(|mark| mark.name == THE_CHAPTER);
            match mark {
                Some(mark) if mark.state == State::Passed => Some(format!(
                    "{}: `{THE_CHAPTER}` would give all points to the code of the solution alone",
                    lab.path
                )),
                _ => None,
            }
        }
    };
    Proof { name, wrong }
}

/// The solution, in which nothing is left of the lines of text that the starter has not.
fn without_words(starter: &str, solution: &str) -> String {
    let mut fence: Option<&str> = None;
    let known: std::collections::HashSet<&str> = starter.lines().collect();
    let mut out = String::new();
    for line in solution.lines() {
        let bare = line.trim_start();
        let mark = bare.get(..3).filter(|mark| matches!(*mark, "```" | "~~~"));
        let is_code = fence.is_some() || mark.is_some();
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark && bare.trim_matches(['`', '~', ' ']).is_empty() => fence = None,
            _ => {}
        }
        if is_code || known.contains(line) {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn all_passed(lab: &Lab) -> BTreeMap<String, Outcome> {
    let names = lab.rows.iter().map(|row| row.name.clone());
    names.map(|name| (name, Outcome::Passed)).collect()
}

/// Something that one of the two workers does.
enum Task {
    /// Builds a candidate of a lab.
    Build(usize, usize),
    /// Tries all candidates of a lab.
    Boot(usize),
}

/// Whether a candidate is built after the solution: what it has in common with that is there then.
fn waits(candidates: &[Candidate], at: usize) -> bool {
    matches!(candidates[at].kind, Kind::Wrong(_)) && candidates.iter().any(|one| one.kind == Kind::Solution)
}

struct Shared {
    tasks: VecDeque<Task>,
    /// The candidates of each lab, as far as they were built.
    built: Vec<Vec<Option<Built>>>,
    /// How many workers do something: more tasks may come of that.
    busy: usize,
    trouble: Option<Trouble>,
}

struct Work<'a> {
    course: &'a Course,
    plans: Vec<(&'a Lab, Vec<Candidate>)>,
    setting: &'a Setting,
    tell: Listener<'a>,
    state: Mutex<Shared>,
    news: Condvar,
}

impl<'a> Work<'a> {
    fn new(
        course: &'a Course,
        plans: Vec<(&'a Lab, Vec<Candidate>)>,
        setting: &'a Setting,
        tell: Listener<'a>,
    ) -> Self {
        let tasks = plans
            .iter()
            .enumerate()
            .flat_map(|(lab, (_, candidates))| {
                let first = (0..candidates.len()).filter(|&at| !waits(candidates, at));
                first.map(move |at| Task::Build(lab, at))
            })
            .collect();
        let built = plans
            .iter()
            .map(|(_, candidates)| vec![None; candidates.len()])
            .collect();
        Self {
            course,
            plans,
            setting,
            tell,
            state: Mutex::new(Shared {
                tasks,
                built,
                busy: 0,
                trouble: None,
            }),
            news: Condvar::new(),
        }
    }

    fn run(self) -> Result<()> {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| self.worker());
            }
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.trouble.map_or(Ok(()), Err)
    }

    fn worker(&self) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let task = loop {
                if state.trouble.is_some() {
                    return;
                }
                if let Some(task) = state.tasks.pop_front() {
                    break task;
                }
                if state.busy == 0 {
                    return;
                }
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy += 1;
            drop(state);
            let result = match task {
                Task::Build(lab, at) => self.build(lab, at),
                Task::Boot(lab) => self.boot(lab),
            };
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy -= 1;
            if let Err(trouble) = result {
                state.trouble.get_or_insert(trouble);
            }
            drop(state);
            self.news.notify_all();
        }
    }

    fn dir(&self, lab: &Lab) -> PathBuf {
        self.course.root.join("target/labs/prove").join(lab.id())
    }

    fn build(&self, lab: usize, at: usize) -> Result<()> {
        let (of, candidates) = &self.plans[lab];
        let candidate = &candidates[at];
        let dir = self.dir(of).join(candidate.label.replace(['/', ' '], "-"));
        let built = self.built(of, candidate, &dir);
        let built = match built {
            Ok(system) => Ok(system),
            Err(trouble) if trouble.is_the_chapters() => Err(trouble.to_string()),
            Err(trouble) => return Err(trouble),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.built[lab][at] = Some(built);
        if candidate.kind == Kind::Solution {
            let waiting = (0..candidates.len()).rev().filter(|&at| waits(candidates, at));
            waiting.for_each(|at| state.tasks.push_front(Task::Build(lab, at)));
        }
        if state.built[lab].iter().all(Option::is_some) {
            state.tasks.push_front(Task::Boot(lab));
        }
        Ok(())
    }

    /// Builds one candidate, and sees to all of it that needs no VM.
    fn built(&self, lab: &Lab, candidate: &Candidate, dir: &Path) -> Result<System> {
        let warnings = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&warnings);
        let setting = Setting {
            listener: Arc::new(move |news| {
                if let News::Warning(line) = news {
                    let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = writeln!(all, "{line}");
                }
            }),
            ..self.setting.clone()
        };
        let extended = system::extend(self.course, &candidate.chapters)?;
        let files = system::files(&extended.program);
        let refusals = system::refused(self.course, lab, &files)?;
        if !refusals.is_empty() {
            return Err(Trouble::Refused(refusals));
        }
        let system = System::at(dir);
        system.write(&extended)?;
        system.build(self.course, &files, dir, &setting)?;
        let warnings = warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match candidate.kind {
            Kind::Starter | Kind::Solution if !warnings.is_empty() => Err(Trouble::Mistakes {
                shown: warnings,
                log: None,
            }),
            _ => Ok(system),
        }
    }

    /// Tries what was built of a lab, in as few boots as may be, and tells.
    fn boot(&self, lab: usize) -> Result<()> {
        let (of, candidates) = &self.plans[lab];
        let built = self.state.lock().unwrap_or_else(PoisonError::into_inner).built[lab].clone();
        let tell = |candidate: &Candidate, wrong: Option<String>| {
            (self.tell)(&Proof {
                name: format!("lab/{}/{}", of.id(), candidate.label),
                wrong,
            });
        };
        let mut left = VecDeque::new();
        for (candidate, built) in candidates.iter().zip(&built) {
            match built {
                Some(Ok(system)) => left.push_back((candidate, system)),
                Some(Err(why)) => tell(candidate, Some(why.clone())),
                None => {}
            }
        }
        for attempt in 1.. {
            if left.is_empty() {
                break;
            }
            let now: Vec<_> = left.iter().take(TOGETHER).copied().collect();
            let trial = Trial {
                course: self.course,
                lab: of,
                systems: &now,
                setting: self.setting,
                dir: self.dir(of),
                attempt,
            };
            let tried = trial.run()?;
            let through = tried.len().max(1);
            let mut tried = tried.into_iter();
            for _ in 0..through {
                let Some((candidate, _)) = left.pop_front() else { break };
                let outcomes = tried.next().unwrap_or_default();
                let verdict = verdict(of, candidate, &outcomes);
                tell(
                    candidate,
                    verdict.map(|why| format!("{why}\n{}", trial.log().display())),
                );
            }
        }
        Ok(())
    }
}

/// Why the solution's chapter would not get its points.
fn not_a_good_chapter(course: &Course, lab: &Lab) -> Option<String> {
    let extended = match system::extend(course, &[(lab.path.clone(), lab.in_place(View::Solution))]) {
        Ok(extended) => extended,
        Err(trouble) => return Some(trouble.to_string()),
    };
    let marks = score::score(lab, &all_passed(lab), Some(&chapter::read(lab, &extended)));
    let mut out = String::new();
    for mark in marks.iter().filter(|mark| mark.state != State::Passed) {
        for why in &mark.why {
            let _ = writeln!(out, "{}: `{}`: {why}", lab.path, mark.name);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// What a candidate is tried with: the rows of the table, by name.
fn rows_for(lab: &Lab, candidate: &Candidate) -> Vec<String> {
    let rows = lab.rows.iter().filter(|row| row.name != THE_CHAPTER);
    match &candidate.kind {
        // The others would get no points without these.
        Kind::Starter => rows
            .filter(|row| row.after.is_empty() || row.name == THE_BOOK)
            .map(|row| row.name.clone())
            .collect(),
        Kind::Solution => rows.map(|row| row.name.clone()).collect(),
        Kind::Wrong(test) => rows
            .filter(|row| row.name == *test)
            .map(|row| row.name.clone())
            .collect(),
    }
}

/// What is wrong with a candidate that did so.
fn verdict(lab: &Lab, candidate: &Candidate, outcomes: &BTreeMap<String, Outcome>) -> Option<String> {
    let mut wrong = String::new();
    for name in rows_for(lab, candidate) {
        let line = lab.row(&name).map_or(1, |row| row.line);
        let at = format!("{}:{line}: `{name}`", lab.path);
        let must_pass = candidate.kind == Kind::Solution || name == THE_BOOK && candidate.kind == Kind::Starter;
        match (outcomes.get(&name), must_pass) {
            (Some(Outcome::Passed), true) | (Some(Outcome::Failed(_)), false) => {}
            (Some(Outcome::Passed), false) => {
                let _ = writeln!(wrong, "{at} passes with the {}, and must not", candidate.label);
            }
            (Some(Outcome::Failed(why)), true) => {
                let _ = writeln!(wrong, "{at} fails with the {}: {why}", candidate.label);
            }
            (other, _) => {
                let _ = writeln!(wrong, "{at} was not run with the {}: {other:?}", candidate.label);
            }
        }
    }
    (!wrong.is_empty()).then_some(wrong)
}

/// One boot with several systems.
struct Trial<'a> {
    course: &'a Course,
    lab: &'a Lab,
    systems: &'a [(&'a Candidate, &'a System)],
    setting: &'a Setting,
    dir: PathBuf,
    attempt: usize,
}

type Outcomes = BTreeMap<String, Outcome>;

impl Trial<'_> {
    fn log(&self) -> PathBuf {
        self.dir.join(format!("boot-{}.log", self.attempt))
    }

    /// How the systems did, as far as the VM got.
    fn run(&self) -> Result<Vec<Outcomes>> {
        let token = boot::token()?;
        let overlay = self.dir.join("overlay");
        if overlay.exists() {
            fs::remove_dir_all(&overlay).at("remove", &overlay)?;
        }
        for (at, (_, system)) in self.systems.iter().enumerate() {
            link(&system.payload, &overlay.join("systems").join(at.to_string()))?;
        }
        let top = &self.course.root;
        let secret = boot::secret(&self.dir, &token)?;
        let name = format!("prove-{}-{}", self.lab.id(), &token[..6]);
        let mut command = self.setting.command(top.join("scripts/vm"));
        command
            .current_dir(top)
            .args(["--no-load", "--root"])
            .arg(&overlay)
            .arg("--root")
            .arg(&secret)
            .arg("--extra")
            .arg(top.join("target/vmtests/payload"))
            .args(["--name", &name, "--timeout", "3600", "sh", "-c", &self.script()])
            .env("KERNEL_ARGS", "softlockup_panic=1");
        let limits = Limits {
            silence: Some(Duration::from_secs(400)),
            whole: None,
        };
        let mut tried: Vec<Outcomes> = Vec::new();
        let mut heard = boot::Heard::default();
        let mut over = false;
        let end = job::run(command, &limits, Some(&self.log()), &self.setting.stop, |line| {
            let prefix = format!("lab {token} ");
            match line
                .strip_prefix(&prefix)
                .map(|rest| rest.split_once(' ').unwrap_or((rest, "")))
            {
                Some(("system", _)) => {
                    if let Some(last) = tried.last_mut() {
                        *last = std::mem::take(&mut heard).into_outcomes();
                    }
                    tried.push(Outcomes::new());
                }
                Some(("end", _)) => over = true,
                _ => {
                    if let Some(event) = Event::read(line, &token) {
                        heard.take(event);
                    }
                }
            }
        });
        boot::keep_kernel_log(
            &top.join("target/vm"),
            &name,
            &self.dir.join(format!("boot-{}.kernel.log", self.attempt)),
        )?;
        let end = end?;
        if let Some(last) = tried.last_mut() {
            heard.end_with(end);
            *last = heard.into_outcomes();
        }
        if tried.is_empty() && !over {
            let said = fs::read_to_string(self.log()).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(
                Trouble::other(format!("the VM did not come to the first system:\n{}", last.join("\n")))
                    .help(format!("all of it: {}", self.log().display())),
            );
        }
        Ok(tried)
    }

    /// What the shell in the VM does. A module that cannot be taken out again ends the boot.
    fn script(&self) -> String {
        let mut out = format!(
            "{}\
             system() {{ \
             if [ -e /sys/module/lguest ]; then rmmod lguest || exit 3; fi; \
             echo \"lab $token system $1\"; dir=/systems/$1; \
             insmod $dir/modules/lguest.ko fixed=1; }}\n\
             tests() {{ LAB_TOKEN=$token LGUEST_KO=$dir/modules/lguest.ko /extra/vmtests --payload $dir --lab \"$@\"; }}\n",
            boot::READ_TOKEN
        );
        for (at, (candidate, _)) in self.systems.iter().enumerate() {
            let _ = writeln!(out, "system {at} || exit 3");
            for name in rows_for(self.lab, candidate) {
                if name == THE_BOOK {
                    let cases: Vec<String> = self.lab.cases.iter().map(|case| word(case)).collect();
                    let _ = writeln!(out, "tests book {}; echo \"lab $token book $?\"", cases.join(" "));
                } else {
                    let _ = writeln!(out, "tests {} {}", self.lab.id(), word(&name));
                }
            }
        }
        let _ = writeln!(out, "echo \"lab $token end\"");
        out
    }
}

/// The files of a payload, at another place without a copy where that can be.
fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).at("create", to)?;
    for entry in fs::read_dir(from).at("read", from)? {
        let entry = entry.at("read", from)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            link(&from, &to)?;
        } else if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).at("copy", &from)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::LAB;

    fn lab() -> Lab {
        Lab::read("labs/01-number.md", LAB)
    }

    fn wrong(list: &[&str]) -> Vec<(String, String)> {
        list.iter()
            .map(|test| ((*test).to_owned(), format!("labs/wrong/01/{test}--x.md")))
            .collect()
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_word_draws_some_of_the_wrong_ones_and_always_the_same() {
        let candidate = |number: usize| Candidate {
            label: format!("wrong/answers--{number}"),
            kind: if number < 2 {
                Kind::Solution
            } else {
                Kind::Wrong("answers".to_owned())
            },
            chapters: Vec::new(),
        };
        let drawn = |word: &str| -> Vec<String> {
            let mut all: Vec<Candidate> = (0..22).map(candidate).collect();
            let word = word.to_owned();
            Lot { many: 3, word }.draw(&lab(), &mut all);
            all.into_iter().map(|one| one.label).collect()
        };
        let one = drawn("one");
        assert_eq!(one.len(), 2 + 3);
        assert_eq!(one, drawn("one"));
        assert!(["two", "three", "four"].iter().any(|word| drawn(word) != one));
    }

    #[test]
    fn a_good_lab_has_a_good_form() {
        let problems = form(
            &lab(),
            &wrong(&["answers", "refuses"]),
            Some(&names(&["answers", "refuses"])),
        );
        assert_eq!(problems, []);
    }

    #[test]
    fn what_does_not_agree_is_told_at_its_line() {
        let told = |problems: Vec<Problem>| at_lines(&lab(), &problems).unwrap_or_default();
        let good = names(&["answers", "refuses"]);
        let missing = told(form(&lab(), &wrong(&["answers"]), Some(&good)));
        assert!(
            missing.starts_with("labs/01-number.md:58: no wrong solution fails `refuses`"),
            "{missing}"
        );
        let other = told(form(
            &lab(),
            &wrong(&["answers", "refuses", "x"]),
            Some(&names(&["answers", "more"])),
        ));
        assert!(
            other.contains("has no test `refuses`") && other.contains("has a test `more`"),
            "{other}"
        );
        assert!(other.contains("named after a test that there is not: `x`"), "{other}");
        let worth = Lab::read("labs/01-a.md", &LAB.replace("an hour", "an evening"));
        let worth = told(form(&worth, &wrong(&["answers", "refuses"]), Some(&good)));
        assert!(
            worth.contains("an evening has 20 to 20 points, this one has 10"),
            "{worth}"
        );
        let hints = Lab::read(
            "labs/01-a.md",
            &LAB.replace("<details><summary>Hint 3", "<details><summary>Tip"),
        );
        let hints = told(form(&hints, &wrong(&["answers", "refuses"]), Some(&good)));
        assert!(hints.contains("three hints, this one has 2"), "{hints}");
    }

    fn candidate(kind: Kind) -> Candidate {
        Candidate {
            label: "one".to_owned(),
            kind,
            chapters: Vec::new(),
        }
    }

    fn outcomes(list: &[(&str, bool)]) -> Outcomes {
        let outcome = |passed: bool| {
            if passed {
                Outcome::Passed
            } else {
                Outcome::Failed("no".to_owned())
            }
        };
        list.iter()
            .map(|(name, passed)| ((*name).to_owned(), outcome(*passed)))
            .collect()
    }

    #[test]
    fn starters_fail_solutions_pass_and_wrong_ones_fail_their_test() {
        let is_fine = |kind: Kind, list: &[(&str, bool)]| verdict(&lab(), &candidate(kind), &outcomes(list)).is_none();
        assert!(is_fine(Kind::Starter, &[("answers", false), (THE_BOOK, true)]));
        assert!(!is_fine(Kind::Starter, &[("answers", true), (THE_BOOK, true)]));
        assert!(!is_fine(Kind::Starter, &[("answers", false), (THE_BOOK, false)]));
        assert!(is_fine(
            Kind::Solution,
            &[("answers", true), ("refuses", true), (THE_BOOK, true)]
        ));
        assert!(!is_fine(
            Kind::Solution,
            &[("answers", true), ("refuses", false), (THE_BOOK, true)]
        ));
        assert!(!is_fine(Kind::Solution, &[("answers", true), (THE_BOOK, true)]));
        let refuses = || Kind::Wrong("refuses".to_owned());
        assert!(is_fine(refuses(), &[("refuses", false)]));
        assert!(!is_fine(refuses(), &[("refuses", true)]));
        assert!(!is_fine(refuses(), &[]));
    }

    #[test]
    fn a_file_is_named_after_a_test_with_spaces_in_its_name() {
        assert!(is_named("two-words", "two words") && is_named("a-b", "a-b"));
        assert!(!is_named("two", "two words"));
    }

    #[test]
    fn without_words_the_code_is_left() {
        let lab = lab();
        let silent = without_words(&lab.in_place(View::Starter), &lab.in_place(View::Solution));
        assert!(silent.contains("\nask(1);\n") && silent.contains("Goal."));
        assert!(!silent.contains("nobody else has") && !silent.contains("copy nothing"));
        assert_eq!(silent.lines().count(), LAB.lines().count());
    }
}
