//! The editor, as the server speaks to it.

use std::sync::mpsc::Sender;

use lsp_server::{Message, Notification, Request, RequestId, Response, ResponseError};
use lsp_types::notification::{Notification as Known, ShowMessage};
use lsp_types::{MessageType, ShowMessageParams};
use serde::Serialize;
use serde_json::Value;

/// The way to the editor. When it is gone nobody listens, and the session learns of it elsewhere.
#[derive(Debug, Clone)]
pub struct Client(Sender<Message>);

impl Client {
    /// Speaks through this channel.
    pub fn new(sender: Sender<Message>) -> Self {
        Self(sender)
    }

    /// Sends anything.
    pub fn send(&self, message: impl Into<Message>) {
        let _ = self.0.send(message.into());
    }

    /// Answers a request.
    pub fn respond(&self, id: RequestId, response_result: Result<Value, ResponseError>) {
        self.send(Response { id, response_result });
    }

    /// Says something that wants no answer.
    pub fn notify<N: Known>(&self, params: impl Serialize) {
        self.send(Notification::new(N::METHOD.to_owned(), params));
    }

    /// Asks something.
    pub fn ask<R: lsp_types::request::Request>(&self, id: &str, params: impl Serialize) {
        self.send(Request::new(id.to_owned().into(), R::METHOD.to_owned(), params));
    }

    /// Says something to the person at the editor.
    pub fn show(&self, typ: MessageType, message: String) {
        self.notify::<ShowMessage>(ShowMessageParams { typ, message });
    }
}

/// A result as it travels.
///
/// # Panics
/// Never: what the protocol knows always serializes.
pub fn value(result: impl Serialize) -> Value {
    serde_json::to_value(result).expect("what the protocol knows always serializes")
}
