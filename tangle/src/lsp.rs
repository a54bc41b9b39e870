//! A language server for the chapters of a book, spoken over standard input and output.
//!
//! The [`run()`] loop deals with one message after the other. Whatever changes the chapters makes the next question, or the next
//! quiet moment, look at the whole book again, as it stands in the editor; a book is read in milliseconds.
//! About fragments the server knows everything itself. For Rust code it asks an analyzer, a second language server, which
//! it starts and to which it shows the generated files as they would be if everything were saved. Every place that the
//! editor names goes through the line map to the analyzer, and every place in its answers comes back.

mod analyzer;
mod capabilities;
mod client;
mod cursor;
mod diagnostics;
mod documents;
mod downstream;
mod edition;
mod encoding;
mod features;
mod mapping;
mod save;
mod session;
mod settings;
mod snapshot;
mod translate;
mod transport;
mod uri;

pub use session::{Options, run};
