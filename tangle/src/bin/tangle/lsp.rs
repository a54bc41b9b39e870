//! `tangle lsp`.

use clap::Args;
use tangle::lsp;

use crate::shared::{Place, Status};

/// Serve an editor: a language server for chapters, on standard input and output
///
/// In a chapter it knows every fragment: mistakes appear while you type, <<a reference>> leads to its definition and shows
/// what it becomes, a fragment is renamed in all chapters at once, and after << its name is completed. Nothing needs to
/// be saved for that.
///
/// Inside Rust code it asks rust-analyzer, which it starts when the book has any: completion, hover, definitions,
/// references, signatures and diagnostics, those of cargo check included, all at the lines of the chapters. When a
/// chapter is saved, the files are tangled to disk, where cargo finds them; files that were edited by hand are left
/// alone and named.
///
/// A text in the directory of the labs is the last chapter of a book of its own: the book with this lab behind it, tangled to a
/// directory beside the book's own files.
///
/// An editor starts this command by itself. tangle's README has the settings of Neovim, Helix and VS Code.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    #[command(flatten)]
    place: Place,

    /// The language server that knows Rust
    #[arg(long, value_name = "COMMAND", default_value = "rust-analyzer")]
    analyzer: String,

    /// Know about fragments, and leave Rust code alone
    #[arg(long, conflicts_with = "analyzer")]
    no_analyzer: bool,

    /// Accepted and ignored: there is no other way to talk
    #[arg(long, hide = true)]
    stdio: bool,
}

pub fn run(options: Options) -> Status {
    let (book, out) = options.place.given();
    let proper = lsp::run(lsp::Options {
        book,
        out,
        analyzer: (!options.no_analyzer).then_some(options.analyzer),
    });
    // The protocol wants an editor that forgot to say goodbye to be seen in the exit status.
    if proper { Status::Fine } else { Status::Mistakes }
}
