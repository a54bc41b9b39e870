//! Which chapter line a location in a generated file is.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::map::{self, LineMap};

/// A place in a chapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The chapter, as it is reached from the current directory.
    pub chapter: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Generated column minus chapter column.
    pub shift: isize,
}

/// Finds the chapters behind the generated files of one book.
#[derive(Debug)]
pub struct Locator {
    /// Where the book lies, in full.
    root: PathBuf,
    /// What leads there from the current directory: empty, or with a `/` at its end.
    prefix: String,
    /// The output directory, in full.
    out: PathBuf,
    /// Where relative paths may begin, the likeliest last.
    directories: Vec<PathBuf>,
    map: Option<LineMap>,
    /// The names of the generated files without their directories: most paths that tools print end in none of them.
    names: HashSet<String>,
    /// When the map was written, and its length: it is read again when a build tangles.
    state: Option<(SystemTime, u64)>,
    chapters: HashMap<String, Vec<String>>,
}

impl Locator {
    /// Looks at the book in `root` whose files are in `out`.
    #[must_use]
    pub fn new(root: &Path, out: &Path) -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        let full = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| normal(&here.join(path)));
        let root = full(root);
        let prefix = match full(&here).strip_prefix(&root) {
            Ok(below) => "../".repeat(below.components().count()),
            Err(_) => format!("{}/", root.display()),
        };
        let mut locator = Self {
            out: full(out),
            root,
            prefix,
            directories: vec![here],
            map: None,
            names: HashSet::new(),
            state: None,
            chapters: HashMap::new(),
        };
        locator.refresh();
        locator
    }

    /// Reads the map again if it changed.
    pub fn refresh(&mut self) {
        let path = self.out.join(map::FILE);
        let state = fs::metadata(&path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        if state == self.state && self.map.is_some() {
            return;
        }
        self.state = state;
        self.chapters.clear();
        let read = fs::read_to_string(&path)
            .ok()
            .and_then(|json| LineMap::from_json(&json));
        if let Some(map) = read {
            self.names = map.files.keys().map(|path| name(path).to_owned()).collect();
            self.map = Some(map);
        }
    }

    /// From now on relative paths may begin in `directory`, until it is left.
    pub fn enter(&mut self, directory: &str) {
        self.directories.push(PathBuf::from(directory));
    }

    /// Takes back the last [`Self::enter`].
    pub fn leave(&mut self) {
        if self.directories.len() > 1 {
            self.directories.pop();
        }
    }

    /// The generated file that `path` names, relative to the output directory.
    #[must_use]
    pub fn generated(&self, path: &str) -> Option<&str> {
        let files = &self.map.as_ref()?.files;
        if !self.names.contains(name(path)) {
            return None;
        }
        let known = |path: &Path| {
            let path = path.to_str()?;
            files.get_key_value(path).map(|(path, _)| path.as_str())
        };
        let candidates: Vec<PathBuf> = self
            .directories
            .iter()
            .rev()
            .map(|directory| normal(&directory.join(path)))
            .collect();
        if let Some(found) = candidates
            .iter()
            .find_map(|path| path.strip_prefix(&self.out).ok().and_then(known))
        {
            return Some(found);
        }
        if candidates.iter().any(|path| path.exists()) {
            return None;
        }
        // Perhaps it was compiled where the same directory has another path: in a build root, on another machine.
        let name = self.out.file_name()?.to_str()?;
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let behind = parts
            .iter()
            .rposition(|part| *part == name)
            .map(|at| parts[at + 1..].join("/"));
        if let Some(found) = behind.and_then(|path| known(&normal(Path::new(&path)))) {
            return Some(found);
        }
        if path.starts_with('/') {
            return None;
        }
        // Or it is relative to some directory in there, like that of a kernel module.
        let tail = format!("/{}", parts.join("/"));
        let mut fitting = files
            .keys()
            .filter(|file| format!("/{file}").ends_with(&tail))
            .map(String::as_str);
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// Where `line` and `column` of the generated file `path` (as [`Self::generated`] gives it) were written.
    #[must_use]
    pub fn locate(&self, path: &str, line: usize, column: usize) -> Option<Location> {
        let map = self.map.as_ref()?;
        let shift = map.files.get(path)?.span(line)?.shift;
        let origin = map.origin(path, line, column)?;
        Some(Location {
            chapter: format!("{}{}", self.prefix, origin.source),
            line: origin.line,
            column: origin.column,
            shift,
        })
    }

    /// The generated file that has `text` in the line `line`, or else the only line of all that has it. An assembler that
    /// got its text from a compiler knows nothing else. White space does not count.
    #[must_use]
    pub fn find(&self, text: &str, line: usize) -> Option<(String, usize)> {
        let mut found = Vec::new();
        for file in self.map.as_ref()?.files.keys() {
            let content = fs::read_to_string(self.out.join(file)).unwrap_or_default();
            let lines = content
                .lines()
                .enumerate()
                .filter(|(_, there)| is_instance(text, there));
            found.extend(lines.map(|(at, _)| (file.clone(), at + 1)));
        }
        let mut likely: Vec<_> = found.iter().filter(|(_, at)| *at == line).cloned().collect();
        if likely.is_empty() {
            likely = found;
        }
        (likely.len() == 1).then(|| likely.swap_remove(0))
    }

    /// Whether the generated file `path` has `text` in the line `line`.
    #[must_use]
    pub fn has(&self, path: &str, line: usize, text: &str) -> bool {
        let content = fs::read_to_string(self.out.join(path)).unwrap_or_default();
        line > 0 && content.lines().nth(line - 1) == Some(text.trim_end_matches('\r'))
    }

    /// The text of a line of a chapter, and where in the file it begins.
    pub fn chapter_line(&mut self, location: &Location) -> Option<(String, usize)> {
        if !self.chapters.contains_key(&location.chapter) {
            let path = self.root.join(location.chapter.strip_prefix(&self.prefix)?);
            let text = fs::read_to_string(path).ok()?;
            let lines = text.split_inclusive('\n').map(str::to_owned).collect();
            self.chapters.insert(location.chapter.clone(), lines);
        }
        let lines = &self.chapters[&location.chapter];
        let text = lines.get(location.line - 1)?.trim_end_matches(['\n', '\r']).to_owned();
        Some((text, lines[..location.line - 1].iter().map(String::len).sum()))
    }
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `text` is what became of `template` when every `{operand}` in it got its value.
fn is_instance(text: &str, template: &str) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let (text, template) = (bare(text), bare(template));
    let mut pieces = template
        .split('{')
        .enumerate()
        .map(|(at, piece)| match piece.split_once('}') {
            Some((_, behind)) if at > 0 => behind,
            _ => piece,
        });
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
        open = piece.is_empty();
    }
    !text.is_empty() && (rest.is_empty() || open)
}

/// A path without `.` and `..`, whether it exists or not.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_compiled_in_another_place() {
        let book = tempfile::tempdir().unwrap();
        let out = book.path().join("generated");
        let mut locator = Locator::new(book.path(), &out);
        let (version, hash) = (map::VERSION, String::new());
        let file = map::FileMap {
            hash,
            lines: 0,
            spans: Vec::new(),
        };
        locator.names.insert("abi.rs".to_owned());
        locator.map = Some(LineMap {
            version,
            sources: Vec::new(),
            fragments: Vec::new(),
            files: [("abi/abi.rs".to_owned(), file)].into(),
            pending: [].into(),
        });
        for path in ["/run/generated/abi/abi.rs", "/run/generated/module/../abi/abi.rs"] {
            assert_eq!(locator.generated(path), Some("abi/abi.rs"), "{path}");
        }
        assert_eq!(locator.generated("/run/generated/other/abi.rs"), None);
    }

    #[test]
    fn a_line_of_assembly_with_its_operands_filled_in() {
        for (text, template) in [
            ("    movq %rax, %rbx", "\tmovq\t%rax, %rbx"),
            ("movq $16, %rax", "movq ${SELECTOR}, %rax"),
            ("pushq $1", "pushq ${FLAGS}"),
            ("a 1 b 2 c", "a {X} b {Y} c"),
        ] {
            assert!(is_instance(text, template), "{text} {template}");
        }
        for (text, template) in [
            ("", ""),
            ("movq %rax, %rbx", "movq %rax, %rcx"),
            ("movq $16, %rax", "movq ${SELECTOR}, %rbx"),
            ("movq $16, %rax, 8", "movq ${SELECTOR}, %rax"),
        ] {
            assert!(!is_instance(text, template), "{text} {template}");
        }
    }
}
