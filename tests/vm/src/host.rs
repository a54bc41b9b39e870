//! Facts about the Host that the tests run on.

use crate::harness::Outcome;
use crate::layout::PAGE;
use crate::needs::Need;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::ops::Range;

/// A disk's file system is mounted here where the VM has a disk.
pub const DISK: &str = "/disk";

/// Whether the Host's CPUs have a feature, as Linux names it (and uses it).
pub fn has(feature: &str) -> bool {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == feature))
}

/// Whether the Host's kernel was built with this function of Linux's. A small one lacks what some cases need.
pub fn knows(function: &str) -> bool {
    fs::read_to_string("/proc/kallsyms")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split_whitespace().nth(2) == Some(function))
}

/// Whether something is mounted there.
pub fn is_mounted(at: &str) -> bool {
    fs::read_to_string("/proc/mounts")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(at))
}

/// Whether pages can be swapped out.
pub fn swaps() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// Linux' older way to choose the pages that it takes, for as long as this lives: two lists of them, active and inactive.
pub struct TwoLists(String);

impl TwoLists {
    const SWITCH: &str = "/sys/kernel/mm/lru_gen/enabled";

    /// A kernel that has both ways.
    pub const NEED: Need = Need::File(Self::SWITCH);

    fn set(value: &str) -> Outcome {
        fs::write(Self::SWITCH, value).map_err(|e| format!("{}: {e}", Self::SWITCH))
    }

    /// Chooses it.
    pub fn choose() -> Outcome<Self> {
        let before =
            fs::read_to_string(Self::SWITCH).map_err(|e| format!("{}: {e}", Self::SWITCH))?;
        Self::set("0")?;
        Ok(Self(before))
    }
}

impl Drop for TwoLists {
    fn drop(&mut self) {
        let _ = Self::set(self.0.trim());
    }
}

/// How many nodes the Host's memory has.
pub fn nodes() -> usize {
    (0..)
        .take_while(|node| {
            fs::exists(format!("/sys/devices/system/node/node{node}")).unwrap_or(false)
        })
        .count()
}

/// Sees to it that a handful of pages of 2 MiB can be had, on every node.
pub fn reserve_huge_pages() -> Outcome {
    let path = "/proc/sys/vm/nr_hugepages";
    let have = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let wanted = 8;
    if have.trim().parse::<u64>().is_ok_and(|have| have < wanted) {
        fs::write(path, wanted.to_string()).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

/// Whether the Host itself runs with five levels of page tables.
pub fn five_levels() -> bool {
    has("la57")
}

/// The CPUs that this process may use.
pub fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("sched_getaffinity");
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

/// Moves a thread (0 = this one) to a CPU.
pub fn pin(thread: Pid, cpu: usize) -> Outcome {
    let mut set = CpuSet::new();
    set.set(cpu).map_err(|e| e.to_string())?;
    sched_setaffinity(thread, &set).map_err(|e| format!("sched_setaffinity to CPU {cpu}: {e}"))
}

/// Makes the Host drop what it only keeps in case somebody asks, and what lies in its CPUs' lists on the way to be kept.
pub fn drop_caches() {
    // SAFETY: no arguments.
    unsafe { libc::sync() };
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
}

/// Memory that nobody uses, in bytes, once the Host has dropped what it can.
pub fn free_memory() -> u64 {
    drop_caches();
    // Each CPU counts for itself at first.
    let _ = fs::read_to_string("/proc/sys/vm/stat_refresh");
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .expect("MemFree in /proc/meminfo");
    kib * 1024 + in_lists_of_cpus()
}

/// Free memory that a CPU has at hand for its next request, in bytes. The Host does not call that free, and lets it grow to many
/// MiB while much is freed.
fn in_lists_of_cpus() -> u64 {
    let zones = fs::read_to_string("/proc/zoneinfo").expect("/proc/zoneinfo");
    zones
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("count:")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .sum::<u64>()
        * PAGE
}

/// All physical addresses that are memory.
pub fn memory() -> Outcome<Vec<Range<u64>>> {
    let map = fs::read_to_string("/proc/iomem").map_err(|e| format!("/proc/iomem: {e}"))?;
    let address = |hex| u64::from_str_radix(hex, 16).ok();
    let memory: Vec<Range<u64>> = map
        .lines()
        .filter(|line| line.ends_with(": System RAM"))
        .filter_map(|line| line.trim().split_once([' ', ':'])?.0.split_once('-'))
        .filter_map(|(first, last)| Some(address(first)?..address(last)? + 1))
        .collect();
    match memory.iter().any(|part| part.end > 1 << 20) {
        true => Ok(memory),
        false => Err("/proc/iomem tells of no memory".to_owned()),
    }
}

/// Names of the kernel's threads, without the kworkers, whose number breathes.
pub fn kernel_threads() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|b| b.is_ascii_digit())
        })
        .filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.is_empty()))
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.starts_with("kworker"))
        .collect();
    names.sort();
    names
}

/// How many users the module has.
pub fn module_users() -> Outcome<u64> {
    let text = fs::read_to_string("/sys/module/lguest/refcnt")
        .map_err(|e| format!("the module's reference count: {e}"))?;
    text.trim()
        .parse()
        .map_err(|e| format!("the module's reference count {text:?}: {e}"))
}

/// Where the module's file is.
pub fn module_file() -> Outcome<String> {
    let given = std::env::var("LGUEST_KO").ok();
    let places = given.into_iter().chain(
        [
            "/lguest.ko",
            "/lib/modules/lguest.ko",
            "/root/lguest.ko",
            "lguest.ko",
        ]
        .map(String::from),
    );
    places
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
        .ok_or_else(|| "cannot find lguest.ko: say where it is in LGUEST_KO".to_owned())
}

/// Whether a thread sleeps, interruptibly.
pub fn sleeps(thread: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('S'))
}
