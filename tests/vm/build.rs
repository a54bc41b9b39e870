//! Finds the tests of the labs: each `labs/tests/labNN.rs` becomes a module of this program, so that a new lab needs no line here.
//! A copy of the book without labs has none, and that is fine.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../labs/tests");
    // Where it is not there yet cargo asks again each time: somebody may have made it.
    println!("cargo::rerun-if-changed=../../labs/tests");
    let mut labs: Vec<(String, PathBuf)> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = fs::canonicalize(entry.path()).ok()?;
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("lab")?.strip_suffix(".rs")?;
            let fits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| (number.to_owned(), path))
        })
        .collect();
    labs.sort();

    let mut code = String::new();
    for (number, path) in &labs {
        writeln!(code, "#[path = {path:?}]\nmod lab{number};").expect("a string takes it");
    }
    code += "/// The labs that there are, and what makes their tests.\n";
    code += "pub const ALL: &[(&str, super::Tests)] = &[\n";
    for (number, _) in &labs {
        writeln!(code, "    ({number:?}, lab{number}::tests),").expect("a string takes it");
    }
    code += "];\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("labs.rs"), code).expect("cargo's own directory can be written to");
}
