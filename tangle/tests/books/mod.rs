//! Books thrown together at random (always the same ones).

use tangle::source::Book;

use crate::dice::Dice;

/// Books that are free of mistakes more often than chance would make them.
pub fn sound_book(dice: &mut Dice) -> Book {
    let names = ["one", "two", "three", "four"];
    let mut fences = Vec::new();
    for (at, name) in names.iter().enumerate() {
        // A fragment refers only to later ones, the file to all.
        let mut pieces = vec![format!("#{name}")];
        for _ in 0..dice.roll(3) {
            pieces.push(format!("#{name} {}", ["+=", ":="][dice.roll(2)]));
        }
        for header in pieces {
            let mut code = String::new();
            for _ in 0..dice.roll(6) {
                let line = match dice.roll(5) {
                    0 => String::new(),
                    1 if at + 1 < names.len() => format!("\t<<{}>>", names[at + 1 + dice.roll(names.len() - at - 1)]),
                    2 => "    let \u{e9} = 1;".to_owned(),
                    3 => "\t\tdeep(); ".to_owned(),
                    _ => "code".to_owned(),
                };
                code.push_str(&line);
                code.push('\n');
            }
            fences.push(format!("```rust {header}\n{code}```\n"));
        }
    }
    let file = "```rust file=a.rs\n<<one>>\n  <<two>>\n\t <<three>>\n<<four>>\n<<two>>\n```\n".to_owned();
    fences.insert(dice.roll(fences.len()), file);
    let text: String = fences
        .iter()
        .map(|fence| match dice.roll(4) {
            0 => format!("- in a list\n\n{}\n", indent(fence, "  ")),
            1 => format!("{}\n", indent(fence, "> ")),
            2 => format!("1. > both\n   >\n{}\n", indent(fence, "   > ")),
            _ => format!("text\n\n{fence}\n"),
        })
        .collect();
    Book::new([("a.md", text)])
}

fn indent(text: &str, prefix: &str) -> String {
    text.lines().flat_map(|line| [prefix, line, "\n"]).collect()
}
