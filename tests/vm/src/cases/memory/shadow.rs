//! What the Host keeps for a guest's page tables: bounded, charged to who runs the guest, and given back when memory is short.

use crate::blobs::work;
use crate::cgroup::Group;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use crate::tables::pte;
use std::os::unix::fs::FileExt;
use std::thread::JoinHandle;

/// Page tables of the guest's, each for one page: more than the Host may keep shadows of.
const SPARSE_TABLES: u64 = 3072;
/// Where those pages are.
pub(super) const SPARSE: u64 = 0xffff_9000_0000_0000;
/// What one table is for.
pub(super) const REACH: u64 = 2 << 20;
/// What the Host may keep for the tables of one guest, and what else for a guest as large as this one.
const BOUND: u64 = 4 << 20;
const OTHER: u64 = 1 << 20;

/// A guest with very many tables, which it uses when told to.
struct Sparse {
    ram: Ram,
    thread: JoinHandle<Outcome>,
}

impl Sparse {
    fn start() -> Self {
        let ram = Ram::new(MEMORY + SPARSE_TABLES * PAGE);
        let its_ram = ram.clone();
        let thread = std::thread::spawn(move || {
            let mut guest = Guest::in_memory(work::TOUCH_THEN_COUNT, its_ram);
            for number in 0..SPARSE_TABLES {
                let table = MEMORY + number * PAGE;
                guest
                    .tables
                    .set(SPARSE + number * REACH, 2, table | pte::TABLE);
                guest.ram.set_word(table, FREE | pte::KERNEL);
            }
            guest
                .param(0, SPARSE)
                .param(1, REACH)
                .param(2, SPARSE_TABLES);
            guest.boot()?;
            guest.powered_off(&guest.finish()?, 0)
        });
        Self { ram, thread }
    }

    /// Waits until it has used all its tables so often and counts.
    fn wait_until_used(&self, rounds: u64) -> Outcome {
        wait_until("the guest has used all its tables", || {
            self.ram.word(OUT) >= rounds || self.thread.is_finished()
        })?;
        let seen = self.ram.word(COUNT);
        wait_until("the guest counts on", || {
            self.ram.word(COUNT) > seen || self.thread.is_finished()
        })
    }

    /// Lets it use all of them once more.
    fn again(&self) -> Outcome {
        let rounds = self.ram.word(OUT) + 1;
        self.ram.set_word(PARAM + 24, rounds);
        self.wait_until_used(rounds)
    }

    fn end(self) -> Outcome {
        self.ram.set_word(STOP, 1);
        join(self.thread)?;
        let used = self.ram.word(OUT) * SPARSE_TABLES;
        let count = self.ram.word(FREE);
        check!(
            count == used,
            "the guest used {used} tables, and its page says {count}"
        );
        Ok(())
    }
}

/// The kernel's memory that the group is charged with.
fn kernel(group: &Group) -> Outcome<u64> {
    group.field("memory.stat", "kernel")
}

fn bounded() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    let before = kernel(&group)?;
    let sparse = Sparse::start();
    for _ in 0..3 {
        sparse.again()?;
        let kept = kernel(&group)? - before;
        check!(
            kept <= BOUND + OTHER,
            "the Host keeps {kept} bytes for this guest"
        );
        check!(
            kept >= BOUND / 2,
            "only {kept} bytes were charged: the shadows are not"
        );
    }
    sparse.end()
}

/// Has the Host give back most of what it keeps for the guest, which was `before` without it.
fn give_back(group: &Group, before: u64) -> Outcome {
    let full = kernel(group)? - before;
    check!(
        full >= BOUND / 2,
        "only {full} bytes were charged: the shadows are not"
    );
    wait_until("most of it is given back", || {
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
        kernel(group).is_ok_and(|now| now < before + full - BOUND / 2)
    })
    .map_err(|e| {
        let now = kernel(group).map(|now| now - before);
        format!("{e}; it was {full} bytes and is {now:?}")
    })
}

fn shrinks() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    let before = kernel(&group)?;
    let sparse = Sparse::start();
    for _ in 0..3 {
        sparse.again()?;
        give_back(&group, before)?;
    }
    sparse.again()?;
    sparse.end()
}

/// A group that has room for some shadows, not for all, and nothing that it could do without: they have to do.
fn in_a_full_group() -> Outcome {
    let group = Group::new(&[("memory.swap.max", 0)])?;
    group.enter()?;
    let before = kernel(&group)?;
    let sparse = Sparse::start();
    sparse.again()?;
    give_back(&group, before)?;
    let now = group.number("memory.current")?;
    let max = group.open("memory.max", true)?;
    let limit = |bytes: &str| {
        let set = max.write_at(bytes.as_bytes(), 0);
        set.map(drop).map_err(|e| format!("memory.max: {e}"))
    };
    limit(&(now + BOUND / 4).to_string())?;
    for _ in 0..2 {
        sparse.again()?;
    }
    // To open a file takes memory, too.
    limit("max")?;
    same("kills", group.field("memory.events", "oom_kill")?, 0)?;
    sparse.end()
}

/// A group that has no room for all the shadows that the guest could use gets along with fewer of them.
fn in_a_small_group() -> Outcome {
    let group = Group::new(&[])?;
    group.enter()?;
    let sparse = Sparse::start();
    sparse.again()?;
    let limit = group.number("memory.current")? - BOUND / 2;
    // A limit that is far below what the group has may be the end of it, when the disk is slow.
    wait_until("the group has given up some memory", || {
        group.reclaim(BOUND / 2).is_ok()
            && group.number("memory.current").is_ok_and(|now| now < limit)
    })?;
    group.set("memory.max", &limit.to_string())?;
    for _ in 0..3 {
        sparse.again()?;
    }
    sparse.end()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shadow/bounded-and-charged", bounded).needing([Need::MEMORY_GROUPS]),
        Case::new("shadow/shrinks-when-memory-is-short", shrinks).needing([Need::MEMORY_GROUPS]),
        Case::new("shadow/in-a-full-group", in_a_full_group).needing([Need::MEMORY_GROUPS]),
        Case::new("shadow/in-a-small-group", in_a_small_group)
            .needing([Need::MEMORY_GROUPS, Need::Swap]),
    ]
}
