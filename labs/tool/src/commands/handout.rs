//! `lab handout`: the repository as students get it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Args;
use lab::job;
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
    let files = files(root)?;
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
    Ok(Status::Fine)
}

/// The files of the repository: those that git knows, or all that nobody has built.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = job::command("git");
    git.arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<String> = match git.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
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
    Ok(files)
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
        let mut found = files(root).unwrap();
        found.sort();
        assert_eq!(found, ["a.md", "generated/README.md", "labs/tool/a.rs"]);
    }
}
