//! What a well-behaved guest may rely on.

mod block;
mod costs;
mod cpus;
mod descriptors;
mod dma;
mod emulation;
mod hypercalls;
mod interrupts;
mod launcher;
mod lent;
mod migration;
mod neighbour;
mod paging;
mod pair;
pub(super) mod promise;
mod segments;
mod start;
mod traps;
mod user;

use crate::harness::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        start::cases(),
        hypercalls::cases(),
        traps::cases(),
        interrupts::cases(),
        dma::cases(),
        user::cases(),
        paging::cases(),
        emulation::cases(),
        migration::cases(),
        neighbour::cases(),
        launcher::cases(),
        segments::cases(),
        descriptors::cases(),
        lent::cases(),
        pair::cases(),
        promise::cases(),
        cpus::cases(),
        block::cases(),
        costs::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
