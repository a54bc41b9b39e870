//! The parts of the module that know nothing of the kernel: their own tests, on this machine.

#![allow(dead_code)] // The tests need less than the module does.

/// What `arch` says of it.
const SLOT: usize = 256;

#[path = "../generated/abi/abi.rs"]
mod abi;
#[path = "../generated/module/addr.rs"]
mod addr;
#[path = "../generated/module/catalog.rs"]
mod catalog;
#[path = "../generated/module/arch/changes.rs"]
mod changes;
#[path = "../generated/module/decode.rs"]
mod decode;
#[path = "../generated/module/arch/desc.rs"]
mod desc;
#[path = "../generated/module/entry.rs"]
mod entry;
#[path = "../generated/module/arch/measures.rs"]
mod measures;
#[path = "../generated/module/arch/nowhere.rs"]
mod nowhere;
#[path = "../generated/module/arch/paravirt.rs"]
mod paravirt;
#[path = "../generated/module/regs.rs"]
mod regs;
#[path = "../generated/module/arch/table.rs"]
mod table;
#[path = "../generated/module/walk.rs"]
mod walk;
#[path = "../generated/module/arch/xstate.rs"]
mod xstate;
