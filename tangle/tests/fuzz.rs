//! The fuzz targets on seeds and on random inputs (always the same ones), so that every test run tries them; `fuzz/` has
//! them for libFuzzer.

mod checks;
mod dice;
mod harness;

use std::fs;
use std::path::Path;

use dice::Dice;

/// Runs `target` on what lies in `fuzz/seeds/NAME` and on `random` inputs made of `words` or, without any, of bytes.
fn run(name: &str, target: impl Fn(&[u8]), words: &[&str], random: u64) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut seen = 0;
    for entry in fs::read_dir(&seeds).unwrap() {
        target(&fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen > 0, "{} has seeds", seeds.display());
    let mut dice = Dice(7);
    for _ in 0..random {
        let mut input = Vec::new();
        for _ in 0..dice.roll(if words.is_empty() { 600 } else { 60 }) {
            match words {
                [] => input.push(u8::try_from(dice.roll(256)).unwrap()),
                words => input.extend_from_slice(words[dice.roll(words.len())].as_bytes()),
            }
        }
        target(&input);
    }
}

#[test]
fn any_text_is_read() {
    let words = [
        "```",
        "````",
        "~~~",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\t",
        " ",
        "  ",
        "> ",
        "- ",
        "1. ",
        "rust",
        " #a",
        " #b",
        " file=x",
        " +=",
        " :=",
        "{",
        "}",
        "<<a>>",
        "<<b>>",
        "<<",
        ">>",
        "code",
        "\u{e9}",
        "\0",
        "[^1]: ",
        "<!--",
        "-->",
        "<div>",
        "| a |",
        "---\n",
        "runs: true\n",
        "# ",
        ": ",
        "\\",
        "&#35;",
        "\"",
        "\u{feff}",
    ];
    run("parse", harness::parse, &words, 3_000);
}

#[test]
fn any_book_is_tangled_or_refused() {
    run("tangle", harness::tangle, &[], 2_000);
}

#[test]
fn any_edit_comes_back_or_is_refused() {
    run("stitch", harness::stitch_any, &[], 2_000);
}

#[test]
fn enough_edits_come_back_to_prove_something() {
    let mut dice = Dice(8);
    let mut stitched = 0;
    for _ in 0..500 {
        let input: Vec<u8> = (0..800).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
        stitched += usize::from(harness::stitch_random(&input));
    }
    assert!(stitched > 100, "only {stitched} of 500 edits were stitched");
}

#[test]
fn any_output_passes() {
    let words = [
        "generated/it.rs",
        "it.rs",
        ":1:2",
        ":2",
        ":",
        "  --> ",
        " | ",
        "1 | ",
        "12",
        "\n",
        "\n",
        "^^^",
        "error: x",
        "warning",
        "\u{1b}[31m",
        "\u{1b}",
        "...",
        "   = note: ",
        "x+0x1/0x2",
        " [m]",
        "\r",
        "\r\n",
        "\u{e9}",
        "{\"",
        "\"}",
        "\",\"",
        "\\u00",
        " ",
        "(",
        ")",
        "/",
        ", line 3",
        "make: Entering directory '",
        "'",
        "at ",
        "undefined reference to `",
        "\0",
    ];
    run("wrap", harness::wrap, &words, 3_000);
}
