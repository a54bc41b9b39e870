//! The guest's memory is the Launcher's: whatever the Host, the Launcher or anybody else does to those pages, the guest sees
//! what a process would see there.

mod charged;
mod churn;
mod gone;
mod held;
mod mappings;
mod programs;
mod shadow;
mod short;

use crate::harness::Case;
use crate::mirror::Way;

const WAYS: [(&str, Way); 3] = [
    // First what a process sees: whether the case is right.
    ("as-a-process", Way::AsAProcess),
    ("while-it-runs", Way::WhileItRuns),
    ("between-reads", Way::BetweenReads),
];

pub(super) fn cases() -> Vec<Case> {
    [
        mappings::cases(),
        programs::cases(),
        gone::cases(),
        held::cases(),
        churn::cases(),
        charged::cases(),
        shadow::cases(),
        short::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
