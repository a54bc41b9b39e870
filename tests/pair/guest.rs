// SPDX-License-Identifier: GPL-2.0

//! For the tests: a Guest with two CPUs, in place of the book's own file of this name. The rest is the book's.
//!
//! Whoever initializes it runs the first CPU, and the next thread of the process that comes with a `read()` brings the second.
//! Each begins with its number in RDI.

use crate::{
    abi::{request, PAGE_SIZE},
    addr::{GuestPhys, GuestVirt},
    arch::{self, task, Hook},
    bell::Bell,
    kill::{Death, Halt},
    machine::Machine,
    memory::{Memory, Stretch},
    regs::Regs,
    vcpu::{Stop, Vcpu},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, MutexGuard, SetOnce},
    task::Task,
};

const CPUS: usize = 2;

/// One CPU, and whose it is.
struct Seat {
    bell: Arc<Bell>,
    vcpu: Pin<KBox<Mutex<Vcpu>>>,
}

/// A Guest, from `LHREQ_INITIALIZE` to `close()`.
pub(crate) struct Guest {
    machine: Arc<Machine>,
    seats: [SetOnce<Seat>; CPUS],
    /// With what each CPU begins.
    regs: Regs,
    pgdir: GuestPhys,
    // Dropped last: until then the Switcher is in the Launcher's tables.
    hook: Hook,
}

impl Guest {
    /// `LHREQ_INITIALIZE`.
    pub(crate) fn new(arguments: [u64; 5], flags: u64) -> Result<Pin<KBox<Self>>> {
        let [base, pfn_limit, pgdir, start, page_offset] = arguments;
        let stretch = Stretch::new(base, pfn_limit)?;
        let pgdir = GuestPhys::claimed(pgdir);
        let page_offset = GuestVirt::new(page_offset);
        if pgdir.page_offset() != 0
            || !stretch.contains(pgdir, PAGE_SIZE)
            || page_offset.index(4) <= arch::SLOT
        {
            return Err(EINVAL);
        }
        let hook = Hook::new(arch::switcher()?)?;
        let memory = Memory::new(stretch, CPUS, hook.switcher().clone(), page_offset)?;
        let guest = Self {
            machine: Machine::new(memory)?,
            seats: [const { SetOnce::new() }; CPUS],
            regs: Regs::setup(start, flags & request::WITHOUT_SMAP == 0),
            pgdir,
            hook,
        };
        guest.seat()?;
        Ok(KBox::pin(guest, GFP_KERNEL)?)
    }

    /// Whether the current task is in the address space in which it was made.
    pub(crate) fn is_mine(&self) -> bool {
        self.hook.is_current()
    }

    /// The current task's CPU: the one that it has, or a new one.
    fn seat(&self) -> Result<&Seat> {
        let mine =
            |seat: &&Seat| core::ptr::eq(Task::current_raw(), seat.bell.owner().as_ptr());
        if let Some(seat) = self.seats.iter().filter_map(SetOnce::as_ref).find(mine) {
            return Ok(seat);
        }
        let bell = Arc::new(Bell::new(task::current()), GFP_KERNEL)?;
        let switcher = self.hook.switcher();
        let mut vcpu = Vcpu::new(&self.machine, &bell, switcher, self.regs, self.pgdir)?;
        let number = vcpu.number;
        vcpu.processor.regs_mut().rdi = number as u64;
        let vcpu = KBox::pin_init(new_mutex!(vcpu, "lguest_vcpu"), GFP_KERNEL)?;
        self.seats[number].populate(Seat { bell, vcpu });
        self.seats[number].as_ref().ok_or(EBUSY)
    }

    fn vcpu(&self) -> Result<MutexGuard<'_, Vcpu>> {
        self.seat()?.vcpu.try_lock().ok_or(EBUSY)
    }

    /// Whether it is dead, and all that remains is to `read()` why.
    pub(crate) fn is_dead(&self) -> bool {
        self.machine.death().is_some()
    }

    /// Its death, if it is dead.
    pub(crate) fn death(&self) -> Option<&Death> {
        self.machine.death()
    }

    /// `LHREQ_IRQ`.
    pub(crate) fn send_irq(&self, irq: u64) -> Result {
        self.machine.port(irq).ok_or(EINVAL)?.send();
        Ok(())
    }

    /// `LHREQ_BREAK`.
    pub(crate) fn break_out(&self, on: bool) -> Result {
        if on {
            return self.machine.break_out();
        }
        self.machine.release();
        Ok(())
    }

    /// `LHREQ_GETDMA`: nobody asks.
    pub(crate) fn get_dma(&self, key: u64) -> Result<usize> {
        let open = self.machine.memory.open();
        let found = self.machine.dma.lock().get(&open, key);
        drop(open);
        match found {
            Ok(Some(at)) => Ok(at.get() as usize),
            Ok(None) | Err(Halt::Dead(_)) => Err(ENOENT),
            Err(Halt::Wants(_)) => Err(EAGAIN),
        }
    }

    /// Run the current task's CPU until there is something to tell the Launcher.
    pub(crate) fn run(&self) -> Result<Stop> {
        let mut vcpu = self.vcpu()?;
        let here = self.hook.here().ok_or(EPERM)?;
        match vcpu.run_to_stop(&self.machine, &here) {
            Ok(stop) => Ok(stop),
            Err(death) => {
                self.machine.die(death);
                Ok(Stop::Dead)
            }
        }
    }

    /// The Launcher knows about the DMA buffer now.
    pub(crate) fn dma_was_read(&self) -> Result {
        self.vcpu()?.sent = None;
        Ok(())
    }
}
