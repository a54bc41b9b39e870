// SPDX-License-Identifier: GPL-2.0

//! The Guest's x87, SSE and AVX registers: swapped whole, at every switch.

use super::cpu::{self, cr4};
use core::arch::{asm, x86_64::__cpuid_count};
use kernel::{bindings, prelude::*};

/// How this CPU saves them.
#[derive(Clone, Copy)]
enum Method {
    /// FXSAVE: 512 bytes.
    Fxsave,
    /// XSAVE: everything that XCR0 enables, in as many bytes as CPUID says.
    Xsave,
}

/// Memory for the registers while the Guest does not run.
///
/// # Invariants
///
/// `area` is `1 << order` pages that we own, big enough for `method`, and holds an image that the
/// CPU wrote itself or the initial one. Nobody else can write there, so restoring it cannot fault.
pub(super) struct FpuState {
    area: *mut u8,
    order: u32,
    method: Method,
}

// SAFETY: The memory is only reached through `&mut self`.
unsafe impl Send for FpuState {}
// SAFETY: As above.
unsafe impl Sync for FpuState {}

impl FpuState {
    /// Registers as after FNINIT.
    pub(super) fn new() -> Result<Self> {
        let (method, size) = if cpu::read_cr4() & cr4::OSXSAVE != 0 {
            // SAFETY: XSAVE is on, so leaf 13 exists. EBX is the size for what XCR0 enables now.
            (Method::Xsave, unsafe { __cpuid_count(13, 0) }.ebx)
        } else {
            (Method::Fxsave, 512)
        };
        let order = size.div_ceil(4096).next_power_of_two().trailing_zeros();
        let gfp = bindings::GFP_KERNEL_ACCOUNT | bindings::__GFP_ZERO;
        // SAFETY: No preconditions; 0 is failure.
        let area = unsafe { bindings::get_free_pages_noprof(gfp, order) } as *mut u8;
        if area.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: Both words lie in the legacy area of 512 bytes, which every method has. All zeroes
        // otherwise is the initial state (SDM vol. 1, 13.6); XSTATE_BV = 0 says so to XRSTOR.
        unsafe {
            area.cast::<u16>().write(0x37f);
            area.add(24).cast::<u32>().write(0x1f80);
        }
        // INVARIANT: Just allocated, and the image is the initial one.
        Ok(Self {
            area,
            order,
            method,
        })
    }

    fn restore(&self) {
        // SAFETY: By the type invariant the image is good, and we are between `kernel_fpu_begin` and
        // `kernel_fpu_end`, where the registers are ours.
        unsafe {
            match self.method {
                Method::Fxsave => asm!("fxrstor64 [{}]", in(reg) self.area, options(nostack)),
                Method::Xsave => {
                    asm!("xrstor64 [{}]", in(reg) self.area, in("eax") -1, in("edx") -1,
                    options(nostack))
                }
            }
        }
    }

    fn save(&mut self) {
        // SAFETY: By the type invariant there is room, and the registers are ours as above.
        unsafe {
            match self.method {
                Method::Fxsave => asm!("fxsave64 [{}]", in(reg) self.area, options(nostack)),
                Method::Xsave => {
                    asm!("xsave64 [{}]", in(reg) self.area, in("eax") -1, in("edx") -1,
                    options(nostack))
                }
            }
        }
    }

    /// Do `run` with the Guest's registers in place of the Launcher's.
    ///
    /// Pre-emption is off meanwhile: the Host keeps only one set of borrowed registers per CPU.
    pub(super) fn with<R>(&mut self, run: impl FnOnce() -> R) -> R {
        let keys = cpu::read_cr4() & cr4::PKE != 0;
        // SAFETY: We are in a task, not in an interrupt, and end it below.
        unsafe { bindings::kernel_fpu_begin_mask(0) };
        // SAFETY: PKE is on. XRSTOR may set PKRU, and the Host does not put it back by itself.
        let rights = if keys { unsafe { cpu::read_pkru() } } else { 0 };
        self.restore();
        let result = run();
        self.save();
        if keys {
            // SAFETY: PKE is on, and this is the value from before.
            unsafe { cpu::write_pkru(rights) };
        }
        // SAFETY: Begun above. The Launcher's registers are loaded on its way to user space.
        unsafe { bindings::kernel_fpu_end() };
        result
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own these pages.
        unsafe { bindings::free_pages(self.area as usize, self.order) };
    }
}
