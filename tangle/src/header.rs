//! What the info string of a fence says: its language and the part it plays in the program.
//!
//! ```text
//! rust file=module/device.rs      opens a file
//! rust file=module/device.rs +=   adds to it
//! rust #check the range           defines a fragment
//! rust #check the range +=        adds to it
//! rust #check the range :=        replaces it
//! rust file=run.rs #the loop      defines a fragment that is also the whole of a file
//! rust fold #the imports          is plumbing: the page shows it when somebody asks for it
//! rust joins=L315 #ask the Guest  is told here, and part of the program from the end of L315 on
//! {.rust #loop file=run.rs}       the same, in braces
//! ```
//!
//! A fence that names neither a fragment nor a file is an example: it is shown and goes nowhere.

/// What a fence does to the fragment or file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Begins it; it must not exist yet.
    Define,
    /// `+=`: adds to the end of it; it must exist.
    Append,
    /// `:=`: puts this text in the place of all of it so far; it must exist.
    Override,
}

impl Operation {
    /// As it is written in an info string; a definition is written by writing nothing.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Define => "",
            Self::Append => "+=",
            Self::Override => ":=",
        }
    }
}

/// The parsed info string of a fence that takes part in the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The first word as it stands, with any classes after a comma (`rust,noplayground`).
    pub language: String,
    /// The fragment that is named after `#`.
    pub name: Option<String>,
    /// The path after `file=`.
    pub path: Option<String>,
    /// What happens to them.
    pub operation: Operation,
    /// `fold`: plumbing, which a page need not show at once.
    pub folded: bool,
    /// The tag after `joins=`: a system as of an earlier chapter than that is without it.
    pub joins: Option<String>,
}

/// Reads an info string. `Ok(None)` is an example, `Err` says in one sentence what is wrong.
///
/// # Errors
/// When the fence clearly means to take part (it has `file=` or `#`), but not how.
pub fn parse(info: &str) -> Result<Option<Header>, String> {
    let info = info.trim();
    match info.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(braced) => parse_braced(braced),
        None => parse_plain(info),
    }
}

fn parse_plain(info: &str) -> Result<Option<Header>, String> {
    let (language, rest) = split_word(info);
    if language.starts_with('#') || language.starts_with("file=") {
        // Without a language in front this is somebody else's convention.
        return Ok(None);
    }
    let (rest, operation) = split_operation(rest);
    let mut header = Header {
        language: language.to_owned(),
        name: None,
        path: None,
        operation,
        folded: false,
        joins: None,
    };
    let mut strangers = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        if rest.starts_with("# ") && header.path.is_none() {
            // A comment: `sh # as root`.
            return Ok(None);
        }
        if let Some(after) = rest.strip_prefix('#') {
            // A name runs to the end, or to a `file=` behind it.
            let end = after.find(" file=").unwrap_or(after.len());
            header.set_name(after[..end].trim())?;
            rest = after[end..].trim_start();
        } else if rest.starts_with("file=") {
            let (path, after) = split_value(&rest["file=".len()..])?;
            header.set_path(path)?;
            rest = after.trim_start();
        } else {
            let (word, after) = split_word(rest);
            if !header.set_attribute(word)? {
                strangers.push(word);
            }
            rest = after;
        }
    }
    header.finish(&strangers)
}

fn parse_braced(braced: &str) -> Result<Option<Header>, String> {
    let (rest, operation) = split_operation(braced.trim());
    let mut header = Header {
        language: String::new(),
        name: None,
        path: None,
        operation,
        folded: false,
        joins: None,
    };
    let mut rest = rest;
    while !rest.is_empty() {
        if rest.starts_with("file=") {
            let (path, after) = split_value(&rest["file=".len()..])?;
            header.set_path(path)?;
            rest = after.trim_start();
            continue;
        }
        if let Some(after) = rest.strip_prefix('#') {
            // A name runs to the end, or to the next class or attribute.
            let end = after
                .match_indices(' ')
                .map(|(at, _)| at)
                .find(|&at| is_attribute(after[at..].trim_start()))
                .unwrap_or(after.len());
            header.set_name(after[..end].trim())?;
            rest = after[end..].trim_start();
            continue;
        }
        let (word, after) = split_word(rest);
        if let Some(class) = word.strip_prefix('.')
            && header.language.is_empty()
        {
            class.clone_into(&mut header.language);
        }
        header.set_attribute(word.strip_prefix('.').unwrap_or(word))?;
        rest = after;
    }
    header.finish(&[])
}

impl Header {
    fn set_name(&mut self, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("a fragment needs a name after `#`".to_owned());
        }
        if name.contains("<<") || name.contains(">>") {
            return Err("the name of a fragment cannot hold `<<` or `>>`".to_owned());
        }
        if self.name.replace(name.to_owned()).is_some() {
            return Err("a fence can name only one fragment".to_owned());
        }
        Ok(())
    }

    fn set_path(&mut self, path: &str) -> Result<(), String> {
        if self.path.replace(path.to_owned()).is_some() {
            return Err("a fence can open only one file".to_owned());
        }
        Ok(())
    }

    /// Takes a word that says something of the fence itself. `false` if it is none.
    fn set_attribute(&mut self, word: &str) -> Result<bool, String> {
        let Some(tag) = word.strip_prefix("joins=") else {
            self.folded |= word == "fold";
            return Ok(word == "fold");
        };
        let tag = tag.trim_matches('"');
        if tag.is_empty() {
            return Err("`joins=` needs the tag of a chapter".to_owned());
        }
        if self.joins.replace(tag.to_owned()).is_some() {
            return Err("a fence can join the program only once".to_owned());
        }
        Ok(true)
    }

    fn finish(self, strangers: &[&str]) -> Result<Option<Self>, String> {
        if self.name.is_none() && self.path.is_none() {
            return Ok(None);
        }
        match strangers {
            [] => Ok(Some(self)),
            // Somebody else's attributes, with a `#` in them.
            _ if self.path.is_none() && strangers.iter().any(|word| word.contains('=')) => Ok(None),
            [stranger, ..] => Err(format!(
                "`{stranger}` means nothing here: after the language come `fold`, `joins=TAG`, `file=PATH`, `#NAME` and `+=` or `:=`"
            )),
        }
    }
}

/// Whether a class (`.rust`) or an attribute (`file=...`) begins here.
fn is_attribute(text: &str) -> bool {
    let (word, _) = split_word(text);
    word.starts_with(['.', '#']) || word.contains('=')
}

/// Takes a ` +=` or ` :=` off the end.
fn split_operation(text: &str) -> (&str, Operation) {
    for operation in [Operation::Append, Operation::Override] {
        if let Some(before) = text.strip_suffix(operation.symbol())
            && (before.is_empty() || before.ends_with(char::is_whitespace))
        {
            return (before.trim_end(), operation);
        }
    }
    (text, Operation::Define)
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Splits the value of an attribute, quoted or not, from what follows it.
fn split_value(text: &str) -> Result<(&str, &str), String> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .ok_or_else(|| "the quote after `file=` is not closed".to_owned()),
        None => Ok(split_word(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(info: &str) -> Header {
        parse(info).unwrap().unwrap()
    }

    #[test]
    fn every_form() {
        use Operation::{Append, Define, Override};
        for (info, name, path, operation) in [
            ("rust #one", Some("one"), None, Define),
            ("rust   #one  ", Some("one"), None, Define),
            ("rust #a name, with spaces", Some("a name, with spaces"), None, Define),
            ("rust #a name +=", Some("a name"), None, Append),
            ("rust #a name :=", Some("a name"), None, Override),
            ("rust #a+=", Some("a+="), None, Define),
            ("rust file=a/b.rs", None, Some("a/b.rs"), Define),
            ("rust file=a/b.rs +=", None, Some("a/b.rs"), Append),
            ("rust file=\"a b.rs\" +=", None, Some("a b.rs"), Append),
            ("rust file=a.rs #whole file", Some("whole file"), Some("a.rs"), Define),
            ("rust #whole file file=a.rs", Some("whole file"), Some("a.rs"), Define),
            ("{.rust #one file=a.rs}", Some("one"), Some("a.rs"), Define),
            (
                "{.rust #the whole file .numberLines file=a.rs}",
                Some("the whole file"),
                Some("a.rs"),
                Define,
            ),
            ("{.rust #one +=}", Some("one"), None, Append),
            ("{.rust .numberLines file=a.rs}", None, Some("a.rs"), Define),
        ] {
            let expected = Header {
                language: "rust".to_owned(),
                name: name.map(str::to_owned),
                path: path.map(str::to_owned),
                operation,
                folded: false,
                joins: None,
            };
            assert_eq!(header(info), expected, "{info}");
        }
        assert_eq!(header("rust,noplayground #one").language, "rust,noplayground");
    }

    #[test]
    fn what_a_fence_says_of_itself() {
        for info in ["rust fold joins=L315 #one +=", "{.rust .fold #one joins=\"L315\" +=}"] {
            let header = header(info);
            assert!(header.folded, "{info}");
            assert_eq!(header.joins.as_deref(), Some("L315"), "{info}");
            assert_eq!(header.name.as_deref(), Some("one"), "{info}");
        }
        assert_eq!(header("rust #to fold").name.as_deref(), Some("to fold"));
        for example in ["rust fold", "rust joins=L315"] {
            assert_eq!(parse(example), Ok(None), "{example}");
        }
    }

    #[test]
    fn examples_are_left_alone() {
        for info in [
            "",
            "rust",
            "rust,ignore",
            "text +=",
            "ruby startline=3 $%@#$",
            "#lang",
            "{.rust}",
            "{}",
            "{",
            "aa ``` ~~~",
            "c title=x",
            "sh # as root",
            "note title=\"the colour #123\"",
            "note a=b, style='color: #123'",
        ] {
            assert_eq!(parse(info), Ok(None), "{info}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (info, fault) in [
            ("rust #", "needs a name"),
            ("rust # +=", "needs a name"),
            ("rust #a <<b>>", "cannot hold"),
            ("rust file=a file=b", "only one file"),
            ("rust file=\"a", "not closed"),
            ("rust editable file=a", "`editable` means nothing here"),
            ("{.rust #a #b}", "only one fragment"),
            ("rust joins= #a", "needs the tag"),
            ("{.rust joins=\"\" #a}", "needs the tag"),
            ("rust joins=A joins=B #a", "only once"),
        ] {
            let said = parse(info).unwrap_err();
            assert!(said.contains(fault), "{info}: {said}");
        }
    }
}
