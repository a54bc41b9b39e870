//! What tangle remembers beside the generated files, in [`map::DIRECTORY`]: their text, so that an edit by hand can be told
//! from what was written, and the fingerprints of all that went in and came out, so that a run that has nothing to do ends
//! early. Both go by content and never by time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::map::{self, LineMap};

/// The text of all files as they were written last.
pub const BASE: &str = ".tangle/base";
/// The fingerprints of the last run.
pub const STAMP: &str = ".tangle/stamp";
/// How much of a long file is in memory at once.
const BUFFER: usize = 1 << 16;
/// The first line of a stamp; another one was left by another version.
const HEAD: &str = concat!("tangle ", env!("CARGO_PKG_VERSION"), " stamp 1");

/// A new [`BASE`] while it is written. It takes the place of the old one when it is finished, or else is gone.
#[derive(Debug)]
pub struct NewBase {
    out: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl NewBase {
    /// Begins one for the files in `out`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(out: &Path) -> io::Result<Self> {
        let path = out.join(format!("{BASE}-{}", std::process::id()));
        let file = BufWriter::with_capacity(BUFFER, File::create(&path)?);
        Ok(Self {
            out: out.to_owned(),
            path,
            file,
        })
    }

    /// Adds the text of a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, path: &str, text: &str) -> io::Result<()> {
        writeln!(self.file, "{} {path}", text.len())?;
        self.file.write_all(text.as_bytes())
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.path, self.out.join(BASE))
    }
}

impl Drop for NewBase {
    fn drop(&mut self) {
        // Once it is in its place there is nothing left to remove; else it is half a file of our own, and the error that
        // led here says more than one about this.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads the texts in [`BASE`] that `map` confirms.
#[must_use]
pub fn read_base(out: &Path, map: &LineMap) -> BTreeMap<String, String> {
    let base = fs::read_to_string(out.join(BASE)).unwrap_or_default();
    let mut files = BTreeMap::new();
    let mut rest = base.as_str();
    while let Some((head, behind)) = rest.split_once('\n') {
        let Some((length, path)) = head.split_once(' ') else {
            break;
        };
        let Some((text, next)) = length.parse().ok().and_then(|length| behind.split_at_checked(length)) else {
            break;
        };
        rest = next;
        if map
            .files
            .get(path)
            .is_some_and(|file| file.hash == map::fingerprint(text.as_bytes()))
        {
            files.insert(path.to_owned(), text.to_owned());
        }
    }
    files
}

/// Notes in [`STAMP`] that the files in `out` are what became of `inputs`.
///
/// # Errors
/// When it cannot be written.
pub fn write_stamp(out: &Path, inputs: &str, map: &LineMap) -> io::Result<()> {
    let mut stamp = format!("{HEAD}\n{inputs}\n");
    for own in [map::FILE, BASE] {
        stamp.push_str(&fingerprint_of(&out.join(own))?);
        stamp.push('\n');
    }
    for (path, file) in &map.files {
        stamp.push_str(&file.hash);
        stamp.push(' ');
        stamp.push_str(path);
        stamp.push('\n');
    }
    let path = out.join(STAMP);
    if fs::read_to_string(&path).is_ok_and(|there| there == stamp) {
        return Ok(());
    }
    fs::write(path, stamp)
}

/// How many files `out` has, if they are all exactly what became of `inputs`; `None` if that is not known.
#[must_use]
pub fn up_to_date(out: &Path, inputs: &str) -> Option<usize> {
    let stamp = fs::read_to_string(out.join(STAMP)).ok()?;
    let mut lines = stamp.lines();
    if lines.next()? != HEAD || lines.next()? != inputs {
        return None;
    }
    let is = |path: &str, hash: &str| fingerprint_of(&out.join(path)).is_ok_and(|there| there == hash);
    for own in [map::FILE, BASE] {
        let hash = lines.next()?;
        is(own, hash).then_some(())?;
    }
    let mut files = 0;
    for line in lines {
        let (hash, path) = line.split_once(' ')?;
        is(path, hash).then_some(())?;
        files += 1;
    }
    Some(files)
}

/// The [`map::fingerprint`] of a file, which may be longer than what one wants to have in memory.
fn fingerprint_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(map::hex(hash.digest128())),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::source::Book;

    #[test]
    fn what_was_written_is_remembered() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join(map::DIRECTORY)).unwrap();
        let text = "```c file=a\n1 é\n```\n```c file=\"b c\"\n```\n";
        let book = Book::new([("a.md", text)]);
        let (model, _) = Model::read(&book);
        let tangled = crate::tangle::tangle(&model);
        let map = tangled.line_map(&book, &model);
        let mut new = NewBase::create(out.path()).unwrap();
        for (path, file) in &tangled.files {
            new.add(path, &file.text).unwrap();
        }
        new.finish().unwrap();
        let base = read_base(out.path(), &map);
        assert_eq!(
            base.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "1 é\n".to_owned()), ("b c".to_owned(), String::new())]
        );
        let mut other = map.clone();
        other.files.get_mut("a").unwrap().hash.clear();
        assert_eq!(read_base(out.path(), &other).len(), 1);
    }

    #[test]
    fn anything_that_changed_is_noticed() {
        let out = tempfile::tempdir().unwrap();
        let book = Book::new([("a.md", "```c file=a\n1\n```\n```c file=b\n2\n```\n")]);
        let (model, _) = Model::read(&book);
        let tangled = crate::tangle::tangle(&model);
        let map = tangled.line_map(&book, &model);
        let tangle = || {
            crate::disk::write(out.path(), &tangled, &map, crate::disk::Mode::Force).unwrap();
            write_stamp(out.path(), "in", &map).unwrap();
        };
        tangle();
        assert_eq!(up_to_date(out.path(), "in"), Some(2));
        assert_eq!(up_to_date(out.path(), "other"), None);
        for path in ["a", "b", map::FILE, BASE, STAMP] {
            tangle();
            assert_eq!(up_to_date(out.path(), "in"), Some(2), "{path}");
            fs::write(out.path().join(path), "changed").unwrap();
            assert_eq!(up_to_date(out.path(), "in"), None, "{path}");
            fs::remove_file(out.path().join(path)).unwrap();
            assert_eq!(up_to_date(out.path(), "in"), None, "{path}");
        }
    }
}
