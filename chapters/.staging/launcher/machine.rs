// SPDX-License-Identifier: GPL-2.0

//! The machine at work: run the Guest, serve it, run it again.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use thiserror::Error;

use crate::abi::device::CONSOLE_KEY;
use crate::boot::{self, Image};
use crate::console::{Console, Verdict};
use crate::dma::{self, Dma};
use crate::lguest::{self, Death, Exit, Lguest};
use crate::memory::{Memory, OutOfBounds};
use crate::terminal;
use crate::waker::{self, Waker, Watch};

/// How a run ended.
#[derive(Debug, PartialEq)]
pub enum Ending {
    /// The Guest powered off with this status.
    PowerOff(u8),
    /// The Guest died of this.
    Killed(String),
    /// The user pressed ^C three times.
    Interrupted,
}

/// Everything that can keep a Guest from starting, or from going on.
#[derive(Debug, Error)]
pub enum Error {
    /// Its memory could not be laid out.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// The module objected.
    #[error(transparent)]
    Lguest(#[from] lguest::Error),
    /// The terminal objected.
    #[error(transparent)]
    Terminal(#[from] terminal::Error),
    /// The Waker could not start.
    #[error(transparent)]
    Waker(#[from] waker::Error),
    /// The Guest sent rubbish.
    #[error(transparent)]
    Dma(#[from] dma::Error),
    /// The Guest's memory shrank, or a check is missing.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// Standard input or output cannot be used.
    #[error("the console: {0}")]
    Console(io::Error),
}

/// A Guest and all that it needs of us.
struct Machine {
    memory: Memory,
    lguest: Arc<Lguest>,
    console: Console<File, File>,
    waker: Waker,
}

/// Gives life to a Guest, and stays with it to its end.
pub fn run(image: Image) -> Result<Ending, Error> {
    let lguest = Arc::new(Lguest::open()?);
    lguest.initialize(&image.start)?;

    // Files of their own: Rust's stdin would read ahead, and its stdout hold back.
    let console = Console::new(open_again(io::stdin())?, open_again(io::stdout())?);
    let waker = Waker::start(
        lguest.clone(),
        Watch {
            input: true,
            moment: false,
        },
    )?;

    let _raw = terminal::Raw::new()?;
    Machine {
        memory: image.memory,
        lguest,
        console,
        waker,
    }
    .run()
}

fn open_again(file: impl AsFd) -> Result<File, Error> {
    let copy = file.as_fd().try_clone_to_owned();
    copy.map(File::from).map_err(Error::Console)
}

impl Machine {
    /// Runs the Guest, serves it, runs it again.
    fn run(&mut self) -> Result<Ending, Error> {
        loop {
            match self.lguest.run()? {
                Exit::Dma { address, key } => self.output(address, key)?,
                Exit::BrokenOut => {
                    if self.input()? == Verdict::Abort {
                        return Ok(Ending::Interrupted);
                    }
                }
                Exit::Dead(Death::PowerOff(status)) => return Ok(Ending::PowerOff(status)),
                Exit::Dead(Death::Killed(reason)) => return Ok(Ending::Killed(reason)),
            }
        }
    }

    /// The Guest sends something.
    fn output(&mut self, address: u64, key: u64) -> Result<(), Error> {
        if key != CONSOLE_KEY {
            eprintln!("lguest: the Guest sends DMA with key {key:#x}, which belongs to no device");
            return Ok(());
        }
        let dma = Dma::read(&self.memory, address)?;
        let bytes = dma.gather(&self.memory)?;
        self.console.print(&bytes).map_err(Error::Console)?;
        dma.finish(&self.memory, bytes.len())?;
        self.deliver()
    }

    /// The Waker saw something to read, or we asked it to be patient.
    fn input(&mut self) -> Result<Verdict, Error> {
        let mut verdict = Verdict::Continue;
        if self.console.wants_input() && waker::input_is_ready() {
            verdict = self.console.take_input();
        }
        self.deliver()?;
        self.lguest.let_go_on()?;
        self.waker.watch(Watch {
            input: self.console.wants_input(),
            moment: self.console.has_waiting(),
        });
        Ok(verdict)
    }

    /// Hands what was typed to the Guest, as far as it has room.
    fn deliver(&mut self) -> Result<(), Error> {
        while self.console.has_waiting()
            && let Some(address) = self.lguest.free_buffer(CONSOLE_KEY)?
        {
            let dma = Dma::read(&self.memory, address)?;
            let room = dma.capacity();
            if room == 0 {
                return Err(dma::Error::NoRoom(address).into());
            }
            let bytes = self.console.next_input(room);
            dma.scatter(&self.memory, &bytes)?;
            dma.finish(&self.memory, bytes.len())?;
            self.lguest.interrupt(dma.used_len().into())?;
        }
        Ok(())
    }
}
