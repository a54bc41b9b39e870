//! What hypercalls return, and the ring.

use crate::abi::{data, hc};
use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, check, same};
use crate::layout::*;
use std::time::{Duration, SystemTime};

/// Writes a call into a slot of the ring, and leaves its status byte alone.
fn enter(guest: &Guest, slot: u64, call: [u64; 4]) {
    for (word, value) in (0..).zip(call) {
        guest
            .ram
            .set_word(DATA + data::RING + 32 * slot + 8 * word, value);
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("hypercall/init-fills-lguest-data", || {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_err(|e| e.to_string())?;
            let mut guest = Guest::new(work::SURVIVED);
            guest.run_to_poweroff(0)?;
            let time = Duration::new(
                guest.ram.word(DATA + data::TIME),
                guest.ram.word(DATA + data::TIME + 8) as u32,
            );
            let apart = time.abs_diff(now);
            check!(
                apart < Duration::from_secs(60),
                "the guest was told {time:?}, the Launcher's clock says {now:?}"
            );
            check!(
                guest.ram.word(DATA + data::TIME + 8) < 1_000_000_000,
                "nanoseconds: {}",
                guest.ram.word(DATA + data::TIME + 8)
            );
            let hz = u64::from(guest.ram.word32(DATA + 64)) * 1000;
            check!(
                hz == 0 || (100_000_000..20_000_000_000).contains(&hz),
                "tsc_khz: {}",
                hz / 1000
            );
            Ok(())
        }),
        Case::new("hypercall/init-touches-nothing-else", || {
            let mut guest = Guest::new(work::SURVIVED);
            guest.ram.set_word(DATA + data::BLOCKED, 0x1234);
            guest.ram.set_word(DATA + data::NOIRQ_START, va(8));
            guest.ram.set_word(DATA + data::NOIRQ_END, va(16));
            guest.run_to_poweroff(0)?;
            same(
                "blocked_interrupts",
                guest.ram.word(DATA + data::BLOCKED),
                0x1234,
            )?;
            same(
                "noirq_start",
                guest.ram.word(DATA + data::NOIRQ_START),
                va(8),
            )?;
            same("noirq_end", guest.ram.word(DATA + data::NOIRQ_END), va(16))?;
            same(
                "the word behind lguest_data",
                guest.ram.word(DATA + data::SIZE),
                0,
            )
        }),
        Case::new("hypercall/guestids-differ", || {
            let mut ids = Vec::new();
            let mut guests = Vec::new();
            for _ in 0..5 {
                let mut guest = Guest::new(work::SURVIVED);
                guest.run_to_poweroff(0)?;
                ids.push(guest.ram.word16(DATA + data::GUESTID));
                guests.push(guest);
            }
            ids.sort();
            let all = ids.clone();
            ids.dedup();
            check!(ids.len() == 5, "five living guests have the ids {all:?}");
            Ok(())
        }),
        Case::new("hypercall/results", || {
            let mut guest = Guest::new(work::SURVIVED);
            let calls = [
                ("FLUSH_ASYNC", [hc::FLUSH_ASYNC, 0, 0, 0], 0),
                ("FLUSH_TLB 0", [hc::FLUSH_TLB, 0, 0, 0], 0),
                ("FLUSH_TLB 1", [hc::FLUSH_TLB, 1, 0, 0], 0),
                ("LOAD_IDT_ENTRY", [hc::LOAD_IDT_ENTRY, 6, 0, 0], 0),
                ("SET_CLOCKEVENT", [hc::SET_CLOCKEVENT, 0, 0, 0], 0),
                ("BIND_DMA", [hc::BIND_DMA, 8, DMA, 1 << 8 | 3], 1),
                (
                    "BIND_DMA of another key",
                    [hc::BIND_DMA, 12, DMA, 2 << 8 | 31],
                    1,
                ),
                (
                    "BIND_DMA with irq 32",
                    [hc::BIND_DMA, 16, DMA, 1 << 8 | 32],
                    0,
                ),
                ("unbinding", [hc::BIND_DMA, 8, DMA, 0], 1),
                ("unbinding again", [hc::BIND_DMA, 8, DMA, 0], 0),
                ("SEND_INTERRUPTS", [hc::SEND_INTERRUPTS, 0, 0, 0], 0),
            ];
            let at: Vec<_> = calls.iter().map(|(_, call, _)| guest.call(*call)).collect();
            guest.run_to_poweroff(0)?;
            for ((name, _, want), at) in calls.iter().zip(at) {
                same(name, guest.returned(at), *want)?;
            }
            Ok(())
        }),
        Case::new("hypercall/keeps-all-other-registers", || {
            let mut guest = Guest::new(work::KEEP_REGISTERS);
            guest.interrupts();
            guest.ram.set_word(REARM, 200_000);
            guest.boot()?;
            let ram = guest.ram.clone();
            let other = std::thread::spawn(move || {
                let done = crate::harness::wait_until("200 interrupts came", || {
                    ram.word(IRQ_COUNT) >= 200
                });
                ram.set_word(STOP, 1);
                done
            });
            let reason = guest.finish()?;
            crate::harness::join(other)?;
            guest.powered_off(&reason, 0)
        }),
        Case::new("ring/calls-are-made-in-order", || {
            let mut guest = Guest::new(work::RING);
            // Bind, bind, unbind: only in this order does the last entry find something to unbind.
            let calls = [
                [hc::BIND_DMA, 4, DMA, 1 << 8 | 3],
                [hc::BIND_DMA, 8, DMA, 1 << 8 | 3],
                [hc::BIND_DMA, 4, DMA, 0],
            ];
            for (slot, call) in (0..).zip(calls) {
                enter(&guest, slot, call);
            }
            guest.run_to_poweroff(0)?;
            same("the first four status bytes", guest.out(0), 0xffff_ffff)?;
            Ok(())
        }),
        Case::new("ring/all-of-a-full-one-before-the-call-at-once", || {
            let mut guest = Guest::new(work::SURVIVED);
            for slot in 0..63 {
                enter(&guest, slot, [hc::FLUSH_ASYNC, 0, 0, 0]);
            }
            enter(&guest, 63, [hc::POWEROFF, 7, 0, 0]);
            guest
                .ram
                .set_bytes(DATA + data::RING_STATUS, &[data::PENDING; 64]);
            guest.run_to_poweroff(7)
        }),
        Case::new("ring/goes-round", || {
            // Slots are served from a cursor that wraps: three rounds of 64, a direct call after each slot.
            let mut guest = Guest::new(crate::blobs::work::RING_ROUNDS);
            guest.param(0, 192);
            guest.run_to_poweroff(0)?;
            same("calls made", guest.ram.word(COUNT), 192)
        }),
    ]
}
