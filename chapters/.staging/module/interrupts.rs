// SPDX-License-Identifier: GPL-2.0

//! Giving the Guest its interrupts and traps: the frame that the CPU would have pushed.

use crate::{
    abi::{selector, LguestData, FIRST_IRQ_VECTOR, IRQ_ENABLED},
    addr::GuestVirt,
    arch::{
        desc::{Gate, INTERRUPT_GATE},
        time,
    },
    guest::Inner,
    kill::{kill, Alive},
    regs::flags,
    traps::has_error_code,
    walk::fault,
};
use core::mem::offset_of;

impl Inner {
    /// Interrupts that wait, that the Guest has a handler for, and that it has not blocked.
    fn unblocked(&self) -> Alive<u64> {
        let waiting = self.bell.waiting();
        if waiting == 0 || self.data.is_none() {
            return Ok(0);
        }
        let blocked = self.get_data(offset_of!(LguestData, blocked_interrupts))?;
        Ok(waiting & !blocked & self.traps.handled_irqs())
    }

    /// Deliver the lowest interrupt that waits, if the Guest takes interrupts now.
    pub(crate) fn maybe_interrupt(&mut self) -> Alive {
        let unblocked = self.unblocked()?;
        if unblocked == 0 {
            return Ok(());
        }
        if self.halted {
            // HLT is STI; HLT: what else would wake it?
            self.halted = false;
            self.set_data(offset_of!(LguestData, irq_enabled), IRQ_ENABLED)?;
        }
        if self.get_data(offset_of!(LguestData, irq_enabled))? == 0 || self.in_noirq_range()? {
            return self.set_data(offset_of!(LguestData, irq_pending), 1);
        }
        let irq = unblocked.trailing_zeros().into();
        let Some(gate) = self.traps.get(u64::from(FIRST_IRQ_VECTOR) + irq) else {
            return Ok(());
        };
        self.bell.delivered(irq);
        self.push_frame(gate, None)?;
        let more = u64::from(unblocked & (unblocked - 1) != 0);
        self.set_data(offset_of!(LguestData, irq_pending), more)?;
        self.write_timestamp()
    }

    /// The few instructions in which the Guest has the wrong stack.
    fn in_noirq_range(&self) -> Alive<bool> {
        let start = self.get_data(offset_of!(LguestData, noirq_start))?;
        let end = self.get_data(offset_of!(LguestData, noirq_end))?;
        Ok((start..end).contains(&self.vcpu.regs.rip))
    }

    /// Whether an interrupt would wake a halted Guest.
    pub(crate) fn has_interrupt(&self) -> Alive<bool> {
        Ok(self.unblocked()? != 0)
    }

    /// Reflect a trap to the Guest's handler, or end it.
    pub(crate) fn reflect(&mut self, vector: u64, error: u64, detail: u64) -> Alive {
        let Some(gate) = self.traps.get(vector) else {
            let rip = self.vcpu.regs.rip;
            kill!("unhandled trap {} at {:#x} ({:#x})", vector, rip, detail);
        };
        self.push_frame(gate, has_error_code(vector).then_some(error))
    }

    /// A page fault that is the Guest's own affair.
    pub(crate) fn reflect_page_fault(&mut self, address: GuestVirt, error: u64) -> Alive {
        self.set_data(offset_of!(LguestData, cr2), address.get())?;
        self.reflect(14, error, address.get())
    }

    /// Do what the CPU does: six words at most on the stack, and off to the handler.
    fn push_frame(&mut self, gate: Gate, error: Option<u64>) -> Alive {
        let irq_enabled = self.get_data(offset_of!(LguestData, irq_enabled))?;
        let before = self.vcpu.regs;
        let mut rsp = match before.in_kernel() {
            true => before.rsp,
            false => self.vcpu.kernel_stack(),
        } & !15;
        let rflags = before.rflags & !flags::IF | irq_enabled & flags::IF;
        let frame = [before.ss, before.rsp, rflags, before.cs, before.rip];
        for word in frame.into_iter().chain(error) {
            rsp = self.push(rsp, word)?;
        }
        let regs = &mut self.vcpu.regs;
        regs.rsp = rsp;
        regs.rip = gate.handler();
        regs.cs = selector::KERNEL_CS.into();
        regs.ss = selector::KERNEL_DS.into();
        regs.rflags = flags::FIXED | flags::IF | flags::AC;
        if gate.kind() == INTERRUPT_GATE {
            self.set_data(offset_of!(LguestData, irq_enabled), 0)?;
        }
        Ok(())
    }

    fn push(&mut self, rsp: u64, word: u64) -> Alive<u64> {
        let at = GuestVirt::new(rsp).wrapping_sub(8);
        match self.shadow.translate(&self.memory, at, fault::WRITE)? {
            Some(place) => self.memory.write(place, &word)?,
            None => kill!("bad stack page {:#x}", at.get()),
        }
        Ok(at.get())
    }

    /// Tell the Guest what time it is.
    pub(crate) fn write_timestamp(&self) -> Alive {
        let (seconds, nanoseconds) = time::now();
        self.set_data(offset_of!(LguestData, time_sec), seconds)?;
        self.set_data(offset_of!(LguestData, time_nsec), nanoseconds)
    }
}
