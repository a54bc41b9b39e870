//! The cases, by theme.

mod behaviour;
mod between;
mod errno;
mod hostile;
mod life;
mod memory;
mod sandbox;
mod snapshot;
mod stale;

use crate::harness::Case;

pub use errno::after_exec;

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    [
        errno::cases(),
        behaviour::cases(),
        between::cases(),
        hostile::cases(),
        crate::fuzz::cases(),
        memory::cases(),
        sandbox::cases(),
        snapshot::cases(),
        life::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Cases that may stop the machine: not among all.
pub fn dangerous() -> Vec<Case> {
    stale::cases()
}
