//! The Launcher's registers around `read()`: what was in them before the guest ran is in them afterwards.

use crate::device::{Answer, Device};
use crate::harness::{Outcome, same};
use nix::errno::Errno;
use std::arch::asm;

/// What this process has in the base of GS, for nothing but to find it again.
const GS: u64 = 0x1234_5000;

const SET_GS: u64 = 0x1001;
const GET_FS: u64 = 0x1003;
const GET_GS: u64 = 0x1004;

fn base(of: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the kernel stores a word.
    unsafe { libc::syscall(libc::SYS_arch_prctl, of, &raw mut value) };
    value
}

/// DS, ES, FS, GS, SS and CS.
fn selectors() -> [u16; 6] {
    let (ds, es, fs, gs, ss, cs): (u16, u16, u16, u16, u16, u16);
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs", "mov {4:x}, ss", "mov {5:x}, cs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, out(reg) ss, out(reg) cs);
    }
    [ds, es, fs, gs, ss, cs]
}

/// Registers that a guest could have left something in.
pub struct Canary {
    fs: u64,
    selectors: [u16; 6],
}

impl Canary {
    /// Fills what nobody else in this thread needs.
    pub fn new() -> Self {
        // SAFETY: nothing in this process uses GS.
        unsafe { libc::syscall(libc::SYS_arch_prctl, SET_GS, GS) };
        Self {
            fs: base(GET_FS),
            selectors: selectors(),
        }
    }

    /// One `read()` of a guest's first CPU, by a bare SYSCALL, with every vector register and every register that a call keeps full.
    pub fn read(&self, device: &Device, to: &mut [u8]) -> Outcome<Answer> {
        let vectors: [u128; 16] =
            std::array::from_fn(|i| 0x0101_0101_0101_0101_0202_0202_0202_0202 * (i as u128 + 1));
        let mut after = [0u128; 16];
        let (mut result, mut kept) = (libc::SYS_read as isize, [0u64; 4]);
        let flags: u64;
        // SAFETY: read(fd, to, len), and moves between registers and the arrays.
        unsafe {
            asm!(
                "movdqu xmm0, [r8]", "movdqu xmm1, [r8 + 16]", "movdqu xmm2, [r8 + 32]", "movdqu xmm3, [r8 + 48]",
                "movdqu xmm4, [r8 + 64]", "movdqu xmm5, [r8 + 80]", "movdqu xmm6, [r8 + 96]", "movdqu xmm7, [r8 + 112]",
                "movdqu xmm8, [r8 + 128]", "movdqu xmm9, [r8 + 144]", "movdqu xmm10, [r8 + 160]", "movdqu xmm11, [r8 + 176]",
                "movdqu xmm12, [r8 + 192]", "movdqu xmm13, [r8 + 208]", "movdqu xmm14, [r8 + 224]", "movdqu xmm15, [r8 + 240]",
                "mov r12, r8", "mov r13, r9", "mov r14, r8", "mov r15, r9",
                "syscall",
                "movdqu [r9], xmm0", "movdqu [r9 + 16], xmm1", "movdqu [r9 + 32], xmm2", "movdqu [r9 + 48], xmm3",
                "movdqu [r9 + 64], xmm4", "movdqu [r9 + 80], xmm5", "movdqu [r9 + 96], xmm6", "movdqu [r9 + 112], xmm7",
                "movdqu [r9 + 128], xmm8", "movdqu [r9 + 144], xmm9", "movdqu [r9 + 160], xmm10", "movdqu [r9 + 176], xmm11",
                "movdqu [r9 + 192], xmm12", "movdqu [r9 + 208], xmm13", "movdqu [r9 + 224], xmm14", "movdqu [r9 + 240], xmm15",
                "xor r12, r8", "xor r13, r9", "xor r14, r8", "xor r15, r9",
                "mov [r10], r12", "mov [r10 + 8], r13", "mov [r10 + 16], r14", "mov [r10 + 24], r15",
                "pushfq", "pop r12",
                inlateout("rax") result,
                in("rdi") device.fd(),
                in("rsi") to.as_mut_ptr(),
                in("rdx") to.len(),
                in("r8") vectors.as_ptr(),
                in("r9") after.as_mut_ptr(),
                in("r10") kept.as_mut_ptr(),
                out("rcx") _, out("r11") _,
                out("r12") flags, out("r13") _, out("r14") _, out("r15") _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            );
        }
        same("xmm0 to xmm15 after read()", after, vectors)?;
        same("bits that changed in r12 to r15", kept, [0; 4])?;
        same("the Launcher's flags", flags & !0x8d5, 0x202)?;
        same("base of FS", base(GET_FS), self.fs)?;
        same("base of GS", base(GET_GS), GS)?;
        same("ds, es, fs, gs, ss, cs", selectors(), self.selectors)?;
        Ok(match result {
            failed if failed < 0 => Err(Errno::from_raw(-failed as i32)),
            read => Ok(read as usize),
        })
    }
}
