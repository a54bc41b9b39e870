//! Boots the Host VM with the book's own build in it, and tells what came out.
//!
//! Each test program uses a part of this.
#![allow(dead_code)]

pub mod copy;
pub mod gdb;
pub mod qmp;
pub mod switcher;
pub mod transcript;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// The program that plays a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// Fast, with a TLB that forgets all at every change of tables.
    Qemu,
    /// Another reading of the manual, whose TLB keeps what a CPU would keep.
    Bochs,
}

impl Emulator {
    /// What MACHINE says of it.
    fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
        }
    }
}

/// The machine that an emulator, QEMU if nothing is said, plays.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The emulator's name of the CPU.
    pub cpu: &'static str,
    /// Number of CPUs.
    pub smp: u32,
}

/// What a command in the VM left behind.
pub struct Ran {
    /// The command's exit status, or one of `scripts/vm`'s own: 69, 70, 71, 124.
    pub status: i32,
    /// What was printed, in lines without their ends.
    pub lines: Vec<String>,
    /// Whether the kernel did not get as far as its first program, or stumbled over an int3.
    pub tripped: bool,
    /// Where all of it is kept, and the kernel's log.
    kept: String,
}

impl Ran {
    /// Ends the test with everything that somebody needs to find out why.
    pub fn fail(&self, why: impl std::fmt::Display) -> ! {
        panic!("{}", self.tell(why));
    }

    /// All of that as text.
    pub fn tell(&self, why: impl std::fmt::Display) -> String {
        format!(
            "{why}\nstatus {}, printed:\n{}\n{}",
            self.status,
            self.lines.join("\n"),
            self.kept
        )
    }

    /// Fails unless the command ended so.
    pub fn expect_status(&self, status: i32) -> &Self {
        if self.status != status {
            self.fail(format_args!("expected status {status}"));
        }
        self
    }

    /// Fails unless these lines were printed one after the other, with others between them or not.
    pub fn expect_lines(&self, wanted: &[&str]) -> &Self {
        let mut lines = self.lines.iter();
        for line in wanted {
            if !lines.any(|printed| printed == line) {
                self.fail(format_args!("expected this line, in its place: {line:?}"));
            }
        }
        self
    }
}

/// The top of the checkout.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The kernel on which the tests run: `HOST`, as for make.
pub fn host() -> String {
    std::env::var("HOST").unwrap_or_else(|_| "debian".to_owned())
}

/// Seconds that are enough for everything.
const LIMIT: u32 = 1800;

/// What a VM is given: the files at their places, and a directory to work in.
#[derive(Clone)]
pub struct System {
    payload: PathBuf,
    /// Files that lie over those.
    overlay: Option<PathBuf>,
    emulator: Emulator,
    /// After so many seconds a run is given up.
    limit: u32,
    extra: Option<PathBuf>,
    /// Size of its disks, to one of which it swaps, if it has any.
    disks: Option<&'static str>,
    /// Whether the VM has taps.
    taps: bool,
    /// What it was tangled and built in, if that is not where the whole system is.
    state: Option<PathBuf>,
}

impl System {
    /// The whole system and the program that tries the module from inside, made now if need be: once for all tests of a program.
    pub fn whole() -> &'static Self {
        static WHOLE: OnceLock<System> = OnceLock::new();
        WHOLE.get_or_init(|| {
            if let Err(said) = make(&["payload", "vmtests"]) {
                panic!("make payload vmtests failed:\n{said}");
            }
            System {
                payload: top().join(format!("target/host-{}", host())),
                overlay: None,
                emulator: Emulator::Qemu,
                limit: LIMIT,
                extra: Some(vmtests()),
                disks: None,
                taps: false,
                state: None,
            }
        })
    }

    /// The whole system on this emulator, with the files of `overlay` in place of its own.
    pub fn on(emulator: Emulator, overlay: Option<PathBuf>) -> Self {
        Self {
            overlay,
            emulator,
            ..Self::whole().clone()
        }
    }

    /// The whole system, in a VM with disks of this size and programs that press on its memory.
    pub fn with_disks(size: &'static str) -> Self {
        Self {
            disks: Some(size),
            ..Self::whole().clone()
        }
    }

    /// The same, in a VM with taps, and tcpdump.
    pub fn with_taps(self) -> Self {
        Self { taps: true, ..self }
    }

    /// The same, with the files of this directory to work with, in place of vmtests.
    pub fn with_extra(self, directory: PathBuf) -> Self {
        Self {
            extra: Some(directory),
            ..self
        }
    }

    /// The same, given up after so many seconds.
    pub fn within(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// The system as it stands at the end of a chapter, made now.
    ///
    /// # Errors
    /// What the compilers say.
    pub fn as_of(tag: &str) -> Result<Self, String> {
        make(&["payload", &format!("AS_OF={tag}")])?;
        let state = top().join("target/states").join(tag);
        Ok(System {
            payload: state.join(format!("host-{}", host())),
            overlay: None,
            emulator: Emulator::Qemu,
            limit: LIMIT,
            extra: None,
            disks: None,
            taps: false,
            state: Some(state),
        })
    }

    /// Runs a line of shell as root in the Host, with `input` as its standard input.
    pub fn in_vm(&self, name: &str, machine: Machine, shell: &str, input: &str) -> Ran {
        self.in_vm_with(name, machine, shell, input, "")
    }

    /// The same, with more arguments for QEMU.
    pub fn in_vm_with(
        &self,
        name: &str,
        machine: Machine,
        shell: &str,
        input: &str,
        qemu_args: &str,
    ) -> Ran {
        let vm = || self.start_vm(name, machine, shell, input, qemu_args);
        once_booted(name, || (vm().wait(), ())).0
    }

    /// Starts what [`System::in_vm`] runs, with more arguments for QEMU. Nothing is lost if what it prints fills no pipe.
    pub fn start_vm(
        &self,
        name: &str,
        machine: Machine,
        shell: &str,
        input: &str,
        qemu_args: &str,
    ) -> Vm {
        let mut command = clean(top().join("scripts/vm"));
        command
            .env("MACHINE", self.emulator.name())
            .env("CPU", machine.cpu)
            // Cases that look at the Switcher's pages know where they are.
            .env("MODULE_ARGS", "fixed=1")
            .env("SMP", machine.smp.to_string())
            .env("QEMU_ARGS", qemu_args)
            .args([
                "--name",
                name,
                "--timeout",
                &self.limit.to_string(),
                "--root",
            ])
            .arg(&self.payload);
        if let Some(overlay) = &self.overlay {
            command.arg("--root").arg(overlay);
        }
        if let Some(extra) = &self.extra {
            command.arg("--extra").arg(extra);
        }
        if let Some(size) = self.disks {
            // And memory of two nodes, between which pages can be moved.
            command.env("KERNEL_ARGS", "numa=fake=2");
            command.args(["--pressure", "--disk", size]);
        }
        if self.taps {
            command.arg("--net");
        }
        if let Some(state) = &self.state {
            command.env("STATE", state);
        }
        command
            .args(["--", "sh", "-c", shell])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("scripts/vm can be run");
        let mut stdin = process.stdin.take().expect("a pipe");
        // It may end without having read its input; its status tells.
        let _ = stdin.write_all(input.as_bytes());
        Vm {
            name: name.to_owned(),
            process,
        }
    }
}

/// Makes something; an error is what a failure says.
pub fn make(what: &[&str]) -> Result<(), String> {
    let made = clean("make")
        .arg("--silent")
        .args(what)
        .stdin(Stdio::null())
        .output()
        .expect("make can be run");
    if made.status.success() {
        return Ok(());
    }
    let said = [made.stdout, made.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned())
}

/// A command at the top of the checkout, free of what cargo tells its tests but not their builds.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(top());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_")
            || matches!(
                text.as_ref(),
                "MAKEFLAGS"
                    | "MAKELEVEL"
                    | "MFLAGS"
                    | "RUSTFLAGS"
                    | "KRUSTFLAGS"
                    | "LD_LIBRARY_PATH"
                    | "AS_OF"
                    | "STATE"
            )
        {
            command.env_remove(&name);
        }
    }
    // Where cargo keeps what it downloads is no setting of this build.
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        command.env("CARGO_HOME", home);
    }
    command
}

/// Runs a line of shell in the Host with the whole system: [`System::in_vm`].
pub fn in_vm(name: &str, machine: Machine, shell: &str, input: &str) -> Ran {
    System::whole().in_vm(name, machine, shell, input)
}

/// Starts what [`in_vm`] runs, with more arguments for QEMU.
pub fn start_vm(name: &str, machine: Machine, shell: &str, input: &str, qemu_args: &str) -> Vm {
    System::whole().start_vm(name, machine, shell, input, qemu_args)
}

/// Makes this attempt, and two more at most where the kernel died before its first program, or of an int3 of its own. With several
/// CPUs, QEMU's emulation now and then trips over the kernel's habit of patching its own code while it boots, and while it is traced.
pub fn once_booted<T>(name: &str, mut attempt: impl FnMut() -> (Ran, T)) -> (Ran, T) {
    for _ in 0..2 {
        let (ran, more) = attempt();
        if ran.status != 71 || !ran.tripped {
            return (ran, more);
        }
        eprintln!("{name}: the kernel tripped over its own patching; once more");
    }
    attempt()
}

/// What is written in a file by now.
fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// A VM on its way.
pub struct Vm {
    name: String,
    process: Child,
}

impl Vm {
    /// Waits for the end.
    pub fn wait(self) -> Ran {
        let (log, kept) = (self.log_file(), self.file("output"));
        let output = self.process.wait_with_output().expect("scripts/vm ends");
        keep(&kept, &log, &output)
    }

    /// Where scripts/vm, which this process is, puts what belongs to this run alone.
    fn file(&self, kind: &str) -> PathBuf {
        let (name, run) = (&self.name, self.process.id());
        top().join(format!("target/vm/{name}.{run}.{kind}"))
    }

    /// The kernel's log.
    pub fn log_file(&self) -> PathBuf {
        self.file("kernel.log")
    }

    /// Ends it by force.
    pub fn end(&mut self) {
        if let Ok(id) = i32::try_from(self.process.id()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(id),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
    }

    /// Whether it is still on its way.
    pub fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The kernel's log so far.
    pub fn kernel_log(&self) -> String {
        read(&self.log_file())
    }
}

/// A directory with nothing but the program that tries the module from inside.
fn vmtests() -> PathBuf {
    let dir = top().join("target/vmtests/outside");
    fs::create_dir_all(&dir).expect("a directory for vmtests");
    fs::copy(
        top().join("target/vmtests/release/vmtests"),
        dir.join("vmtests"),
    )
    .expect("vmtests has been built");
    dir
}

/// Keeps what was printed in `file`, beside the kernel's log.
fn keep(file: &Path, log: &Path, output: &Output) -> Ran {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    fs::create_dir_all(top().join("target/vm")).expect("target/vm");
    fs::write(file, format!("{printed}{said}")).expect("writing to target/vm");
    Ran {
        tripped: {
            let log = read(log);
            !log.contains("Run /init") || log.contains("Oops: int3")
        },
        status: output.status.code().unwrap_or(-1),
        lines: printed
            .lines()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect(),
        kept: format!("{said}kept: {}\n      {}", file.display(), log.display()),
    }
}
