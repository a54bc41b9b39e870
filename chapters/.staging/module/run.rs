// SPDX-License-Identifier: GPL-2.0

//! The heart of the Host: run the Guest until something happens, then see to it.

use crate::{
    addr::GuestVirt,
    arch::{task, Exit, Hook},
    bell::Bell,
    dma::Sent,
    guest::{Inner, Stop},
    kill::{kill, Alive},
    shadow::Fixed,
};
use kernel::prelude::*;

impl Inner {
    /// Run until there is something to tell the Launcher, or to die of.
    pub(crate) fn run(&mut self, hook: &Hook) -> Alive<Stop> {
        loop {
            let heard = self.bell.rings();
            if self.hypercall_due {
                self.do_hypercalls()?;
            }
            if let Some(Sent { address, key }) = self.dma.pending {
                return Ok(Stop::Dma { address, key });
            }
            if signal_pending() {
                return Ok(Stop::Signal);
            }
            if self.bell.wanted_out() {
                return Ok(Stop::BrokenOut);
            }
            task::give_way();
            self.maybe_interrupt()?;
            if self.halted {
                let asleep = !self.has_interrupt()?;
                task::sleep_unless(|| !asleep || rang_since(&self.bell, heard));
                continue;
            }
            self.run_once(hook, heard)?;
        }
    }

    /// One visit to the Guest, and what it came back with.
    fn run_once(&mut self, hook: &Hook, heard: u64) -> Alive {
        let bell = &self.bell;
        let stay_out = || rang_since(bell, heard);
        match hook
            .switcher()
            .run(&mut self.vcpu, self.shadow.tree(), hook, stay_out)
        {
            Exit::HostInterrupt { .. } => Ok(()),
            Exit::Hypercall => {
                self.hypercall_due = true;
                Ok(())
            }
            Exit::PageFault { address, error } => self.page_fault(GuestVirt::new(address), error),
            Exit::GeneralProtection { error } => {
                if error == 0 && self.emulate()? {
                    return Ok(());
                }
                self.reflect(13, error, error)
            }
            Exit::Trap { vector, error } => self.reflect(vector.into(), error, error),
            Exit::StrayFrame { at } => kill!("trap outside the Switcher's stack at {:#x}", at),
            Exit::Broken { vector, rip } => {
                kill!("trap {} inside the Switcher at {:#x}", vector, rip)
            }
        }
    }

    fn page_fault(&mut self, address: GuestVirt, error: u64) -> Alive {
        match self.shadow.demand_page(&self.memory, address, error)? {
            Fixed::Yes => Ok(()),
            Fixed::No(error) => self.reflect_page_fault(address, error),
        }
    }
}

/// Whether there is news since the bell had rung so often.
fn rang_since(bell: &Bell, heard: u64) -> bool {
    bell.rings() != heard || signal_pending()
}

fn signal_pending() -> bool {
    current!().signal_pending()
}
