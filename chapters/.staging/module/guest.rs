// SPDX-License-Identifier: GPL-2.0

//! A Guest: everything that the Host knows about it.
//!
//! Locks: [`Guest::inner`] is held by the Launcher's thread for as long as the Guest runs. Who else
//! has business with a running Guest goes through its [`Bell`], which never takes that lock.

use crate::{
    abi::{self, PAGE_SIZE},
    addr::{GuestPhys, GuestVirt},
    arch::{self, Hook, Vcpu},
    bell::Bell,
    clock::Clock,
    dma::Bindings,
    kill::{Alive, Death},
    memory::Memory,
    regs::Regs,
    shadow::Shadow,
    traps::Traps,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{ordering::Relaxed, Atomic},
        Arc, Mutex,
    },
    task::Task,
};

/// Why `read()` stopped running the Guest.
pub(crate) enum Stop {
    /// It sent a DMA buffer to the Launcher.
    Dma { address: u64, key: u64 },
    /// Somebody asked for it with `LHREQ_BREAK`.
    BrokenOut,
    /// The Launcher has a signal to take.
    Signal,
    /// It died.
    Dead,
}

/// A Guest, from `LHREQ_INITIALIZE` to `close()`.
#[pin_data]
pub(crate) struct Guest {
    bell: Arc<Bell>,
    #[pin]
    inner: Mutex<Inner>,
    // Dropped last: until then the Switcher is in the Launcher's tables.
    hook: Hook,
}

/// The part that belongs to the Launcher's thread.
pub(crate) struct Inner {
    pub(crate) id: u64,
    pub(crate) memory: Memory,
    pub(crate) vcpu: Vcpu,
    pub(crate) shadow: Shadow,
    pub(crate) traps: Traps,
    pub(crate) dma: Bindings,
    pub(crate) clock: Clock,
    pub(crate) bell: Arc<Bell>,
    /// Where `LguestData` is, once the Guest has said so.
    pub(crate) data: Option<GuestPhys>,
    /// Where in the ring the next asynchronous hypercall is.
    pub(crate) ring_next: usize,
    /// A hypercall waits for the Launcher to take a DMA buffer first.
    pub(crate) hypercall_due: bool,
    pub(crate) halted: bool,
    /// The GS base that SWAPGS would bring.
    pub(crate) kernel_gs_base: u64,
}

/// Numbers are not used again while the module is loaded.
static NEXT_ID: Atomic<u64> = Atomic::new(1);

impl Guest {
    /// `LHREQ_INITIALIZE`: a Guest that is owned by the current task.
    pub(crate) fn new(arguments: [u64; 5]) -> Result<Arc<Self>> {
        let [base, pfn_limit, pgdir, start, page_offset] = arguments;
        let memory = Memory::new(base, pfn_limit)?;
        let pgdir = GuestPhys::claimed(pgdir);
        let page_offset = GuestVirt::new(page_offset);
        if pgdir.page_offset() != 0
            || !memory.contains(pgdir, PAGE_SIZE)
            || !GuestVirt::new(start).is_canonical()
            || !page_offset.is_canonical()
            || page_offset.index(4) <= arch::SLOT
        {
            return Err(EINVAL);
        }

        let hook = Hook::new(crate::switcher()?)?;
        let bell = Arc::pin_init(Bell::new(arch::current_task()), GFP_KERNEL)?;
        let id = NEXT_ID.fetch_add(1u64, Relaxed);
        let inner = Inner {
            id,
            memory,
            vcpu: Vcpu::new(id, Regs::setup(start))?,
            shadow: Shadow::new(hook.switcher().clone(), pgdir, page_offset)?,
            traps: Traps::new(),
            dma: Bindings::new(),
            clock: Clock::new(&bell)?,
            bell: bell.clone(),
            data: None,
            ring_next: 0,
            hypercall_due: false,
            halted: false,
            kernel_gs_base: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                bell,
                inner <- new_mutex!(inner, "lguest_inner"),
                hook,
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the current task made this Guest, in the address space it has now.
    pub(crate) fn is_mine(&self) -> bool {
        core::ptr::eq(Task::current_raw(), self.bell.owner().as_ptr()) && self.hook.is_current()
    }

    /// Whether it is dead, and all that remains is to `read()` why.
    pub(crate) fn is_dead(&self) -> bool {
        self.bell.death().is_some()
    }

    /// Its death, if it is dead.
    pub(crate) fn death(&self) -> Option<&Death> {
        self.bell.death()
    }

    /// `LHREQ_IRQ`: the Guest sees the interrupt when it next runs.
    pub(crate) fn send_irq(&self, irq: u64) -> Result {
        if irq >= abi::IRQS {
            return Err(EINVAL);
        }
        self.bell.send(irq);
        Ok(())
    }

    /// `LHREQ_BREAK`: force the Guest out of `read()` and wait, or let it in again.
    pub(crate) fn break_out(&self, on: bool) -> Result {
        if on {
            return self.bell.break_out();
        }
        self.bell.release();
        Ok(())
    }

    /// `LHREQ_GETDMA`: a free buffer that the Guest has bound to `key`.
    pub(crate) fn get_dma(&self, key: u64) -> Result<usize> {
        let mut inner = self.inner.lock();
        let Inner { dma, memory, .. } = &mut *inner;
        match dma.get(memory, key) {
            Ok(Some(address)) => Ok(address.get() as usize),
            Ok(None) => Err(ENOENT),
            Err(death) => {
                self.bell.die(death);
                Err(ENOENT)
            }
        }
    }

    /// Run the Guest until there is something to tell the Launcher.
    pub(crate) fn run(&self) -> Result<Stop> {
        let mut inner = self.inner.lock();
        match inner.run(&self.hook) {
            Ok(stop) => Ok(stop),
            Err(death) => {
                self.bell.die(death);
                Ok(Stop::Dead)
            }
        }
    }

    /// The Launcher knows about the DMA buffer now.
    pub(crate) fn dma_was_read(&self) {
        self.inner.lock().dma.pending = None;
    }
}

impl Inner {
    /// The address of a field of `LguestData`, if the Guest has introduced itself.
    pub(crate) fn data_field(&self, offset: usize) -> Option<GuestPhys> {
        self.data?.checked_add(offset as u64)
    }

    /// Set a word of `LguestData`, if there is one.
    pub(crate) fn set_data(&self, offset: usize, value: u64) -> Alive {
        match self.data_field(offset) {
            Some(at) => self.memory.write(at, &value),
            None => Ok(()),
        }
    }

    /// Read a word of `LguestData`; before LGUEST_INIT everything is 0.
    pub(crate) fn get_data(&self, offset: usize) -> Alive<u64> {
        match self.data_field(offset) {
            Some(at) => self.memory.read(at),
            None => Ok(0),
        }
    }
}
