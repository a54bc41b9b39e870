//! Which tests of a Rust crate a change reaches.
//!
//! A change reaches the module that it is in, and the modules that mention a module it reaches; a change inside of
//! `#[cfg(test)] mod ...` stays there. That is read off the words, without a compiler, so it may be more than there is
//! need for. It is less only where one module acts on another that does not name it.

use std::collections::BTreeSet;
use std::ops::Range;

/// The modules of a crate.
#[derive(Debug, Clone)]
pub struct Crate {
    /// The root first.
    modules: Vec<Module>,
}

#[derive(Debug, Clone)]
struct Module {
    /// Its name from the root on; the root's is empty.
    path: Vec<String>,
    /// Its file.
    file: String,
    text: String,
}

/// The modules whose tests a change reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// All of the crate.
    All,
    /// These, as the test harness filters them: `memory::tests::`.
    Some(BTreeSet<String>),
}

impl Crate {
    /// Reads the crate with the root file `root`; `read` finds the text of a file.
    #[must_use]
    pub fn read(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut modules = Vec::new();
        let text = read(root).unwrap_or_default();
        let mut open = vec![Module {
            path: Vec::new(),
            file: root.to_owned(),
            text,
        }];
        while let Some(module) = open.pop() {
            for (name, path) in declared(&module.text) {
                let files = match path {
                    Some(path) => vec![join(directory(&module.file), path)],
                    None => candidates(&module, name),
                };
                // A crate whose modules go in circles has been told so by its compiler.
                let known = |file: &str| modules.iter().any(|module: &Module| module.file == file);
                let found = files
                    .into_iter()
                    .find_map(|file| Some((read(&file)?, file)))
                    .filter(|(_, file)| !known(file));
                if let Some((text, file)) = found {
                    let path = [module.path.clone(), vec![name.to_owned()]].concat();
                    open.push(Module { path, file, text });
                }
            }
            modules.push(module);
        }
        Self { modules }
    }

    /// The modules whose tests a change of files reaches; with each file its lines (from 0), or `None` for all of them.
    pub fn reached<'c>(&self, changes: impl IntoIterator<Item = (&'c str, Option<&'c [Range<usize>]>)>) -> Reached {
        let mut reached: BTreeSet<usize> = BTreeSet::new();
        let mut tests: BTreeSet<String> = BTreeSet::new();
        for (file, lines) in changes {
            let Some(at) = self.modules.iter().position(|module| module.file == file) else {
                continue;
            };
            match lines.and_then(|lines| test_modules(&self.modules[at].text, lines)) {
                Some(names) => tests.extend(names.into_iter().map(|name| self.modules[at].filter(Some(name)))),
                None => {
                    reached.insert(at);
                }
            }
        }
        let mut open: Vec<usize> = reached.iter().copied().collect();
        while let Some(changed) = open.pop() {
            for (at, module) in self.modules.iter().enumerate() {
                if !reached.contains(&at) && module.mentions(&self.modules[changed]) {
                    reached.insert(at);
                    open.push(at);
                }
            }
        }
        for module in reached.into_iter().map(|at| &self.modules[at]) {
            if !module.text.contains("#[test]") {
                continue;
            }
            if module.path.is_empty() {
                return Reached::All;
            }
            tests.insert(module.filter(None));
        }
        Reached::Some(tests)
    }
}

impl Module {
    /// What the names of its tests begin with.
    fn filter(&self, tests: Option<&str>) -> String {
        let parts = self.path.iter().map(String::as_str).chain(tests);
        parts.fold(String::new(), |filter, part| filter + part + "::")
    }

    /// Whether its code names `other`.
    fn mentions(&self, other: &Self) -> bool {
        let Some(name) = other.path.last() else {
            // The root is `crate` to all, and what is above to its own children.
            return names(&self.text, "crate") && !self.path.is_empty()
                || self.path.len() == 1 && names(&self.text, "super");
        };
        let is_child = self.path.split_last().is_some_and(|(_, above)| above == other.path);
        names(&self.text, name) || is_child && names(&self.text, "super")
    }
}

/// Whether `text` uses the module `name`: as the beginning of a path, or in a `use`.
fn names(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let (before, behind) = (&line[..at], &line[at + name.len()..]);
            if before.ends_with(is_word) || behind.starts_with(is_word) || before.trim_start().starts_with("//") {
                return false;
            }
            let imported = line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ");
            behind.starts_with("::") || imported
        })
    })
}

/// The modules that have files of their own: their names, and their `#[path]` if they have one.
fn declared(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut declared = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path") {
            path = rest.split('"').nth(1);
        } else if line.starts_with("#[") || line.starts_with("//") {
            // Another attribute may stand between.
        } else {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some(at) = words.iter().position(|&word| word == "mod").filter(|&at| at <= 1)
                && let Some(name) = words.get(at + 1).and_then(|name| name.strip_suffix(';'))
            {
                declared.push((name, path));
            }
            path = None;
        }
    }
    declared
}

/// Where the file of the module `name` inside of `parent` may be.
fn candidates(parent: &Module, name: &str) -> Vec<String> {
    let directory = directory(&parent.file);
    let stem = parent.file.rsplit('/').next().unwrap_or_default();
    let base = match parent.path.last() {
        // `a.rs` has its children in `a/`; a root and `a/mod.rs` have them beside themselves.
        Some(own) if stem != "mod.rs" => join(directory, own),
        _ => directory.to_owned(),
    };
    vec![
        join(&base, &format!("{name}.rs")),
        join(&base, &format!("{name}/mod.rs")),
    ]
}

fn directory(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// `path` as it is reached by way of `directory`.
fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The modules of tests that hold all of `lines`; `None` if there are lines outside of them.
fn test_modules<'t>(text: &'t str, lines: &[Range<usize>]) -> Option<BTreeSet<&'t str>> {
    let mut modules = Vec::new();
    let all: Vec<&str> = text.lines().collect();
    for (at, line) in all.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() != "#[cfg(test)]" {
            continue;
        }
        let Some(name) = all
            .get(at + 1)
            .and_then(|next| next.trim().strip_prefix("mod ")?.strip_suffix(" {"))
        else {
            continue;
        };
        let end = format!("{indent}}}");
        if let Some(length) = all[at..].iter().position(|line| **line == end) {
            modules.push((name, at..at + length + 1));
        }
    }
    lines
        .iter()
        .map(|lines| {
            let inside = |module: &Range<usize>| module.start < lines.start && lines.end < module.end;
            modules.iter().find(|(_, module)| inside(module)).map(|(name, _)| *name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "mod memory;\nmod loader;\n#[cfg(test)]\n#[path = \"../other.rs\"]\nmod elsewhere;\nfn main() { loader::load() }\n";
    const MEMORY: &str =
        "pub struct Memory;\nmod tables;\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn it_is() {\n    }\n}\n";
    const LOADER: &str = "use crate::memory::Memory;\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn loads() {}\n}\n";

    fn read(path: &str) -> Option<String> {
        let text = match path {
            "src/main.rs" => MAIN,
            "src/memory.rs" => MEMORY,
            "src/loader.rs" => LOADER,
            "src/memory/tables.rs" => "// Of loader::nothing.\nfn table() {}\n#[test]\nfn is_empty() {}\n",
            "other.rs" => "#[test]\nfn other() {}\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn reached(file: &str, lines: Option<&[Range<usize>]>) -> Vec<String> {
        match Crate::read("src/main.rs", &read).reached([(file, lines)]) {
            Reached::All => vec!["all".to_owned()],
            Reached::Some(tests) => tests.into_iter().collect(),
        }
    }

    #[test]
    fn a_change_reaches_its_module_and_those_that_mention_it() {
        assert_eq!(reached("src/memory.rs", None), ["loader::", "memory::"]);
        assert_eq!(reached("src/memory.rs", Some(&[0..1, 0..1])), ["loader::", "memory::"]);
        assert_eq!(reached("src/loader.rs", None), ["loader::"]);
        assert_eq!(reached("src/memory/tables.rs", None), ["memory::tables::"]);
        assert_eq!(reached("other.rs", None), ["elsewhere::"]);
    }

    #[test]
    fn a_change_of_tests_reaches_them_alone() {
        assert_eq!(reached("src/memory.rs", Some(&[5..6, 5..6])), ["memory::tests::"]);
        assert_eq!(reached("src/memory.rs", Some(&[5..6, 0..1])), ["loader::", "memory::"]);
    }

    #[test]
    fn what_is_no_part_of_the_crate_reaches_nothing() {
        assert!(reached("src/other.rs", None).is_empty());
    }

    #[test]
    fn tests_in_the_root_are_all_tests() {
        let read = |path: &str| (path == "lib.rs").then(|| "#[test]\nfn it() {}\n".to_owned());
        assert_eq!(Crate::read("lib.rs", &read).reached([("lib.rs", None)]), Reached::All);
    }

    #[test]
    fn a_path_is_one_however_it_is_written() {
        assert_eq!(join("tests", "../generated/module/walk.rs"), "generated/module/walk.rs");
        assert_eq!(join("", "../x.rs"), "../x.rs");
        assert_eq!(join("a/b", "./c.rs"), "a/b/c.rs");
    }
}
