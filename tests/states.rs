//! The states of the system between its chapters: whoever reads up to a chapter that promises to run has something that does.
//!
//! A chapter that promises less (`runs: tests`) has tests that pass: the page shows them, and `make logic AS_OF=` its tag prints that.
//!
//! What a state that runs is, it says itself. Its module loads, its Launcher and its Guest compile, as far as it has them, and what the
//! chapter shows of this state (`AS_OF=` its tag) is what is printed. AS_OF in the environment chooses one of them, `STATES=all` takes
//! them all (`make states`). Otherwise some of those that boot are drawn by lot, which takes its time for each.

mod common;

use common::{Machine, System, clean, make, top, transcript};
use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;
use transcript::Transcript;

/// Fails in the Host if the Launcher that is there, if one is, cannot even say what it does.
const LAUNCHER_ANSWERS: &str = "[ ! -e /bin/lguest ] || lguest --help >/dev/null || exit 9\n";

/// What a chapter promises of the system at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// It boots.
    Runs,
    /// The tests of its pure parts pass.
    Tests,
}

/// The tags of the chapters that promise something, in reading order.
fn promises() -> Vec<(String, Promise)> {
    if let Err(said) = make(&["tangle"]) {
        panic!("make tangle failed:\n{said}");
    }
    let listed = clean(top().join("target/tangle/debug/tangle"))
        .arg("states")
        .output()
        .expect("make tangle has built it");
    assert!(
        listed.status.success(),
        "tangle states: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let lines = String::from_utf8_lossy(&listed.stdout);
    let promise = |line: &str| {
        let mut words = line.split_whitespace();
        let tag = words.next()?.to_owned();
        match words.next()? {
            "runs" => Some((tag, Promise::Runs)),
            "tests" => Some((tag, Promise::Tests)),
            _ => None,
        }
    };
    lines.lines().filter_map(promise).collect()
}

/// Runs the tests of one state.
fn passes_its_tests(tag: &str, shown: &[&Transcript]) -> Result<(), String> {
    if shown.is_empty() {
        return Err(format!(
            "the chapter promises tests and shows none: it needs a console fence that begins with `$ make logic AS_OF={tag}`"
        ));
    }
    let untrue = transcript::untrue_here(shown.iter().copied());
    if untrue.is_empty() {
        return Ok(());
    }
    Err(untrue.join("\n\n"))
}

/// Builds and boots one state; the error is everything that somebody needs to find out why it does not keep its promise.
fn keeps_its_promise(tag: &str, shown: &[&Transcript]) -> Result<(), String> {
    if shown.is_empty() {
        return Err(format!(
            "the chapter promises to run and shows nothing: it needs a console fence that begins with \
             `$ make run AS_OF={tag}` or `$ make vm AS_OF={tag} RUN='...'`"
        ));
    }
    let (in_vm, here): (Vec<&Transcript>, Vec<&Transcript>) =
        shown.iter().partition(|one| one.is_in_vm());
    let mut untrue = transcript::untrue_here(here);
    let system = System::as_of(tag).map_err(|said| format!("it does not build:\n{said}"))?;
    let machine = Machine { cpu: "max", smp: 2 };
    let script = LAUNCHER_ANSWERS.to_owned() + &transcript::script(in_vm.iter().copied());
    let ran = system.in_vm(&format!("state-{tag}"), machine, &script, "");
    if ran.status != 0 {
        return Err(ran.tell("its VM did not come to a good end"));
    }
    untrue.extend(transcript::untrue(in_vm, &ran.lines));
    if untrue.is_empty() {
        return Ok(());
    }
    Err(ran.tell(untrue.join("\n\n")))
}

/// Sees whether a chapter keeps what it promises, and says so.
fn keeps(tag: &str, promise: Promise, transcripts: &[Transcript]) -> Result<(), String> {
    let begun = Instant::now();
    let shown: Vec<&Transcript> = transcripts
        .iter()
        .filter(|one| one.as_of.as_deref() == Some(tag))
        .collect();
    let (kept, what) = match promise {
        Promise::Runs => (keeps_its_promise(tag, &shown), "runs"),
        Promise::Tests => (passes_its_tests(tag, &shown), "tested"),
    };
    println!(
        "{} {tag}: {:.1} s",
        if kept.is_ok() { what } else { "FAIL" },
        begun.elapsed().as_secs_f32()
    );
    kept
}

/// So many of those that boot.
const DRAWN: usize = 8;

/// Leaves those that were drawn, and says which.
fn draw(tags: &mut Vec<(String, Promise)>) {
    let now = std::time::SystemTime::now();
    let ticket = |tag: &str| {
        let mut hasher = DefaultHasher::new();
        (now, tag).hash(&mut hasher);
        hasher.finish()
    };
    let boots = |promise: &Promise| *promise == Promise::Runs;
    let mut tickets: Vec<(u64, String)> = tags
        .iter()
        .filter(|(_, promise)| boots(promise))
        .map(|(tag, _)| (ticket(tag), tag.clone()))
        .collect();
    tickets.sort();
    tickets.truncate(DRAWN);
    tags.retain(|(tag, promise)| !boots(promise) || tickets.iter().any(|(_, drawn)| drawn == tag));
    println!("drawn of those that boot: {tickets:?}");
}

#[test]
fn every_chapter_that_promises_to_run_does() {
    let transcripts = transcript::all();
    let mut tags = promises();
    if let Ok(chosen) = std::env::var("AS_OF") {
        tags.retain(|(tag, _)| *tag == chosen);
        assert!(
            !tags.is_empty(),
            "{chosen} is not the tag of a chapter that promises anything"
        );
    } else if std::env::var_os("STATES").is_none_or(|which| which != "all") {
        draw(&mut tags);
    }
    // Two at a time: one is compiled while the other boots.
    let tags = Mutex::new(tags.into_iter());
    let next = || tags.lock().expect("nobody panics with it").next();
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((tag, promise)) = next() {
                    if let Err(why) = keeps(&tag, promise, &transcripts) {
                        let mut broken = broken.lock().expect("nobody panics with it");
                        broken.push(format!("as of {tag}: {why}"));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("nobody panicked with it");
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// What formats code sorts `use` and `mod` lines that stand together. If they were of two chapters, a line of the later one would end
/// up in the earlier, and no state between them could be built.
#[test]
fn names_that_stand_together_are_of_one_chapter() {
    let read = |path: &str| fs::read_to_string(top().join("generated").join(path)).expect(path);
    let map: serde_json::Value = serde_json::from_str(&read(".tangle/map.json")).expect("the map");
    let numbers = |list: &serde_json::Value| -> Vec<u64> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(serde_json::Value::as_u64).collect()
    };
    let kind = |line: &str| {
        let bare = line.trim_start();
        let bare = bare.strip_prefix("pub ").unwrap_or(bare);
        let bare = bare.strip_prefix("pub(crate) ").unwrap_or(bare);
        let is = |word: &str| bare.starts_with(word) && bare.ends_with(';');
        ["use ", "mod "].into_iter().find(|word| is(word))
    };
    let mut wrong = Vec::new();
    for (path, file) in map["files"].as_object().expect("the files") {
        if !path.ends_with(".rs") {
            continue;
        }
        let mut of = HashMap::new();
        for span in file["spans"].as_array().into_iter().flatten() {
            if let [first, count, source, ..] = numbers(span)[..] {
                of.extend((first..first + count).map(|line| (line, source)));
            }
        }
        let text = read(path);
        let lines: Vec<(u64, &str)> = (1..).zip(text.lines()).collect();
        for pair in lines.windows(2) {
            let [(before, one), (at, other)] = pair else {
                continue;
            };
            if kind(one).is_some() && kind(one) == kind(other) && of.get(before) != of.get(at) {
                wrong.push(format!("generated/{path}:{at}: {}", other.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "an empty line belongs before these, in the later chapter: {wrong:#?}"
    );
}

#[test]
fn what_is_shown_of_a_state_is_shown_in_its_chapter() {
    let promises = promises();
    for one in transcript::all() {
        let Some(tag) = &one.as_of else { continue };
        assert!(
            promises.iter().any(|(promising, _)| promising == tag) && one.place.starts_with(tag),
            "{}: AS_OF={tag} belongs into the chapter with this tag, which promises something (`runs: true` or `tests`)",
            one.place
        );
    }
}
