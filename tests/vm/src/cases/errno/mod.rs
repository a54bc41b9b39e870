//! The errno table: every condition of open, write, read and close, and the order in which they are looked at.

mod breaking;
mod cpus;
mod dma;
mod eventfd;
mod file;
mod initialize;
mod owner;
mod read;
mod state;
mod write;

use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome};

pub use owner::after_exec;

pub(super) fn cases() -> Vec<Case> {
    [
        write::cases(),
        initialize::cases(),
        owner::cases(),
        dma::cases(),
        eventfd::cases(),
        breaking::cases(),
        read::cases(),
        file::cases(),
        cpus::cases(),
        state::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A guest that is initialised and never ran.
fn ready() -> Outcome<Guest> {
    let mut guest = Guest::new(work::SURVIVED);
    guest.boot()?;
    Ok(guest)
}

/// A guest that is dead ("POWEROFF: 0"), its reason unread.
fn dead() -> Outcome<Guest> {
    let guest = ready()?;
    match guest.step()? {
        Event::Died(_) => Ok(guest),
        event => Err(format!("a guest that powers off: {event:?}")),
    }
}

/// Some numbers that are no request; the last three would be one if somebody looked at 32 bits only.
const UNKNOWN: [u64; 6] = [7, 99, u64::MAX, 1 << 32, 1 << 32 | 2, 1 << 63 | 3];
