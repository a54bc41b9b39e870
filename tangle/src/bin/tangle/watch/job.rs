//! Commands that run while the book is watched, each with all that it starts.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use super::Event;

/// A command on its way. When it ends, an [`Event::Ended`] tells.
pub struct Job {
    /// Its process, and the process group of all that it starts.
    id: u32,
}

/// How a command ended.
pub struct End {
    /// The job, as [`Job::id`] says.
    pub id: u32,
    pub success: bool,
    /// How, in words.
    pub status: String,
    /// What it printed, if that went nowhere else.
    pub output: String,
}

impl Job {
    /// Starts `command`. Unless its output is `shown` as it comes, the event brings it along.
    pub fn start(mut command: Command, shown: bool, events: Sender<Event>) -> io::Result<Self> {
        // The keys of the terminal are for this program, and so are its signals.
        command.stdin(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut pipe = None;
        if !shown {
            let (reader, writer) = io::pipe()?;
            command.stderr(writer.try_clone()?).stdout(writer);
            pipe = Some(reader);
        }
        let child = command.spawn()?;
        let id = child.id();
        // It holds the other end of the pipe.
        drop(command);
        thread::spawn(move || {
            let end = wait(child, pipe);
            // Nobody waits for it any more once this program ends.
            let _ = events.send(Event::Ended(end));
        });
        Ok(Self { id })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Asks it and all that it started to end; `by_force` does not ask.
    pub fn end(&self, by_force: bool) {
        #[cfg(unix)]
        {
            use nix::sys::signal::{Signal, killpg};
            use nix::unistd::Pid;
            let signal = if by_force { Signal::SIGKILL } else { Signal::SIGTERM };
            if let Ok(group) = i32::try_from(self.id) {
                // If it is gone already, so much the better.
                let _ = killpg(Pid::from_raw(group), signal);
            }
        }
        #[cfg(not(unix))]
        let _ = by_force;
    }
}

/// Waits until the command has ended and all that it printed is there.
fn wait(mut child: Child, pipe: Option<io::PipeReader>) -> End {
    let mut output = Vec::new();
    if let Some(mut pipe) = pipe {
        // What could be read so far is all that there is to show.
        let _ = pipe.read_to_end(&mut output);
    }
    let status = child.wait();
    End {
        id: child.id(),
        success: status.as_ref().is_ok_and(ExitStatus::success),
        status: match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        output: String::from_utf8_lossy(&output).into_owned(),
    }
}
