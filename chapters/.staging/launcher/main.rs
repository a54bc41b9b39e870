// SPDX-License-Identifier: GPL-2.0

//! The Launcher: an ordinary program that lays out a Guest's memory, starts it by `/dev/lguest`, and is every device
//! that the Guest will ever meet.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[path = "../abi/abi.rs"]
mod abi;
mod boot;
mod bus;
mod console;
mod dma;
mod lguest;
mod loader;
mod machine;
mod memory;
mod options;
mod tables;
mod terminal;
mod waker;

use std::process::ExitCode;

use clap::Parser;

use crate::machine::{Ending, Error};
use crate::options::{Command, Options, RunOptions};

/// Exit status when the user has had enough.
const STATUS_INTERRUPTED: u8 = 2;

fn main() -> ExitCode {
    let Command::Run(options) = Options::parse().command;
    match run(&options) {
        Ok(ending) => report(ending),
        Err(error) => {
            eprintln!("lguest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The life of a Guest, from the file on the disk to its last words.
fn run(options: &RunOptions) -> Result<Ending, Error> {
    let image = boot::prepare(options)?;
    machine::run(image)
}

/// Says how the Guest ended, and turns it into an exit status.
fn report(ending: Ending) -> ExitCode {
    match ending {
        Ending::PowerOff(status) => ExitCode::from(status),
        Ending::Killed(reason) => {
            eprintln!("lguest: {}", reason.escape_debug());
            ExitCode::FAILURE
        }
        Ending::Interrupted => {
            eprintln!("lguest: ended by ^C ^C ^C");
            ExitCode::from(STATUS_INTERRUPTED)
        }
    }
}
