//! `lab list`.

use std::fmt::Write;

use lab::course::Course;
use lab::progress::{Progress, next_step};
use lab::report::{BOLD, DIM, styled};
use lab::trouble::Result;

use super::show::{small_bar, width};
use crate::{Context, Status};

/// The list as it is shown.
pub fn text(context: &Context) -> Result<String> {
    let progress = Progress::read(&context.course.work())?;
    let labs = &context.course.labs;
    let longest = labs
        .iter()
        .map(|lab| lab.title.chars().count())
        .max()
        .unwrap_or_default();
    let mut out = String::new();
    let (mut points, mut all) = (0, 0);
    for lab in labs {
        let reached = progress.of(lab);
        let has_chapter = context.course.root.join(Course::chapter(lab)).exists();
        let is_last = progress.last.as_ref() == Some(&lab.name);
        let space = " ".repeat(longest - lab.title.chars().count());
        let title = if is_last {
            styled(BOLD, &lab.title)
        } else {
            lab.title.clone()
        };
        let room = width().saturating_sub(longest + 42);
        let next: String = next_step(lab, &reached, has_chapter)
            .chars()
            .take(room.max(16))
            .collect();
        let _ = writeln!(
            out,
            "{} {:>2}  {title}{space}  {:<10}  {} {:>2}/{:<2}  {}",
            if is_last { ">" } else { " " },
            lab.number,
            lab.time,
            small_bar(lab, reached.best),
            reached.best,
            lab.points(),
            styled(DIM, next)
        );
        points += reached.best;
        all += lab.points();
    }
    let _ = writeln!(out, "\n{points} of {all} points");
    Ok(out)
}

/// `lab list`.
pub fn run(context: &Context) -> Result<Status> {
    anstream::print!("{}", text(context)?);
    Ok(Status::Fine)
}
