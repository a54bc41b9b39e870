//! Rounds: tangle, and run what depends on what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tangle::diagnostic::{self, Format};
use tangle::disk::{self, Error, Inputs, Mode};
use tangle::record;
use tangle::watch::{Changes, Rule};

use super::job::{End, Job};
use super::screen::Screen;
use super::{Event, Options};
use crate::shared::{Status, count};

/// An editor may write a file in several steps: this long after the last one it is thought to be done.
const SETTLED: Duration = Duration::from_millis(40);
/// Whoever has been asked to end gets this long.
const GRACE: Duration = Duration::from_secs(5);

/// Why the files are not what the chapters say.
struct Trouble {
    /// In one line.
    status: String,
    /// In full.
    text: String,
}

/// A rule, and the changes since it was fine last.
struct Task {
    rule: Rule,
    changes: Changes,
}

/// The command of a task that runs.
struct Running {
    job: Job,
    task: usize,
    /// It was asked to end, and does not have longer than this.
    until: Option<Instant>,
}

/// What is known and what is going on while a book is watched.
pub struct Session<'a> {
    options: &'a Options,
    root: PathBuf,
    out: PathBuf,
    /// What the paths of generated files begin with, seen from `book.toml`.
    prefix: String,
    sender: Sender<Event>,
    screen: Screen,
    /// The fingerprint of the book as it was tangled last.
    seen: String,
    /// All files of that book, by their path relative to `book.toml`.
    texts: BTreeMap<String, String>,
    tasks: Vec<Task>,
    /// What changed in this round, in words.
    round: String,
    /// The names of the tasks that were fine in this round.
    fine: Vec<String>,
    running: Option<Running>,
    /// The chapters have mistakes, and the files are those of an earlier book.
    broken: bool,
    companions: Vec<(String, Job)>,
}

impl<'a> Session<'a> {
    /// Knows the files as they are now.
    pub fn new(options: &'a Options, root: PathBuf, inputs: &Inputs, sender: Sender<Event>) -> Result<Self, Error> {
        let out = options.place.out(inputs.out()).to_owned();
        let below = out.strip_prefix(&root).unwrap_or(&out).to_string_lossy();
        let prefix = format!("{}/", below.replace('\\', "/"));
        let mut session = Self {
            options,
            prefix,
            out,
            sender,
            screen: Screen::new(),
            seen: String::new(),
            texts: BTreeMap::new(),
            tasks: Vec::new(),
            round: String::new(),
            fine: Vec::new(),
            running: None,
            broken: false,
            companions: Vec::new(),
            root,
        };
        session.texts = session.all_texts(inputs, &|path| fs::read_to_string(session.out.join(path)).ok());
        session.learn(inputs)?;
        Ok(session)
    }

    /// Takes the rules from `book.toml`, unless there is a command.
    fn learn(&mut self, inputs: &Inputs) -> Result<(), Error> {
        let rules = match self.options.command.as_slice() {
            [] => inputs.rules().to_vec(),
            words => {
                let name = Path::new(&words[0]).file_name().unwrap_or(&words[0]);
                vec![Rule::always(name.to_string_lossy().into_owned(), String::new())]
            }
        };
        if self.tasks.iter().map(|task| &task.rule).eq(&rules) {
            return Ok(());
        }
        for rule in &rules {
            rule.check()
                .map_err(|error| Error::Config(self.root.join("book.toml"), error))?;
        }
        if let Some(running) = &self.running {
            running.job.end(true);
        }
        self.running = None;
        let changes = Changes::default();
        self.tasks = rules
            .into_iter()
            .map(|rule| Task {
                rule,
                changes: changes.clone(),
            })
            .collect();
        Ok(())
    }

    /// The chapters, and those files that `text` knows.
    fn all_texts(&self, inputs: &Inputs, text: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
        let chapters = inputs
            .chapters()
            .map(|(path, bytes)| (path.to_owned(), String::from_utf8_lossy(bytes).into_owned()));
        let json = fs::read_to_string(self.out.join(tangle::map::FILE)).unwrap_or_default();
        let map = tangle::map::LineMap::from_json(&json);
        let files = map.iter().flat_map(|map| map.files.keys());
        let files = files.filter_map(|path| Some((format!("{}{path}", self.prefix), text(path)?)));
        chapters.chain(files).collect()
    }

    /// Keeps a command running until the end.
    pub fn accompany(&mut self, command: &str) -> Result<(), Error> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(self.directory());
        let job = Job::start(shell, false, self.sender.clone())
            .map_err(|error| Error::Io("run", PathBuf::from(command), error))?;
        self.companions.push((command.to_owned(), job));
        Ok(())
    }

    fn directory(&self) -> &Path {
        if self.root.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.root
        }
    }

    /// Waits for events and sees to them, until there is a reason to end.
    pub fn listen(&mut self, events: &Receiver<Event>) -> Status {
        let mut settled: Option<Instant> = None;
        loop {
            let until = self.running.as_ref().and_then(|running| running.until);
            let event = match [settled, until].into_iter().flatten().min() {
                Some(moment) => events.recv_timeout(moment.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let result = match event {
                Ok(Event::Saved) => {
                    settled = Some(Instant::now() + SETTLED);
                    None
                }
                Ok(Event::Ended(end)) => self.ended(&end),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Status::Fine,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if until.is_some_and(|until| until <= now)
                        && let Some(running) = &mut self.running
                    {
                        running.job.end(true);
                        running.until = None;
                    }
                    if settled.is_some_and(|settled| settled <= now) {
                        settled = None;
                        self.saved()
                    } else {
                        None
                    }
                }
            };
            if let Some(status) = result {
                return status;
            }
        }
    }

    /// Begins the first round, if something was saved since the files were written.
    pub fn begin(&mut self, inputs: &Inputs) -> Option<Status> {
        let chapters = count(inputs.chapters().len(), "chapter");
        self.screen.status(format!("watching {chapters}"));
        let fingerprint = inputs.fingerprint();
        if record::up_to_date(&self.out, &fingerprint).is_some() {
            self.seen = fingerprint;
            return None;
        }
        self.saved()
    }

    /// Looks whether something was saved, and begins a new round if so. Returns how all ended, if this was all.
    fn saved(&mut self) -> Option<Status> {
        let changes = match self.tangle() {
            Ok(Some(changes)) => changes,
            Ok(None) => return None,
            Err(Trouble { status, text }) => {
                self.broken = true;
                self.cancel();
                self.screen.problem(&text);
                self.screen.status(status);
                return self.done(Status::Mistakes);
            }
        };
        self.broken = false;
        let mut concerned = false;
        for task in &mut self.tasks {
            let changes = task.rule.concerned(&changes);
            concerned |= !changes.is_empty();
            task.changes.add(&changes);
        }
        if concerned {
            self.cancel();
        } else if self.running.as_ref().is_some_and(|running| running.until.is_none()) {
            return None; // It may go on.
        }
        let files: Vec<&str> = changes.paths().filter(|path| path.starts_with(&self.prefix)).collect();
        self.round = match files.as_slice() {
            [] => "no file changed".to_owned(),
            [one] => format!("changed {one}"),
            many => format!("changed {}", count(many.len(), "file")),
        };
        self.fine.clear();
        if self.running.is_some() { None } else { self.next() }
    }

    /// Asks what runs to end.
    fn cancel(&mut self) {
        if let Some(running) = &mut self.running
            && running.until.is_none()
        {
            running.job.end(false);
            running.until = Some(Instant::now() + GRACE);
        }
    }

    /// Tangles, if the book is another one than the last time.
    fn tangle(&mut self) -> Result<Option<Changes>, Trouble> {
        let words = |error: Error| Trouble {
            status: "the chapters cannot be tangled".to_owned(),
            text: format!("error: {error}\n"),
        };
        let inputs = Inputs::read(&self.root).map_err(words)?;
        let fingerprint = inputs.fingerprint();
        if fingerprint == self.seen {
            return Ok(None);
        }
        self.learn(&inputs).map_err(words)?;
        self.seen.clone_from(&fingerprint);
        let project = inputs.clone().project().map_err(words)?;
        let program = match tangle::program(&project.book) {
            Ok(program) => program,
            Err(diagnostics) => {
                let format = if self.screen.has_colours() {
                    Format::Color
                } else {
                    Format::Human
                };
                return Err(Trouble {
                    status: format!("{} in the book", count(diagnostics.len(), "mistake")),
                    text: diagnostic::render(&project.book, &diagnostics, format),
                });
            }
        };
        let map = program.tangled.line_map(&project.book, &program.model);
        if record::up_to_date(&self.out, &fingerprint).is_none() {
            disk::write(&self.out, &program.tangled, &map, Mode::Write).map_err(words)?;
            record::write_stamp(&self.out, &fingerprint, &map)
                .map_err(|error| words(Error::Io("write", self.out.join(record::STAMP), error)))?;
        }
        let new = self.all_texts(&inputs, &|path| Some(program.tangled.files.get(path)?.text.clone()));
        let changes = Changes::between(&self.texts, &new);
        self.texts = new;
        Ok(Some(changes))
    }

    /// Starts the first task that has something to do. Returns how all ended, if this was all.
    fn next(&mut self) -> Option<Status> {
        for (at, task) in self.tasks.iter_mut().enumerate() {
            if task.changes.is_empty() {
                continue;
            }
            let Some(work) = task.rule.job(&task.changes, &self.root) else {
                task.changes = Changes::default();
                continue;
            };
            let name = task.rule.name.clone();
            self.screen.status(format!("{}: {name} ...", self.round));
            if self.tasks[at].rule.show {
                self.screen.leave();
            }
            let command = self.command(&self.tasks[at].rule, &work);
            match Job::start(command, self.tasks[at].rule.show, self.sender.clone()) {
                Ok(job) => {
                    let until = None;
                    self.running = Some(Running { job, task: at, until });
                    return None;
                }
                Err(error) => {
                    self.screen.problem(&format!("error: cannot run {name}: {error}\n"));
                    return self.done(Status::Trouble);
                }
            }
        }
        self.screen.mended();
        self.screen.status(match self.fine.as_slice() {
            [] => self.round.clone(),
            names => format!("{}: {} fine", self.round, names.join(", ")),
        });
        self.done(Status::Fine)
    }

    /// The end of a round.
    fn done(&self, status: Status) -> Option<Status> {
        self.options.once.then_some(status)
    }

    /// The command of a rule, run wrapped by this same program.
    fn command(&self, rule: &Rule, work: &tangle::watch::Job) -> Command {
        let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tangle"));
        let mut command = Command::new(own);
        let out = std::path::absolute(&self.out).unwrap_or_else(|_| self.out.clone());
        command.args(["wrap", "--book", ".", "--out"]).arg(out).arg("--");
        if self.options.command.is_empty() {
            // Both outputs go where one is read, in the order in which they come.
            command.args(["sh", "-c", &format!("exec 2>&1\n{}", rule.run)]);
        } else {
            command.args(&self.options.command);
        }
        command
            .current_dir(self.directory())
            .env("TANGLE_CHANGED", work.changed.join("\n"))
            .env("TANGLE_TESTS", work.tests.join(" "));
        if self.screen.has_colours() {
            command.env("CARGO_TERM_COLOR", "always").env("CLICOLOR_FORCE", "1");
        }
        command
    }

    /// Something that was started has ended. Returns how all ended, if this was all.
    fn ended(&mut self, end: &End) -> Option<Status> {
        if let Some(at) = self.companions.iter().position(|(_, job)| job.id() == end.id) {
            let (command, _) = self.companions.remove(at);
            let text = format!("{}`{command}` has ended: {}\n", end.output, end.status);
            self.screen.problem(&text);
            return None;
        }
        let running = self.running.take_if(|running| running.job.id() == end.id)?;
        if running.until.is_some() {
            // It was in the way of a newer round, or of one that begins when the book is mended.
            self.fine.clear();
            return if self.broken { None } else { self.next() };
        }
        let task = &mut self.tasks[running.task];
        if end.success {
            task.changes = Changes::default();
            self.fine.push(task.rule.name.clone());
            return self.next();
        }
        let status = format!("{}: {} failed ({})", self.round, task.rule.name, end.status);
        self.screen.problem(&end.output);
        self.screen.status(status);
        self.done(Status::Mistakes)
    }

    /// Ends all that was started, and waits until it has.
    pub fn end(&mut self, events: &Receiver<Event>) {
        let companions = std::mem::take(&mut self.companions);
        let mut jobs: Vec<Job> = companions.into_iter().map(|(_, job)| job).collect();
        jobs.extend(self.running.take().map(|running| running.job));
        for job in &jobs {
            job.end(false);
        }
        let until = Instant::now() + GRACE;
        while !jobs.is_empty() {
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended(end)) => jobs.retain(|job| job.id() != end.id),
                Ok(_) => {}
                Err(_) => {
                    for job in &jobs {
                        job.end(true);
                    }
                    break;
                }
            }
        }
        self.screen.leave();
    }
}
