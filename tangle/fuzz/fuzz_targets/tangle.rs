#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;
#[path = "../../tests/harness/mod.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::tangle(data));
