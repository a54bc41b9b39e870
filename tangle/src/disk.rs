//! The only module that reads and writes: the chapters of a book, and the files that it becomes.
//!
//! ```
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path();
//! # std::fs::create_dir(root.join("src"))?;
//! # std::fs::write(root.join("book.toml"), "")?;
//! # std::fs::write(root.join("src/SUMMARY.md"), "- [One](one.md)\n")?;
//! # std::fs::write(root.join("src/one.md"), "~~~c file=a.c\nint a;\n~~~\n")?;
//! use tangle::disk::{self, Mode, Project};
//!
//! let project = Project::open(root)?;
//! let model = tangle::model(&project.book).expect("the book has no mistakes");
//! let map = tangle::tangle::line_map(&project.book, &model);
//! let report = disk::write(&project.out, &model, &map, Mode::Write)?;
//! assert_eq!(report.written, ["a.c"]);
//! assert_eq!(std::fs::read_to_string(root.join("generated/a.c"))?, "int a;\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dialect::Dialect;
use crate::lab::{self, View};
use crate::map::{self, LineMap};
use crate::record::{self, NewBase};
use crate::source::{Book, Source};
use crate::summary;
#[cfg(feature = "stitch")]
use crate::tangle::Tangled;
use crate::tangle::Texts;

/// A book on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// The directory of the chapters, relative to `root`.
    pub source_dir: String,
    /// Where the generated files go.
    pub out: PathBuf,
    /// The chapters.
    pub book: Book,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BookToml {
    book: BookTable,
    preprocessor: PreprocessorTables,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BookTable {
    src: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PreprocessorTables {
    tangle: Settings,
}

/// The table `[preprocessor.tangle]` of `book.toml`, as far as it is not mdBook's own business.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The output directory, relative to the root of the book.
    pub out: String,
    /// The [`Dialect`]; see [`Dialect::choose`].
    pub dialect: Option<String>,
    /// The directory of the [labs](crate::lab), relative to the root of the book.
    pub labs: Option<String>,
    /// Where `tangle lsp` writes the systems of book and lab, a directory for each lab, relative to the root of the book.
    #[serde(rename = "labs-out")]
    pub labs_out: String,
    /// What `tangle watch` runs when something changes.
    #[cfg(feature = "watch")]
    pub watch: Vec<crate::watch::Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            out: "generated".to_owned(),
            dialect: None,
            labs: None,
            labs_out: "target/editor".to_owned(),
            #[cfg(feature = "watch")]
            watch: Vec::new(),
        }
    }
}

/// All files that a book is written in, as they are on disk.
#[derive(Debug, Clone)]
pub struct Inputs {
    root: PathBuf,
    config: String,
    dialect: Dialect,
    summary: String,
    source_dir: String,
    out: PathBuf,
    labs: Option<String>,
    #[cfg(feature = "lsp")]
    labs_out: String,
    #[cfg(feature = "watch")]
    rules: Vec<crate::watch::Rule>,
    /// Path, relative to `root`, and content.
    chapters: Vec<(String, Vec<u8>)>,
}

impl Inputs {
    /// Reads the files of the book whose `book.toml` lies in `root`.
    ///
    /// # Errors
    /// When `book.toml`, `SUMMARY.md` or a chapter cannot be read.
    pub fn read(root: &Path) -> Result<Self, Error> {
        Self::read_through(root, |path| fs::read(path))
    }

    /// The same for files that `read` knows better than the disk does, such as an editor's.
    ///
    /// # Errors
    /// When `book.toml`, `SUMMARY.md` or a chapter cannot be read.
    pub fn read_through(root: &Path, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Self, Error> {
        let bytes = |path: &Path| read(path).map_err(|error| Error::Io("read", path.to_owned(), error));
        let text = |path: &Path| {
            String::from_utf8(bytes(path)?).map_err(|error| {
                Error::Io(
                    "read",
                    path.to_owned(),
                    io::Error::new(io::ErrorKind::InvalidData, error),
                )
            })
        };
        let path = root.join("book.toml");
        let config_text = text(&path)?;
        let config: BookToml =
            toml::from_str(&config_text).map_err(|error| Error::Config(path.clone(), error.to_string()))?;
        let settings =
            read_if_there(&root.join(Dialect::FILE))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let dialect = Dialect::choose(config.preprocessor.tangle.dialect.as_deref(), settings.as_deref())
            .map_err(|why| Error::Config(path, why))?;
        let source_dir = config.book.src.unwrap_or_else(|| "src".to_owned());
        let source_dir = source_dir.trim_end_matches('/').to_owned();
        let summary = text(&root.join(&source_dir).join("SUMMARY.md"))?;
        let chapters = summary::chapters(&summary)
            .into_iter()
            .map(|chapter| {
                let path = format!("{source_dir}/{chapter}");
                let bytes = bytes(&root.join(&path))?;
                Ok((path, bytes))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            root: root.to_owned(),
            out: root.join(config.preprocessor.tangle.out),
            config: config_text,
            dialect,
            labs: config.preprocessor.tangle.labs,
            #[cfg(feature = "lsp")]
            labs_out: config.preprocessor.tangle.labs_out,
            #[cfg(feature = "watch")]
            rules: config.preprocessor.tangle.watch,
            summary,
            source_dir,
            chapters,
        })
    }

    /// Where the generated files go.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// The directory of the [labs](crate::lab), if the book has any.
    #[must_use]
    pub fn labs(&self) -> Option<PathBuf> {
        Some(self.root.join(self.labs.as_ref()?))
    }

    /// Where an editor's systems of book and lab go.
    #[cfg(feature = "lsp")]
    #[must_use]
    pub fn labs_out(&self) -> PathBuf {
        self.root.join(&self.labs_out)
    }

    /// Adds the chapter at `path` behind all others, where a lab is read as `view` says.
    ///
    /// # Errors
    /// When it cannot be read, or is a lab whose comments are not in order.
    pub fn followed_by(self, path: &Path, view: View) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|error| Error::Io("read", path.to_owned(), error))?;
        // What is no text is told when the others are read as text.
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => lab::view(&text, view)
                .map_err(|faults| {
                    let (range, what) = faults.into_iter().next().unwrap_or_default();
                    let line = Source::new("", text.as_str()).line(range.start);
                    Error::Config(path.to_owned(), format!("line {line}: {what}"))
                })?
                .into_bytes(),
            Err(error) => error.into_bytes(),
        };
        Ok(self.with_chapter(path, bytes))
    }

    /// Adds a chapter behind all others whose file is at `path` and which reads so.
    #[must_use]
    pub fn with_chapter(mut self, path: &Path, bytes: Vec<u8>) -> Self {
        self.chapters.push((shown_below(&self.root, path), bytes));
        self
    }

    /// The same with another place for the generated files.
    #[must_use]
    pub fn with_out(mut self, out: &Path) -> Self {
        out.clone_into(&mut self.out);
        self
    }

    /// What `tangle watch` runs when something changes.
    #[cfg(feature = "watch")]
    #[must_use]
    pub fn rules(&self) -> &[crate::watch::Rule] {
        &self.rules
    }

    /// The directory of the chapters.
    #[must_use]
    pub fn source_dir(&self) -> PathBuf {
        self.root.join(&self.source_dir)
    }

    /// The chapters as they are on disk: path, relative to `book.toml`, and content.
    #[must_use]
    pub fn chapters(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.chapters
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Changes when anything in any of the files changes.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut add = |part: &[u8]| {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        };
        add(self.config.as_bytes());
        add(format!("{:?}", self.dialect).as_bytes());
        add(self.summary.as_bytes());
        for (path, bytes) in &self.chapters {
            add(path.as_bytes());
            add(bytes);
        }
        map::hex(hash.digest128())
    }

    /// Understands them.
    ///
    /// # Errors
    /// When a chapter is not UTF-8, or longer than [`Source::LONGEST`].
    pub fn project(self) -> Result<Project, Error> {
        let chapters = self
            .chapters
            .into_iter()
            .map(|(path, bytes)| {
                let wrong = |path, what: String| {
                    Error::Io(
                        "read",
                        self.root.join(path),
                        io::Error::new(io::ErrorKind::InvalidData, what),
                    )
                };
                match String::from_utf8(bytes) {
                    Ok(text) if text.len() > Source::LONGEST => Err(wrong(path, "it is longer than 4 GiB".to_owned())),
                    Ok(text) => Ok((path, text)),
                    Err(error) => Err(wrong(path, error.to_string())),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Project {
            root: self.root,
            source_dir: self.source_dir,
            out: self.out,
            book: Book {
                dialect: self.dialect,
                ..Book::new(chapters)
            },
        })
    }
}

/// The labs in a directory, by number.
///
/// # Errors
/// When it cannot be read.
pub fn labs(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |error| Error::Io("read", directory.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if lab::number(&path.to_string_lossy()).is_some() && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What there is to read in the directory of the labs: its README, the labs, everything else.
///
/// # Errors
/// When it cannot be read.
pub fn pages_of_labs(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |error| Error::Io("read", directory.to_owned(), error);
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.extension().is_some_and(|extension| extension == "md") && path.is_file() {
            pages.push(path);
        }
    }
    let rank = |path: &Path| match path.file_name() {
        Some(name) if name == "README.md" => 0,
        _ if lab::number(&path.to_string_lossy()).is_some() => 1,
        _ => 2,
    };
    pages.sort_by_key(|path| (rank(path), path.clone()));
    Ok(pages)
}

/// `path` as errors and the line map show it: relative to the root of the book, if it lies below that.
fn shown_below(root: &Path, path: &Path) -> String {
    let below = || {
        let root = fs::canonicalize(if root.as_os_str().is_empty() {
            Path::new(".")
        } else {
            root
        })
        .ok()?;
        let path = fs::canonicalize(path).ok()?;
        Some(path.strip_prefix(root).ok()?.to_string_lossy().into_owned())
    };
    below().unwrap_or_else(|| path.to_string_lossy().into_owned())
}

impl Project {
    /// Reads the book whose `book.toml` lies in `root`.
    ///
    /// # Errors
    /// When `book.toml`, `SUMMARY.md` or a chapter cannot be read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Inputs::read(root)?.project()
    }

    /// Goes from `start` upwards to the first directory that has a `book.toml`.
    #[must_use]
    pub fn find_root(start: &Path) -> Option<PathBuf> {
        start
            .ancestors()
            .find(|directory| directory.join("book.toml").is_file())
            .map(Path::to_owned)
    }
}

/// A file that was changed by hand since tangle wrote it.
#[cfg(feature = "stitch")]
pub type Edits = BTreeMap<String, crate::stitch::Edit>;

/// Finds the files in `out` that were changed by hand since they were written. `tangled` is what the chapters say now.
///
/// # Errors
/// When a file cannot be read, or when it is not known any more what was written.
#[cfg(feature = "stitch")]
pub fn edits(out: &Path, tangled: &Tangled) -> Result<Edits, Error> {
    let Some(json) = read_if_there(&out.join(map::FILE))? else {
        return Ok(Edits::new());
    };
    let Some(map) = LineMap::from_json(&String::from_utf8_lossy(&json)) else {
        return Err(Error::Unknown(out.join(map::FILE)));
    };
    let mut base = None;
    let mut edits = Edits::new();
    for (path, file) in &map.files {
        let target = out.join(path);
        let Some(bytes) = read_if_there(&target)? else { continue };
        let hash = map::fingerprint(&bytes);
        if hash == file.hash || map.pending.get(path) == Some(&hash) {
            continue;
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            Error::Io(
                "read",
                target.clone(),
                io::Error::new(io::ErrorKind::InvalidData, error),
            )
        })?;
        let known = base.get_or_insert_with(|| record::read_base(out, &map)).remove(path);
        let base = known.or_else(|| {
            let now = &tangled.files.get(path)?.text;
            (map::fingerprint(now.as_bytes()) == file.hash).then(|| now.clone())
        });
        let base = base.ok_or(Error::Unknown(target))?;
        edits.insert(path.clone(), crate::stitch::Edit { base, text });
    }
    Ok(edits)
}

/// Writes chapters, all or none of them as far as a file system can promise it: the new texts are all on disk before the
/// first one takes its place.
///
/// # Errors
/// When one cannot be written.
#[cfg(feature = "stitch")]
pub fn write_chapters(root: &Path, chapters: &[(&str, &str)]) -> Result<(), Error> {
    let mut ready = Vec::new();
    for (path, text) in chapters {
        // A chapter may be a link to its file elsewhere.
        let target = root.join(path);
        let target = fs::canonicalize(&target).map_err(|error| Error::Io("find", target, error))?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tangle-{}", std::process::id()));
        let new = target.with_file_name(name);
        let written =
            fs::write(&new, text).and_then(|()| fs::set_permissions(&new, fs::metadata(&target)?.permissions()));
        ready.push((new, target.clone()));
        if let Err(error) = written {
            for (new, _) in ready {
                // Half a file of our own; the first error says what is wrong.
                let _ = fs::remove_file(new);
            }
            return Err(Error::Io("write", target, error));
        }
    }
    for (new, target) in ready {
        fs::rename(&new, &target).map_err(|error| Error::Io("write", target, error))?;
    }
    Ok(())
}

/// Makes files in `out` that were edited hold the text of `tangled`, which has their edits in it.
///
/// # Errors
/// When one cannot be written.
#[cfg(feature = "stitch")]
pub fn settle(out: &Path, tangled: &Tangled, edits: &Edits) -> Result<(), Error> {
    for (path, edit) in edits {
        if let Some(file) = tangled.files.get(path)
            && file.text != edit.text
        {
            replace(out, path, &file.text)?;
        }
    }
    Ok(())
}

/// What to do with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Write what changed; refuse if that would destroy an edit by hand.
    #[default]
    Write,
    /// Write what changed, whatever is there.
    Force,
    /// Only find out what would be written.
    Check,
}

/// What was done, or in [`Mode::Check`] would have been.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many files the book has.
    pub files: usize,
    /// Those that were written.
    pub written: Vec<String>,
    /// Those that the book no longer has.
    pub removed: Vec<String>,
}

/// Why a file was left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Somebody changed it since tangle wrote it.
    Edited(PathBuf),
    /// The same, and the book no longer has it.
    EditedAndStale(PathBuf),
    /// Tangle never wrote it.
    Foreign(PathBuf),
}

/// Why nothing was tangled.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read or written.
    Io(&'static str, PathBuf, io::Error),
    /// `book.toml` makes no sense.
    Config(PathBuf, String),
    /// What tangle wrote there last is not known any more.
    Unknown(PathBuf),
    /// Files in the way. Nothing was written.
    Conflicts(Vec<Conflict>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(verb, path, error) => write!(f, "cannot {verb} {}: {error}", path.display()),
            Self::Config(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unknown(path) => write!(
                f,
                "{}: nobody knows any more what tangle wrote here. Save what you changed, and run `tangle --force`",
                path.display()
            ),
            Self::Conflicts(conflicts) => {
                for conflict in conflicts {
                    match conflict {
                        Conflict::Edited(path) => writeln!(f, "{} was edited by hand", path.display())?,
                        Conflict::EditedAndStale(path) => writeln!(
                            f,
                            "{} was edited by hand, and the book no longer has it",
                            path.display()
                        )?,
                        Conflict::Foreign(path) => writeln!(
                            f,
                            "{} is in the way: the book has such a file, but this one was not written by tangle",
                            path.display()
                        )?,
                    }
                }
                write!(
                    f,
                    "nothing was written. `tangle stitch` brings edits back into the chapters, `tangle --force` drops them"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, _, error) => Some(error),
            _ => None,
        }
    }
}

/// Makes the directory `out` hold the files of `map`, whose texts `texts` knows, and the map itself. What is there already
/// is not written again, what tangle wrote and the book no longer has is removed, and what tangle never wrote is left alone.
///
/// # Errors
/// [`Error::Conflicts`] when that would destroy an edit by hand, [`Error::Io`] when a file cannot be read or written.
pub fn write(out: &Path, texts: &impl Texts, map: &LineMap, mode: Mode) -> Result<Report, Error> {
    let map_path = out.join(map::FILE);
    let old_json = read_if_there(&map_path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let old = old_json.as_deref().and_then(LineMap::from_json);
    let plan = Plan::make(out, map, old.as_ref())?;
    if mode != Mode::Force && !plan.conflicts.is_empty() {
        return Err(Error::Conflicts(plan.conflicts));
    }
    if mode != Mode::Check {
        if !plan.known.is_empty() {
            // Until all is done, both states of every file are tangle's own, so that an interrupted run can be repeated.
            replace(out, map::FILE, &map.to_journal(&plan.known))?;
        }
        for path in &plan.report.removed {
            remove(out, path)?;
        }
        let json = map.to_json();
        let map_is_new = !plan.known.is_empty() || old_json.as_ref() != Some(&json);
        if map_is_new || !out.join(record::BASE).is_file() {
            let own = out.join(map::DIRECTORY);
            fs::create_dir_all(&own).map_err(|error| Error::Io("create", own, error))?;
            let base_error = |error| Error::Io("write", out.join(record::BASE), error);
            let mut base = NewBase::create(out).map_err(base_error)?;
            for path in map.files.keys() {
                let text = texts.text(path);
                if plan.known.contains_key(path) {
                    replace(out, path, &text)?;
                }
                base.add(path, &text).map_err(base_error)?;
            }
            base.finish().map_err(base_error)?;
        }
        if map_is_new {
            replace(out, map::FILE, &json)?;
        }
    }
    Ok(plan.report)
}

#[derive(Default)]
struct Plan {
    report: Report,
    conflicts: Vec<Conflict>,
    /// Files that will change, with the fingerprint that they have now.
    known: BTreeMap<String, String>,
}

impl Plan {
    fn make(out: &Path, map: &LineMap, old: Option<&LineMap>) -> Result<Self, Error> {
        let mut plan = Self::default();
        plan.report.files = map.files.len();
        let wrote = |path: &str, hash: &str| {
            old.is_some_and(|old| {
                old.files.get(path).is_some_and(|file| file.hash == hash)
                    || old.pending.get(path).is_some_and(|pending| pending == hash)
            })
        };
        let knows = |path: &str| old.is_some_and(|old| old.files.contains_key(path) || old.pending.contains_key(path));
        for (path, file) in &map.files {
            let hash = read_if_there(&out.join(path))?.map(|bytes| map::fingerprint(&bytes));
            if hash.as_ref() == Some(&file.hash) {
                continue;
            }
            if let Some(hash) = &hash
                && !wrote(path, hash)
            {
                plan.conflicts.push(if knows(path) {
                    Conflict::Edited(out.join(path))
                } else {
                    Conflict::Foreign(out.join(path))
                });
            }
            plan.known.insert(path.clone(), hash.unwrap_or_default());
            plan.report.written.push(path.clone());
        }
        let Some(old) = old else { return Ok(plan) };
        for path in old.files.keys().chain(old.pending.keys()) {
            if map.files.contains_key(path) || plan.known.contains_key(path) {
                continue;
            }
            let Some(there) = read_if_there(&out.join(path))? else {
                continue;
            };
            let hash = map::fingerprint(&there);
            if !wrote(path, &hash) {
                plan.conflicts.push(Conflict::EditedAndStale(out.join(path)));
            }
            plan.known.insert(path.clone(), hash);
            plan.report.removed.push(path.clone());
        }
        Ok(plan)
    }
}

/// The content of a file; `None` if there is none, also when its path leads through a file or ends in a directory.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Ok(None),
            _ => Err(Error::Io("read", path.to_owned(), error)),
        },
    }
}

/// Writes a file so that no other process ever sees half of it.
fn replace(out: &Path, path: &str, text: &str) -> Result<(), Error> {
    let target = out.join(path);
    let parent = target.parent().unwrap_or(out);
    let own = out.join(map::DIRECTORY);
    let new = own.join(format!("new-{}", std::process::id()));
    for directory in [parent, &own] {
        // To ask is cheaper than to try in vain.
        if !directory.is_dir() {
            fs::create_dir_all(directory).map_err(|error| Error::Io("create", directory.to_owned(), error))?;
        }
    }
    fs::write(&new, text)
        .and_then(|()| {
            if text.starts_with("#!/") {
                make_executable(&new)
            } else {
                Ok(())
            }
        })
        .and_then(|()| fs::rename(&new, &target))
        .map_err(|error| {
            // It is half a file of our own; if even that cannot be removed, the first error says why.
            let _ = fs::remove_file(&new);
            Error::Io("write", target, error)
        })
}

/// A script can be run, as its first line promises.
#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes a file, and the directories that it leaves empty.
fn remove(out: &Path, path: &str) -> Result<(), Error> {
    let target = out.join(path);
    fs::remove_file(&target).map_err(|error| Error::Io("remove", target.clone(), error))?;
    for directory in target.ancestors().skip(1).take_while(|directory| *directory != out) {
        // A directory with something else in it stays.
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::tangle::tangle;

    /// Tangles a book of one chapter.
    fn run(out: &Path, chapter: &str, mode: Mode) -> Result<Report, Error> {
        let book = Book::new([("a.md", chapter)]);
        let (model, diagnostics) = Model::read(&book);
        assert!(diagnostics.is_empty());
        let tangled = tangle(&model);
        let map = tangled.line_map(&book, &model);
        write(out, &tangled, &map, mode)
    }

    fn conflicts(result: Result<Report, Error>) -> Vec<Conflict> {
        match result {
            Err(Error::Conflicts(conflicts)) => conflicts,
            other => panic!("{other:?}"),
        }
    }

    const ONE: &str = "```c file=d/a.c\n1\n```\n```c file=b.c\n2\n```\n";
    const TWO: &str = "```c file=d/a.c\nnew\n```\n```c file=b.c\n2\n```\n";
    const NONE: &str = "```c file=b.c\n2\n```\n";

    #[test]
    fn only_what_changed_is_written() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(run(out.path(), ONE, Mode::Write).unwrap().written, ["b.c", "d/a.c"]);
        let before = fs::metadata(out.path().join("b.c")).unwrap().modified().unwrap();
        let map_before = fs::metadata(out.path().join(map::FILE)).unwrap().modified().unwrap();
        assert!(run(out.path(), ONE, Mode::Write).unwrap().written.is_empty());
        assert_eq!(
            fs::metadata(out.path().join(map::FILE)).unwrap().modified().unwrap(),
            map_before
        );
        assert_eq!(run(out.path(), TWO, Mode::Write).unwrap().written, ["d/a.c"]);
        assert_eq!(
            fs::metadata(out.path().join("b.c")).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(fs::read_to_string(out.path().join("d/a.c")).unwrap(), "new\n");
        let left: Vec<_> = fs::read_dir(out.path().join(map::DIRECTORY)).unwrap().collect();
        assert_eq!(left.len(), 2, "only the map and the base stay behind");
    }

    #[test]
    fn stale_files_go_and_strangers_stay() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), ONE, Mode::Write).unwrap();
        fs::write(out.path().join("README.md"), "mine").unwrap();
        assert_eq!(run(out.path(), NONE, Mode::Write).unwrap().removed, ["d/a.c"]);
        assert!(!out.path().join("d").exists());
        run(out.path(), ONE, Mode::Write).unwrap();
        fs::write(out.path().join("d/a.o"), "object").unwrap();
        run(out.path(), NONE, Mode::Write).unwrap();
        assert!(out.path().join("d/a.o").exists());
        assert!(!out.path().join("d/a.c").exists());
        assert_eq!(fs::read_to_string(out.path().join("README.md")).unwrap(), "mine");
    }

    #[test]
    fn a_file_may_become_a_directory_and_back() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), "```c file=d\n1\n```\n", Mode::Write).unwrap();
        run(out.path(), ONE, Mode::Write).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("d/a.c")).unwrap(), "1\n");
        run(out.path(), "```c file=d\n1\n```\n", Mode::Write).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("d")).unwrap(), "1\n");
    }

    #[test]
    fn an_edit_by_hand_is_never_lost() {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("d/a.c");
        run(out.path(), ONE, Mode::Write).unwrap();
        fs::write(&file, "by hand").unwrap();
        assert_eq!(
            conflicts(run(out.path(), ONE, Mode::Write)),
            [Conflict::Edited(file.clone())]
        );
        assert_eq!(
            conflicts(run(out.path(), TWO, Mode::Check)),
            [Conflict::Edited(file.clone())]
        );
        assert_eq!(
            conflicts(run(out.path(), NONE, Mode::Write)),
            [Conflict::EditedAndStale(file.clone())]
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "by hand");
        run(out.path(), TWO, Mode::Force).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
    }

    #[test]
    fn an_edit_that_the_book_agrees_with_is_no_conflict() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), ONE, Mode::Write).unwrap();
        fs::write(out.path().join("d/a.c"), "new\n").unwrap();
        assert!(run(out.path(), TWO, Mode::Write).unwrap().written.is_empty());
        assert_eq!(run(out.path(), ONE, Mode::Write).unwrap().written, ["d/a.c"]);
    }

    #[test]
    fn a_strange_file_in_the_way_is_left_alone() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("b.c"), "whose?").unwrap();
        assert_eq!(
            conflicts(run(out.path(), ONE, Mode::Write)),
            [Conflict::Foreign(out.path().join("b.c"))]
        );
        assert!(!out.path().join("d").exists(), "nothing was written");
    }

    #[test]
    fn a_lost_file_is_written_again() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), ONE, Mode::Write).unwrap();
        fs::remove_file(out.path().join("b.c")).unwrap();
        assert_eq!(run(out.path(), ONE, Mode::Write).unwrap().written, ["b.c"]);
    }

    #[test]
    fn checking_writes_nothing() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(run(out.path(), ONE, Mode::Check).unwrap().written.len(), 2);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_interrupted_run_can_be_repeated() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), ONE, Mode::Write).unwrap();
        // The journal was written, d/a.c not yet.
        let book = Book::new([("a.md", TWO)]);
        let (model, _) = Model::read(&book);
        let mut journal = tangle(&model).line_map(&book, &model);
        journal.pending.insert("d/a.c".to_owned(), map::fingerprint(b"1\n"));
        fs::write(out.path().join(map::FILE), journal.to_json()).unwrap();
        assert_eq!(run(out.path(), NONE, Mode::Write).unwrap().removed, ["d/a.c"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_script_can_be_run() {
        use std::os::unix::fs::PermissionsExt;
        let out = tempfile::tempdir().unwrap();
        run(out.path(), "```sh file=x.sh\n#!/bin/sh\n```\n", Mode::Write).unwrap();
        let mode = fs::metadata(out.path().join("x.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
