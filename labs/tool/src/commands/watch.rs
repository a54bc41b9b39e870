//! `lab watch`: whoever writes sees after every save how far it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::course::Course;
use lab::grade::{Grade, Submission};
use lab::hints;
use lab::job::Stop;
use lab::lab::{Lab, THE_CHAPTER};
use lab::progress::Progress;
use lab::report::{self, BOLD, DIM, GOOD, styled};
use lab::score::State;
use lab::trouble::{At, Result, Trouble};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use notify::{RecursiveMode, Watcher};

use super::show::{Bar, needs_built, setting, small_bar, width};
use crate::{Context, Status, Which};

/// An editor may write a file in several steps: this long after the last one it is thought to be done.
const SETTLED: Duration = Duration::from_millis(100);
/// How often somebody looks whether ^C was pressed.
const BEAT: Duration = Duration::from_millis(100);

/// What can happen.
enum Event {
    /// The chapter may have been saved.
    Saved,
    /// Somebody pressed a key.
    Key(u8),
    /// A round is over.
    Done(Box<Result<Grade>>),
}

/// Which tests a round runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Those of the first task that is not done.
    Next,
    /// All.
    All,
}

/// `lab watch`.
pub fn run(context: &Context, which: &Which) -> Result<Status> {
    let lab = context.lab(which)?;
    // It must be there.
    context.submission(lab)?;
    needs_built(context)?;
    let (sender, events) = mpsc::channel();
    let _watcher = listen(context, lab, sender.clone())?;
    let keys = Keys::listen(sender.clone());
    let mut session = Session {
        context,
        lab,
        sender,
        running: None,
        wanted: None,
        seen: String::new(),
        keys: keys.is_some(),
    };
    let ended = session.go(&events);
    session.end();
    drop(keys);
    println!();
    ended.map(|()| Status::Fine)
}

/// Sends an event whenever the chapter is saved.
fn listen(context: &Context, lab: &Lab, events: Sender<Event>) -> Result<notify::RecommendedWatcher> {
    let name = format!("{}.md", lab.name);
    let work = context.course.work();
    let trouble = |error: notify::Error| {
        Trouble::other(format!("cannot watch {}: {error}", work.display())).help("make grade does the same, once")
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // After an error, like too many events to remember, anything may have changed.
        let concerns = event.map_or(true, |event| {
            !event.kind.is_access()
                && event
                    .paths
                    .iter()
                    .any(|path| path.file_name().is_some_and(|file| file.to_string_lossy() == name))
        });
        if concerns {
            let _ = events.send(Event::Saved);
        }
    })
    .map_err(trouble)?;
    watcher.watch(&work, RecursiveMode::NonRecursive).map_err(trouble)?;
    Ok(watcher)
}

/// The keys of the terminal, without a newline and without being shown. When nobody holds this any more, the terminal is as it was.
struct Keys {
    before: Termios,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Keys {
    fn listen(events: Sender<Event>) -> Option<Self> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return None;
        }
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).ok()?;
        let over = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&over);
        let reader = thread::spawn(move || {
            let mut stdin = io::stdin();
            while !heard.load(Ordering::SeqCst) {
                let ready = {
                    let fd = stdin.as_fd();
                    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::from(100u8)).is_ok_and(|count| count > 0)
                };
                let mut key = [0];
                if ready
                    && (!stdin.read(&mut key).is_ok_and(|count| count == 1) || events.send(Event::Key(key[0])).is_err())
                {
                    return;
                }
            }
        });
        Some(Self {
            before,
            over,
            reader: Some(reader),
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        // A terminal that is gone needs nothing.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// A round on its way.
struct Round {
    what: What,
    stop: Stop,
    bar: Arc<Bar>,
    thread: JoinHandle<()>,
}

struct Session<'a> {
    context: &'a Context,
    lab: &'a Lab,
    sender: Sender<Event>,
    running: Option<Round>,
    /// What comes next, once that which runs has ended.
    wanted: Option<What>,
    /// The chapter of the last round.
    seen: String,
    /// Whether there are keys to press.
    keys: bool,
}

impl Session<'_> {
    /// Until somebody has had enough.
    fn go(&mut self, events: &Receiver<Event>) -> Result<()> {
        self.start(What::Next)?;
        loop {
            if self.context.stop.asked() {
                return Ok(());
            }
            match events.recv_timeout(BEAT) {
                Ok(Event::Saved) => {
                    while let Ok(event) = events.recv_timeout(SETTLED) {
                        match event {
                            Event::Key(b'q') => return Ok(()),
                            Event::Saved | Event::Key(_) => {}
                            Event::Done(grade) => self.done(*grade)?,
                        }
                    }
                    self.saved()?;
                }
                Ok(Event::Key(key)) => match key {
                    b'q' => return Ok(()),
                    b'h' => self.print(&super::hint::text(self.context, self.lab, None)?),
                    b'l' => self.print(&super::list::text(self.context)?),
                    b'g' => self.want(What::All)?,
                    b'r' => self.want(What::Next)?,
                    _ => {}
                },
                Ok(Event::Done(grade)) => self.done(*grade)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn print(&self, text: &str) {
        match &self.running {
            Some(round) => round.bar.above(&format!("\n{text}\n")),
            None => anstream::print!("\n{text}"),
        }
    }

    fn chapter(&self) -> Option<String> {
        fs::read_to_string(self.context.course.root.join(Course::chapter(self.lab))).ok()
    }

    /// A new round, if the chapter is another one. (Between two steps of an editor it may not be there.)
    fn saved(&mut self) -> Result<()> {
        match self.chapter() {
            Some(text) if text != self.seen => self.want(What::Next),
            _ => Ok(()),
        }
    }

    /// A new round, as soon as that which runs has ended.
    fn want(&mut self, what: What) -> Result<()> {
        match &self.running {
            Some(round) => {
                round.stop.ask();
                self.wanted = Some(what);
                Ok(())
            }
            None => self.start(what),
        }
    }

    /// The rows of the next round.
    fn rows(&self, what: What) -> Result<Vec<String>> {
        let reached = Progress::read(&self.context.course.work())?.of(self.lab);
        let open = hints::first_open(self.lab, &reached);
        let chosen = self.lab.rows.iter().filter(|row| match (what, open) {
            (What::Next, Some(task)) => row.task == Some(task.number),
            _ => true,
        });
        let mut rows: BTreeSet<&str> = chosen.map(|row| row.name.as_str()).collect();
        // And those that they need; the table has them first.
        for row in self.lab.rows.iter().rev() {
            if rows.contains(row.name.as_str()) {
                rows.extend(row.after.iter().map(String::as_str));
            }
        }
        Ok(rows.into_iter().map(str::to_owned).collect())
    }

    fn start(&mut self, what: What) -> Result<()> {
        let Some(text) = self.chapter() else { return Ok(()) };
        self.seen.clone_from(&text);
        let rows = self.rows(what)?;
        self.header(&rows)?;
        let bar = Bar::new(rows.iter().filter(|name| *name != THE_CHAPTER).count());
        let stop = self.context.stop.child();
        let (course, lab, sender) = (self.context.course.clone(), self.lab.clone(), self.sender.clone());
        let setting = setting(&stop, &bar);
        let submission = Submission {
            path: Course::chapter(&lab),
            text,
        };
        let thread = thread::spawn(move || {
            let dir = course.target(&lab);
            let grade = lab::grade::grade(&course, &lab, &submission, &dir, Some(&rows), &setting);
            // Without a listener this program is about to end.
            let _ = sender.send(Event::Done(Box::new(grade)));
        });
        self.running = Some(Round {
            what,
            stop,
            bar,
            thread,
        });
        Ok(())
    }

    /// What is on top while a round runs.
    fn header(&self, rows: &[String]) -> Result<()> {
        let lab = self.lab;
        let reached = Progress::read(&self.context.course.work())?.of(lab);
        if io::stdout().is_terminal() {
            // What was there is of another chapter.
            print!("\x1b[H\x1b[2J\x1b[3J");
        }
        let done = lab.rows.iter().filter(|row| reached.passed.contains(&row.name));
        let points: u32 = done.map(|row| row.points).sum();
        anstream::println!(
            "{}  {} {points}/{}",
            styled(BOLD, format_args!("Lab {}: {}", lab.number, lab.title)),
            small_bar(lab, points),
            lab.points()
        );
        match hints::first_open(lab, &reached) {
            Some(task) if rows.len() < lab.rows.len() => anstream::println!("Task {}: {}", task.number, task.title),
            _ => anstream::println!("All tests"),
        }
        io::stdout()
            .flush()
            .at("write", std::path::Path::new("standard output"))
    }

    /// A round has ended: shows what came out, and begins the next if there is one.
    fn done(&mut self, grade: Result<Grade>) -> Result<()> {
        let Some(round) = self.running.take() else {
            return Ok(());
        };
        round.bar.end();
        let _ = round.thread.join();
        match grade {
            Ok(grade) if self.wanted.is_none() => self.show(round.what, &grade)?,
            Ok(_) | Err(Trouble::Stopped) => {}
            Err(trouble) => {
                anstream::println!("\n{trouble}");
                self.footer();
            }
        }
        match self.wanted.take() {
            Some(what) if !self.context.stop.asked() => self.start(what),
            _ => Ok(()),
        }
    }

    fn show(&mut self, what: What, grade: &Grade) -> Result<()> {
        let lab = self.lab;
        let rows = self.rows(what)?;
        let before = Progress::read(&self.context.course.work())?.of(lab);
        let task = hints::first_open(lab, &before).map(|task| task.number);
        let whole = rows.len() >= lab.rows.len();
        let mut shown = grade.clone();
        shown.tests.retain(|mark| rows.contains(&mark.name));
        if whole {
            self.context.remember(|progress| progress.remember(lab, grade))?;
        } else {
            shown.points = shown.tests.iter().map(|mark| mark.points).sum();
            shown.of = shown.tests.iter().map(|mark| mark.of).sum();
            self.context.remember(|progress| {
                let reached = progress.work_on(lab);
                for mark in &shown.tests {
                    reached.passed.retain(|name| *name != mark.name);
                    if mark.state == State::Passed {
                        reached.passed.push(mark.name.clone());
                    }
                }
            })?;
        }
        anstream::print!("{}", report::text(&self.context.course, lab, &shown, width()));
        let after = Progress::read(&self.context.course.work())?.of(lab);
        let next = hints::first_open(lab, &after).map(|task| task.number);
        if !whole && shown.trouble.is_none() && next != task && shown.points == shown.of {
            anstream::println!(
                "\n{}",
                styled(GOOD, format_args!("Task {} is done.", task.unwrap_or_default()))
            );
            // On to the next one, or to all of it.
            self.wanted = Some(What::Next);
        }
        self.footer();
        Ok(())
    }

    fn footer(&self) {
        if self.keys {
            anstream::println!(
                "\n{}",
                styled(
                    DIM,
                    "Save the chapter, and it begins anew.  h hint  g grade all  l list  r run again  q quit"
                )
            );
        }
    }

    /// Ends what runs, and waits until it has.
    fn end(&mut self) {
        if let Some(round) = self.running.take() {
            round.stop.ask();
            round.bar.end();
            let _ = round.thread.join();
        }
    }
}
