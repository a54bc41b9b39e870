//! DMA lists that name what they may not, lists that are nowhere, and more bindings than anybody needs.

use super::{dies, hostile, starts};
use crate::abi::{dma, hc};
use crate::blobs::{attack, work};
use crate::guest::{Event, Guest};
use crate::harness::{Case, check, same};
use crate::layout::*;

/// A guest that sends a list of these sections.
fn send(sections: &[(u64, u16)]) -> Guest {
    let guest = Guest::new(work::SEND);
    guest.dma(DMA, sections);
    guest
}

/// A guest that sends the list at this address, wherever that is.
fn send_from(at: u64) -> Guest {
    let mut guest = Guest::new(work::SURVIVED);
    guest.call([hc::SEND_DMA, 0, at, 0]);
    guest
}

const BAD_ENTRIES: &[(&str, u64, u16)] = &[
    ("beyond-memory", MEMORY, 16),
    ("ends-beyond-memory", MEMORY - 8, 16),
    ("far-beyond", 1 << 47, 16),
    ("kernel-address", 0xffff_8880_0000_0000, 16),
    ("wraps", u64::MAX - 7, 16),
    ("wraps-to-zero", 0u64.wrapping_sub(16), 16),
    ("page-number-wraps", 1 << 63, 16),
    ("longer-than-a-page", BUFFER, 4097),
    ("as-long-as-can-be", BUFFER, 0xffff),
    ("crosses-a-page", BUFFER + 4095, 2),
    ("crosses-a-page-by-far", BUFFER + 1, 4096),
];

const BAD_LISTS: &[(&str, u64)] = &[
    ("beyond-memory", MEMORY),
    ("ends-beyond-memory", MEMORY - dma::SIZE + 8),
    ("last-bytes-of-memory", MEMORY - 8),
    ("last-byte-of-memory", MEMORY - 1),
    ("far-beyond", 1 << 47),
    ("kernel-address", 0xffff_8880_0000_0000),
    ("wraps", u64::MAX - 7),
    ("wraps-to-zero", 0u64.wrapping_sub(dma::SIZE)),
    ("page-number-wraps", 1 << 63),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, addr, len) in BAD_ENTRIES {
        cases.push(dies(
            format!("send/entry-{name}"),
            move || send(&[(*addr, *len)]),
            starts("bad DMA entry"),
        ));
        cases.push(dies(
            format!("send/last-entry-{name}"),
            move || {
                let mut sections = vec![(BUFFER, 16); 15];
                sections.push((*addr, *len));
                send(&sections)
            },
            starts("bad DMA entry"),
        ));
        cases.push(hostile(
            format!("send/entry-{name}-behind-the-end"),
            move || {
                // What lies behind an entry of length zero is not part of the list.
                let mut guest = send(&[(BUFFER, 16), (BUFFER, 0), (*addr, *len)]);
                guest.boot()?;
                same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
                guest.powered_off(&guest.finish()?, 0)
            },
        ));
        cases.push(hostile(format!("bind/entry-{name}"), move || {
            // The Launcher must never be handed a buffer that it must not write to.
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA + 168, &[(*addr, *len)]);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.call([hc::BIND_DMA, 20, DMA + 168, 1 << 8 | 3]);
            guest.boot()?;
            match guest.step()? {
                Event::Dma { .. } => {}
                Event::Died(reason) if reason.starts_with("bad DMA entry") => return Ok(()),
                event => return Err(format!("{event:x?}")),
            }
            let answer = guest.device().get_dma(20);
            if let Ok(address) = answer {
                return Err(format!("GETDMA handed out the list at {address:#x}"));
            }
            let reason = guest.reason()?;
            check!(
                reason.starts_with("bad DMA entry"),
                "expected death by a bad DMA entry, got {reason:?}"
            );
            Ok(())
        }));
    }
    for (name, addr, len) in [
        ("a-whole-page", BUFFER, 4096),
        ("to-the-end-of-memory", MEMORY - 16, 16),
        ("one-byte", BUFFER + 4095, 1),
    ] {
        cases.push(hostile(format!("send/good-entry-{name}"), move || {
            let mut guest = send(&[(addr, len); 16]);
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            guest.powered_off(&guest.finish()?, 0)
        }));
    }
    for (name, at) in BAD_LISTS {
        cases.push(dies(
            format!("send/list-{name}"),
            move || send_from(*at),
            starts("bad "),
        ));
        cases.push(hostile(format!("bind/list-{name}"), move || {
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 16)]);
            let bind = guest.call([hc::BIND_DMA, 20, *at, 1 << 8 | 3]);
            guest.boot()?;
            match guest.step()? {
                Event::Died(reason) if reason.starts_with("bad ") => return Ok(()),
                Event::Dma { .. } if guest.returned(bind) == 0 => return Ok(()),
                Event::Dma { .. } => {}
                event => return Err(format!("{event:x?}")),
            }
            let answer = guest.device().get_dma(20);
            check!(
                answer.is_err(),
                "GETDMA: expected an error, got {answer:x?}"
            );
            let reason = guest.finish()?;
            check!(
                reason.starts_with("bad ") || reason == "POWEROFF: 0",
                "got {reason:?}"
            );
            Ok(())
        }));
    }
    cases.push(hostile("send/list-just-below-the-limit", || {
        let mut guest = send_from(MEMORY - dma::SIZE);
        guest.boot()?;
        same(
            "read()",
            guest.step()?,
            Event::Dma {
                addr: MEMORY - dma::SIZE,
                key: 0,
            },
        )?;
        guest.powered_off(&guest.finish()?, 0)
    }));
    cases.push(hostile("send/good-keys", || {
        for key in [0, 4, 0x1000, MEMORY - 4] {
            let mut guest = send(&[(BUFFER, 16)]);
            guest.param(0, key);
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key })?;
        }
        Ok(())
    }));
    // Keys are addresses of words in the guest's memory.
    for key in [
        1,
        2,
        3,
        MEMORY - 2,
        MEMORY,
        1 << 47,
        0xffff_8880_0000_0000,
        u64::MAX - 3,
        u64::MAX,
        1 << 63,
    ] {
        cases.push(dies(
            format!("send/key-{key:#x}"),
            move || {
                let mut guest = send(&[(BUFFER, 16)]);
                guest.param(0, key);
                guest
            },
            starts("bad dma key"),
        ));
        cases.push(dies(
            format!("bind/key-{key:#x}"),
            move || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.call([hc::BIND_DMA, key, DMA, 1 << 8 | 3]);
                guest
            },
            starts("bad dma key"),
        ));
    }
    for (name, count) in [
        ("none", 0),
        ("too-many", 1 << 20),
        ("count-wraps", u64::MAX >> 8),
        ("size-wraps", u64::MAX / 168 + 1),
    ] {
        cases.push(hostile(format!("bind/{name}"), move || {
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 16)]);
            let bind = guest.call([hc::BIND_DMA, 20, FREE, count << 8 | 3]);
            // All full, so that a search would have to go through the whole of the array.
            for at in (FREE..MEMORY - dma::SIZE).step_by(dma::SIZE as usize) {
                guest.ram.set_word32(at, 1);
            }
            guest.boot()?;
            match guest.step()? {
                Event::Died(reason) if reason.starts_with("bad ") => return Ok(()),
                Event::Dma { .. } if guest.returned(bind) == 0 => return Ok(()),
                Event::Dma { .. } => {}
                event => return Err(format!("{event:x?}")),
            }
            let answer = guest.device().get_dma(20);
            check!(
                answer.is_err(),
                "GETDMA: expected an error, got {answer:x?}"
            );
            Ok(())
        }));
    }
    for irq in [32, 33, 255] {
        cases.push(hostile(format!("bind/irq-{irq}"), move || {
            let mut guest = Guest::new(work::SURVIVED);
            let bind = guest.call([hc::BIND_DMA, 20, DMA, 1 << 8 | irq]);
            let reason = guest.run()?;
            check!(
                reason == "POWEROFF: 0" && guest.returned(bind) == 0 || reason.starts_with("bad "),
                "BIND_DMA returned {}, {reason:?}",
                guest.returned(bind)
            );
            Ok(())
        }));
    }
    cases.push(hostile("bind/hoarding", || {
        let mut guest = Guest::new(attack::HOARD);
        guest.param(0, 5000);
        guest.run_to_poweroff(0)?;
        let granted = guest.ram.word(COUNT);
        check!(
            (1..=1024).contains(&granted),
            "of 5000 bindings {granted} were granted; expected a limit"
        );
        Ok(())
    }));
    cases
}
