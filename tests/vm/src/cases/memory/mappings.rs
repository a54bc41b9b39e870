//! Nine kinds of mappings, each changed in every way that it allows, while the guest runs and between two `read()`s. Guest and
//! process look at the same pages before and after, and both must find what the change says; then each must see what the other
//! writes, as before.

use crate::harness::{Case, Outcome, check, same, wait_until};
use crate::layout::*;
use crate::mirror::{Mirror, Way};
use crate::needs::Need;
use crate::pages;
use crate::ram::Ram;
use crate::window::{HUGE, Kind, WINDOW, Window, memory_for};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::collections::HashSet;
use std::os::fd::AsRawFd;

/// A guest, and the part of its memory that is to change.
pub struct Subject {
    /// What becomes another one.
    pub window: Window,
    /// Who looks.
    pub guest: Mirror,
    /// What is in the first word of each page.
    pub words: Vec<u64>,
    _ram: Ram,
}

impl Subject {
    /// A guest and a process that have both used all pages of a window of this kind.
    pub fn new(kind: Kind, way: Way) -> Outcome<Self> {
        let ram = memory_for(kind);
        let window = Window::over(&ram, kind)?;
        let guest = Mirror::start(&ram, way)?;
        let words = window.fill(0x1000_0000);
        let mut subject = Self {
            window,
            guest,
            words,
            _ram: ram,
        };
        subject.both_see("before the change")?;
        if kind.is_writable() && !(kind.has_file() && kind.is_private()) {
            // The guest's tables may write, too.
            subject.guest_writes(1, 0x2000_0001)?;
            subject.both_see("before the change")?;
        }
        Ok(subject)
    }

    /// What the guest sees of the window.
    pub fn guest_sees(&mut self) -> Outcome<Vec<u64>> {
        self.guest.read(WINDOW, self.window.pages)
    }

    /// Fails unless the guest, and then the process, find in every page what they should.
    pub fn both_see(&mut self, when: &str) -> Outcome {
        let guest = self.guest_sees()?;
        differ(&format!("what the guest sees {when}"), &guest, &self.words)?;
        let process = self.window.look();
        differ(
            &format!("what the process sees {when}"),
            &process,
            &self.words,
        )
    }

    /// Lets the guest write to one page.
    pub fn guest_writes(&mut self, page: u64, value: u64) -> Outcome {
        self.words[page as usize] = value;
        self.guest.write(WINDOW + page * PAGE, 1, value)
    }

    /// Lets the process write to one page.
    pub fn process_writes(&mut self, page: u64, value: u64) {
        self.words[page as usize] = value;
        self.window.set_word(page, value);
    }

    /// After the change as before: each sees what the other writes, into a page that was its own and into one that was not.
    pub fn lives_on(mut self) -> Outcome {
        self.both_see("after the change")?;
        if self.window.kind.is_writable() {
            self.guest_writes(0, 0x3000_0000)?;
            self.guest_writes(3, 0x3000_0003)?;
            self.process_writes(2, 0x4000_0002);
            self.process_writes(5, 0x4000_0005);
            self.both_see("after both have written again")?;
        }
        self.guest.end()
    }
}

/// Fails unless all words are the same; says where the first is that is not.
fn differ(what: &str, got: &[u64], want: &[u64]) -> Outcome {
    same(&format!("{what}: pages"), got.len(), want.len())?;
    let wrong = got
        .iter()
        .zip(want)
        .filter(|(got, want)| got != want)
        .count();
    match got.iter().zip(want).position(|(got, want)| got != want) {
        None => Ok(()),
        Some(page) => Err(format!(
            "{what}: page {page} and {} more: expected {:#x}, got {:#x}",
            wrong - 1,
            want[page],
            got[page]
        )),
    }
}

/// A change: what it is called, which kinds it is for, and what it does; it leaves in `words` what is there afterwards.
type Change = (&'static str, fn(Kind) -> bool, fn(&mut Subject) -> Outcome);

const CHANGES: &[Change] = &[
    (
        "unmapped-and-mapped-anew",
        |_| true,
        |subject| {
            subject.window.unmap()?;
            subject.window.map_anew(libc::MAP_FIXED_NOREPLACE)?;
            subject.words = subject.window.fill(0x5000_0000);
            Ok(())
        },
    ),
    (
        "mapped-over",
        |_| true,
        |subject| {
            subject.window.map_anew(libc::MAP_FIXED)?;
            subject.words = subject.window.fill(0x5000_0000);
            Ok(())
        },
    ),
    (
        "mapped-over-and-not-touched",
        |_| true,
        |subject| {
            // The guest is the first who looks.
            subject.window.map_anew(libc::MAP_FIXED)?;
            let file = subject.window.kind.has_file();
            subject.words = (0..subject.window.pages)
                .map(|page| if file { Window::in_file(page) } else { 0 })
                .collect();
            Ok(())
        },
    ),
    (
        "not-needed",
        |_| true,
        |subject| {
            subject
                .window
                .advise("MADV_DONTNEED", libc::MADV_DONTNEED)?;
            let kind = subject.window.kind;
            if kind.is_private() {
                for (page, word) in (0..).zip(&mut subject.words) {
                    *word = if kind.has_file() {
                        Window::in_file(page)
                    } else {
                        0
                    };
                }
            }
            Ok(())
        },
    ),
    (
        "one-page-not-needed",
        |kind| kind.is_private() && !kind.has_file() && !kind.is_huge(),
        |subject| {
            // In the middle of what may be one large page.
            subject
                .window
                .advise_pages("MADV_DONTNEED", libc::MADV_DONTNEED, 7, 1)?;
            subject.words[7] = 0;
            Ok(())
        },
    ),
    (
        "cold",
        |kind| !kind.is_huge(),
        |subject| subject.window.advise("MADV_COLD", libc::MADV_COLD),
    ),
    (
        "paged-out",
        |kind| !kind.is_huge(),
        |subject| page_out(&subject.window),
    ),
    (
        "moved-away-and-back",
        |_| true,
        |subject| {
            let home = subject.window.at;
            let away = Window::elsewhere(subject.window.kind)?;
            subject.window.move_to(away.at)?;
            differ("what moved away", &subject.window.look(), &subject.words)?;
            subject.window.move_to(home)
        },
    ),
    (
        "moved-over-by-another",
        |_| true,
        |subject| {
            let mut other = Window::elsewhere(subject.window.kind)?;
            subject.words = other.fill(0x6000_0000);
            other.move_to(subject.window.at)?;
            subject.window = other;
            Ok(())
        },
    ),
    ("cut-off-and-grown-again", Kind::has_file, |subject| {
        let len = subject.window.len();
        let file = subject.window.file()?;
        file.set_len(0).map_err(|e| format!("ftruncate: {e}"))?;
        file.set_len(len).map_err(|e| format!("ftruncate: {e}"))?;
        subject.words.fill(0);
        Ok(())
    }),
    ("with-a-hole-punched", Kind::has_file, |subject| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (file, len) = (subject.window.file()?, subject.window.len());
        // SAFETY: four integers.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, len as i64) };
        Errno::result(done).map_err(|e| format!("fallocate: {e}"))?;
        let private = subject.window.kind.is_private();
        for (page, word) in subject.words.iter_mut().enumerate() {
            // A page that the process has written to is no longer the file's.
            if !private || page % 2 == 1 {
                *word = 0;
            }
        }
        Ok(())
    }),
    ("written-to-through-the-file", Kind::has_file, |subject| {
        let written = subject.window.rewrite_file()?;
        let private = subject.window.kind.is_private();
        for (page, (word, written)) in subject.words.iter_mut().zip(written).enumerate() {
            if !private || page % 2 == 1 {
                *word = written;
            }
        }
        Ok(())
    }),
    (
        "free-to-be-taken",
        // A write to a large page would keep all of it.
        |kind| kind == Kind::PrivateAnonymous,
        |subject| {
            subject.window.advise("MADV_FREE", libc::MADV_FREE)?;
            // What is written to after that is wanted again, whoever writes.
            subject.guest_writes(4, 0x7000_0004)?;
            subject.process_writes(6, 0x7000_0006);
            page_out(&subject.window)?;
            for (page, word) in subject.words.iter_mut().enumerate() {
                if page != 4 && page != 6 {
                    *word = 0;
                }
            }
            Ok(())
        },
    ),
    ("read-only-for-a-while", Kind::is_writable, |subject| {
        subject.window.protect(libc::PROT_READ)?;
        subject.both_see("while it is read-only")?;
        subject.window.protect(libc::PROT_READ | libc::PROT_WRITE)
    }),
    ("forbidden-for-a-while", Kind::is_writable, |subject| {
        subject.window.protect(libc::PROT_NONE)?;
        subject.window.protect(libc::PROT_READ | libc::PROT_WRITE)
    }),
    (
        "locked-for-a-while",
        |_| true,
        |subject| {
            let (at, len) = (subject.window.at as *const _, subject.window.len() as usize);
            // SAFETY: a mapping of our own, which stays as it is.
            let locked = unsafe { libc::mlock(at, len) };
            Errno::result(locked).map_err(|e| format!("mlock: {e}"))?;
            subject.both_see("while it is locked")?;
            if subject.window.kind.is_writable() {
                subject.guest_writes(4, 0xb000_0004)?;
                subject.process_writes(6, 0xb000_0006);
            }
            // SAFETY: as above.
            let unlocked = unsafe { libc::munlock(at, len) };
            Errno::result(unlocked)
                .map(drop)
                .map_err(|e| format!("munlock: {e}"))
        },
    ),
    (
        "poked-by-a-debugger",
        // Into what the process itself may not write.
        |kind| kind.is_private() && !kind.is_huge(),
        |subject| {
            subject.window.protect(libc::PROT_READ)?;
            let at = subject.window.page(9);
            poke(at, 0x8000_0009)?;
            subject.words[9] = 0x8000_0009;
            subject.both_see("while it is read-only")?;
            subject.window.protect(libc::PROT_READ | libc::PROT_WRITE)
        },
    ),
    (
        "moved-to-another-node",
        |_| true,
        |subject| migrate(&subject.window),
    ),
    (
        "made-huge",
        |kind| kind == Kind::TransparentHuge,
        |subject| {
            // Small at first, by a hole in the middle; then in one piece again.
            subject
                .window
                .advise_pages("MADV_DONTNEED", libc::MADV_DONTNEED, 7, 1)?;
            subject.words[7] = 0;
            subject.both_see("in small pages")?;
            const MADV_COLLAPSE: i32 = 25;
            subject.window.advise("MADV_COLLAPSE", MADV_COLLAPSE)?;
            let entries = pages::entries(subject.window.at, HUGE / PAGE)?;
            check!(
                (0..)
                    .zip(&entries)
                    .all(|(page, entry)| entry.frame() == entries[0].frame() + page),
                "MADV_COLLAPSE made no large page"
            );
            Ok(())
        },
    ),
    (
        "written-back",
        |kind| kind == Kind::Disk,
        |subject| {
            // What was written is clean now; whoever writes again makes it dirty again.
            sync(&subject.window)?;
            subject.guest_writes(4, 0x9000_0004)?;
            subject.process_writes(6, 0x9000_0006);
            sync(&subject.window)?;
            page_out(&subject.window)?;
            let file = subject.window.read_file()?;
            differ("what came to the disk", &file, &subject.words)
        },
    ),
    (
        "written-to-after-it-came-back-clean",
        |kind| kind == Kind::PrivateAnonymous,
        |subject| {
            page_out(&subject.window)?;
            // Who only reads gets what is still in the swap, too: pages that could be dropped without a word, until somebody writes.
            subject.window.look();
            for page in 0..4 {
                subject.guest_writes(page, 0xb000_0000 + page)?;
            }
            page_out(&subject.window)
        },
    ),
    (
        "watched-for-writes",
        |kind| {
            matches!(
                kind,
                Kind::PrivateAnonymous
                    | Kind::SharedAnonymous
                    | Kind::Memfd
                    | Kind::TransparentHuge
            )
        },
        |subject| {
            std::fs::write("/proc/self/clear_refs", "4").map_err(|e| format!("clear_refs: {e}"))?;
            subject.guest_writes(4, 0xa000_0004)?;
            subject.process_writes(6, 0xa000_0006);
            let entries = pages::entries(subject.window.at, subject.window.pages)?;
            let dirty: Vec<usize> = (0..entries.len())
                .filter(|page| entries[*page].soft_dirty())
                .collect();
            // The pages of one large page are all or none.
            if subject.window.kind == Kind::TransparentHuge {
                check!(
                    dirty.contains(&4),
                    "the guest's write was not seen: {dirty:?}"
                );
                return Ok(());
            }
            same("pages seen to be written to", dirty, vec![4, 6])
        },
    ),
];

/// What a change needs of the Host, beside what the kind of mapping does.
fn need(change: &str, kind: Kind) -> Option<Need> {
    match change {
        "paged-out" if !kind.needs_swap() => None,
        "paged-out" | "free-to-be-taken" | "written-to-after-it-came-back-clean" => {
            Some(Need::Swap)
        }
        "moved-to-another-node" => Some(Need::TwoNodes),
        _ => None,
    }
}

/// How often the kernel is asked for what it may refuse while a page is in use.
pub const ROUNDS: usize = 20;

/// Missing in `libc`.
pub const MADV_PAGEOUT: i32 = 21;

/// `MADV_PAGEOUT`, until no page is there.
pub fn page_out(window: &Window) -> Outcome {
    if window.kind.has_file() {
        sync(window)?;
    }
    let mut there = 0;
    for _ in 0..ROUNDS {
        // Pages that a CPU has not yet put where the kernel looks for them stay: this brings them there.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
        window.advise("MADV_PAGEOUT", MADV_PAGEOUT)?;
        let entries = pages::entries(window.at, window.pages)?;
        there = entries.iter().filter(|entry| entry.present()).count();
        if there == 0 {
            return Ok(());
        }
    }
    same("pages that cannot be paged out", there, 0)
}

/// `move_pages()` to another node: until no page is where it was.
pub fn migrate(window: &Window) -> Outcome {
    let before = pages::entries(window.at, window.pages)?;
    let step = if window.pages * PAGE == HUGE {
        HUGE
    } else {
        PAGE
    };
    // Of a large page only one part is named, unless it is in small ones; of the others, those that are there.
    let there = |at: &u64| before[((at - window.at) / PAGE) as usize].present();
    let at = (window.at..window.at + window.len()).step_by(step as usize);
    let at: Vec<u64> = at.filter(there).collect();
    let ask = |nodes: *const i32| -> Outcome<Vec<i32>> {
        const MPOL_MF_MOVE: i32 = 2;
        let mut status = vec![0; at.len()];
        // SAFETY: all three arrays are as long as is said, or absent.
        let done = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                at.len(),
                at.as_ptr(),
                nodes,
                status.as_mut_ptr(),
                MPOL_MF_MOVE,
            )
        };
        Errno::result(done).map_err(|e| format!("move_pages: {e}"))?;
        Ok(status)
    };
    let mut stayed = 0;
    for _ in 0..ROUNDS {
        let now = ask(std::ptr::null())?;
        check!(
            now.iter().all(|node| (0..2).contains(node)),
            "where the pages are: {now:?}"
        );
        let nodes: Vec<i32> = now.iter().map(|node| 1 - node).collect();
        ask(nodes.as_ptr())?;
        let after = pages::entries(window.at, window.pages)?;
        let same = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before.present() && before.frame() == after.frame());
        stayed = same.count();
        if stayed == 0 {
            return Ok(());
        }
    }
    same("pages that cannot be moved", stayed, 0)
}

/// `fsync()` of the window's file.
fn sync(window: &Window) -> Outcome {
    window.file()?.sync_all().map_err(|e| format!("fsync: {e}"))
}

/// A debugger of this process stores a word in its memory, which may be read-only: then it becomes the process's own.
fn poke(at: u64, value: u64) -> Outcome {
    // SAFETY: the child uses nothing that another thread may have held locked.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Parent { child } => {
            let end = waitpid(child, None);
            same("the debugger's end", end, Ok(WaitStatus::Exited(child, 0)))
        }
        ForkResult::Child => {
            let debugged = getppid();
            let poked = ptrace::attach(debugged)
                .and_then(|()| waitpid(debugged, None))
                .and_then(|_| ptrace::write(debugged, at as *mut _, value as i64))
                .and_then(|()| ptrace::detach(debugged, None));
            // SAFETY: ends the process.
            unsafe { libc::_exit(poked.is_err().into()) }
        }
    }
}

/// Two pages become one, in two tables, and two again when somebody writes.
fn merged(way: Way) -> Outcome {
    let mut subject = Subject::new(Kind::PrivateAnonymous, way)?;
    for page in 0..subject.window.pages {
        subject.process_writes(page, 0xb000_0000 + page / 2);
    }
    subject.both_see("before they are merged")?;
    subject
        .window
        .advise("MADV_MERGEABLE", libc::MADV_MERGEABLE)?;
    merge(&subject.window, subject.window.pages as usize / 2)?;
    subject.lives_on()
}

/// Waits until so many pages of a window are the same page of the machine as some other of it.
pub fn merge(window: &Window, so_many: usize) -> Outcome {
    let _merging = Merging::on()?;
    wait_until("the pages are merged", || {
        let Ok(entries) = pages::entries(window.at, window.pages) else {
            return false;
        };
        let there = entries.iter().filter(|entry| entry.present());
        let frames: HashSet<u64> = there.clone().map(|entry| entry.frame()).collect();
        there.count() - frames.len() >= so_many
    })
}

/// The Host's search for pages with the same content, at full speed until this is dropped.
struct Merging;

impl Merging {
    fn set(file: &str, value: &str) -> Outcome {
        let path = format!("/sys/kernel/mm/ksm/{file}");
        std::fs::write(&path, value).map_err(|e| format!("{path}: {e}"))
    }

    fn on() -> Outcome<Self> {
        Self::set("pages_to_scan", "1000")?;
        Self::set("sleep_millisecs", "0")?;
        Self::set("run", "1")?;
        Ok(Self)
    }
}

impl Drop for Merging {
    fn drop(&mut self) {
        let _ = Self::set("run", "0");
    }
}

/// A child has the same pages: what either writes to a private one, the other does not see; a shared one stays shared.
fn forked(kind: Kind, way: Way) -> Outcome {
    let mut subject = Subject::new(kind, way)?;
    let mut child = Child::of(&subject.window)?;
    let before = subject.words.clone();
    subject.both_see("after fork()")?;
    subject.guest_writes(0, 0xc000_0000)?;
    subject.process_writes(2, 0xc000_0002);
    child.write(4, 0xc000_0004)?;
    let written = |page: usize| 0xc000_0000 + page as u64;
    let (ours, its) = if kind.is_private() {
        let mut its = before;
        its[4] = written(4);
        (subject.words.clone(), its)
    } else {
        subject.words[4] = written(4);
        (subject.words.clone(), subject.words.clone())
    };
    subject.words = ours;
    subject.both_see("after parent, guest and child have written")?;
    for (page, want) in (0..8).zip(&its) {
        same(
            &format!("what the child sees in page {page}"),
            child.read(page)?,
            *want,
        )?;
    }
    child.end()?;
    subject.lives_on()
}

/// A process that was forked, and reads and writes the window's pages when told to.
struct Child {
    pid: Pid,
    to: std::os::unix::net::UnixStream,
}

impl Child {
    fn of(window: &Window) -> Outcome<Self> {
        let (to, from) = std::os::unix::net::UnixStream::pair().map_err(|e| e.to_string())?;
        // SAFETY: the child uses nothing that another thread may have held locked: it reads, writes and ends.
        match unsafe { fork() }.map_err(|e| e.to_string())? {
            ForkResult::Parent { child } => Ok(Self { pid: child, to }),
            ForkResult::Child => {
                drop(to);
                let mut words = [0u64; 3];
                while serve(&from, window, &mut words) {}
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            }
        }
    }

    fn ask(&mut self, words: [u64; 3]) -> Outcome<u64> {
        use std::io::{Read, Write};
        let mut answer = [0; 8];
        self.to
            .write_all(words.map(u64::to_ne_bytes).as_flattened())
            .and_then(|()| self.to.read_exact(&mut answer))
            .map_err(|e| format!("the child: {e}"))?;
        Ok(u64::from_ne_bytes(answer))
    }

    fn read(&mut self, page: u64) -> Outcome<u64> {
        self.ask([0, page, 0])
    }

    fn write(&mut self, page: u64, value: u64) -> Outcome {
        self.ask([1, page, value]).map(drop)
    }

    fn end(self) -> Outcome {
        drop(self.to);
        let status = waitpid(self.pid, None);
        same(
            "the child's end",
            status,
            Ok(WaitStatus::Exited(self.pid, 0)),
        )
    }
}

/// One request of the child's parent; false when there is none any more.
fn serve(from: &std::os::unix::net::UnixStream, window: &Window, words: &mut [u64; 3]) -> bool {
    let (fd, at) = (from.as_raw_fd(), words.as_mut_ptr());
    // SAFETY: the array is as long as that.
    if unsafe { libc::read(fd, at.cast(), 24) } != 24 {
        return false;
    }
    if words[0] == 1 {
        window.set_word(words[1], words[2]);
    } else {
        words[0] = window.word(words[1]);
    }
    // SAFETY: as above.
    unsafe { libc::write(fd, at.cast(), 8) == 8 }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (how, way) in super::WAYS {
        for (what, kind) in Kind::ALL {
            for (change, fits, make) in CHANGES {
                if fits(kind) {
                    let name = format!("mapping/{what}/{change}/{how}");
                    let case = Case::new(name, move || {
                        let mut subject = Subject::new(kind, way)?;
                        make(&mut subject)?;
                        subject.lives_on()
                    });
                    cases.push(case.needing(kind.need()).needing(need(change, kind)));
                }
            }
            if kind.is_writable() {
                let name = format!("mapping/{what}/forked/{how}");
                let case = Case::new(name, move || forked(kind, way));
                cases.push(case.needing(kind.need()).needing([Need::SOCKETS]));
            }
        }
        let name = format!("mapping/private-anonymous/merged/{how}");
        cases.push(Case::new(name, move || merged(way)).needing([Need::MERGING]));
    }
    cases
}
