// SPDX-License-Identifier: GPL-2.0

//! The fence: everything that the compiler cannot check is in here.
//!
//! Assembly, control registers, descriptor tables, page-table pages and the kernel's raw bindings
//! stay inside this directory. The rest of the module is ordinary Rust over the types that it offers.

mod cpu;
pub(crate) mod desc;
mod fpu;
mod hook;
pub(crate) mod host;
mod page;
mod slot;
mod switcher;
mod table;
pub(crate) mod task;
pub(crate) mod time;

pub(crate) use hook::{current_task, Hook};
pub(crate) use page::PinnedPage;
pub(crate) use switcher::{Exit, Route, Switcher, Vcpu, DIRECT};
pub(crate) use table::{Budget, Tree};

/// The top-level slot that is the Switcher's: a hole that Linux leaves for hypervisors.
pub(crate) const SLOT: usize = 256;

/// An address in the machine's real memory. Only this directory can make one.
#[derive(Clone, Copy)]
pub(crate) struct HostPhys(u64);
