//! `tangle init`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use tangle::disk::Error;
use tangle::install;

use crate::shared::Status;

/// Start a book, or add tangle to one that is there.
///
/// In a directory without book.toml it writes a book of one chapter whose program runs. In any book it adds the preprocessor,
/// its style sheet and its script to book.toml, and tells git to ignore what tangle generates. What is there stays.
#[derive(Args)]
pub struct Options {
    /// The directory of the book
    #[arg(default_value = ".")]
    dir: PathBuf,
}

const CHAPTER: &str = r#"# Hello

Greeting somebody takes a name, and somebody to greet:

```rust file=main.rs
fn main() {
    <<find out the name>>
    println!("Hello, {name}!");
}
```

The name is the first argument. Without one, we greet everybody.

```rust #find out the name
let name = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
```
"#;

pub fn run(options: &Options) -> Result<Status, Error> {
    let root = &options.dir;
    let mut written = Vec::new();
    if !root.join("book.toml").exists() {
        for (path, text) in [
            ("book.toml", "[book]\ntitle = \"A program\"\nsrc = \"src\"\n"),
            ("src/SUMMARY.md", "# Summary\n\n- [Hello](hello.md)\n"),
            ("src/hello.md", CHAPTER),
        ] {
            if write(&root.join(path), text)? {
                written.push(path.to_owned());
            }
        }
    }
    match install::install(root) {
        Ok(paths) => written.extend(paths),
        Err(message) => {
            eprintln!("error: {message}");
            return Ok(Status::Trouble);
        }
    }
    let settings = tangle::disk::Inputs::read(root)?;
    let ignore = settings.out().join(".gitignore");
    if write(&ignore, "# tangle writes everything here.\n*\n")? {
        written.push(ignore.display().to_string());
    }
    written.dedup();
    match written.as_slice() {
        [] => println!("nothing to do"),
        paths => println!(
            "wrote {}\nnow run `tangle`, and `mdbook build` for the pages",
            paths.join(", ")
        ),
    }
    Ok(Status::Fine)
}

/// Writes a file unless there is one.
fn write(path: &Path, text: &str) -> Result<bool, Error> {
    if path.exists() {
        return Ok(false);
    }
    let error = |error| Error::Io("write", path.to_owned(), error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    fs::write(path, text).map_err(error)?;
    Ok(true)
}
