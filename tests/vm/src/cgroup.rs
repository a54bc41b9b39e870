//! A control group of this process's: what it may take of memory, and what it is charged with.

use crate::harness::Outcome;
use crate::host;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::PathBuf;

const ROOT: &str = "/sys/fs/cgroup";

/// A group without anybody in it.
pub struct Group(PathBuf);

impl Group {
    /// Whether the Host's kernel has what it takes.
    pub fn is_there() -> bool {
        host::knows("mem_cgroup_css_alloc")
    }

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
