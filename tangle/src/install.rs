//! Puts the style sheet and the script beside somebody's book, and their names into `book.toml`.

use std::fs;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

/// The style sheet of the woven pages.
pub const STYLE: &str = include_str!("../assets/tangle.css");
/// The script that turns `<<name>>` into a link.
pub const SCRIPT: &str = include_str!("../assets/tangle.js");

const STYLE_PATH: &str = "theme/tangle.css";
const SCRIPT_PATH: &str = "theme/tangle.js";

/// Installs into the book in `root`. What is there already stays.
///
/// # Errors
/// A text that says which file could not be read, understood or written.
pub fn install(root: &Path) -> Result<Vec<String>, String> {
    let config_path = root.join("book.toml");
    let old =
        fs::read_to_string(&config_path).map_err(|error| format!("cannot read {}: {error}", config_path.display()))?;
    let new = edit(&old).map_err(|error| format!("{}: {error}", config_path.display()))?;
    let mut written = Vec::new();
    fs::create_dir_all(root.join("theme")).map_err(|error| format!("cannot create theme: {error}"))?;
    for (path, text) in [(STYLE_PATH, STYLE), (SCRIPT_PATH, SCRIPT), ("book.toml", &new)] {
        let target = root.join(path);
        if fs::read_to_string(&target).is_ok_and(|there| there == text) {
            continue;
        }
        fs::write(&target, text).map_err(|error| format!("cannot write {}: {error}", target.display()))?;
        written.push(path.to_owned());
    }
    Ok(written)
}

/// The text of a `book.toml` with the preprocessor, the style sheet and the script in it.
///
/// # Errors
/// A text that says why `config` cannot be edited.
pub fn edit(config: &str) -> Result<String, String> {
    let mut document: DocumentMut = config
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    let preprocessor = table(document.as_table_mut(), "preprocessor")?;
    let tangle = table(preprocessor, "tangle")?;
    tangle.set_implicit(false);
    if !tangle.contains_key("before") {
        tangle["before"] = value(Array::from_iter(["links"]));
    }
    let output = table(document.as_table_mut(), "output")?;
    let html = table(output, "html")?;
    html.set_implicit(false);
    for (key, path) in [("additional-css", STYLE_PATH), ("additional-js", SCRIPT_PATH)] {
        let list = html
            .entry(key)
            .or_insert_with(|| value(Array::new()))
            .as_array_mut()
            .ok_or_else(|| format!("`{key}` under [output.html] is not a list"))?;
        if !list.iter().any(|entry| entry.as_str() == Some(path)) {
            list.push(path);
        }
    }
    Ok(document.to_string())
}

fn table<'a>(parent: &'a mut Table, key: &str) -> Result<&'a mut Table, String> {
    let item = parent.entry(key).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_mut().ok_or_else(|| format!("`{key}` is not a table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_and_nothing_is_added_twice() {
        let old = "# mine\n[book]\ntitle = \"x\" # yes\n\n[output.html]\nadditional-css = [\"own.css\"]\n";
        let new = edit(old).unwrap();
        assert_eq!(
            new,
            "# mine\n[book]\ntitle = \"x\" # yes\n\n[output.html]\nadditional-css = [\"own.css\", \"theme/tangle.css\"]\n\
             additional-js = [\"theme/tangle.js\"]\n\n[preprocessor.tangle]\nbefore = [\"links\"]\n"
        );
        assert_eq!(edit(&new).unwrap(), new);
        assert!(edit("output = 3").unwrap_err().contains("`output` is not a table"));
    }

    #[test]
    fn a_second_installation_writes_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("book.toml"), "").unwrap();
        assert_eq!(install(root.path()).unwrap(), [STYLE_PATH, SCRIPT_PATH, "book.toml"]);
        assert!(install(root.path()).unwrap().is_empty());
    }
}
