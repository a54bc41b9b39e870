//! The pages: mdBook makes them without a warning, and every link in them leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// One page: the places in it that a link can name, and the links in it.
struct Page {
    ids: BTreeSet<String>,
    links: BTreeSet<String>,
}

/// The values of an attribute, wherever it stands in the text. No HTML parser: mdBook writes attributes one way.
fn values<'a>(html: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    html.match_indices(attribute)
        .filter_map(move |(at, _)| html[at + attribute.len()..].split('"').next())
}

/// What a browser makes of `%20` and its like, and of the entities that stand in attributes.
fn decoded(link: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = link.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let code = others
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &others[2..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).replace("&amp;", "&")
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory of the book") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// `dir/../page.html` without the detour.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The directory with the pages, made anew.
fn book() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("make")
        .arg("book")
        .current_dir(top)
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make can be run");
    let said = String::from_utf8_lossy(&made.stdout) + String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("warning"))
        // mdBook means ten megabytes as they lie. A browser fetches them packed, when somebody searches: a seventh of that.
        .filter(|line| !line.contains("search index is very large"))
        .collect();
    assert!(
        warnings.is_empty(),
        "mdBook warns:\n{}",
        warnings.join("\n")
    );
    top.join("target/book")
}

#[test]
fn pages_are_made_without_a_warning_and_no_link_is_dead() {
    let book = book();
    let mut pages = BTreeMap::new();
    for file in files(&book) {
        // The page for addresses that do not exist is shown at any depth, so its links start at the site's root.
        let page = (file.extension().is_some_and(|it| it == "html") && !file.ends_with("404.html"))
            .then(|| {
                let html = fs::read_to_string(&file).expect("a page in UTF-8");
                Page {
                    ids: values(&html, " id=\"").map(decoded).collect(),
                    links: values(&html, " href=\"")
                        .chain(values(&html, " src=\""))
                        .map(decoded)
                        .collect(),
                }
            });
        pages.insert(file, page);
    }
    assert!(
        pages.len() > 20,
        "only {} files in {}",
        pages.len(),
        book.display()
    );

    let mut dead = Vec::new();
    for (file, page) in &pages {
        for link in page.iter().flat_map(|page| &page.links) {
            if ["http:", "https:", "mailto:", "data:"]
                .iter()
                .any(|scheme| link.starts_with(scheme))
            {
                continue;
            }
            let (path, id) = link.split_once('#').unwrap_or((link, ""));
            let path = path.split('?').next().unwrap_or_default();
            let mut target = if path.is_empty() {
                file.clone()
            } else {
                plain(&file.parent().expect("a directory").join(path))
            };
            if target.is_dir() {
                target.push("index.html");
            }
            let lives = match pages.get(&target) {
                None => false,
                Some(None) => true,
                Some(Some(page)) => id.is_empty() || page.ids.contains(id),
            };
            if !lives {
                dead.push(format!(
                    "{}: {link}",
                    file.strip_prefix(&book).unwrap_or(file).display()
                ));
            }
        }
    }
    assert!(
        dead.is_empty(),
        "{} dead links:\n{}",
        dead.len(),
        dead.join("\n")
    );
}
