//! The transcripts in the chapters, run again: what a page shows is what a reader will see.
//!
//! These are of the whole system, and share two boots; those of a chapter's own state are in `states.rs`. TRANSCRIPTS, the paths
//! of chapters one a line, chooses among them.

mod common;

use common::{Machine, System, transcript};
use std::panic::resume_unwind;
use transcript::Transcript;

#[test]
fn every_transcript_of_the_book_is_true() {
    let mut all = transcript::all();
    all.retain(|one| one.as_of.is_none());
    assert!(all.len() > 20, "only {} transcripts were found", all.len());
    if let Ok(chapters) = std::env::var("TRANSCRIPTS") {
        all.retain(|one| {
            let chapter = format!("/{}", one.chapter());
            chapters.lines().any(|path| path.ends_with(&chapter))
        });
        if all.is_empty() {
            return;
        }
    }

    let (all, here): (Vec<_>, Vec<_>) = all.into_iter().partition(Transcript::is_in_vm);
    // Two boots side by side, of every other chapter each.
    let halves = halves(all);
    let mut untrue = std::thread::scope(|scope| {
        let boots: Vec<_> = halves
            .iter()
            .enumerate()
            .filter(|(_, half)| !half.is_empty())
            .map(|(number, half)| scope.spawn(move || run(&format!("transcripts-{number}"), half)))
            .collect();
        boots
            .into_iter()
            .flat_map(|boot| boot.join().unwrap_or_else(|why| resume_unwind(why)))
            .collect::<Vec<_>>()
    });
    untrue.extend(transcript::untrue_here(&here));
    assert!(untrue.is_empty(), "{}", untrue.join("\n\n"));
}

/// The transcripts of every other chapter, in the book's order, and those between.
fn halves(all: Vec<Transcript>) -> [Vec<Transcript>; 2] {
    let mut halves = [Vec::new(), Vec::new()];
    let mut chapters = 0;
    let mut last = String::new();
    for one in all {
        if one.chapter() != last {
            last = one.chapter().to_owned();
            chapters += 1;
        }
        halves[chapters % 2].push(one);
    }
    halves
}

/// What those say that is not true, after a boot of their own.
fn run(name: &str, all: &[Transcript]) -> Vec<String> {
    let machine = Machine { cpu: "max", smp: 2 };
    let mut system = System::whole().clone();
    if all.iter().any(|one| one.taps) {
        system = system.with_taps();
    }
    let ran = system.in_vm(name, machine, &transcript::script(all), "");
    let mut untrue = transcript::untrue(all, &ran.lines);
    if ran.status != 0 {
        untrue.push(ran.tell("its VM did not come to a good end"));
    }
    untrue
}
