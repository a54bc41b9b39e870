//! What a class has handed in, read with care: whoever wrote it may have meant the grader harm.
//!
//! A submission is a file. It is opened without following a link and without waiting for anybody, it is a regular file of a
//! reasonable size, and it is text; else it is nothing that could be graded, and the reason is its report.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tangle::map::fingerprint;

use crate::course::Course;
use crate::lab::Lab;
use crate::trouble::{At, Result, Trouble};

/// A chapter of a lab is a dozen pages.
pub const LARGEST: u64 = 512 << 10;
/// The labs have sixty fences at most. What reads a chapter compares each with each, so thousands would cost an hour.
pub const FENCES: usize = 500;
/// Names of files are made of so many characters of a student's.
const ID: usize = 40;

/// What one student has handed in for one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The student, as the file or the directory is called.
    pub student: String,
    /// The same as the name of a file, whatever characters there were in it. No two students have the same.
    pub id: String,
    /// The lab's name, `01-name`; nothing where the submission does not tell.
    pub lab: Option<String>,
    /// Where it lies.
    pub path: PathBuf,
    /// What stands in it, or why it cannot be graded.
    pub text: std::result::Result<String, String>,
}

/// All submissions in `directory`, in the order of the students' names: each is a file `NAME.md`, or a directory `NAME` with chapters
/// called as their labs are, in itself or in its `labs/work`, where a student writes. With `only` no other lab is looked for.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn find(course: &Course, directory: &Path, only: Option<&Lab>) -> Result<Vec<Submission>> {
    let mut found = Vec::new();
    let mut entries = fs::read_dir(directory)
        .at("read", directory)?
        .collect::<std::io::Result<Vec<_>>>()
        .at("read", directory)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let is_chapter = Path::new(&name).extension().is_some_and(|extension| extension == "md");
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory {
            found.extend(of_directory(course, &entry.path(), &name, only));
        } else if is_chapter {
            found.push(of_file(course, &entry.path(), &name, only));
        } else if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            // A file beside the chapters may be anybody's; a link or a pipe is somebody's attempt to hand in.
            let student = Path::new(&name).file_stem().unwrap_or(&name).to_owned();
            found.push(unfit(
                &student,
                only,
                entry.path(),
                "it is neither a file NAME.md nor a directory".to_owned(),
            ));
        }
    }
    refuse_twins(&mut found);
    if found.is_empty() {
        return Err(
            Trouble::other(format!("there is no submission in {}", directory.display()))
                .help("each is a file NAME.md, or a directory NAME with chapters called as in labs/"),
        );
    }
    Ok(found)
}

/// `ann.md` and the directory `ann` may both be there. They would be graded in one place, each over the other's results, so neither is.
fn refuse_twins(found: &mut Vec<Submission>) {
    let mut at = 0;
    while at < found.len() {
        let is_twin = |other: &Submission| other.id == found[at].id && other.lab == found[at].lab;
        let twins: Vec<usize> = (at + 1..found.len()).filter(|&other| is_twin(&found[other])).collect();
        if !twins.is_empty() {
            let files: Vec<String> = std::iter::once(&at)
                .chain(&twins)
                .map(|&one| harmless(&found[one].path.to_string_lossy()))
                .collect();
            found[at].text = Err(format!("it was handed in more than once: {}", files.join(", ")));
        }
        for twin in twins.into_iter().rev() {
            found.remove(twin);
        }
        at += 1;
    }
}

fn unfit(student: &OsStr, lab: Option<&Lab>, path: PathBuf, why: String) -> Submission {
    let (student, id) = names(student);
    Submission {
        student,
        id,
        lab: lab.map(|lab| lab.name.clone()),
        path,
        text: Err(why),
    }
}

fn of_file(course: &Course, path: &Path, name: &OsStr, only: Option<&Lab>) -> Submission {
    let stem = Path::new(name).file_stem().unwrap_or(name);
    let text = read(path);
    let meant = text.as_ref().ok().and_then(|text| titled(course, text));
    let mut submission = unfit(stem, only.or(meant), path.to_owned(), String::new());
    submission.text = match (&submission.lab, text) {
        (None, Ok(_)) => Err("its title is no lab's; make grade-all with LAB= says which lab it is".to_owned()),
        (_, text) => text,
    };
    submission
}

/// The lab that a chapter's title names: `# Lab 1: A title`.
fn titled<'a>(course: &'a Course, text: &str) -> Option<&'a Lab> {
    let title = text.lines().find_map(|line| line.strip_prefix("# Lab "))?;
    let number: String = title.chars().take_while(char::is_ascii_digit).collect();
    course.find(&number).ok()
}

fn of_directory(course: &Course, path: &Path, name: &OsStr, only: Option<&Lab>) -> Vec<Submission> {
    let mut found = Vec::new();
    // A link to a directory is none: its files are not the student's.
    let real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
    let labs = path.join("labs");
    let work = labs.join("work");
    let mut places = vec![path.to_owned()];
    if real(&labs) && real(&work) {
        places.insert(0, work);
    }
    for lab in &course.labs {
        if only.is_some_and(|only| only.name != lab.name) {
            continue;
        }
        let wanted = format!("{}.md", lab.name);
        let short = format!("{}-", lab.id());
        for place in &places {
            let exact = place.join(&wanted);
            let chapter = if fs::symlink_metadata(&exact).is_ok() {
                exact
            } else {
                let mut like: Vec<PathBuf> = fs::read_dir(place)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|entry| {
                        let name = entry.file_name();
                        let name = name.as_bytes();
                        name.starts_with(short.as_bytes()) && name.ends_with(b".md") && !name.ends_with(b".solution.md")
                    })
                    .map(|entry| entry.path())
                    .collect();
                like.sort();
                match like.len() {
                    0 => continue,
                    1 => like.remove(0),
                    _ => {
                        let why = format!(
                            "there are {} chapters for this lab, and none is called {wanted}",
                            like.len()
                        );
                        found.push(unfit(name, Some(lab), path.to_owned(), why));
                        break;
                    }
                }
            };
            let mut submission = unfit(name, Some(lab), chapter.clone(), String::new());
            submission.text = read(&chapter);
            found.push(submission);
            break;
        }
    }
    if found.is_empty() {
        let wanted = only.map_or_else(|| "NN-name.md".to_owned(), |lab| format!("{}.md", lab.name));
        found.push(unfit(
            name,
            only,
            path.to_owned(),
            format!("there is no {wanted} in it"),
        ));
    }
    found
}

/// The text of a submission, or why there is none.
fn read(path: &Path) -> std::result::Result<String, String> {
    let about = fs::symlink_metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if about.is_symlink() {
        return Err("it is a link to another file".to_owned());
    }
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    // Between that look and this somebody may have changed it.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let about = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if about.len() > LARGEST {
        return Err(format!(
            "it has {} bytes, and a chapter has {LARGEST} at most",
            about.len()
        ));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is no text in UTF-8: so is only what stands before byte {at}")
    })?;
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("it is no text: there is a zero byte in it".to_owned());
    }
    // Each begins and ends with such a line, in a quotation, too.
    let is_fence = |line: &&str| {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '>');
        line.starts_with("```") || line.starts_with("~~~")
    };
    let fences = text.lines().filter(is_fence).count() / 2;
    if fences > FENCES {
        return Err(format!("it has {fences} fences, and a chapter has {FENCES} at most"));
    }
    Ok(text)
}

/// A student's name to be shown, and to be the name of a file.
fn names(name: &OsStr) -> (String, String) {
    let shown = harmless(&name.to_string_lossy());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let id: String = shown.chars().map(|c| if plain(c) { c } else { '_' }).take(ID).collect();
    if id.as_bytes() == name.as_bytes() && !id.starts_with(['.', '-']) {
        return (shown, id);
    }
    let id = id.trim_start_matches(['.', '-']);
    (shown, format!("{id}~{}", &fingerprint(name.as_bytes())[..8]))
}

/// The text without what would do something to a terminal.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
        .collect()
}

/// Whether a character can be printed without moving the cursor, turning the direction of writing or the like.
pub(super) fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn course() -> Course {
        Course {
            root: "/book".into(),
            labs: vec![Lab::read("labs/01-a.md", ""), Lab::read("labs/02-b.md", "")],
        }
    }

    #[test]
    fn files_and_directories_are_submissions() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("ann.md", "# Lab 1: x\n");
        put("bob.md", "# A lab\n");
        put("cat/01-a.md", "c1");
        put("cat/02-b.md", "c2");
        put("dan/labs/work/01-mine.md", "d1");
        put("dan/01-a.md", "not this");
        put("eve/01-x.md", "1");
        put("eve/01-y.md", "2");
        put("fay/notes.md", "");
        put("notes.txt", "");
        put(".git/x.md", "");
        let found = find(&course(), dir.path(), None).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.student.as_str(),
                    one.lab.as_deref().unwrap_or("-"),
                    one.text.as_deref().unwrap_or("!"),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("ann", "01-a", "# Lab 1: x\n"),
                ("bob", "-", "!"),
                ("cat", "01-a", "c1"),
                ("cat", "02-b", "c2"),
                ("dan", "01-a", "d1"),
                ("eve", "01-a", "!"),
                ("fay", "-", "!"),
            ]
        );
        let course = course();
        let second = find(&course, dir.path(), Some(&course.labs[1])).unwrap();
        assert!(second.iter().all(|one| one.lab.as_deref() == Some("02-b")));
        assert_eq!(second.iter().filter(|one| one.text.is_ok()).count(), 3);
        assert!(find(&course, &dir.path().join("fay/none"), None).is_err());
    }

    #[test]
    fn what_is_no_chapter_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("empty.md"), " \n").unwrap();
        fs::write(path("latin.md"), b"caf\xe9").unwrap();
        fs::write(path("zero.md"), b"a\0b").unwrap();
        File::create(path("huge.md")).unwrap().set_len(100 << 20).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link.md")).unwrap();
        std::os::unix::fs::symlink("/etc", path("place")).unwrap();
        nix::unistd::mkfifo(&path("pipe.md"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(path("of")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("of/01-a.md")).unwrap();
        let found = find(&course(), dir.path(), Some(&course().labs[0])).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.student.as_str(), one.text.clone().unwrap_err()))
            .collect();
        for (student, why) in [
            ("empty", "empty"),
            ("latin", "before byte 3"),
            ("zero", "zero byte"),
            ("huge", "104857600 bytes"),
            ("link", "link"),
            ("place", "neither"),
            ("pipe", "no file"),
            ("of", "link"),
        ] {
            assert!(
                told.iter().any(|(name, told)| *name == student && told.contains(why)),
                "{student}: {told:?}"
            );
        }
        assert_eq!(told.len(), 8);
    }

    #[test]
    fn who_hands_in_twice_is_graded_in_no_place_twice() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ann")).unwrap();
        for name in ["ann.md", "ann/01-a.md", "ann/02-b.md", "bob.md"] {
            fs::write(dir.path().join(name), "# Lab 1: x\n").unwrap();
        }
        let found = find(&course(), dir.path(), None).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.id.as_str(), one.lab.as_deref().unwrap_or("-"), one.text.is_ok()))
            .collect();
        assert_eq!(
            told,
            [("ann", "01-a", false), ("ann", "02-b", true), ("bob", "01-a", true)]
        );
        let why = found[0].text.clone().unwrap_err();
        assert!(
            why.contains("more than once") && why.contains("ann.md") && why.contains("ann/01-a.md"),
            "{why}"
        );
    }

    #[test]
    fn ten_thousand_fences_are_no_chapter() {
        let dir = tempfile::tempdir().unwrap();
        let chapter =
            |fences: usize, mark: &str| format!("# Lab 1: x\n{}", format!("{mark}rust #a\nx\n{mark}\n").repeat(fences));
        fs::write(dir.path().join("few.md"), chapter(FENCES, "```")).unwrap();
        fs::write(dir.path().join("many.md"), chapter(FENCES + 1, "```")).unwrap();
        fs::write(dir.path().join("more.md"), chapter(10_000, "> ~~~")).unwrap();
        let found = find(&course(), dir.path(), None).unwrap();
        let fit: Vec<bool> = found.iter().map(|one| one.text.is_ok()).collect();
        assert_eq!(fit, [true, false, false]);
        assert!(found[1].text.clone().unwrap_err().contains("501 fences"));
    }

    #[test]
    fn a_name_becomes_a_file_s_and_stays_ones_own() {
        let names = |bytes: &[u8]| names(&std::ffi::OsString::from_vec(bytes.to_vec()));
        assert_eq!(names(b"ann-b_1.2"), ("ann-b_1.2".to_owned(), "ann-b_1.2".to_owned()));
        let (shown, id) = names("Jürgen \u{202e}x\n\x1b[2J".as_bytes());
        assert!(!shown.contains(['\n', '\x1b', '\u{202e}']) && shown.starts_with("Jürgen "));
        assert!(id.starts_with("J_rgen__x") && id.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
        let mut all: Vec<String> = [
            &b"\xff"[..],
            b"\xfe",
            b"_",
            b"-rf",
            b"..",
            b"=1+1",
            b"$(x)",
            b"a b",
            b"a_b",
            &[b'x'; 200],
            &[b'x'; 201],
        ]
        .iter()
        .map(|name| names(name).1)
        .collect();
        assert!(all.iter().all(|id| !id.starts_with(['.', '-']) && id.len() < 60));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 11);
    }
}
