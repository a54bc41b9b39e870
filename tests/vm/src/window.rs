//! A piece of a guest's memory that is some kind of mapping, and may become another one while the guest runs.

use crate::harness::{Outcome, same};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// Where it lies in the guest's memory, and what the guest has in all.
pub const WINDOW: u64 = MEMORY;
/// Size of a large page.
pub const HUGE: u64 = 2 << 20;

/// Kinds of mappings that differ for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PrivateAnonymous,
    SharedAnonymous,
    Memfd,
    /// Of a file in a tmpfs, of which only the even pages are this process's own.
    TmpfsPrivate,
    /// Of a file on a disk.
    Disk,
    /// The same as `TmpfsPrivate`, on a disk.
    DiskPrivate,
    /// Of a file on a disk, and never writable.
    DiskReadOnly,
    /// Anonymous pages of 2 MiB where the kernel can.
    TransparentHuge,
    /// From the pool of pages of 2 MiB.
    Huge,
}

use Kind::*;

impl Kind {
    /// All of them.
    pub const ALL: [(&'static str, Self); 9] = [
        ("private-anonymous", PrivateAnonymous),
        ("shared-anonymous", SharedAnonymous),
        ("memfd", Memfd),
        ("private-file", TmpfsPrivate),
        ("file-on-a-disk", Disk),
        ("private-file-on-a-disk", DiskPrivate),
        ("read-only-file", DiskReadOnly),
        ("transparent-huge-pages", TransparentHuge),
        ("huge-pages", Huge),
    ];

    /// What it needs of the Host.
    pub fn need(self) -> Option<Need> {
        match self {
            Disk | DiskPrivate | DiskReadOnly => Some(Need::Disk),
            TransparentHuge => Some(Need::File("/sys/kernel/mm/transparent_hugepage")),
            Huge => Some(Need::File("/proc/sys/vm/nr_hugepages")),
            _ => None,
        }
    }

    /// Whether it is the memory of a file that others may have, too.
    pub fn has_file(self) -> bool {
        matches!(
            self,
            Memfd | TmpfsPrivate | Disk | DiskPrivate | DiskReadOnly
        )
    }

    /// Whether what is written stays with this process.
    pub fn is_private(self) -> bool {
        !matches!(self, SharedAnonymous | Memfd | Disk | DiskReadOnly)
    }

    /// Whether it may be written to.
    pub fn is_writable(self) -> bool {
        self != DiskReadOnly
    }

    /// Whether it has no pages of 4 KiB.
    pub fn is_huge(self) -> bool {
        self == Huge
    }

    /// Whether its pages can go to where a file keeps them, or else need a place to be swapped to.
    pub fn needs_swap(self) -> bool {
        !matches!(self, Disk | DiskReadOnly)
    }

    /// Its size as a window.
    fn pages(self) -> u64 {
        match self {
            TransparentHuge | Huge => HUGE / PAGE,
            _ => 32,
        }
    }

    fn file(self) -> Outcome<Option<File>> {
        let open = |path: String| -> Outcome<Option<File>> {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            let file = file.map_err(|e| format!("{path}: {e}"))?;
            std::fs::remove_file(&path).map_err(|e| format!("{path}: {e}"))?;
            Ok(Some(file))
        };
        // Two windows of one process are two files.
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("window.{}.{number}", std::process::id());
        match self {
            PrivateAnonymous | SharedAnonymous | TransparentHuge | Huge => Ok(None),
            Memfd => {
                // SAFETY: a string and a flag.
                let fd = unsafe { libc::memfd_create(c"window".as_ptr(), libc::MFD_CLOEXEC) };
                let fd = Errno::result(fd).map_err(|e| format!("memfd_create: {e}"))?;
                // SAFETY: it was just opened.
                Ok(Some(unsafe { File::from_raw_fd(fd) }))
            }
            TmpfsPrivate => open(format!("/tmp/{name}")),
            Disk | DiskPrivate | DiskReadOnly => open(format!("{}/{name}", host::DISK)),
        }
    }
}

/// The page's word of a file that nobody has written to through a mapping.
fn of_file(page: u64) -> u64 {
    0xf11e_0000_0000 + page
}

/// A window, over a part of a guest's memory or anywhere.
pub struct Window {
    /// What kind of mapping it is.
    pub kind: Kind,
    /// Its address in this process.
    pub at: u64,
    /// Its size.
    pub pages: u64,
    file: Option<File>,
}

/// Memory for a guest with room for a window of this kind.
pub fn memory_for(kind: Kind) -> Ram {
    Ram::at_border(WINDOW + kind.pages() * PAGE, HUGE)
}

impl Window {
    /// Replaces what a guest has at [`WINDOW`].
    pub fn over(ram: &Ram, kind: Kind) -> Outcome<Self> {
        Self::at(kind, ram.base() + WINDOW)
    }

    /// One of its own, somewhere: aligned as the kind needs it.
    pub fn elsewhere(kind: Kind) -> Outcome<Self> {
        let room = Ram::at_border(kind.pages() * PAGE, HUGE);
        let window = Self::at(kind, room.base());
        // It is not unmapped any more: the window is there.
        std::mem::forget(room);
        window
    }

    /// Plain memory, in small pages, for all of a guest.
    pub fn plain(len: u64) -> Outcome<Self> {
        let room = Ram::at_border(len, HUGE);
        let window = Self {
            kind: Kind::PrivateAnonymous,
            at: room.base(),
            pages: len / PAGE,
            file: None,
        };
        std::mem::forget(room);
        window.map(libc::MAP_FIXED)?;
        Ok(window)
    }

    fn at(kind: Kind, at: u64) -> Outcome<Self> {
        let mut window = Self {
            kind,
            at,
            pages: kind.pages(),
            file: None,
        };
        window.map_anew(libc::MAP_FIXED)?;
        Ok(window)
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.pages * PAGE
    }

    /// The file behind it.
    pub fn file(&self) -> Outcome<&File> {
        self.file.as_ref().ok_or_else(|| "no file".to_owned())
    }

    /// A new mapping of the same kind at the same place, with a new file if it has one. `fixed` says what may be there.
    pub fn map_anew(&mut self, fixed: i32) -> Outcome {
        self.file = self.kind.file()?;
        if let Some(file) = &self.file {
            self.fill_file(file, 0)?;
        }
        self.map(fixed)
    }

    /// Writes each page's word into the file, plus `more`.
    fn fill_file(&self, file: &File, more: u64) -> Outcome {
        let mut bytes = vec![0; self.len() as usize];
        for (page, bytes) in (0..).zip(bytes.chunks_mut(PAGE as usize)) {
            bytes[..8].copy_from_slice(&(of_file(page) + more).to_ne_bytes());
        }
        file.write_all_at(&bytes, 0)
            .map_err(|e| format!("writing the file: {e}"))
    }

    /// Writes new words into the file with `pwrite()`: what is there then.
    pub fn rewrite_file(&self) -> Outcome<Vec<u64>> {
        self.fill_file(self.file()?, 0x1_0000)?;
        Ok((0..self.pages)
            .map(|page| of_file(page) + 0x1_0000)
            .collect())
    }

    /// What `pread()` finds in the file.
    pub fn read_file(&self) -> Outcome<Vec<u64>> {
        let word = |page| -> Outcome<u64> {
            let mut word = [0; 8];
            self.file()?
                .read_exact_at(&mut word, page * PAGE)
                .map_err(|e| format!("reading the file: {e}"))?;
            Ok(u64::from_ne_bytes(word))
        };
        (0..self.pages).map(word).collect()
    }

    /// Maps the file, or nothing.
    fn map(&self, fixed: i32) -> Outcome {
        let prot = libc::PROT_READ
            | if self.kind.is_writable() {
                libc::PROT_WRITE
            } else {
                0
            };
        let mut flags = fixed
            | if self.kind.is_private() {
                libc::MAP_PRIVATE
            } else {
                libc::MAP_SHARED
            };
        if self.file.is_none() {
            flags |= libc::MAP_ANONYMOUS;
        }
        if self.kind == Huge {
            flags |= libc::MAP_HUGETLB;
            host::reserve_huge_pages()?;
        }
        let fd = self.file.as_ref().map_or(-1, |file| file.as_raw_fd());
        // SAFETY: a mapping of ours is replaced by another one. No Rust value lives there, and whoever looks does so by `Ram`,
        // whose accesses are volatile, or by `word`.
        let at = unsafe { libc::mmap(self.at as *mut _, self.len() as usize, prot, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(format!("mmap of a window: {}", Errno::last()));
        }
        same("where the window is", at as u64, self.at)?;
        match self.kind {
            TransparentHuge => self.advise("MADV_HUGEPAGE", libc::MADV_HUGEPAGE),
            PrivateAnonymous if Self::huge_pages_are_usual() => {
                self.advise("MADV_NOHUGEPAGE", libc::MADV_NOHUGEPAGE)
            }
            _ => Ok(()),
        }
    }

    fn huge_pages_are_usual() -> bool {
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .is_ok_and(|text| text.contains("[always]"))
    }

    /// `madvise()` of all of it.
    pub fn advise(&self, name: &str, advice: i32) -> Outcome {
        self.advise_pages(name, advice, 0, self.pages)
    }

    /// `madvise()` of some pages.
    pub fn advise_pages(&self, name: &str, advice: i32, first: u64, pages: u64) -> Outcome {
        let at = self.at + first * PAGE;
        // SAFETY: the mapping is ours, and only read and written by volatile accesses.
        let done = unsafe { libc::madvise(at as *mut _, (pages * PAGE) as usize, advice) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("{name}: {e}"))
    }

    /// `munmap()`: from now on nobody may look.
    pub fn unmap(&self) -> Outcome {
        // SAFETY: the mapping is ours, and whoever looked at it knows that it is gone.
        let done = unsafe { libc::munmap(self.at as *mut _, self.len() as usize) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("munmap: {e}"))
    }

    /// `mprotect()` of all of it.
    pub fn protect(&self, prot: i32) -> Outcome {
        // SAFETY: the mapping is ours, and whoever looks at it knows what is allowed.
        let done = unsafe { libc::mprotect(self.at as *mut _, self.len() as usize, prot) };
        Errno::result(done)
            .map(drop)
            .map_err(|e| format!("mprotect: {e}"))
    }

    /// `mremap()` of all of it to where `to` is now, or to somewhere else.
    pub fn move_to(&mut self, to: u64) -> Outcome {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let len = self.len() as usize;
        // SAFETY: both places are ours, and only read and written by volatile accesses.
        let at = unsafe { libc::mremap(self.at as *mut _, len, len, flags, to) };
        if at == libc::MAP_FAILED {
            return Err(format!("mremap: {}", Errno::last()));
        }
        self.at = to;
        Ok(())
    }

    /// Address of a page.
    pub fn page(&self, page: u64) -> u64 {
        assert!(page < self.pages);
        self.at + page * PAGE
    }

    /// What this process finds in the first word of a page.
    pub fn word(&self, page: u64) -> u64 {
        // SAFETY: mapped, and plain data.
        unsafe { (self.page(page) as *const u64).read_volatile() }
    }

    /// Lets this process write the first word of a page.
    pub fn set_word(&self, page: u64, value: u64) {
        // SAFETY: mapped writable, and plain data.
        unsafe { (self.page(page) as *mut u64).write_volatile(value) }
    }

    /// What this process finds in all of them.
    pub fn look(&self) -> Vec<u64> {
        (0..self.pages).map(|page| self.word(page)).collect()
    }

    /// Lets this process write to all pages that are to be its own, `first` and so on; what is there then.
    pub fn fill(&self, first: u64) -> Vec<u64> {
        if self.kind.is_writable() {
            let step = if self.kind.has_file() && self.kind.is_private() {
                2
            } else {
                1
            };
            for page in (0..self.pages).step_by(step) {
                self.set_word(page, first + page);
            }
        }
        self.look()
    }

    /// What the file has in a page that is not this process's own.
    pub fn in_file(page: u64) -> u64 {
        of_file(page)
    }
}
