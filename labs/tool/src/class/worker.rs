//! Grading one submission of a class: what the process does that [`super::grade`] starts for it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Finding;
use crate::course::Course;
use crate::grade::{self, News, Setting, Submission};
use crate::job::{self, Limits, Stop};
use crate::lab::Lab;
use crate::trouble::{At, Result, Trouble};

/// The line that says what the worker found out begins so.
pub const FINDING: &str = "finding: ";
/// How long a build may take, and how long a boot with all tests.
const BUILD: Duration = Duration::from_secs(900);
const BOOT: Duration = Duration::from_secs(900);

/// One submission and where its things are.
#[derive(Debug, Clone)]
pub struct One {
    /// The chapter.
    pub chapter: PathBuf,
    /// Where the logs go. Nobody who is confined may write there.
    pub dir: PathBuf,
    /// Where the system is built and booted: all that who is confined may write to.
    pub confined: PathBuf,
    /// What they may have of memory.
    pub memory: String,
    /// Who they are.
    pub user: u32,
    /// What they may not see, though it lies within the checkout.
    pub hide: Vec<PathBuf>,
    /// Whether nobody is confined.
    pub unconfined: bool,
}

/// Grades it.
///
/// # Errors
/// [`Trouble::Stopped`] when somebody asked for the end.
pub fn run(course: &Course, lab: &Lab, one: &One, stop: &Stop) -> Result<Finding> {
    let text = fs::read_to_string(&one.chapter).at("read", &one.chapter)?;
    let submission = Submission {
        // What compilers say of it they say with this name.
        path: Course::chapter(lab),
        text,
    };
    fs::create_dir_all(&one.confined).at("create", &one.confined)?;
    // Where the VM's logs go, and where the Launcher is compiled: with the libraries that the book's own was compiled with.
    let vm = one.confined.join("vm");
    fs::create_dir_all(&vm).at("create", &vm)?;
    seed(course, one, stop)?;
    let verdict = one.dir.join("verdict");
    let mut setting = Setting {
        stop: stop.clone(),
        build_time: BUILD,
        boot_time: BOOT,
        listener: Arc::new(|news| {
            if let News::Step(step) = news {
                println!("{step}");
            }
        }),
        ..Setting::default()
    };
    if !one.unconfined {
        setting.within = within(course, one, &verdict);
        setting.vm_logs = Some(vm);
    }
    let system = one.confined.join("system");
    let graded = grade::grade_in(course, lab, &submission, &system, &one.dir, None, &setting);
    // Where nobody was confined though somebody should have been, nothing can be said of the chapter.
    let verdict = fs::read_to_string(&verdict).unwrap_or_default();
    match graded {
        Err(Trouble::Stopped) => Err(Trouble::Stopped),
        Err(trouble) => Ok(Finding::Machine(trouble.to_string())),
        Ok(_) if !one.unconfined && verdict.trim() == "not begun" => Ok(Finding::Machine(
            "scripts/confine could not confine it; grader.log and build-*.log say why".to_owned(),
        )),
        Ok(_) if !one.unconfined && verdict.trim() == "room" => Ok(Finding::Machine(
            "there is less than a gigabyte left on this machine's disk".to_owned(),
        )),
        Ok(grade) => Ok(Finding::Grade(Box::new(grade))),
    }
}

/// Puts the libraries that the book's own Launcher was compiled with where this one is compiled. Without them it only takes longer.
fn seed(course: &Course, one: &One, stop: &Stop) -> Result<()> {
    let built = one.confined.join("built");
    fs::create_dir_all(&built).at("create", &built)?;
    for directory in ["release", "x86_64-unknown-linux-gnu"] {
        let from = course.root.join("target").join(directory);
        if from.is_dir() {
            let mut copy = job::command("cp");
            copy.args(["--archive", "--reflink=auto", "--"]).arg(from).arg(&built);
            job::run(copy, &Limits::default(), None, stop, |_| {})?;
        }
    }
    Ok(())
}

/// What a compiler or a VM needs nothing of: the solutions, wherever they are, and what others have handed in. A chapter that finds a
/// way to read files would have them shown in its report.
fn hidden(root: &Path) -> Vec<PathBuf> {
    ["labs", ".git", "target/labs", "target/grade-all"]
        .iter()
        .map(|name| root.join(name))
        .filter(|path| path.is_dir())
        .collect()
}

/// The words before each command that builds or boots what the student wrote. It ends with this program, too.
fn within(course: &Course, one: &One, verdict: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["setpriv", "--pdeathsig", "TERM", "--"].map(OsString::from).into();
    words.push(course.root.join("scripts/confine").into());
    let time = BUILD.max(BOOT) + Duration::from_secs(30);
    let mut say = |option: &str, value: OsString| words.extend([option.into(), value]);
    say("--time", time.as_secs().to_string().into());
    say("--memory", one.memory.clone().into());
    say("--file", "512M".into());
    say("--user", one.user.to_string().into());
    say("--verdict", verdict.into());
    for path in hidden(&course.root).iter().chain(&one.hide) {
        say("--hide", path.into());
    }
    let mut built = OsString::from("BUILT=");
    built.push(one.confined.join("built"));
    say("--set", built);
    words.extend(["--in".into(), course.root.clone().into()]);
    words.extend(["--at".into(), course.root.join("target/vm").into(), "vm".into()]);
    words.push(one.confined.clone().into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_confined_sees_no_solution() {
        let root = tempfile::tempdir().unwrap();
        for name in ["labs", "scripts", "target/labs"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let course = Course {
            root: root.path().to_owned(),
            labs: Vec::new(),
        };
        let one = One {
            chapter: PathBuf::new(),
            dir: PathBuf::new(),
            confined: "/confined".into(),
            memory: "3G".to_owned(),
            user: 62_000,
            hide: vec!["/submissions".into()],
            unconfined: false,
        };
        let words = within(&course, &one, Path::new("/verdict"));
        let hidden: Vec<_> = words
            .windows(2)
            .filter(|pair| pair[0] == "--hide")
            .map(|pair| PathBuf::from(&pair[1]))
            .collect();
        assert_eq!(
            hidden,
            [
                root.path().join("labs"),
                root.path().join("target/labs"),
                "/submissions".into()
            ]
        );
    }
}
