//! open(), close(), and the calls that a Guest's file does not know.

use super::{dead, ready};
use crate::blobs::work;
use crate::device::{Device, PATH};
use crate::guest::Guest;
use crate::harness::{Case, check, granted, refused, same};
use crate::host;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

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
            nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).map_err(|e| e.to_string())?;
            refused(
                "open as nobody",
                Device::try_open().map(|_| ()),
                Errno::EACCES,
            )
        }),
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
