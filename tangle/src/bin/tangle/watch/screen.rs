//! What somebody sees who watches: one line that says how things are, and above it what is wrong, once.

use std::io::{self, IsTerminal, Write};

/// Where the status line is. On a terminal it stays in its place; elsewhere each new one is a line.
pub struct Screen {
    terminal: bool,
    /// The line, as it was shown last.
    line: String,
    /// What is wrong, as long as it is.
    problem: Option<String>,
}

/// Erases the line that the cursor is in.
const ERASE: &str = "\r\x1b[K";
/// Erases all.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Screen {
    pub fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            line: String::new(),
            problem: None,
        }
    }

    /// Whether colours can be seen.
    pub fn has_colours(&self) -> bool {
        self.terminal && std::env::var_os("NO_COLOR").is_none()
    }

    /// Says how things are.
    pub fn status(&mut self, line: impl Into<String>) {
        let line = line.into();
        if line == self.line {
            return;
        }
        self.line = line;
        if self.terminal {
            self.draw("");
        } else {
            print(&format!("{}\n", self.line));
        }
    }

    /// Shows what is wrong, unless that can be seen already.
    pub fn problem(&mut self, text: &str) {
        if self.problem.as_deref() == Some(text) {
            return;
        }
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let clear = if self.problem.is_some() { CLEAR } else { "" };
        self.problem = Some(text.to_owned());
        if self.terminal {
            self.draw(&format!("{clear}{text}{end}"));
        } else {
            print(&format!("{text}{end}"));
        }
    }

    /// Nothing is wrong any more.
    pub fn mended(&mut self) {
        if self.problem.take().is_some() && self.terminal {
            self.draw(CLEAR);
        }
    }

    /// Leaves the line to a command that prints by itself.
    pub fn leave(&mut self) {
        if self.terminal && !self.line.is_empty() {
            print("\n");
        }
        self.line.clear();
    }

    /// Draws the line below `above`. It is cut at the edge of the terminal, since a second one could not be erased.
    fn draw(&self, above: &str) {
        print(&format!("{ERASE}{above}\x1b[?7l{}\x1b[?7h", self.line));
    }
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    // When nobody can see it any more, the signal that says so is on its way.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
