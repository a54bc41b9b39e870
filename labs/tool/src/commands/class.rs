//! `lab grade-all`, and the process that it starts for each submission.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lab::class::worker::{self, One};
use lab::class::{self, News, Outcome, Plan, Told, summary};
use lab::report::{BAD, DIM, GOOD, OPEN, count, styled};
use lab::trouble::{At, Result, Trouble};

use super::show::needs_built;
use crate::{Context, Status};

#[derive(Args)]
pub struct Options {
    /// What was handed in: files NAME.md, or directories NAME with chapters called as the labs are
    directory: PathBuf,
    /// The lab that everything is for, or the only one to be graded [default: what titles and files say]
    #[arg(long, value_name = "N")]
    lab: Option<String>,
    /// How many submissions at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Where marks, reports and logs go; what is there already is not graded again [default: target/grade-all/NAME-OF-DIRECTORY]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How many minutes one submission may take
    #[arg(long, value_name = "MINUTES", default_value_t = 40.0)]
    time: f64,
    /// How much memory one submission's compiler and VM may use
    #[arg(long, value_name = "SIZE", default_value = "3G")]
    memory: String,
    /// Build and boot without confinement: for a machine that has none to offer, and that nobody would miss
    #[arg(long)]
    unconfined: bool,
    /// Keep the systems that were built, in work/
    #[arg(long)]
    keep: bool,
}

/// `lab grade-all`.
pub fn run(context: &Context, options: &Options) -> Result<Status> {
    let directory = options.directory.canonicalize().at("find", &options.directory)?;
    let out = if let Some(out) = &options.out {
        std::path::absolute(out).at("find", out)?
    } else {
        let name = directory.file_name().unwrap_or_default();
        context.course.root.join("target/grade-all").join(name)
    };
    if out.starts_with(&directory) || directory.starts_with(&out) {
        return Err(
            Trouble::other("what is said of the submissions cannot lie among them").help("OUT=another directory")
        );
    }
    needs_built(context)?;
    let plan = Plan {
        submissions: directory,
        out,
        lab: options.lab.clone().filter(|lab| !lab.is_empty()),
        jobs: options.jobs,
        time: Duration::try_from_secs_f64(options.time * 60.0)
            .map_err(|error| Trouble::other(format!("--time {}: {error}", options.time)))?,
        memory: options.memory.clone(),
        unconfined: options.unconfined,
        keep: options.keep,
    };
    let progress = Progress::new();
    let told = class::grade(&context.course, &plan, &context.stop, &|news| progress.hears(news));
    progress.bar.finish_and_clear();
    let told = told.inspect_err(|trouble| {
        if matches!(trouble, Trouble::Stopped) {
            anstream::eprintln!("What is graded is kept; the same command goes on from there.");
        }
    })?;
    summary::write(&context.course, &told, &plan.out)?;
    anstream::print!("{}", summary::table(&told));
    let shown = |name: &str| context.course.shown(&plan.out.join(name)).to_string();
    anstream::println!(
        "\n  {}  {}\n  {}  what each student may read\n  {}  all that was said",
        shown("marks.csv"),
        shown("marks.json"),
        shown("reports/"),
        shown("logs/"),
    );
    let open = told.iter().any(|one| one.outcome == Outcome::NotGraded);
    Ok(if open { Status::No } else { Status::Fine })
}

/// A bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    state: Mutex<State>,
}

struct State {
    begun: Instant,
    all: usize,
    known: usize,
    done: usize,
    running: Vec<String>,
}

impl Progress {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("  {bar:24.green/dim} {pos}/{len} {msg}") {
            bar.set_style(style.progress_chars("━━╌"));
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            state: Mutex::new(State {
                begun: Instant::now(),
                all: 0,
                known: 0,
                done: 0,
                running: Vec::new(),
            }),
        }
    }

    fn hears(&self, news: &News<'_>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match news {
            News::Begins { all, known } => {
                (state.all, state.known) = (*all, *known);
                self.bar.set_length(*all as u64);
                let again = if *known > 0 {
                    format!(", {known} of them graded already")
                } else {
                    String::new()
                };
                self.line(&format!("{}{again}", count(*all, "submission")));
            }
            News::Takes(submission) => state.running.push(submission.student.clone()),
            News::Knows(told) => {
                state.done += 1;
                state.running.retain(|student| *student != told.student);
                self.line(&state.line(told));
            }
        }
        self.bar.set_position((state.known + state.done) as u64);
        self.bar
            .set_message(format!("{}  {}", state.left(), styled(DIM, state.running.join(", "))));
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            anstream::eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}

impl State {
    fn line(&self, told: &Told) -> String {
        let style = match told.outcome {
            Outcome::Graded if told.points == told.of => GOOD,
            Outcome::Graded => OPEN,
            _ => BAD,
        };
        let points = styled(style, format_args!("{:>3}/{:<3}", told.points, told.of));
        let lab = told.lab.as_deref().unwrap_or("?");
        let why = told
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let place = format!("{}/{}", self.known + self.done, self.all);
        let left = styled(DIM, self.left());
        format!(
            "  {place:>7}  {points} {} ({lab}, {} s){why}  {left}",
            told.student, told.seconds
        )
    }

    /// About how long the rest takes, if it goes on like this.
    fn left(&self) -> String {
        let open = self.all - (self.known + self.done).min(self.all);
        if self.done == 0 || open == 0 {
            return String::new();
        }
        let seconds = self.begun.elapsed().as_secs() * open as u64 / self.done as u64;
        if seconds > 90 * 60 {
            format!("about {} h left", seconds.div_ceil(3600))
        } else {
            format!("about {} min left", seconds.div_ceil(60))
        }
    }
}

#[derive(Args)]
pub struct OneOptions {
    #[arg(long)]
    lab: String,
    #[arg(long)]
    chapter: PathBuf,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    confined: PathBuf,
    #[arg(long)]
    memory: String,
    #[arg(long)]
    user: u32,
    #[arg(long)]
    hide: Vec<PathBuf>,
    #[arg(long)]
    unconfined: bool,
}

/// `lab grade-one`: for `lab grade-all` only.
pub fn one(context: &Context, options: &OneOptions) -> Result<Status> {
    let one = One {
        chapter: options.chapter.clone(),
        dir: options.dir.clone(),
        confined: options.confined.clone(),
        memory: options.memory.clone(),
        user: options.user,
        hide: options.hide.clone(),
        unconfined: options.unconfined,
    };
    let lab = context.course.find(&options.lab)?;
    let finding = worker::run(&context.course, lab, &one, &context.stop)?;
    let text = serde_json::to_string(&finding).map_err(|error| Trouble::other(error.to_string()))?;
    println!("{}{text}", worker::FINDING);
    Ok(Status::Fine)
}
