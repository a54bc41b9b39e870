//! A control group of this process's: what it may take of memory, and what it is charged with; and how it is when that is nothing.

use crate::harness::Outcome;
use crate::host;
use crate::witness;
use nix::mount::{MsFlags, mount};
use nix::sys::mman::{MlockAllFlags, mlockall};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const ROOT: &str = "/sys/fs/cgroup";

/// A group without anybody in it.
pub struct Group(PathBuf);

impl Group {
    /// Makes one with these limits.
    pub fn new(limits: &[(&str, u64)]) -> Outcome<Self> {
        if !host::is_mounted(ROOT) {
            let none: Option<&str> = None;
            mount(none, ROOT, Some("cgroup2"), MsFlags::empty(), none)
                .map_err(|e| format!("mounting {ROOT}: {e}"))?;
        }
        let control = format!("{ROOT}/cgroup.subtree_control");
        fs::write(&control, "+memory").map_err(|e| format!("{control}: {e}"))?;
        let group = Self(format!("{ROOT}/vmtests.{}", std::process::id()).into());
        fs::create_dir(&group.0).map_err(|e| format!("{:?}: {e}", group.0))?;
        for (name, limit) in limits {
            group.set(name, &limit.to_string())?;
        }
        Ok(group)
    }

    /// Writes to one of its files.
    pub fn set(&self, name: &str, value: &str) -> Outcome {
        fs::write(self.0.join(name), value).map_err(|e| format!("{name}: {e}"))
    }

    /// Opens one of its files, to be read or to be written to: whoever has done so before a limit is tight can use it then, too.
    pub fn open(&self, name: &str, write: bool) -> Outcome<File> {
        let file = File::options()
            .read(!write)
            .write(write)
            .open(self.0.join(name));
        file.map_err(|e| format!("{name}: {e}"))
    }

    /// Asks it to give up so much memory. It may be less in the end: the kernel then says EAGAIN, however much it was.
    pub fn reclaim(&self, bytes: u64) -> Outcome {
        let name = "memory.reclaim";
        match fs::write(self.0.join(name), bytes.to_string()) {
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => Err(format!("{name}: {e}")),
            _ => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Outcome<String> {
        fs::read_to_string(self.0.join(name)).map_err(|e| format!("{name}: {e}"))
    }

    /// A file that holds one number.
    pub fn number(&self, name: &str) -> Outcome<u64> {
        let text = self.text(name)?;
        text.trim()
            .parse()
            .map_err(|e| format!("{name}: {text:?}: {e}"))
    }

    /// A line of a file that holds several numbers with names.
    pub fn field(&self, name: &str, field: &str) -> Outcome<u64> {
        let text = self.text(name)?;
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(' ')?.parse().ok())
            .ok_or_else(|| format!("no {field} in {name}"))
    }

    /// Makes this process a member; what it has taken so far is still charged where it was.
    pub fn enter(&self) -> Outcome {
        self.set("cgroup.procs", "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(format!("{ROOT}/cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.0);
    }
}

/// The kernel says on the console at length what it does for want of memory; that is not what whoever looks there waits for.
pub struct QuietConsole;

impl QuietConsole {
    fn level(level: i32) {
        const CONSOLE_LEVEL: i32 = 8;
        // SAFETY: this command takes a number and no buffer.
        unsafe { libc::klogctl(CONSOLE_LEVEL, std::ptr::null_mut(), level) };
    }

    pub fn new() -> Self {
        Self::level(1);
        Self
    }
}

impl Drop for QuietConsole {
    fn drop(&mut self) {
        Self::level(7);
    }
}

/// This process in a group that at times has no memory left. Linux refuses it then, and kills nobody.
pub struct Short {
    current: File,
    max: File,
    _group: Group,
    _quiet: QuietConsole,
}

impl Short {
    /// For a case that tolerates a "Call Trace": Linux says at length that it finds nobody to kill.
    pub fn new() -> Outcome<Self> {
        // What was swapped out could not come back, nor could a page of this process's be touched for the first time, its parent's copied
        // for instance: it would try again for ever.
        let group = Group::new(&[("memory.swap.max", 0)])?;
        group.enter()?;
        fs::write("/proc/self/oom_score_adj", "-1000")
            .map_err(|e| format!("oom_score_adj: {e}"))?;
        mlockall(MlockAllFlags::MCL_CURRENT).map_err(|e| format!("mlockall: {e}"))?;
        // Opening a file takes memory.
        Ok(Self {
            current: group.open("memory.current", false)?,
            max: group.open("memory.max", true)?,
            _group: group,
            _quiet: QuietConsole::new(),
        })
    }

    /// Makes a call while there is no memory. Nothing new may be touched in it: neither heap nor much of the stack.
    pub fn during<T>(&self, call: impl FnOnce() -> T) -> Outcome<T> {
        self.tighten()?;
        let answer = witness::hold(call);
        let loosened = self.max.write_at(b"max", 0);
        loosened.map_err(|e| format!("memory.max: {e}"))?;
        witness::tell();
        Ok(answer)
    }

    /// Leaves no room for more than a few pages.
    fn tighten(&self) -> Outcome {
        const FEW: u64 = 16 << 10;
        let now = || -> Outcome<u64> {
            let mut text = [0; 32];
            let len = self
                .current
                .read_at(&mut text, 0)
                .map_err(|e| e.to_string())?;
            let text = std::str::from_utf8(&text[..len]).map_err(|e| e.to_string())?;
            text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
        };
        // What is charged in advance goes with the first of them.
        for _ in 0..100 {
            let limit = now()? - FEW / 4;
            self.max
                .write_at(limit.to_string().as_bytes(), 0)
                .map_err(|e| format!("memory.max: {e}"))?;
            if now()? + FEW > limit {
                return Ok(());
            }
        }
        Err("the group has always some room left".to_string())
    }
}
