//! open(), close(), and the calls that a Guest's file does not know.

use super::{dead, ready};
use crate::blobs::work;
use crate::device::{Device, PATH};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, granted, refused, same};
use crate::host;
use crate::needs::Need;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Uid, setuid};
use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

/// Makes a device file that lets everybody in, and expects it to be closed to this process once that has given up its rights.
fn closed_without_rights(give_up: impl Fn() -> Outcome) -> Outcome {
    let node = "/dev/lguest-for-everybody";
    // Whoever has given up everything cannot remove it; the next case does.
    let _ = std::fs::remove_file(node);
    let device = std::fs::metadata(PATH).map_err(|e| e.to_string())?.rdev();
    mknod(node, SFlag::S_IFCHR, Mode::empty(), device).map_err(|e| e.to_string())?;
    std::fs::set_permissions(node, Permissions::from_mode(0o666)).map_err(|e| e.to_string())?;
    let opened = || {
        let opened = open(node, OFlag::O_RDWR, Mode::empty()).map(drop);
        crate::witness::answered(|| "open", &opened);
        opened
    };
    check!(opened().is_ok(), "root cannot open {node}");
    give_up()?;
    refused("open", opened(), Errno::EPERM)
}

/// Gives up CAP_SYS_ADMIN and stays root.
fn give_up_sys_admin() -> Outcome {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_SYS_ADMIN: u32 = 21;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; then the same for the capabilities from 32 on.
    let mut sets = [0_u32; 6];
    // SAFETY: both live across the call, and are as long as this version wants.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    same("capget()", got, 0)?;
    sets[0] &= !(1 << CAP_SYS_ADMIN);
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    same("capset()", set, 0)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("errno/file/is-a-private-character-device", || {
            let meta = std::fs::metadata(PATH).map_err(|e| format!("{PATH}: {e}"))?;
            check!(
                meta.file_type().is_char_device(),
                "{PATH} is no character device"
            );
            same("its owner", meta.uid(), 0)?;
            same("what others may do with it", meta.mode() & 0o077, 0)
        }),
        Case::new("errno/file/not-for-everybody", || {
            setuid(Uid::from_raw(65534)).map_err(|e| e.to_string())?;
            refused(
                "open as nobody",
                Device::try_open().map(|_| ()),
                Errno::EACCES,
            )
        }),
        Case::new("errno/file/not-for-nobody-whatever-its-mode", || {
            closed_without_rights(|| setuid(Uid::from_raw(65534)).map_err(|e| e.to_string()))
        }),
        Case::new("errno/file/not-for-root-without-the-capability", || {
            closed_without_rights(give_up_sys_admin)
        }),
        Case::new("errno/file/not-for-the-root-of-a-namespace", || {
            closed_without_rights(|| {
                unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| format!("unshare: {e}"))
            })
        })
        .needing([Need::Kernel("create_user_ns")]),
        Case::new("errno/file/read-only-and-write-only", || {
            let (reader, writer) = (
                open(PATH, OFlag::O_RDONLY, Mode::empty()),
                open(PATH, OFlag::O_WRONLY, Mode::empty()),
            );
            let reader = Device::from_fd(reader.map_err(|e| e.to_string())?);
            let writer = Device::from_fd(writer.map_err(|e| e.to_string())?);
            refused(
                "write() to a file opened to read",
                reader.write(&[0]),
                Errno::EBADF,
            )?;
            refused(
                "read() of a file opened to write",
                writer.read(&mut [0; 16]),
                Errno::EBADF,
            )?;
            refused(
                "read() of a file opened to read",
                reader.read(&mut [0; 16]),
                Errno::EINVAL,
            )
        }),
        Case::new("errno/file/other-calls", || {
            let guest = ready()?;
            let fd = guest.device().fd();
            // SAFETY: none of these succeeds, and if one did it would harm nothing but this process.
            unsafe {
                refused(
                    "ioctl",
                    Errno::result(libc::ioctl(fd, 0x5401, 0)),
                    Errno::ENOTTY,
                )?;
                let map = libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ,
                    libc::MAP_SHARED,
                    fd,
                    0,
                );
                refused("mmap", Errno::result(map as isize), Errno::ENODEV)?;
                refused(
                    "lseek",
                    Errno::result(libc::lseek(fd, 0, libc::SEEK_SET)),
                    Errno::ESPIPE,
                )?;
                refused(
                    "ftruncate",
                    Errno::result(libc::ftruncate(fd, 0)),
                    Errno::EINVAL,
                )?;
            }
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("errno/close/not-initialised", || {
            for _ in 0..100 {
                drop(Device::open());
            }
            Ok(())
        }),
        Case::new("errno/close/never-run", || {
            for _ in 0..20 {
                drop(ready()?);
            }
            Ok(())
        }),
        Case::new("errno/close/dead", || {
            for _ in 0..20 {
                drop(dead()?);
            }
            Ok(())
        }),
        Case::new("errno/close/the-last-descriptor-counts", || {
            let before = host::module_users()?;
            let guest = ready()?;
            let second = guest.device().duplicate();
            same("users of the module", host::module_users()?, before + 1)?;
            drop(second);
            same("users of the module", host::module_users()?, before + 1)?;
            guest.powered_off(&guest.finish()?, 0)?;
            drop(guest);
            same("users of the module", host::module_users()?, before)
        }),
        Case::new("errno/close/in-another-thread", || {
            // The last descriptor may be closed by anybody.
            let mut guest = Guest::new(work::SURVIVED);
            guest.boot()?;
            let device = guest.device().duplicate();
            drop(guest);
            std::thread::spawn(move || drop(device))
                .join()
                .map_err(|_| "panic".to_owned())
        }),
        Case::new("errno/close/memory-unmapped-first", || {
            // The guest's memory goes before its file does.
            let mut guest = Guest::new(work::COUNT_UP);
            guest.ram.set_word(crate::layout::STOP, 1);
            guest.boot()?;
            let device = guest.device().duplicate();
            let reason = guest.finish()?;
            guest.powered_off(&reason, 0)?;
            drop(guest);
            granted(
                "the reason, with the memory gone",
                device.read(&mut [0; 100]),
                12,
            )
        }),
    ]
}
