//! What the editor asks, and who knows the answer.

use std::rc::Rc;

use lsp_server::{ErrorCode, Request, RequestId, ResponseError};
use lsp_types::request::{self as ask, Request as _};
use lsp_types::{
    CodeActionKind, CodeActionParams, CompletionItem, CompletionParams, CompletionResponse, DocumentLinkParams,
    DocumentSymbolParams, ExecuteCommandParams, InitializeParams, Position, ReferenceParams, RenameParams,
    TextDocumentPositionParams, Uri, WorkspaceSymbol, WorkspaceSymbolParams,
};
use serde_json::{Value, json};

use super::super::capabilities::capabilities;
use super::super::client::value;
use super::super::cursor::{self, Target};
use super::super::documents::real;
use super::super::downstream::{APPLY, Question};
use super::super::encoding::Encoding;
use super::super::features::{actions, complete, hover, navigate, outline, rename};
use super::super::snapshot::Snapshot;
use super::super::uri;
use super::book::Book;
use super::{Phase, Session, parse};

/// What is to be said about a request.
enum Reply {
    /// The answer.
    Now(Value),
    /// The analyzer will give it.
    Later,
    /// There is none, for this reason.
    Refused(ErrorCode, String),
}

impl Session {
    /// Answers a request, or sees to it that somebody will.
    pub(super) fn request(&mut self, request: Request) {
        let Request { id, method, params } = request;
        let reply = match (self.phase, method.as_str()) {
            (Phase::Stranger, ask::Initialize::METHOD) => self.initialize(params),
            (Phase::Stranger, _) => {
                let message = "the first request is `initialize`".to_owned();
                Reply::Refused(ErrorCode::ServerNotInitialized, message)
            }
            (Phase::Farewell, _) => {
                let message = "nothing is answered after `shutdown`".to_owned();
                Reply::Refused(ErrorCode::InvalidRequest, message)
            }
            (Phase::Open, ask::Shutdown::METHOD) => {
                self.stop_analyzers();
                self.phase = Phase::Farewell;
                Reply::Now(Value::Null)
            }
            (Phase::Open, _) => {
                self.refresh();
                self.question(&id, &method, params)
            }
        };
        match reply {
            Reply::Now(result) => self.desk.client.respond(id, Ok(result)),
            Reply::Later => {}
            Reply::Refused(code, message) => {
                let (code, data) = (code as i32, None);
                self.desk.client.respond(id, Err(ResponseError { code, message, data }));
            }
        }
    }

    fn initialize(&mut self, params: Value) -> Reply {
        let Some(params) = parse::<InitializeParams>(params) else {
            return Reply::Refused(ErrorCode::InvalidParams, "these are no parameters".to_owned());
        };
        let offered = params.capabilities.general.as_ref();
        let offered = offered.and_then(|general| general.position_encodings.as_deref());
        self.desk.encoding = Encoding::choose(offered.unwrap_or_default());
        #[expect(deprecated, reason = "older editors say nothing else")]
        let root = params.root_uri.clone();
        let folder = params.workspace_folders.iter().flatten().next();
        let folder = folder.map(|folder| folder.uri.clone()).or(root);
        let start = folder.and_then(|uri| uri::to_path(&uri));
        let start = start.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
        match &self.desk.options.book {
            Some(book) => self.root = Some(real(book)),
            None => self.find_book(&start),
        }
        self.desk.options.out = self
            .desk
            .options
            .out
            .as_deref()
            .map(|out| std::path::absolute(out).unwrap_or_else(|_| out.to_owned()));
        self.desk.editor = params;
        self.phase = Phase::Open;
        Reply::Now(json!({
            "capabilities": capabilities(self.desk.encoding),
            "serverInfo": { "name": "tangle", "version": env!("CARGO_PKG_VERSION") },
        }))
    }

    fn question(&mut self, id: &RequestId, method: &str, params: Value) -> Reply {
        let here = position(&params);
        let asked = self.books.get(self.asked(&params).unwrap_or_default());
        let Some(now) = asked.and_then(Book::now).cloned() else {
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
                Some(params) => {
                    let others = self.others(&now);
                    refusable(rename::rename(&now, target.as_ref(), &params.new_name, &others))
                }
                None => invalid(),
            },
            _ => self.about_chapter(&now, method, params),
        }
    }

    /// The number of the book that a question is about. Chapters that all of them have are those of the first.
    fn asked(&self, params: &Value) -> Option<usize> {
        let document: Uri = parse(params["textDocument"]["uri"].clone())?;
        let position: Option<Position> =
            parse(params["position"].clone()).or_else(|| parse(params["range"]["start"].clone()));
        // In one view of a lab is what the other has not.
        let shown = self.books.iter().position(|book| book.shows(&document, position));
        shown.or_else(|| self.books.iter().position(|book| book.has(&document)))
    }

    /// The other editions in which what is renamed in `now` has another name, too: of a lab the other view, of the book all labs.
    fn others(&self, now: &Rc<Snapshot>) -> Vec<Rc<Snapshot>> {
        let all = self.books.iter().filter_map(Book::now);
        let others = all.filter(|other| !Rc::ptr_eq(now, other));
        let lab = now.lab.map(|lab| now.uri(lab));
        let same = others.filter(|other| lab.is_none_or(|lab| other.chapter(lab).is_some()));
        same.cloned().collect()
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
                Some(params) => Reply::Now(value(self.symbols(&params.query))),
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
                let only = params.context.only.as_deref().unwrap_or_default();
                let wanted = only.is_empty() || only.contains(&CodeActionKind::QUICKFIX);
                let chapter = now.chapter(&params.text_document.uri).filter(|_| wanted);
                let actions =
                    chapter.map(|chapter| actions::actions(now, chapter, params.range, &params.context.diagnostics));
                Reply::Now(value(actions))
            }
            ask::ExecuteCommand::METHOD => match parse::<ExecuteCommandParams>(params) {
                Some(params) if params.command == APPLY => {
                    let edit = params.arguments.into_iter().next().unwrap_or_default();
                    self.desk
                        .client
                        .ask::<ask::ApplyWorkspaceEdit>("apply", json!({ "edit": edit }));
                    Reply::Now(Value::Null)
                }
                _ => invalid(),
            },
            other => Reply::Refused(ErrorCode::MethodNotFound, format!("tangle does not know {other}")),
        }
    }

    /// The fragments and files of all books, each once.
    fn symbols(&self, query: &str) -> Vec<WorkspaceSymbol> {
        let mut symbols: Vec<WorkspaceSymbol> = Vec::new();
        for now in self.books.iter().filter_map(Book::now) {
            for symbol in outline::symbols(now, query) {
                if !symbols.contains(&symbol) {
                    symbols.push(symbol);
                }
            }
        }
        symbols
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
        let item = parse::<CompletionItem>(params.clone());
        if item.is_some_and(|item| self.analyzers().any(|downstream| downstream.resolve(id, &item))) {
            Reply::Later
        } else {
            // It says all that is known already.
            Reply::Now(params)
        }
    }

    /// Passes a question about Rust code on.
    fn forward(&mut self, id: &RequestId, question: Question, method: &str, mut params: Value) -> Reply {
        let book = self.asked(&params).map(|number| &mut self.books[number]);
        let forwarded = book.and_then(|book| {
            let translator = book.translator()?;
            let (document, position) = position(&params)?;
            let chapter = translator.mapping.now().chapter(&document)?;
            let (uri, position) = translator.forward(chapter, position)?;
            let path = translator.generated(&uri)?;
            params["textDocument"]["uri"] = value(uri);
            params["position"] = value(position);
            let downstream = book.downstream.as_mut()?;
            downstream
                .ask(id.clone(), question, (method, params), translator, (chapter, path))
                .then_some(())
        });
        match forwarded {
            Some(()) => Reply::Later,
            None => Reply::Now(Value::Null),
        }
    }
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
