//! The commands as their users meet them: shells, programs and mdBook.

mod cli;
mod common;
mod golden;
mod imports;
mod inspect;
mod lab;
mod mdbook;
mod stitch;
#[cfg(unix)]
mod watch;
mod wrap;
