//! What a case needs of the Host that not every Host has. A case whose need is not met is left out, aloud: a suite that is silent
//! about what it has not tried looks whole where it is not.

use crate::host;
use std::collections::BTreeSet;
use std::fmt;

/// Something that a Host has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A feature of its CPUs, as Linux names it.
    Cpu(&'static str),
    /// More than one CPU.
    TwoCpus,
    /// A disk with a file system.
    Disk,
    /// Somewhere to swap to.
    Swap,
    /// Memory in more than one node.
    TwoNodes,
    /// A kernel that was built with this function.
    Kernel(&'static str),
    /// This file.
    File(&'static str),
}

impl Need {
    /// A control group can limit memory.
    pub const MEMORY_GROUPS: Self = Self::Kernel("mem_cgroup_css_alloc");
    /// A program can be told of pages that are not there.
    pub const USERFAULTFD: Self = Self::Kernel("handle_userfault");
    /// Pages with the same content become one.
    pub const MERGING: Self = Self::Kernel("ksm_madvise");
    /// Somebody can listen to tracepoints.
    pub const TRACEPOINTS: Self = Self::Kernel("trace_event_reg");
    /// Programs can talk to each other.
    pub const SOCKETS: Self = Self::Kernel("unix_create");

    /// Whether this Host has it.
    pub fn is_met(self) -> bool {
        match self {
            Self::Cpu(feature) => host::has(feature),
            Self::TwoCpus => host::cpus().len() > 1,
            Self::Disk => host::is_mounted(host::DISK),
            Self::Swap => host::swaps(),
            Self::TwoNodes => host::nodes() > 1,
            Self::Kernel(function) => host::knows(function),
            Self::File(path) => std::fs::exists(path).unwrap_or(false),
        }
    }

    /// Those of them that are not met. Each is looked into once, as that takes a while.
    pub fn unmet(of: impl Iterator<Item = Self>) -> BTreeSet<Self> {
        let mut unmet: BTreeSet<Self> = of.collect();
        unmet.retain(|need| !need.is_met());
        unmet
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(feature) => write!(f, "a CPU with {feature}"),
            Self::TwoCpus => write!(f, "a second CPU"),
            Self::Disk => write!(f, "a disk"),
            Self::Swap => write!(f, "somewhere to swap to"),
            Self::TwoNodes => write!(f, "memory in two nodes"),
            Self::Kernel(function) => write!(f, "a kernel with {function}()"),
            Self::File(path) => write!(f, "{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missed() {
        let there = Need::File("/proc/self/exe");
        let missing = Need::File("/proc/self/no-such-file");
        let unmet = Need::unmet([there, missing, there].into_iter());
        assert_eq!(unmet.into_iter().collect::<Vec<_>>(), [missing]);
    }
}
