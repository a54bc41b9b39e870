//! An editor without a screen.

use std::collections::HashMap;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use lsp_server::{Message, Notification, Request, Response, ResponseError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::copy;

/// Long enough for a slow machine with much else to do: whoever waits so long waits in vain.
const PATIENCE: Duration = Duration::from_secs(180);

/// An editor with a copy of the golden book and a running server.
pub struct Editor {
    pub book: TempDir,
    pub capabilities: Value,
    /// Everything that the server wanted the person at the editor to read.
    pub shown: Vec<String>,
    /// The edits that the server asked for.
    pub applied: Vec<Value>,
    /// The analyzer has found the package and loaded it, and has nothing to do.
    pub quiescent: bool,
    server: Child,
    input: Option<ChildStdin>,
    output: Receiver<Message>,
    requests: i32,
    responses: HashMap<i32, Result<Value, ResponseError>>,
    texts: HashMap<String, (i32, String)>,
    diagnostics: HashMap<String, Vec<Value>>,
}

/// Starts a server that knows nothing of Rust.
pub fn editor() -> Editor {
    Editor::start(copy("editor"), &["--no-analyzer"], &json!({}))
}

/// A position.
pub fn at(line: u32, character: u32) -> Value {
    json!({ "line": line, "character": character })
}

/// A range inside of one line.
pub fn range(line: u32, from: u32, to: u32) -> Value {
    json!({ "start": at(line, from), "end": at(line, to) })
}

impl Editor {
    /// Starts `tangle lsp` for `book`, and has it and the editor introduce themselves.
    pub fn start(book: TempDir, args: &[&str], initialize: &Value) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_tangle"))
            .arg("lsp")
            .args(args)
            .current_dir(book.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(Some(message)) = Message::read(&mut stdout) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut editor = Self {
            book,
            capabilities: Value::Null,
            shown: Vec::new(),
            applied: Vec::new(),
            quiescent: false,
            input: server.stdin.take(),
            server,
            output,
            requests: 0,
            responses: HashMap::new(),
            texts: HashMap::new(),
            diagnostics: HashMap::new(),
        };
        let mut params = json!({
            "processId": std::process::id(),
            "rootUri": editor.uri(""),
            "capabilities": {},
        });
        for (key, given) in initialize.as_object().unwrap() {
            params[key] = given.clone();
        }
        editor.capabilities = editor.request("initialize", params)["capabilities"].clone();
        editor.notify("initialized", json!({}));
        editor
    }

    // --- Files ---

    pub fn path(&self, path: &str) -> PathBuf {
        fs::canonicalize(self.book.path()).unwrap().join(path)
    }

    pub fn uri(&self, path: &str) -> String {
        format!("file://{}", self.path(path).display())
            .trim_end_matches('/')
            .to_owned()
    }

    pub fn document(&self, path: &str) -> Value {
        json!({ "uri": self.uri(path) })
    }

    /// The place where `needle` begins in an open text, in UTF-16.
    pub fn find(&self, path: &str, needle: &str) -> Value {
        let text = &self.texts[path].1;
        let offset = text.find(needle).unwrap();
        let line = text[..offset].matches('\n').count();
        let column = text[..offset].rsplit('\n').next().unwrap().encode_utf16().count();
        json!({ "line": line, "character": column })
    }

    pub fn open(&mut self, path: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        self.open_with(path, text);
    }

    /// Opens a file that would hold this text.
    pub fn open_with(&mut self, path: &str, text: String) {
        let document = json!({ "uri": self.uri(path), "languageId": "markdown", "version": 1, "text": text });
        self.texts.insert(path.to_owned(), (1, text));
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
    }

    pub fn close(&mut self, path: &str) {
        self.texts.remove(path);
        self.notify("textDocument/didClose", json!({ "textDocument": self.document(path) }));
    }

    /// Replaces the first `old` of an open text, as typing would.
    pub fn edit(&mut self, path: &str, old: &str, new: &str) {
        let mut change = json!({ "range": { "start": self.find(path, old) }, "text": new });
        let (version, text) = self.texts.get_mut(path).unwrap();
        let offset = text.find(old).unwrap();
        let end = offset + old.len();
        let line = text[..end].matches('\n').count();
        let column = text[..end].rsplit('\n').next().unwrap().encode_utf16().count();
        change["range"]["end"] = json!({ "line": line, "character": column });
        text.replace_range(offset..end, new);
        *version += 1;
        let version = *version;
        let document = json!({ "uri": self.uri(path), "version": version });
        let params = json!({ "textDocument": document, "contentChanges": [change] });
        self.notify("textDocument/didChange", params);
    }

    /// Writes an open text to its file.
    pub fn save(&mut self, path: &str) {
        fs::write(self.path(path), &self.texts[path].1).unwrap();
        let params = json!({ "textDocument": self.document(path) });
        self.notify("textDocument/didSave", params);
    }

    /// Applies edits of one text, all of which count from the same state.
    pub fn apply(&self, path: &str, edits: &Value) -> String {
        let mut text = fs::read_to_string(self.path(path)).unwrap();
        let offset = |text: &str, position: &Value| {
            let line = usize::try_from(position["line"].as_u64().unwrap()).unwrap();
            let column = usize::try_from(position["character"].as_u64().unwrap()).unwrap();
            let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
            let units = text[start..].encode_utf16().take(column).collect::<Vec<_>>();
            start + String::from_utf16(&units).unwrap().len()
        };
        let mut edits = edits.as_array().unwrap().clone();
        edits.sort_by_key(|edit| offset(&text, &edit["range"]["start"]));
        for edit in edits.iter().rev() {
            let bytes = offset(&text, &edit["range"]["start"])..offset(&text, &edit["range"]["end"]);
            text.replace_range(bytes, edit["newText"].as_str().unwrap());
        }
        text
    }

    // --- Messages ---

    fn send(&mut self, message: &Message) {
        message.write(self.input.as_mut().unwrap()).unwrap();
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(&Notification::new(method.to_owned(), params).into());
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, params: Value) -> Result<Value, ResponseError> {
        self.requests += 1;
        let id = self.requests;
        self.send(&Request::new(id.into(), method.to_owned(), params).into());
        self.wait(method, |editor| editor.responses.contains_key(&id));
        self.responses.remove(&id).unwrap()
    }

    /// Asks, and waits for an answer that is no error.
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).unwrap()
    }

    /// Asks about a position of a text.
    pub fn about(&mut self, method: &str, path: &str, position: &Value) -> Value {
        let params = json!({ "textDocument": self.document(path), "position": position });
        self.request(method, params)
    }

    /// Listens until something is so.
    pub fn wait(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(message) => self.receive(message),
                Err(error) => panic!("{error} while waiting for {what}; shown so far: {:?}", self.shown),
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Response(response) => {
                let id = serde_json::to_value(&response.id).unwrap().as_i64().unwrap();
                self.responses.insert(id.try_into().unwrap(), response.response_result);
            }
            Message::Request(request) => {
                if request.method == "workspace/applyEdit" {
                    self.applied.push(request.params["edit"].clone());
                }
                self.send(&Response::new_ok(request.id, Value::Null).into());
            }
            Message::Notification(Notification { method, params }) => match method.as_str() {
                "textDocument/publishDiagnostics" => {
                    let uri = params["uri"].as_str().unwrap().to_owned();
                    let diagnostics = params["diagnostics"].as_array().unwrap().clone();
                    self.diagnostics.insert(uri, diagnostics);
                }
                "window/showMessage" => self.shown.push(params["message"].as_str().unwrap().to_owned()),
                "experimental/serverStatus" => self.quiescent = params["quiescent"] == true && params["health"] == "ok",
                _ => {}
            },
        }
    }

    /// The diagnostics that the editor shows in a text now.
    pub fn diagnostics(&self, path: &str) -> &[Value] {
        self.diagnostics.get(&self.uri(path)).map_or(&[], Vec::as_slice)
    }

    /// Waits until a text has diagnostics with these codes and no others.
    pub fn wait_for_codes(&mut self, path: &str, codes: &[&str]) {
        self.wait(&format!("{codes:?} in {path}"), |editor| {
            let shown = editor.diagnostics(path).iter();
            shown
                .map(|diagnostic| diagnostic["code"].as_str().unwrap_or_default())
                .eq(codes.iter().copied())
        });
    }

    /// Says goodbye as the protocol wants it, and returns how the server ended.
    pub fn quit(mut self) -> ExitStatus {
        self.request("shutdown", Value::Null);
        self.notify("exit", Value::Null);
        self.server.wait().unwrap()
    }

    /// Goes away without a word.
    pub fn vanish(mut self) -> ExitStatus {
        self.input = None;
        self.server.wait().unwrap()
    }

    /// The processes that the server started and that still run.
    #[cfg(target_os = "linux")]
    pub fn children(&self) -> Vec<u32> {
        let of = |task: &Path| fs::read_to_string(task.join("children")).unwrap_or_default();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.server.id())).unwrap();
        let children: Vec<String> = tasks.map(|task| of(&task.unwrap().path())).collect();
        let children = children.join(" ");
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // Both fail only when the server has ended, as it should have.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
