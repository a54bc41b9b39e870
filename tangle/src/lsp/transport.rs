//! Messages on their way in and out: a thread for each direction, and channels.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use lsp_server::Message;

/// Something for the session to deal with.
#[derive(Debug)]
pub enum Event {
    /// The editor says something.
    Client(Message),
    /// The editor is gone.
    ClientGone,
    /// The analyzer of this generation says something.
    Analyzer(u32, Message),
    /// The analyzer of this generation ended.
    AnalyzerGone(u32),
}

/// Turns everything that arrives at `input` into events, the last of which is `gone`.
pub fn read<R: BufRead + Send + 'static>(
    mut input: R,
    events: Sender<Event>,
    wrap: impl Fn(Message) -> Event + Send + 'static,
    gone: Event,
) {
    thread::spawn(move || {
        // What cannot be read as a message ends the conversation, as the end of the input does.
        while let Ok(Some(message)) = Message::read(&mut input) {
            if events.send(wrap(message)).is_err() {
                return;
            }
        }
        // Without a session there is nobody to tell.
        let _ = events.send(gone);
    });
}

/// Writes every message that is sent to the channel to `output`, until the channel or the output is closed.
pub fn write<W: Write + Send + 'static>(mut output: W) -> (Sender<Message>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel::<Message>();
    let thread = thread::spawn(move || {
        for message in receiver {
            if message.write(&mut output).is_err() {
                return;
            }
        }
    });
    (sender, thread)
}
