//! What M:250 promises is kept by cases that there are: each promise names some, each reason of a death is shown by one, and so is
//! each errno. The tables in `promises/` say which; a case counts only if it has really provoked what it is named for.

mod common;
#[path = "promises/errnos.rs"]
mod errnos;
#[path = "promises/reasons.rs"]
mod reasons;

use common::{Machine, System, top};
use errnos::ERRNOS;
use reasons::REASONS;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Who shows that something comes up.
#[derive(Clone, Copy)]
pub enum Shown {
    /// This case of `tests/vm`.
    By(&'static str),
    /// Nobody, and this is why.
    Unseen(&'static str),
}

impl Shown {
    fn case(self) -> Option<&'static str> {
        match self {
            Self::By(case) => Some(case),
            Self::Unseen(_) => None,
        }
    }
}

/// The page that promises.
const PAGE: &str = "chapters/M250-promises.md";

/// The stops that say what errnos there are, and the calls that each of them is about.
const STOPS: &[(&str, &[&str])] = &[
    ("L000-device.md", &["open", "read"]),
    ("L020-initialize.md", &["INITIALIZE"]),
    ("L025-machine.md", &["INITIALIZE"]),
    ("L040-read.md", &["read"]),
    ("L050-interrupts.md", &["IRQ"]),
    ("L205-threads.md", &["EVENTFD"]),
    ("L309-give-back.md", &["INITIALIZE"]),
    ("L310-dma.md", &["GETDMA"]),
    ("L315-break.md", &["BREAK", "read"]),
    ("H160-a-cpu-as-bytes.md", &["SAVE", "RESTORE"]),
    ("S007-hook.md", &["INITIALIZE", "read"]),
];

/// Errnos that go no further than the module, or have another name outside.
const INSIDE: &[&str] = &["ERESTARTSYS", "ESRCH", "ENODEV"];

fn text(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All of the module's code, by file.
fn code() -> BTreeMap<String, String> {
    let mut code = BTreeMap::new();
    for dir in ["generated/module", "generated/module/arch"] {
        for entry in fs::read_dir(top().join(dir)).expect("tangled") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("its name is text");
            if name.ends_with(".rs") {
                let path = format!("{dir}/{name}");
                code.insert(path.clone(), text(&path));
            }
        }
    }
    code
}

/// The reasons in a piece of code: the texts with which a death begins.
fn reasons_in(code: &str) -> BTreeSet<String> {
    let lines = code.lines().filter(|line| !line.trim().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let ways = ["kill!(", "Death::new("];
    let begun = ways
        .iter()
        .flat_map(|way| code.match_indices(way).map(|(at, way)| at + way.len()));
    begun
        .filter_map(|at| {
            let rest = code[at..].trim_start().trim_start_matches("fmt!(");
            let reason = rest.trim_start().strip_prefix('"')?.split('"').next()?;
            Some(match reason {
                // The one whose beginning has a name.
                "{}{}" => "POWEROFF: {}".to_owned(),
                reason => reason.to_owned(),
            })
        })
        .collect()
}

/// The names of errnos in a text.
fn errnos_in(text: &str) -> BTreeSet<&str> {
    const PREFIXES: [&str; 18] = [
        "EPERM",
        "ENOENT",
        "EINTR",
        "E2BIG",
        "EBADF",
        "EAGAIN",
        "ENOMEM",
        "EACCES",
        "EFAULT",
        "EBUSY",
        "EEXIST",
        "ENODEV",
        "EINVAL",
        "ENOSPC",
        "EOPNOTSUPP",
        "ERESTARTSYS",
        "ESRCH",
        "EMFILE",
    ];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| PREFIXES.contains(word)).collect()
}

/// Whether a death is one for this reason.
fn fits(reason: &str, death: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = reason;
    while let Some((before, behind)) = rest.split_once('{') {
        literals.push(before);
        rest = behind.split_once('}').expect("a place ends").1;
    }
    literals.push(rest);
    let (first, others) = literals.split_first().expect("there is one at least");
    let Some(mut death) = death.strip_prefix(first) else {
        return false;
    };
    for (number, literal) in others.iter().enumerate() {
        let found = match number + 1 == others.len() {
            // The last one ends the death.
            true => death
                .ends_with(literal)
                .then_some(death.len() - literal.len()),
            false => death.find(literal),
        };
        let Some(at) = found else { return false };
        death = &death[at + literal.len()..];
    }
    death.is_empty()
}

/// What is in the first and not in the second, told one after the other.
fn missing<'a>(
    all: impl IntoIterator<Item = &'a str>,
    known: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let known: BTreeSet<&str> = known.into_iter().collect();
    all.into_iter().filter(|one| !known.contains(one)).collect()
}

/// Fails with all that is wrong at once.
fn nothing(wrong: &[impl AsRef<str>], promise: &str) {
    let wrong: Vec<&str> = wrong.iter().map(AsRef::as_ref).collect();
    assert!(wrong.is_empty(), "{promise}, but\n  {}", wrong.join("\n  "));
}

#[test]
fn every_reason_of_a_death_is_in_the_table() {
    let code: Vec<String> = code().into_values().collect();
    let reasons: BTreeSet<String> = code.iter().flat_map(|text| reasons_in(text)).collect();
    let known = || REASONS.iter().map(|(reason, _)| *reason);
    let all = || reasons.iter().map(String::as_str);
    nothing(
        &missing(all(), known()),
        "each reason in the code is in tests/promises/reasons.rs, with a case that provokes it",
    );
    nothing(
        &missing(known(), all()),
        "each reason in tests/promises/reasons.rs is in the code",
    );
    let places: usize = code
        .iter()
        .map(|text| text.matches("kill!(").count() + text.matches("Death::new(").count())
        .sum();
    assert!(
        reasons.len() > 40 && places >= reasons.len(),
        "only {reasons:?}"
    );
}

#[test]
fn every_errno_in_the_code_is_in_the_table() {
    let known: BTreeSet<&str> = ERRNOS
        .iter()
        .flat_map(|(_, errnos)| errnos.iter().map(|(errno, _)| *errno))
        .chain(INSIDE.iter().copied())
        .collect();
    let mut wrong = Vec::new();
    for (path, code) in code() {
        for errno in missing(errnos_in(&code), known.iter().copied()) {
            wrong.push(format!("{path} knows {errno}"));
        }
    }
    nothing(
        &wrong,
        "each errno that may come out is in tests/promises/errnos.rs, with a case that provokes it",
    );
}

#[test]
fn every_errno_that_a_stop_names_is_in_the_table() {
    let mut wrong = Vec::new();
    for (stop, calls) in STOPS {
        let of_calls = ERRNOS.iter().filter(|(call, _)| calls.contains(call));
        let known: Vec<&str> = of_calls
            .flat_map(|(_, errnos)| errnos.iter().map(|(errno, _)| *errno))
            .chain(INSIDE.iter().copied())
            .collect();
        let said = text(Path::new("chapters").join(stop));
        for errno in missing(errnos_in(&said), known.iter().copied()) {
            wrong.push(format!(
                "{stop} names {errno}, and {calls:?} do not have it"
            ));
        }
    }
    // The table that is for all requests.
    let said = text("chapters/L010-write.md");
    for (call, errnos) in ERRNOS
        .iter()
        .filter(|(call, _)| !matches!(*call, "open" | "read"))
    {
        let of_all = errnos_in(&said).into_iter().filter(|errno| match *call {
            // It has no argument.
            "SAVE" => !matches!(*errno, "EFAULT" | "EBUSY"),
            // It is for everybody, and nobody can be too late for it.
            "BREAK" => !matches!(*errno, "EPERM" | "EBUSY"),
            "INITIALIZE" | "RESTORE" => true,
            _ => *errno != "EBUSY",
        });
        for errno in missing(of_all, errnos.iter().map(|(errno, _)| *errno)) {
            wrong.push(format!("L010-write.md promises {errno} to {call}"));
        }
    }
    nothing(
        &wrong,
        "each errno that a stop names is in tests/promises/errnos.rs, with a case that provokes it",
    );
}

/// The rows of the tables under a heading of the page, each as its cells.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("{PAGE} has no heading {heading:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    lines
        .filter(|line| !line.starts_with("|---"))
        .skip(1)
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_page_has_the_table_of_errnos() {
    let page = text(PAGE);
    let said: Vec<(String, BTreeSet<String>)> = rows(&page, "What a call may answer")
        .iter()
        .map(|row| {
            let errnos = quoted(&row[1]).map(str::to_owned).collect();
            (row[0].trim_matches('`').to_owned(), errnos)
        })
        .collect();
    let known: Vec<(String, BTreeSet<String>)> = ERRNOS
        .iter()
        .map(|(call, errnos)| {
            let errnos = errnos
                .iter()
                .map(|(errno, _)| (*errno).to_owned())
                .collect();
            ((*call).to_owned(), errnos)
        })
        .collect();
    assert_eq!(said, known, "the page and tests/promises/errnos.rs");
}

/// What the page names as tests: by the promise or weak spot that they are for.
fn named_on_the_page() -> Vec<(String, Vec<String>)> {
    let page = text(PAGE);
    let mut named = Vec::new();
    for heading in ["What is promised", "The weak spots of 2007"] {
        for row in rows(&page, heading) {
            let tests = row.last().expect("a row has cells");
            named.push((row[0].clone(), quoted(tests).map(str::to_owned).collect()));
        }
    }
    named
}

#[test]
fn every_promise_names_a_test_that_there_is() {
    System::whole();
    let listed = Command::new(top().join("target/vmtests/release/vmtests"))
        .arg("--list")
        .output()
        .expect("the cases can list themselves");
    let cases = String::from_utf8(listed.stdout).expect("names are text");
    let is_case = |name: &str| cases.lines().any(|case| case == name);
    let is_group =
        |name: &str| name.ends_with('/') && cases.lines().any(|case| case.starts_with(name));
    let is_test = |name: &str| {
        let Some((file, test)) = name.split_once("::") else {
            return false;
        };
        let file = top().join(format!("tests/{file}.rs"));
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {test}(")))
    };
    let mut wrong = Vec::new();
    let named = named_on_the_page();
    assert!(named.len() > 15, "the page promises only {named:?}");
    for (promise, tests) in named {
        if tests.is_empty() {
            wrong.push(format!("nothing tests {promise:?}"));
        }
        for test in tests {
            if !is_case(&test) && !is_group(&test) && !is_test(&test) {
                wrong.push(format!("{promise:?} names {test}, which is not there"));
            }
        }
    }
    let in_tables = REASONS.iter().map(|(_, shown)| shown).chain(
        ERRNOS
            .iter()
            .flat_map(|(_, errnos)| errnos.iter().map(|(_, shown)| shown)),
    );
    for case in in_tables.filter_map(|shown| shown.case()) {
        if !is_case(case) {
            wrong.push(format!("tests/promises names {case}, which is not there"));
        }
    }
    nothing(&wrong, "what is promised is tested");
}

#[test]
fn the_cases_provoke_what_they_are_named_for() {
    let deaths = REASONS
        .iter()
        .filter_map(|(reason, shown)| Some((shown.case()?, "death", (*reason).to_owned())));
    let answers = ERRNOS.iter().flat_map(|(call, errnos)| {
        errnos.iter().filter_map(move |(errno, shown)| {
            Some((shown.case()?, "errno", format!("{call} {errno}")))
        })
    });
    let wanted: Vec<(&str, &str, String)> = deaths.chain(answers).collect();
    let cases: BTreeSet<&str> = wanted.iter().map(|(case, ..)| *case).collect();
    let filters = cases.iter().copied().collect::<Vec<_>>().join(" ");
    let ran = common::in_vm(
        "promises",
        Machine {
            cpu: "max,-la57",
            smp: 2,
        },
        &format!("LGUEST_KO=/modules/lguest.ko ./vmtests --exact --witness {filters}"),
        "",
    );
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut by_this_one = Vec::new();
    for line in &ran.lines {
        if let Some(what) = line.strip_prefix("saw ") {
            by_this_one.push(what);
        } else if let Some(case) = line.strip_prefix("ok ") {
            seen.insert(case, std::mem::take(&mut by_this_one));
        }
    }
    let mut wrong = Vec::new();
    for (case, kind, what) in &wanted {
        let saw = seen.get(case).map(Vec::as_slice).unwrap_or_default();
        let shows = saw
            .iter()
            .filter_map(|saw| saw.strip_prefix(kind)?.strip_prefix(' '))
            .any(|saw| match *kind {
                "death" => fits(what, saw),
                _ => saw == what,
            });
        if !shows {
            wrong.push(format!("{case} does not show {kind} {what:?}, but {saw:?}"));
        }
    }
    if !wrong.is_empty() {
        ran.fail(format_args!("{}\n", wrong.join("\n")));
    }
    ran.expect_status(0);
}

#[test]
fn what_nobody_shows_has_a_reason() {
    let reasons = REASONS.iter().map(|(_, shown)| *shown);
    let errnos = ERRNOS
        .iter()
        .flat_map(|(_, errnos)| errnos.iter().map(|(_, shown)| *shown));
    let unseen: Vec<&str> = reasons
        .chain(errnos)
        .filter_map(|shown| match shown {
            Shown::Unseen(why) => Some(why),
            Shown::By(_) => None,
        })
        .collect();
    assert!(
        unseen.iter().all(|why| why.split(' ').count() > 4),
        "{unseen:?}"
    );
    assert_eq!(unseen.len(), UNSEEN, "what nobody shows: {unseen:#?}");
}

/// How much nobody shows. The page has the number, too.
const UNSEEN: usize = 10;

#[test]
fn these_tests_would_notice() {
    let code = "fn f() { kill!(\"so {}\", 1); }\n// kill!(\"not this\")\nErr(_) => Err(Death::new(fmt!(\n    \"or so {:#x}\",\n";
    let found = reasons_in(code);
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        ["or so {:#x}", "so {}"]
    );
    let known = REASONS.iter().map(|(reason, _)| *reason);
    assert_eq!(missing(found.iter().map(String::as_str), known).len(), 2);
    assert_eq!(
        errnos_in("`EFAULT`, ok_or(EINVAL) EFAULTY"),
        BTreeSet::from(["EFAULT", "EINVAL"])
    );
    assert!(fits(
        "bad {} address {:#x} len 8",
        "bad read address 0x1 len 8"
    ));
    assert!(!fits(
        "bad page table entry {:#x}",
        "bad page table entry: frame 0x1 is beyond the limit"
    ));
    assert!(fits("already", "already") && !fits("already", "already so"));
    assert!(fits("trap {} at {:#x} ({:#x})", "trap 1 at 0x2 (0x3)"));
    let table = "\n## One\n\n| a | b |\n|---|---|\n| x | `y` and `z/` |\n\n## Two\n";
    let row = &rows(table, "One")[0];
    assert_eq!(row, &["x", "`y` and `z/`"]);
    assert_eq!(quoted(&row[1]).collect::<Vec<_>>(), ["y", "z/"]);
}
