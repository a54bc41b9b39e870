//! Talking to QEMU while it runs a VM.

use super::Vm;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// A connection to QEMU, which obeys commands in JSON.
pub struct Qmp {
    answers: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub fn connect(socket: &Path, vm: &mut Vm) -> Option<Self> {
        while vm.runs() {
            if let Ok(stream) = UnixStream::connect(socket) {
                let mut qmp = Self {
                    answers: BufReader::new(stream),
                };
                qmp.answers.read_line(&mut String::new()).ok()?;
                return qmp.execute("qmp_capabilities").then_some(qmp);
            }
            sleep(Duration::from_millis(20));
        }
        None
    }

    /// Whether QEMU did it.
    pub fn execute(&mut self, command: &str) -> bool {
        self.ask(&format!("{{\"execute\":\"{command}\"}}"))
            .is_some()
    }

    /// What QEMU says to a command that people type.
    pub fn monitor(&mut self, command: &str) -> Option<String> {
        self.ask(&format!(
            "{{\"execute\":\"human-monitor-command\",\"arguments\":{{\"command-line\":\"{command}\"}}}}"
        ))
    }

    /// The line with the answer. Events that QEMU tells in between do not matter.
    fn ask(&mut self, request: &str) -> Option<String> {
        writeln!(self.answers.get_mut(), "{request}").ok()?;
        let mut line = String::new();
        while self.answers.read_line(&mut line).is_ok_and(|len| len > 0) {
            if line.contains("\"return\"") {
                return Some(line);
            }
            if line.contains("\"error\"") {
                return None;
            }
            line.clear();
        }
        None
    }
}
