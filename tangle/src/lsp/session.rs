//! One editor, one book.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, ResponseError};
use lsp_types::notification::{self as note, Notification as _};
use lsp_types::request::{self as ask, Request as _};
use lsp_types::{
    CodeActionKind, CodeActionOptions, CodeActionParams, CodeActionProviderCapability, CompletionItem,
    CompletionOptions, CompletionParams, CompletionResponse, Diagnostic, DidChangeConfigurationParams,
    DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams, DocumentLinkParams,
    DocumentSymbolParams, ExecuteCommandOptions, ExecuteCommandParams, InitializeParams, MessageType, OneOf, Position,
    PublishDiagnosticsParams, ReferenceParams, RenameOptions, RenameParams, ServerCapabilities, SignatureHelpOptions,
    TextDocumentPositionParams, TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions, Uri,
    WorkspaceSymbolParams,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{Client, value};
use super::cursor::{self, Target};
use super::diagnostics;
use super::documents::{Documents, real};
use super::downstream::{APPLY, Downstream, Heard, Question};
use super::encoding::Encoding;
use super::features::{actions, complete, hover, navigate, outline, rename};
use super::mapping::Mapping;
use super::save;
use super::settings;
use super::snapshot::Snapshot;
use super::translate::Translator;
use super::transport::{self, Event};
use super::uri;
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
    // With the session the last sender goes, and then the writer has written everything.
    drop(session);
    let _ = writer.join();
    proper
}

/// What is to be said about a request.
enum Reply {
    /// The answer.
    Now(Value),
    /// The analyzer will give it.
    Later,
    /// There is none, for this reason.
    Refused(ErrorCode, String),
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
    farewell: bool,
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
            farewell: false,
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
                        return self.farewell;
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
                if let Some(downstream) = &self.downstream {
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

    // --- Diagnostics ---

    /// Publishes the diagnostics of every file for which they changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let Some(book) = &self.book else { return };
        let mut all: BTreeMap<String, (Uri, Vec<Diagnostic>)> = BTreeMap::new();
        let mut add = |uri: &Uri, diagnostic: Diagnostic| {
            let (_, known) = all
                .entry(uri.as_str().to_owned())
                .or_insert_with(|| (uri.clone(), Vec::new()));
            // A fragment that is used in two files has its mistakes twice.
            if !known.contains(&diagnostic) {
                known.push(diagnostic);
            }
        };
        for (chapter, diagnostic) in diagnostics::own(&book.now) {
            add(book.now.uri(chapter), diagnostic);
        }
        if let (Some(downstream), Some(translator)) = (&self.downstream, self.translator()) {
            for (uri, reported) in downstream.reported() {
                let path = translator.generated(uri);
                for diagnostic in reported {
                    match &path {
                        None => add(uri, diagnostic.clone()),
                        Some(path) => {
                            if let Some((chapter, diagnostic)) = translator.diagnostic(path, diagnostic) {
                                add(book.now.uri(chapter), diagnostic);
                            }
                        }
                    }
                }
            }
        }
        let gone: Vec<_> = self
            .published
            .keys()
            .filter(|uri| !all.contains_key(*uri))
            .cloned()
            .collect();
        for uri in gone {
            self.published.remove(&uri);
            if let Ok(uri) = uri.parse() {
                self.send_diagnostics(&uri, Vec::new());
            }
        }
        for (key, (uri, diagnostics)) in all {
            if self.published.get(&key) != Some(&diagnostics) {
                self.published.insert(key, diagnostics.clone());
                self.send_diagnostics(&uri, diagnostics);
            }
        }
    }

    fn send_diagnostics(&self, uri: &Uri, diagnostics: Vec<Diagnostic>) {
        let document = uri::to_path(uri).and_then(|path| self.documents.get(&path));
        let version = document.map(|document| document.version);
        self.client
            .notify::<note::PublishDiagnostics>(PublishDiagnosticsParams::new(uri.clone(), diagnostics, version));
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

    /// Passes a question about Rust code on.
    fn forward(&mut self, id: &RequestId, question: Question, method: &str, mut params: Value) -> Reply {
        let forwarded = self.translator().and_then(|translator| {
            let (document, position) = position(&params)?;
            let chapter = translator.mapping.now().chapter(&document)?;
            let (uri, position) = translator.forward(chapter, position)?;
            let path = translator.generated(&uri)?;
            params["textDocument"]["uri"] = value(uri);
            params["position"] = value(position);
            let downstream = self.downstream.as_mut()?;
            downstream
                .ask(id.clone(), question, (method, params), translator, (chapter, path))
                .then_some(())
        });
        match forwarded {
            Some(()) => Reply::Later,
            None => Reply::Now(Value::Null),
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

    fn request(&mut self, request: Request) {
        let Request { id, method, params } = request;
        let reply = match method.as_str() {
            ask::Initialize::METHOD => self.initialize(params),
            ask::Shutdown::METHOD => {
                self.stop_analyzer();
                self.farewell = true;
                Reply::Now(Value::Null)
            }
            _ => {
                self.refresh();
                self.question(&id, &method, params)
            }
        };
        match reply {
            Reply::Now(result) => self.client.respond(id, Ok(result)),
            Reply::Later => {}
            Reply::Refused(code, message) => {
                let (code, data) = (code as i32, None);
                self.client.respond(id, Err(ResponseError { code, message, data }));
            }
        }
    }

    fn initialize(&mut self, params: Value) -> Reply {
        let Some(params) = parse::<InitializeParams>(params) else {
            return Reply::Refused(ErrorCode::InvalidParams, "these are no parameters".to_owned());
        };
        let offered = params.capabilities.general.as_ref();
        let offered = offered.and_then(|general| general.position_encodings.as_deref());
        self.encoding = Encoding::choose(offered.unwrap_or_default());
        #[expect(deprecated, reason = "older editors say nothing else")]
        let root = params.root_uri.clone();
        let folder = params.workspace_folders.iter().flatten().next();
        let folder = folder.map(|folder| folder.uri.clone()).or(root);
        let start = folder.and_then(|uri| uri::to_path(&uri));
        let start = start.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
        match &self.options.book {
            Some(book) => self.root = Some(real(book)),
            None => self.find_book(&start),
        }
        self.options.out = self
            .options
            .out
            .as_deref()
            .map(|out| std::path::absolute(out).unwrap_or_else(|_| out.to_owned()));
        self.editor = params;
        Reply::Now(json!({
            "capabilities": capabilities(self.encoding),
            "serverInfo": { "name": "tangle", "version": env!("CARGO_PKG_VERSION") },
        }))
    }

    fn question(&mut self, id: &RequestId, method: &str, params: Value) -> Reply {
        let here = position(&params);
        let Some(now) = self.book.as_ref().map(|book| book.now.clone()) else {
            return Reply::Now(Value::Null);
        };
        let place = here.and_then(|(document, position)| {
            let chapter = now.chapter(&document)?;
            Some((chapter, now.offset(chapter, position)))
        });
        let target = place.and_then(|(chapter, offset)| cursor::target(&now, chapter, offset));
        match method {
            ask::Completion::METHOD => self.completion(id, &now, place, params),
            ask::ResolveCompletionItem::METHOD => self.resolve(id, params),
            ask::HoverRequest::METHOD => self.about(id, method, params, target.as_ref(), Question::Hover, |target| {
                hover::hover(&now, target).map(value)
            }),
            ask::GotoDefinition::METHOD | ask::GotoDeclaration::METHOD => {
                self.about(id, method, params, target.as_ref(), Question::Definitions, |target| {
                    navigate::definition(&now, target).map(value)
                })
            }
            ask::GotoTypeDefinition::METHOD | ask::GotoImplementation::METHOD => {
                self.about(id, method, params, target.as_ref(), Question::Definitions, |_| None)
            }
            ask::References::METHOD => {
                let declaration =
                    parse::<ReferenceParams>(params.clone()).is_none_or(|params| params.context.include_declaration);
                self.about(id, method, params, target.as_ref(), Question::References, |target| {
                    navigate::references(&now, target, declaration).map(value)
                })
            }
            ask::DocumentHighlightRequest::METHOD => {
                self.about(id, method, params, target.as_ref(), Question::Highlights, |target| {
                    navigate::highlight(&now, target, place?.0).map(value)
                })
            }
            ask::SignatureHelpRequest::METHOD => {
                self.about(id, method, params, target.as_ref(), Question::Plain, |_| None)
            }
            ask::PrepareRenameRequest::METHOD => refusable(rename::prepare(&now, target.as_ref())),
            ask::Rename::METHOD => match parse::<RenameParams>(params) {
                Some(params) => refusable(rename::rename(&now, target.as_ref(), &params.new_name)),
                None => invalid(),
            },
            _ => self.about_chapter(&now, method, params),
        }
    }

    /// Answers about a fragment, or passes a question about code on.
    fn about(
        &mut self,
        id: &RequestId,
        method: &str,
        params: Value,
        target: Option<&Target>,
        question: Question,
        own: impl FnOnce(&Target) -> Option<Value>,
    ) -> Reply {
        match target {
            None => Reply::Now(Value::Null),
            Some(Target::Code) => self.forward(id, question, method, params),
            Some(target) => Reply::Now(own(target).unwrap_or_default()),
        }
    }

    fn about_chapter(&self, now: &Snapshot, method: &str, params: Value) -> Reply {
        match method {
            ask::DocumentSymbolRequest::METHOD => {
                let Some(params) = parse::<DocumentSymbolParams>(params) else {
                    return invalid();
                };
                let chapter = now.chapter(&params.text_document.uri);
                Reply::Now(value(chapter.map(|chapter| outline::outline(now, chapter))))
            }
            ask::WorkspaceSymbolRequest::METHOD => match parse::<WorkspaceSymbolParams>(params) {
                Some(params) => Reply::Now(value(outline::symbols(now, &params.query))),
                None => invalid(),
            },
            ask::DocumentLinkRequest::METHOD => {
                let Some(params) = parse::<DocumentLinkParams>(params) else {
                    return invalid();
                };
                let chapter = now.chapter(&params.text_document.uri);
                Reply::Now(value(chapter.map(|chapter| navigate::links(now, chapter))))
            }
            ask::CodeActionRequest::METHOD => {
                let Some(params) = parse::<CodeActionParams>(params) else {
                    return invalid();
                };
                let chapter = now.chapter(&params.text_document.uri);
                let actions =
                    chapter.map(|chapter| actions::actions(now, chapter, params.range, &params.context.diagnostics));
                Reply::Now(value(actions))
            }
            ask::ExecuteCommand::METHOD => match parse::<ExecuteCommandParams>(params) {
                Some(params) if params.command == APPLY => {
                    let edit = params.arguments.into_iter().next().unwrap_or_default();
                    self.client
                        .ask::<ask::ApplyWorkspaceEdit>("apply", json!({ "edit": edit }));
                    Reply::Now(Value::Null)
                }
                _ => invalid(),
            },
            other => Reply::Refused(ErrorCode::MethodNotFound, format!("tangle does not know {other}")),
        }
    }

    fn completion(&mut self, id: &RequestId, now: &Snapshot, place: Option<(usize, usize)>, params: Value) -> Reply {
        let Some((chapter, offset)) = place else {
            return Reply::Now(Value::Null);
        };
        if let Some(items) = complete::complete(now, chapter, offset) {
            return Reply::Now(value(CompletionResponse::Array(items)));
        }
        let context = parse::<CompletionParams>(params.clone()).and_then(|params| params.context);
        // The analyzer has no use for the one character that is ours.
        if context.is_some_and(|context| context.trigger_character.as_deref() == Some("<")) {
            return Reply::Now(Value::Null);
        }
        self.forward(id, Question::Completion, ask::Completion::METHOD, params)
    }

    fn resolve(&mut self, id: &RequestId, params: Value) -> Reply {
        let asked = self.downstream.as_mut().zip(parse::<CompletionItem>(params.clone()));
        if asked.is_some_and(|(downstream, item)| downstream.resolve(id.clone(), &item)) {
            Reply::Later
        } else {
            // It says all that is known already.
            Reply::Now(params)
        }
    }
}

/// The settings of the analyzer among those of the editor.
fn analyzer_settings(settings: Option<&Value>) -> Value {
    settings.map_or(Value::Null, |settings| settings[settings::SECTION].clone())
}

/// The document and the position that most questions are about.
fn position(params: &Value) -> Option<(Uri, Position)> {
    let params: TextDocumentPositionParams = parse(params.clone())?;
    Some((params.text_document.uri, params.position))
}

fn refusable<T: serde::Serialize>(result: Result<T, rename::Refused>) -> Reply {
    match result {
        Ok(result) => Reply::Now(value(result)),
        Err(why) => Reply::Refused(ErrorCode::RequestFailed, why.to_string()),
    }
}

fn invalid() -> Reply {
    Reply::Refused(
        ErrorCode::InvalidParams,
        "these are not the parameters of the request".to_owned(),
    )
}

fn parse<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// What this server can do.
fn capabilities(encoding: Encoding) -> ServerCapabilities {
    let strings = |list: &[&str]| Some(list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(true.into()),
            ..TextDocumentSyncOptions::default()
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: strings(&["<", ".", ":", "'", "("]),
            resolve_provider: Some(true),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: strings(&["(", ",", "<"]),
            ..SignatureHelpOptions::default()
        }),
        hover_provider: Some(true.into()),
        definition_provider: Some(OneOf::Left(true)),
        declaration_provider: Some(lsp_types::DeclarationCapability::Simple(true)),
        type_definition_provider: Some(true.into()),
        implementation_provider: Some(true.into()),
        references_provider: Some(OneOf::Left(true)),
        document_highlight_provider: Some(OneOf::Left(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        workspace_symbol_provider: Some(OneOf::Left(true)),
        document_link_provider: Some(lsp_types::DocumentLinkOptions {
            resolve_provider: Some(false),
            work_done_progress_options: lsp_types::WorkDoneProgressOptions::default(),
        }),
        code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
            code_action_kinds: Some(vec![CodeActionKind::QUICKFIX]),
            ..CodeActionOptions::default()
        })),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: lsp_types::WorkDoneProgressOptions::default(),
        })),
        execute_command_provider: Some(ExecuteCommandOptions {
            commands: vec![APPLY.to_owned()],
            ..ExecuteCommandOptions::default()
        }),
        ..ServerCapabilities::default()
    }
}
