//! Editors at work: whole sessions over standard input and output with the real command, and with the real rust-analyzer.

mod analyzer;
#[path = "../commands/common.rs"]
mod common;
mod editor;
mod fragments;
mod labs;
mod mistakes;
mod process;
