//! The second Guest: it ticks and counts in another thread while a hostile one does its worst, and must not notice.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Outcome, join, wait_until};
use crate::layout::*;
use crate::ram::Ram;
use crate::signals;
use nix::sys::signal::Signal;
use std::thread::JoinHandle;

/// A good guest at work.
pub struct Bystander {
    ram: Ram,
    thread: JoinHandle<Outcome>,
}

impl Bystander {
    /// Starts it, and waits until it has counted and taken its first timer interrupt.
    pub fn start() -> Outcome<Self> {
        let ram = Ram::new(MEMORY);
        let its_ram = ram.clone();
        let thread = std::thread::spawn(move || {
            signals::block(Signal::SIGALRM);
            let mut guest = Guest::in_memory(work::TICK, its_ram);
            guest.traps().interrupts();
            guest.ram.set_word(REARM, 1_000_000);
            guest.boot()?;
            guest.powered_off(&guest.finish()?, 0)
        });
        let bystander = Self { ram, thread };
        bystander.wait_for_progress().map(|()| bystander)
    }

    /// Waits until it has counted on and taken another interrupt.
    pub fn wait_for_progress(&self) -> Outcome {
        let (count, ticks) = (self.ram.word(COUNT), self.ram.word(IRQ_COUNT));
        wait_until("the second guest counts and ticks on", || {
            self.thread.is_finished()
                || self.ram.word(COUNT) > count && self.ram.word(IRQ_COUNT) > ticks
        })
    }

    /// Sees it go on, then lets it end.
    pub fn finish(self) -> Outcome {
        let progress = self.wait_for_progress();
        self.ram.set_word(STOP, 1);
        let end = join(self.thread).map_err(|e| format!("the second guest: {e}"));
        progress.and(end)
    }
}
