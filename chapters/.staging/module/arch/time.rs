// SPDX-License-Identifier: GPL-2.0

//! What time it is, and how fast the time-stamp counter goes.

use core::arch::x86_64::__cpuid;
use kernel::bindings;

/// Wall-clock time: seconds and nanoseconds since 1970.
pub(crate) fn now() -> (u64, u64) {
    let mut time = bindings::timespec64 {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { bindings::ktime_get_real_ts64(&mut time) };
    (time.tv_sec as u64, time.tv_nsec as u64)
}

/// Ticks of the time-stamp counter in a millisecond, 0 if its speed is not constant.
pub(crate) fn tsc_khz() -> u32 {
    const POWER: u32 = 0x8000_0007;
    const INVARIANT_TSC: u32 = 1 << 8;
    // SAFETY: Every 64-bit CPU has CPUID, and says how far it goes.
    let invariant =
        unsafe { __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT_TSC != 0 };
    if !invariant {
        return 0;
    }
    // SAFETY: Set while the kernel boots.
    unsafe { bindings::tsc_khz as u32 }
}
