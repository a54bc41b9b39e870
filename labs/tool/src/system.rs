//! What becomes of the book together with one chapter more: files, and the module, the Launcher and the Guest that are built from them.
//!
//! A system lies in a directory of its own: `generated/` as beside the book, the package of its Launcher, and what goes into the
//! VM. A part whose code is what it was somewhere before is not built again: it is taken from a store that knows each by its code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tangle::diagnostic::{self, Code, Format};
use tangle::disk::{self, Inputs, Mode};
use tangle::source::{Book, Source};
use tangle::{Program, map, record};

use crate::course::Course;
use crate::grade::Setting;
use crate::job::{self, End, Limits};
use crate::lab::{Lab, View};
use crate::trouble::{At, Result, Trouble};

/// The book with chapters after its last one, understood.
#[derive(Debug, Clone)]
pub struct Extended {
    /// All chapters.
    pub book: Book,
    /// The program that they are.
    pub program: Program,
    /// How many chapters the book itself has.
    pub own: usize,
    /// Changes when anything in a chapter does.
    fingerprint: String,
}

impl Extended {
    /// A book whose first `own` chapters are the book's, read already.
    #[must_use]
    pub fn of(book: Book, program: Program, own: usize) -> Self {
        Self {
            book,
            program,
            own,
            fingerprint: String::new(),
        }
    }
}

/// Reads the book and puts the `more` chapters (path and text) after it.
///
/// # Errors
/// [`Trouble::Mistakes`] when they make no program, as tangle says it.
pub fn extend(course: &Course, more: &[(String, String)]) -> Result<Extended> {
    let inputs = Inputs::read(&course.root)?;
    let mut fingerprint = inputs.fingerprint();
    let mut book = inputs.project()?.book;
    let own = book.sources.len();
    for (path, text) in more {
        fingerprint.push_str(&map::fingerprint(text.as_bytes()));
        book.sources.push(Source::new(path, text.as_str()));
    }
    let found = match tangle::program(&book) {
        Ok(program) => {
            let mut found = tangle::advice::advice(&book, &program.model);
            // The compiler would have to make sense of prose.
            found.retain(|one| one.code == Code::FenceInFence && one.primary.place.source >= own);
            if found.is_empty() { Ok(program) } else { Err(found) }
        }
        Err(found) => Err(found),
    };
    match found {
        Ok(program) => Ok(Extended {
            book,
            program,
            own,
            fingerprint,
        }),
        Err(found) => Err(Trouble::Mistakes {
            shown: diagnostic::render(&book, &found, Format::Color),
            log: None,
        }),
    }
}

/// The parts of the system that a chapter may change.
pub const PLACES: [&str; 4] = ["module/", "launcher/", "guest/", "abi/"];

/// Whether this file says how something is built, and not what.
fn is_build_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "Kbuild" | "Makefile" | "Cargo.toml" | "Cargo.lock" | "build.rs" | "rust-toolchain" | "rust-toolchain.toml"
    ) || path.split('/').any(|part| part == ".cargo")
        || Path::new(name).extension().is_some_and(|extension| extension == "ld")
}

/// What the files are, by their paths.
pub type Files = BTreeMap<String, String>;

/// The files of a program.
#[must_use]
pub fn files(program: &Program) -> Files {
    program
        .tangled
        .files
        .iter()
        .map(|(path, file)| (path.clone(), file.text.clone()))
        .collect()
}

/// What a chapter does that no chapter of a student may do, `with` which the files are these. The book's own do nothing of the
/// kind, nor do the lab's starter and its solution.
///
/// # Errors
/// When the book cannot be read.
pub fn refused(course: &Course, lab: &Lab, with: &Files) -> Result<Vec<String>> {
    let mut known = vec![files(&extend(course, &[])?.program)];
    for view in [View::Starter, View::Solution] {
        // One with mistakes allows nothing.
        if let Ok(lab) = extend(course, &[(lab.path.clone(), lab.in_place(view))]) {
            known.push(files(&lab.program));
        }
    }
    let mut why = refusals(&known, with);
    if let [book, starter, solution] = known.as_slice() {
        why.extend(given_and_changed(book, starter, solution, with));
    }
    Ok(why)
}

/// Files that the lab brings, whole, are what its tests look with: nobody changes them.
fn given_and_changed(book: &Files, starter: &Files, solution: &Files, with: &Files) -> Vec<String> {
    let given = starter
        .iter()
        .filter(|(path, text)| !book.contains_key(*path) && solution.get(*path) == Some(*text));
    let changed = given.filter(|(path, text)| with.get(*path) != Some(*text));
    changed
        .map(|(path, _)| format!("it changes {path}, which this lab gives; leave its fragments as they are"))
        .collect()
}

fn refusals(known: &[Files], with: &Files) -> Vec<String> {
    let mut why = Vec::new();
    for (path, text) in with {
        let before: Vec<&String> = known.iter().filter_map(|files| files.get(path)).collect();
        if before.contains(&text) {
            continue;
        }
        if !PLACES.iter().any(|place| path.starts_with(place)) {
            why.push(format!(
                "it writes the file {path}; a lab's code lies in module/, launcher/, guest/ or abi/"
            ));
        } else if is_build_file(path) {
            why.push(format!(
                "it changes {path}, which says how the system is built; take that fragment out"
            ));
        }
        // `include_str !` is the same to a compiler, and so is what has a comment in it.
        let read = readings(text);
        let read_before: Vec<_> = before.iter().map(|text| readings(text)).collect();
        let is_new = |word: &str| {
            (0..read.len()).any(|way| {
                let most = read_before.iter().map(|read| read[way].matches(word).count()).max();
                read[way].matches(word).count() > most.unwrap_or_default()
            })
        };
        let words = [
            "include!",
            "include_str!",
            "include_bytes!",
            ".incbin",
            "#[path",
            "option_env!",
            "env!",
        ];
        if let Some(word) = words.iter().find(|word| is_new(word)) {
            why.push(format!(
                "it brings `{word}` into {path}: what a lab is made of stands in its chapter"
            ));
        }
    }
    let book = known.first().into_iter().flat_map(|files| files.keys());
    for path in book.filter(|path| !with.contains_key(*path)) {
        why.push(format!("it takes away {path}"));
    }
    why
}

/// The code without white space: as it is, without `// ...`, and without `/* ... */`, too. Since what stands between quotes may look like
/// the beginning of a comment, no single one is how a compiler reads it.
fn readings(text: &str) -> [String; 3] {
    let dense = |text: &str| -> String { text.split_whitespace().collect() };
    let no_lines: String = text
        .lines()
        .flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"])
        .collect();
    let mut no_comments = String::with_capacity(no_lines.len());
    let mut rest = no_lines.as_str();
    while let Some((code, comment)) = rest.split_once("/*") {
        no_comments.push_str(code);
        rest = comment.split_once("*/").map_or(comment, |(_, behind)| behind);
    }
    no_comments.push_str(rest);
    [dense(text), dense(&no_lines), dense(&no_comments)]
}

/// The three that are built.
const PARTS: [Part; 3] = [
    Part {
        target: "module",
        directories: &["module/", "abi/"],
        product: "modules/lguest.ko",
    },
    Part {
        target: "launcher",
        directories: &["launcher/", "abi/"],
        product: "bin/lguest",
    },
    Part {
        target: "guest",
        directories: &["guest/", "abi/"],
        product: "guests/guest",
    },
];

struct Part {
    /// What make calls it.
    target: &'static str,
    /// Where the code is that it is made of.
    directories: &'static [&'static str],
    /// What is built, in the payload.
    product: &'static str,
}

impl Part {
    /// Changes when its code does, or what it is built with (`recipe`).
    fn key(&self, files: &Files, recipe: &str) -> String {
        let mut all = recipe.to_owned();
        for (path, text) in files {
            if self.directories.iter().any(|directory| path.starts_with(directory)) {
                let _ = write!(all, "{path}\n{}\n{text}", text.len());
            }
        }
        map::fingerprint(all.as_bytes())
    }

    /// Where the store keeps it.
    fn stored(&self, course: &Course, files: &Files) -> PathBuf {
        let name = self.product.rsplit('/').next().unwrap_or(self.product);
        // The Launcher's libraries, and for which kernel the module is.
        let recipe: String = ["Cargo.toml", "scripts/lib.sh", "scripts/module-build"]
            .iter()
            .map(|path| fs::read_to_string(course.root.join(path)).unwrap_or_default())
            .collect();
        store(course).join(format!("{}-{}", self.key(files, &recipe), name))
    }
}

fn host() -> String {
    std::env::var("HOST").unwrap_or_else(|_| "debian".to_owned())
}

fn store(course: &Course) -> PathBuf {
    course.root.join("target/labs/store").join(host())
}

/// A system in its directory.
#[derive(Debug, Clone)]
pub struct System {
    /// The directory.
    pub dir: PathBuf,
    /// What is laid over the VM's root.
    pub payload: PathBuf,
}

impl System {
    /// The system that lies, or will lie, in `dir`.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            payload: dir.join(format!("host-{}", host())),
        }
    }

    /// Writes its files.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, extended: &Extended) -> Result<()> {
        let out = self.dir.join("generated");
        let lines = extended
            .program
            .tangled
            .line_map(&extended.book, &extended.program.model);
        // Nobody is meant to write there: an edit is no reason to stop.
        disk::write(&out, &extended.program.tangled, &lines, Mode::Force)?;
        record::write_stamp(&out, &extended.fingerprint, &lines).at("write", &out)?;
        Ok(())
    }

    /// Builds what the store does not have, one part after the other. What a compiler says stands in `logs`, in a file for each part,
    /// at the lines of the chapters.
    ///
    /// # Errors
    /// [`Trouble::Mistakes`] when a compiler finds some.
    pub fn build(&self, course: &Course, files: &Files, logs: &Path, setting: &Setting) -> Result<()> {
        for part in &PARTS {
            let product = self.payload.join(part.product);
            let stored = part.stored(course, files);
            if !copy(&stored, &product)? {
                setting.says(&format!("building the {}", part.target));
                let warnings = self.build_part(course, part, logs, setting)?;
                if !warnings.is_empty() {
                    let path = warnings_of(&stored);
                    fs::create_dir_all(store(course)).at("create", &path)?;
                    fs::write(&path, &warnings).at("write", &path)?;
                }
                copy(&product, &stored)?;
            }
            // What the compiler had to say of a stored one is still true.
            for line in fs::read_to_string(warnings_of(&stored)).unwrap_or_default().lines() {
                setting.hears(line);
            }
        }
        Ok(())
    }

    /// Builds one part alone, so that its warnings are about nothing else; these are the result.
    fn build_part(&self, course: &Course, part: &Part, logs: &Path, setting: &Setting) -> Result<String> {
        let log = logs.join(format!("build-{}.log", part.target));
        // scripts/system puts beside the code what it is built with; then make builds parts by their names.
        let mut make = setting.command("sh");
        make.current_dir(&course.root)
            .args(["-c", "scripts/system \"$0\" && exec make -j2 \"$@\" SYSTEM=\"$0\""])
            .arg(&self.dir)
            .arg(part.target);
        if setting.colours {
            make.env("CARGO_TERM_COLOR", "always");
        }
        let mut said = Vec::new();
        let limits = Limits {
            silence: None,
            whole: Some(setting.build_time),
        };
        let end = job::run(make, &limits, Some(&log), &setting.stop, |line| {
            said.push(line.to_owned());
        })?;
        if end.success() {
            return Ok(warnings(&said));
        }
        let mut shown: String = said
            .iter()
            .filter(|line| !is_makes(line) && !is_progress(line))
            .flat_map(|line| [line.as_str(), "\n"])
            .collect();
        if end == End::TooLong {
            let _ = writeln!(
                shown,
                "error: it was not built after {} s; is there something that the compiler computes forever?",
                setting.build_time.as_secs()
            );
        }
        Err(Trouble::Mistakes { shown, log: Some(log) })
    }
}

/// Beside what was built, where it is stored, what was said of it.
fn warnings_of(stored: &Path) -> PathBuf {
    let mut name = stored.as_os_str().to_owned();
    name.push(".warnings");
    name.into()
}

/// What compilers said, if there is a warning in it: cargo tells of its progress, too.
fn warnings(said: &[String]) -> String {
    if !said.iter().any(|line| plain(line).starts_with("warning")) {
        return String::new();
    }
    said.iter()
        .filter(|line| !is_progress(line))
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

/// The line without colours and without what it is indented by.
fn plain(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string().trim_start().to_owned()
}

/// Whether cargo only tells what it is doing.
fn is_progress(line: &str) -> bool {
    let words = [
        "Compiling ",
        "Finished ",
        "Downloading ",
        "Downloaded ",
        "Updating ",
        "Locking ",
        "Blocking ",
    ];
    words.iter().any(|word| plain(line).starts_with(word))
}

/// Whether make says only that somebody else has said what is wrong.
fn is_makes(line: &str) -> bool {
    (line.starts_with("make[") || line.starts_with("make:")) && (line.contains("***") || line.contains("directory"))
}

/// Copies `from`, if it is there. Nobody ever sees a part of it, even if this is interrupted.
/// A link is no file: where somebody else's build has put one, it may lead anywhere.
fn copy(from: &Path, to: &Path) -> Result<bool> {
    if !fs::symlink_metadata(from).is_ok_and(|about| about.is_file()) {
        return Ok(false);
    }
    if let (Ok(old), Ok(new)) = (fs::read(to), fs::read(from))
        && old == new
    {
        return Ok(true);
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).at("create", directory)?;
    }
    let part = to.with_extension(format!("{}.part", std::process::id()));
    fs::copy(from, &part).at("copy", from)?;
    fs::rename(&part, to).at("write", to)?;
    Ok(true)
}

/// Puts what the book's own build has made into the store, so that what a chapter does not change is there already.
///
/// # Errors
/// When a file cannot be read or written.
pub fn keep_the_books(course: &Course) -> Result<()> {
    let inputs = Inputs::read(&course.root)?;
    let out = inputs.out().to_owned();
    let book = extend(course, &[])?;
    let files = files(&book.program);
    for part in &PARTS {
        // Whoever edited a generated file has built something else.
        let as_written = files
            .iter()
            .filter(|(path, _)| part.directories.iter().any(|directory| path.starts_with(directory)))
            .all(|(path, text)| fs::read_to_string(out.join(path)).is_ok_and(|there| there == *text));
        if as_written {
            let product = course
                .root
                .join("target")
                .join(format!("host-{}", host()))
                .join(part.product);
            copy(&product, &part.stored(course, &files))?;
        }
    }
    Ok(())
}

/// How long a build may take where nobody says otherwise: a slow machine compiles everything in a few minutes.
pub const BUILD_TIME: Duration = Duration::from_secs(1200);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::grade::News;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn a_chapter_changes_code_and_nothing_else() {
        let book = files(&[("module/a.rs", "1"), ("module/Kbuild", "k"), ("guest/kernel.ld", "l")]);
        let with = |path: &str, text: &str| {
            let mut with = book.clone();
            with.insert(path.to_owned(), text.to_owned());
            refusals(std::slice::from_ref(&book), &with)
        };
        let known = [book.clone()];
        assert_eq!(refusals(&known, &book), Vec::<String>::new());
        assert!(with("module/a.rs", "2").is_empty());
        assert!(with("guest/user/new.rs", "2").is_empty());
        for (path, text) in [
            ("module/Kbuild", "x"),
            ("guest/kernel.ld", "x"),
            ("guest/build.rs", "x"),
            ("guest/.cargo/config.toml", "x"),
            ("launcher/.cargo/config", "x"),
            ("tests/vm/src/main.rs", "x"),
            ("Cargo.toml", "x"),
            ("module/a.rs", "include_str!(\"/etc/passwd\")"),
            ("module/a.rs", "include_str !(\"/etc/passwd\")"),
            ("module/a.rs", "include_str\n/* a */ /**/ ! (\"/etc/passwd\")"),
            ("module/a.rs", "include_str // a\n ! (\"/etc/passwd\")"),
            ("module/a.rs", "(\"/*\", include_str!(\"/etc/passwd\"), \"*/\")"),
            ("module/a.rs", "# [ path = \"/etc/passwd\"] mod a;"),
        ] {
            assert_eq!(with(path, text).len(), 1, "{path}");
        }
        assert_eq!(
            refusals(&known, &files(&[("module/a.rs", "1"), ("module/Kbuild", "k")])).len(),
            1
        );
        // What the lab itself does is fine, and nothing else.
        let mut lab = book.clone();
        lab.insert("module/Kbuild".to_owned(), "lab".to_owned());
        lab.insert("module/a.rs".to_owned(), "include_str!(1)".to_owned());
        let known = [book.clone(), lab.clone()];
        assert!(refusals(&known, &lab).is_empty());
        lab.insert("module/Kbuild".to_owned(), "other".to_owned());
        lab.insert("module/a.rs".to_owned(), "include_str!(1) include_str!(2)".to_owned());
        assert_eq!(refusals(&known, &lab).len(), 2);
    }

    #[test]
    fn what_a_lab_gives_stays_as_it_is() {
        let book = files(&[("guest/a.rs", "1")]);
        let starter = files(&[("guest/a.rs", "2"), ("guest/given.rs", "g"), ("guest/todo.rs", "stub")]);
        let solution = files(&[("guest/a.rs", "2"), ("guest/given.rs", "g"), ("guest/todo.rs", "done")]);
        let changed = |with: &Files| given_and_changed(&book, &starter, &solution, with);
        assert!(changed(&starter).is_empty() && changed(&solution).is_empty());
        let mine = files(&[("guest/a.rs", "3"), ("guest/given.rs", "g"), ("guest/todo.rs", "mine")]);
        assert!(changed(&mine).is_empty(), "the book's own files are for changing");
        for lies in [files(&[("guest/given.rs", "lies")]), files(&[])] {
            assert_eq!(changed(&lies).len(), 1);
        }
    }

    #[test]
    fn a_part_is_known_by_its_code() {
        let [module, launcher, guest] = &PARTS;
        let one = files(&[("module/a.rs", "1"), ("abi/a.rs", "2"), ("launcher/b.rs", "3")]);
        let mut two = one.clone();
        two.insert("launcher/b.rs".to_owned(), "4".to_owned());
        assert_eq!(module.key(&one, ""), module.key(&two, ""));
        assert_ne!(launcher.key(&one, ""), launcher.key(&two, ""));
        two.insert("abi/a.rs".to_owned(), "5".to_owned());
        assert_ne!(module.key(&one, ""), module.key(&two, ""));
        assert_ne!(guest.key(&one, ""), guest.key(&two, ""));
    }

    #[test]
    fn a_warning_stays_with_the_part_that_it_is_about() {
        let root = tempfile::tempdir().expect("a directory");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        // A course whose parts a shell builds; its compiler has something to say of the guest while that is `bad`.
        put("scripts/system", "#!/bin/sh\n");
        put(
            "Makefile",
            concat!(
                "put = mkdir -p $(dir $(SYSTEM)/$(1)) && echo built >$(SYSTEM)/$(1)\n",
                "module:\n\t@$(call put,host-$(or $(HOST),debian)/modules/lguest.ko)\n",
                "launcher:\n\t@$(call put,host-$(or $(HOST),debian)/bin/lguest)\n",
                "guest:\n\t@! grep -q bad $(SYSTEM)/code || echo 'warning: bad'\n",
                "\t@$(call put,host-$(or $(HOST),debian)/guests/guest)\n",
            ),
        );
        let script = root.path().join("scripts/system");
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("a script");
        let course = Course {
            root: root.path().to_owned(),
            labs: Vec::new(),
        };
        let system = System::at(&root.path().join("system"));
        let said_of = |guest: &str| {
            put("system/code", guest);
            let files = files(&[("module/a.rs", "1"), ("launcher/a.rs", "1"), ("guest/a.rs", guest)]);
            let said = Arc::new(Mutex::new(Vec::new()));
            let heard = Arc::clone(&said);
            let setting = Setting {
                listener: Arc::new(move |news| {
                    if let News::Warning(line) = news {
                        heard.lock().expect("nobody panics").push((*line).to_owned());
                    }
                }),
                ..Setting::default()
            };
            let logs = root.path().join("logs");
            system.build(&course, &files, &logs, &setting).expect("it is built");
            drop(setting);
            Arc::into_inner(said).map(|said| said.into_inner().expect("nobody panics"))
        };
        let warned = Some(vec!["warning: bad".to_owned()]);
        assert_eq!(said_of("bad"), warned);
        assert_eq!(
            said_of("bad"),
            warned,
            "nobody builds it again, and it is as bad as before"
        );
        assert_eq!(
            said_of("good"),
            Some(Vec::new()),
            "the module and the launcher are what they were"
        );
    }
}
