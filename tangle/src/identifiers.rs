//! Which names the code defines, and where it uses them: a reading of its words that needs no compiler, and so
//! works on fragments. It knows the items of Rust, and the definitions, labels and macros of C and assembly.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Model, PieceId};

/// One name of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Where it is defined, in reading order.
    pub definitions: Vec<Definition>,
    /// The pieces that use it without defining it, in reading order. Empty when several things have this name,
    /// because then words cannot tell which one is meant.
    pub uses: Vec<PieceId>,
}

/// A place that defines a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// What it defines: `fn`, `struct`, `label` and so on.
    pub kind: &'static str,
    /// The piece that holds it.
    pub piece: PieceId,
}

/// The names that the pieces of `model` define, in alphabetic order without regard to case.
#[must_use]
pub fn index(model: &Model) -> Vec<Entry> {
    let mut definitions: BTreeMap<String, Vec<Definition>> = BTreeMap::new();
    let mut words: HashMap<String, BTreeSet<PieceId>> = HashMap::new();
    for (id, piece) in model.pieces.iter().enumerate() {
        let Some(language) = Language::of(&piece.fence.header.language) else {
            continue;
        };
        let code = piece.fence.code();
        let tokens = tokens(&code, language);
        for (kind, name) in defined(&tokens, language) {
            let places = definitions.entry(name.to_owned()).or_default();
            if !places.iter().any(|known| known.piece == id) {
                places.push(Definition { kind, piece: id });
            }
        }
        for token in tokens {
            if let Token::Word(word) = token {
                words.entry(word.to_owned()).or_default().insert(id);
            }
        }
    }
    let mut entries: Vec<_> = definitions
        .into_iter()
        .map(|(name, definitions)| {
            let uses = match definitions.as_slice() {
                [only] => words
                    .remove(&name)
                    .into_iter()
                    .flatten()
                    .filter(|&piece| piece != only.piece)
                    .collect(),
                _ => Vec::new(),
            };
            Entry {
                name,
                definitions,
                uses,
            }
        })
        .collect();
    entries.sort_by_cached_key(|entry| (entry.name.to_lowercase(), entry.name.clone()));
    entries
}

#[derive(Clone, Copy, PartialEq)]
enum Language {
    Rust,
    C,
    Assembly,
}

impl Language {
    fn of(written: &str) -> Option<Self> {
        match written.split(',').next()? {
            "rust" | "rs" => Some(Self::Rust),
            "c" | "cpp" | "h" => Some(Self::C),
            "asm" | "armasm" | "x86asm" | "gas" | "s" | "S" => Some(Self::Assembly),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
    LineEnd,
}

/// The words and signs of `code`, without comments, strings and numbers.
fn tokens(code: &str, language: Language) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    scan(code, language, |_, token| tokens.push(token));
    tokens
}

/// The round, square and curly brackets of `code` that are neither in comments nor in strings, each with where it stands. `None`
/// for a language whose comments and strings are not known.
pub(crate) fn brackets(code: &str, language: &str) -> Option<Vec<(usize, char)>> {
    let language = match language.split(',').next()? {
        // Not those where a slash may begin a regular expression or lie in a bare URL.
        "java" | "go" | "json" | "ld" => Language::C,
        known => Language::of(known)?,
    };
    let mut brackets = Vec::new();
    scan(code, language, |at, token| {
        if let Token::Sign(sign @ ('(' | ')' | '[' | ']' | '{' | '}')) = token {
            brackets.push((at, sign));
        }
    });
    Some(brackets)
}

/// Calls `found` with each token of `code` and where it begins.
fn scan<'a>(code: &'a str, language: Language, mut found: impl FnMut(usize, Token<'a>)) {
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let at = code.len() - rest.len();
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\n' => {
                found(at, Token::LineEnd);
                after
            }
            '/' if after.starts_with('/') => &rest[rest.find('\n').unwrap_or(rest.len())..],
            '/' if after.starts_with('*') => behind_comment(&after[1..], language),
            '#' if language == Language::Assembly && after.starts_with(char::is_whitespace) => {
                &rest[rest.find('\n').unwrap_or(rest.len())..]
            }
            '"' => behind_string(after),
            '\'' => behind_quote(after, language),
            '`' if language == Language::C => after.split_once('`').map_or("", |(_, behind)| behind),
            'r' if language == Language::Rust && is_raw_string(after) => behind_raw_string(after),
            'b' | 'c' if language == Language::Rust && after.strip_prefix('r').is_some_and(is_raw_string) => {
                behind_raw_string(&after[1..])
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                found(at, Token::Word(&rest[..end]));
                &rest[end..]
            }
            c if c.is_ascii_digit() => {
                &rest[rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len())..]
            }
            c => {
                if !c.is_whitespace() {
                    found(at, Token::Sign(c));
                }
                after
            }
        };
    }
}

/// What follows a comment whose `/*` is gone. In Rust there may be others in it.
fn behind_comment(text: &str, language: Language) -> &str {
    let mut rest = text;
    let mut depth = 1;
    while let Some(at) = rest.find(['/', '*']) {
        let sign = &rest[at..];
        let step = match sign.get(..2) {
            Some("*/") => {
                depth -= 1;
                2
            }
            Some("/*") if language == Language::Rust => {
                depth += 1;
                2
            }
            _ => 1,
        };
        rest = &sign[step..];
        if depth == 0 {
            return rest;
        }
    }
    ""
}

/// What follows a string whose opening quote is gone.
fn behind_string(text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return &text[at + 1..],
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    ""
}

fn is_raw_string(after_r: &str) -> bool {
    after_r.trim_start_matches('#').starts_with('"')
}

fn behind_raw_string(after_r: &str) -> &str {
    let marks = after_r.len() - after_r.trim_start_matches('#').len();
    let end = format!("\"{}", &after_r[..marks]);
    after_r[marks + 1..].split_once(&end).map_or("", |(_, behind)| behind)
}

/// What follows `'`: a character is skipped, a lifetime with its name too. In assembly nothing need close it.
fn behind_quote(text: &str, language: Language) -> &str {
    if language == Language::Assembly {
        let mut chars = text.strip_prefix('\\').unwrap_or(text).chars();
        if chars.as_str().starts_with('\n') {
            return chars.as_str();
        }
        chars.next();
        let behind = chars.as_str();
        return behind.strip_prefix('\'').unwrap_or(behind);
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some(_)) => {
            let from = 1 + text[1..].chars().next().map_or(0, char::len_utf8);
            text[from..].split_once('\'').map_or("", |(_, behind)| behind)
        }
        (Some(c), Some('\'')) => &text[c.len_utf8() + 1..],
        _ if language == Language::Rust => text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        _ => text,
    }
}

/// The definitions among `tokens`: kind and name.
fn defined<'a>(tokens: &[Token<'a>], language: Language) -> Vec<(&'static str, &'a str)> {
    match language {
        Language::Rust => rust(tokens),
        Language::C => c(tokens),
        Language::Assembly => assembly(tokens),
    }
}

fn rust<'a>(tokens: &[Token<'a>]) -> Vec<(&'static str, &'a str)> {
    let mut found = Vec::new();
    let tokens: Vec<_> = tokens
        .iter()
        .copied()
        .filter(|token| *token != Token::LineEnd)
        .collect();
    for window in tokens.windows(3) {
        let hit = match *window {
            [Token::Word("macro_rules"), Token::Sign('!'), Token::Word(name)] => Some(("macro", name)),
            [Token::Word("static"), Token::Word("mut"), Token::Word(name)] => Some(("static", name)),
            [
                Token::Word("const" | "static"),
                Token::Word("fn" | "unsafe" | "extern" | "mut" | "_"),
                _,
            ] => None,
            [Token::Word(keyword), Token::Word(name), next] => match (keyword, next) {
                ("fn", Token::Sign('(' | '<')) => Some(("fn", name)),
                ("struct", _) => Some(("struct", name)),
                ("enum", _) => Some(("enum", name)),
                ("union", Token::Sign('{' | '<')) => Some(("union", name)),
                ("trait", _) => Some(("trait", name)),
                ("type", Token::Sign('=' | '<' | ':' | ';')) => Some(("type", name)),
                ("const", Token::Sign(':')) => Some(("const", name)),
                ("static", Token::Sign(':')) => Some(("static", name)),
                ("mod", Token::Sign('{' | ';')) => Some(("mod", name)),
                _ => None,
            },
            _ => None,
        };
        found.extend(hit);
    }
    found
}

fn c<'a>(tokens: &[Token<'a>]) -> Vec<(&'static str, &'a str)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for (at, window) in tokens.windows(3).enumerate() {
        match *window {
            [Token::Sign('#'), Token::Word("define"), Token::Word(name)] => found.push(("macro", name)),
            [Token::Word("struct"), Token::Word(name), Token::Sign('{')] => found.push(("struct", name)),
            [Token::Word("union"), Token::Word(name), Token::Sign('{')] => found.push(("union", name)),
            [Token::Word("enum"), Token::Word(name), Token::Sign('{')] => found.push(("enum", name)),
            [Token::Word(_) | Token::Sign('*'), Token::Word(name), Token::Sign('(')]
                if depth == 0 && has_body(&tokens[at + 2..]) =>
            {
                found.push(("function", name));
            }
            _ => {}
        }
        match window[0] {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// Whether `{` follows the parenthesis that opens here.
fn has_body(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            Token::Sign('{') if depth == 0 => return true,
            Token::Sign(_) if depth == 0 => return false,
            Token::LineEnd | Token::Word(_) | Token::Sign(_) => {}
        }
    }
    false
}

fn assembly<'a>(tokens: &[Token<'a>]) -> Vec<(&'static str, &'a str)> {
    let mut found = Vec::new();
    for line in tokens.split(|token| *token == Token::LineEnd) {
        match *line {
            [Token::Word(name), Token::Sign(':'), ..] => found.push(("label", name)),
            [Token::Sign('.'), Token::Word("set" | "equ"), Token::Word(name), ..] => found.push(("constant", name)),
            [Token::Sign('.'), Token::Word("macro"), Token::Word(name), ..]
            | [Token::Sign('#'), Token::Word("define"), Token::Word(name), ..] => found.push(("macro", name)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Book;

    fn found(language: Language, code: &str) -> Vec<(&'static str, &str)> {
        defined(&tokens(code, language), language)
    }

    #[test]
    fn items_of_rust() {
        let code = r##"
            // fn comment() {}
            pub(crate) const fn kill<'a>(x: &'a str) -> fn(u32) { "fn string() {}"; r#"fn raw() {}"#; 'f'; '\''; '"'; }
            struct Guest<T>; enum Exit { A } union U { a: u8 } trait Trap {} type Pfn = u64;
            const LIMIT: u64 = 1; static mut COUNT: u32 = 0; const _: () = (); mod arch; macro_rules! refuse { () => {} }
            let union = 1; impl X for Y { fn method(&self) {} }
        "##;
        assert_eq!(
            found(Language::Rust, code),
            [
                ("fn", "kill"),
                ("struct", "Guest"),
                ("enum", "Exit"),
                ("union", "U"),
                ("trait", "Trap"),
                ("type", "Pfn"),
                ("const", "LIMIT"),
                ("static", "COUNT"),
                ("mod", "arch"),
                ("macro", "refuse"),
                ("fn", "method"),
            ]
        );
    }

    #[test]
    fn definitions_of_c_and_assembly() {
        let code = "#define LIMIT 3\nstruct dma { int x; };\nint declared(int a);\nstatic int *run(struct dma *d)\n{\n\tcall(d);\n\tif (a) {}\n}\n";
        assert_eq!(
            found(Language::C, code),
            [("macro", "LIMIT"), ("struct", "dma"), ("function", "run")]
        );
        let code = "# comment: x\nenter:\n\tmov $1, %eax // y:\n.macro SAVE reg\n.set SIZE, 8\n.Llocal: nop\n";
        assert_eq!(
            found(Language::Assembly, code),
            [("label", "enter"), ("macro", "SAVE"), ("constant", "SIZE")]
        );
    }

    #[test]
    fn brackets_are_those_of_the_code() {
        for (language, code, expected) in [
            ("rust", "/* { /* } */ ( */ [", "["),
            ("rust", "/*/ { */ [", "["),
            ("rust", r##"br#"a"{"# cr"\" ["##, "["),
            ("rust", r#"b'(' b"(" '{' '\'' '\u{7d}' &'a [u8]"#, "[]"),
            ("rust", "fn f<'a>(_: &'a str) -> r#type { 'l: loop {} }", "(){{}}"),
            ("rust", "/// don't (\n//! it's (\n#[cfg(test)]", "[()]"),
            (
                "asm",
                "cmp $'(, %al\ncmp $'\\n, %al\ncmp $'[', %al\nmov \\reg\\()_x, (%rax)",
                "()()",
            ),
            ("c", "x = ')' + '\\'' + \"]\"; /* /* { */ [", "["),
            ("go", "x := `\"{` + \"`\" + string('}')", "()"),
        ] {
            let found: String = brackets(code, language)
                .unwrap()
                .into_iter()
                .map(|(_, sign)| sign)
                .collect();
            assert_eq!(found, expected, "{language}: {code}");
        }
        for language in ["js", "css", "sh", "text", ""] {
            assert_eq!(brackets("{", language), None, "{language}");
        }
    }

    #[test]
    fn uses_are_listed_when_the_name_is_unambiguous() {
        let (model, _) = Model::read(&Book::new([(
            "a.md",
            "```rust #a\nfn run() {}\nfn new() {}\n```\n```rust #b\nrun();\nfn new() {}\n```\n```text #c\nrun\n```\n",
        )]));
        let index = index(&model);
        assert_eq!(index[0].name, "new");
        assert_eq!((index[0].definitions.len(), index[0].uses.len()), (2, 0));
        assert_eq!((index[1].name.as_str(), &index[1].uses), ("run", &vec![1]));
    }

    #[test]
    fn any_text_can_be_read() {
        for text in [
            "'", "\"", "r#\"", "'\\", "/*", "//", "\"\\", "r", "'é", "#", "'\\é", "/*/", "/*é*", "br#", "`",
        ] {
            for language in [Language::Rust, Language::C, Language::Assembly] {
                let _ = found(language, text);
            }
        }
    }
}
