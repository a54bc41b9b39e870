//! Runs a command and rewrites what it prints while it prints it.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::locate::Locator;
use super::symbols::Objects;
use super::text::Rewriter;

/// How long an unfinished line may wait for its end: a prompt must show, a word must not be torn.
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

/// Runs `command` with the standard input of this process, and shows its two outputs on those of this process.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run(settings: &Settings, command: &[OsString]) -> io::Result<ExitStatus> {
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
    let mut rewriter = Rewriter::new(&mut locator, &mut objects);
    let mut pending: Vec<u8> = Vec::new();
    loop {
        let mut shown = Vec::new();
        let lines = pending.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in pending
            .drain(..lines)
            .collect::<Vec<u8>>()
            .split_inclusive(|&byte| byte == b'\n')
        {
            rewrite(&mut rewriter, line, &mut shown);
        }
        output.write_all(&shown)?;
        output.flush()?;
        // The beginning of JSON waits for the rest of it, however long that takes.
        let impatient = rewriter.is_waiting() || !(pending.is_empty() || pending.starts_with(b"{"));
        let more = if impatient {
            receiver.recv_timeout(PATIENCE)
        } else {
            receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let reason = match more {
            Ok(chunk) => {
                pending.extend(chunk);
                continue;
            }
            Err(reason) => reason,
        };
        let mut rest = String::new();
        rewriter.flush(&mut rest);
        output.write_all(rest.as_bytes())?;
        let done = reason == RecvTimeoutError::Disconnected;
        if done || !pending.starts_with(b"{") {
            let mut shown = Vec::new();
            rewrite(&mut rewriter, &std::mem::take(&mut pending), &mut shown);
            output.write_all(&shown)?;
        }
        output.flush()?;
        if done {
            return Ok(());
        }
    }
}

/// Rewrites a line, or a part of one at the end of what there is. What is no text stays as it is.
fn rewrite(rewriter: &mut Rewriter, line: &[u8], out: &mut Vec<u8>) {
    let mut shown = String::new();
    match (std::str::from_utf8(line), line.ends_with(b"\n")) {
        (Ok(line), true) if line.starts_with('{') => rewriter.json(line, &mut shown),
        (Ok(line), true) => rewriter.line(&line[..line.len() - 1], &mut shown),
        (Ok(line), false) => rewriter.part(line, &mut shown),
        (Err(_), _) => {
            rewriter.flush(&mut shown);
            out.extend(shown.as_bytes());
            out.extend(line);
            return;
        }
    }
    out.extend(shown.as_bytes());
}
