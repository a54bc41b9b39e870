//! What the Launcher gives up before its Guest runs. The cases look at it from outside, and make one of its threads misbehave: a
//! tracer puts a system call of its own into a thread that waits in `read()`.

use crate::harness::{Case, Outcome, check, same, wait_until};
use crate::host;
use crate::labs::{guest, launcher};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A Launcher whose Guest has said that it waits for input.
struct Running {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Running {
    fn start(options: &[&str]) -> Outcome<Self> {
        let mut process = Command::new(launcher())
            .arg("run")
            .args(options)
            .arg(guest())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the Launcher: {e}"))?;
        let input = process.stdin.take().ok_or("no pipe")?;
        let mut output = process.stdout.take().ok_or("no pipe")?;
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"guest> ") {
            match output.read(&mut byte) {
                Ok(1) => said.push(byte[0]),
                _ => return Err(format!("it ended: {}", String::from_utf8_lossy(&said))),
            }
        }
        Ok(Self {
            process,
            input,
            output,
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// A file of each of its threads.
    fn of_threads(&self, file: &str) -> Outcome<Vec<String>> {
        let threads =
            fs::read_dir(format!("/proc/{}/task", self.pid())).map_err(|e| e.to_string())?;
        let read =
            |thread: std::io::Result<fs::DirEntry>| fs::read_to_string(thread?.path().join(file));
        threads
            .map(|thread| read(thread).map_err(|e| e.to_string()))
            .collect()
    }

    /// Lets it end in good order.
    fn finish(mut self) -> Outcome {
        self.input
            .write_all(b"exit 3\n")
            .map_err(|e| e.to_string())?;
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        let status = self.process.wait().map_err(|e| e.to_string())?;
        same("its status", status.code(), Some(3))
    }

    /// Lets it die: the signal that killed it, and what it said.
    fn death(mut self) -> Outcome<(Option<i32>, String)> {
        let status = self.process.wait().map_err(|e| e.to_string())?;
        let mut said = String::new();
        let mut errors = self.process.stderr.take().ok_or("no pipe")?;
        errors
            .read_to_string(&mut said)
            .map_err(|e| e.to_string())?;
        Ok((status.signal(), said))
    }
}

/// Bytes of its stack, far below what it uses, where an argument may lie.
const BELOW: u64 = 4096;

/// Stops its first thread, which waits in `read()`, and puts a system call in the place of that one.
fn inject(
    pid: Pid,
    options: ptrace::Options,
    call: i64,
    args: [u64; 4],
    text: &str,
) -> Outcome<libc::user_regs_struct> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: nix::Error| format!("{what}: {error}")
    };
    // It has printed, and is perhaps not back in `read()` yet.
    wait_until("it waits", || host::sleeps(pid))?;
    ptrace::seize(pid, options).map_err(failed("seize"))?;
    ptrace::interrupt(pid).map_err(failed("interrupt"))?;
    match waitpid(pid, Some(WaitPidFlag::__WALL)).map_err(failed("wait"))? {
        WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => {}
        other => return Err(format!("it did not stop: {other:?}")),
    }
    let before = ptrace::getregs(pid).map_err(failed("registers"))?;
    same(
        "the instruction before it",
        ptrace::read(pid, (before.rip - 2) as *mut _).map_err(failed("code"))? & 0xffff,
        0x050f,
    )?;
    let at = before.rsp - BELOW;
    let text = CString::new(text).map_err(|e| e.to_string())?;
    let mut bytes = text.into_bytes_with_nul();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    for (word, place) in bytes.chunks(8).zip((at..).step_by(8)) {
        let word = i64::from_ne_bytes(word.try_into().expect("eight bytes"));
        ptrace::write(pid, place as *mut _, word).map_err(failed("memory"))?;
    }
    let arg = |arg: u64| if arg == TEXT { at } else { arg };
    let regs = libc::user_regs_struct {
        rip: before.rip - 2,
        rax: call as u64,
        // It is not in a system call that would have to be begun again.
        orig_rax: u64::MAX,
        rdi: arg(args[0]),
        rsi: arg(args[1]),
        rdx: arg(args[2]),
        r10: arg(args[3]),
        ..before
    };
    ptrace::setregs(pid, regs).map_err(failed("registers"))?;
    Ok(before)
}

/// Stands for the address of the text, among arguments.
const TEXT: u64 = 0x7e87_0000_7e87;

/// In place of a filter, nothing: while it is traced.
const SUSPEND_SECCOMP: i32 = 1 << 21;

fn refused(name: &'static str, call: i64, args: [u64; 4]) -> Case {
    Case::new(format!("sandbox/{name}-is-refused"), move || {
        let running = Running::start(&[])?;
        inject(running.pid(), ptrace::Options::empty(), call, args, "/init")?;
        ptrace::detach(running.pid(), None).map_err(|e| e.to_string())?;
        let (signal, said) = running.death()?;
        let name = name.split('-').next().unwrap_or_default();
        check!(
            said.contains(&format!("the system call {name}\n")),
            "it said {said:?}"
        );
        same("the signal that killed it", signal, Some(libc::SIGSYS))
    })
}

/// The number after this word in a thread's status.
fn field<'a>(status: &'a str, name: &str) -> Outcome<Vec<&'a str>> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line
        .ok_or(format!("no {name}"))?
        .split_whitespace()
        .collect())
}

fn expect_given_up(running: &Running, user: &str, group: &str) -> Outcome {
    let threads = running.of_threads("status")?;
    check!(threads.len() > 1, "it has one thread");
    for status in &threads {
        for (name, want) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            same(name, field(status, name)?, vec![want])?;
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            same(set, field(status, set)?, vec!["0000000000000000"])?;
        }
        same("Uid", field(status, "Uid")?, vec![user; 4])?;
        same("Gid", field(status, "Gid")?, vec![group; 4])?;
    }
    for limits in running.of_threads("limits")? {
        for name in ["Max core file size", "Max processes"] {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            same(
                name,
                line.ok_or("no such limit")?.split_whitespace().next(),
                Some("0"),
            )?;
        }
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("sandbox/all-threads-have-given-up", || {
            let running = Running::start(&[])?;
            expect_given_up(&running, "0", "0")?;
            running.finish()
        }),
        Case::new("sandbox/it-becomes-somebody-else-in-one-directory", || {
            fs::create_dir_all("/tmp/nothing").map_err(|e| e.to_string())?;
            let running = Running::start(&["--username", "107:65534", "--chroot", "/tmp/nothing"])?;
            expect_given_up(&running, "107", "65534")?;
            for status in running.of_threads("status")? {
                same("Groups", field(&status, "Groups")?, vec![])?;
            }
            let root = fs::read_link(format!("/proc/{}/root", running.pid()))
                .map_err(|e| e.to_string())?;
            same("its root", root.to_str(), Some("/tmp/nothing"))?;
            running.finish()
        }),
        Case::new("sandbox/off-when-asked", || {
            let running = Running::start(&["--no-sandbox"])?;
            for status in running.of_threads("status")? {
                same("Seccomp", field(&status, "Seccomp")?, vec!["0"])?;
                same("NoNewPrivs", field(&status, "NoNewPrivs")?, vec!["0"])?;
            }
            running.finish()
        }),
        refused(
            "openat",
            libc::SYS_openat,
            [libc::AT_FDCWD as u64, TEXT, 0, 0],
        ),
        refused("execve", libc::SYS_execve, [TEXT, 0, 0, 0]),
        refused(
            "socket",
            libc::SYS_socket,
            [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0],
        ),
        refused("clone", libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0]),
        refused("ptrace", libc::SYS_ptrace, [0, 0, 0, 0]),
        refused(
            "mmap-of-code",
            libc::SYS_mmap,
            [
                0,
                4096,
                (libc::PROT_READ | libc::PROT_EXEC) as u64,
                (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64,
            ],
        ),
        refused(
            "mprotect-to-code",
            libc::SYS_mprotect,
            [0x1000, 4096, libc::PROT_EXEC as u64, 0],
        ),
        refused(
            "ioctl-that-types",
            libc::SYS_ioctl,
            [0, libc::TIOCSTI, TEXT, 0],
        ),
        refused(
            "process_vm_readv-of-another",
            libc::SYS_process_vm_readv,
            [1, 0, 0, 0],
        ),
        Case::new("sandbox/a-terminal-can-be-restored", || {
            // The newer calls as well, for which its libraries may have been built. Its input is a pipe.
            for request in [libc::TCGETS, libc::TCSETS, libc::TCGETS2, libc::TCSETS2] {
                let running = Running::start(&[])?;
                let args = [0, request, TEXT, 0];
                let empty = ptrace::Options::empty();
                let pid = running.pid();
                let before = inject(pid, empty, libc::SYS_ioctl, args, "/init")?;
                let failed = |error: nix::Error| error.to_string();
                ptrace::step(pid, None).map_err(failed)?;
                waitpid(pid, Some(WaitPidFlag::__WALL)).map_err(failed)?;
                let got = ptrace::getregs(pid).map_err(failed)?.rax.cast_signed();
                ptrace::setregs(pid, before).map_err(failed)?;
                ptrace::detach(pid, None).map_err(failed)?;
                same("ioctl()", got, -i64::from(libc::ENOTTY))?;
                running.finish()?;
            }
            Ok(())
        }),
        Case::new(
            "sandbox/nothing-can-be-opened-even-without-the-filter",
            || {
                let running = Running::start(&[])?;
                let options = ptrace::Options::from_bits_retain(SUSPEND_SECCOMP);
                let open = [libc::AT_FDCWD as u64, TEXT, 0, 0];
                let before = inject(running.pid(), options, libc::SYS_openat, open, "/init")?;
                let pid = running.pid();
                let failed = |error: nix::Error| error.to_string();
                ptrace::step(pid, None).map_err(failed)?;
                waitpid(pid, Some(WaitPidFlag::__WALL)).map_err(failed)?;
                let got = ptrace::getregs(pid).map_err(failed)?.rax.cast_signed();
                ptrace::setregs(pid, before).map_err(failed)?;
                ptrace::detach(pid, None).map_err(failed)?;
                same("openat()", got, -i64::from(libc::EACCES))?;
                running.finish()
            },
        ),
        Case::new("sandbox/files-of-others-are-closed", || {
            let stranger = fs::File::open("/init").map_err(|e| e.to_string())?;
            nix::fcntl::fcntl(
                &stranger,
                nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
            )
            .map_err(|e| e.to_string())?;
            for (options, wanted) in [(&[][..], false), (&["--no-sandbox"], true)] {
                let running = Running::start(options)?;
                let files = fs::read_dir(format!("/proc/{}/fd", running.pid()))
                    .map_err(|e| e.to_string())?;
                let mut names = files
                    .flatten()
                    .filter_map(|file| fs::read_link(file.path()).ok());
                let open = names.any(|name| name.to_str() == Some("/init"));
                same("whether it has our file", open, wanted)?;
                running.finish()?;
            }
            Ok(())
        }),
    ]
}
