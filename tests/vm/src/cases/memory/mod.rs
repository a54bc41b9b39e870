//! The guest's memory is the Launcher's: whatever the Host, the Launcher or anybody else does to those pages, the guest sees
//! what a process would see there.

mod charged;
mod churn;
mod gone;
mod held;
mod mappings;
mod shadow;

use crate::harness::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        mappings::cases(),
        gone::cases(),
        held::cases(),
        churn::cases(),
        charged::cases(),
        shadow::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
