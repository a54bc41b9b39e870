//! Literate programming for mdBook.
//!
//! The chapters of a book hold code in fences with names: some open files, some are fragments, and `<<name>>` alone on a
//! line stands for a fragment ([`header`]; books for another tool: [`dialect`]). This crate reads the chapters ([`parse`], [`mod@model`]), finds every mistake at once
//! ([`check`], [`diagnostic`]), and turns the fragments into files ([`tangle`](mod@tangle)) together with a map that knows the
//! chapter line of every generated line ([`map`]); or into pages that explain themselves ([`weave`]). All of that works on strings in memory; only [`disk`] touches files.
//!
//! ```
//! use tangle::source::Book;
//!
//! let chapter = "
//! ~~~rust file=main.rs
//! fn main() {
//!     <<greet>>
//! }
//! ~~~
//! ~~~rust #greet
//! println!(\"hello\");
//! ~~~
//! ";
//! let program = tangle::program(&Book::new([("one.md", chapter)])).expect("the book has no mistakes");
//! assert_eq!(program.tangled.files["main.rs"].text, "fn main() {\n    println!(\"hello\");\n}\n");
//! ```

pub mod advice;
pub mod build_script;
pub mod check;
pub mod diagnostic;
pub mod dialect;
#[cfg(feature = "stitch")]
pub mod diff;
pub mod disk;
pub mod graph;
pub mod header;
pub mod identifiers;
pub mod imports;
#[cfg(feature = "mdbook")]
pub mod install;
pub mod lab;
#[cfg(feature = "lsp")]
pub mod lsp;
pub mod map;
pub mod model;
pub mod parse;
#[cfg(feature = "mdbook")]
pub mod preprocessor;
pub mod record;
pub mod sarif;
pub mod source;
pub mod states;
pub mod stats;
#[cfg(feature = "stitch")]
pub mod stitch;
pub mod summary;
pub mod tangle;
#[cfg(feature = "watch")]
pub mod watch;
pub mod weave;
#[cfg(feature = "wrap")]
pub mod wrap;

use diagnostic::{Code, Diagnostic};
use model::Model;
use source::Book;
use tangle::Tangled;

/// A book without mistakes.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its fragments.
    pub model: Model,
    /// The files that they become.
    pub tangled: Tangled,
}

/// Reads, checks and tangles `book`.
///
/// # Errors
/// All mistakes of the whole book, in reading order.
pub fn program(book: &Book) -> Result<Program, Vec<Diagnostic>> {
    let model = model(book)?;
    let tangled = tangle::tangle(&model);
    Ok(Program { model, tangled })
}

/// Reads and checks `book`.
///
/// # Errors
/// All mistakes of the whole book, in reading order.
pub fn model(book: &Book) -> Result<Model, Vec<Diagnostic>> {
    let (model, diagnostics) = examine(book);
    if diagnostics.is_empty() {
        Ok(model)
    } else {
        Err(diagnostics)
    }
}

/// Reads and checks `book`, and returns what could be read together with all mistakes of the whole book, in reading order.
#[must_use]
pub fn examine(book: &Book) -> (Model, Vec<Diagnostic>) {
    let (model, mut diagnostics) = Model::read(book);
    diagnostics.extend(check::check(book, &model));
    // That a fence which is wrong in itself is not used either goes without saying.
    let wrong: Vec<_> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code != Code::UnusedFragment)
        .map(|diagnostic| diagnostic.primary.place.clone())
        .collect();
    diagnostics
        .retain(|diagnostic| diagnostic.code != Code::UnusedFragment || !wrong.contains(&diagnostic.primary.place));
    diagnostics.sort_by_key(|diagnostic| {
        let place = &diagnostic.primary.place;
        (place.source, place.range.start, diagnostic.code)
    });
    (model, diagnostics)
}
