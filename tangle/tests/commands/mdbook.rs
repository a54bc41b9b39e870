//! The preprocessor inside the real mdBook, if this machine has it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::stderr;

/// Runs mdBook in `book` with the preprocessor of this build in reach; `None` without mdBook.
fn mdbook(book: &Path, args: &[&str]) -> Option<std::process::Output> {
    let own = Path::new(env!("CARGO_BIN_EXE_mdbook-tangle")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(own.to_owned()).chain(std::env::split_paths(&path))).unwrap();
    match Command::new("mdbook")
        .args(args)
        .current_dir(book)
        .env("PATH", path)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no mdbook in PATH");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_real_mdbook_builds_a_woven_book() {
    let book = crate::common::copy("program");
    let install = Command::new(env!("CARGO_BIN_EXE_mdbook-tangle"))
        .arg("install")
        .arg(book.path())
        .output()
        .unwrap();
    assert!(install.status.success(), "{}", stderr(&install));
    let Some(output) = mdbook(book.path(), &["build"]) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("WARN"), "{}", stderr(&output));

    let html = fs::read_to_string(book.path().join("book/L010-write.html")).unwrap();
    assert!(
        html.contains("<code class=\"language-rust noplayground\">//! The device."),
        "{html}"
    );
    assert!(html.contains("<div class=\"tangle\" id=\"frag-wake-the-guest\">"));
    // mdBook would hide this line if it were not protected.
    assert!(
        html.contains("# hidden by mdBook, if it could") && !html.contains("\"boring\""),
        "{html}"
    );
    let file = fs::read_to_string(book.path().join("book/tangle/files/module/device.rs.html")).unwrap();
    assert!(file.contains("href=\"../../../sub/more.html#frag-say-who\" title=\"say who in chapters/sub/more.md:12\""));

    let dead = dead_links(&book.path().join("book"));
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_real_mdbook_stops_at_a_mistake() {
    let book = crate::common::copy("mistakes");
    let config = book.path().join("book.toml");
    fs::write(
        &config,
        fs::read_to_string(&config).unwrap() + "\n[preprocessor.tangle]\n",
    )
    .unwrap();
    let Some(output) = mdbook(book.path(), &["build"]) else {
        return;
    };
    assert!(!output.status.success());
    assert!(stderr(&output).contains("chapters/one.md:4:1"), "{}", stderr(&output));
}

#[test]
fn the_real_mdbook_tests_examples_only() {
    let book = crate::common::copy("program");
    let Some(output) = mdbook(book.path(), &["test"]) else {
        return;
    };
    // The example in the preface is no Rust; no fragment may be tried at all.
    let said = crate::common::stdout(&output) + &stderr(&output);
    assert!(said.contains("index.md - Preface (line 5)"), "{said}");
    assert!(!said.contains("EPERM"), "{said}");
}

/// Links between pages of a site that lead nowhere.
fn dead_links(site: &Path) -> Vec<String> {
    let mut pages = HashMap::new();
    collect(site, &mut pages);
    let mut dead = Vec::new();
    for (page, (html, _)) in &pages {
        for link in attributes(html, "href") {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            if link.contains("://") || !(path.is_empty() || Path::new(path).extension().is_some_and(|e| e == "html")) {
                continue;
            }
            let target = if path.is_empty() {
                page.clone()
            } else {
                normal(&page.parent().unwrap().join(path))
            };
            match pages.get(&target) {
                None => dead.push(format!("{}: {link}", page.display())),
                Some((_, ids)) if !anchor.is_empty() && !ids.contains(anchor) => {
                    dead.push(format!("{}: {link}", page.display()));
                }
                Some(_) => {}
            }
        }
    }
    dead
}

fn collect(directory: &Path, pages: &mut HashMap<PathBuf, (String, HashSet<String>)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            let html = fs::read_to_string(&path).unwrap();
            let ids = attributes(&html, "id").into_iter().collect();
            pages.insert(path, (html, ids));
        }
    }
}

fn attributes(html: &str, name: &str) -> Vec<String> {
    html.split(&format!(" {name}=\""))
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}
