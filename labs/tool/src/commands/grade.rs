//! `lab grade`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use lab::grade::{Grade, Submission};
use lab::lab::{Lab, THE_CHAPTER};
use lab::report;
use lab::trouble::{At, Result};

use super::show::{Bar, needs_built, setting, width};
use crate::{Context, Status, Which};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Write all of it to FILE, for programs; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a line for each test to FILE, for spreadsheets; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Grade this file instead of the chapter in labs/work, and remember nothing
    #[arg(long, value_name = "FILE")]
    chapter: Option<PathBuf>,
    /// Where the system is built, and the logs are kept [default: target/labs/NN]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `lab grade`.
pub fn run(context: &Context, options: &Options) -> Result<Status> {
    let lab = context.lab(&options.which)?;
    let submission = match &options.chapter {
        Some(path) => Submission {
            path: context.course.shown(path).to_string(),
            text: fs::read_to_string(path).at("read", path)?,
        },
        None => context.submission(lab)?,
    };
    let dir = match &options.dir {
        Some(dir) => std::path::absolute(dir).at("find", dir)?,
        None => context.course.target(lab),
    };
    let grade = grade(context, lab, &submission, &dir)?;
    if options.chapter.is_none() {
        context.remember(|progress| progress.remember(lab, &grade))?;
    }
    let taken = [&options.json, &options.csv]
        .into_iter()
        .flatten()
        .any(|path| path == Path::new("-"));
    if !taken {
        anstream::print!("{}", report::text(&context.course, lab, &grade, width()));
        anstream::print!("{}", next(lab, &grade));
    }
    if let Some(path) = &options.json {
        put(path, &report::json(&grade)?)?;
    }
    if let Some(path) = &options.csv {
        put(path, &format!("{}{}", report::CSV_HEAD, report::csv(&grade)))?;
    }
    Ok(if grade.is_full() { Status::Fine } else { Status::No })
}

fn grade(context: &Context, lab: &Lab, submission: &Submission, dir: &Path) -> Result<Grade> {
    needs_built(context)?;
    let bar = Bar::new(lab.rows.iter().filter(|row| row.name != THE_CHAPTER).count());
    let grade = lab::grade::grade(
        &context.course,
        lab,
        submission,
        dir,
        None,
        &setting(&context.stop, &bar),
    );
    bar.end();
    grade
}

/// What one may do now.
fn next(lab: &Lab, grade: &Grade) -> String {
    let id = lab.number;
    if grade.is_full() {
        return format!("That is all of it. `make lab-solution LAB={id}` shows how somebody else did it.\n");
    }
    if grade.trouble.is_some() {
        return String::new();
    }
    match grade.first_missing().and_then(|mark| mark.task) {
        Some(task) => format!("\nThe next hint: make hint LAB={id} TASK={task}\n"),
        None => String::new(),
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    if path == Path::new("-") {
        anstream::print!("{text}");
        return Ok(());
    }
    fs::write(path, text).at("write", path)
}
