//! The memory of a measured guest, which is the same under every hypervisor.
//!
//! As [`crate::layout`] says; the kit's linear map covers the first 4 MiB. Above them lie frames that a guest's own tables map,
//! or promise.

use crate::blobs::Blob;
use crate::layout::{BODY, PAGE, USER, USER_STACK_TOP, USER_VA, va};
use crate::ram::Ram;
use crate::tables::{Tables, pte};
use nix::errno::Errno;
use ruler::operations::TIMES;

/// Where a handler of traps or interrupts lies.
pub const HANDLER: u64 = 0x16000;
/// Where system calls arrive.
pub const ENTRY: u64 = 0x17000;
/// Where a body goes when it is done.
pub const FINISH: u64 = 0x17800;

/// KVM fills so many entries at once.
const STRIDE: u64 = 8;
/// The first frame that is not used otherwise.
const FRAMES: u64 = 8 << 20;
/// All memory: a frame for each page.
pub const SIZE: u64 = FRAMES + TIMES * STRIDE * PAGE;
/// Pages that the guest's tables map.
pub const MAPPED: u64 = 0x1_0000_0000;
/// Pages that the guest's handler gives.
pub const PROMISED: u64 = 0x2_0000_0000;

/// Memory whose every page the Host has already given.
pub fn memory() -> Result<Ram, String> {
    let ram = Ram::new(SIZE);
    in_small_pages(&ram)?;
    for page in (0..SIZE).step_by(PAGE as usize) {
        ram.set_word(page, 1);
        ram.set_word(page, 0);
    }
    Ok(ram)
}

/// A page of 2 MiB would save nearly all faults that are to be counted.
pub fn in_small_pages(ram: &Ram) -> Result<(), String> {
    // SAFETY: advice about memory of ours.
    match unsafe {
        libc::madvise(
            ram.base() as *mut libc::c_void,
            ram.len() as usize,
            libc::MADV_NOHUGEPAGE,
        )
    } {
        0 => Ok(()),
        // A kernel that has no large ones.
        _ if Errno::last() == Errno::EINVAL => Ok(()),
        _ => Err(format!("madvise: {}", Errno::last())),
    }
}

/// Maps every frame, one after the other, from [`MAPPED`] on. The entries say that they were used, as Linux makes all of its own: KVM
/// fills no neighbour that was not.
pub fn map_all(tables: &mut Tables) {
    for page in 0..TIMES * STRIDE {
        tables.map(
            MAPPED + page * PAGE,
            FRAMES + page * PAGE,
            pte::USER | pte::A,
        );
    }
}

/// Makes the tables for the pages from [`PROMISED`] on, all empty. What a handler must know: the first frame to give, and where
/// the entries are.
pub fn promise_all(tables: &mut Tables) -> [u64; 2] {
    let first = tables.entry(PROMISED, 1);
    for page in 0..TIMES {
        assert_eq!(
            tables.entry(PROMISED + page * PAGE, 1),
            first + 8 * page,
            "the tables lie side by side"
        );
    }
    [FRAMES, va(first)]
}

/// Maps the program's pages for ring 3.
pub fn map_program(tables: &mut Tables) {
    for pa in (USER..USER_STACK_TOP).step_by(PAGE as usize) {
        tables.map(USER_VA + pa - USER, pa, pte::USER);
    }
}

/// Copies code to where it belongs.
pub fn load(ram: &Ram, at: u64, code: Blob) {
    assert!(at != BODY || code.bytes().len() as u64 <= HANDLER - BODY);
    ram.set_bytes(at, code.bytes());
}
