//! The Launcher's own state: what it had in its registers before read(), it has afterwards.

use crate::blobs::{attack, work};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::needs::Need;
use std::arch::asm;

/// One read() by a bare SYSCALL, with every xmm register full: what they hold afterwards. (The kernel's interface promises to
/// keep them; the C library's does not, hence no call in between.)
fn read_with_vectors(guest: &Guest, to: &mut [u8; 16]) -> (isize, [u128; 16]) {
    let before: [u128; 16] =
        std::array::from_fn(|i| 0x0101_0101_0101_0101_0202_0202_0202_0202 * (i as u128 + 1));
    let mut after = [0u128; 16];
    let result: isize;
    // SAFETY: read(fd, to, 16), and moves between registers and the two arrays.
    unsafe {
        asm!(
            "movdqu xmm0, [r8]", "movdqu xmm1, [r8 + 16]", "movdqu xmm2, [r8 + 32]", "movdqu xmm3, [r8 + 48]",
            "movdqu xmm4, [r8 + 64]", "movdqu xmm5, [r8 + 80]", "movdqu xmm6, [r8 + 96]", "movdqu xmm7, [r8 + 112]",
            "movdqu xmm8, [r8 + 128]", "movdqu xmm9, [r8 + 144]", "movdqu xmm10, [r8 + 160]", "movdqu xmm11, [r8 + 176]",
            "movdqu xmm12, [r8 + 192]", "movdqu xmm13, [r8 + 208]", "movdqu xmm14, [r8 + 224]", "movdqu xmm15, [r8 + 240]",
            "syscall",
            "movdqu [r9], xmm0", "movdqu [r9 + 16], xmm1", "movdqu [r9 + 32], xmm2", "movdqu [r9 + 48], xmm3",
            "movdqu [r9 + 64], xmm4", "movdqu [r9 + 80], xmm5", "movdqu [r9 + 96], xmm6", "movdqu [r9 + 112], xmm7",
            "movdqu [r9 + 128], xmm8", "movdqu [r9 + 144], xmm9", "movdqu [r9 + 160], xmm10", "movdqu [r9 + 176], xmm11",
            "movdqu [r9 + 192], xmm12", "movdqu [r9 + 208], xmm13", "movdqu [r9 + 224], xmm14", "movdqu [r9 + 240], xmm15",
            inlateout("rax") libc::SYS_read as isize => result,
            in("rdi") guest.device().fd(),
            in("rsi") to.as_mut_ptr(),
            in("rdx") to.len(),
            in("r8") before.as_ptr(),
            in("r9") after.as_mut_ptr(),
            out("rcx") _, out("r11") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    (result, std::array::from_fn(|i| after[i] ^ before[i]))
}

/// arch_prctl, to read (0x1004 GS, 0x1003 FS) or set (0x1001 GS) a segment base.
fn base(code: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the kernel stores a word.
    unsafe { libc::syscall(libc::SYS_arch_prctl, code, &raw mut value) };
    value
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("launcher/vector-registers-kept", || {
            let mut guest = Guest::new(attack::FPU_MESS);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.param(0, 0x5ec2_e75e_c2e7_5ec2);
            guest.boot()?;
            let mut words = [0; 16];
            let (result, differences) = read_with_vectors(&guest, &mut words);
            same("read()", result, 16)?;
            same("bits that changed in xmm0 to xmm15", differences, [0; 16])
        }),
        Case::new("launcher/control-words-kept", || {
            let mut guest = Guest::new(attack::FPU_MESS);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.boot()?;
            let (mut mxcsr, mut control) = (0x5f80u32, 0x77fu16);
            // SAFETY: other rounding modes; no exception is unmasked.
            unsafe {
                asm!("ldmxcsr [{0}]", "fldcw [{1}]", in(reg) &raw const mxcsr, in(reg) &raw const control)
            };
            guest.step()?;
            // SAFETY: stores the words where they belong.
            unsafe {
                asm!("stmxcsr [{0}]", "fnstcw [{1}]", in(reg) &raw mut mxcsr, in(reg) &raw mut control)
            };
            same("MXCSR", mxcsr & !0x3f, 0x5f80)?;
            same("x87 control word", control, 0x77f)
        }),
        Case::new("launcher/segment-bases-kept", || {
            let gs = 0x1234_5000u64;
            // SAFETY: nothing in this process uses GS.
            unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1001, gs) };
            let fs = base(0x1003);
            for body in [work::BASES, attack::SEGMENT_MESS, attack::SELECTORS] {
                let mut guest = Guest::new(body);
                guest.traps();
                guest.param(1, 0x140);
                guest.ram.set_word(STOP, 1);
                guest.run_to_poweroff(0)?;
                same("FS base", base(0x1003), fs)?;
                same("GS base", base(0x1004), gs)?;
            }
            Ok(())
        }),
        Case::new("launcher/segment-registers-kept", || {
            let selectors = || {
                let (ds, es, fs, gs, ss, cs): (u16, u16, u16, u16, u16, u16);
                // SAFETY: reads registers.
                unsafe {
                    asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs", "mov {4:x}, ss", "mov {5:x}, cs",
                        out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, out(reg) ss, out(reg) cs);
                }
                [ds, es, fs, gs, ss, cs]
            };
            let before = selectors();
            let mut guest = Guest::new(attack::SELECTORS);
            guest.traps();
            guest.param(1, 0x140);
            guest.run_to_poweroff(0)?;
            same("ds, es, fs, gs, ss, cs", selectors(), before)
        }),
        Case::new("launcher/flags-kept", || {
            let mut guest = Guest::new(attack::POPF);
            guest.param(0, 0x3f7fd5 & !0x100);
            let reason = guest.run()?;
            let flags: u64;
            // SAFETY: reads the flags by way of the stack.
            unsafe { asm!("pushfq", "pop {0}", out(reg) flags) };
            check!(
                flags & !0x8d5 == 0x202,
                "the Launcher's flags are {flags:#x} after a guest that ended with {reason:?}"
            );
            Ok(())
        }),
        Case::new("launcher/own-system-calls-work", || {
            // The Host's own entry must be back: a thousand calls between and after guests' system calls.
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().user(attack::USER_CALLS_FOREVER);
            guest.boot()?;
            for _ in 0..20 {
                same("killed by nothing", guest.finish_within(2)?, None)?;
                for _ in 0..50 {
                    check!(
                        // SAFETY: no arguments.
                        unsafe { libc::syscall(libc::SYS_getppid) } > 0,
                        "getppid failed"
                    );
                }
            }
            Ok(())
        }),
        Case::new("launcher/own-traps-work", || {
            // Page faults of the Launcher's between runs: the Host's own IDT and stacks must be back.
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            for round in 0..50 {
                same("killed by nothing", guest.finish_within(1)?, None)?;
                let fresh = crate::ram::Ram::new(64 * PAGE);
                for page in 0..64 {
                    fresh.set_word(page * PAGE, round);
                }
            }
            Ok(())
        }),
    ];
    cases.push(Case::new(
        "launcher/stopped-and-continued",
        stopped_and_continued,
    ));
    cases.push(Case::new("launcher/breakpoints-kept", breakpoints));
    let case = Case::new("launcher/upper-halves-kept", upper_halves);
    cases.push(case.needing([Need::Cpu("avx")]));
    cases
}

/// SIGSTOP in the middle of read() stops the guest, SIGCONT lets it go on, and read() never tells.
fn stopped_and_continued() -> Outcome {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let ram = crate::ram::Ram::shared(MEMORY);
    // SAFETY: this case has one thread.
    let child = match unsafe { nix::unistd::fork() }.map_err(|e| e.to_string())? {
        nix::unistd::ForkResult::Child => {
            let mut guest = Guest::in_memory(work::COUNT_UP, ram);
            let ended = guest.boot().is_ok()
                && guest.step() == Ok(crate::guest::Event::Died("POWEROFF: 0".into()));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ended { 0 } else { 1 }) }
        }
        nix::unistd::ForkResult::Parent { child } => child,
    };
    for _ in 0..10 {
        let seen = ram.word(COUNT);
        crate::harness::wait_until("the guest counts on", || ram.word(COUNT) > seen)?;
        kill(child, Signal::SIGSTOP).map_err(|e| e.to_string())?;
        same(
            "waitpid",
            waitpid(child, Some(WaitPidFlag::WUNTRACED)),
            Ok(WaitStatus::Stopped(child, Signal::SIGSTOP)),
        )?;
        let stopped = ram.word(COUNT);
        std::thread::sleep(std::time::Duration::from_millis(5));
        same("the count of a stopped guest", ram.word(COUNT), stopped)?;
        kill(child, Signal::SIGCONT).map_err(|e| e.to_string())?;
    }
    ram.set_word(STOP, 1);
    same(
        "waitpid",
        waitpid(child, None),
        Ok(WaitStatus::Exited(child, 0)),
    )
}

/// A hardware breakpoint of the Launcher's counts its own writes to a word, before and after read(), and none of a guest's
/// to the same address.
fn breakpoints() -> Outcome {
    let watched = crate::ram::Ram::new(PAGE);
    // struct perf_event_attr of 112 bytes: type breakpoint (5), its size, exclude_kernel and exclude_hv, HW_BREAKPOINT_W on 8 bytes.
    let mut attr = [0u64; 14];
    attr[0] = 5 | 112 << 32;
    attr[5] = 1 << 5 | 1 << 6;
    attr[6] = 2 << 32;
    attr[7] = watched.base();
    attr[8] = 8;
    // SAFETY: perf_event_open of this process on any CPU; the structure lives across the call.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), 0, -1, -1, 0) };
    check!(fd >= 0, "perf_event_open: {}", nix::errno::Errno::last());
    let counted = || {
        let mut count = 0u64;
        // SAFETY: the kernel stores 8 bytes.
        let len = unsafe { libc::read(fd as i32, (&raw mut count).cast(), 8) };
        if len == 8 {
            Ok(count)
        } else {
            Err(format!("reading the count: {len}"))
        }
    };
    watched.set_word(0, 1);
    same("writes seen before", counted()?, 1)?;
    let mut guest = Guest::new(attack::TOUCH_MANY);
    guest
        .tables
        .map(watched.base(), FREE, crate::tables::pte::KERNEL);
    guest
        .param(0, watched.base())
        .param(1, 0)
        .param(2, 100)
        .param(3, 1);
    guest.run_to_poweroff(0)?;
    same("what the guest wrote, there", guest.ram.word(FREE), 100)?;
    same("writes seen after the guest's", counted()?, 1)?;
    watched.set_word(0, 2);
    same("writes seen afterwards", counted()?, 2)
}

/// The same for the upper halves of the ymm registers.
fn upper_halves() -> Outcome {
    let mut guest = Guest::new(attack::YMM_MESS);
    guest.dma(DMA, &[(BUFFER, 16)]);
    guest.param(0, 0x5ec2_e75e_c2e7_5ec2);
    guest.boot()?;
    let (before, mut after) = ([0x1111_2222_3333_4444u64; 4], [0u64; 4]);
    let mut words = [0; 16];
    let result: isize;
    // SAFETY: read(fd, words, 16) and moves between registers and the two arrays; the CPU has AVX.
    unsafe {
        asm!(
            "vmovupd ymm6, [r8]", "vmovupd ymm14, [r8]",
            "syscall",
            "vxorpd ymm6, ymm6, ymm14", "vxorpd ymm14, ymm14, [r8]", "vorpd ymm6, ymm6, ymm14", "vmovupd [r9], ymm6",
            "vzeroupper",
            inlateout("rax") libc::SYS_read as isize => result,
            in("rdi") guest.device().fd(), in("rsi") words.as_mut_ptr(), in("rdx") words.len(),
            in("r8") before.as_ptr(), in("r9") after.as_mut_ptr(),
            out("rcx") _, out("r11") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    same("read()", result, 16)?;
    same("bits that changed", after, [0; 4])
}
