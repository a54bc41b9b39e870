//! What somebody at a terminal may press at any time: ^C while something is made, and the keys that end a VM.

mod common;

use common::copy::{Copy, text};
use common::{clean, make, top};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than what is waited for takes on any machine; what is not there by then does not come.
const LONG: Duration = Duration::from_secs(600);
/// "At once", for a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A command that has a terminal to itself.
struct Session {
    process: Child,
    keyboard: File,
    /// The other end, which the command has, too.
    terminal: File,
    modes: Termios,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// What nearly all that it starts has in its environment.
    mark: String,
}

/// How it ended.
struct End {
    status: Option<i32>,
    shown: String,
}

impl Session {
    fn start(name: &str, command: &mut Command) -> Self {
        let size = Winsize {
            ws_row: 25,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).expect("a terminal");
        let (keyboard, terminal) = (File::from(pair.master), File::from(pair.slave));
        let modes = tcgetattr(&terminal).expect("a terminal has modes");
        let mark = format!("LGUEST_TEST={name}-{}", std::process::id());
        let (variable, value) = mark.split_once('=').expect("it has one");
        // setsid makes it the terminal of a new session, whose first and leading process the command is.
        let mut leader = Command::new("setsid");
        leader
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            leader.current_dir(directory);
        }
        let end = || Stdio::from(terminal.try_clone().expect("another descriptor"));
        let process = leader
            .env(variable, value)
            .env("TERM", "dumb")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid can be run");
        let (sender, screen) = mpsc::channel();
        let mut reader = keyboard.try_clone().expect("another descriptor");
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            keyboard,
            terminal,
            modes,
            screen,
            shown: String::new(),
            mark,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Takes what is shown within a moment.
    fn look(&mut self) {
        match self.screen.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    /// Waits until something has happened; fails if the command ends without it.
    fn wait(&mut self, what: &str, happened: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !happened(self) {
            self.look();
            let ended = self.process.try_wait().expect("a child");
            assert!(
                ended.is_none() && begun.elapsed() < LONG,
                "waited for {what} in vain; {ended:?}, shown:\n{}",
                self.shown
            );
        }
    }

    /// Waits until a machine that has run is off, or until all is over already.
    fn wait_for_the_machines_end(&mut self) {
        let begun = Instant::now();
        let is_machine = |name: &String| name.starts_with("qemu");
        while self.process.try_wait().expect("a child").is_none()
            && self.programs().iter().any(is_machine)
        {
            self.look();
            assert!(begun.elapsed() < LONG, "no end, shown:\n{}", self.shown);
        }
    }

    fn wait_for_text(&mut self, text: &str) {
        self.wait(text, |session| session.shown.contains(text));
    }

    /// Waits for a program of this name, somewhere below the command.
    fn wait_for_program(&mut self, name: &str) {
        self.wait(name, |session| {
            session.programs().iter().any(|program| program == name)
        });
    }

    /// The names of the programs that the command has started and that still run, and its own.
    fn programs(&self) -> Vec<String> {
        self.processes().into_iter().map(|(_, name)| name).collect()
    }

    /// The same with their numbers.
    fn processes(&self) -> Vec<(String, String)> {
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let named = |process: PathBuf| {
            let name = fs::read_to_string(process.join("comm")).ok()?;
            let number = process.file_name()?.to_str()?.to_owned();
            Some((number, name.trim_end().to_owned()))
        };
        processes
            .flatten()
            .map(|entry| entry.path())
            .filter(|process| self.is_ours(process))
            .filter_map(named)
            .collect()
    }

    /// Ends the programs of this name as the kernel does when it is short of memory.
    fn kill(&self, name: &str) {
        let numbers = self
            .processes()
            .into_iter()
            .filter(|(_, program)| program == name);
        for (number, _) in numbers {
            let killed = Command::new("kill").args(["-9", &number]).status();
            assert!(killed.is_ok_and(|status| status.success()), "kill {number}");
        }
    }

    /// Whether a process is of this session, or left it with the mark in its environment.
    fn is_ours(&self, process: &Path) -> bool {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let marked = environment
            .split(|&byte| byte == 0)
            .any(|variable| variable == self.mark.as_bytes());
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        // What has ended and waits for somebody to be told is no program any more.
        let state = fields.next();
        let session = fields.nth(2);
        state != Some("Z") && (marked || session == Some(&self.process.id().to_string()))
    }

    /// Fails unless all of it ends now and leaves the terminal as it was.
    fn ends_at_once(mut self) -> End {
        let begun = Instant::now();
        let mut status = None;
        loop {
            self.look();
            if status.is_none() {
                status = self.process.try_wait().expect("a child");
            }
            let left = self.programs();
            if status.is_some() && left.is_empty() {
                break;
            }
            assert!(
                begun.elapsed() < AT_ONCE,
                "these still run: {left:?}; {status:?}, shown:\n{}",
                self.shown
            );
        }
        // What was written before the end may still be on its way.
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(500)) {
            self.shown += &String::from_utf8_lossy(&bytes);
        }
        let modes = tcgetattr(&self.terminal).expect("a terminal has modes");
        assert_eq!(modes, self.modes, "the terminal is not as it was");
        End {
            status: status.and_then(|status| status.code()),
            shown: self.shown.replace('\r', ""),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // After a failure; nothing else is left otherwise.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const INTERRUPT: &str = "\x03";
/// Hold all output back, and let it go.
const XOFF: &str = "\x13";
const XON: &str = "\x11";

/// `scripts/vm`, with all that it needs made.
fn vm(command: &[&str]) -> Command {
    if let Err(said) = make(&["payload"]) {
        panic!("make payload failed:\n{said}");
    }
    let host = common::host();
    let mut vm = clean(top().join("scripts/vm"));
    vm.args(["--name", "terminal", "--root"])
        .arg(top().join(format!("target/host-{host}")))
        .args(command);
    vm
}

#[test]
fn an_interrupt_ends_the_boot_of_a_vm() {
    let mut session = Session::start("boot", &mut vm(&["sh"]));
    session.wait_for_text("Booting the Host");
    session.wait_for_program("qemu-system-x86");
    session.press(INTERRUPT);
    let end = session.ends_at_once();
    assert_eq!(end.status, Some(130), "{}", end.shown);
    assert!(
        end.shown.contains("vm: ended by ^C before"),
        "{}",
        end.shown
    );
}

#[test]
fn an_interrupt_is_the_commands_as_soon_as_it_has_the_terminal() {
    let mut session = Session::start(
        "command",
        &mut vm(&[
            "sh",
            "-c",
            "echo it begins; sleep 1000; echo status $?; exit 4",
        ]),
    );
    session.wait_for_text("it begins");
    // The shell in there waits for `sleep`, which ends by it.
    session.press(INTERRUPT);
    session.wait_for_the_machines_end();
    let end = session.ends_at_once();
    assert_eq!(end.status, Some(130), "{}", end.shown);
    assert!(!end.shown.contains("ended by ^C before"), "{}", end.shown);
}

/// A terminal whose session has ended is hung up, and forgets what it has not passed on yet. So one is held back with XOFF until
/// the command has spoken.
#[test]
fn the_last_words_of_a_command_are_not_lost() {
    let speak = "stty ixon; echo it begins; read line; echo the end; echo has spoken >/dev/kmsg";
    let mut session = Session::start(
        "last-words",
        &mut vm(&["--name", "last-words", "sh", "-c", speak]),
    );
    session.wait_for_text("it begins");
    session.press(XOFF);
    session.press("\r");
    let log = top().join("target/vm/last-words.kernel.log");
    session.wait("what the kernel was told", |_| {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("has spoken"))
    });
    session.press(XON);
    session.wait_for_the_machines_end();
    let end = session.ends_at_once();
    assert_eq!(end.status, Some(0), "{}", end.shown);
    assert!(end.shown.contains("the end"), "{}", end.shown);
}

#[test]
fn the_keys_that_end_a_vm_are_no_failure() {
    let mut session = Session::start("keys", &mut vm(&["sh", "-c", "echo it begins; sleep 1000"]));
    session.wait_for_text("it begins");
    session.press("\x01x");
    let end = session.ends_at_once();
    assert_eq!(end.status, Some(0), "{}", end.shown);
    let behind = end.shown.split("QEMU: Terminated").nth(1);
    assert_eq!(
        behind.map(str::trim),
        Some("vm: ended with Ctrl-A x"),
        "{}",
        end.shown
    );
}

#[test]
fn a_vm_that_is_killed_is_not_said_to_take_too_long() {
    let mut session = Session::start(
        "killed",
        &mut vm(&["sh", "-c", "echo it begins; sleep 1000"]),
    );
    session.wait_for_text("it begins");
    session.kill("qemu-system-x86");
    let end = session.ends_at_once();
    assert_eq!(end.status, Some(71), "{}", end.shown);
    let told = "vm: the VM ended before the command did (QEMU's status 137)";
    assert!(end.shown.contains(told), "{}", end.shown);
}

/// A compiler is at work when the key comes, and next time all is made.
fn interrupted_while_compiling(name: &str, target: &str) {
    let copy = Copy::new(&format!("terminal/{name}"));
    copy.tangle();
    let mut command = clean("make");
    command.args(["--silent", target]).current_dir(&copy.root);
    let mut session = Session::start(name, &mut command);
    session.wait_for_program("rustc");
    session.press(INTERRUPT);
    let end = session.ends_at_once();
    assert_ne!(end.status, Some(0), "{}", end.shown);
    let again = copy.run("make", &["--silent", target]);
    assert!(again.status.success(), "{}", text(&again));
}

#[test]
fn an_interrupt_ends_the_compilers_of_the_module() {
    interrupted_while_compiling("module", "module");
}

#[test]
fn an_interrupt_ends_cargo() {
    interrupted_while_compiling("cargo", "guest");
}

/// A directory with a program that is found before the real one, does nothing for ever, and is deaf to ^C.
fn endless(program: &str) -> PathBuf {
    let directory = top().join("target/test/terminal/bin");
    fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join(program);
    fs::write(&file, "#!/bin/bash\ntrap '' INT\nsleep 1000 &\nwait\n").expect("writing a script");
    let done = Command::new("chmod").arg("+x").arg(&file).status();
    assert!(done.expect("chmod can be run").success());
    directory
}

/// What the first set-up begins with, and would do for minutes, ends; and the next one begins with it again.
#[test]
fn an_interrupt_ends_the_first_set_up() {
    let cache = top().join("target/test/terminal/cache");
    let _ = fs::remove_dir_all(&cache);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", endless("apt-get").display());
    for round in ["first", "second"] {
        let mut command = clean("make");
        command
            .args(["--silent", "module"])
            .env("LGUEST_CACHE", &cache)
            .env("PATH", &path);
        let mut session = Session::start(&format!("set-up-{round}"), &mut command);
        session.wait_for_text("download");
        session.wait_for_program("sleep");
        session.press(INTERRUPT);
        let end = session.ends_at_once();
        assert_ne!(end.status, Some(0), "{}", end.shown);
        assert!(
            end.shown.contains("the next run takes it up again"),
            "{}",
            end.shown
        );
        assert!(
            !end.shown.contains("waiting for another make"),
            "{}",
            end.shown
        );
    }
    assert!(!Path::new(&cache).join("complete-debian").exists());
}
