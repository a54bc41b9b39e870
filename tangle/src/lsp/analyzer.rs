//! The analyzer's process.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use lsp_server::Message;

use super::transport::{self, Event};

/// How long the last line of a process that ended may take to arrive.
const LAST_LINE: Duration = Duration::from_secs(1);

/// A running analyzer. It ends when this is dropped.
#[derive(Debug)]
pub struct Analyzer {
    child: Child,
    sender: Sender<Message>,
    last_line: Receiver<String>,
}

impl Analyzer {
    /// Starts `program` in `directory`. What it says becomes events of this `generation`.
    pub fn start(program: &str, directory: &Path, generation: u32, events: Sender<Event>) -> io::Result<Self> {
        let mut child = Command::new(program)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three were asked for");
        };
        transport::read(
            BufReader::new(stdout),
            events,
            move |message| Event::Analyzer(generation, message),
            Event::AnalyzerGone(generation),
        );
        let (sender, _) = transport::write(stdin);
        Ok(Self {
            child,
            sender,
            last_line: echo(stderr),
        })
    }

    /// Says something. If the process is gone, the session learns of it by an event.
    pub fn send(&self, message: impl Into<Message>) {
        let _ = self.sender.send(message.into());
    }

    /// Waits for a process that closed its output, and returns how it ended and what it complained of last.
    pub fn end(mut self) -> (Option<ExitStatus>, Option<String>) {
        // It has nothing more to say; if it does not end by itself, it has nothing more to do either.
        drop(std::mem::replace(&mut self.sender, mpsc::channel().0));
        let last_line = self.last_line.recv_timeout(LAST_LINE).ok();
        let status = self.child.try_wait().ok().flatten();
        (status, last_line.filter(|line| !line.is_empty()))
    }
}

impl Drop for Analyzer {
    fn drop(&mut self) {
        // Both fail only if there is no process any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies complaints into the log of this server, and keeps the last one for whoever asks at the end.
fn echo(stderr: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut last = String::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("analyzer: {line}");
            if !line.trim().is_empty() {
                last = line;
            }
        }
        let _ = sender.send(last);
    });
    receiver
}
