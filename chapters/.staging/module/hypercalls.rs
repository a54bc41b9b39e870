// SPDX-License-Identifier: GPL-2.0

//! Hypercalls: what the Guest asks of the Host, at once or through the ring.

use crate::{
    abi::{
        hypercall as nr, selector, LguestData, RingEntry, PAGE_SIZE, POWEROFF_REASON, RING_SIZE,
    },
    addr::{GuestPhys, GuestVirt},
    arch::{desc::Gate, time},
    guest::Inner,
    kill::{kill, Alive},
    walk::fault,
};
use core::mem::offset_of;
use kernel::prelude::*;

/// A hypercall's number and arguments.
struct Call {
    number: u64,
    arguments: [u64; 3],
}

/// Bytes of a last message that we listen to.
const MAX_LAST_WORDS: usize = 128;

/// Pages of stack that a Guest may announce.
const MAX_STACK_PAGES: u64 = 2;

impl Inner {
    /// The Guest has made a hypercall: first what is in the ring, then that.
    pub(crate) fn do_hypercalls(&mut self) -> Alive {
        self.drain_ring()?;
        if self.dma.pending.is_some() {
            // The Launcher must see this one first. We come back.
            return Ok(());
        }
        self.hypercall_due = false;
        let regs = &self.vcpu.regs;
        let call = Call {
            number: regs.rax,
            arguments: [regs.rdx, regs.rbx, regs.rcx],
        };
        let result = if self.data.is_some() {
            self.do_call(&call)?
        } else if call.number == nr::LGUEST_INIT {
            self.introduce(call.arguments[0])?
        } else {
            kill!("hypercall {} before LGUEST_INIT", call.number);
        };
        self.vcpu.regs.rax = result;
        Ok(())
    }

    /// Make the calls in the ring, in order, until one is not there or a DMA buffer has to go out.
    fn drain_ring(&mut self) -> Alive {
        for _ in 0..RING_SIZE {
            let slot = self.ring_next;
            let Some(status) = self.data_field(offset_of!(LguestData, hcall_status) + slot) else {
                return Ok(());
            };
            if self.memory.read::<u8>(status)? == 0xff || self.dma.pending.is_some() {
                return Ok(());
            }
            let Some(entry) =
                self.data_field(offset_of!(LguestData, hcalls) + slot * size_of::<RingEntry>())
            else {
                return Ok(());
            };
            let [number, arguments @ ..] = self.memory.read::<[u64; 4]>(entry)?;
            self.ring_next = (slot + 1) % RING_SIZE;
            self.memory.write(status, &0xff_u8)?;
            self.do_call(&Call { number, arguments })?;
        }
        Ok(())
    }

    /// LGUEST_INIT: believe nothing before this.
    fn introduce(&mut self, data: u64) -> Alive<u64> {
        let at = GuestPhys::claimed(data);
        if data % 8 != 0 || !self.memory.contains(at, size_of::<LguestData>() as u64) {
            kill!("bad guest page {:#x}", data);
        }
        self.data = Some(at);
        self.set_data(offset_of!(LguestData, irq_pending), 0)?;
        if let Some(tsc_khz) = self.data_field(offset_of!(LguestData, tsc_khz)) {
            self.memory.write(tsc_khz, &time::tsc_khz())?;
        }
        if let Some(guestid) = self.data_field(offset_of!(LguestData, guestid)) {
            self.memory.write(guestid, &(self.id as u16))?;
        }
        self.write_timestamp()?;
        Ok(0)
    }

    fn do_call(&mut self, call: &Call) -> Alive<u64> {
        let [first, second, third] = call.arguments;
        match call.number {
            nr::FLUSH_ASYNC => (),
            nr::LGUEST_INIT => kill!("already have lguest_data"),
            nr::CRASH => return self.last_words(GuestPhys::claimed(first)),
            nr::NEW_PGTABLE => self
                .shadow
                .switch_to(&self.memory, GuestPhys::claimed(first))?,
            nr::FLUSH_TLB if first == 0 => self.shadow.flush_user(),
            nr::FLUSH_TLB => self.shadow.flush_all(),
            nr::LOAD_IDT_ENTRY => {
                let gate = Gate {
                    low: second,
                    high: third,
                };
                self.traps.load(&mut self.vcpu, &self.shadow, first, gate)?;
            }
            nr::SET_STACK => self.set_stack(first, second, third)?,
            nr::SET_CLOCKEVENT => self.clock.set(first),
            nr::HALT => self.halted = true,
            nr::POWEROFF => kill!("{}{}", POWEROFF_REASON, first & 0xff),
            nr::BIND_DMA => {
                let array = GuestPhys::claimed(second);
                let (count, irq) = (third >> 8, third & 0xff);
                return Ok(self
                    .dma
                    .bind(&self.memory, first, array, count, irq)?
                    .into());
            }
            nr::SEND_DMA => self
                .dma
                .send(&self.memory, first, GuestPhys::claimed(second))?,
            nr::SET_PTE => self.entry_changed(first, second, 1)?,
            nr::SET_TABLE => self.entry_changed(first, second, third.min(255) as u32)?,
            nr::SET_SYSCALL => {
                let entry = GuestVirt::new(first);
                if !entry.is_canonical() || self.shadow.is_switchers(entry) {
                    kill!("bad system call entry {:#x}", first);
                }
                self.vcpu.set_syscall_entry(entry);
            }
            // Coming here was the point: interrupts are looked at on the way back.
            nr::SEND_INTERRUPTS => (),
            unknown => kill!("Bad hypercall {}", unknown),
        }
        Ok(0)
    }

    fn entry_changed(&mut self, cr3: u64, address: u64, level: u32) -> Alive {
        let (cr3, address) = (GuestPhys::claimed(cr3), GuestVirt::new(address));
        self.shadow.entry_changed(cr3, address, level)
    }

    /// SET_STACK: where traps from ring 3 push. The pages must be there already.
    fn set_stack(&mut self, ss: u64, rsp: u64, pages: u64) -> Alive {
        if ss != u64::from(selector::KERNEL_DS) {
            kill!("bad stack segment {:#x}", ss);
        }
        if pages > MAX_STACK_PAGES {
            kill!("bad stack pages {}", pages);
        }
        for page in 0..pages {
            let at = GuestVirt::new(rsp).wrapping_sub(1 + page * PAGE_SIZE);
            if self
                .shadow
                .translate(&self.memory, at, fault::WRITE)?
                .is_none()
            {
                kill!("bad stack page {:#x}", at.get());
            }
        }
        self.vcpu.set_kernel_stack(rsp);
        Ok(())
    }

    /// CRASH: die with a message.
    fn last_words(&mut self, at: GuestPhys) -> Alive<u64> {
        let mut text = [0; MAX_LAST_WORDS];
        let mut length = 0;
        while length < text.len() {
            let Some(place) = at.checked_add(length as u64) else {
                break;
            };
            text[length] = self.memory.read(place)?;
            if text[length] == 0 {
                break;
            }
            // It goes to somebody's terminal.
            if !(b' '..=b'~').contains(&text[length]) {
                text[length] = b'?';
            }
            length += 1;
        }
        let text = core::str::from_utf8(&text[..length]).unwrap_or("?");
        kill!("CRASH: {}", text);
    }
}
