//! Runs a command and rewrites what it prints while it prints it.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::locate::Locator;
use super::symbols::Objects;
use super::text::Rewriter;

/// How long the beginning of a line may wait for its end: a prompt must show, a location must not be torn.
const PATIENCE: Duration = Duration::from_millis(25);

type Input = Box<dyn Read + Send>;
type Output = Box<dyn Write + Send>;

/// What is needed to rewrite.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `book.toml` lies.
    pub root: PathBuf,
    /// The output directory.
    pub out: PathBuf,
    /// Objects with debug information, and directories with kernel modules.
    pub objects: Vec<PathBuf>,
}

/// Rewrites standard input, until it ends.
///
/// # Errors
/// When standard output takes nothing more.
pub fn filter(settings: &Settings) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || pump(Box::new(io::stdin()), &sender));
    show(settings, &receiver, Box::new(io::stdout()))
}

/// Runs `command` with the standard input of this process, and shows its two outputs on those of this process. `started` is
/// called before any thread of this process begins.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run(settings: &Settings, command: &[OsString], started: impl FnOnce(&Child)) -> io::Result<ExitStatus> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command"))?;
    let mut child = Command::new(program);
    child.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        // The command sees pipes, but its output ends on a terminal.
        for (name, value) in [("CARGO_TERM_COLOR", "always"), ("CLICOLOR_FORCE", "1")] {
            if std::env::var_os(name).is_none() {
                child.env(name, value);
            }
        }
    }
    let mut child = child.spawn()?;
    started(&child);
    let mut writers = Vec::new();
    let mut connect = |input: Input, output: Output| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || pump(input, &sender));
        let settings = settings.clone();
        writers.push(thread::spawn(move || show(&settings, &receiver, output)));
    };
    if let Some(pipe) = child.stdout.take() {
        connect(Box::new(pipe), Box::new(io::stdout()));
    }
    if let Some(pipe) = child.stderr.take() {
        connect(Box::new(pipe), Box::new(io::stderr()));
    }
    let status = child.wait()?;
    for writer in writers {
        // It ends when the pipe does. If its own reader went away there is nobody left to tell.
        let _ = writer.join();
    }
    Ok(status)
}

/// Reads until the end of the pipe, or until nobody listens.
fn pump(mut input: Input, sender: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Rewrites what comes and writes it, each line as soon as it is whole.
fn show(settings: &Settings, receiver: &Receiver<Vec<u8>>, mut output: Output) -> io::Result<()> {
    let mut locator = Locator::new(&settings.root, &settings.out);
    let mut objects = Objects::new(settings.objects.clone());
    let mut lines = Lines::new(Rewriter::new(&mut locator, &mut objects));
    let mut ended = false;
    while !ended {
        let more = if lines.is_waiting() {
            receiver.recv_timeout(PATIENCE)
        } else {
            receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let shown = match more {
            Ok(chunk) => lines.take(&chunk),
            Err(reason) => {
                ended = reason == RecvTimeoutError::Disconnected;
                lines.give_up(ended)
            }
        };
        output.write_all(&shown)?;
        output.flush()?;
    }
    Ok(())
}

/// Makes lines of what comes in pieces.
struct Lines<'a> {
    rewriter: Rewriter<'a>,
    /// The line whose end has not come yet.
    pending: Vec<u8>,
    /// Somebody has seen the beginning of that line already: all that follows is shown as it comes. So it is where somebody
    /// types, and every key has to show at once.
    open: bool,
}

impl<'a> Lines<'a> {
    fn new(rewriter: Rewriter<'a>) -> Self {
        Self {
            rewriter,
            pending: Vec::new(),
            open: false,
        }
    }

    /// Whether something has come that may not be held back for ever.
    fn is_waiting(&self) -> bool {
        self.rewriter.is_waiting() || !(self.pending.is_empty() || self.is_json())
    }

    /// The beginning of JSON waits for the rest of it, however long that takes.
    fn is_json(&self) -> bool {
        self.pending.starts_with(b"{\"")
    }

    /// Takes the next piece, and returns what can be shown.
    fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            self.pending.extend(piece);
            if self.open || piece.ends_with(b"\n") {
                self.rewrite(&mut shown);
            }
        }
        shown
    }

    /// Returns all that was held back. The beginning of JSON stays, unless nothing comes any more.
    fn give_up(&mut self, ended: bool) -> Vec<u8> {
        let mut rest = String::new();
        self.rewriter.flush(&mut rest);
        let mut shown = rest.into_bytes();
        if ended || !self.is_json() {
            self.rewrite(&mut shown);
        }
        shown
    }

    /// Rewrites the line, or as much of it as there is. What is no text stays as it is.
    fn rewrite(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.pending);
        let whole = line.ends_with(b"\n");
        let mut shown = String::new();
        let text = std::str::from_utf8(&line);
        match text {
            Ok(text) if self.open || !whole => self.rewriter.part(text, &mut shown),
            Ok(text) if text.starts_with('{') => self.rewriter.json(text, &mut shown),
            Ok(text) => self.rewriter.line(&text[..text.len() - 1], &mut shown),
            Err(_) => self.rewriter.flush(&mut shown),
        }
        out.extend(shown.as_bytes());
        if text.is_err() {
            out.extend(&line);
        }
        self.open = !whole && (self.open || !line.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of each piece, `None` being a while in which nothing comes.
    fn shown(pieces: &[Option<&str>]) -> Vec<String> {
        let nowhere = tempfile::tempdir().unwrap();
        let mut locator = Locator::new(nowhere.path(), nowhere.path());
        let mut objects = Objects::default();
        let mut lines = Lines::new(Rewriter::new(&mut locator, &mut objects));
        pieces
            .iter()
            .map(|piece| match piece {
                Some(piece) => lines.take(piece.as_bytes()),
                None if lines.is_waiting() => lines.give_up(false),
                None => Vec::new(),
            })
            .map(|shown| String::from_utf8(shown).unwrap())
            .collect()
    }

    #[test]
    fn a_line_waits_for_its_end_but_not_for_ever() {
        assert_eq!(shown(&[Some("a"), Some("b\nc"), None]), ["", "ab\n", "c"]);
    }

    #[test]
    fn what_somebody_types_behind_a_prompt_shows_at_once() {
        assert_eq!(
            shown(&[Some("> "), None, Some("l"), Some("s"), Some("\r\nx"), None]),
            ["", "> ", "l", "s", "\r\n", "x"]
        );
    }

    #[test]
    fn the_beginning_of_json_waits_and_a_brace_does_not() {
        assert_eq!(shown(&[Some("{\"a\":"), None, Some("1}\n")]), ["", "", "{\"a\":1}\n"]);
        assert_eq!(shown(&[Some("{"), None]), ["", "{"]);
    }

    #[test]
    fn a_snippet_waits_for_its_lines() {
        assert_eq!(
            shown(&[Some(" --> a:1:1\n"), Some("  |\n"), None]),
            ["", "", " --> a:1:1\n  |\n"]
        );
    }
}
