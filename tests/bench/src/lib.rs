//! The ruler: what an operation costs, in executed instructions.
//!
//! A program that is measured executes *marks* around each operation; they are instructions that do nothing. QEMU tells a plugin of
//! every instruction that its emulated CPU executes: the plugin counts, and knows the marks. So the measured program reads no
//! counter itself, a mark may stand in any ring and in any virtual machine, and both ends of an operation may lie in different
//! ones.
//!
//! `plugin/` is that plugin, `src/measured/` the program in the VM, `src/bin/ruler.rs` what makes tables and compares.

pub mod compare;
pub mod figures;
pub mod marks;
pub mod meter;
pub mod operations;
pub mod plot;
pub mod privileged;
pub mod profile;
pub mod symbols;
pub mod table;
