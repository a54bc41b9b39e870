//! What somebody sees who watches: one line that says how things are, and above it what is wrong, once.

use std::io::{self, IsTerminal, Stdout, Write};

/// Where the status line is. On a terminal it stays in its place; elsewhere each new one is a line.
pub struct Screen<W = Stdout> {
    out: W,
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
    /// Standard output.
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self::on(io::stdout(), terminal)
    }
}

impl<W: Write> Screen<W> {
    fn on(out: W, terminal: bool) -> Self {
        Self {
            out,
            terminal,
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
            self.print(&format!("{}\n", self.line));
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
            self.print(&format!("{text}{end}"));
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
            self.print("\n");
        }
        self.line.clear();
    }

    /// Draws the line below `above`. It is cut at the edge of the terminal, since a second one could not be erased.
    fn draw(&mut self, above: &str) {
        self.print(&format!("{ERASE}{above}\x1b[?7l{}\x1b[?7h", self.line));
    }

    fn print(&mut self, text: &str) {
        // When nobody can see it any more, the signal that says so is on its way.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed by `session`, the escape sequences in words.
    fn shown(terminal: bool, session: impl FnOnce(&mut Screen<Vec<u8>>)) -> String {
        let mut screen = Screen::on(Vec::new(), terminal);
        session(&mut screen);
        let shown = String::from_utf8(screen.out).unwrap();
        let shown = shown.replace(ERASE, "<erase>").replace(CLEAR, "<clear>");
        shown.replace("\x1b[?7l", "").replace("\x1b[?7h", "")
    }

    fn mistake_and_mend(screen: &mut Screen<Vec<u8>>) {
        screen.status("a");
        screen.status("a");
        screen.problem("wrong");
        screen.problem("wrong");
        screen.status("b");
        screen.mended();
        screen.mended();
        screen.status("c");
    }

    #[test]
    fn on_a_terminal_one_line_stays_in_its_place_and_what_is_mended_is_gone() {
        assert_eq!(
            shown(true, mistake_and_mend),
            "<erase>a<erase>wrong\na<erase>b<erase><clear>b<erase>c"
        );
    }

    #[test]
    fn elsewhere_everything_is_said_once_in_lines() {
        assert_eq!(shown(false, mistake_and_mend), "a\nwrong\nb\nc\n");
    }

    #[test]
    fn another_problem_takes_the_place_of_the_first() {
        let shown = shown(true, |screen| {
            screen.problem("one\n");
            screen.problem("two\n");
        });
        assert_eq!(shown, "<erase>one\n<erase><clear>two\n");
    }

    #[test]
    fn a_command_that_prints_begins_in_a_line_of_its_own() {
        let shown = shown(true, |screen| {
            screen.status("a");
            screen.leave();
            screen.status("a");
        });
        assert_eq!(shown, "<erase>a\n<erase>a");
    }
}
