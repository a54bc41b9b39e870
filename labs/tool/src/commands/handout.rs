//! `lab handout`: the repository as students get it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Args;
use lab::course::Course;
use lab::job;
use lab::lab::Lab;
use lab::report::{GOOD, count, styled};
use lab::trouble::{At, Result, Trouble};

use crate::{Context, Status};

#[derive(Args)]
pub struct Options {
    /// The directory to make; it must not be there, or be empty
    dir: PathBuf,
}

/// What students do not get: the wrong solutions say much about the right ones, and their own chapters are nobody's else.
const LEFT_OUT: [&str; 2] = ["labs/wrong/", "labs/work/"];
/// Where git is not asked, what was built is known by its place.
const BUILT: [&str; 3] = ["target/", ".git/", "generated/"];

/// `lab handout`.
pub fn run(context: &Context, options: &Options) -> Result<Status> {
    let root = &context.course.root;
    let to = std::path::absolute(&options.dir).at("find", &options.dir)?;
    if fs::read_dir(&to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            Trouble::other(format!("{} is not empty", to.display())).help("name a directory that is not there yet")
        );
    }
    let known = |path: &str| is_of_a_lab(path, &context.course.labs);
    let Found { files, strangers } = files(root, &known)?;
    let mut copied = 0;
    for path in &files {
        context.stop.check()?;
        if LEFT_OUT.iter().any(|left| path.starts_with(left)) {
            continue;
        }
        let (from, to) = (root.join(path), to.join(path));
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory).at("create", directory)?;
        }
        let lab = context.course.labs.iter().find(|lab| lab.path == *path);
        if let Some(lab) = lab {
            let text = tangle::lab::without_solutions(&lab.text).map_err(|_| {
                Trouble::other(format!("{path} has not the form of a lab")).help("tangle lab check says where")
            })?;
            fs::write(&to, text).at("write", &to)?;
        } else if from.is_symlink() {
            symlink(fs::read_link(&from).at("read", &from)?, &to).at("write", &to)?;
        } else {
            fs::copy(&from, &to).at("copy", &from)?;
        }
        copied += 1;
    }
    anstream::println!(
        "{} in {}: the book, the labs without their solutions, and the grader.",
        count(copied, "file"),
        styled(GOOD, options.dir.display())
    );
    if !strangers.is_empty() {
        anstream::println!(
            "Git does not know these, and students do not get them (git add what they should have): {}",
            strangers.join(", ")
        );
    }
    Ok(Status::Fine)
}

/// Whether a file is a lab that there is, or the tests of one: who has written a lab need not have committed it.
fn is_of_a_lab(path: &str, labs: &[Lab]) -> bool {
    labs.iter().any(|lab| lab.path == path || Course::tests_of(lab) == path)
}

/// What lies in the repository.
struct Found {
    /// What students may get.
    files: Vec<String>,
    /// What git knows nothing of, by file or directory. It may be anything: what a class has handed in, the copy of a solution.
    strangers: Vec<String>,
}

/// The files of the repository: those that git knows or `known` does, or, where git knows nothing, all that nobody has built.
fn files(root: &Path, known: &dyn Fn(&str) -> bool) -> Result<Found> {
    let git = |args: &[&str]| {
        let mut git = job::command("git");
        git.arg("-C").arg(root).args(["ls-files", "-z"]).args(args);
        let output = git.output().ok().filter(|output| output.status.success())?;
        let paths = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = paths.split('\0').filter(|path| !path.is_empty());
        Some(paths.map(str::to_owned).collect::<Vec<_>>())
    };
    let mut strangers = Vec::new();
    let mut files = match (git(&["--cached"]), git(&["--others", "--exclude-standard"])) {
        (Some(mut files), Some(others)) if !files.is_empty() => {
            let (ours, others): (Vec<String>, Vec<String>) = others.into_iter().partition(|path| known(path));
            files.extend(ours);
            for path in others {
                // A directory that has nothing for students stands for all that is in it.
                let alone = |below: &&str| !files.iter().any(|file| file.starts_with(below));
                let mut below = path.match_indices('/').map(|(at, _)| &path[..=at]);
                strangers.push(below.find(alone).unwrap_or(&path).to_owned());
            }
            strangers.retain(|path| !LEFT_OUT.iter().any(|left| path.starts_with(left)));
            strangers.dedup();
            files
        }
        _ => {
            let mut files = Vec::new();
            walk(root, "", &mut files)?;
            files
        }
    };
    // What was taken away and not committed yet is not there.
    files.retain(|path| root.join(path).symlink_metadata().is_ok_and(|meta| !meta.is_dir()));
    files.sort();
    files.dedup();
    Ok(Found { files, strangers })
}

fn walk(root: &Path, below: &str, files: &mut Vec<String>) -> Result<()> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory).at("read", &directory)? {
        let entry = entry.at("read", &directory)?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().at("read", &directory)?.is_dir() {
            let path = format!("{path}/");
            if path == "generated/" {
                // Two files are there before anything is tangled.
                files.extend(["generated/README.md".to_owned(), "generated/.gitignore".to_owned()]);
            } else if !BUILT.contains(&path.as_str()) && !path.ends_with("/target/") {
                walk(root, &path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_what_was_built_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "a.md",
            "target/x",
            "labs/tool/a.rs",
            "generated/README.md",
            "generated/b.rs",
            "tests/vm/target/y",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = files(root, &|_| false).unwrap();
        assert_eq!(found.files, ["a.md", "generated/README.md", "labs/tool/a.rs"]);
        assert!(found.strangers.is_empty());
    }

    #[test]
    fn what_git_does_not_know_is_handed_to_nobody_but_a_lab() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "a.md",
            "labs/01-a.md",
            "submissions/ann.md",
            "labs/02-new.md",
            "labs/01-a.md.orig",
            "labs/tests/lab02.rs",
            "labs/wrong/02/x.md",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for args in [&["init", "--quiet"][..], &["add", "a.md", "labs/01-a.md"]] {
            let status = job::command("git").arg("-C").arg(root).args(args).status();
            assert!(status.unwrap().success());
        }
        let labs = [Lab::read("labs/01-a.md", ""), Lab::read("labs/02-new.md", "")];
        let found = files(root, &|path| is_of_a_lab(path, &labs)).unwrap();
        assert_eq!(
            found.files,
            ["a.md", "labs/01-a.md", "labs/02-new.md", "labs/tests/lab02.rs"]
        );
        assert_eq!(found.strangers, ["labs/01-a.md.orig", "submissions/"]);
    }
}
