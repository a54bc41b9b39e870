//! The transcripts in the chapters, run again: what a page shows is what a reader will see.
//!
//! These are of the whole system, and share one boot; those of a chapter's own state are in `states.rs`. TRANSCRIPTS, the paths
//! of chapters one a line, chooses among them.

mod common;

use common::{Machine, System, transcript};
use transcript::Transcript;

#[test]
fn every_transcript_of_the_book_is_true() {
    let mut all = transcript::all();
    all.retain(|one| one.as_of.is_none());
    assert!(all.len() > 20, "only {} transcripts were found", all.len());
    if let Ok(chapters) = std::env::var("TRANSCRIPTS") {
        let chosen = |place: &str| {
            let chapter = place.split(':').next().unwrap_or_default();
            chapters
                .lines()
                .any(|path| path.ends_with(&format!("/{chapter}")))
        };
        all.retain(|one| chosen(&one.place));
        if all.is_empty() {
            return;
        }
    }

    let (all, here): (Vec<_>, Vec<_>) = all.into_iter().partition(Transcript::is_in_vm);
    let machine = Machine { cpu: "max", smp: 2 };
    let mut system = System::whole().clone();
    if all.iter().any(|one| one.taps) {
        system = system.with_taps();
    }
    let ran = system.in_vm("transcripts", machine, &transcript::script(&all), "");
    ran.expect_status(0);

    let mut untrue = transcript::untrue(&all, &ran.lines);
    untrue.extend(transcript::untrue_here(&here));
    if !untrue.is_empty() {
        ran.fail(format_args!("{}\n", untrue.join("\n\n")));
    }
}
