//! `tangle lab`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tangle::advice;
use tangle::disk::{self, Error, Inputs};
use tangle::lab::{self, View};
use tangle::source::Source;

use crate::shared::{MessageFormat, Place, Status, count, mistakes, print};

/// Chapters that a student is to finish.
///
/// A lab is a chapter that comes after the whole book. Between the lines `<!-- solution -->`, `<!-- stub -->` and
/// `<!-- end -->` it holds what solves it, and what a student finds there. The book says where its labs are:
/// `labs = "labs"` below [preprocessor.tangle] in book.toml.
#[derive(Subcommand)]
pub enum Command {
    New(New),
    Check(Check),
    /// Print the chapter that a student begins with
    Starter(File),
    /// Print the chapter that solves it
    Solution(File),
    /// Print the lab without its solutions, to be given away
    Handout(File),
}

#[derive(Args)]
pub struct File {
    /// The lab
    file: PathBuf,
}

/// Begin a lab: NN-name.md in the directory of the labs, with the next free number.
///
/// If that directory has one called `template`, all of it is copied, and `{number}` (01), `{n}` (1), `{name}` and `{title}` are
/// filled in, in the names of files and in what they say; what is there already is never overwritten.
#[derive(Args)]
pub struct New {
    #[command(flatten)]
    place: Place,

    /// What it is called: small letters, digits and dashes
    name: String,

    /// Its title
    #[arg(long)]
    title: Option<String>,

    /// Its number, if that is not the next one
    #[arg(long)]
    number: Option<u8>,
}

/// See that labs have the form of labs, and make good chapters of the book, both as starters and solved
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    place: Place,

    /// The labs [default: all]
    files: Vec<PathBuf>,
}

pub fn run(command: &Command) -> Result<Status, Error> {
    match command {
        Command::New(new) => new.run(),
        Command::Check(check) => check.run(),
        Command::Starter(file) => extract(&file.file, |text| lab::extract(text, View::Starter)),
        Command::Solution(file) => extract(&file.file, |text| lab::extract(text, View::Solution)),
        Command::Handout(file) => extract(&file.file, lab::without_solutions),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Io("read", path.to_owned(), error))
}

fn extract(path: &Path, of: impl Fn(&str) -> Result<String, Vec<lab::Fault>>) -> Result<Status, Error> {
    let text = read(path)?;
    match of(&text) {
        Ok(text) => {
            print(text);
            Ok(Status::Fine)
        }
        Err(faults) => Ok(tell(path, &text, faults)),
    }
}

/// Shows the faults of a lab.
fn tell(path: &Path, text: &str, faults: Vec<lab::Fault>) -> Status {
    let book = tangle::source::Book::new([(path.to_string_lossy(), text)]);
    mistakes(&book, &lab::diagnostics(0, faults), MessageFormat::Human)
}

/// The directory of the labs.
fn directory(inputs: &Inputs, root: &Path) -> Result<PathBuf, Error> {
    inputs.labs().ok_or_else(|| {
        let why = "this book says nothing of labs; `labs = \"labs\"` below [preprocessor.tangle] does";
        Error::Config(root.join("book.toml"), why.to_owned())
    })
}

impl Check {
    fn run(&self) -> Result<Status, Error> {
        let root = self.place.root();
        let files = if self.files.is_empty() {
            let inputs = self.place.inputs()?;
            disk::labs(&directory(&inputs, &root)?)?
        } else {
            self.files.clone()
        };
        let mut status = Status::Fine;
        for path in &files {
            let text = read(path)?;
            let (_, faults) = lab::read(&path.to_string_lossy(), &text);
            if !faults.is_empty() {
                status = tell(path, &text, faults);
                continue;
            }
            for view in [View::Starter, View::Solution] {
                let project = self.place.inputs()?.followed_by(path, view)?.project()?;
                let wrong = match tangle::model(&project.book) {
                    Err(diagnostics) => diagnostics,
                    // To say something is part of what there is to do.
                    Ok(_) if view == View::Starter => Vec::new(),
                    Ok(model) => {
                        let last = project.book.sources.len() - 1;
                        let mut advice = advice::advice(&project.book, &model);
                        advice.retain(|one| one.primary.place.source == last);
                        advice
                    }
                };
                if !wrong.is_empty() {
                    let name = if view == View::Starter { "starter" } else { "solution" };
                    eprintln!("error: {}, the {name}:", path.display());
                    // The text as it is, not as it is read.
                    let mut book = project.book;
                    if let Some(last) = book.sources.last_mut() {
                        *last = Source::new(last.path().to_owned(), text.as_str());
                    }
                    status = mistakes(&book, &wrong, MessageFormat::Human);
                    break;
                }
            }
        }
        if status == Status::Fine {
            println!("{}: no mistakes", count(files.len(), "lab"));
        }
        Ok(status)
    }
}

/// What a lab begins as where nobody has said anything else.
const TEMPLATE: &str = "\
---
time: an hour
---
# Lab {n}: {title}

What the program will be able to do.

## What you will see

## Background

## Task 1: The first step

What to write.

<!-- solution -->
How it is solved.
<!-- stub -->
*(Say here what you do and why.)*
<!-- end -->

<details><summary>Hint 1: where to look</summary>

</details>

## Questions

1. Why?

   <!-- solution -->
   > Because.
   <!-- stub -->
   > *Your answer.*
   <!-- end -->

## How it is graded

| Test | Points | Task | After | What it shows |
|---|---:|---:|---|---|
| `works` | 10 | 1 | | It works. |
";

impl New {
    fn run(&self) -> Result<Status, Error> {
        let root = self.place.root();
        let labs = directory(&self.place.inputs()?, &root)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('-') {
            eprintln!(
                "error: `{}` is no name for a lab: small letters, digits and dashes",
                self.name
            );
            return Ok(Status::Mistakes);
        }
        let known = if labs.is_dir() { disk::labs(&labs)? } else { Vec::new() };
        let numbers = known
            .iter()
            .filter_map(|path| lab::number(&path.to_string_lossy())?.parse::<u8>().ok());
        let numbers: Vec<u8> = numbers.collect();
        let number = self
            .number
            .unwrap_or_else(|| numbers.iter().max().map_or(1, |last| last + 1));
        if numbers.contains(&number) || !(1..=99).contains(&number) {
            eprintln!("error: the number {number} cannot be had: labs are 1 to 99, each once");
            return Ok(Status::Mistakes);
        }
        let usual = self.name.replace('-', " ");
        let title = self.title.as_deref().unwrap_or(&usual);
        let filled = |text: &str| {
            text.replace("{number}", &format!("{number:02}"))
                .replace("{n}", &number.to_string())
                .replace("{name}", &self.name)
                .replace("{title}", title)
        };
        let mut files = Vec::new();
        let template = labs.join("template");
        if template.is_dir() {
            collect(&template, Path::new(""), &mut files)?;
        } else {
            files.push((PathBuf::from("{number}-{name}.md"), TEMPLATE.to_owned()));
        }
        for (path, text) in files {
            let path = labs.join(filled(&path.to_string_lossy()));
            write(&path, &filled(&text))?;
            println!("{}", path.display());
        }
        Ok(Status::Fine)
    }
}

/// The files below a directory, with what they say.
fn collect(directory: &Path, below: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<(), Error> {
    let error = |error| Error::Io("read", directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        let (path, below) = (entry.path(), below.join(entry.file_name()));
        if path.is_dir() {
            collect(&path, &below, files)?;
        } else {
            files.push((below, read(&path)?));
        }
    }
    files.sort();
    Ok(())
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let error = |error| Error::Io("write", path.to_owned(), error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    let mut file = fs::File::create_new(path).map_err(error)?;
    file.write_all(text.as_bytes()).map_err(error)
}
