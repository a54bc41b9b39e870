//! `tangle wrap`.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Child;

use clap::Args;
use tangle::disk::Error;
use tangle::wrap;

use crate::shared::Place;

/// Run a command, and show the chapter line instead of every location in a generated file
///
/// It knows what compilers, linkers, make, cargo, clippy, gdb and kernels print; JSON of cargo and rustc too. Behind
/// `symbol+offset`, as in a kernel's oops, it adds the chapter line, with the help of the objects' debug information.
/// Standard input and colours pass through, and the exit status is that of the command. Without a command it rewrites
/// its standard input.
///
///     tangle wrap -- cargo build
///     dmesg | tangle wrap --objects build/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// A program with debug information, or a directory with kernel modules or objects (may be repeated) [default: the output
    /// directory]
    #[arg(long, value_name = "PATH")]
    objects: Vec<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(options: &Options) -> Result<u8, Error> {
    let root = options.place.root();
    let inputs = options.place.inputs()?;
    let out = options.place.out(inputs.out()).to_owned();
    let mut objects = options.objects.clone();
    objects.push(out.clone());
    let settings = wrap::Settings { root, out, objects };
    if options.command.is_empty() {
        leave_interrupts();
        return match wrap::filter(&settings) {
            // Whoever reads it has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            Err(error) => Err(Error::Io("write", PathBuf::from("standard output"), error)),
            Ok(()) => Ok(0),
        };
    }
    let status = wrap::run(&settings, &options.command, leave_signals)
        .map_err(|error| Error::Io("run", PathBuf::from(&options.command[0]), error))?;
    Ok(exit_code(status))
}

/// Ends with what it reads, not with ^C: whoever writes that has last words, and a debugger does not end.
fn leave_interrupts() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        // Without this it works too, only the last words may be lost.
        let _ = SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT]).thread_block();
    }
}

/// From now on signals are for the command: ^C reaches it from the terminal, as it does us, and the others are handed on. It
/// must have been started, since what is blocked stays blocked in whatever a process starts.
fn leave_signals(command: &Child) {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal, kill};
        use nix::unistd::Pid;
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP]);
        let Ok(command) = i32::try_from(command.id()) else {
            return;
        };
        if signals.thread_block().is_err() {
            return; // A signal ends this process: only last words are lost.
        }
        std::thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                if !matches!(signal, Signal::SIGINT | Signal::SIGQUIT) {
                    // If it has ended meanwhile, so much the better.
                    let _ = kill(Pid::from_raw(command), signal);
                }
            }
        });
    }
    #[cfg(not(unix))]
    let _ = command;
}

#[cfg(unix)]
fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    // A command that a signal ended exits as shells say it.
    let code = status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(not(unix))]
fn exit_code(status: std::process::ExitStatus) -> u8 {
    u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)
}
