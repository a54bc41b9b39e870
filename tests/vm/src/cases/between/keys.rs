//! Which keys are one.

use super::*;
use crate::harness::join;
use crate::host;
use crate::needs::Need;
use crate::shared::unmap;
use std::os::fd::FromRawFd;

/// A sender's key leads nowhere: nothing happens, to either.
fn leads_nowhere(prepare: impl Fn(&Shared, &mut Guest) -> Outcome) -> Outcome {
    let shared = Shared::new(2)?;
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
    let mut sender = sender(&shared, &[(BUFFER, 5)])?;
    prepare(&shared, &mut sender)?;
    same("used_len of the sender", sent(&mut sender)?, 0)?;
    same("used_len of the receiver", receiver.ram.word32(DMA), 0)?;
    not_interrupted(&receiver)
}

/// A sender's key is its Launcher's own.
fn leads_to_the_launcher(prepare: impl Fn(&Shared, &Guest) -> Outcome) -> Outcome {
    let shared = Shared::new(1)?;
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
    let mut sender = sender(&shared, &[(BUFFER, 5)])?;
    prepare(&shared, &sender)?;
    sender.boot()?;
    let key = THERE + SLOT;
    same("read()", sender.step()?, Event::Dma { addr: DMA, key })?;
    same("used_len of the receiver", receiver.ram.word32(DMA), 0)?;
    not_interrupted(&receiver)
}

/// A guest that sends twice to its key, with a word to the Launcher in between.
fn twice(shared: &Shared) -> Outcome<Guest> {
    let mut guest = sender(shared, &[(BUFFER, 5)])?;
    guest.call([hc::SEND_DMA, THERE + SLOT, DMA, 0]);
    guest.call([hc::SEND_DMA, 0, READY, 0]);
    Ok(guest)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("between/two-numbers-for-one-key", || {
            let shared = Shared::new(1)?;
            let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            sender.ram.set_bytes(BUFFER, b"hello");
            same("used_len of the sender", sent(&mut sender)?, 5)?;
            same("used_len of the receiver", receiver.ram.word32(DMA), 5)?;
            let bytes = receiver.ram.bytes(BUFFER, 6);
            same("the bytes", bytes, b"hello\0".to_vec())?;
            interrupted(&receiver)
        }),
        Case::new("between/another-word-of-the-page", || {
            leads_nowhere(|_, sender| {
                sender.param(0, THERE + SLOT + 4);
                Ok(())
            })
        }),
        Case::new("between/another-page-of-the-file", || {
            leads_nowhere(|shared, sender| shared.map(1, &sender.ram, THERE))
        }),
        Case::new("between/another-file", || {
            leads_nowhere(|_, sender| Shared::new(1)?.map(0, &sender.ram, THERE))
        }),
        Case::new("between/a-private-mapping-of-the-same-file", || {
            leads_to_the_launcher(|shared, sender| {
                shared.map_as(libc::MAP_PRIVATE, 0, &sender.ram, THERE)
            })
        }),
        Case::new("between/a-page-of-a-file-that-is-no-regular-one", || {
            leads_to_the_launcher(|_, sender| {
                // struct perf_event_attr of 112 bytes: type software (1), its size, and the event that never happens (9).
                let mut attr = [0u64; 14];
                (attr[0], attr[1]) = (1 | 112 << 32, 9);
                let call = libc::SYS_perf_event_open;
                // SAFETY: perf_event_open of this process on any CPU; the structure lives across the call.
                let fd = unsafe { libc::syscall(call, attr.as_ptr(), 0, -1, -1, 0) };
                check!(fd >= 0, "perf_event_open: {}", nix::errno::Errno::last());
                // SAFETY: it was just opened.
                let file = unsafe { std::fs::File::from_raw_fd(fd as i32) };
                Shared(file).map(0, &sender.ram, THERE)
            })
        })
        .needing([Need::Kernel("perf_mmap")]),
        Case::new("between/memory-without-a-file", || {
            leads_to_the_launcher(|_, sender| {
                sender.ram.replace(THERE, 0);
                Ok(())
            })
        }),
        Case::new("between/a-key-where-nothing-is-mapped", || {
            let shared = Shared::new(1)?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            unmap(&sender.ram, THERE)?;
            same(
                "reason",
                sender.run()?,
                "failed to get page 0x283000".into(),
            )
        }),
        Case::new("between/not-to-itself", || {
            let shared = Shared::new(1)?;
            let mut guest = sender(&shared, &[(BUFFER, 5)])?;
            guest.dma(DMA + dma::SIZE, &[(BUFFER + 64, 64)]);
            guest.interrupts();
            let list = DMA + dma::SIZE;
            let bind = guest.call([hc::BIND_DMA, THERE + SLOT, list, 1 << 8 | IRQ]);
            same("used_len", sent(&mut guest)?, 0)?;
            same("BIND_DMA", guest.returned(bind), 1)?;
            same("used_len of its buffer", guest.ram.word32(list), 0)
        }),
        Case::new("between/the-mapping-becomes-the-launchers-own", || {
            // What the Host has learned of a key is not believed when the mapping has changed.
            let shared = Shared::new(1)?;
            let receiver = receiver(&shared, &[vec![(BUFFER, 64)], vec![(BUFFER + 64, 64)]])?;
            let mut sender = twice(&shared)?;
            sender.boot()?;
            same(
                "read()",
                sender.step()?,
                Event::Dma {
                    addr: READY,
                    key: 0,
                },
            )?;
            same("the first", receiver.ram.word32(DMA), 5)?;
            sender.ram.replace(THERE, 0);
            let key = THERE + SLOT;
            same("read()", sender.step()?, Event::Dma { addr: DMA, key })?;
            same("the second", receiver.ram.word32(DMA + dma::SIZE), 0)
        }),
        Case::new("between/the-mapping-becomes-shared", || {
            let shared = Shared::new(1)?;
            let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
            let mut sender = twice(&shared)?;
            sender.ram.replace(THERE, 0);
            sender.boot()?;
            let key = THERE + SLOT;
            same("read()", sender.step()?, Event::Dma { addr: DMA, key })?;
            same(
                "read()",
                sender.step()?,
                Event::Dma {
                    addr: READY,
                    key: 0,
                },
            )?;
            shared.map(0, &sender.ram, THERE)?;
            sender.powered_off(&sender.finish()?, 0)?;
            same("used_len of the receiver", receiver.ram.word32(DMA), 5)
        }),
        Case::new("between/unbound", || {
            // Twice: the second time there is nothing to take back.
            let shared = Shared::new(1)?;
            let mut receiver = unborn_receiver(&shared, &[vec![(BUFFER, 64)]])?;
            let unbind = [1u64, 0, 0].map(|answer| {
                (
                    answer,
                    receiver.call([hc::BIND_DMA, HERE + SLOT, DMA, 1 << 8]),
                )
            });
            born(&mut receiver)?;
            for (answer, call) in unbind {
                same("unbinding", receiver.returned(call), answer)?;
            }
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            same("used_len of the sender", sent(&mut sender)?, 0)?;
            not_interrupted(&receiver)
        }),
        Case::new("between/unbound-and-bound-again", || {
            let shared = Shared::new(1)?;
            let mut receiver = unborn_receiver(&shared, &[vec![(BUFFER, 64)]])?;
            for irq in [0, 0, IRQ, 0, 0, IRQ] {
                receiver.call([hc::BIND_DMA, HERE + SLOT, DMA, 1 << 8 | irq]);
            }
            born(&mut receiver)?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            same("used_len of the sender", sent(&mut sender)?, 5)?;
            interrupted(&receiver)
        }),
        Case::new("between/one-page-by-two-numbers", || {
            // Two keys of one guest are one key for others: what is bound first is found first, and unbinding one leaves the other.
            let shared = Shared::new(1)?;
            let mut receiver = unborn_receiver(&shared, &[vec![(BUFFER, 64)]])?;
            shared.map(0, &receiver.ram, HERE + 2 * PAGE)?;
            let second = HERE + 2 * PAGE + SLOT;
            receiver.dma(DMA + dma::SIZE, &[(BUFFER + 64, 64)]);
            let bind = receiver.call([hc::BIND_DMA, second, DMA + dma::SIZE, 1 << 8 | IRQ]);
            receiver.call([hc::BIND_DMA, HERE + SLOT, DMA, 1 << 8]);
            born(&mut receiver)?;
            same("BIND_DMA", receiver.returned(bind), 1)?;
            let mut sender = sender(&shared, &[(BUFFER, 5)])?;
            same("used_len of the sender", sent(&mut sender)?, 5)?;
            same("used_len", receiver.ram.word32(DMA + dma::SIZE), 5)?;
            interrupted(&receiver)
        }),
        Case::new("between/the-first-of-two", || {
            let shared = Shared::new(1)?;
            let first = receiver(&shared, &[vec![(BUFFER, 64)]])?;
            let second = receiver(&shared, &[vec![(BUFFER, 64)]])?;
            let mut one = sender(&shared, &[(BUFFER, 5)])?;
            same("used_len of the sender", sent(&mut one)?, 5)?;
            same("the first", first.ram.word32(DMA), 5)?;
            same("the second", second.ram.word32(DMA), 0)?;
            drop(first);
            let mut other = sender(&shared, &[(BUFFER, 4)])?;
            same("used_len of the sender", sent(&mut other)?, 4)?;
            same("the second", second.ram.word32(DMA), 4)?;
            interrupted(&second)
        }),
        Case::new("between/the-file-is-held-as-long-as-it-is-bound", || {
            use nix::mount::{MsFlags, mount, umount};
            join(std::thread::spawn(|| {
                let at = format!("/tmp/between.{}", std::process::id());
                std::fs::create_dir_all(&at).map_err(|e| e.to_string())?;
                let none: Option<&str> = None;
                mount(none, at.as_str(), Some("tmpfs"), MsFlags::empty(), none)
                    .map_err(|e| format!("mount: {e}"))?;
                let file = std::fs::File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(format!("{at}/keys"))
                    .map_err(|e| e.to_string())?;
                let shared = Shared(file);
                shared.0.set_len(PAGE).map_err(|e| e.to_string())?;
                let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
                receiver.ram.replace(HERE, 0);
                drop(shared);
                let busy = umount(at.as_str());
                same("umount", busy, Err(nix::errno::Errno::EBUSY))?;
                drop(receiver);
                let gone = umount(at.as_str());
                same("umount", gone, Ok(()))?;
                same("users of the module", host::module_users()?, 0)
            }))
        }),
    ]
}
