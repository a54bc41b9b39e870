//! `lab hint`.

use clap::Args;
use lab::hints;
use lab::lab::Lab;
use lab::progress::Progress;
use lab::report::{BOLD, DIM, styled, wrapped};
use lab::trouble::{Result, Trouble};

use super::show::width;
use crate::{Context, Status, Which};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// The task [default: the first with a test that has not passed]
    #[arg(long)]
    task: Option<u32>,
}

/// `lab hint`.
pub fn run(context: &Context, options: &Options) -> Result<Status> {
    let lab = context.lab(&options.which)?;
    anstream::print!("{}", text(context, lab, options.task)?);
    Ok(Status::Fine)
}

/// The next hint as it is shown; it is remembered.
pub fn text(context: &Context, lab: &Lab, task: Option<u32>) -> Result<String> {
    let reached = Progress::read(&context.course.work())?.of(lab);
    let task = match task {
        Some(number) => lab.task(number).ok_or_else(|| {
            Trouble::other(format!("lab {} has no task {number}", lab.number))
                .help(format!("its tasks are 1 to {}", lab.tasks.len()))
        })?,
        None => match hints::wanted(lab, &reached) {
            Some(task) => task,
            None => {
                return Ok(format!(
                    "All tests of all tasks have passed; what is missing, make grade LAB={} says.\n",
                    lab.number
                ));
            }
        },
    };
    let mut shown = None;
    context.remember(|progress| shown = hints::next(task, progress.work_on(lab)))?;
    let Some(shown) = shown else {
        return Err(Trouble::other(format!(
            "task {} of {} has no hints",
            task.number, lab.path
        )));
    };
    let mut out = format!(
        "{}\n{}\n\n{}\n",
        styled(
            BOLD,
            format_args!("Lab {}, task {}: {}", lab.number, task.number, task.title)
        ),
        styled(
            DIM,
            format_args!("Hint {} of {}: {}", shown.number, task.hints.len(), shown.hint.title)
        ),
        filled(&shown.hint.text, width())
    );
    if shown.is_last() {
        out.push_str(&styled(DIM, "\nThis is the last hint: nearly the code itself.\n"));
    }
    Ok(out)
}

/// Markdown whose lines of text are no longer than the terminal is wide; code stays as it is.
fn filled(text: &str, width: usize) -> String {
    let mut code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        if code || is_fence || line.chars().count() <= width {
            lines.push(line.to_owned());
        } else {
            let indent = &line[..line.len() - line.trim_start().len()];
            lines.extend(
                wrapped(line, width - indent.len())
                    .into_iter()
                    .map(|part| format!("{indent}{part}")),
            );
        }
        code ^= is_fence;
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_filled_and_code_is_not() {
        let text = "one two three\n\n```rust\nlet a = one_two_three;\n```\n  four five six\n";
        let expected = "one two\nthree\n\n```rust\nlet a = one_two_three;\n```\n  four\n  five\n  six";
        assert_eq!(filled(text, 9), expected);
    }
}
