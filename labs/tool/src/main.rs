//! `lab`: the course labs, behind `make lab`, `make grade` and their like.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lab::course::Course;
use lab::job::Stop;
use lab::lab::Lab;
use lab::progress::Progress;
use lab::trouble::{Result, Trouble};

/// The course labs: chapters that you write, and that the machine grades
///
/// make calls this program: `make lab LAB=1` is `lab start 1`. A lab is named by its number, or by the name of its file; without a
/// name it is the one that you last worked on.
#[derive(Parser)]
#[command(name = "lab", verbatim_doc_comment)]
struct Options {
    /// The directory that holds book.toml [default: this one or the nearest above it]
    #[arg(long, value_name = "DIR", global = true)]
    book: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// Which lab.
#[derive(Args)]
pub struct Which {
    /// 1, 01 or 01-name [default: the one that you last worked on]
    lab: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Write the chapter that you begin with, to labs/work
    Start(Which),
    /// Tell which labs there are, and how far you are
    List,
    /// Build the system with your chapter, and boot it on this terminal
    Run(Which),
    /// After every save of your chapter build it, and run the tests of the first task that is not done
    Watch(Which),
    /// Run all tests, and say what your chapter is worth; the exit status is 0 for full marks only
    Grade(commands::grade::Options),
    /// Grade what a class has handed in: a directory of files NAME.md, or of directories NAME with chapters called as the labs are
    GradeAll(commands::class::Options),
    #[command(hide = true)]
    GradeOne(commands::class::OneOptions),
    /// Show the next hint
    Hint(commands::hint::Options),
    /// Put your chapter aside and begin anew
    Reset(Which),
    /// Write the lab's own solution beside your chapter, once yours has all points
    Solution(commands::chapter::SolutionOptions),
    /// Show what your chapter changes in the files of the system
    Diff(Which),
    /// Copy the repository for students, without solutions
    Handout(commands::handout::Options),
    /// See that the labs are what they say: every starter fails, every solution passes, every wrong solution fails its test
    Prove(commands::prove::Options),
}

/// What all commands work with.
pub struct Context {
    /// The labs.
    pub course: Course,
    /// Whoever presses ^C asks for this.
    pub stop: Stop,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Well.
    Fine,
    /// It did what it had to do, and the answer is no.
    No,
}

impl Context {
    /// The lab that is meant.
    ///
    /// # Errors
    /// When there is no such lab, or none was worked on yet.
    pub fn lab(&self, which: &Which) -> Result<&Lab> {
        if let Some(name) = which.lab.as_deref().filter(|name| !name.is_empty()) {
            return self.course.find(name);
        }
        match Progress::read(&self.course.work())?.last {
            Some(last) => self.course.find(&last),
            None => Err(Trouble::other("which lab? You have not begun one yet")
                .help("make lab LAB=1 begins the first")
                .help("make lab-list tells which there are")),
        }
    }

    /// The student's chapter, and that this lab is worked on.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn submission(&self, lab: &Lab) -> Result<lab::grade::Submission> {
        let path = Course::chapter(lab);
        let text = match std::fs::read(self.course.root.join(&path)) {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|error| Trouble::other(format!("{path} is no UTF-8: {error}")).help("save it as UTF-8"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(
                    Trouble::other(format!("you have no chapter for lab {} yet", lab.number))
                        .help(format!("make lab LAB={} gives you one: {path}", lab.number)),
                );
            }
            Err(error) => return Err(Trouble::Io("read", path.into(), error)),
        };
        self.remember(|progress| {
            progress.work_on(lab);
        })?;
        Ok(lab::grade::Submission { path, text })
    }

    /// Changes what is remembered.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn remember(&self, change: impl FnOnce(&mut Progress)) -> Result<()> {
        let work = self.course.work();
        let before = Progress::read(&work)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before { Ok(()) } else { after.write(&work) }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let stop = Stop::default();
    let asked = stop.clone();
    // Whatever runs looks for that, ends what it started, and then this program ends by itself.
    if let Err(error) = ctrlc::set_handler(move || asked.ask()) {
        anstream::eprintln!("error: cannot listen for ^C: {error}");
        return ExitCode::FAILURE;
    }
    match run(options, &stop) {
        Ok(Status::Fine) => ExitCode::SUCCESS,
        Ok(Status::No) => ExitCode::FAILURE,
        Err(Trouble::Stopped) => {
            anstream::eprintln!("stopped");
            ExitCode::from(130)
        }
        Err(trouble) => {
            anstream::eprintln!("{trouble}");
            ExitCode::from(if trouble.is_the_chapters() { 1 } else { 3 })
        }
    }
}

fn run(options: Options, stop: &Stop) -> Result<Status> {
    let here = std::env::current_dir().map_err(|error| Trouble::Io("find", ".".into(), error))?;
    let root = options
        .book
        .map(|book| here.join(book))
        .or_else(|| tangle::disk::Project::find_root(&here))
        .ok_or_else(|| {
            Trouble::other("there is no book.toml here or above").help("go where the book is, or say --book DIR")
        })?;
    let context = Context {
        course: Course::open(&root)?,
        stop: stop.clone(),
    };
    match options.command {
        Command::Start(which) => commands::chapter::start(&context, &which),
        Command::List => commands::list::run(&context),
        Command::Run(which) => commands::run::run(&context, &which),
        Command::Watch(which) => commands::watch::run(&context, &which),
        Command::Grade(options) => commands::grade::run(&context, &options),
        Command::GradeAll(options) => commands::class::run(&context, &options),
        Command::GradeOne(options) => commands::class::one(&context, &options),
        Command::Hint(options) => commands::hint::run(&context, &options),
        Command::Reset(which) => commands::chapter::reset(&context, &which),
        Command::Solution(options) => commands::chapter::solution(&context, &options),
        Command::Diff(which) => commands::diff::run(&context, &which),
        Command::Handout(options) => commands::handout::run(&context, &options),
        Command::Prove(options) => commands::prove::run(&context, &options),
    }
}
