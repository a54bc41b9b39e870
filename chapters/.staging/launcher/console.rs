// SPDX-License-Identifier: GPL-2.0

//! The console: what the Guest prints goes out, what is typed goes in.
//!
//! It knows nothing of `/dev/lguest`: it is asked for bytes and given bytes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// ^D: the end of the input, as a key.
const END_OF_INPUT: u8 = 0x04;
/// ^C: stop it, as a key.
const INTERRUPT: u8 = 0x03;

/// Once so much waits for the Guest, we read no more, and the writer of a pipe has to wait.
const ENOUGH: usize = 64 << 10;

/// A console between two files.
pub struct Console<I, O> {
    input: I,
    output: O,
    waiting: VecDeque<u8>,
    ended: bool,
    patience: Patience,
}

/// What to do after a look at the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// The user wants out.
    Abort,
}

impl<I: Read, O: Write> Console<I, O> {
    /// Connects `input` and `output`.
    pub fn new(input: I, output: O) -> Self {
        Console {
            input,
            output,
            waiting: VecDeque::new(),
            ended: false,
            patience: Patience::default(),
        }
    }

    /// Prints what the Guest has sent.
    pub fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.output.flush()
    }

    /// Is it worth looking at the input?
    pub fn wants_input(&self) -> bool {
        !self.ended && self.waiting.len() < ENOUGH
    }

    /// Takes what there is to read. Its end becomes one last key.
    pub fn take_input(&mut self) -> Verdict {
        let mut bytes = [0; 4096];
        match self.input.read(&mut bytes) {
            Ok(0) => self.end(),
            Ok(len) => return self.queue(&bytes[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => {
                eprintln!("lguest: the console cannot read its input any more: {error}");
                self.end();
            }
        }
        Verdict::Continue
    }

    /// Does anything wait for the Guest?
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes up to `most` bytes for the Guest.
    pub fn next_input(&mut self, most: usize) -> Vec<u8> {
        let len = most.min(self.waiting.len());
        self.waiting.drain(..len).collect()
    }

    fn queue(&mut self, bytes: &[u8]) -> Verdict {
        self.waiting.extend(bytes);
        let now = Instant::now();
        let out_of_patience = bytes.iter().any(|&key| self.patience.strains(key, now));
        if out_of_patience {
            Verdict::Abort
        } else {
            Verdict::Continue
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.waiting.push_back(END_OF_INPUT);
    }
}

/// Remembers ^C: three in a row within a second end a Guest that does not listen.
#[derive(Default)]
struct Patience {
    last_two: [Option<Instant>; 2],
}

impl Patience {
    const WINDOW: Duration = Duration::from_secs(1);

    /// Notes a key, and says whether it was one ^C too many.
    fn strains(&mut self, key: u8, now: Instant) -> bool {
        if key != INTERRUPT {
            *self = Patience::default();
            return false;
        }
        let [third_last, last] = self.last_two;
        self.last_two = [last, Some(now)];
        third_last.is_some_and(|then| now.duration_since(then) <= Self::WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_input_is_a_key_and_comes_once() {
        let mut console = Console::new(&b"ls\n"[..], Vec::new());
        assert_eq!(console.take_input(), Verdict::Continue);
        assert!(console.wants_input());
        assert_eq!(console.next_input(2), b"ls");
        assert_eq!(console.take_input(), Verdict::Continue);
        assert!(!console.wants_input());
        assert_eq!(console.next_input(100), b"\n\x04");
        assert!(!console.has_waiting());
    }

    #[test]
    fn enough_is_enough() {
        let mut console = Console::new(io::repeat(b'x'), Vec::new());
        while console.wants_input() {
            console.take_input();
        }
        assert_eq!(console.next_input(usize::MAX).len(), ENOUGH);
        assert!(console.wants_input());
    }

    #[test]
    fn prints_what_it_is_given() {
        let mut console = Console::new(io::empty(), Vec::new());
        console.print(b"one ").unwrap();
        console.print(b"two").unwrap();
        assert_eq!(console.output, b"one two");
    }

    #[test]
    fn three_interrupts_in_a_row() {
        for (keys, verdict) in [
            ("\x03\x03\x03", Verdict::Abort),
            ("\x03\x03", Verdict::Continue),
            ("\x03\x03x\x03\x03", Verdict::Continue),
            ("ab\x03\x03\x03x", Verdict::Abort),
        ] {
            let mut console = Console::new(keys.as_bytes(), Vec::new());
            assert_eq!(console.take_input(), verdict, "{keys:?}");
        }
    }

    #[test]
    fn slow_interrupts_are_the_guests_business() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(!patience.strains(INTERRUPT, at(0)));
        assert!(!patience.strains(INTERRUPT, at(600)));
        assert!(!patience.strains(INTERRUPT, at(1200)));
        assert!(patience.strains(INTERRUPT, at(1500)));
    }
}
