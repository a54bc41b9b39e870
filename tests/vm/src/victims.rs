//! A Guest for `tests/every_instruction.rs` to shoot at: on the first CPU, one that leaves and enters the Switcher in every way until
//! somebody outside stores to its [`STOP`].

use crate::abi::hc;
use crate::blobs::{kit, work};
use crate::guest::Guest;
use crate::harness::Outcome;
use crate::host;
use crate::layout::*;
use nix::unistd::Pid;

/// Flat 32-bit code of ring 3.
const CODE_32: u64 = 0x00cf_fb00_0000_ffff;

/// Runs it until it is told to stop; then it must have kept its registers and end well.
pub fn run() -> Outcome {
    host::pin(Pid::from_raw(0), 0)?;
    let mut guest = Guest::new(work::EVERY_WAY);
    guest.traps().interrupts();
    guest.user(work::USER_BACK).param(0, kit::SYSCALL_ENTRY);
    guest.call([hc::SET_DESCRIPTOR, 4, CODE_32, 0]);
    guest.gate(14, kit::stub(14), 0xe, 0);
    guest.call([hc::PROMISE, 1, va(DATA), 0]);
    guest.boot()?;
    std::fs::write("/dev/kmsg", "victims: here\n").map_err(|e| e.to_string())?;
    let end = guest.finish();
    println!("the victim ran {} rounds", guest.ram.word(COUNT));
    guest.powered_off(&end?, 0)
}
