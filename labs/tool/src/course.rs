//! Where things are: the labs of the course, and the files of one who takes it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::Lab;
use crate::trouble::{At, Result, Trouble};

/// The course: the labs of a book.
#[derive(Debug, Clone)]
pub struct Course {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// The labs in their order.
    pub labs: Vec<Lab>,
}

impl Course {
    /// Reads the labs of the book whose `book.toml` lies in `root`.
    ///
    /// # Errors
    /// When there are none, or one cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let directory = root.join("labs");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let name = entry.at("read", &directory)?.file_name().to_string_lossy().into_owned();
            if is_lab(&name) {
                names.push(name);
            }
        }
        names.sort();
        let labs = names
            .iter()
            .map(|name| {
                let path = directory.join(name);
                let text = fs::read_to_string(&path).at("read", &path)?;
                Ok(Lab::read(&format!("labs/{name}"), &text))
            })
            .collect::<Result<Vec<_>>>()?;
        if labs.is_empty() {
            return Err(Trouble::other(format!("there is no lab in {}", directory.display())));
        }
        Ok(Self {
            root: root.to_owned(),
            labs,
        })
    }

    /// The lab that somebody means: `1`, `01` or `01-name`, or its file.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, wanted: &str) -> Result<&Lab> {
        let name = wanted.rsplit('/').next().unwrap_or(wanted);
        let name = name.strip_suffix(".md").unwrap_or(name);
        self.labs
            .iter()
            .find(|lab| lab.name == name || name.parse() == Ok(lab.number))
            .ok_or_else(|| {
                Trouble::other(format!("there is no lab `{wanted}`"))
                    .help(format!("the labs are {}", self.numbers()))
                    .help("make lab-list tells their titles")
            })
    }

    fn numbers(&self) -> String {
        let numbers: Vec<_> = self.labs.iter().map(|lab| lab.number.to_string()).collect();
        numbers.join(", ")
    }

    /// Where a student's chapters are.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("labs/work")
    }

    /// A student's chapter, relative to the root.
    #[must_use]
    pub fn chapter(lab: &Lab) -> String {
        format!("labs/work/{}.md", lab.name)
    }

    /// Where what is built and told of a lab goes: `target/labs/01`.
    #[must_use]
    pub fn target(&self, lab: &Lab) -> PathBuf {
        self.root.join("target/labs").join(lab.id())
    }

    /// The path as somebody at the root would write it.
    #[must_use]
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// The lab's tests, relative to the root.
    #[must_use]
    pub fn tests_of(lab: &Lab) -> String {
        format!("labs/tests/lab{}.rs", lab.id())
    }

    /// The lab's wrong solutions: the test that each must fail, and its file relative to the root.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn wrong(&self, lab: &Lab) -> Result<Vec<(String, String)>> {
        let directory = self.root.join("labs/wrong").join(lab.id());
        let mut found = Vec::new();
        if !directory.is_dir() {
            return Ok(found);
        }
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let name = entry.at("read", &directory)?.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(".md") {
                let test = stem.split_once("--").map_or(stem, |(test, _)| test).to_owned();
                found.push((test, format!("labs/wrong/{}/{name}", lab.id())));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// `01-name.md`.
fn is_lab(name: &str) -> bool {
    let Some((digits, rest)) = name.split_once('-') else {
        return false;
    };
    let name = rest.strip_suffix(".md").unwrap_or_default();
    digits.len() == 2 && digits.chars().all(|c| c.is_ascii_digit()) && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_found_by_its_number_and_its_name() {
        let course = Course {
            root: "/book".into(),
            labs: vec![Lab::read("labs/01-a.md", ""), Lab::read("labs/12-b.md", "")],
        };
        for (wanted, number) in [("1", 1), ("01", 1), ("01-a", 1), ("12", 12), ("labs/work/12-b.md", 12)] {
            assert_eq!(course.find(wanted).unwrap().number, number, "{wanted}");
        }
        for wanted in ["2", "b", "", "1-a"] {
            assert!(course.find(wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn the_teachers_page_lists_each_lab_with_its_points() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let course = Course::open(&root).unwrap();
        let page = fs::read_to_string(root.join("labs/README.md")).unwrap();
        for lab in &course.labs {
            let begins = format!(
                "| {} | [{}]({}.md) | {} | {} |",
                lab.number,
                lab.title,
                lab.name,
                lab.time,
                lab.points()
            );
            assert!(
                page.lines().any(|line| line.starts_with(&begins)),
                "labs/README.md: no line of its table begins with {begins}"
            );
        }
    }

    #[test]
    fn only_numbered_files_are_labs() {
        assert!(is_lab("01-a.md"));
        for name in ["README.md", "1-a.md", "01-a.txt", "01.md", "ab-c.md", "01-.md"] {
            assert!(!is_lab(name), "{name}");
        }
    }
}
