//! Runs as root inside the Host VM, does every operation a thousand times between marks, and prints nothing: QEMU's plugin counts.
//!
//! ```text
//! measured SYSTEM          one of calibration, native, lguest, lguest-mitigations-off, kvm-nested, kvm-shadow, uml
//! measured lguest OPERATION
//! measured inside-uml      what `uml` runs, as the first program under User Mode Linux
//! ```

// The Guests are made with the kit of tests/vm.
#[path = "../../../vm/src/abi.rs"]
#[allow(dead_code)]
mod abi;
#[path = "../../../vm/src/blobs/mod.rs"]
#[allow(dead_code)]
mod blobs;
#[path = "../../../vm/src/device.rs"]
#[allow(dead_code)]
mod device;
#[path = "../../../vm/src/guest.rs"]
#[allow(dead_code)]
mod guest;
#[path = "../../../vm/src/harness/mod.rs"]
#[allow(dead_code)]
mod harness;
#[path = "../../../vm/src/host.rs"]
#[allow(dead_code)]
mod host;
#[path = "../../../vm/src/layout.rs"]
#[allow(dead_code)]
mod layout;
#[path = "../../../vm/src/needs.rs"]
#[allow(dead_code)]
mod needs;
#[path = "../../../vm/src/ram.rs"]
#[allow(dead_code)]
mod ram;
#[path = "../../../vm/src/signals.rs"]
#[allow(dead_code)]
mod signals;
#[path = "../../../vm/src/tables.rs"]
#[allow(dead_code)]
mod tables;
#[path = "../../../vm/src/witness.rs"]
#[allow(dead_code)]
mod witness;

mod calibration;
mod code;
mod kvm;
mod lguest;
mod machine;
mod mark;
mod native;
mod uml;

use ruler::operations::{Operation, System};
use std::process::ExitCode;

fn measure(what: &str, only: Option<&str>) -> Result<(), String> {
    if what == "inside-uml" {
        uml::inside()
    }
    let system = System::from_key(what).ok_or("usage: measured SYSTEM")?;
    let only = only
        .map(|key| Operation::from_key(key).ok_or(format!("no operation {key}")))
        .transpose()?;
    mark::system(system);
    match system {
        System::Calibration => calibration::measure(),
        System::Native => native::measure(),
        System::Lguest | System::Undefended => lguest::measure(only),
        System::KvmNested | System::KvmShadow => kvm::measure(),
        System::Uml => uml::measure(),
    }
}

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let only = std::env::args().nth(2);
    match measure(&what, only.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("measured {what}: {why}");
            ExitCode::FAILURE
        }
    }
}
