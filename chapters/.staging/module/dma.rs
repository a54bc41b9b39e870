// SPDX-License-Identifier: GPL-2.0

//! DMA buffers: lists of pieces of Guest memory, and the keys under which they are offered.

use crate::{
    abi::{LguestDma, DMA_SECTIONS, IRQS, PAGE_SIZE},
    addr::GuestPhys,
    kill::{kill, Alive},
    memory::Memory,
};
use core::mem::offset_of;

/// How many arrays of buffers a Guest may have bound at once.
const MAX_BINDINGS: usize = 32;

/// An array of buffers that the Guest has bound to a key.
#[derive(Clone, Copy)]
struct Binding {
    key: u64,
    array: GuestPhys,
    count: u64,
    /// The next one to look at, so that all get their turn.
    next: u64,
    irq: u32,
}

/// A buffer that the Guest has sent, and the Launcher has yet to hear of.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) address: u64,
    pub(crate) key: u64,
}

/// All that a Guest has bound, and what it has sent.
pub(crate) struct Bindings {
    slots: [Option<Binding>; MAX_BINDINGS],
    pub(crate) pending: Option<Sent>,
}

impl Bindings {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [None; MAX_BINDINGS],
            pending: None,
        }
    }

    fn find(&mut self, key: u64) -> Option<&mut Option<Binding>> {
        self.slots
            .iter_mut()
            .find(|slot| slot.is_some_and(|binding| binding.key == key))
    }

    /// `BIND_DMA`: offer `count` buffers under `key`, or with `irq` 0 take them back. Says whether
    /// that was possible.
    pub(crate) fn bind(
        &mut self,
        memory: &Memory,
        key: u64,
        array: GuestPhys,
        count: u64,
        irq: u64,
    ) -> Alive<bool> {
        check_key(memory, key)?;
        if irq == 0 {
            return Ok(self.find(key).and_then(Option::take).is_some());
        }
        let size = size_of::<LguestDma>() as u64;
        let fits = count
            .checked_mul(size)
            .is_some_and(|bytes| memory.contains(array, bytes));
        if !fits {
            kill!("bad DMA buffers {:#x} count {}", array.get(), count);
        }
        if irq >= IRQS || self.find(key).is_some() {
            return Ok(false);
        }
        let Some(free) = self.slots.iter_mut().find(|slot| slot.is_none()) else {
            return Ok(false);
        };
        *free = Some(Binding {
            key,
            array,
            count,
            next: 0,
            irq: irq as u32,
        });
        Ok(true)
    }

    /// `LHREQ_GETDMA`: the next free buffer under `key`. Its `used_len` says which interrupt to send.
    pub(crate) fn get(&mut self, memory: &Memory, key: u64) -> Alive<Option<GuestPhys>> {
        let Some(Some(binding)) = self.find(key) else {
            return Ok(None);
        };
        for turn in 0..binding.count {
            let index = (binding.next + turn) % binding.count;
            // `bind` has checked the whole array, so this does not wrap.
            let offset = index * size_of::<LguestDma>() as u64;
            let Some(buffer) = binding.array.checked_add(offset) else {
                kill!("bad registered DMA buffer {:#x}", binding.array.get());
            };
            let Some(used_len) = buffer.checked_add(offset_of!(LguestDma, used_len) as u64) else {
                kill!("bad registered DMA buffer {:#x}", buffer.get());
            };
            if memory.read::<u32>(used_len)? == 0 {
                check_sections(memory, buffer)?;
                memory.write(used_len, &binding.irq)?;
                binding.next = (index + 1) % binding.count;
                return Ok(Some(buffer));
            }
        }
        Ok(None)
    }

    /// `SEND_DMA`: tell the Launcher, after making sure that it is told no lies.
    pub(crate) fn send(&mut self, memory: &Memory, key: u64, list: GuestPhys) -> Alive {
        check_key(memory, key)?;
        check_sections(memory, list)?;
        self.pending = Some(Sent {
            address: list.get(),
            key,
        });
        Ok(())
    }
}

/// Keys are addresses of words, as they were when Linux's futexes looked them up.
fn check_key(memory: &Memory, key: u64) -> Alive {
    if key % 4 != 0 || !memory.contains(GuestPhys::claimed(key), 4) {
        kill!("bad dma key {:#x}", key);
    }
    Ok(())
}

/// Every section inside the Guest and inside one page.
fn check_sections(memory: &Memory, list: GuestPhys) -> Alive {
    let mut bytes = [0; size_of::<LguestDma>()];
    memory.read_bytes(list, &mut bytes)?;
    let (addrs, lens) = (offset_of!(LguestDma, addr), offset_of!(LguestDma, len));
    for section in 0..DMA_SECTIONS {
        let mut addr = [0; 8];
        addr.copy_from_slice(&bytes[addrs + 8 * section..][..8]);
        let addr = GuestPhys::claimed(u64::from_ne_bytes(addr));
        let len = [lens + 2 * section, lens + 2 * section + 1].map(|at| bytes[at]);
        let len = u64::from(u16::from_ne_bytes(len));
        if len == 0 {
            break;
        }
        if !memory.contains(addr, len) || addr.page_offset() + len > PAGE_SIZE {
            kill!("bad DMA entry {:#x} len {}", addr.get(), len);
        }
    }
    Ok(())
}
