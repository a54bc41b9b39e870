//! Data to and from the Launcher.

use crate::abi::hc;
use crate::blobs::work;
use crate::guest::{Event, Guest};
use crate::harness::{Case, granted, same};
use crate::layout::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("dma/to-the-launcher", || {
            let mut guest = Guest::new(work::SEND);
            guest.dma(DMA, &[(BUFFER, 5), (BUFFER + 64, 3)]);
            guest.ram.set_bytes(BUFFER, b"hello");
            guest.param(0, 0xabcc);
            guest.boot()?;
            same(
                "read()",
                guest.step()?,
                Event::Dma {
                    addr: DMA,
                    key: 0xabcc,
                },
            )?;
            same(
                "the bytes",
                guest.ram.bytes(guest.ram.word(DMA + 8), 5),
                b"hello".to_vec(),
            )?;
            guest.ram.set_word32(DMA, 8);
            guest.powered_off(&guest.finish()?, 0)?;
            same("used_len as the guest sees it", guest.out(1), 8)
        }),
        Case::new("dma/many", || {
            let mut guest = Guest::new(work::SEND_MANY);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.param(0, 500);
            guest.boot()?;
            for _ in 0..500 {
                same("read()", guest.step()?, Event::Dma { addr: DMA, key: 76 })?;
                guest.ram.set_word32(DMA, 16);
            }
            guest.powered_off(&guest.finish()?, 0)?;
            same("lists sent", guest.ram.word(COUNT), 500)
        }),
        Case::new("dma/from-the-launcher", || {
            // The guest sleeps; a buffer is found, filled, and its interrupt wakes the guest.
            let mut guest = Guest::new(work::HALT);
            guest.traps().interrupts();
            guest.dma(DMA, &[(BUFFER, 64)]);
            guest.call([hc::BIND_DMA, 40, DMA, 1 << 8 | 6]);
            guest.call([hc::SEND_DMA, 0, DMA + 168, 0]);
            guest.boot()?;
            same(
                "read()",
                guest.step()?,
                Event::Dma {
                    addr: DMA + 168,
                    key: 0,
                },
            )?;
            granted("GETDMA", guest.device().get_dma(40), DMA as usize)?;
            let irq = u64::from(guest.ram.word32(DMA));
            same("the interrupt to raise", irq, 6)?;
            guest.ram.set_bytes(BUFFER, b"news");
            guest.ram.set_word32(DMA, 4);
            granted("IRQ", guest.device().irq(irq), 16)?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("interrupt 6", guest.ram.word(IRQ_COUNT + 6 * 8), 1)
        }),
        Case::new("dma/sent-from-the-ring", || {
            // The ring stops at a DMA until the Launcher has taken it, then goes on.
            use crate::abi::data;
            let mut guest = Guest::new(work::RING);
            let calls = [
                [hc::SEND_DMA, 4, DMA, 0],
                [hc::SEND_DMA, 8, DMA, 0],
                [hc::BIND_DMA, 12, DMA, 1 << 8 | 3],
            ];
            for (slot, call) in (0..).zip(calls) {
                for (word, value) in (0..).zip(call) {
                    guest
                        .ram
                        .set_word(DATA + data::RING + 32 * slot + 8 * word, value);
                }
            }
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.boot()?;
            same(
                "the first read()",
                guest.step()?,
                Event::Dma { addr: DMA, key: 4 },
            )?;
            same(
                "the second read()",
                guest.step()?,
                Event::Dma { addr: DMA, key: 8 },
            )?;
            guest.powered_off(&guest.finish()?, 0)?;
            same("the ring's status bytes", guest.out(0), 0xffff_ffff)
        }),
    ]
}
