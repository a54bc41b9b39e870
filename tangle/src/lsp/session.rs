//! One editor, one book.

mod publish;
mod questions;

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use lsp_server::{Message, Notification};
use lsp_types::notification::{self as note, Notification as _};
use lsp_types::request as ask;
use lsp_types::{
    Diagnostic, DidChangeConfigurationParams, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, InitializeParams, MessageType,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Client;
use super::documents::{Documents, real};
use super::downstream::{Downstream, Heard};
use super::encoding::Encoding;
use super::mapping::Mapping;
use super::snapshot::Snapshot;
use super::translate::Translator;
use super::transport::{self, Event};
use super::{save, settings, uri};
use crate::disk::Project;

/// How long the analyzer may take to end when it was asked to.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where `book.toml` lies; the editor's directory, or one above it, if nothing is said.
    pub book: Option<PathBuf>,
    /// Where the generated files go, if `book.toml` shall not say it.
    pub out: Option<PathBuf>,
    /// The program that knows Rust, if there shall be one.
    pub analyzer: Option<String>,
}

/// Serves the editor at standard input and output until it says goodbye or is gone. Returns whether it said it properly.
#[must_use]
pub fn run(options: Options) -> bool {
    let (sender, events) = mpsc::channel();
    transport::read(
        BufReader::new(io::stdin()),
        sender.clone(),
        Event::Client,
        Event::ClientGone,
    );
    let (messages, writer) = transport::write(io::stdout());
    let mut session = Session::new(options, Client::new(messages), sender, events);
    let proper = session.run();
    session.stop_analyzer();
    // With the session the last sender goes, and then the writer has written everything.
    drop(session);
    let _ = writer.join();
    proper
}

/// Everything about the book.
struct Book {
    root: PathBuf,
    /// As the editor shows it.
    now: Rc<Snapshot>,
    /// Connects it with the last state that had files.
    mapping: Mapping,
    /// That state.
    sound: Rc<Snapshot>,
}

struct Session {
    options: Options,
    client: Client,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// Events that arrived while others were waited for.
    backlog: VecDeque<Event>,
    editor: InitializeParams,
    encoding: Encoding,
    documents: Documents,
    root: Option<PathBuf>,
    book: Option<Book>,
    downstream: Option<Downstream>,
    /// The texts changed since `book` was made.
    stale: bool,
    /// Diagnostics changed since they were published.
    unpublished: bool,
    published: HashMap<String, Vec<Diagnostic>>,
    /// The last trouble that was shown; the same is not shown twice.
    trouble: String,
    phase: Phase,
}

/// How far the conversation with the editor got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has not introduced itself.
    Stranger,
    /// It may ask.
    Open,
    /// It has said goodbye.
    Farewell,
}

impl Session {
    fn new(options: Options, client: Client, sender: Sender<Event>, events: Receiver<Event>) -> Self {
        Self {
            options,
            client,
            sender,
            events,
            backlog: VecDeque::new(),
            editor: InitializeParams::default(),
            encoding: Encoding::default(),
            documents: Documents::default(),
            root: None,
            book: None,
            downstream: None,
            stale: false,
            unpublished: false,
            published: HashMap::new(),
            trouble: String::new(),
            phase: Phase::Stranger,
        }
    }

    fn run(&mut self) -> bool {
        loop {
            let Some(event) = self.next_event() else { return false };
            match event {
                Event::Client(Message::Request(request)) => self.request(request),
                Event::Client(Message::Response(response)) => {
                    if let Some(downstream) = &mut self.downstream {
                        downstream.answered(response);
                    }
                }
                Event::Client(Message::Notification(notification)) => {
                    if notification.method == note::Exit::METHOD {
                        return self.phase == Phase::Farewell;
                    }
                    self.note(notification);
                }
                Event::ClientGone => return false,
                Event::Analyzer(generation, message) => self.heard(generation, message),
                Event::AnalyzerGone(generation) => {
                    let downstream = self.downstream.as_mut();
                    if let Some(downstream) = downstream.filter(|downstream| downstream.is_current(generation)) {
                        downstream.gone();
                        self.unpublished = true;
                    }
                }
            }
        }
    }

    /// The next event. If nobody is waiting for anything, it is a good time to look at the book again.
    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.backlog.pop_front().or_else(|| self.events.try_recv().ok()) {
            return Some(event);
        }
        self.refresh();
        self.publish();
        self.events.recv().ok()
    }

    // --- The book ---

    /// Looks for the book from `path` upwards.
    fn find_book(&mut self, path: &Path) {
        if let Some(root) = Project::find_root(&real(path)) {
            self.root = Some(root);
        }
    }

    /// Begins with the book, once it is found.
    fn begin(&mut self) {
        // The analyzer looks for its packages on disk, so they are there before it is.
        self.tangle();
        self.stale = true;
        self.refresh();
    }

    /// Looks at the book again if anything changed.
    fn refresh(&mut self) {
        let Some(root) = self.root.as_ref().filter(|_| self.stale) else {
            return;
        };
        self.stale = false;
        let out = self.options.out.as_deref();
        match Snapshot::take(root, out, self.encoding, &self.documents) {
            Ok(now) => {
                let now = Rc::new(now);
                let sound = match &self.book {
                    Some(book) if now.outputs.is_none() => book.sound.clone(),
                    _ => now.clone(),
                };
                self.book = Some(Book {
                    root: root.clone(),
                    mapping: Mapping::new(now.clone(), sound.clone()),
                    now,
                    sound,
                });
                self.trouble.clear();
                self.show_files();
                self.unpublished = true;
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Says what is wrong, once.
    fn complain(&mut self, trouble: String) {
        if self.trouble != trouble {
            self.client.show(MessageType::ERROR, trouble.clone());
            self.trouble = trouble;
        }
    }

    /// Writes the generated files as the saved chapters have them: cargo and the analyzer look there.
    fn tangle(&mut self) {
        let Some(root) = &self.root else { return };
        match save::tangle(root, self.options.out.as_deref()) {
            Ok(written) => {
                if let Some(downstream) = &mut self.downstream {
                    downstream.saved(&written);
                }
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Shows the analyzer what the files are now.
    fn show_files(&mut self) {
        let Some(book) = &self.book else { return };
        if self.downstream.is_none() {
            let Some(program) = &self.options.analyzer else { return };
            self.downstream = Some(Downstream::new(
                program,
                (book.root.clone(), book.now.out.clone()),
                self.editor.clone(),
                analyzer_settings(self.editor.initialization_options.as_ref()),
                self.encoding,
                self.client.clone(),
                self.sender.clone(),
            ));
        }
        let Some(downstream) = &mut self.downstream else { return };
        downstream.start_if_needed(&book.sound);
        let sources = &book.sound.book.sources;
        let documents = &self.documents;
        downstream.show(&book.sound, |chapter| {
            documents.get(&book.root.join(sources[chapter].path())).is_some()
        });
    }

    fn translator(&self) -> Option<Translator> {
        let book = self.book.as_ref()?;
        Some(Translator {
            mapping: book.mapping.clone(),
            analyzer: self.downstream.as_ref()?.encoding(),
            out: book.sound.out.clone(),
        })
    }

    // --- The analyzer ---

    fn heard(&mut self, generation: u32, message: Message) {
        let downstream = self.downstream.as_mut();
        let Some(downstream) = downstream.filter(|downstream| downstream.is_current(generation)) else {
            return;
        };
        match downstream.receive(message) {
            Heard::Fine => {}
            Heard::Ready => self.show_files(),
            Heard::Diagnostics => self.unpublished = true,
        }
    }

    /// Ends the analyzer and waits until it has.
    fn stop_analyzer(&mut self) {
        let Some(generation) = self.downstream.as_mut().and_then(Downstream::stop) else {
            return;
        };
        let deadline = Instant::now() + FAREWELL;
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            match event {
                Event::AnalyzerGone(gone) if gone == generation => break,
                Event::Analyzer(..) | Event::AnalyzerGone(_) => {}
                event => self.backlog.push_back(event),
            }
        }
        // With this the process goes, if it has not.
        self.downstream = None;
    }

    // --- What the editor says ---

    fn note(&mut self, notification: Notification) {
        let Notification { method, params } = notification;
        match method.as_str() {
            note::Initialized::METHOD => {
                self.watch();
                self.begin();
            }
            note::DidOpenTextDocument::METHOD => {
                let Some(params) = parse::<DidOpenTextDocumentParams>(params) else {
                    return;
                };
                let document = params.text_document;
                let path = uri::to_path(&document.uri);
                self.documents.open(document.uri, document.version, document.text);
                self.stale = true;
                if let (None, Some(path)) = (&self.root, path) {
                    self.find_book(&path);
                    self.begin();
                }
            }
            note::DidChangeTextDocument::METHOD => {
                let Some(params) = parse::<DidChangeTextDocumentParams>(params) else {
                    return;
                };
                let document = params.text_document;
                self.documents
                    .change(&document.uri, document.version, params.content_changes, self.encoding);
                self.stale = true;
            }
            note::DidCloseTextDocument::METHOD => {
                let Some(params) = parse::<DidCloseTextDocumentParams>(params) else {
                    return;
                };
                self.documents.close(&params.text_document.uri);
                self.stale = true;
            }
            note::DidSaveTextDocument::METHOD => {
                // The analyzer has to see the text before it hears that it was saved.
                self.stale = true;
                self.refresh();
                self.tangle();
            }
            note::DidChangeWatchedFiles::METHOD => self.stale = true,
            note::DidChangeConfiguration::METHOD => {
                let settings = parse::<DidChangeConfigurationParams>(params).map(|params| params.settings);
                if let (Some(downstream), Some(settings)) = (&mut self.downstream, settings)
                    && settings.get(settings::SECTION).is_some()
                {
                    downstream.configure(analyzer_settings(Some(&settings)));
                }
            }
            note::Cancel::METHOD => {
                let id = serde_json::from_value(params["id"].clone());
                if let (Some(downstream), Ok(id)) = (&self.downstream, id) {
                    downstream.cancel(&id);
                }
            }
            _ => {}
        }
    }

    /// Asks to be told of chapters that change behind the editor's back.
    fn watch(&self) {
        let workspace = self.editor.capabilities.workspace.as_ref();
        let watched = workspace.and_then(|workspace| workspace.did_change_watched_files.as_ref());
        if watched.and_then(|watched| watched.dynamic_registration) == Some(true) {
            let watchers = [
                json!({ "globPattern": "**/*.md" }),
                json!({ "globPattern": "**/book.toml" }),
            ];
            let registration = json!({
                "id": "chapters",
                "method": note::DidChangeWatchedFiles::METHOD,
                "registerOptions": { "watchers": watchers },
            });
            self.client
                .ask::<ask::RegisterCapability>("watch", json!({ "registrations": [registration] }));
        }
    }
}

/// The settings of the analyzer among those of the editor.
fn analyzer_settings(settings: Option<&Value>) -> Value {
    settings.map_or(Value::Null, |settings| settings[settings::SECTION].clone())
}

fn parse<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}
