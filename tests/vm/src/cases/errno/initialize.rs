//! LHREQ_INITIALIZE: each argument that is refused, and what a refusal leaves behind.

use super::{dead, ready};
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL, lhreq};
use crate::blobs::work;
use crate::device::{Device, Init};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, granted, refused};
use crate::layout::PAGE;
use crate::ram::{Edge, Ram};
use crate::signals;
use nix::errno::Errno::{EBUSY, EFAULT, EINTR, EINVAL, ENOENT, ENOSPC};

/// Each of the bad arguments is refused with EINVAL; the good ones still work on the same file afterwards.
fn bad(
    name: &str,
    spoil: impl Fn(&mut Init) -> Vec<u64> + 'static,
    pick: fn(&mut Init) -> &mut u64,
) -> Case {
    Case::new(format!("errno/initialize/{name}"), move || {
        let mut guest = Guest::new(work::SURVIVED);
        let device = Device::open();
        for value in spoil(&mut guest.init) {
            let mut init = guest.init;
            *pick(&mut init) = value;
            refused(&format!("{value:#x}"), device.initialize(&init), EINVAL)?;
        }
        granted(
            "the good ones, after those",
            device.initialize(&guest.init),
            48,
        )?;
        drop(device);
        guest.run_to_poweroff(0)
    })
}

fn good(
    name: &str,
    change: impl Fn(&mut Init) -> Vec<u64> + 'static,
    pick: fn(&mut Init) -> &mut u64,
) -> Case {
    Case::new(format!("errno/initialize/{name}"), move || {
        let mut guest = Guest::new(work::SURVIVED);
        for value in change(&mut guest.init) {
            let mut init = guest.init;
            *pick(&mut init) = value;
            granted(&format!("{value:#x}"), Device::open().initialize(&init), 48)?;
        }
        Ok(())
    })
}

const BAD_PAGE_OFFSETS: [u64; 9] = [
    0,
    0x1000,
    0x0000_7fff_ffff_f000,
    0x0000_8000_0000_0000,
    0x7fff_ffff_ffff_f000,
    0xfffe_ffff_ffff_f000,
    SWITCHER_4LEVEL,
    SWITCHER_4LEVEL + 0x7f_ffff_f000,
    SWITCHER_5LEVEL,
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/initialize/arguments-unreadable", || {
            let (edge, guest, device) = (Edge::new(), Guest::new(work::SURVIVED), Device::open());
            for good in 8..48 {
                let at = edge.words(&guest.init.words(), good);
                refused(
                    &format!("{good} bytes readable"),
                    device.write_at(at, 48),
                    EFAULT,
                )?;
            }
            granted(
                "all of them readable",
                device.write_at(edge.words(&guest.init.words(), 48), 48),
                48,
            )
        }),
        Case::new("errno/initialize/too-short", || {
            let (guest, device) = (Guest::new(work::SURVIVED), Device::open());
            let words = guest.init.words();
            for len in 8..48 {
                refused(
                    &format!("{len} bytes"),
                    device.write_at(words.as_ptr() as u64, len),
                    EFAULT,
                )?;
            }
            granted("48 bytes", device.write(&words), 48)
        }),
        Case::new("errno/initialize/flags", || {
            let (mut guest, device) = (Guest::new(work::SURVIVED), Device::open());
            for flags in (1..64)
                .map(|bit| 1 << bit)
                .chain([3, u64::MAX, u64::MAX - 1])
            {
                let answer = device.initialize_with(&guest.init, flags);
                refused(&format!("{flags:#x}"), answer, EINVAL)?;
            }
            let words = [&guest.init.words()[..], &[0]].concat();
            for len in 49..56 {
                let answer = device.write_at(words.as_ptr() as u64, len);
                refused(&format!("{len} bytes"), answer, EFAULT)?;
            }
            let edge = Edge::new();
            let answer = device.write_at(edge.words(&words, 48), 56);
            refused("flags that are unreadable", answer, EFAULT)?;
            for flags in [0, lhreq::WITHOUT_SMAP] {
                let answer = Device::open().initialize_with(&guest.init, flags);
                granted(&format!("{flags:#x}"), answer, 56)?;
            }
            guest.flags = lhreq::WITHOUT_SMAP;
            guest.run_to_poweroff(0)
        }),
        bad(
            "base-not-aligned",
            |i| vec![i.base + 1, i.base + 8, i.base + PAGE - 1, 1],
            |i| &mut i.base,
        ),
        bad(
            "base-beyond-user-space",
            |_| {
                vec![
                    0x7fff_ffff_f000,
                    0x8000_0000_0000,
                    0xffff_8880_0000_0000,
                    0xffff_ffff_8000_0000,
                    (-4096i64) as u64,
                ]
            },
            |i| &mut i.base,
        ),
        bad(
            "pfn-limit",
            |_| {
                vec![
                    0,
                    1 << 36,
                    1 << 47,
                    1 << 48,
                    1 << 51,
                    1 << 52,
                    1 << 52 | 1024,
                    1 << 63,
                    u64::MAX,
                    u64::MAX / 4096,
                ]
            },
            |i| &mut i.pfn_limit,
        ),
        Case::new(
            "errno/initialize/memory-up-to-the-end-of-user-space",
            || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.init.pfn_limit = 0x7fff_ffff_f000 / PAGE - guest.init.base / PAGE;
                let mut too_much = guest.init;
                // With five levels user space is larger, but not without bounds.
                too_much.pfn_limit = if crate::host::five_levels() {
                    1 << 44
                } else {
                    guest.init.pfn_limit + 1
                };
                refused("beyond it", Device::open().initialize(&too_much), EINVAL)?;
                too_much.pfn_limit = guest.init.pfn_limit - 1;
                granted(
                    "all but a page of it",
                    Device::open().initialize(&too_much),
                    48,
                )
            },
        ),
        Case::new("errno/initialize/base-plus-limit-wraps", || {
            let (guest, device) = (Guest::new(work::SURVIVED), Device::open());
            for base in [guest.init.base, 0x7fff_ffff_e000, 0x1000] {
                for pfn_limit in [
                    0u64.wrapping_sub(base) / PAGE,
                    0u64.wrapping_sub(base) / PAGE + 1,
                    (1 << 52) - base / PAGE + 1,
                ] {
                    let init = Init {
                        base,
                        pfn_limit,
                        ..guest.init
                    };
                    refused(
                        &format!("base {base:#x}, limit {pfn_limit:#x}"),
                        device.initialize(&init),
                        EINVAL,
                    )?;
                }
            }
            Ok(())
        }),
        bad(
            "pgdir",
            |i| {
                let end = i.pfn_limit * PAGE;
                vec![
                    i.pgdir + 1,
                    i.pgdir + 8,
                    i.pgdir + 0xfff,
                    end,
                    end + PAGE,
                    1 << 47,
                    1 << 63,
                    (-4096i64) as u64,
                    u64::MAX,
                ]
            },
            |i| &mut i.pgdir,
        ),
        bad(
            "start-not-canonical",
            |_| {
                vec![
                    0x8000_0000_0000,
                    0xffff_7fff_ffff_ffff,
                    1 << 63,
                    0x7fff_ffff_ffff_ffff,
                    SWITCHER_5LEVEL,
                ]
            },
            |i| &mut i.start,
        ),
        good(
            "start-canonical",
            |_| vec![0, 0x40_0000, 0x7fff_ffff_ffff, 0xffff_ffff_ffff_ffff],
            |i| &mut i.start,
        ),
        bad(
            "page-offset",
            |_| BAD_PAGE_OFFSETS.to_vec(),
            |i| &mut i.page_offset,
        ),
        good(
            "page-offset-good",
            |_| {
                vec![
                    0xffff_8080_0000_0000,
                    0xffff_8880_0000_0000,
                    0xffff_ffff_8000_0000,
                    0xffff_ffff_ffff_f000,
                ]
            },
            |i| &mut i.page_offset,
        ),
        Case::new("errno/initialize/twice", || {
            let (edge, guest) = (Edge::new(), ready()?);
            refused(
                "the same again",
                guest.device().initialize(&guest.init),
                EBUSY,
            )?;
            refused(
                "with bad arguments",
                guest
                    .device()
                    .write(&[lhreq::INITIALIZE, 1, 0, 1, 1 << 63, 0]),
                EBUSY,
            )?;
            refused(
                "with unreadable arguments",
                guest.device().write_at(edge.words(&[0], 8), 48),
                EBUSY,
            )?;
            refused(
                "with no arguments",
                guest.device().write(&[lhreq::INITIALIZE]),
                EBUSY,
            )?;
            guest.powered_off(&guest.finish()?, 0)?;
            refused("once dead", guest.device().initialize(&guest.init), ENOENT)
        }),
        Case::new("errno/initialize/not-again-after-death", || {
            let guest = dead()?;
            refused("dead", guest.device().initialize(&guest.init), ENOENT)
        }),
        Case::new("errno/initialize/hole-for-memory", || {
            // Nothing at all is mapped there: a matter for the guest, not for INITIALIZE.
            let mut guest = Guest::new(work::SURVIVED);
            let hole = Ram::new(guest.ram.len());
            guest.init.base = hole.base();
            drop(hole);
            let reason = guest.run()?;
            if reason.starts_with("POWEROFF") {
                Err(format!("a guest without memory ran: {reason}"))
            } else {
                Ok(())
            }
        }),
        Case::new("errno/initialize/many-guests-at-once", many),
        Case::slow("errno/initialize/no-place", no_place),
        Case::slow("errno/initialize/signal", || {
            let guest = Guest::new(work::SURVIVED);
            signals::interrupts("INITIALIZE", EINTR, |shot| {
                let device = Device::open();
                shot.fire();
                let answer = device.initialize(&guest.init);
                shot.over();
                if answer == Err(EINTR) {
                    granted("INITIALIZE, once more", device.initialize(&guest.init), 48)?;
                }
                Ok(answer)
            })
        }),
    ]
}

/// A Host has 512 places for CPUs of Guests. Whoever comes when all are taken hears so, and can come again.
fn no_place() -> Outcome {
    let guest = || {
        let mut guest = Guest::new(work::SURVIVED);
        guest.cpus = 64;
        guest.boot().map(drop)?;
        Ok::<_, String>(guest)
    };
    let mut guests: Vec<Guest> = Vec::new();
    for _ in 0..8 {
        let guest = guest()?;
        for cpu in 1..64 {
            let answer = guest.device().of_cpu(cpu).take_cpu();
            granted(&format!("INITIALIZE at {cpu}"), answer, 8)?;
        }
        guests.push(guest);
    }
    let (device, init) = (Device::open(), guests[0].init);
    refused("one too many", device.initialize(&init), ENOSPC)?;
    refused("again", device.initialize(&init), ENOSPC)?;
    guests.pop();
    granted("when there is room", device.initialize(&init), 48)?;
    guests[0].powered_off(&guests[0].finish()?, 0)
}

/// Forty guests of one thread, taking turns.
fn many() -> Outcome {
    let mut guests = Vec::new();
    for _ in 0..40 {
        let mut guest = Guest::new(work::SEND_MANY);
        guest.param(0, 5);
        guest.boot()?;
        guests.push(guest);
    }
    for round in 0..5 {
        for (number, guest) in guests.iter().enumerate() {
            match guest.step()? {
                crate::guest::Event::Dma { addr, key: 76 } => guest.ram.set_word32(addr, 1),
                event => return Err(format!("guest {number}, round {round}: {event:x?}")),
            }
        }
    }
    for guest in &guests {
        guest.powered_off(&guest.finish()?, 0)?;
    }
    Ok(())
}
