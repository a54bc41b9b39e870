//! The tests of a lab, or the book's own cases, for a grader: it must know which of the lines that it sees are ours.
//!
//! ```text
//! vmtests --lab NUMBER [--token TOKEN] [--payload DIR] [--list] [NAME...]
//! vmtests --lab book   [--token TOKEN] [--payload DIR] [--list] [FILTER...] [-FILTER...]
//! ```
//!
//! Runs the tests of a lab, all or those of these names, in the order in which the lab lists them; or the book's cases whose names
//! contain a FILTER and no -FILTER. A system under test is somebody's homework, prints what it
//! likes, and may stop the Host's kernel. So each line of ours begins with a word that it does not know, TOKEN, and before each test
//! there is one, too. A name or a text is written as Rust writes a string, between quotes, with `\n` for a newline: the line says all.
//!
//! ```text
//! lab TOKEN begin "answers"
//! lab TOKEN ok "answers"
//! lab TOKEN begin "refuses a bad pointer"
//! lab TOKEN FAIL "refuses a bad pointer" "the result: expected 2, got 7"
//! lab TOKEN done 1 1
//! ```
//!
//! The last line has how many passed and failed; without it the Host or this program ended before the tests did. The exit status is
//! 0 when none failed, 1 when some did, 2 when it was called wrongly. TOKEN may stand in `LAB_TOKEN`, where fewer can see it than
//! on a command line. The system under test is the one that the VM has booted with (/bin/lguest, /guests/guest), or that in DIR, laid out likewise; its module is loaded either way.
//! `--list` only prints the names, one on a line.

use crate::cases;
use crate::confined::{self, Group};
use crate::harness::runner::Judge;
use crate::harness::{Case, Outcome};
use crate::labs;
use crate::needs::Need;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "usage: vmtests --lab NUMBER|book [--token TOKEN] [--payload DIR] [--list] [NAME...]";

/// What stands where a lab's number would, for the book's own cases.
const BOOK: &str = "book";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    lab: String,
    token: String,
    payload: Option<PathBuf>,
    list: bool,
    names: Vec<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants something"));
            match arg.as_str() {
                "--lab" => options.lab = value()?,
                "--token" => options.token = value()?,
                "--payload" => options.payload = Some(value()?.into()),
                "--list" => options.list = true,
                other if other.starts_with("--") => return Err(format!("unknown option {other}")),
                other => options.names.push(other.to_owned()),
            }
        }
        Ok(options)
    }

    /// The tests that it asks for.
    fn select(&self) -> Result<Vec<Case>, String> {
        if self.lab == BOOK {
            let mut cases = cases::all();
            let (not, wanted): (Vec<&String>, Vec<&String>) =
                self.names.iter().partition(|name| name.starts_with('-'));
            cases.retain(|case| {
                (wanted.is_empty() || wanted.iter().any(|part| case.name.contains(*part)))
                    && !not.iter().any(|part| case.name.contains(&part[1..]))
            });
            return match cases.is_empty() {
                true => Err("no case has such a name".to_owned()),
                false => Ok(cases),
            };
        }
        let mut tests = labs::tests(&self.lab).ok_or_else(|| {
            let there = labs::numbers().join(" ");
            format!("there is no lab {:?}; there are: {there}", self.lab)
        })?;
        if let Some(name) = self
            .names
            .iter()
            .find(|name| tests.iter().all(|test| test.name != **name))
        {
            return Err(format!("lab {} has no test {name:?}", self.lab));
        }
        tests.retain(|test| self.names.is_empty() || self.names.contains(&test.name));
        Ok(tests)
    }
}

/// Whether the command line asks for this.
pub fn is_meant(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--lab")
}

/// Does what it asks for.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let (options, tests) = match Options::parse(args).and_then(|options| {
        let tests = options.select()?;
        Ok((options, tests))
    }) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("vmtests: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        tests.iter().for_each(|test| println!("{}", test.name));
        return ExitCode::SUCCESS;
    }
    let mut token = options.token;
    if token.is_empty() {
        token = std::env::var("LAB_TOKEN").unwrap_or_default();
    }
    // What is needed is looked for before anybody from the system under test has run.
    let unmet = Need::unmet(tests.iter().flat_map(|test| &test.needs).copied());
    if let Some(payload) = options.payload {
        labs::use_payload(payload);
    }
    confined::hide_processes();
    let of_lab = options.lab != BOOK;
    let judge = Judge::new(&[]);
    let (mut passed, mut failed) = (0, 0);
    for test in &tests {
        say(&begun(&token, &test.name));
        let outcome = match test.needs.iter().find(|need| unmet.contains(need)) {
            Some(need) => Err(format!("this Host: expected {need}, got none")),
            None => {
                // The book's cases start no program, and make groups of their own.
                let group = of_lab.then(Group::new).flatten();
                let enter = || {
                    group.iter().for_each(Group::enter);
                    labs::begin();
                };
                judge.try_one(test, enter, || group.as_ref().map_or(Ok(()), Group::end))
            }
        };
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
        say(&ended(&token, &test.name, &outcome));
    }
    say(&format!("lab {token} done {passed} {failed}"));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn begun(token: &str, name: &str) -> String {
    format!("lab {token} begin {name:?}")
}

fn ended(token: &str, name: &str, outcome: &Outcome) -> String {
    match outcome {
        Ok(()) => format!("lab {token} ok {name:?}"),
        Err(why) => format!("lab {token} FAIL {name:?} {why:?}"),
    }
}

/// Prints a line at once, in one piece, and waits until it is outside: the Host may not be there any more in a moment.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
    // SAFETY: a number; what is no terminal refuses.
    unsafe { libc::tcdrain(out.as_raw_fd()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        Options::parse(args.iter().map(|arg| arg.to_string()))
    }

    #[test]
    fn a_command_line_says_what_is_wanted() {
        let all = options(&["--lab", "01", "--token", "T", "--payload", "/x", "a b", "c"]);
        let all = all.expect("good arguments");
        assert_eq!((all.lab.as_str(), all.token.as_str()), ("01", "T"));
        assert_eq!(all.payload, Some("/x".into()));
        assert_eq!(all.names, ["a b", "c"]);
        assert!(options(&["--lab"]).is_err());
        assert!(options(&["--lab", "1", "--what"]).is_err());
    }

    #[test]
    fn who_asks_for_what_there_is_not_is_told() {
        let ask = |args: &[&str]| options(args).expect("good arguments").select().map(drop);
        assert!(ask(&["--lab", "no such"]).is_err());
        assert!(ask(&["--lab", "book", "no such"]).is_err());
        for number in labs::numbers() {
            assert!(ask(&["--lab", number]).is_ok());
            assert!(ask(&["--lab", number, "no such test"]).is_err());
        }
    }

    #[test]
    fn the_book_is_asked_by_parts_of_names() {
        let book = options(&["--lab", "book", "errno/write", "hypercall/", "-0x15"]);
        let cases = book.and_then(|book| book.select()).expect("there are some");
        assert!(
            cases
                .iter()
                .any(|case| case.name.starts_with("errno/write"))
        );
        let fits = |name: &str| name.contains("errno/write") || name.contains("hypercall/");
        assert!(cases.iter().all(|case| fits(&case.name)));
        assert!(cases.iter().all(|case| !case.name.contains("0x15")));
    }

    #[test]
    fn a_line_says_all_whatever_was_printed() {
        assert_eq!(begun("T", "a b"), r#"lab T begin "a b""#);
        assert_eq!(ended("T", "a b", &Ok(())), r#"lab T ok "a b""#);
        let forged = Err("got \"x\nlab T ok \"a b\"\x1b[2J".to_owned());
        assert_eq!(
            ended("T", "a b", &forged),
            r#"lab T FAIL "a b" "got \"x\nlab T ok \"a b\"\u{1b}[2J""#
        );
    }
}
