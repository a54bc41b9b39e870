// SPDX-License-Identifier: GPL-2.0

//! The Guest's own IDT, as far as it has told us.

use crate::{
    abi::{hypercall, FIRST_IRQ_VECTOR, IRQS},
    addr::GuestVirt,
    arch::{
        desc::{Gate, INTERRUPT_GATE, TRAP_GATE},
        Route, Vcpu, DIRECT,
    },
    kill::{kill, Alive},
    shadow::Shadow,
};

/// Exceptions, then interrupts; one place more for INT 0x80.
const GATES: usize = FIRST_IRQ_VECTOR as usize + IRQS as usize + 1;

/// The vector of 32-bit system calls, for Guests that like tradition.
const INT80: u64 = 0x80;

/// The Guest's gates.
pub(crate) struct Traps {
    gates: [Gate; GATES],
}

/// Where in [`Traps::gates`] a vector has its place.
fn place(vector: u64) -> Option<usize> {
    match vector {
        // The Host's: NMI and machine check. Nobody's: 15 and 31, now the hypercall. And 8, since
        // a Guest that cannot take a fault is not asked about the second one.
        2 | 8 | 15 | 18 => None,
        vector if vector == u64::from(hypercall::VECTOR) => None,
        INT80 => Some(GATES - 1),
        vector if (vector as usize) < GATES - 1 => Some(vector as usize),
        _ => None,
    }
}

/// Whether the CPU pushes an error code for this exception (SDM vol. 3, table 6-1).
pub(crate) fn has_error_code(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

impl Traps {
    pub(crate) const fn new() -> Self {
        Self {
            gates: [Gate { low: 0, high: 0 }; GATES],
        }
    }

    /// The gate for a vector, if the Guest has a handler there.
    pub(crate) fn get(&self, vector: u64) -> Option<Gate> {
        let gate = self.gates[place(vector)?];
        gate.is_present().then_some(gate)
    }

    /// The interrupts that have a handler, one bit each.
    pub(crate) fn handled_irqs(&self) -> u64 {
        (0..IRQS)
            .filter(|irq| self.get(u64::from(FIRST_IRQ_VECTOR) + irq).is_some())
            .fold(0, |irqs, irq| irqs | 1 << irq)
    }

    /// `LOAD_IDT_ENTRY`: of a gate, only handler, type, ring and presence are the Guest's to choose.
    pub(crate) fn load(
        &mut self,
        vcpu: &mut Vcpu,
        shadow: &Shadow,
        vector: u64,
        gate: Gate,
    ) -> Alive {
        let Some(place) = place(vector) else {
            return Ok(());
        };
        if gate.is_present() {
            if !matches!(gate.kind(), INTERRUPT_GATE | TRAP_GATE) {
                kill!("bad IDT type {} of vector {}", gate.kind(), vector);
            }
            let handler = GuestVirt::new(gate.handler());
            if !handler.is_canonical() || shadow.is_switchers(handler) {
                kill!("bad IDT handler {:#x} of vector {}", handler.get(), vector);
            }
        }
        self.gates[place] = gate;
        if DIRECT.iter().any(|&direct| u64::from(direct) == vector) {
            vcpu.set_route(vector as u8, route(gate));
        }
        Ok(())
    }
}

/// The shortest way for a trap that may go straight to ring 1.
fn route(gate: Gate) -> Route {
    match gate.kind() {
        _ if !gate.is_present() => Route::Default,
        // A trap gate leaves `irq_enabled` alone, so nobody has to be there to clear it.
        TRAP_GATE => Route::Straight {
            handler: gate.handler(),
            ring: gate.ring(),
        },
        _ => Route::ByHost { ring: gate.ring() },
    }
}
