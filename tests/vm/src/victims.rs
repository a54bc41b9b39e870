//! Guests for `tests/every_instruction.rs` to shoot at: on the first CPU, two that leave and enter the Switcher in every way until
//! somebody outside stores to the [`STOP`] of one.

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Outcome, join};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use nix::unistd::Pid;

/// Runs them until one is told to stop; then both must have kept their registers and end well.
pub fn run() -> Outcome {
    host::pin(Pid::from_raw(0), 0)?;
    let rams = [Ram::new(MEMORY), Ram::new(MEMORY)];
    let threads = [true, false].map(|syscalls| {
        let (mine, all) = (rams[usize::from(!syscalls)].clone(), rams.clone());
        std::thread::spawn(move || {
            let mut guest = victim(mine, syscalls);
            guest.boot()?;
            let end = guest.finish();
            all.iter().for_each(|ram| ram.set_word(STOP, 1));
            let rounds = guest.ram.word(COUNT);
            println!("a victim ran {rounds} rounds");
            guest.powered_off(&end?, 0)
        })
    });
    std::fs::write("/dev/kmsg", "victims: here\n").map_err(|e| e.to_string())?;
    threads.map(join).into_iter().collect()
}

/// With an entry for system calls or without one: the Switcher has a stub for each.
fn victim(ram: Ram, syscalls: bool) -> Guest {
    let mut guest = Guest::in_memory(work::EVERY_WAY, ram);
    guest.traps().interrupts();
    if syscalls {
        guest.user(work::USER_BACK);
    } else {
        guest.user_without_syscalls(work::USER_BACK);
    }
    guest
}
