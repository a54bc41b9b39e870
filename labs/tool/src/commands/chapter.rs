//! `lab start`, `lab reset` and `lab solution`: a student's chapter comes, goes aside, and meets the lab's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use lab::course::Course;
use lab::lab::{Lab, View};
use lab::progress::Progress;
use lab::report::{BOLD, DIM, GOOD, styled};
use lab::trouble::{At, Result, Trouble};

use crate::{Context, Status, Which};

/// `lab start`.
pub fn start(context: &Context, which: &Which) -> Result<Status> {
    let lab = context.lab(which)?;
    let path = Course::chapter(lab);
    let there = write_new(&context.course.root.join(&path), &lab.extract(View::Starter))?;
    context.remember(|progress| {
        progress.work_on(lab);
    })?;
    anstream::println!(
        "{}",
        styled(BOLD, format_args!("Lab {}: {} ({})", lab.number, lab.title, lab.time))
    );
    if there {
        anstream::println!("Your chapter is {}", styled(GOOD, &path));
    } else {
        anstream::println!(
            "Your chapter is there already, and stays as it is: {}\n{}",
            styled(GOOD, &path),
            styled(
                DIM,
                format_args!("make lab-reset LAB={} would put it aside and begin anew.", lab.number)
            )
        );
    }
    anstream::print!("{}", what_next(lab));
    Ok(Status::Fine)
}

fn what_next(lab: &Lab) -> String {
    let line = |command: &str, does: &str| format!("  {:<24} {does}\n", format!("{command} LAB={}", lab.number));
    let mut out = String::from("\nOpen it in your editor: it says what to do, task by task. Then\n\n");
    out += &line("make lab-run", "builds your system, and boots it on this terminal");
    out += &line("make lab-watch", "builds and tests whenever you save");
    out += &line("make grade", "says what the chapter is worth, and why");
    out += &line("make hint", "helps, a little more each time");
    out += &line("make lab-diff", "shows what your chapter changes in the system");
    out += "\nLAB= may be left out as long as it is this one. `make editor` readies `tangle lsp`, with which an editor understands the\n\
            chapter, too (tangle/README.md has the settings).\n";
    out
}

/// Writes a file that is not there yet; says whether it was so.
fn write_new(path: &Path, text: &str) -> Result<bool> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).at("create", directory)?;
    }
    match fs::File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        other => {
            other
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .at("write", path)?;
            Ok(true)
        }
    }
}

/// `lab reset`.
pub fn reset(context: &Context, which: &Which) -> Result<Status> {
    let lab = context.lab(which)?;
    let path = Course::chapter(lab);
    let chapter = context.course.root.join(&path);
    let aside = if chapter.exists() {
        let aside = free_name(&chapter);
        fs::rename(&chapter, &aside).at("move", &chapter)?;
        Some(aside)
    } else {
        None
    };
    write_new(&chapter, &lab.extract(View::Starter))?;
    context.remember(|progress| {
        let reached = progress.work_on(lab);
        reached.passed.clear();
        reached.hints.clear();
    })?;
    if let Some(aside) = aside {
        anstream::println!("Your old chapter is now {}", context.course.shown(&aside));
    }
    anstream::println!("{path} is as at the beginning.");
    Ok(Status::Fine)
}

/// `01-name.1.md`, or the next number that is free.
fn free_name(chapter: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let path = chapter.with_extension(format!("{number}.md"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

#[derive(Args)]
pub struct SolutionOptions {
    #[command(flatten)]
    which: Which,
    /// Show it to a teacher, who need not have passed
    #[arg(long)]
    teacher: bool,
}

/// `lab solution`.
pub fn solution(context: &Context, options: &SolutionOptions) -> Result<Status> {
    let lab = context.lab(&options.which)?;
    if !lab.has_solution() {
        return Err(Trouble::other(format!("{} has no solution in it", lab.path))
            .help("this is a copy for students; whoever gave it to you has the solution"));
    }
    let reached = Progress::read(&context.course.work())?.of(lab);
    if !options.teacher && reached.best < lab.points() {
        return Err(Trouble::other(format!(
            "the solution of lab {} is for those who have all its {} points",
            lab.number,
            lab.points()
        ))
        .help(format!(
            "make hint LAB={} helps on the way; make grade LAB={} tests",
            lab.number, lab.number
        )));
    }
    let path = context.course.work().join(format!("{}.solution.md", lab.name));
    fs::create_dir_all(context.course.work()).at("create", &context.course.work())?;
    fs::write(&path, lab.extract(View::Solution)).at("write", &path)?;
    let shown = context.course.shown(&path);
    anstream::println!("One way to do it is in {}", styled(GOOD, &shown));
    anstream::println!("Yours beside it: diff -u {} {shown}", Course::chapter(lab));
    Ok(Status::Fine)
}
