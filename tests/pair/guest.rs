// SPDX-License-Identifier: GPL-2.0

//! For the tests: a Guest with two CPUs, in place of the book's own file of this name. The rest is the book's.
//!
//! Whoever initializes it runs the first CPU, and the next thread of the process that comes with a `read()` brings the second.
//! Each begins with its number in RDI.
//!
//! What is not said to be "two CPUs" is as in the book's file: `cargo test --test two_cpus` compares them.

use crate::{
    abi::{notify, request, PAGE_SIZE},
    addr::{GuestPhys, GuestVirt},
    arch::{self, task, Eventfd, Hook},
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

/// Two CPUs.
const CPUS: usize = 2;

/// Two CPUs: one of them, and whose it is.
struct Seat {
    bell: Arc<Bell>,
    vcpu: Pin<KBox<Mutex<Vcpu>>>,
}

/// Two CPUs: a Guest, from `LHREQ_INITIALIZE` to `close()`.
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
    /// Two CPUs: `LHREQ_INITIALIZE`.
    pub(crate) fn new(arguments: [u64; 5], flags: u64) -> Result<Pin<KBox<Self>>> {
        let [base, pfn_limit, pgdir, start, page_offset] = arguments;
        let stretch = Stretch::new(base, pfn_limit)?;
        let pgdir = GuestPhys::claimed(pgdir);
        let page_offset = GuestVirt::new(page_offset);
        if flags & !request::WITHOUT_SMAP != 0
            || pgdir.page_offset() != 0
            || !stretch.contains(pgdir, PAGE_SIZE)
            || !GuestVirt::new(start).is_canonical()
            || !page_offset.is_canonical()
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

    /// Two CPUs: whether the current task is in the address space in which it was made.
    pub(crate) fn is_mine(&self) -> bool {
        self.hook.is_current()
    }

    /// Two CPUs: the current task's, the one that it has or a new one.
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

    /// Two CPUs: the current task's.
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

    /// `LHREQ_IRQ`: the Guest sees the interrupt when it next runs.
    pub(crate) fn send_irq(&self, irq: u64) -> Result {
        self.machine.port(irq).ok_or(EINVAL)?.send();
        Ok(())
    }

    /// `LHREQ_BREAK`: force the Guest out of `read()` and wait, or let it in again.
    pub(crate) fn break_out(&self, on: bool) -> Result {
        if on {
            return self.machine.break_out();
        }
        self.machine.release();
        Ok(())
    }

    /// `LHREQ_EVENTFD`: tell this eventfd of notifications for `key`, or nobody.
    pub(crate) fn listen(&self, key: u64, fd: u64) -> Result {
        let listeners = &self.machine.listeners;
        if fd == notify::NOBODY {
            let gone = listeners.lock().remove(key);
            return gone.map(drop);
        }
        let fd = fd.try_into().map_err(|_| EBADF)?;
        let eventfd = Eventfd::open(fd)?;
        listeners.lock().add(key, eventfd)
    }

    /// `LHREQ_GETDMA`: a free buffer that the Guest has bound to `key`.
    pub(crate) fn get_dma(&self, key: u64) -> Result<usize> {
        // In place of a `read()`, which could change what is bound.
        let _vcpu = self.vcpu()?;
        let memory = &self.machine.memory;
        loop {
            let open = memory.open();
            let found = self.machine.dma.lock().get(&open, key);
            drop(open);
            let death = match found {
                Ok(found) => return found.map(|at| at.get() as usize).ok_or(ENOENT),
                Err(Halt::Dead(death)) => death,
                Err(Halt::Wants(want)) => match memory.provide(want) {
                    Ok(true) => continue,
                    Ok(false) => return Err(ERESTARTSYS),
                    Err(death) => death,
                },
            };
            self.machine.die(death);
            return Err(ENOENT);
        }
    }

    /// Run the Guest until there is something to tell the Launcher.
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
