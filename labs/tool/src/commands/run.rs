//! `lab run`.

use std::process::Command;

use lab::trouble::{At, Result};
use lab::{grade, job};

use super::show::{Bar, needs_built, setting};
use crate::{Context, Status, Which};

/// `lab run`: the VM has this terminal, and its status is ours.
pub fn run(context: &Context, which: &Which) -> Result<Status> {
    let lab = context.lab(which)?;
    let submission = context.submission(lab)?;
    needs_built(context)?;
    let bar = Bar::new(0);
    let built = grade::build(
        &context.course,
        lab,
        &submission,
        &context.course.target(lab),
        &setting(&context.stop, &bar),
    );
    bar.end();
    let (_, system) = built?;
    let program = context.course.root.join("scripts/vm");
    let mut command: Command = job::command(&program);
    // In the Host a shell reads the line, as if it were typed there.
    command
        .current_dir(&context.course.root)
        .env("STATE", &system.dir)
        .arg("--root")
        .arg(&system.payload)
        .args(["--name", "lab-run", "sh", "-c", &lab.run]);
    let status = command.status().at("run", &program)?;
    Ok(if status.success() { Status::Fine } else { Status::No })
}
