// SPDX-License-Identifier: GPL-2.0

//! What others may do to a running Guest: interrupt it, break it out, ask whether it is dead.
//!
//! Only the Launcher's thread touches the rest of a Guest. The timer (in an interrupt) and the Waker
//! (in another task) come here, and take no lock that the running Guest could hold.

use crate::{abi, arch::task, kill::Death};
use kernel::{
    new_condvar, new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::{Acquire, Full, Relaxed},
            Atomic,
        },
        CondVar, Mutex, SetOnce,
    },
    task::Task,
};

/// The part of a Guest that is shared.
#[pin_data]
pub(crate) struct Bell {
    /// The Launcher's thread.
    owner: ARef<Task>,
    /// How often the bell has rung: who looks at the rest and then sleeps compares this.
    rings: Atomic<u64>,
    /// Interrupts on their way to the Guest, one bit each.
    irqs: Atomic<u64>,
    /// Why it is dead, once it is.
    death: SetOnce<Death>,
    /// Whether the Guest has to come out and stay out.
    #[pin]
    broken_out: Mutex<bool>,
    /// The same, for a look without the lock.
    wanted_out: Atomic<u32>,
    /// Where the Waker waits for its release.
    #[pin]
    released: CondVar,
}

impl Bell {
    /// A bell that wakes `owner`.
    pub(crate) fn new(owner: ARef<Task>) -> impl PinInit<Self> {
        pin_init!(Self {
            owner,
            rings: Atomic::new(0),
            irqs: Atomic::new(0),
            death: SetOnce::new(),
            broken_out <- new_mutex!(false, "lguest_broken_out"),
            wanted_out: Atomic::new(0),
            released <- new_condvar!("lguest_released"),
        })
    }

    /// The Launcher's thread.
    pub(crate) fn owner(&self) -> &Task {
        &self.owner
    }

    /// How often the bell has rung. Read it before looking at anything else.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Acquire)
    }

    fn ring(&self) {
        self.rings.fetch_add(1u64, Full);
        task::wake(&self.owner);
    }

    fn change_irqs(&self, change: impl Fn(u64) -> u64) {
        let mut old = self.irqs.load(Relaxed);
        while let Err(now) = self.irqs.cmpxchg(old, change(old), Full) {
            old = now;
        }
    }

    /// Send interrupt `irq`, from anywhere, even from an interrupt.
    pub(crate) fn send(&self, irq: u64) {
        debug_assert!(irq < abi::IRQS);
        self.change_irqs(|irqs| irqs | 1 << irq);
        self.ring();
    }

    /// Interrupt `irq` has been delivered.
    pub(crate) fn delivered(&self, irq: u64) {
        self.change_irqs(|irqs| irqs & !(1 << irq));
    }

    /// The interrupts that wait, one bit each.
    pub(crate) fn waiting(&self) -> u64 {
        self.irqs.load(Acquire)
    }

    /// Record a death. Only the first counts.
    pub(crate) fn die(&self, death: Death) {
        self.death.populate(death);
    }

    /// The Guest's death, if it is dead.
    pub(crate) fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    /// Force the Guest out, and wait until somebody lets it in again.
    pub(crate) fn break_out(&self) -> Result {
        let mut broken_out = self.broken_out.lock();
        *broken_out = true;
        self.wanted_out.store(1, Relaxed);
        self.ring();
        while *broken_out {
            if self.released.wait_interruptible(&mut broken_out) {
                return Err(ERESTARTSYS);
            }
        }
        Ok(())
    }

    /// Let the Guest in again, and the Waker go.
    pub(crate) fn release(&self) {
        let mut broken_out = self.broken_out.lock();
        *broken_out = false;
        self.wanted_out.store(0, Relaxed);
        self.released.notify_all();
    }

    /// Whether the Guest has to come out.
    pub(crate) fn wanted_out(&self) -> bool {
        self.wanted_out.load(Relaxed) != 0
    }
}
