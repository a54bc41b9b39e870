//! Somebody else's program, with no more than it needs: whoever grades homework must not believe what it prints, and must not let it
//! come where it could print in our name, or live on.
//!
//! The device wants a process that is trusted with the whole machine, [`CAPABILITY`]. So the program has this one capability and no other,
//! a user of its own who owns nothing, and is refused the system calls by which the capability would lead to more. It cannot write to the VM's terminal, nor see
//! which processes there are besides its own or how they were called.

use crate::harness::{Outcome, wait_until};
use crate::host;
use nix::mount::{MsFlags, mount};
use std::fs::{self, Permissions};
use std::io::{Error, Result};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Who it is.
pub const USER: u32 = 1000;
/// CAP_SYS_ADMIN.
const CAPABILITY: u32 = 21;

/// What leads out of where it is: to other files, other processes, the kernel.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
];

/// Confines what the command will start. Whoever is not root cannot, and starts it as it is: tests of this program, outside of the VM.
pub fn confine(command: &mut Command) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // It may open this, as long as it is trusted. The module makes it anew each time.
    let _ = fs::set_permissions(crate::device::PATH, Permissions::from_mode(0o666));
    let filter = filter();
    // SAFETY: between fork and exec there are only system calls, on memory that was there before.
    unsafe {
        command.pre_exec(move || become_nobody(&filter));
    }
}

fn checked(result: libc::c_long) -> Result<()> {
    match result {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}

fn become_nobody(filter: &[libc::sock_filter]) -> Result<()> {
    /// The layout that is asked for: 64 bits in two words.
    const VERSION: u32 = 0x2008_0522;
    let id = libc::c_ulong::from(USER);
    let (header, one) = ([VERSION, 0], 1 << CAPABILITY);
    let capabilities = [one, one, one, 0, 0, 0_u32];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: numbers, and pointers to what lives until the end of this function.
    unsafe {
        checked(libc::syscall(libc::SYS_setgroups, 0_u64, 0_u64))?;
        checked(libc::prctl(libc::PR_SET_KEEPCAPS, 1_u64, 0_u64, 0_u64, 0_u64).into())?;
        checked(libc::syscall(libc::SYS_setresgid, id, id, id))?;
        checked(libc::syscall(libc::SYS_setresuid, id, id, id))?;
        checked(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            capabilities.as_ptr(),
        ))?;
        checked(
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                libc::c_ulong::from(CAPABILITY),
                0_u64,
                0_u64,
            )
            .into(),
        )?;
        checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64).into())?;
        let filtered = checked(libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0_u64,
            &raw const program,
        ));
        match filtered {
            // A small kernel has no filters.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
            other => other,
        }
    }
}

/// The kernel's program for each system call: it refuses those above, and those of another architecture, whose numbers mean something else.
fn filter() -> Vec<libc::sock_filter> {
    /// Where the number and the architecture stand in what the program sees.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const X86_64: u32 = 0xc000_003e;
    /// From here on numbers are those of x32.
    const X32: u32 = 0x4000_0000;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let at_least = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let count = REFUSED.len() as u8;
    // The last two steps are "it may" and "it may not"; a jump counts the steps between.
    let mut program = vec![
        step(load, ARCHITECTURE, 0, 0),
        step(equal, X86_64, 0, count + 3),
        step(load, NUMBER, 0, 0),
        step(at_least, X32, count + 1, 0),
    ];
    for (at, number) in REFUSED.iter().enumerate() {
        program.push(step(equal, *number as u32, count - at as u8, 0));
    }
    program.push(step(end, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.push(step(
        end,
        libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        0,
        0,
    ));
    program
}

/// From now on a user sees no process but its own.
pub fn hide_processes() {
    let none: Option<&str> = None;
    let _ = mount(
        none,
        "/proc",
        none,
        MsFlags::MS_REMOUNT,
        Some("hidepid=invisible"),
    );
}

/// A control group for one test and all that it starts: they cannot become too many, and end together.
pub struct Group(PathBuf);

impl Group {
    const ROOT: &str = "/sys/fs/cgroup";

    /// Makes one. Where the kernel has none, a test goes without.
    pub fn new() -> Option<Self> {
        let none: Option<&str> = None;
        if !host::is_mounted(Self::ROOT) {
            mount(none, Self::ROOT, Some("cgroup2"), MsFlags::empty(), none).ok()?;
        }
        let _ = fs::write(format!("{}/cgroup.subtree_control", Self::ROOT), "+pids");
        let group = Self(format!("{}/lab.{}", Self::ROOT, std::process::id()).into());
        fs::create_dir(&group.0).ok()?;
        let _ = fs::write(group.0.join("pids.max"), "200");
        Some(group)
    }

    /// Makes this process a member.
    pub fn enter(&self) {
        let _ = fs::write(self.0.join("cgroup.procs"), "0");
    }

    /// Ends all its members.
    pub fn end(&self) -> Outcome {
        let is_empty = || {
            fs::read_to_string(self.0.join("cgroup.events"))
                .is_ok_and(|events| events.contains("populated 0"))
        };
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        wait_until("all that the test had started was ended", is_empty)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine would make of a system call.
    fn verdict(architecture: u32, number: u32) -> u32 {
        let program = filter();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            let code = u32::from(step.code);
            at += 1;
            if code == libc::BPF_RET | libc::BPF_K {
                assert!(at >= program.len() - 1, "only the last two end it");
                return step.k;
            }
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                value = if step.k == 0 { number } else { architecture };
                continue;
            }
            let holds = if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
                value == step.k
            } else {
                value >= step.k
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    #[test]
    fn the_filter_refuses_what_it_must_and_nothing_else() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for number in REFUSED {
            assert_eq!(verdict(0xc000_003e, *number as u32), refused, "{number}");
        }
        for number in [
            libc::SYS_read,
            libc::SYS_openat,
            libc::SYS_mmap,
            libc::SYS_execve,
        ] {
            assert_eq!(verdict(0xc000_003e, number as u32), libc::SECCOMP_RET_ALLOW);
            assert_eq!(verdict(0x4000_0003, number as u32), refused, "32 bits");
            assert_eq!(verdict(0xc000_003e, number as u32 | 0x4000_0000), refused);
        }
    }
}
