//! One editor, one book; and for each lab that the editor shows, the book once more with the lab behind it.

mod book;
mod publish;
mod questions;

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use lsp_server::{Message, Notification, Response};
use lsp_types::notification::{self as note, Notification as _};
use lsp_types::request as ask;
use lsp_types::{
    Diagnostic, DidChangeConfigurationParams, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DidSaveTextDocumentParams, InitializeParams, Uri,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::book::Book;
use super::client::Client;
use super::documents::{Documents, real};
use super::downstream::{Downstream, Heard};
use super::edition::Edition;
use super::encoding::Encoding;
use super::transport::{self, Event};
use super::{settings, uri};
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
    session.stop_analyzers();
    // With the session the last sender goes, and then the writer has written everything.
    drop(session);
    let _ = writer.join();
    proper
}

/// What every book needs of the editor.
struct Desk {
    options: Options,
    client: Client,
    sender: Sender<Event>,
    editor: InitializeParams,
    encoding: Encoding,
    documents: Documents,
}

struct Session {
    desk: Desk,
    events: Receiver<Event>,
    /// Events that arrived while others were waited for.
    backlog: VecDeque<Event>,
    root: Option<PathBuf>,
    /// The book, and behind it the same with each lab that the editor shows.
    books: Vec<Book>,
    /// Diagnostics changed since they were published.
    unpublished: bool,
    published: HashMap<String, Vec<Diagnostic>>,
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
            desk: Desk {
                options,
                client,
                sender,
                editor: InitializeParams::default(),
                encoding: Encoding::default(),
                documents: Documents::default(),
            },
            events,
            backlog: VecDeque::new(),
            root: None,
            books: Vec::new(),
            unpublished: false,
            published: HashMap::new(),
            phase: Phase::Stranger,
        }
    }

    fn run(&mut self) -> bool {
        loop {
            let Some(event) = self.next_event() else { return false };
            match event {
                Event::Client(Message::Request(request)) => self.request(request),
                Event::Client(Message::Response(response)) => self.answered(response),
                Event::Client(Message::Notification(notification)) => {
                    if notification.method == note::Exit::METHOD {
                        return self.phase == Phase::Farewell;
                    }
                    self.note(notification);
                }
                Event::ClientGone => return false,
                Event::Analyzer(generation, message) => self.heard(generation, message),
                Event::AnalyzerGone(generation) => {
                    let current = self.analyzers().filter(|analyzer| analyzer.is_current(generation));
                    current.for_each(Downstream::gone);
                    self.unpublished = true;
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

    // --- The books ---

    /// Looks for the book from `path` upwards.
    fn find_book(&mut self, path: &Path) {
        if let Some(root) = Project::find_root(&real(path)) {
            self.root = Some(root);
        }
    }

    /// Begins with the book, once it is found.
    fn begin(&mut self) {
        let Some(root) = &self.root else { return };
        let edition = Edition {
            out: self.desk.options.out.clone(),
            ..Edition::book(root)
        };
        self.books.push(Book::open(edition, &self.desk));
        self.unpublished = true;
        self.sort_labs();
    }

    /// Looks at the books again if anything changed.
    fn refresh(&mut self) {
        let mut changed = false;
        for book in &mut self.books {
            changed |= book.refresh(&self.desk);
        }
        if changed {
            self.unpublished = true;
            self.sort_labs();
        }
    }

    /// Opens a book for every lab that the editor shows, and closes those of the others.
    fn sort_labs(&mut self) {
        let Some(book) = self.books.first().and_then(Book::now).cloned() else {
            return;
        };
        let labs = book.labs(&self.desk.documents);
        let (books, closed) = std::mem::take(&mut self.books)
            .into_iter()
            .partition(|book| book.edition.lab.is_none() || labs.contains(&book.edition));
        self.books = books;
        for downstream in closed.into_iter().filter_map(|book| book.downstream) {
            downstream.dismiss();
        }
        for edition in labs {
            if self.books.iter().all(|book| book.edition != edition) {
                self.books.push(Book::open(edition, &self.desk));
            }
        }
        // The order of the editor's texts is none.
        self.books
            .sort_by(|one, other| one.edition.rank().cmp(&other.edition.rank()));
    }

    /// The text at `uri` is another one now.
    fn touch(&mut self, uri: Option<&Uri>) {
        for book in concerned(&mut self.books, uri) {
            book.stale = true;
        }
    }

    // --- The analyzers ---

    fn analyzers(&mut self) -> impl Iterator<Item = &mut Downstream> {
        self.books.iter_mut().filter_map(|book| book.downstream.as_mut())
    }

    fn heard(&mut self, generation: u32, message: Message) {
        let Self { books, desk, .. } = self;
        for book in books {
            let downstream = book.downstream.as_mut();
            if let Some(downstream) = downstream.filter(|downstream| downstream.is_current(generation)) {
                match downstream.receive(message) {
                    Heard::Fine => {}
                    Heard::Ready => book.show_files(desk),
                    Heard::Diagnostics => self.unpublished = true,
                }
                return;
            }
        }
    }

    /// The editor answered a question: of an analyzer, or of the session, which has no use for the answer.
    fn answered(&mut self, response: Response) {
        if let Some(downstream) = self.analyzers().find(|analyzer| analyzer.has_asked(&response.id)) {
            downstream.answered(response);
        }
    }

    /// Ends the analyzers and waits until they have.
    fn stop_analyzers(&mut self) {
        let mut running: Vec<u32> = self.analyzers().filter_map(Downstream::stop).collect();
        let deadline = Instant::now() + FAREWELL;
        while !running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::AnalyzerGone(gone)) => running.retain(|generation| *generation != gone),
                Ok(Event::Analyzer(..)) => {}
                Ok(event) => self.backlog.push_back(event),
                Err(_) => break,
            }
        }
        // With this the processes go, if they have not.
        for book in &mut self.books {
            book.downstream = None;
        }
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
                self.desk
                    .documents
                    .open(document.uri.clone(), document.version, document.text);
                self.touch(Some(&document.uri));
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
                let encoding = self.desk.encoding;
                self.desk
                    .documents
                    .change(&document.uri, document.version, params.content_changes, encoding);
                self.touch(Some(&document.uri));
            }
            note::DidCloseTextDocument::METHOD => {
                let Some(params) = parse::<DidCloseTextDocumentParams>(params) else {
                    return;
                };
                self.desk.documents.close(&params.text_document.uri);
                self.touch(None);
            }
            note::DidSaveTextDocument::METHOD => {
                let saved = parse::<DidSaveTextDocumentParams>(params).map(|params| params.text_document.uri);
                // The analyzer has to see the text before it hears that it was saved.
                self.touch(saved.as_ref());
                self.refresh();
                for book in concerned(&mut self.books, saved.as_ref()) {
                    book.save(&self.desk);
                }
            }
            note::DidChangeWatchedFiles::METHOD => self.touch(None),
            note::DidChangeConfiguration::METHOD => {
                let settings = parse::<DidChangeConfigurationParams>(params).map(|params| params.settings);
                if let Some(settings) = settings.filter(|settings| settings.get(settings::SECTION).is_some()) {
                    for downstream in self.analyzers() {
                        downstream.configure(analyzer_settings(Some(&settings)));
                    }
                }
            }
            note::Cancel::METHOD => {
                let id = serde_json::from_value(params["id"].clone());
                if let Ok(id) = id {
                    self.analyzers().for_each(|downstream| downstream.cancel(&id));
                }
            }
            _ => {}
        }
    }

    /// Asks to be told of chapters that change behind the editor's back.
    fn watch(&self) {
        let workspace = self.desk.editor.capabilities.workspace.as_ref();
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
            self.desk
                .client
                .ask::<ask::RegisterCapability>("watch", json!({ "registrations": [registration] }));
        }
    }
}

/// The books that change with the text at `uri`: those with that chapter, or all if it is none, as it may become one.
fn concerned<'a>(books: &'a mut [Book], uri: Option<&Uri>) -> impl Iterator<Item = &'a mut Book> {
    let known = uri.filter(|uri| books.iter().any(|book| book.has(uri))).cloned();
    books
        .iter_mut()
        .filter(move |book| known.as_ref().is_none_or(|uri| book.has(uri)))
}

/// The settings of the analyzer among those of the editor.
fn analyzer_settings(settings: Option<&Value>) -> Value {
    settings.map_or(Value::Null, |settings| settings[settings::SECTION].clone())
}

fn parse<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}
