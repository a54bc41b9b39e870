// SPDX-License-Identifier: GPL-2.0

//! Doing for the Guest's kernel what ring 1 may not do itself.

use crate::{
    abi::{LguestData, IRQ_ENABLED},
    addr::{GuestPhys, GuestVirt},
    decode::{decode, Insn},
    guest::Inner,
    kill::Alive,
    regs::Regs,
    walk::fault,
};
use core::mem::offset_of;

/// No x86 instruction is longer.
const MAX_INSN: usize = 15;

/// Model-specific registers that a Guest has.
mod msr {
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// What a Guest is told of registers that are not its to change.
mod fixed {
    /// CR0: protected, paging, write protection, and a numeric unit that is there.
    pub(super) const CR0: u64 = 0x8005_0033;
    /// CR4: PAE, and SSE with its exceptions.
    pub(super) const CR4: u64 = 0x620;
    /// EFER: SYSCALL, long mode on and active, no-execute.
    pub(super) const EFER: u64 = 0xd01;
}

impl Inner {
    /// Emulate the instruction that trapped. `false`: it is none of ours.
    pub(crate) fn emulate(&mut self) -> Alive<bool> {
        if !self.vcpu.regs.in_kernel() {
            return Ok(false);
        }
        let mut bytes = [0; MAX_INSN];
        let length = self.fetch(&mut bytes)?;
        let Some((insn, length)) = decode(&bytes[..length]) else {
            return Ok(false);
        };
        if !self.execute(insn)? {
            return Ok(false);
        }
        let regs = &mut self.vcpu.regs;
        regs.rip = regs.rip.wrapping_add(length as u64);
        Ok(true)
    }

    /// Read code at RIP, as much as is mapped.
    fn fetch(&mut self, bytes: &mut [u8]) -> Alive<usize> {
        let rip = GuestVirt::new(self.vcpu.regs.rip);
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = rip.wrapping_add(index as u64);
            match self.shadow.translate(&self.memory, at, fault::FETCH)? {
                Some(place) => *byte = self.memory.read(place)?,
                None => return Ok(index),
            }
        }
        Ok(bytes.len())
    }

    fn execute(&mut self, insn: Insn) -> Alive<bool> {
        match insn {
            Insn::In(width) => read_nothing(&mut self.vcpu.regs, width),
            Insn::Out => (),
            Insn::Cli => self.set_data(offset_of!(LguestData, irq_enabled), 0)?,
            Insn::Sti => self.set_data(offset_of!(LguestData, irq_enabled), IRQ_ENABLED)?,
            Insn::Hlt => self.halted = true,
            Insn::Swapgs => {
                core::mem::swap(&mut self.vcpu.regs.gs_base, &mut self.kernel_gs_base);
            }
            // One address or all: forgetting too much is only slow.
            Insn::Invlpg => self.shadow.flush_all(),
            Insn::ReadControl { control, register } => return self.read_control(control, register),
            Insn::WriteControl { control, register } => {
                return self.write_control(control, register)
            }
            Insn::ReadMsr => return Ok(self.read_msr()),
            Insn::WriteMsr => return Ok(self.write_msr()),
        }
        Ok(true)
    }

    fn read_control(&mut self, control: u8, register: u8) -> Alive<bool> {
        let value = match control {
            0 => fixed::CR0,
            2 => self.get_data(offset_of!(LguestData, cr2))?,
            3 => self.shadow.cr3().get(),
            4 => fixed::CR4,
            _ => return Ok(false),
        };
        *general(&mut self.vcpu.regs, register) = value;
        Ok(true)
    }

    fn write_control(&mut self, control: u8, register: u8) -> Alive<bool> {
        let value = *general(&mut self.vcpu.regs, register);
        match control {
            2 => self.set_data(offset_of!(LguestData, cr2), value)?,
            3 => {
                self.shadow
                    .switch_to(&self.memory, GuestPhys::claimed(value))?;
                self.shadow.flush_user();
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_msr(&mut self) -> bool {
        let regs = &mut self.vcpu.regs;
        let value = match regs.rcx as u32 {
            msr::EFER => fixed::EFER,
            msr::FS_BASE => regs.fs_base,
            msr::GS_BASE => regs.gs_base,
            msr::KERNEL_GS_BASE => self.kernel_gs_base,
            msr::LSTAR => self.vcpu.syscall_entry(),
            _ => return false,
        };
        let regs = &mut self.vcpu.regs;
        (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
        true
    }

    fn write_msr(&mut self) -> bool {
        let regs = &mut self.vcpu.regs;
        let value = GuestVirt::new(regs.rdx << 32 | regs.rax & 0xffff_ffff);
        // A base that is not canonical would trap in the Switcher, when it is loaded.
        if !value.is_canonical() || self.shadow.is_switchers(value) {
            return false;
        }
        match regs.rcx as u32 {
            msr::FS_BASE => regs.fs_base = value.get(),
            msr::GS_BASE => regs.gs_base = value.get(),
            msr::KERNEL_GS_BASE => self.kernel_gs_base = value.get(),
            msr::LSTAR => self.vcpu.set_syscall_entry(value),
            _ => return false,
        }
        true
    }
}

/// IN from a port where nothing is: all ones, in as much of RAX as was asked for.
fn read_nothing(regs: &mut Regs, width: u32) {
    match width {
        1 => regs.rax |= 0xff,
        2 => regs.rax |= 0xffff,
        _ => regs.rax = 0xffff_ffff,
    }
}

/// A general register by its number in an instruction.
fn general(regs: &mut Regs, number: u8) -> &mut u64 {
    match number {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}
