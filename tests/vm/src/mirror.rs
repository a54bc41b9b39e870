//! A guest that looks and writes where it is told to, so that what it sees can be compared with what its process sees.

use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Outcome, join, wait_until};
use crate::layout::*;
use crate::ram::Ram;
use crate::signals;
use crate::tables::pte;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread::JoinHandle;

/// Where the guest runs while its memory is changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In another thread, all the time.
    WhileItRuns,
    /// In this thread, and never when something else happens: read() has come back.
    BetweenReads,
    /// There is no guest: this process does what it would be asked for, and so tells what a process sees.
    AsAProcess,
}

enum Seat {
    Thread(JoinHandle<Outcome<String>>, Pid),
    Here(Box<Guest>),
    Nobody,
}

/// A guest that waits for requests.
pub struct Mirror {
    ram: Ram,
    seat: Seat,
    asked: u64,
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The guest did it: what it read.
    Done(Vec<u64>),
    /// The guest died of it.
    Died(String),
}

/// The most pages of one request: what it reads must fit into the buffer.
pub const MOST_PAGES: u64 = (0xc000 - BUFFER) / 8;

/// A guest in this memory, all of which it maps.
fn guest(ram: Ram, comes_back: bool) -> Guest {
    let mut guest = Guest::in_memory(work::ON_REQUEST, ram);
    for pa in (MEMORY..guest.ram.len()).step_by(PAGE as usize) {
        guest.tables.map(va(pa), pa, pte::KERNEL);
    }
    guest.param(5, comes_back.into());
    guest.dma(DMA, &[(OUT, 8)]);
    guest
}

impl Mirror {
    /// Starts one in this memory.
    pub fn start(ram: &Ram, way: Way) -> Outcome<Self> {
        let seat = match way {
            Way::AsAProcess => Seat::Nobody,
            Way::BetweenReads => {
                let mut guest = guest(ram.clone(), true);
                guest.boot()?;
                Seat::Here(Box::new(guest))
            }
            Way::WhileItRuns => {
                let tid = Arc::new(AtomicI32::new(0));
                let (its_ram, its_tid) = (ram.clone(), tid.clone());
                let thread = std::thread::spawn(move || {
                    signals::block(Signal::SIGALRM);
                    its_tid.store(gettid().as_raw(), SeqCst);
                    let mut guest = guest(its_ram, false);
                    guest.boot()?;
                    guest.finish()
                });
                wait_until("the guest counts", || {
                    ram.word(COUNT) > 0 || thread.is_finished()
                })?;
                Seat::Thread(thread, Pid::from_raw(tid.load(SeqCst)))
            }
        };
        Ok(Self {
            ram: ram.clone(),
            seat,
            asked: 0,
        })
    }

    /// The thread that is in read(), if it is another one.
    pub fn thread(&self) -> Option<Pid> {
        match &self.seat {
            Seat::Thread(_, tid) => Some(*tid),
            Seat::Here(_) | Seat::Nobody => None,
        }
    }

    /// Makes a request, and does not wait for its end.
    fn ask(&mut self, write: bool, pa: u64, pages: u64, value: u64) {
        assert!(pages <= MOST_PAGES && pages > 0);
        self.asked += 1;
        let words = [write.into(), va(pa), pages, value];
        for (at, word) in (PARAM + 8..).step_by(8).zip(words) {
            self.ram.set_word(at, word);
        }
        self.ram.set_word(PARAM, self.asked);
    }

    /// Whether the last request was answered, in another thread.
    fn answered(&self) -> bool {
        self.ram.word(OUT) == self.asked
    }

    /// Waits for the end of the request.
    fn answer(&mut self) -> Outcome<Answer> {
        match &self.seat {
            Seat::Nobody => self.obey(),
            Seat::Here(guest) => match guest.step()? {
                Event::Dma { .. } if self.answered() => {}
                Event::Died(reason) => return Ok(Answer::Died(reason)),
                event => return Err(format!("expected an answer, got {event:x?}")),
            },
            Seat::Thread(thread, _) => {
                wait_until("the guest has done as it was told", || {
                    self.answered() || thread.is_finished()
                })?;
                if !self.answered() {
                    return self.death().map(Answer::Died);
                }
            }
        }
        let pages = self.ram.word(PARAM + 24);
        let read = (0..pages).map(|page| self.ram.word(BUFFER + 8 * page));
        Ok(Answer::Done(read.collect()))
    }

    /// What the guest would do.
    fn obey(&self) {
        let [write, at, pages, value] = [1, 2, 3, 4].map(|word| self.ram.word(PARAM + 8 * word));
        for page in 0..pages {
            let pa = at.wrapping_sub(va(0)) + page * PAGE;
            if write == 1 {
                self.ram.set_word(pa, value + page);
            } else {
                self.ram.set_word(BUFFER + 8 * page, self.ram.word(pa));
            }
        }
        self.ram.set_word(OUT, self.asked);
    }

    /// The end of one that is dead.
    fn death(&mut self) -> Outcome<String> {
        match std::mem::replace(&mut self.seat, Seat::Nobody) {
            Seat::Thread(thread, _) => join(thread),
            Seat::Here(guest) => guest.finish(),
            Seat::Nobody => Ok("POWEROFF: 0".to_owned()),
        }
    }

    /// Lets the guest read the first words of pages; it may die of that.
    pub fn try_read(&mut self, pa: u64, pages: u64) -> Outcome<Answer> {
        self.ask(false, pa, pages, 0);
        self.answer()
    }

    /// Lets the guest write the first words of pages; it may die of that.
    pub fn try_write(&mut self, pa: u64, pages: u64, first: u64) -> Outcome<Answer> {
        self.ask(true, pa, pages, first);
        self.answer()
    }

    /// What the guest reads in the first words of pages.
    pub fn read(&mut self, pa: u64, pages: u64) -> Outcome<Vec<u64>> {
        match self.try_read(pa, pages)? {
            Answer::Done(words) => Ok(words),
            Answer::Died(reason) => Err(format!("the guest died of reading: {reason:?}")),
        }
    }

    /// Lets the guest write `first`, `first + 1`, and so on, to the first words of pages.
    pub fn write(&mut self, pa: u64, pages: u64, first: u64) -> Outcome {
        match self.try_write(pa, pages, first)? {
            Answer::Done(_) => Ok(()),
            Answer::Died(reason) => Err(format!("the guest died of writing: {reason:?}")),
        }
    }

    /// Makes a request that something stands in the way of: `meanwhile` is to remove it.
    pub fn delayed(
        &mut self,
        write: bool,
        pa: u64,
        value: u64,
        meanwhile: impl FnOnce(Pid) -> Outcome,
    ) -> Outcome<Vec<u64>> {
        let tid = self.thread().ok_or("the guest has no thread of its own")?;
        self.ask(write, pa, 1, value);
        meanwhile(tid)?;
        match self.answer()? {
            Answer::Done(words) => Ok(words),
            Answer::Died(reason) => Err(format!("the guest died of waiting: {reason:?}")),
        }
    }

    /// Lets it end.
    pub fn end(mut self) -> Outcome {
        self.ram.set_word(STOP, 1);
        let reason = self.death()?;
        if reason == "POWEROFF: 0" {
            Ok(())
        } else {
            Err(format!("the guest ended with {reason:?}"))
        }
    }
}
