//! One of the two ends in the middle.

use super::*;
use crate::abi::lhreq::SAVE;
use crate::cases::life::leaves_nothing;
use crate::cgroup::Short;
use crate::harness::{join, wait_until};
use crate::host;
use crate::needs::Need;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::sync::Arc;

/// A receiver that takes numbers until it is told to stop, in this memory.
fn busy_receiver(shared: &Shared, ram: Ram) -> Outcome<Guest> {
    shared.map(0, &ram, HERE)?;
    let mut guest = Guest::in_memory(work::RECEIVE_UNTIL, ram);
    guest.traps().interrupts();
    for i in 0..4 {
        guest.dma(DMA + i * dma::SIZE, &[(BUFFER + i * 64, 64)]);
    }
    guest.call([hc::BIND_DMA, HERE + SLOT, DMA, 4 << 8 | IRQ]);
    guest.param(0, 4);
    Ok(guest)
}

fn busy_sender(shared: &Shared, ram: Ram) -> Outcome<Guest> {
    shared.map(0, &ram, THERE)?;
    let mut guest = Guest::in_memory(work::SEND_UNTIL, ram);
    guest.traps();
    guest.dma(DMA, &[(BUFFER, 8)]);
    guest.param(0, THERE + SLOT);
    Ok(guest)
}

/// Runs a guest in a process of its own.
fn in_a_child(make: impl FnOnce() -> Outcome<Guest>) -> Outcome<Pid> {
    // SAFETY: the child makes a guest and ends; other threads of this process hold no lock that it needs.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let outcome = make().and_then(|mut guest| guest.run());
            eprintln!("the guest in a child: {outcome:?}");
            // SAFETY: ends the process.
            unsafe { libc::_exit(1) }
        }
    }
}

fn killed(child: Pid) -> Outcome {
    kill(child, Signal::SIGKILL).map_err(|e| e.to_string())?;
    waitpid(child, None).map_err(|e| e.to_string()).map(drop)
}

/// The receiver is killed while somebody sends to it, and the sender after it.
fn receiver_killed() -> Outcome {
    let shared = Shared::new(1)?;
    let [into, from] = [(); 2].map(|()| Ram::shared(MEMORY));
    let receiver = in_a_child(|| busy_receiver(&shared, into.clone()))?;
    let sender = in_a_child(|| busy_sender(&shared, from.clone()))?;
    let talked = wait_until("numbers have come", || into.word(COUNT) > 20);
    killed(receiver)?;
    let refused = from.word(OUT);
    let alone = wait_until("the sender has nobody any more", || {
        from.word(OUT) > refused + 20
    });
    killed(sender)?;
    talked.and(alone)
}

/// The sender is killed while it sends.
fn sender_killed() -> Outcome {
    let shared = Shared::new(1)?;
    let [into, from] = [(); 2].map(|()| Ram::shared(MEMORY));
    let sender = in_a_child(|| busy_sender(&shared, from.clone()))?;
    let receiver = in_a_child(|| busy_receiver(&shared, into.clone()))?;
    let talked = wait_until("numbers have come", || into.word(COUNT) > 20);
    killed(sender)?;
    // Somebody else goes on where that one ended.
    let next = Ram::shared(MEMORY);
    next.set_word(COUNT, into.word(COUNT));
    let sender = in_a_child(|| busy_sender(&shared, next.clone()))?;
    let before = into.word(COUNT);
    let goes_on = wait_until("more numbers come", || into.word(COUNT) > before + 20);
    killed(sender)?;
    killed(receiver)?;
    talked.and(goes_on)
}

/// The receiver's file is closed, and another guest is made, again and again, while somebody sends.
fn closed_and_opened(rounds: u64) -> Outcome {
    let shared = Arc::new(Shared::new(1)?);
    let from = Ram::new(MEMORY);
    let (its_shared, its_from) = (shared.clone(), from.clone());
    let sender = std::thread::spawn(move || {
        let mut guest = busy_sender(&its_shared, its_from)?;
        let reason = guest.run()?;
        guest.powered_off(&reason, 0)
    });
    for _ in 0..rounds {
        let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
        wait_until("a number has come", || receiver.ram.word32(DMA) != 0)?;
        // It is closed alive. Its memory is ours again then: nobody writes there.
        let ram = receiver.ram.clone();
        drop(receiver);
        ram.set_word32(DMA, 0);
        ram.set_word(BUFFER, 0x5afe);
        let sent = from.word(OUT);
        wait_until("something was sent to nobody", || {
            from.word(OUT) > sent || sender.is_finished()
        })?;
        same("used_len after close", ram.word32(DMA), 0)?;
        same("the buffer after close", ram.word(BUFFER), 0x5afe)?;
    }
    from.set_word(STOP, 1);
    join(sender)
}

/// A sender whose group has no memory left for the bytes that it sends dies of that, and the receiver waits on.
fn no_memory_to_send() -> Outcome {
    let short = Short::new()?;
    let shared = Shared::new(1)?;
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
    let pieces: Pieces = (0..16).map(|number| (FREE + number * PAGE, 4096)).collect();
    let mut guest = sender(&shared, &pieces)?;
    fill(&guest.ram, &pieces, &text(16 * PAGE));
    guest.boot_halfway(READY)?;
    let answer = short.during(|| guest.device().read(&mut [0; 16]))?;
    same("read()", answer, Err(Errno::ENOENT))?;
    let reason = guest.reason()?;
    same("the reason", reason.as_str(), "out of memory sending DMA")?;
    not_interrupted(&receiver)
}

/// Who has been saved takes nothing more before it runs again: its memory is what goes with the state that it was saved in.
fn deaf_once_saved() -> Outcome {
    let shared = Shared::new(1)?;
    let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
    let saved = receiver.device().write(&[SAVE]);
    check!(saved.is_ok(), "SAVE: {saved:?}");
    let send = || sent(&mut sender(&shared, &[(FREE, 64)])?);
    same("what was taken of the first", send()?, 0)?;
    same("used_len", receiver.ram.word32(DMA), 0)?;
    let mut state = vec![0; saved.unwrap_or(0)];
    same("read()", receiver.device().read(&mut state), saved)?;
    same("what was taken of the second", send()?, 0)?;
    // Nobody has called it.
    not_interrupted(&receiver)?;
    same("what was taken of the third", send()?, 64)?;
    interrupted(&receiver)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "between/who-is-saved-is-deaf-until-it-runs",
            deaf_once_saved,
        ),
        Case {
            // The kernel's words about a group that has no memory left.
            tolerates: &["Call Trace"],
            ..Case::new("between/no-memory-to-send", no_memory_to_send)
        }
        .needing([Need::MEMORY_GROUPS]),
        Case::slow("between/receiver-killed-in-the-middle", || {
            for _ in 0..10 {
                receiver_killed()?;
            }
            same("users of the module", host::module_users()?, 0)
        }),
        Case::slow("between/sender-killed-in-the-middle", || {
            for _ in 0..10 {
                sender_killed()?;
            }
            same("users of the module", host::module_users()?, 0)
        }),
        Case::slow("between/receiver-closed-in-the-middle", || {
            closed_and_opened(50)
        }),
        Case::slow("between/nothing-is-left", || {
            leaves_nothing(100, || {
                let shared = Shared::new(1)?;
                let receiver = receiver(&shared, &[vec![(BUFFER, 64)]])?;
                let mut sender = sender(&shared, &[(BUFFER, 5)])?;
                same("used_len of the sender", sent(&mut sender)?, 5)?;
                drop(receiver);
                Ok(())
            })
        }),
    ]
}
