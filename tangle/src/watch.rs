//! Decides what has to run after a change.
//!
//! [`Rule`]s in `book.toml` say which commands depend on which files. For the tests of a program they can say more: which
//! tests a file needs, or that a crate of Rust knows that itself ([`reach`]).

pub mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use glob::Pattern;
use serde::Deserialize;

use crate::diff;
use reach::{Crate, Reached};

/// A command, and what it depends on: `[[preprocessor.tangle.watch]]` in `book.toml`. All paths are relative to that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// How it is called.
    pub name: String,
    /// Globs of chapters and generated files: when one of them changes, it runs.
    pub when: Vec<String>,
    /// A line of shell, run beside `book.toml`.
    pub run: String,
    /// Its output is shown as it comes, not only when it fails.
    #[serde(default)]
    pub show: bool,
    /// The root file of the Rust crate whose tests it runs: only those that a change reaches.
    #[serde(default)]
    pub tests_of: Option<String>,
    /// Which tests the files that match a glob need, as the command wants to hear it.
    #[serde(default)]
    pub tests: BTreeMap<String, String>,
}

/// Files that changed, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    files: BTreeMap<String, Lines>,
}

/// Lines of a file, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lines {
    /// These; an empty range stands where lines are missing now.
    Some(Vec<Range<usize>>),
    /// All of them, for what is known.
    All,
}

/// What a rule has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The files that are the reason, relative to `book.toml`.
    pub changed: Vec<String>,
    /// Which tests to run. Empty if all, or if the rule does not say.
    pub tests: Vec<String>,
}

impl Changes {
    /// Compares files by name and text.
    #[must_use]
    pub fn between(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Self {
        let mut files = BTreeMap::new();
        for path in old.keys().chain(new.keys()) {
            let lines = match (old.get(path), new.get(path)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => {
                    let hunks = diff::compare(&diff::lines(old), &diff::lines(new));
                    Lines::Some(hunks.into_iter().map(|hunk| hunk.new).collect())
                }
                _ => Lines::All,
            };
            files.insert(path.clone(), lines);
        }
        Self { files }
    }

    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The names of the files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Adds changes that came later. Of a file that changed again, every line counts as changed.
    pub fn add(&mut self, later: &Self) {
        for (path, lines) in &later.files {
            self.files
                .entry(path.clone())
                .and_modify(|lines| *lines = Lines::All)
                .or_insert_with(|| lines.clone());
        }
    }
}

impl Rule {
    /// The rule that runs `command` after every change.
    #[must_use]
    pub fn always(name: String, command: String) -> Self {
        Self {
            name,
            when: vec!["**".to_owned()],
            run: command,
            show: true,
            ..Self::default()
        }
    }

    /// Finds what cannot be meant.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn check(&self) -> Result<(), String> {
        for glob in self.when.iter().chain(self.tests.keys()) {
            Pattern::new(glob).map_err(|error| format!("watch `{}`: the glob `{glob}`: {error}", self.name))?;
        }
        Ok(())
    }

    /// The part of `changes` that concerns it.
    #[must_use]
    pub fn concerned(&self, changes: &Changes) -> Changes {
        let files = changes
            .files
            .iter()
            .filter(|(path, _)| self.when.iter().any(|glob| matches(glob, path)))
            .map(|(path, lines)| (path.clone(), lines.clone()))
            .collect();
        Changes { files }
    }

    /// What it has to do because of `changes` to the book in `root`, whose files have been written; `None` if that is nothing.
    #[must_use]
    pub fn job(&self, changes: &Changes, root: &Path) -> Option<Job> {
        let changes = self.concerned(changes);
        if changes.is_empty() {
            return None;
        }
        let mut tests: BTreeSet<String> = BTreeSet::new();
        let mut all = self.tests_of.is_none() && self.tests.is_empty();
        for path in changes.paths() {
            let needed = self.tests.iter().filter(|(glob, _)| matches(glob, path));
            tests.extend(needed.flat_map(|(_, tests)| tests.split_whitespace().map(str::to_owned)));
        }
        if let Some(file) = &self.tests_of {
            let of = Crate::read(file, &|path| fs::read_to_string(root.join(path)).ok());
            match of.reached(changes.files.iter().map(|(path, lines)| match lines {
                Lines::Some(lines) => (path.as_str(), Some(lines.as_slice())),
                Lines::All => (path.as_str(), None),
            })) {
                Reached::All => all = true,
                Reached::Some(modules) => tests.extend(modules),
            }
        }
        if all {
            tests.clear();
        }
        (all || !tests.is_empty()).then(|| Job {
            changed: changes.files.into_keys().collect(),
            tests: tests.into_iter().collect(),
        })
    }
}

fn matches(glob: &str, path: &str) -> bool {
    let options = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    Pattern::new(glob).is_ok_and(|glob| glob.matches_with(path, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn changed(paths: &[&str]) -> Changes {
        let files = paths.iter().map(|path| ((*path).to_owned(), Lines::All)).collect();
        Changes { files }
    }

    fn rule(when: &[&str], tests: &[(&str, &str)]) -> Rule {
        Rule {
            when: when.iter().map(|glob| (*glob).to_owned()).collect(),
            tests: texts(tests),
            ..Rule::always("it".to_owned(), "true".to_owned())
        }
    }

    #[test]
    fn changes_are_the_lines_of_the_new_text() {
        let changes = Changes::between(
            &texts(&[("a", "1\n2\n3\n"), ("b", ""), ("gone", "")]),
            &texts(&[("a", "1\nx\n3\n"), ("b", ""), ("new", "1\n")]),
        );
        assert_eq!(changes.paths().collect::<Vec<_>>(), ["a", "gone", "new"]);
        assert_eq!(changes.files["a"], Lines::Some(std::iter::once(1..2).collect()));
    }

    #[test]
    fn only_what_matches_is_a_reason() {
        let root = Path::new("");
        let rule = rule(&["out/a/**", "*.md"], &[]);
        let job = |paths: &[&str]| rule.job(&changed(paths), root).map(|job| job.changed);
        assert_eq!(
            job(&["out/a/b/c.rs", "out/b.rs"]),
            Some(vec!["out/a/b/c.rs".to_owned()])
        );
        assert_eq!(job(&["x.md"]), Some(vec!["x.md".to_owned()]));
        assert_eq!(job(&["chapters/x.md", "out/b.rs"]), None);
    }

    #[test]
    fn files_name_their_tests() {
        let rule = rule(&["**"], &[("a.rs", "one two"), ("*.rs", "two three")]);
        let job = |path| rule.job(&changed(&[path]), Path::new("")).map(|job| job.tests);
        assert_eq!(job("a.rs").unwrap(), ["one", "three", "two"]);
        assert_eq!(job("b.rs").unwrap(), ["three", "two"]);
        assert_eq!(job("b.c"), None, "it needs no test");
    }

    #[test]
    fn a_second_change_makes_the_whole_file_changed() {
        let before = texts(&[("a", "1\n2\n")]);
        let between = texts(&[("a", "1\nx\n")]);
        let mut changes = Changes::between(&before, &between);
        changes.add(&Changes::between(&between, &before));
        assert_eq!(changes.files["a"], Lines::All);
    }

    #[test]
    fn a_glob_that_is_none_is_a_mistake() {
        assert!(rule(&["a***"], &[]).check().is_err());
        assert!(rule(&["a/**"], &[]).check().is_ok());
    }
}
