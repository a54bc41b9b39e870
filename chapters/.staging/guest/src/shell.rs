// SPDX-License-Identifier: GPL-2.0

//! What we do all day: read a line, do what it says.

use crate::program::{self, PROGRAMS};
use crate::timer::{self, TICKS_PER_SECOND};
use crate::{console, frames, hypercall, print, println};

const END_OF_INPUT: u8 = 0x04;
const INTERRUPT: u8 = 0x03;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

const PROMPT: &str = "guest> ";

const HELP: &str = "\
help          this
hello         run a program in ring 3
spin          run one that never ends; the timer ends it
trespass      run one that reads the kernel's memory
uptime        how long we have been running
sleep N       wait N seconds
exit [N]      power off, with status N
crash [WORDS] die, with these as last words
All else is repeated. ^D powers off.";

/// A line that is being typed.
struct Line {
    bytes: [u8; 128],
    len: usize,
}

/// How a line ended.
enum End {
    Newline,
    EndOfInput,
}

/// Serves the console for ever.
pub fn run() -> ! {
    let mut line = Line {
        bytes: [0; 128],
        len: 0,
    };
    loop {
        print!("{PROMPT}");
        let end = line.read();
        println!();
        if let Ok(text) = str::from_utf8(&line.bytes[..line.len]) {
            obey(text.trim());
        }
        if let End::EndOfInput = end {
            hypercall::power_off(0);
        }
    }
}

/// Does what a line says.
fn obey(line: &str) {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "" => {}
        "help" => println!("{}", HELP),
        "uptime" => uptime(),
        "sleep" => timer::sleep(number(rest).saturating_mul(TICKS_PER_SECOND)),
        "exit" => hypercall::power_off(number(rest) as u8),
        "crash" => panic!("{}", if rest.is_empty() { "as you wish" } else { rest }),
        _ => match PROGRAMS.iter().find(|(name, _)| *name == line) {
            Some((name, file)) => run_program(name, file),
            None => println!("you said: {line}"),
        },
    }
}

fn run_program(name: &str, file: &[u8]) {
    match program::run(file) {
        Ok(outcome) => println!("{name}: {outcome}"),
        Err(error) => println!("{name}: {error}"),
    }
}

fn uptime() {
    let ticks = timer::ticks();
    let (seconds, rest) = (ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
    println!(
        "up {seconds}.{rest:02} seconds, {} KiB of memory free",
        frames::free() >> 10
    );
}

/// The number in an argument; 0 if it is none.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

impl Line {
    /// Reads a line, echoing it as it is typed.
    fn read(&mut self) -> End {
        self.len = 0;
        loop {
            match console::key() {
                b'\n' | b'\r' => return End::Newline,
                END_OF_INPUT => return End::EndOfInput,
                INTERRUPT => {
                    self.len = 0;
                    print!("^C\n{PROMPT}");
                }
                BACKSPACE | DELETE => self.erase(),
                key => self.push(key),
            }
        }
    }

    /// Takes one key more. A line that is full takes no more.
    fn push(&mut self, key: u8) {
        if let Some(place) = self.bytes.get_mut(self.len)
            && key >= b' '
        {
            *place = key;
            self.len += 1;
            console::put(key);
        }
    }

    /// Takes the last key back.
    fn erase(&mut self) {
        if self.len > 0 {
            self.len -= 1;
            print!("\x08 \x08");
        }
    }
}
