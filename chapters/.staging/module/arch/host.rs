// SPDX-License-Identifier: GPL-2.0

//! Which Hosts will do, and how to leave one without a trace.

use super::{
    cpu::{self, cr4, msr},
    hook::slot_is_taken,
    table::ENTRIES,
};
use kernel::{bindings, prelude::*};

/// Refuse a Host on which the Switcher could not work, saying why and what would help.
pub(crate) fn check() -> Result {
    let cr4 = cpu::read_cr4();
    if cr4 & cr4::FRED != 0 {
        pr_err!(
            "this Host takes events by FRED, which has no way into ring 1: boot it with fred=off\n"
        );
        return Err(ENODEV);
    }
    // SAFETY: CR4.CET is set, so the register exists.
    if cr4 & cr4::CET != 0 && unsafe { cpu::read_msr(msr::S_CET) } & 1 != 0 {
        pr_err!(
            "this Host uses supervisor shadow stacks, which the Switcher cannot keep straight\n"
        );
        return Err(ENODEV);
    }
    if slot_is_taken() {
        pr_err!("top-level slot 256 is taken: is this Host itself a Guest of Xen?\n");
        return Err(EBUSY);
    }
    if kernel::cpu::nr_cpu_ids() as usize >= ENTRIES {
        pr_err!(
            "more than {} CPUs: boot with nr_cpus={}\n",
            ENTRIES - 1,
            ENTRIES - 1
        );
        return Err(E2BIG);
    }
    Ok(())
}

/// Make every CPU forget the Switcher's tables, so that they can be freed.
pub(super) fn flush_all_cpus() {
    extern "C" fn flush(_: *mut core::ffi::c_void) {
        let cr4 = cpu::read_cr4();
        // SAFETY: Changing PGE and changing it back flushes everything, whatever PCID it belongs to
        // (SDM vol. 3, 4.10.4.1).
        unsafe {
            cpu::write_cr4(cr4 ^ cr4::PGE);
            cpu::write_cr4(cr4);
        }
    }
    // SAFETY: `flush` may run in an interrupt on any CPU. We wait for all of them.
    unsafe {
        bindings::on_each_cpu_cond_mask(
            None,
            Some(flush),
            core::ptr::null_mut(),
            true,
            &raw const bindings::__cpu_online_mask,
        )
    };
}
