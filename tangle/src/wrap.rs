//! Lets every tool speak of chapters: what it prints about generated files is rewritten on its way to the reader.
//!
//! [`Locator`] knows the line map; [`text`] rewrites what is meant for people, [`json`] what is meant for programs, and
//! [`symbols`] finds the lines behind `symbol+offset`. [`run()`] does all of it to a running command, [`filter`] to standard input.

pub mod json;
mod locate;
mod run;
pub mod symbols;
pub mod text;

pub use locate::{Location, Locator};
pub use run::{Settings, filter, run};
