// SPDX-License-Identifier: GPL-2.0

//! The terminal while a Guest owns it: every key goes through at once, and nothing is echoed.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use nix::sys::termios::{InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use thiserror::Error;

/// The terminal as we found it, for whoever ends the program.
static FOUND: OnceLock<Settings> = OnceLock::new();

/// `Termios` keeps a cell inside and so cannot be shared; what it is made of can.
type Settings = nix::libc::termios;

/// The terminal refused.
#[derive(Debug, Error)]
#[error("cannot set up the terminal: {0}")]
pub struct Error(nix::Error);

/// As long as this lives, the terminal is raw. It costs nothing when the input is no terminal.
pub struct Raw(());

impl Raw {
    /// Makes the terminal raw.
    pub fn new() -> Result<Self, Error> {
        if io::stdin().is_terminal() {
            let found = tcgetattr(io::stdin()).map_err(Error)?;
            FOUND.get_or_init(|| found.clone().into());
            tcsetattr(io::stdin(), SetArg::TCSANOW, &raw(found)).map_err(Error)?;
        }
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was found. Does no harm when it never was touched.
pub fn restore() {
    if let Some(found) = FOUND.get() {
        // If even this fails there is nobody left to tell.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &Termios::from(*found));
    }
}

/// No lines, no echo, no signals, no ^S. Output is still cooked, so that a newline starts at the left.
fn raw(mut settings: Termios) -> Termios {
    settings
        .local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
    settings.input_flags.remove(InputFlags::IXON);
    settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    settings
}
