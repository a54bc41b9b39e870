// SPDX-License-Identifier: GPL-2.0

//! lguest: a hypervisor that needs no help from the CPU.
//!
//! The Guest's kernel runs in ring 1 and its programs in ring 3, under page tables that the Host
//! makes for them. Everything starts at `/dev/lguest`: see [`device`].

#[path = "../abi/abi.rs"]
mod abi;
mod addr;
mod arch;
mod bell;
mod clock;
mod decode;
mod device;
mod dma;
mod emulate;
mod guest;
mod hypercalls;
mod interrupts;
mod kill;
mod memory;
mod regs;
mod run;
mod shadow;
mod traps;
mod walk;

use kernel::{miscdevice::MiscDeviceRegistration, prelude::*, sync::Arc};

module! {
    type: Lguest,
    name: "lguest",
    authors: ["The authors of lguest, the book"],
    description: "A hypervisor without VT-x or SVM, with Guest kernels in ring 1",
    license: "GPL",
}

kernel::sync::global_lock! {
    // SAFETY: Initialized before the device is registered, and nothing else locks it.
    unsafe(uninit) static SWITCHER: Mutex<Option<Arc<arch::Switcher>>> = None;
}

/// The Switcher, for as long as the module is loaded.
fn switcher() -> Result<Arc<arch::Switcher>> {
    SWITCHER.lock().clone().ok_or(ENODEV)
}

#[pin_data(PinnedDrop)]
struct Lguest {
    #[pin]
    _device: MiscDeviceRegistration<device::OpenFile>,
}

impl kernel::InPlaceModule for Lguest {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                arch::host::check()?;
                // SAFETY: Once, as the module is loaded once.
                unsafe { SWITCHER.init() };
                let switcher = Arc::pin_init(arch::Switcher::new()?, GFP_KERNEL)?;
                *SWITCHER.lock() = Some(switcher);
            },
            _device <- MiscDeviceRegistration::register(device::OPTIONS),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Lguest {
    fn drop(self: Pin<&mut Self>) {
        // No file is open any more, so this is the last reference.
        *SWITCHER.lock() = None;
    }
}
