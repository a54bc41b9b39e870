//! Memory that the guest touches and that is not there, or not for that: where a process would get a signal, the guest dies and
//! says of which address, and the Host and its other guests go on.

use super::mappings::Subject;
use crate::blobs::work;
use crate::bystander::Bystander;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, refused, same};
use crate::layout::*;
use crate::mirror::{Answer, Way};
use crate::needs::Need;
use crate::window::{Kind, WINDOW, Window};
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd};

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
    ("made-secret", Kind::PrivateAnonymous, secret, false),
    ("made-a-devices", Kind::PrivateAnonymous, device, false),
];

/// What a loss needs of the Host, beside what the kind of mapping does.
fn need(loss: &str) -> Option<Need> {
    match loss {
        "broken" => Some(Need::Kernel("memory_failure")),
        "made-secret" => Some(Need::Kernel("__x64_sys_memfd_secret")),
        "made-a-devices" => Some(Need::File(DEVICE)),
        _ => None,
    }
}

/// All physical addresses, but for the Host's own memory.
const DEVICE: &str = "/dev/mem";
/// What it has at 640 KiB: room for what an old screen shows, whether there is one or not.
const SCREEN: i64 = 0xa_0000;

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

/// Maps a file over the window.
fn map_over(window: &Window, file: &File, offset: i64) -> Outcome {
    let (prot, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_FIXED,
    );
    let (len, fd) = (window.len() as usize, file.as_raw_fd());
    // SAFETY: a mapping of our own is replaced, to which there are only volatile accesses.
    let at = unsafe { libc::mmap(window.at as *mut _, len, prot, flags, fd, offset) };
    match at {
        libc::MAP_FAILED => Err(format!("mmap: {}", Errno::last())),
        _ => same("mmap() over the window", at as u64, window.at),
    }
}

/// Pages that not even the kernel has in its own tables.
fn secret(window: &Window) -> Outcome {
    // SAFETY: one integer.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = Errno::result(fd).map_err(|e| format!("memfd_secret: {e}"))?;
    // SAFETY: it was just opened.
    let file = unsafe { File::from_raw_fd(fd as i32) };
    file.set_len(window.len())
        .map_err(|e| format!("ftruncate: {e}"))?;
    map_over(window, &file, 0)?;
    window.set_word(0, 0x5ec2e7);
    same("what the process itself reads", window.word(0), 0x5ec2e7)
}

/// No pages at all: physical addresses that no memory has.
fn device(window: &Window) -> Outcome {
    let file = File::options().read(true).write(true).open(DEVICE);
    let file = file.map_err(|e| format!("{DEVICE}: {e}"))?;
    map_over(window, &file, SCREEN)?;
    // The process itself can read it, whatever is there.
    let _ = window.word(0);
    Ok(())
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
    // By a system call: a process's own instructions reach some of these pages.
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
        let name = Kind::ALL
            .iter()
            .find(|(_, of)| of == kind)
            .map_or("", |(name, _)| name);
        for (how, way) in [
            ("while-it-runs", Way::WhileItRuns),
            ("between-reads", Way::BetweenReads),
        ] {
            let case = Case::new(format!("gone/{name}/{what}/{how}"), move || {
                lost(*kind, *lose, *write, way)
            });
            cases.push(case.needing(kind.need()).needing(need(what)));
        }
    }
    cases
}
