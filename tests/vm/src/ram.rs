//! Memory of this process: a guest's RAM, and buffers that end where the next byte is out of bounds.

use crate::layout::PAGE;
use nix::sys::mman::{
    MRemapFlags, MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, mprotect, mremap, munmap,
};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;

/// An anonymous mapping that is unmapped when the last handle is gone. Handles may be used from several threads, and a guest
/// writes to it behind the compiler's back: all accesses are volatile.
#[derive(Clone)]
pub struct Ram(Arc<Mapping>);

struct Mapping {
    /// What a handle speaks of.
    at: NonNull<libc::c_void>,
    len: usize,
    /// What is to be unmapped with it: more than that, or nothing.
    whole: Option<(NonNull<libc::c_void>, usize)>,
}

// SAFETY: a mapping belongs to the process, not to a thread, and `Ram` only makes volatile accesses to it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some((at, len)) = self.whole {
            // SAFETY: the mapping is ours and no handle is left.
            let _ = unsafe { munmap(at, len) };
        }
    }
}

impl Ram {
    /// Zeroed memory of this process.
    pub fn new(len: u64) -> Self {
        Self::map(len, MapFlags::MAP_PRIVATE)
    }

    /// Zeroed memory that children made by fork share.
    pub fn shared(len: u64) -> Self {
        Self::map(len, MapFlags::MAP_SHARED)
    }

    /// Zeroed memory of this process that begins where a page of `border` bytes would.
    pub fn at_border(len: u64, border: u64) -> Self {
        let whole = Self::anonymous(len + border, MapFlags::MAP_PRIVATE);
        let at = (whole.0.as_ptr() as u64).next_multiple_of(border);
        let at = NonNull::new(at as *mut libc::c_void).expect("not null");
        Self(Arc::new(Mapping {
            at,
            len: len as usize,
            whole: Some(whole),
        }))
    }

    /// Memory that somebody else has mapped, for good.
    pub fn borrowed(at: u64, len: u64) -> Self {
        Self(Arc::new(Mapping {
            at: NonNull::new(at as *mut libc::c_void).expect("not null"),
            len: len as usize,
            whole: None,
        }))
    }

    fn map(len: u64, flags: MapFlags) -> Self {
        let whole = Self::anonymous(len, flags);
        let (at, len) = whole;
        Self(Arc::new(Mapping {
            at,
            len,
            whole: Some(whole),
        }))
    }

    fn anonymous(len: u64, flags: MapFlags) -> (NonNull<libc::c_void>, usize) {
        let len = NonZeroUsize::new(len as usize).expect("some memory");
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { mmap_anonymous(None, len, prot, flags) }.expect("mmap of guest memory");
        (at, len.get())
    }

    /// Address in this process: what a Launcher calls `base`.
    pub fn base(&self) -> u64 {
        self.0.at.as_ptr() as u64
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.0.len as u64
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        assert!(
            offset + size_of::<T>() as u64 <= self.len(),
            "offset {offset:#x} is not in this memory"
        );
        (self.base() + offset) as *mut T
    }

    /// Reads a value of plain data; any alignment.
    fn load<T: Copy>(&self, offset: u64) -> T {
        let at = self.at::<T>(offset);
        if at.is_aligned() {
            // SAFETY: inside the mapping, aligned, and plain data.
            unsafe { at.read_volatile() }
        } else {
            // SAFETY: inside the mapping, and plain data.
            unsafe { at.read_unaligned() }
        }
    }

    fn store<T: Copy>(&self, offset: u64, value: T) {
        let at = self.at::<T>(offset);
        if at.is_aligned() {
            // SAFETY: inside the mapping, aligned, and plain data.
            unsafe { at.write_volatile(value) }
        } else {
            // SAFETY: inside the mapping, and plain data.
            unsafe { at.write_unaligned(value) }
        }
    }

    /// Reads a 64-bit word.
    pub fn word(&self, offset: u64) -> u64 {
        self.load(offset)
    }

    /// Writes a 64-bit word.
    pub fn set_word(&self, offset: u64, value: u64) {
        self.store(offset, value)
    }

    /// Reads a 32-bit word.
    pub fn word32(&self, offset: u64) -> u32 {
        self.load(offset)
    }

    /// Writes a 32-bit word.
    pub fn set_word32(&self, offset: u64, value: u32) {
        self.store(offset, value)
    }

    /// Reads a 16-bit word.
    pub fn word16(&self, offset: u64) -> u16 {
        self.load(offset)
    }

    /// Writes a 16-bit word.
    pub fn set_word16(&self, offset: u64, value: u16) {
        self.store(offset, value)
    }

    /// Reads a byte.
    pub fn byte(&self, offset: u64) -> u8 {
        self.load(offset)
    }

    /// Writes a byte.
    pub fn set_byte(&self, offset: u64, value: u8) {
        self.store(offset, value)
    }

    /// Copies out.
    pub fn bytes(&self, offset: u64, len: u64) -> Vec<u8> {
        (offset..offset + len).map(|at| self.byte(at)).collect()
    }

    /// Copies in.
    pub fn set_bytes(&self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            self.set_byte(at, *byte);
        }
    }

    /// Changes the protection of whole pages.
    pub fn protect(&self, offset: u64, len: u64, prot: ProtFlags) {
        let at = NonNull::new(self.at::<libc::c_void>(offset)).expect("not null");
        assert!(offset + len <= self.len());
        // SAFETY: part of our own mapping; the caller leaves a forbidden part alone.
        unsafe { mprotect(at, len as usize, prot) }.expect("mprotect");
    }

    /// Moves a page of other memory over one of it; the other begins with this word.
    pub fn replace(&self, offset: u64, word: u64) {
        let at = NonNull::new(self.at::<libc::c_void>(offset)).expect("not null");
        let (page, flags) = (
            PAGE as usize,
            MRemapFlags::MREMAP_FIXED | MRemapFlags::MREMAP_MAYMOVE,
        );
        assert!(offset + PAGE <= self.len());
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let len = NonZeroUsize::new(page).expect("a page");
        // SAFETY: a new mapping, wherever the kernel likes.
        let other = unsafe { mmap_anonymous(None, len, rights, MapFlags::MAP_PRIVATE) };
        let other = other.expect("mmap of a page");
        // SAFETY: mapped just now, and writable; what it is moved over is part of our own mapping.
        unsafe {
            other.cast::<u64>().write_volatile(word);
            mremap(other, page, page, flags, Some(at)).expect("mremap");
        }
    }

    /// Gives the pages back to the kernel: they read as zeroes again.
    pub fn discard(&self, offset: u64, len: u64) {
        let at = NonNull::new(self.at::<libc::c_void>(offset)).expect("not null");
        assert!(offset + len <= self.len());
        // SAFETY: part of our own mapping, whose contents are ours to drop.
        unsafe { madvise(at, len as usize, MmapAdvise::MADV_DONTNEED) }.expect("madvise");
    }
}

/// A page followed by one that nobody may touch: `ending(n)` is an address with just n good bytes behind it.
pub struct Edge(Ram);

impl Edge {
    /// A page of zeroes and its forbidden neighbour.
    pub fn new() -> Self {
        let ram = Ram::new(2 * PAGE);
        ram.protect(PAGE, PAGE, ProtFlags::PROT_NONE);
        Self(ram)
    }

    /// The address with `good` accessible bytes behind it.
    pub fn ending(&self, good: u64) -> u64 {
        self.0.base() + PAGE - good
    }

    /// Stores the words so that only `good` bytes of them are accessible, and returns their address.
    pub fn words(&self, words: &[u64], good: u64) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        self.0.set_bytes(PAGE - good, &bytes[..good as usize]);
        self.ending(good)
    }

    /// An address that nothing can be read from or written to.
    pub fn forbidden(&self) -> u64 {
        self.ending(0)
    }

    /// A readable word at the very end of the page.
    pub fn last_words(&self, count: u64) -> Vec<u64> {
        (0..count)
            .map(|i| self.0.word(PAGE - 8 * (count - i)))
            .collect()
    }
}
