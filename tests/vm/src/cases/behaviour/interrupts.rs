//! Interrupts and the timer: delivered when they may be, and only then.

use crate::abi::{FIRST_IRQ, IF, data, hc};
use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, granted, join, same, wait_until};
use crate::layout::*;

/// A guest with all handlers that sends one list, then goes on.
fn sender(body: crate::blobs::Blob) -> Outcome<Guest> {
    let mut guest = Guest::new(body);
    guest.traps().interrupts();
    guest.dma(DMA, &[(BUFFER, 16)]);
    Ok(guest)
}

/// A busy guest to which these interrupts are sent at once, before it first runs.
fn at_once(blocked: u64, irqs: &[u64]) -> Outcome<Guest> {
    let mut guest = Guest::new(work::COUNT_UP);
    guest.traps().interrupts();
    sent_at_once(guest, blocked, irqs)
}

/// The same with the handlers that this guest has.
fn sent_at_once(mut guest: Guest, blocked: u64, irqs: &[u64]) -> Outcome<Guest> {
    guest.ram.set_word(DATA + data::BLOCKED, blocked);
    guest.ram.set_word(DATA, IF);
    guest.ram.set_word(STOP, 1);
    guest.call([hc::SEND_DMA, 0, DMA, 0]);
    guest.call([hc::SEND_INTERRUPTS, 0, 0, 0]);
    guest.boot()?;
    // The script's SEND_DMA brings us out after LGUEST_INIT, with the gates set.
    match guest.step()? {
        Event::Dma { .. } => {}
        event => return Err(format!("{event:x?}")),
    }
    for irq in irqs {
        granted("IRQ", guest.device().irq(*irq), 16)?;
    }
    // A few trips for those that come one at a time.
    let reason = guest.finish()?;
    guest.powered_off(&reason, 0)?;
    Ok(guest)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("irq/arrives", || {
            let guest = at_once(0, &[5])?;
            same("interrupt 5", guest.ram.word(IRQ_COUNT + 5 * 8), 1)?;
            same("all interrupts", guest.ram.word(IRQ_TOTAL), 1)?;
            same("traps", guest.trap_count(), 0)
        }),
        Case::new("irq/every-one-lowest-first", || {
            let all: Vec<u64> = (0..32).rev().collect();
            let mut guest = Guest::new(work::TICK);
            guest.traps().interrupts();
            guest.ram.set_word(DATA, IF);
            guest.call([hc::SEND_DMA, 0, DMA, 0]);
            guest.boot()?;
            guest.step()?;
            for irq in &all {
                granted("IRQ", guest.device().irq(*irq), 16)?;
            }
            let ram = guest.ram.clone();
            let waiter = std::thread::spawn(move || {
                let came = wait_until("32 interrupts came", || ram.word(IRQ_TOTAL) >= 32);
                ram.set_word(STOP, 1);
                came
            });
            let reason = guest.finish()?;
            join(waiter)?;
            guest.powered_off(&reason, 0)?;
            for irq in 0..32 {
                same(
                    &format!("interrupt {irq}"),
                    guest.ram.word(IRQ_COUNT + irq * 8),
                    1,
                )?;
            }
            same(
                "their order",
                guest.ram.bytes(IRQ_ORDER, 32),
                (0..32).collect::<Vec<u8>>(),
            )
        }),
        Case::new("irq/raised-twice-arrives-once", || {
            let guest = at_once(0, &[5, 5, 5])?;
            same("interrupt 5", guest.ram.word(IRQ_COUNT + 5 * 8), 1)
        }),
        Case::new("irq/blocked-stays-away", || {
            let guest = at_once(1 << 5, &[5])?;
            same("interrupts", guest.ram.word(IRQ_TOTAL), 0)
        }),
        Case::new("irq/unblocked-comes", || {
            let guest = at_once(1 << 5, &[5, 6])?;
            same("interrupt 5", guest.ram.word(IRQ_COUNT + 5 * 8), 0)?;
            same("interrupt 6", guest.ram.word(IRQ_COUNT + 6 * 8), 1)
        }),
        Case::new("irq/without-a-handler-waits", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.ram.set_word(DATA, IF);
            guest.ram.set_word(STOP, 1);
            guest.boot()?;
            granted("IRQ", guest.device().irq(5), 16)?;
            guest.powered_off(&guest.finish()?, 0)
        }),
        Case::new("irq/without-a-handler-holds-up-nobody", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.traps().interrupt(6);
            let guest = sent_at_once(guest, 0, &[5, 6])?;
            same("interrupt 5", guest.ram.word(IRQ_COUNT + 5 * 8), 0)?;
            same("interrupt 6", guest.ram.word(IRQ_COUNT + 6 * 8), 1)
        }),
        Case::new("irq/waits-once-its-handler-is-gone", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.traps().interrupts();
            guest.call([hc::LOAD_IDT_ENTRY, FIRST_IRQ + 5, 0, 0]);
            let guest = sent_at_once(guest, 0, &[5, 6])?;
            same("interrupt 5", guest.ram.word(IRQ_COUNT + 5 * 8), 0)?;
            same("interrupt 6", guest.ram.word(IRQ_COUNT + 6 * 8), 1)
        }),
        Case::new("irq/off-means-pending", || {
            let mut guest = sender(work::PENDING)?;
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            granted("IRQ 5", guest.device().irq(5), 16)?;
            guest.powered_off(&guest.finish()?, 0)?;
            check!(
                guest.out(0) != 0,
                "irq_pending was not set while interrupts were off"
            );
            same("interrupts while off", guest.out(1), 0)?;
            same("irq_pending after SEND_INTERRUPTS", guest.out(2), 0)?;
            same("interrupts after SEND_INTERRUPTS", guest.out(3), 1)
        }),
        Case::new("irq/not-in-the-covered-stretch", || {
            let mut guest = sender(work::COVERED)?;
            let code = work::COVERED.bytes();
            // From the hypercall that brings us out to the next 128-byte border of the blob.
            let end = (code.len() as u64 - 1) & !127;
            guest.ram.set_word(DATA + data::NOIRQ_START, va(BODY) + 64);
            guest.ram.set_word(DATA + data::NOIRQ_END, va(BODY) + end);
            guest.boot()?;
            same("read()", guest.step()?, Event::Dma { addr: DMA, key: 0 })?;
            granted("IRQ 5", guest.device().irq(5), 16)?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("interrupts inside", guest.out(0), 0)?;
            same("interrupts behind", guest.out(1), 1)
        }),
        Case::new("irq/wakes-a-sleeping-guest", || {
            let mut guest = Guest::new(work::HALT);
            guest.traps().interrupts();
            guest.boot()?;
            let ram = guest.ram.clone();
            granted("IRQ 9", guest.device().irq(9), 16)?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("interrupt 9", ram.word(IRQ_COUNT + 9 * 8), 1)
        }),
        Case::new("timer/arrives", || {
            for delta in [1, 100, 1000, 1_000_000, 10_000_000] {
                let mut guest = Guest::new(work::HALT);
                guest.traps().interrupts();
                guest.call([hc::SET_CLOCKEVENT, delta, 0, 0]);
                guest
                    .run_to_poweroff(0)
                    .map_err(|e| format!("{delta} ns: {e}"))?;
                same("interrupt 0", guest.ram.word(IRQ_COUNT), 1)?;
            }
            Ok(())
        }),
        Case::new("timer/takes-its-time", || {
            let mut guest = Guest::new(work::HALT);
            guest.traps().interrupts();
            guest.call([hc::SET_CLOCKEVENT, 50_000_000, 0, 0]);
            let start = std::time::Instant::now();
            guest.run_to_poweroff(0)?;
            check!(
                start.elapsed().as_millis() >= 50,
                "50 ms took {:?}",
                start.elapsed()
            );
            Ok(())
        }),
        Case::new("timer/interrupts-a-busy-guest", || {
            let mut guest = Guest::new(work::TICK);
            guest.traps().interrupts();
            guest.ram.set_word(REARM, 100_000);
            guest.boot()?;
            let ram = guest.ram.clone();
            let waiter = std::thread::spawn(move || {
                let came = wait_until("50 ticks came", || ram.word(IRQ_COUNT) >= 50);
                ram.set_word(STOP, 1);
                came
            });
            let reason = guest.finish()?;
            join(waiter)?;
            guest.powered_off(&reason, 0)?;
            let rip = guest.ram.word(IRQ_RIP);
            check!(
                (va(KIT)..va(USER)).contains(&rip),
                "the last tick interrupted {rip:#x}"
            );
            Ok(())
        }),
        Case::new("timer/cancelled", || {
            // A short one, cancelled at once; then a longer one must be the only one that comes.
            let mut guest = Guest::new(work::HALT);
            guest.traps().interrupts();
            guest.call([hc::SET_CLOCKEVENT, 20_000_000, 0, 0]);
            guest.call([hc::SET_CLOCKEVENT, 0, 0, 0]);
            guest.boot()?;
            same("nothing wakes it", guest.finish_within(100)?, None)?;
            granted("IRQ 4", guest.device().irq(4), 16)?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("interrupt 0", guest.ram.word(IRQ_COUNT), 0)
        }),
        Case::new("timer/set-again-counts-once", || {
            let mut guest = Guest::new(work::TIMER_TWICE);
            guest.traps().interrupts();
            guest.param(0, 30_000_000).param(1, 1_000_000);
            guest.boot()?;
            let ram = guest.ram.clone();
            let waiter = std::thread::spawn(move || {
                let came = wait_until("the tick came", || ram.word(IRQ_COUNT) >= 1);
                // The first one's time comes, and must bring nothing: 30 ms is no long wait.
                std::thread::sleep(std::time::Duration::from_millis(60));
                ram.set_word(STOP, 1);
                came
            });
            let reason = guest.finish()?;
            join(waiter)?;
            guest.powered_off(&reason, 0)?;
            same("interrupt 0", guest.ram.word(IRQ_COUNT), 1)
        }),
        Case::new("timer/in-ring-3", || {
            let mut guest = Guest::new(work::ENTER_USER);
            guest.traps().interrupts().user(work::USER_COUNT);
            guest.ram.set_word(REARM, 300_000);
            guest.ram.set_word(DATA, IF);
            guest.call([hc::SET_CLOCKEVENT, 300_000, 0, 0]);
            guest.boot()?;
            let ram = guest.ram.clone();
            let waiter = std::thread::spawn(move || {
                let came = wait_until("20 ticks came, one of them to the program", || {
                    let in_ring_3 = ram.word(IRQ_CS) == crate::abi::sel::USER_CS;
                    ram.word(IRQ_COUNT) >= 20 && in_ring_3
                });
                ram.set_word(USER + PAGE + 8, 1);
                came
            });
            let reason = guest.finish()?;
            join(waiter)?;
            check!(guest.ram.word(USER + PAGE) > 0, "the program never counted");
            guest.powered_off(&reason, 0)
        }),
        Case::new("halt/ends-with-an-interrupt-only", || {
            let mut guest = Guest::new(work::HALT_LOOP);
            guest.traps().interrupts();
            guest.boot()?;
            for round in 1..=10 {
                same("nothing wakes it", guest.finish_within(10)?, None)?;
                same("rounds", guest.ram.word(COUNT), round - 1)?;
                granted("IRQ 3", guest.device().irq(3), 16)?;
                // It comes out again only by the alarm, having gone round once.
                for _ in 0..500 {
                    same("it sleeps again", guest.finish_within(10)?, None)?;
                    if guest.ram.word(COUNT) == round {
                        break;
                    }
                }
                same("rounds", guest.ram.word(COUNT), round)?;
            }
            Ok(())
        }),
    ]
}
