//! The conversation with the analyzer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response, ResponseError};
use lsp_types::notification::{self as note, Notification as _};
use lsp_types::request::{self as ask, Request as _};
use lsp_types::{
    Command, CompletionItem, CompletionResponse, Diagnostic, InitializeParams, MessageType, PublishDiagnosticsParams,
    TextEdit, Uri, WorkspaceEdit,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::analyzer::Analyzer;
use super::client::{Client, value};
use super::encoding::Encoding;
use super::settings;
use super::snapshot::Snapshot;
use super::translate::{Edit, Translator, is_rust};
use super::transport::Event;
use super::uri;
use crate::map;

/// Numbers the processes, so that what each says finds the book that it is about.
static GENERATIONS: AtomicU32 = AtomicU32::new(0);
/// How often an analyzer that ended by itself is started again.
const RESTARTS: u32 = 3;
/// The command that applies an edit; what a completion has to do in other chapters is done by it.
pub const APPLY: &str = "tangle.apply";

/// What the session has to do after the analyzer said something.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Fine,
    /// Show it the files.
    Ready,
    /// Publish its diagnostics.
    Diagnostics,
}

/// What the editor asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A list of completions.
    Completion,
    /// More about one of them.
    Resolve,
    /// A text about what is under the cursor.
    Hover,
    /// Places, with or without what they define around them.
    Definitions,
    /// Places.
    References,
    /// The same name elsewhere in the chapter.
    Highlights,
    /// Something without places in it.
    Plain,
}

/// Where a question was asked.
#[derive(Debug, Clone)]
struct Context {
    /// The book as the analyzer saw it then.
    translator: Translator,
    /// The generated file.
    path: String,
    /// The chapter.
    chapter: usize,
}

#[derive(Debug)]
struct Pending {
    id: RequestId,
    question: Question,
    context: Context,
}

/// The last list of completions, as the analyzer gave it: it wants its own items back.
#[derive(Debug)]
struct Completions {
    list: u32,
    items: Vec<CompletionItem>,
    context: Context,
}

/// A file that the analyzer has from us and not from the disk.
#[derive(Debug)]
struct Shown {
    version: i32,
    fingerprint: String,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nobody needed it yet.
    Off,
    /// It was started and has not answered yet.
    Starting,
    /// It answers.
    Running,
    /// It cannot be had.
    Failed,
}

/// Where an analyzer works.
#[derive(Debug)]
pub struct Site {
    /// Where it is started, and with which toolchain.
    pub directory: PathBuf,
    /// What belongs together for it: the packages here, and those of the generated files.
    pub root: PathBuf,
    /// The generated files.
    pub out: PathBuf,
}

/// The analyzer and all that was said to it and by it.
#[derive(Debug)]
pub struct Downstream {
    program: String,
    site: Site,
    editor: InitializeParams,
    settings: Value,
    /// The settings changed while it was being started.
    outdated: bool,
    client: Client,
    events: Sender<Event>,
    encoding: Encoding,
    process: Option<Analyzer>,
    state: State,
    generation: u32,
    /// How often it was started.
    starts: u32,
    next_id: i32,
    pending: HashMap<i32, Pending>,
    /// Questions of the analyzer that the editor has not answered yet, by the name under which it got them.
    asked: HashMap<String, RequestId>,
    shown: BTreeMap<String, Shown>,
    /// The fingerprints of the other files, which it finds on disk just as they are.
    on_disk: HashMap<String, String>,
    reported: BTreeMap<String, (Uri, Vec<Diagnostic>)>,
    lists: u32,
    completions: Option<Completions>,
}

impl Downstream {
    /// An analyzer for the book whose files are on `site`; it is started when there is something to analyze.
    pub fn new(
        program: &str,
        site: Site,
        editor: InitializeParams,
        settings: Value,
        encoding: Encoding,
        client: Client,
        events: Sender<Event>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            site,
            editor,
            settings,
            outdated: false,
            client,
            events,
            encoding,
            process: None,
            state: State::Off,
            generation: 0,
            starts: 0,
            next_id: 0,
            pending: HashMap::new(),
            asked: HashMap::new(),
            shown: BTreeMap::new(),
            on_disk: HashMap::new(),
            reported: BTreeMap::new(),
            lists: 0,
            completions: None,
        }
    }

    /// How it counts columns.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether this event is about the process that runs now.
    pub fn is_current(&self, generation: u32) -> bool {
        self.generation == generation && self.process.is_some()
    }

    /// What it found in each file.
    pub fn reported(&self) -> impl Iterator<Item = &(Uri, Vec<Diagnostic>)> {
        self.reported.values()
    }

    // --- Beginning and end ---

    /// Starts it if the book has anything for it.
    pub fn start_if_needed(&mut self, book: &Snapshot) {
        let rust = book.outputs.iter().flatten().any(|(path, _)| is_rust(path));
        if self.state == State::Off && rust {
            self.start();
        }
    }

    fn start(&mut self) {
        self.starts += 1;
        self.generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
        match Analyzer::start(
            &self.program,
            &self.site.directory,
            self.generation,
            self.events.clone(),
        ) {
            Ok(process) => {
                self.process = Some(process);
                self.state = State::Starting;
                let settings = settings::complete(&self.settings, &self.site.root, &self.site.out);
                let params = settings::initialize(&self.editor, &self.site.root, self.encoding, &settings);
                // Its answer is the first, so the number is that of no question.
                self.send(Request::new(0.into(), ask::Initialize::METHOD.to_owned(), params));
            }
            Err(error) => {
                self.state = State::Failed;
                self.client.show(
                    MessageType::WARNING,
                    format!(
                        "`{}` could not be started ({error}): fragments work, Rust code goes without completion, hover \
                         and diagnostics. Install rust-analyzer, or name another one with --analyzer",
                        self.program
                    ),
                );
            }
        }
    }

    /// It ended by itself.
    pub fn gone(&mut self) {
        let Some(process) = self.process.take() else { return };
        let (status, last_line) = process.end();
        let was_running = self.state == State::Running;
        self.state = State::Off;
        self.shown.clear();
        self.on_disk.clear();
        self.reported.clear();
        self.completions = None;
        self.give_up();
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        let words = last_line.map_or_else(String::new, |line| format!(", saying \"{line}\""));
        let said = format!("`{}` ended{status}{words}", self.program);
        // One that never answered will not do better the next time.
        if was_running && self.starts <= RESTARTS {
            self.client
                .show(MessageType::WARNING, format!("{said}; it is started again"));
            self.start();
        } else {
            self.state = State::Failed;
            self.client.show(
                MessageType::ERROR,
                format!("{said}: fragments work, Rust code goes without it from now on"),
            );
        }
    }

    /// Answers what it will answer no more.
    fn give_up(&mut self) {
        for (_, pending) in self.pending.drain() {
            self.client.respond(pending.id, Ok(Value::Null));
        }
    }

    /// Nobody needs it any more.
    pub fn dismiss(mut self) {
        self.stop();
        self.give_up();
    }

    /// Asks it to end. Returns the generation whose end to wait for.
    pub fn stop(&mut self) -> Option<u32> {
        self.process.as_ref()?;
        self.request(ask::Shutdown::METHOD, Value::Null);
        self.notify(note::Exit::METHOD, Value::Null);
        Some(self.generation)
    }

    // --- What we say ---

    fn send(&self, message: impl Into<Message>) {
        if let Some(process) = &self.process {
            process.send(message);
        }
    }

    fn notify(&self, method: &str, params: Value) {
        self.send(Notification::new(method.to_owned(), params));
    }

    fn request(&mut self, method: &str, params: Value) -> i32 {
        self.next_id += 1;
        self.send(Request::new(self.next_id.into(), method.to_owned(), params));
        self.next_id
    }

    /// Shows it the Rust files that are not, or may soon not be, what is on disk: those with code from an open chapter,
    /// and those that somebody edited by hand or that could not be written.
    pub fn show(&mut self, book: &Snapshot, is_open: impl Fn(usize) -> bool) {
        let Some(outputs) = book.outputs.as_ref().filter(|_| self.state == State::Running) else {
            return;
        };
        for (path, output) in outputs.iter().filter(|(path, _)| is_rust(path)) {
            let fingerprint = map::fingerprint(output.source.text().as_bytes());
            let uri = uri::from_path(&self.site.out.join(path));
            let version = match self.shown.get(path) {
                Some(shown) if shown.fingerprint == fingerprint => continue,
                Some(shown) => {
                    let version = shown.version + 1;
                    let change = json!({
                        "textDocument": { "uri": uri, "version": version },
                        "contentChanges": [{ "text": output.source.text() }],
                    });
                    self.notify(note::DidChangeTextDocument::METHOD, change);
                    version
                }
                None => {
                    let mut pieces = output.pieces.iter().map(|(piece, _)| &book.model.pieces[*piece]);
                    if !pieces.any(|piece| is_open(piece.source)) && self.is_on_disk(path, &fingerprint) {
                        continue;
                    }
                    let text = output.source.text();
                    let document = json!({ "uri": uri, "languageId": "rust", "version": 1, "text": text });
                    self.notify(note::DidOpenTextDocument::METHOD, json!({ "textDocument": document }));
                    1
                }
            };
            self.shown.insert(path.clone(), Shown { version, fingerprint });
        }
        let lost: Vec<_> = self
            .shown
            .keys()
            .filter(|path| !outputs.contains_key(*path))
            .cloned()
            .collect();
        for path in lost {
            self.shown.remove(&path);
            let uri = uri::from_path(&self.site.out.join(&path));
            self.notify(
                note::DidCloseTextDocument::METHOD,
                json!({ "textDocument": { "uri": uri } }),
            );
        }
    }

    /// Whether the file that the analyzer would find has this fingerprint. The disk is asked once for each.
    fn is_on_disk(&mut self, path: &str, fingerprint: &str) -> bool {
        if self.on_disk.get(path).is_some_and(|known| known == fingerprint) {
            return true;
        }
        let is = fs::read(self.site.out.join(path)).is_ok_and(|bytes| map::fingerprint(&bytes) == fingerprint);
        if is {
            self.on_disk.insert(path.to_owned(), fingerprint.to_owned());
        }
        is
    }

    /// These files were written to disk.
    pub fn saved(&mut self, paths: &[String]) {
        if paths.iter().any(|path| settings::is_project(Path::new(path))) {
            // It asks for its settings then, and finds the package in them.
            self.configured();
        }
        for path in paths.iter().filter(|path| self.shown.contains_key(*path)) {
            let uri = uri::from_path(&self.site.out.join(path));
            self.notify(
                note::DidSaveTextDocument::METHOD,
                json!({ "textDocument": { "uri": uri } }),
            );
        }
    }

    /// The editor has other settings for it.
    pub fn configure(&mut self, settings: Value) {
        self.settings = settings;
        self.configured();
    }

    fn configured(&mut self) {
        if self.state == State::Running {
            self.notify(note::DidChangeConfiguration::METHOD, json!({ "settings": {} }));
        }
        // One that has not answered yet was started with older settings.
        self.outdated = self.state == State::Starting;
    }

    /// Passes a question of the editor on. `params` name the document and the position of the generated file already.
    /// `false` if there is nobody to ask.
    pub fn ask(
        &mut self,
        id: RequestId,
        question: Question,
        (method, params): (&str, Value),
        translator: Translator,
        (chapter, path): (usize, String),
    ) -> bool {
        if self.state != State::Running {
            return false;
        }
        let number = self.request(method, params);
        let context = Context {
            translator,
            path,
            chapter,
        };
        self.pending.insert(number, Pending { id, question, context });
        true
    }

    /// The editor wants to know more about a completion. `false` if it is none of ours.
    pub fn resolve(&mut self, id: &RequestId, item: &CompletionItem) -> bool {
        let Some((generation, list, index)) = item.data.as_ref().and_then(parse_completion) else {
            return false;
        };
        let known = self.completions.as_ref().filter(|known| known.list == list);
        let Some(known) = known.filter(|_| self.is_current(generation)) else {
            return false;
        };
        let Some(item) = known.items.get(index) else {
            return false;
        };
        let (params, context) = (value(item), known.context.clone());
        let number = self.request(ask::ResolveCompletionItem::METHOD, params);
        let (id, question) = (id.clone(), Question::Resolve);
        self.pending.insert(number, Pending { id, question, context });
        true
    }

    /// The editor does not want to know any more.
    pub fn cancel(&self, id: &RequestId) {
        if let Some((number, _)) = self.pending.iter().find(|(_, pending)| pending.id == *id) {
            self.notify(note::Cancel::METHOD, json!({ "id": number }));
        }
    }

    /// Whether it asked the editor a question of this name.
    pub fn has_asked(&self, id: &RequestId) -> bool {
        self.asked.contains_key(&name(id))
    }

    /// The editor answered a question of the analyzer.
    pub fn answered(&mut self, response: Response) {
        if let Some(id) = self.asked.remove(&name(&response.id)) {
            self.send(Response { id, ..response });
        }
    }

    // --- What it says ---

    /// Deals with a message of the analyzer.
    pub fn receive(&mut self, message: Message) -> Heard {
        match message {
            Message::Response(response) if self.state == State::Starting => self.introduced(response),
            Message::Response(response) => {
                self.answer(response);
                Heard::Fine
            }
            Message::Request(request) => {
                self.question(request);
                Heard::Fine
            }
            Message::Notification(notification) => self.note(notification),
        }
    }

    /// It answered the first request.
    fn introduced(&mut self, response: Response) -> Heard {
        match response.response_result {
            Ok(result) => {
                let encoding = &result["capabilities"]["positionEncoding"];
                self.encoding = if *encoding == value(Encoding::Utf8.kind()) {
                    Encoding::Utf8
                } else {
                    Encoding::Utf16
                };
                self.state = State::Running;
                self.notify(note::Initialized::METHOD, json!({}));
                if self.outdated {
                    self.configured();
                }
                Heard::Ready
            }
            Err(error) => {
                self.process = None;
                self.state = State::Failed;
                let said = format!("`{}` refuses to work: {}", self.program, error.message);
                self.client.show(MessageType::ERROR, said);
                Heard::Fine
            }
        }
    }

    fn note(&mut self, notification: Notification) -> Heard {
        match notification.method.as_str() {
            note::PublishDiagnostics::METHOD => {
                let Ok(params) = serde_json::from_value::<PublishDiagnosticsParams>(notification.params) else {
                    return Heard::Fine;
                };
                let key = params.uri.as_str().to_owned();
                if params.diagnostics.is_empty() {
                    self.reported.remove(&key);
                } else {
                    self.reported.insert(key, (params.uri, params.diagnostics));
                }
                Heard::Diagnostics
            }
            note::Progress::METHOD => {
                let mut notification = notification;
                self.rename_token(&mut notification.params);
                self.client.send(notification);
                Heard::Fine
            }
            note::ShowMessage::METHOD | note::LogMessage::METHOD | "experimental/serverStatus" => {
                self.client.send(notification);
                Heard::Fine
            }
            _ => Heard::Fine,
        }
    }

    /// It wants something from the editor.
    fn question(&mut self, request: Request) {
        let Request { id, method, mut params } = request;
        let result = match method.as_str() {
            ask::WorkspaceConfiguration::METHOD => Ok(self.configuration(&params)),
            ask::WorkDoneProgressCreate::METHOD | ask::ShowMessageRequest::METHOD => {
                let key = format!("analyzer {} {id}", self.generation);
                self.rename_token(&mut params);
                self.client.send(Request::new(key.clone().into(), method, params));
                self.asked.insert(key, id);
                return;
            }
            // Its files are not those of the editor.
            ask::ApplyWorkspaceEdit::METHOD => Ok(json!({ "applied": false })),
            ask::RegisterCapability::METHOD | ask::UnregisterCapability::METHOD => Ok(Value::Null),
            other if other.starts_with("workspace/") && other.ends_with("/refresh") => Ok(Value::Null),
            other => Err(ResponseError {
                code: ErrorCode::MethodNotFound as i32,
                message: format!("tangle does not know {other}"),
                data: None,
            }),
        };
        self.send(Response {
            id,
            response_result: result,
        });
    }

    /// All analyzers call what they are busy with by the same names, and the editor shall tell them apart.
    fn rename_token(&self, params: &mut Value) {
        if let Some(token) = params.get_mut("token") {
            *token = json!(format!("analyzer {} {token}", self.generation));
        }
    }

    /// Its settings, one for each section that it asks about.
    fn configuration(&self, params: &Value) -> Value {
        let settings = settings::complete(&self.settings, &self.site.root, &self.site.out);
        let items = params["items"].as_array().cloned().unwrap_or_default();
        let answer = |item: &Value| match item["section"].as_str() {
            Some(settings::SECTION) | None => settings.clone(),
            Some(section) => {
                let path = section.strip_prefix("rust-analyzer.").unwrap_or(section);
                settings
                    .pointer(&format!("/{}", path.replace('.', "/")))
                    .cloned()
                    .unwrap_or_default()
            }
        };
        Value::Array(items.iter().map(answer).collect())
    }

    /// It answered a question of the editor.
    fn answer(&mut self, response: Response) {
        let number = serde_json::from_value::<i32>(value(&response.id)).unwrap_or_default();
        let Some(pending) = self.pending.remove(&number) else {
            return;
        };
        let Pending { id, question, context } = pending;
        let result = response
            .response_result
            .map(|result| self.translate(question, context, result).unwrap_or_default());
        self.client.respond(id, result);
    }

    /// Says an answer in terms of the chapters. What makes no sense is no answer.
    fn translate(&mut self, question: Question, context: Context, result: Value) -> Option<Value> {
        if result.is_null() {
            return None;
        }
        let Context {
            translator,
            path,
            chapter,
        } = &context;
        Some(match question {
            Question::Plain => result,
            Question::Hover => value(translator.hover(path, parse(result)?)),
            Question::Definitions => value(translator.definitions(path, parse(result)?)),
            Question::References => value(translator.locations(&parse::<Vec<_>>(result)?)),
            Question::Highlights => value(translator.highlights(path, *chapter, parse(result)?)),
            Question::Resolve => {
                let item: CompletionItem = parse(result)?;
                value(completion(&context, item)?)
            }
            Question::Completion => value(self.completions(context, parse(result)?)),
        })
    }

    fn completions(&mut self, context: Context, response: CompletionResponse) -> CompletionResponse {
        self.lists = self.lists.wrapping_add(1);
        let (generation, list) = (self.generation, self.lists);
        let (is_incomplete, items) = match response {
            CompletionResponse::Array(items) => (false, items),
            CompletionResponse::List(list) => (list.is_incomplete, list.items),
        };
        let translate = |(index, item): (usize, &CompletionItem)| {
            let item = completion(&context, item.clone())?;
            Some(CompletionItem {
                data: Some(json!({ "analyzer": generation, "list": list, "item": index })),
                ..item
            })
        };
        let translated = items.iter().enumerate().filter_map(translate).collect();
        self.completions = Some(Completions { list, items, context });
        CompletionResponse::List(lsp_types::CompletionList {
            is_incomplete,
            items: translated,
        })
    }
}

/// A completion in terms of its chapter. Edits in other chapters become its command, as the protocol allows a
/// completion no others than in its own text.
fn completion(context: &Context, item: CompletionItem) -> Option<CompletionItem> {
    let translator = &context.translator;
    let (mut item, far) = translator.completion(&context.path, context.chapter, item)?;
    if !far.is_empty() {
        item.command = Some(Command {
            title: "Import".to_owned(),
            command: APPLY.to_owned(),
            arguments: Some(vec![value(workspace_edit(translator, far))]),
        });
    }
    Some(item)
}

fn workspace_edit(translator: &Translator, edits: Vec<Edit>) -> WorkspaceEdit {
    #[expect(
        clippy::mutable_key_type,
        reason = "this is the type that the protocol's crate has chosen"
    )]
    let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
    for edit in edits {
        let uri = translator.mapping.now().uri(edit.chapter).clone();
        changes.entry(uri).or_default().push(edit.edit);
    }
    WorkspaceEdit::new(changes)
}

/// The name under which the editor has a question.
fn name(id: &RequestId) -> String {
    serde_json::from_value(value(id)).unwrap_or_default()
}

/// Which completion of which list of which analyzer this is.
fn parse_completion(data: &Value) -> Option<(u32, u32, usize)> {
    let number = |key: &str| data[key].as_u64();
    let (generation, list) = (number("analyzer")?.try_into().ok()?, number("list")?.try_into().ok()?);
    Some((generation, list, number("item")?.try_into().ok()?))
}

fn parse<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}
