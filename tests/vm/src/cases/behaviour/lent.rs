//! Registers that the Host lends for a stay: the Guest finds what it needs, and the Host gets back what was there, even if
//! that was not what Linux had put there.

use crate::abi::lhreq;
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, same};
use crate::host;
use crate::needs::Need;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::Write;

/// For the lender: no MSR, but CR4, to look at.
const CR4: u64 = 0;
const SYSENTER_CS: u64 = 0x174;
const SYSENTER_ESP: u64 = 0x175;
const SYSENTER_EIP: u64 = 0x176;
const EFER: u64 = 0xc000_0080;
const STAR: u64 = 0xc000_0081;
const LSTAR: u64 = 0xc000_0082;
const SYSCALL_MASK: u64 = 0xc000_0084;

/// In EFER: there is SYSCALL.
const SCE: u64 = 1;
/// In RFLAGS: nested task, which no kernel uses any more.
const NT: u64 = 1 << 14;

/// What tests/lender reads and answers.
#[repr(C)]
struct Request {
    fd: u64,
    count: u64,
    /// The number, the bits to keep and those to set; then what was set, and what was there afterwards.
    registers: [[u64; 3]; 8],
    answer: i64,
    text: [u8; 64],
}

/// The module that lends, loaded on first use.
fn lender() -> Outcome<File> {
    let open = || OpenOptions::new().write(true).open("/dev/lender");
    if let Ok(file) = open() {
        return Ok(file);
    }
    let module = File::open("/tests/lender.ko").map_err(|e| format!("/tests/lender.ko: {e}"))?;
    finit_module(&module, c"", ModuleInitFlags::empty()).map_err(|e| format!("loading it: {e}"))?;
    open().map_err(|e| format!("/dev/lender: {e}"))
}

/// Runs a Guest to its end on a CPU with a changed register. Says why it ended, what the register held before and after.
fn on_a_changed_cpu(
    build: impl Fn() -> Guest,
    register: u64,
    keep: u64,
    set: u64,
) -> Outcome<(String, u64, u64)> {
    host::pin(Pid::from_raw(0), host::cpus()[0])?;
    let mut lender = lender()?;
    // Whenever another thread gets the CPU in between, nothing was learned.
    for _ in 0..100 {
        let mut guest = build();
        let device = guest.boot()?;
        let mut registers = [[0; 3]; 8];
        registers[0] = [register, keep, set];
        let mut request = Request {
            fd: device.fd() as u64,
            count: 1,
            registers,
            answer: 0,
            text: [0; 64],
        };
        // SAFETY: the structure has no padding, and the module writes into it.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw mut request).cast::<u8>(), size_of::<Request>())
        };
        match lender.write(bytes) {
            Ok(_) => {
                // SAFETY: as above; it has been written behind the compiler's back.
                let request = unsafe { (&raw const request).read_volatile() };
                // The first read() says that the Guest is dead, the next one why.
                same("read()", request.answer, -(Errno::ENOENT as i64))?;
                let [_, before, after] = request.registers[0];
                return Ok((guest.reason()?, before, after));
            }
            Err(e) if e.raw_os_error() == Some(Errno::EAGAIN as i32) => {}
            Err(e) => return Err(format!("write() to the lender: {e}")),
        }
    }
    Err("a hundred times another thread got the CPU".into())
}

/// A program in ring 3 with these flags makes a system call, which ends the Guest.
fn calls(flags: u64) -> Guest {
    let mut guest = Guest::new(work::ENTER_USER);
    guest.traps().user(work::USER_EXIT);
    guest.param(0, flags);
    guest
}

/// The Guest ends well, and the register holds what it held.
fn put_back(register: u64, keep: u64, set: u64, flags: u64) -> Outcome {
    let (reason, before, after) = on_a_changed_cpu(|| calls(flags), register, keep, set)?;
    same("the Guest's end", reason.as_str(), "POWEROFF: 0")?;
    same("the register", after, before)
}

pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        // NT would make the IRETQ of the Switcher's stub trap.
        Case::new("lent/syscall-mask", || put_back(SYSCALL_MASK, !NT, 0, NT)),
        // Without SCE there is no SYSCALL.
        Case::new("lent/efer", || put_back(EFER, !SCE, 0, 0)),
        Case::new("lent/star", || put_back(STAR, 0, 0x0023_0008 << 32, 0)),
        Case::new("lent/lstar", || {
            put_back(LSTAR, 0, 0xffff_ffff_dead_0000, 0)
        }),
        Case::new("lent/sysenter-cs", || put_back(SYSENTER_CS, 0, 0x58, 0)),
        Case::new("lent/sysenter-esp", || {
            put_back(SYSENTER_ESP, 0, 0x1234_5678, 0)
        }),
        // Also where more of it is off than for other Guests.
        Case::new("lent/cr4", || {
            for flags in [0, lhreq::WITHOUT_SMAP] {
                let build = || {
                    let mut guest = calls(0);
                    guest.flags = flags;
                    guest
                };
                let (reason, before, after) = on_a_changed_cpu(build, CR4, u64::MAX, 0)?;
                same("the Guest's end", reason.as_str(), "POWEROFF: 0")?;
                same("CR4", after, before)?;
            }
            Ok(())
        }),
        Case::new("lent/sysenter-eip", || {
            put_back(SYSENTER_EIP, 0, 0x8765_4321, 0)
        }),
    ];
    // It comes with KVM, and so does what is played here.
    let notifier = Need::Kernel("user_return_notifier_register");
    cases
        .into_iter()
        .map(|case| case.needing([notifier]))
        .collect()
}
