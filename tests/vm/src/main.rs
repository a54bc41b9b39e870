//! Runs inside the Host VM as root and tries `/dev/lguest`, case by case.
//!
//! ```text
//! vmtests [--dangerous] [--list] [--times] [--exact] [--witness] [--quick] [--part=K/N] [--ignore=TEXT] [FILTER...] [-FILTER...]
//! ```
//!
//! Prints `ok NAME` or `FAIL NAME: what was expected, what came` for each case whose name contains a FILTER (any case, if there
//! is none) and no -FILTER; then for how many cases the Host lacks what they need, and `N passed, N failed`. With `--exact` a filter
//! is a whole name. With `--quick` those are left out that take their time. `--part` takes the `K`th of every `N` of them: `N` machines
//! share what there is to do. With `--witness` each errno and each death that a case provokes is told before it ([`witness`]). A case
//! fails, too, when the Host's kernel logs something bad meanwhile; `--ignore` names a text that is not bad today. The exit status is 0 when none failed,
//! 1 when some did or nothing was run, 2 when it was called wrongly. `LGUEST_KO` names the module's file where it is in no
//! usual place.
//!
//! With `--dangerous` the cases are those that can stop the whole machine where the module is wrong, and are not among the others.
//! `vmtests --lab` runs the tests of a lab for a grader ([`grading`]).
//! `vmtests --crowd SECONDS GUESTS [SHELL]` runs no case but so many busy Guests, so long, beside a line of shell ([`crowd`]).
//! `vmtests --victims` runs no case but Guests for somebody outside to shoot at ([`victims`]).

mod abi;
mod absent;
mod blobs;
mod bystander;
mod cases;
mod cgroup;
mod confined;
mod crew;
mod crowd;
mod device;
mod fuzz;
mod grading;
mod guest;
mod harness;
mod host;
mod kernel_file;
mod labs;
mod layout;
mod mirror;
mod needs;
mod pages;
mod ram;
mod segments;
mod shared;
mod signals;
mod slot;
mod tables;
mod victims;
mod window;
mod witness;

use harness::Case;
use needs::Need;
use std::collections::BTreeMap;
use std::process::ExitCode;

const USAGE: &str = "usage: vmtests [--dangerous] [--list] [--times] [--exact] [--witness] [--quick] [--part=K/N] [--ignore=TEXT] [FILTER...] [-FILTER...]";

/// One of several machines that share the cases, from 0 on, and how many these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    which: usize,
    of: usize,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (which, of) = text.split_once('/')?;
        let (which, of) = (
            which.parse::<usize>().ok()?.checked_sub(1)?,
            of.parse().ok()?,
        );
        (which < of).then_some(Self { which, of })
    }

    /// Neighbours are alike, and take their time alike: each machine gets its share of them.
    fn leave(self, selected: &mut Vec<&Case>) {
        let mut at = 0..;
        selected.retain(|_| {
            at.next()
                .is_some_and(|at: usize| at % self.of == self.which)
        });
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    dangerous: bool,
    list: bool,
    times: bool,
    exact: bool,
    witness: bool,
    quick: bool,
    part: Option<Part>,
    ignored: Vec<String>,
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--dangerous" => options.dangerous = true,
                "--list" => options.list = true,
                "--times" => options.times = true,
                "--exact" => options.exact = true,
                "--witness" => options.witness = true,
                "--quick" => options.quick = true,
                other if other.starts_with("--ignore=") => {
                    options.ignored.push(other["--ignore=".len()..].to_owned())
                }
                other if other.starts_with("--part=") => {
                    match Part::parse(&other["--part=".len()..]) {
                        Some(part) => options.part = Some(part),
                        None => return Err(format!("{other} is no part; the first of two is 1/2")),
                    }
                }
                other if other.starts_with("--") => return Err(format!("unknown option {other}")),
                other => match other.strip_prefix('-') {
                    Some(unwanted) => options.unwanted.push(unwanted.to_owned()),
                    None => options.wanted.push(other.to_owned()),
                },
            }
        }
        Ok(options)
    }

    fn selects(&self, case: &Case) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                case.name == *filter
            } else {
                case.name.contains(filter.as_str())
            }
        };
        (self.wanted.is_empty() || self.wanted.iter().any(fits))
            && !self.unwanted.iter().any(fits)
            && !(self.quick && case.takes_its_time())
    }
}

/// Takes those out whose needs this Host does not meet, and counts them by what they miss.
fn leave_out(selected: &mut Vec<&Case>) -> BTreeMap<Need, usize> {
    let unmet = Need::unmet(selected.iter().flat_map(|case| &case.needs).copied());
    let mut count = BTreeMap::new();
    selected.retain(|case| {
        let missed = case.needs.iter().find(|need| unmet.contains(need));
        if let Some(need) = missed {
            *count.entry(*need).or_default() += 1;
        }
        missed.is_none()
    });
    count
}

/// How something ended that is no case.
fn told(name: &str, outcome: harness::Outcome) -> ExitCode {
    match outcome {
        Ok(()) => {
            println!("ok {name}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("FAIL {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, guest, report] = args.as_slice()
        && mode == "--after-exec"
        && let (Ok(guest), Ok(report)) = (guest.parse(), report.parse())
    {
        cases::after_exec(guest, report);
    }
    if args == ["--victims"] {
        return told("victims", victims::run());
    }
    if let [mode, seconds, guests, others @ ..] = args.as_slice()
        && mode == "--crowd"
        && let (Ok(seconds), Ok(guests)) = (seconds.parse(), guests.parse())
    {
        let time = std::time::Duration::from_secs(seconds);
        let others = others.first().map(String::as_str);
        return told("crowd", crowd::run(time, guests, others));
    }
    if grading::is_meant(&args) {
        return grading::main(args.into_iter());
    }
    let options = match Options::parse(args.into_iter()) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("vmtests: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let cases = if options.dangerous {
        cases::dangerous()
    } else {
        cases::all()
    };
    let mut selected: Vec<&Case> = cases.iter().filter(|case| options.selects(case)).collect();
    if let Some(part) = options.part {
        part.leave(&mut selected);
    }
    if options.list {
        selected.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    if options.witness {
        witness::want();
    }
    let left_out = leave_out(&mut selected);
    let tally = harness::runner::run_all(selected.into_iter(), options.times, &options.ignored);
    for (need, count) in left_out {
        println!("left out for want of {need}: {count}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn options(args: &[&str]) -> Options {
        Options::parse(args.iter().map(|arg| arg.to_string())).expect("good arguments")
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut cases = cases::all();
        cases.extend(cases::dangerous());
        let mut names = HashSet::new();
        for case in &cases {
            assert!(
                names.insert(&case.name),
                "two cases are called {}",
                case.name
            );
            assert!(
                !case.name.contains([' ', ':', '\n']),
                "{:?} would spoil the protocol",
                case.name
            );
        }
        assert!(names.len() > 400, "only {} cases", names.len());
    }

    #[test]
    fn a_case_that_misses_something_is_left_out_and_counted() {
        let missed = Need::File("/proc/self/no-such-file");
        let there = Need::File("/proc/self/exe");
        let case = |needs: &[Need]| Case::new("case", || Ok(())).needing(needs.iter().copied());
        let cases = [case(&[]), case(&[there]), case(&[there, missed])];
        let mut selected = cases.iter().collect();
        let left_out = leave_out(&mut selected);
        assert_eq!(selected.len(), 2);
        assert_eq!(left_out.into_iter().collect::<Vec<_>>(), [(missed, 1)]);
    }

    #[test]
    fn machines_share_the_cases() {
        let cases = ["a", "b", "c", "d", "e"].map(|name| Case::new(name, || Ok(())));
        let names = |part: &str| -> String {
            let mut selected = cases.iter().collect();
            let part = options(&[&format!("--part={part}")]).part;
            part.expect("a part").leave(&mut selected);
            selected.iter().map(|case| case.name.as_str()).collect()
        };
        assert_eq!(
            ["1/2", "2/2", "1/1", "6/6"].map(names),
            ["ace", "bd", "abcde", ""]
        );
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0"] {
            let arg = format!("--part={wrong}");
            assert!(Options::parse([arg].into_iter()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_select_by_name() {
        let case = Case::new("errno/write/irq", || Ok(()));
        assert!(options(&[]).selects(&case));
        assert!(options(&["write"]).selects(&case));
        assert!(!options(&["read"]).selects(&case));
        assert!(!options(&["errno", "-write"]).selects(&case));
        assert!(!options(&["--exact", "write"]).selects(&case));
        assert!(options(&["--exact", "errno/write/irq"]).selects(&case));
        let slow = Case::slow("errno/write/long", || Ok(()));
        assert!(
            options(&["write"]).selects(&slow) && !options(&["--quick", "write"]).selects(&slow)
        );
        assert!(Options::parse(["--what".to_owned()].into_iter()).is_err());
    }
}
