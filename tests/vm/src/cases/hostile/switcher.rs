//! The Switcher's slot: every page of a Guest's area is read, written and jumped to, on every CPU.

use super::hostile;
use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL};
use crate::blobs::attack;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, join, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use crate::slot;
use nix::unistd::Pid;
use std::ops::Range;

/// How many pages of an area are tried in every way. The rest is nowhere.
const FIRST: u64 = 16;

/// The number of a hostile guest's area. The bystander's is 0.
pub(super) const OWN: usize = 1;

/// The first pages of a hostile guest's area.
fn pages() -> impl Iterator<Item = u64> {
    (0..FIRST).map(|page| slot::area(OWN) + page * PAGE)
}

/// Goes to each CPU in turn and does this with every page of a Guest's area.
fn on_every_page(mut attack: impl FnMut(u64) -> Outcome) -> Outcome {
    for cpu in host::cpus() {
        host::pin(Pid::from_raw(0), cpu)?;
        pages().try_for_each(&mut attack)?;
    }
    Ok(())
}

/// A reason that is right for an attempt to use a page of the slot.
fn refused(reason: &str) -> bool {
    ["attempt to access switcher pages", "bad "]
        .iter()
        .any(|text| reason.starts_with(text))
        || trap_inside_or_from(reason)
}

/// #PF, or #GP for an address that a four-level guest cannot name, or what the Switcher's code does to somebody in ring 1.
fn trap_inside_or_from(reason: &str) -> bool {
    [1, 3, 6, 10, 11, 12, 13, 14]
        .iter()
        .any(|vector| reason.starts_with(&format!("unhandled trap {vector} ")))
}

/// Copies a page of the slot out: its contents, or None if it may not be read.
fn copy(page: u64) -> Outcome<Option<Ram>> {
    let mut guest = Guest::new(attack::COPY_PAGE);
    guest.param(0, page);
    let reason = guest.run()?;
    if reason == "POWEROFF: 0" {
        return Ok(Some(guest.ram));
    }
    check!(refused(&reason), "reading {page:#x}: {reason:?}");
    Ok(None)
}

/// Copies a page of the slot out if it may be read and holds data: what instructions look like as words means nothing.
fn copy_data(page: u64) -> Outcome<Option<Ram>> {
    let mut guest = Guest::new(attack::JUMP);
    guest.param(0, page);
    guest.boot()?;
    let reason = guest.finish_within(1000)?.unwrap_or_default();
    let no_code = reason.starts_with("attempt to access switcher pages")
        || reason.starts_with(&format!("unhandled trap 14 at {page:#x}"));
    // The next one is to have the same area.
    drop(guest);
    if no_code { copy(page) } else { Ok(None) }
}

/// Whether a page of the slot can be written to.
fn writable(page: u64) -> Outcome<bool> {
    let mut guest = Guest::new(attack::WRITE);
    guest.param(0, page + 0x100).param(1, 0);
    Ok(guest.run()? == "POWEROFF: 0")
}

/// Goes to each CPU in turn and does this with a copy (at FREE) of every page of the area that holds data.
fn on_every_page_of_data(look: impl Fn(u64, Ram) -> Outcome) -> Outcome {
    let mut seen = 0;
    on_every_page(|page| match copy_data(page)? {
        Some(ram) => {
            seen += 1;
            look(page, ram)
        }
        None => Ok(()),
    })?;
    check!(
        seen > 0,
        "no page of the slot can be read: is this the Switcher at all?"
    );
    Ok(())
}

/// Whether a word looks like an address of the Host's kernel: upper half, and neither in the Switcher's slot nor an address that
/// only the guest has.
fn host_pointer(word: u64) -> bool {
    let guests_own = (PAGE_OFFSET..PAGE_OFFSET + MEMORY).contains(&word);
    let small_negative = word > 0xffff_ffff_ffff_f000;
    let in_slot = word >> 39 == SWITCHER_4LEVEL >> 39 || word >> 48 == SWITCHER_5LEVEL >> 48;
    let upper_half = word >> 48 == 0xffff || host::five_levels() && word >> 56 == 0xff;
    upper_half && !guests_own && !small_negative && !in_slot
}

/// Whether a word looks like a CR3 of the Host's, with whatever label: the address of a page of the Host's memory. In
/// the first 16 MiB there are few tables, and many small numbers.
fn host_table(word: u64, memory: &[Range<u64>]) -> bool {
    const LABELS: u64 = 0x80f;
    let is_there = word >= 16 << 20 && memory.iter().any(|part| part.contains(&word));
    is_there && word & 0xfff & !LABELS == 0
}

/// Fails unless a page holds this part of the code, and behind it nothing.
fn only_this(code: &[u8], index: usize, page: &[u8], at: u64) -> Outcome {
    let part = &code[index * PAGE as usize..];
    let part = &part[..part.len().min(PAGE as usize)];
    let differs = part.iter().zip(page).position(|(want, is)| want != is);
    check!(
        differs.is_none(),
        "{at:#x} is not the Switcher's code from byte {differs:x?} on"
    );
    // Nothing, or what traps.
    let more = page[part.len()..]
        .iter()
        .position(|byte| !matches!(byte, 0 | 0xcc));
    check!(
        more.is_none(),
        "{at:#x}: behind the Switcher's {:#x} bytes there are others",
        part.len()
    );
    Ok(())
}

/// Goes to each CPU in turn and does this with its number, and with the pages of the area that can be read and written to.
fn on_every_cpu(mut attack: impl FnMut(usize, &[u64], &[u64]) -> Outcome) -> Outcome {
    for cpu in host::cpus() {
        host::pin(Pid::from_raw(0), cpu)?;
        let (mut all_readable, mut all_writable) = (Vec::new(), Vec::new());
        for page in pages() {
            if copy(page)?.is_some() {
                all_readable.push(page);
            }
            if writable(page)? {
                all_writable.push(page);
            }
        }
        check!(
            !all_writable.is_empty(),
            "no page of the slot can be written to: is this the Switcher at all?"
        );
        attack(cpu, &all_readable, &all_writable)?;
    }
    Ok(())
}

/// What is planted on a CPU.
fn secret(cpu: usize) -> u64 {
    0x5ec2_e700_1234_5600 + cpu as u64
}

/// A guest that leaves a word of its own behind.
fn planter(cpu: usize, pages: &[u64]) -> Guest {
    with_pages(Guest::new(attack::PLANT), secret(cpu), pages)
}

/// A guest that looks for it.
fn searcher(cpu: usize, pages: &[u64]) -> Guest {
    with_pages(Guest::new(attack::SEARCH), !secret(cpu), pages)
}

fn with_pages(mut guest: Guest, word: u64, pages: &[u64]) -> Guest {
    guest.traps();
    guest.param(0, word).param(1, pages.len() as u64);
    for (index, page) in (2..).zip(pages) {
        guest.param(index, *page);
    }
    guest
}

fn found_nothing(ram: &Ram) -> Outcome {
    let (found, at) = (ram.word(OUT), ram.word(OUT + 8));
    check!(
        found == 0,
        "another guest's word was found {found} times, last at {at:#x}"
    );
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        hostile("switcher/read-every-page", || {
            let (mut all, mut readable) = (0, 0);
            on_every_page(|page| {
                all += 1;
                readable += u64::from(copy(page)?.is_some());
                Ok(())
            })?;
            check!(
                readable > 0 && readable < all,
                "{readable} of {all} pages can be read: is this the Switcher at all?"
            );
            Ok(())
        }),
        Case {
            limit: std::time::Duration::from_secs(300),
            ..hostile("switcher/the-rest-of-the-area-is-nowhere", || {
                for page in (FIRST..slot::PAGES).map(|page| slot::area(OWN) + page * PAGE) {
                    check!(copy(page)?.is_none(), "{page:#x} can be read");
                }
                Ok(())
            })
        },
        hostile("switcher/code-pages-hold-nothing-else", || {
            let code = slot::code()?;
            let each = code.len().div_ceil(PAGE as usize);
            // Before this thread is pinned to one of them.
            let want = each * host::cpus().len();
            let mut parts = 0;
            on_every_page(|page| match (copy(page)?, copy_data(page)?) {
                (Some(ram), None) => {
                    parts += 1;
                    only_this(&code, (parts - 1) % each, &ram.bytes(FREE, PAGE), page)
                }
                _ => Ok(()),
            })?;
            check!(parts == want, "of {want} pages of code {parts} can be read");
            Ok(())
        }),
        hostile("switcher/comes-back-with-the-direction-flag-clear", || {
            let mut guest = Guest::new(attack::BACKWARDS);
            guest.dma(DMA, &[(BUFFER, 5)]);
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        hostile("switcher/no-host-tables", || {
            let memory = host::memory()?;
            on_every_page_of_data(|page, ram| {
                for offset in (0..PAGE).step_by(8) {
                    let word = ram.word(FREE + offset);
                    check!(
                        !host_table(word, &memory),
                        "{:#x} holds {word:#x}, which may be the Host's CR3",
                        page + offset
                    );
                }
                Ok(())
            })
        }),
        hostile("switcher/nothing-of-the-guest-before", || {
            on_every_cpu(|cpu, readable, writable| {
                let mut planter = planter(cpu, writable);
                planter.ram.set_word(STOP, 1);
                planter.run_to_poweroff(0)?;
                drop(planter);
                let mut searcher = searcher(cpu, readable);
                searcher.ram.set_word(STOP, 1);
                searcher.run_to_poweroff(0)?;
                found_nothing(&searcher.ram)
            })
        }),
        hostile("switcher/nothing-of-the-guest-beside", || {
            on_every_cpu(|cpu, readable, writable| {
                let readable: Vec<u64> = readable.iter().map(|page| page + slot::AREA).collect();
                let (first, second) = (planter(cpu, writable), searcher(cpu, &readable));
                let rams = [first.ram.clone(), second.ram.clone()];
                let counts_on = |ram: &Ram| {
                    let count = ram.word(COUNT);
                    wait_until("the guest counts on", || ram.word(COUNT) > count + 1)
                };
                let run = |mut guest: Guest| {
                    std::thread::spawn(move || {
                        host::pin(Pid::from_raw(0), cpu)?;
                        guest.run_to_poweroff(0)
                    })
                };
                // One after the other, so that they get this area and the next.
                let first = run(first);
                let early = counts_on(&rams[0]);
                let threads = [first, run(second)];
                let turns = (0..20).try_for_each(|_| rams.iter().try_for_each(counts_on));
                rams.iter().for_each(|ram| ram.set_word(STOP, 1));
                threads.map(join).into_iter().collect::<Outcome>()?;
                early.and(turns)?;
                found_nothing(&rams[1])
            })
        }),
        hostile("switcher/other-areas-are-not-there", || {
            let mut other = planter(0, &[slot::area(OWN)]);
            let ram = other.ram.clone();
            let thread = std::thread::spawn(move || other.run_to_poweroff(0));
            // Whoever comes now gets the next area.
            let running = wait_until("the guest counts", || ram.word(COUNT) > 1);
            let seen = running.and_then(|()| {
                let own = pages().map(|page| page + slot::AREA);
                let own = own.map(copy).collect::<Result<Vec<_>, _>>()?;
                check!(
                    own.iter().any(Option::is_some),
                    "the next area is not there"
                );
                let bystanders = (0..FIRST).map(|page| slot::area(0) + page * PAGE);
                for page in pages().chain(bystanders) {
                    check!(copy(page)?.is_none(), "{page:#x} of another guest is seen");
                }
                Ok(())
            });
            ram.set_word(STOP, 1);
            join(thread).and(seen)
        }),
        hostile("switcher/no-host-pointers", || {
            on_every_page_of_data(|page, ram| {
                for offset in (0..PAGE).step_by(8) {
                    let word = ram.word(FREE + offset);
                    check!(
                        !host_pointer(word),
                        "{:#x} holds {word:#x}, an address of the Host's kernel",
                        page + offset
                    );
                }
                Ok(())
            })
        }),
        hostile("switcher/no-host-pointers-in-gates", || {
            // Addresses in IDT gates are in three pieces, those in system descriptors in four.
            on_every_page_of_data(|page, ram| {
                for offset in (0..PAGE - 8).step_by(8) {
                    let (low, high) = (ram.word(FREE + offset), ram.word(FREE + offset + 8));
                    let present = low >> 47 & 1 == 1 && high >> 32 == 0;
                    let kind = low >> 40 & 0x1f;
                    let gate = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
                    let base = low >> 16 & 0xff_ffff | low >> 32 & 0xff00_0000 | high << 32;
                    let address = match kind {
                        0xe | 0xf => gate,
                        0x2 | 0x9 | 0xb => base,
                        _ => continue,
                    };
                    check!(
                        !present || !host_pointer(address),
                        "{:#x}: a descriptor of {address:#x}",
                        page + offset
                    );
                }
                Ok(())
            })
        }),
        hostile("switcher/write-every-page", || {
            on_every_page(|page| {
                let mut guest = Guest::new(attack::WRITE);
                guest.param(0, page + 0x100).param(1, u64::MAX);
                let reason = guest.run()?;
                check!(
                    reason == "POWEROFF: 0" || refused(&reason),
                    "writing {page:#x}: {reason:?}"
                );
                Ok(())
            })
        }),
        hostile("switcher/few-pages-are-writable", || {
            // Only what the CPU itself must push on may be: its stack, and those for the events that come at any time.
            let mut writable = Vec::new();
            for page in pages() {
                if self::writable(page)? {
                    writable.push(page);
                }
            }
            check!(
                writable.len() <= 2,
                "these pages of the slot are writable: {writable:x?}"
            );
            Ok(())
        }),
        hostile("switcher/fill-what-is-writable", || {
            on_every_page(|page| {
                for pattern in [0, u64::MAX, slot::base() + 0x40] {
                    let mut guest = Guest::new(attack::FILL_PAGE);
                    guest.interrupts();
                    guest.param(0, page).param(1, pattern);
                    let reason = guest.run()?;
                    check!(
                        reason == "POWEROFF: 0" || refused(&reason),
                        "filling {page:#x}: {reason:?}"
                    );
                }
                Ok(())
            })
        }),
        hostile("switcher/jump-to-every-page", || {
            on_every_page(|page| {
                let mut guest = Guest::new(attack::JUMP);
                guest.param(0, page);
                guest.boot()?;
                if let Some(reason) = guest.finish_within(1000)? {
                    check!(refused(&reason), "jumping to {page:#x}: {reason:?}");
                }
                Ok(())
            })
        }),
        Case {
            limit: std::time::Duration::from_secs(300),
            ..hostile("switcher/jump-all-over-its-code", all_over)
        },
    ];
    for (name, at) in [
        ("4-level-slot", SWITCHER_4LEVEL),
        ("5-level-slot", SWITCHER_5LEVEL),
        ("end-of-the-4-level-slot", SWITCHER_4LEVEL + 0x7f_ffff_f000),
    ] {
        cases.push(hostile(
            format!("switcher/{name}-is-nothing-to-user-programs"),
            move || {
                for access in [READ_USER, WRITE_USER, JUMP_USER] {
                    let mut guest = Guest::new(crate::blobs::work::ENTER_USER);
                    guest.user(crate::blobs::Blob::from_bytes(access(at)));
                    let reason = guest.run()?;
                    let fine = reason == "attempt to access switcher pages"
                        || reason.starts_with("unhandled trap 14 ")
                        || reason.starts_with("unhandled trap 13 ");
                    check!(fine, "{at:#x}: {reason:?}");
                }
                Ok(())
            },
        ));
    }
    cases
}

/// `mov rax, address`, then something with it, then a system call that is not expected to be reached.
type UserAccess = fn(u64) -> Vec<u8>;
const READ_USER: UserAccess = |at| user_access(at, &[0x48, 0x8b, 0x00]);
const WRITE_USER: UserAccess = |at| user_access(at, &[0x48, 0x89, 0x00]);
const JUMP_USER: UserAccess = |at| user_access(at, &[0xff, 0xe0]);

fn user_access(at: u64, instruction: &[u8]) -> Vec<u8> {
    [
        &[0x48, 0xb8],
        &at.to_le_bytes()[..],
        instruction,
        &[0x31, 0xc0, 0x31, 0xff, 0x0f, 0x05],
    ]
    .concat()
}

/// Every 16th byte of the pages that can be read, as a place to jump to in ring 1. Whatever the guest thereby runs, it
/// runs in ring 1; when it dies or loops, the next one starts behind that place.
fn all_over() -> Outcome {
    pages().try_for_each(all_over_page)
}

fn all_over_page(page: u64) -> Outcome {
    if copy(page)?.is_none() {
        return Ok(());
    }
    let (mut offset, mut in_vain) = (0, 0);
    while offset < PAGE {
        let mut guest = Guest::new(attack::CALL_PAGE);
        guest.traps();
        guest.param(0, page).param(1, offset);
        guest.boot()?;
        let reason = guest.finish_within(50)?;
        let reached = guest.ram.word(PARAM + 8);
        if let Some(reason) = reason {
            let ended = ["POWEROFF: ", "Bad hypercall", "CRASH", "already"]
                .iter()
                .any(|text| reason.starts_with(text));
            check!(
                ended || refused(&reason),
                "{page:#x} + {reached:#x}: {reason:?}"
            );
            if reached >= PAGE {
                break;
            }
        }
        // On a busy machine the alarm may ring before the guest has begun.
        in_vain = if reached > offset { 0 } else { in_vain + 1 };
        check!(
            in_vain < 20,
            "the guest does not get as far as its first jump"
        );
        offset = reached;
    }
    Ok(())
}
