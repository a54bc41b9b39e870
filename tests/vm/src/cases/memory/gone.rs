//! Memory that the guest touches and that is not there, or not for that: where a process would get a signal, the guest dies and
//! says of which address, and the Host and its other guests go on.

use super::mappings::Subject;
use crate::blobs::work;
use crate::bystander::Bystander;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, refused, same};
use crate::host;
use crate::layout::*;
use crate::mirror::{Answer, Way};
use crate::window::{Kind, WINDOW, Window};
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::io::{IoSlice, IoSliceMut};

/// What is done to the window, and whether reading or writing is what must not work then.
type Loss = (&'static str, Kind, fn(&Window) -> Outcome, bool);

const LOSSES: &[Loss] = &[
    ("unmapped", Kind::PrivateAnonymous, Window::unmap, false),
    ("unmapped", Kind::Disk, Window::unmap, false),
    ("unmapped", Kind::Huge, Window::unmap, false),
    ("cut-off", Kind::Memfd, cut_off, false),
    ("cut-off", Kind::TmpfsPrivate, cut_off, false),
    ("cut-off", Kind::Disk, cut_off, false),
    ("forbidden", Kind::PrivateAnonymous, forbid, false),
    ("forbidden", Kind::Memfd, forbid, true),
    ("made-read-only", Kind::PrivateAnonymous, read_only, true),
    ("made-read-only", Kind::SharedAnonymous, read_only, true),
    ("made-read-only", Kind::TransparentHuge, read_only, true),
    ("made-read-only", Kind::DiskPrivate, read_only, true),
    ("never-writable", Kind::DiskReadOnly, |_| Ok(()), true),
    ("broken", Kind::PrivateAnonymous, poison, false),
];

fn cut_off(window: &Window) -> Outcome {
    window
        .file()?
        .set_len(0)
        .map_err(|e| format!("ftruncate: {e}"))
}

fn forbid(window: &Window) -> Outcome {
    window.protect(libc::PROT_NONE)
}

fn read_only(window: &Window) -> Outcome {
    window.protect(libc::PROT_READ)
}

/// The first page is declared to be broken hardware.
fn poison(window: &Window) -> Outcome {
    window.advise_pages("MADV_HWPOISON", libc::MADV_HWPOISON, 0, 1)
}

/// Whether this process could do it, without a signal to tell.
fn by_this_process(window: &Window, write: bool) -> Result<usize, Errno> {
    let mut word = [0; 8];
    let there = [RemoteIoVec {
        base: window.page(0) as usize,
        len: 8,
    }];
    if write {
        process_vm_writev(Pid::this(), &[IoSlice::new(&word)], &there)
    } else {
        process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut word)], &there)
    }
}

/// Fails unless the reason names the page: its address or its number, in any of the ways there are.
fn names_the_page(reason: &str, window: &Window) -> Outcome {
    let names = [WINDOW, WINDOW / PAGE, va(WINDOW), window.page(0)];
    check!(
        names
            .iter()
            .any(|name| reason.contains(&format!("{name:#x}"))),
        "the reason {reason:?} names none of {names:x?}"
    );
    Ok(())
}

fn lost(kind: Kind, lose: fn(&Window) -> Outcome, write: bool, way: Way) -> Outcome {
    let bystander = Bystander::start()?;
    let mut subject = Subject::new(kind, way)?;
    lose(&subject.window)?;
    refused(
        "the same by the process",
        by_this_process(&subject.window, write),
        Errno::EFAULT,
    )?;
    if write && by_this_process(&subject.window, false).is_ok() {
        same(
            "what the guest reads",
            subject.guest_sees()?,
            subject.words.clone(),
        )?;
    }
    let answer = if write {
        subject.guest.try_write(WINDOW, 1, 1)?
    } else {
        subject.guest.try_read(WINDOW, 1)?
    };
    match answer {
        Answer::Died(reason) => names_the_page(&reason, &subject.window)?,
        Answer::Done(words) => return Err(format!("the guest lives, and has seen {words:x?}")),
    }
    bystander.finish()?;
    Guest::new(work::SURVIVED)
        .run_to_poweroff(0)
        .map_err(|e| format!("the good guest afterwards: {e}"))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, kind, lose, write) in LOSSES {
        if !kind.is_there() || *what == "broken" && !host::knows("memory_failure") {
            continue;
        }
        let name = Kind::ALL
            .iter()
            .find(|(_, of)| of == kind)
            .map_or("", |(name, _)| name);
        for (how, way) in [
            ("while-it-runs", Way::WhileItRuns),
            ("between-reads", Way::BetweenReads),
        ] {
            cases.push(Case::new(format!("gone/{name}/{what}/{how}"), move || {
                lost(*kind, *lose, *write, way)
            }));
        }
    }
    cases
}
