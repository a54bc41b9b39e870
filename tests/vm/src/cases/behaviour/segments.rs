//! The Launcher's own segments: a read() leaves them as they were.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, granted};
use crate::host;
use crate::layout::*;
use crate::segments::{Descriptor, Segments, TLS, local, read_with};

/// Linux's own descriptor of user data.
const USER_DATA: u16 = 0x2b;
/// Bases: as the selector says, none, one of 32 bits, one of 47.
const BASES: [Option<u64>; 4] = [None, Some(0), Some(0x1234_5000), Some(0x7f12_3456_7000)];

/// A guest that sends for ever.
fn sender() -> Outcome<Guest> {
    let mut guest = Guest::new(work::SEND_MANY);
    guest.dma(DMA, &[(BUFFER, 16)]);
    guest.param(0, u64::MAX);
    guest.boot()?;
    Ok(guest)
}

/// Whether there are descriptors in the GDT for programs to set. They are for 32-bit ones, and set by a system call of theirs.
fn has_thread_areas() -> bool {
    host::knows("__ia32_sys_set_thread_area")
}

/// Reads with each of these segments, and finds them again.
fn kept(all: impl Iterator<Item = Segments>) -> Outcome {
    Descriptor::data(0).to_local_table().make()?;
    Descriptor::data(1).at(0x5000).to_local_table().make()?;
    if has_thread_areas() {
        let index = u32::from(TLS >> 3);
        Descriptor::data(index).to_thread_area().make()?;
    }
    let guest = sender()?;
    for segments in all {
        let mut words = [0; 2];
        let (answer, before, after) = read_with(guest.device().fd(), &mut words, segments, None);
        granted(&format!("read() with {segments:x?}"), answer, 16)?;
        check!(
            before == after,
            "{segments:x?}: before read() {before:x?}, afterwards {after:x?}"
        );
        guest.ram.set_word32(DMA, 16);
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let tls = if has_thread_areas() { TLS } else { 0 };
    let selectors = [0, USER_DATA, local(0), tls];
    let with_base = [0, USER_DATA, local(1), tls];
    vec![
        Case::new("segments/ds-and-es-are-kept", move || {
            kept(selectors.into_iter().flat_map(|ds| {
                selectors.map(|es| Segments {
                    ds,
                    es,
                    ..Segments::default()
                })
            }))
        }),
        Case::new("segments/fs-and-gs-are-kept-with-their-bases", move || {
            // Without FSGSBASE, programs cannot give a selector another base.
            let bases = if host::has("fsgsbase") {
                &BASES[..]
            } else {
                &BASES[..1]
            };
            let mut all = Vec::new();
            for fs in with_base {
                for gs in with_base {
                    for &fs_base in bases {
                        all.extend(bases.iter().map(|&gs_base| Segments {
                            fs,
                            gs,
                            fs_base,
                            gs_base,
                            ..Segments::default()
                        }));
                    }
                }
            }
            kept(all.into_iter())
        }),
    ]
}
