//! Who may ask: only the task that initialised, with the memory it had then. IRQ and GETDMA are for all its process, BREAK for everybody.

use super::{UNKNOWN, dead, ready};
use crate::abi::lhreq;
use crate::device::Device;
use crate::harness::{Case, Outcome, granted, refused, runner};
use nix::errno::Errno::{EBUSY, EFAULT, EINVAL, ENOENT, EPERM};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, execv, fork, pipe, read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// All that somebody of another process is refused on a living guest, and the one thing that he is not.
fn strangers_rights(device: &Device) -> Outcome {
    refused("IRQ", device.irq(1), EPERM)?;
    refused("IRQ 32", device.irq(32), EPERM)?;
    refused(
        "IRQ without its argument",
        device.write(&[lhreq::IRQ]),
        EPERM,
    )?;
    refused("GETDMA", device.get_dma(0), EPERM)?;
    refused("INITIALIZE", device.write(&[0; 6]), EPERM)?;
    anybodys_rights(device)
}

/// The same for another thread of its own process: it may interrupt the guest and ask for buffers, but not make it once more.
fn threads_rights(device: &Device) -> Outcome {
    granted("IRQ", device.irq(1), 16)?;
    refused("IRQ 32", device.irq(32), EINVAL)?;
    refused(
        "IRQ without its argument",
        device.write(&[lhreq::IRQ]),
        EFAULT,
    )?;
    refused("GETDMA, but there is none", device.get_dma(0), ENOENT)?;
    refused("INITIALIZE", device.write(&[0; 6]), EBUSY)?;
    anybodys_rights(device)
}

/// What neither of them may, and what both may.
fn anybodys_rights(device: &Device) -> Outcome {
    for request in UNKNOWN {
        refused(
            &format!("request {request:#x}"),
            device.write(&[request, 0]),
            EPERM,
        )?;
    }
    refused("read()", device.read(&mut [0; 16]), EPERM)?;
    refused("read() of nothing", device.read(&mut []), EPERM)?;
    granted("BREAK off", device.set_break(false), 16)
}

/// Runs the closure in a forked child; its failure is ours. It is given the descriptor on which its outcome is reported.
pub(super) fn in_fork(run: impl FnOnce(RawFd) -> Outcome) -> Outcome {
    let (from, to) = pipe().map_err(|e| e.to_string())?;
    // SAFETY: the child only makes system calls and allocates; no other thread of this case holds a lock.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => {
            let outcome = run(to.as_raw_fd());
            runner::report(to, outcome)
        }
        ForkResult::Parent { child } => {
            drop(to);
            let mut text = [0; 1024];
            let len = read(&from, &mut text).map_err(|e| e.to_string())?;
            let status = waitpid(child, None).map_err(|e| e.to_string())?;
            match String::from_utf8_lossy(&text[..len]).as_ref() {
                "fine" => Ok(()),
                "" => Err(format!("the child ended without a word: {status:?}")),
                why => Err(format!("in the child: {why}")),
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/owner/other-thread", || {
            let guest = ready()?;
            std::thread::scope(|s| {
                s.spawn(|| threads_rights(guest.device()))
                    .join()
                    .expect("no panic")
            })?;
            granted("IRQ of the owner", guest.device().irq(1), 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/owner/after-fork", || {
            let guest = ready()?;
            in_fork(|_| strangers_rights(guest.device()))?;
            granted("IRQ of the owner", guest.device().irq(1), 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/owner/child-with-its-own", || {
            // A child that inherited a file nobody initialised may do so, and then the parent is the stranger.
            let device = Device::open();
            let init = crate::guest::Guest::new(crate::blobs::work::SURVIVED);
            in_fork(|_| granted("INITIALIZE of the child", device.initialize(&init.init), 48))?;
            strangers_rights(&device)
        }),
        Case::new("errno/owner/after-exec", || {
            // The same task, but the memory that the guest lives in is gone.
            in_fork(exec_as_owner)
        }),
        Case::new("errno/owner/dead-before-owner", || {
            let guest = dead()?;
            let device = guest.device();
            let thread = || {
                for request in (0..4).chain(UNKNOWN) {
                    refused(
                        &format!("request {request:#x} of a stranger"),
                        device.write(&[request, 0]),
                        ENOENT,
                    )?;
                }
                // For read() the owner comes first: the reason is not everybody's.
                refused("read() of a stranger", device.read(&mut [0; 64]), EPERM)
            };
            std::thread::scope(|s| s.spawn(thread).join().expect("no panic"))
        }),
        Case::new("errno/owner/not-initialised-before-owner", || {
            let device = Device::open();
            let thread = || {
                refused("IRQ", device.irq(1), EINVAL)?;
                refused("read()", device.read(&mut [0; 16]), EINVAL)
            };
            std::thread::scope(|s| s.spawn(thread).join().expect("no panic"))
        }),
        Case::new("errno/owner/owner-thread-is-gone", || {
            // The thread that initialised ends; nobody else becomes the owner, and close still works.
            let thread = std::thread::spawn(ready);
            let guest = crate::harness::join(thread)?;
            threads_rights(guest.device())
        }),
    ]
}

/// Initialises a guest and keeps its descriptor over execve of this very program, which then calls [`after_exec`]. Only comes
/// back if that fails.
fn exec_as_owner(report: RawFd) -> Outcome {
    let guest = ready()?;
    let fd = guest.device().fd();
    // SAFETY: the descriptor is open as long as the guest lives.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| e.to_string())?;
    let args = [
        c"vmtests".to_owned(),
        c"--after-exec".to_owned(),
        number(fd),
        number(report),
    ];
    let Err(e) = execv(c"/proc/self/exe", &args);
    Err(format!("execve: {e}"))
}

fn number(n: RawFd) -> std::ffi::CString {
    std::ffi::CString::new(n.to_string()).expect("digits")
}

/// What `vmtests --after-exec GUEST REPORT` does.
pub fn after_exec(guest: RawFd, report: RawFd) -> ! {
    // SAFETY: both were left open for us by `exec_as_owner`.
    let (device, report) = unsafe {
        (
            Device::from_fd(OwnedFd::from_raw_fd(guest)),
            OwnedFd::from_raw_fd(report),
        )
    };
    runner::report(report, strangers_rights(&device))
}
