//! The rules that a book was written by: those of this crate, or those of `entangled-cli` 0.4, whose books tangle to the same
//! files here as there, but for its marker comments.
//!
//! What is different there:
//!
//! - Attributes come in any order behind the language, and names have no spaces: `rust #main .numberLines file=a.rs mode=0644`.
//! - Each chapter has its own names, unless `namespace_default = "none"` makes them global. Other chapters write
//!   `<<src/chapter.md#name>>`, and `<<file:a.rs>>` is a fence that has a path and no name.
//! - With `split_blocks = true`, fences of the same name add to each other in the order of the paths of their chapters.
//! - What is not used is not wrong, nor is a `<<name>>` beside other code: it stays as it is.
//! - Empty lines are indented like others, and an empty line at the end of a fence does not count.

use serde::Deserialize;

use crate::header::{self, Header, Operation};

/// Whose rules a book follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Those of this crate: see [`header`].
    #[default]
    Tangle,
    /// Those of `entangled-cli`.
    Entangled {
        /// Each chapter has its own names.
        namespaces: bool,
        /// A name that is defined again is added to.
        split: bool,
    },
}

/// What `entangled.toml` says, as far as it matters here.
#[derive(Deserialize)]
#[serde(default)]
struct EntangledToml {
    namespace_default: String,
    split_blocks: bool,
}

impl Default for EntangledToml {
    fn default() -> Self {
        Self {
            namespace_default: "file".to_owned(),
            split_blocks: false,
        }
    }
}

impl Dialect {
    /// The file beside `book.toml` that has the settings of `entangled-cli`.
    pub const FILE: &str = "entangled.toml";

    /// The dialect of a book whose `book.toml` asks for the one called `wanted`. `settings` is the text of
    /// [`Self::FILE`], if there is one: a book that has it is written for `entangled-cli` unless it says otherwise.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the settings.
    pub fn choose(wanted: Option<&str>, settings: Option<&str>) -> Result<Self, String> {
        match (wanted, settings) {
            (Some("tangle"), _) | (None, None) => return Ok(Self::Tangle),
            (Some("entangled") | None, _) => {}
            (Some(other), _) => {
                return Err(format!(
                    "there is no dialect `{other}`; there are `tangle` and `entangled`"
                ));
            }
        }
        let settings: EntangledToml = toml::from_str(settings.unwrap_or_default())
            .map_err(|error| format!("{} makes no sense: {error}", Self::FILE))?;
        let namespaces = match settings.namespace_default.to_lowercase().as_str() {
            "file" | "private" => true,
            "none" | "global" => false,
            other => return Err(format!("{} has an unknown namespace_default `{other}`", Self::FILE)),
        };
        Ok(Self::Entangled {
            namespaces,
            split: settings.split_blocks,
        })
    }

    /// Reads the info string of a fence; see [`header::parse`].
    ///
    /// # Errors
    /// When the fence clearly means to take part, but not how.
    pub fn header(self, info: &str) -> Result<Option<Header>, String> {
        match self {
            Self::Tangle => header::parse(info),
            Self::Entangled { .. } => entangled_header(info),
        }
    }

    /// The name that `line` refers to, if it is `<<a reference>>` and nothing else.
    #[must_use]
    pub fn reference(self, line: &str) -> Option<&str> {
        let inner = line.trim().strip_prefix("<<")?.strip_suffix(">>")?;
        match self {
            Self::Tangle => {
                let name = inner.trim();
                (!name.is_empty() && !name.contains("<<") && !name.contains(">>")).then_some(name)
            }
            Self::Entangled { .. } => {
                let fits = |c| is_name(c) || c == '#';
                (!inner.is_empty() && inner.chars().all(fits)).then_some(inner)
            }
        }
    }

    /// By what name the book knows a fragment that the fence of `chapter` calls `name`, or that is only the file `path`.
    #[must_use]
    pub fn key(self, chapter: &str, name: Option<&str>, path: Option<&str>) -> Option<String> {
        match (self, name) {
            (Self::Entangled { namespaces: true, .. }, Some(name)) => Some(qualified(chapter, name)),
            (Self::Entangled { .. }, None) => Some(format!("file:{}", path?)),
            (_, name) => name.map(str::to_owned),
        }
    }

    /// The chapter that a name in `chapter` belongs to, if each has its own.
    #[must_use]
    pub fn namespace(self, chapter: &str) -> Option<String> {
        matches!(self, Self::Entangled { namespaces: true, .. }).then(|| chapter.to_owned())
    }

    /// Whether a fence that defines something again adds to it.
    #[must_use]
    pub fn adds(self) -> bool {
        matches!(self, Self::Entangled { split: true, .. })
    }

    /// Whether the indentation of a reference is put before `line`, too.
    #[must_use]
    pub fn indents(self, line: &str) -> bool {
        self != Self::Tangle || !line.trim().is_empty()
    }

    /// Whether it is for the author to see that everything is used and every reference stands alone.
    #[must_use]
    pub fn is_lenient(self) -> bool {
        self != Self::Tangle
    }
}

/// The name of the fragment that the chapter `namespace` calls `name`.
pub(crate) fn qualified(namespace: &str, name: &str) -> String {
    format!("{namespace}#{name}")
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '/' | '.')
}

fn entangled_header(info: &str) -> Result<Option<Header>, String> {
    let info = info.trim();
    let (word, attributes) = match info.find('{').filter(|_| info.ends_with('}')) {
        Some(open) => (info[..open].trim(), &info[open + 1..info.len() - 1]),
        None => ("", info),
    };
    match attributes_of(attributes) {
        Ok(Attributes {
            name: None, path: None, ..
        }) => Ok(None),
        Ok(found) => Ok(Some(Header {
            language: found.language.unwrap_or_else(|| word.to_owned()),
            name: found.name,
            path: found.path,
            operation: Operation::Define,
            folded: false,
            joins: None,
        })),
        // Whoever writes neither of these means an example.
        Err(_) if !info.contains('#') && !info.contains("file=") => Ok(None),
        Err(rest) => Err(format!(
            "`{rest}` means nothing here: this book is read as one for entangled, whose names have no spaces and which \
             has neither `+=` nor `:=`; `dialect = \"tangle\"` in book.toml changes that"
        )),
    }
}

#[derive(Default)]
struct Attributes {
    language: Option<String>,
    name: Option<String>,
    path: Option<String>,
}

/// Reads `rust #name .class key=value`; of each kind the first counts. The error is what cannot be read.
fn attributes_of(text: &str) -> Result<Attributes, &str> {
    let mut found = Attributes::default();
    let mut rest = text.trim();
    let mut first = true;
    while !rest.is_empty() {
        let mark = rest.chars().next().filter(|c| matches!(c, '.' | '#'));
        let word = &rest[mark.map_or(0, char::len_utf8)..];
        let end = word.find(|c| !is_name(c)).unwrap_or(word.len());
        let (name, mut behind) = word.split_at(end);
        if name.is_empty() {
            return Err(rest);
        }
        match (mark, behind.strip_prefix('=')) {
            (Some('#'), _) => drop(found.name.get_or_insert_with(|| name.to_owned())),
            (None, Some(written)) => {
                let (value, after) = value(written).ok_or(rest)?;
                if name == "file" {
                    found.path.get_or_insert(value);
                }
                behind = after;
            }
            (None, None) if !first => return Err(rest),
            _ => drop(found.language.get_or_insert_with(|| name.to_owned())),
        }
        if !behind.is_empty() && !behind.starts_with(char::is_whitespace) {
            return Err(rest);
        }
        rest = behind.trim_start();
        first = false;
    }
    Ok(found)
}

/// Splits a value, quoted or not, from what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTANGLED: Dialect = Dialect::Entangled {
        namespaces: true,
        split: false,
    };

    #[test]
    fn attributes_come_in_any_order() {
        for (info, language, name, path) in [
            ("rust #main", "rust", Some("main"), None),
            ("rust file=a.rs #main", "rust", Some("main"), Some("a.rs")),
            (
                "rust #main .class file=a.rs mode=0644",
                "rust",
                Some("main"),
                Some("a.rs"),
            ),
            ("#main", "", Some("main"), None),
            (".rust #a:b/c.d-e_f", "rust", Some("a:b/c.d-e_f"), None),
            ("c title=\"a \\\"b\\\" #c\" file=\"a b\"", "c", None, Some("a b")),
            ("{.rust #main}", "rust", Some("main"), None),
            ("rust {#main}", "rust", Some("main"), None),
            ("text {.rust #main #other}", "rust", Some("main"), None),
        ] {
            let header = ENTANGLED.header(info).unwrap().unwrap();
            assert_eq!(
                (header.language.as_str(), header.name.as_deref(), header.path.as_deref()),
                (language, name, path),
                "{info}"
            );
        }
    }

    #[test]
    fn examples_are_left_alone() {
        for info in ["", "rust", "rust,ignore", "{.rust}", "c title=x", "ruby $%@", "{"] {
            assert_eq!(ENTANGLED.header(info), Ok(None), "{info}");
        }
    }

    #[test]
    fn what_is_not_part_of_it_is_said() {
        for info in [
            "rust #a b",
            "rust #a +=",
            "rust #",
            "rust file=",
            "c file=\"a",
            "rust file=a\"b\"",
        ] {
            assert!(
                ENTANGLED.header(info).unwrap_err().contains("means nothing here"),
                "{info}"
            );
        }
    }

    #[test]
    fn references_have_no_spaces() {
        for line in ["<<a>>", "  <<src/a.md#b>>  ", "<<file:a.rs>>"] {
            assert!(ENTANGLED.reference(line).is_some(), "{line}");
        }
        for line in ["<< a >>", "<<a b>>", "<<a>>,", "<<>>", "x <<a>>"] {
            assert!(ENTANGLED.reference(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_settings_choose() {
        let entangled = |namespaces, split| Ok(Dialect::Entangled { namespaces, split });
        assert_eq!(Dialect::choose(None, None), Ok(Dialect::Tangle));
        assert_eq!(Dialect::choose(None, Some("")), entangled(true, false));
        assert_eq!(Dialect::choose(Some("entangled"), None), entangled(true, false));
        assert_eq!(Dialect::choose(Some("tangle"), Some("")), Ok(Dialect::Tangle));
        let settings = "namespace_default = \"global\"\nsplit_blocks = true\nother = [1]\n";
        assert_eq!(Dialect::choose(None, Some(settings)), entangled(false, true));
        for (wanted, settings) in [(Some("noweb"), ""), (None, "namespace_default = \"x\""), (None, "=")] {
            assert!(Dialect::choose(wanted, Some(settings)).is_err());
        }
    }
}
