// SPDX-License-Identifier: GPL-2.0

//! Last words.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use crate::hypercall;
use crate::layout::Phys;

/// Bytes of a message that the Host reads, with the NUL at its end.
const SIZE: usize = 128;

/// A message that ends where there is no more room.
struct LastWords {
    text: [u8; SIZE],
    len: usize,
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut words = LastWords {
        text: [0; SIZE],
        len: 0,
    };
    // A message that is too long is cut, which is all that can go wrong.
    let _ = match info.location() {
        Some(at) => write!(words, "{} ({}:{})", info.message(), at.file(), at.line()),
        None => write!(words, "{}", info.message()),
    };
    hypercall::crash(Phys::of(&raw const words.text));
}

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SIZE - 1 - self.len;
        let fitting = &text.as_bytes()[..text.len().min(room)];
        self.text[self.len..][..fitting.len()].copy_from_slice(fitting);
        self.len += fitting.len();
        if fitting.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
