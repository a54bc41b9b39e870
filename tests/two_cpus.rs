//! The tests' Guest with two CPUs (tests/pair/guest.rs) stands in for the book's file of this name, and is the same but for what
//! says that it is about two CPUs.

use quote::ToTokens;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::{Attribute, ImplItem, Item};

/// How the documentation of what differs begins.
const OTHER: &str = "Two CPUs";

/// A part of the file, without its documentation.
#[derive(Debug, PartialEq)]
struct Part {
    code: String,
    other: bool,
}

/// Whether its documentation says that it is another than the book's. The documentation goes.
fn is_other(attributes: &mut Vec<Attribute>) -> bool {
    let documents = |attribute: &Attribute| attribute.path().is_ident("doc");
    let first = attributes.iter().find(|attribute| documents(attribute));
    let text = first.map(|doc| doc.to_token_stream().to_string());
    attributes.retain(|attribute| !documents(attribute));
    text.is_some_and(|text| text.contains(&format!("\" {OTHER}")))
}

fn parts(path: &str) -> BTreeMap<String, Part> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut parts = BTreeMap::new();
    let mut enter = |name: String, attributes: &mut Vec<Attribute>, code: String| {
        let other = is_other(attributes);
        let before = parts.insert(name.clone(), Part { code, other });
        assert!(before.is_none(), "{} has {name} twice", path.display());
    };
    for item in syn::parse_file(&text).expect("Rust").items {
        match item {
            // What a file needs follows from the rest.
            Item::Use(_) => (),
            Item::Const(mut item) => {
                let mut attributes = std::mem::take(&mut item.attrs);
                enter(
                    item.ident.to_string(),
                    &mut attributes,
                    item.to_token_stream().to_string(),
                );
            }
            Item::Struct(mut item) => {
                let mut attributes = std::mem::take(&mut item.attrs);
                enter(
                    item.ident.to_string(),
                    &mut attributes,
                    item.to_token_stream().to_string(),
                );
            }
            Item::Impl(item) => {
                for part in item.items {
                    let ImplItem::Fn(mut function) = part else {
                        panic!("the test knows only functions here");
                    };
                    let mut attributes = std::mem::take(&mut function.attrs);
                    let name = format!("fn {}", function.sig.ident);
                    enter(
                        name,
                        &mut attributes,
                        function.to_token_stream().to_string(),
                    );
                }
            }
            other => panic!("the test does not know {}", other.to_token_stream()),
        }
    }
    parts
}

#[test]
fn a_guest_with_two_cpus_differs_from_the_books_where_it_says_so() {
    let book = parts("generated/module/guest.rs");
    let pair = parts("tests/pair/guest.rs");
    for (name, part) in &pair {
        let same = book.get(name).is_some_and(|books| books.code == part.code);
        assert_eq!(
            part.other, !same,
            "{name}: in tests/pair/guest.rs only what is said to be about two CPUs differs from the book's"
        );
    }
    let missing: Vec<&String> = book
        .keys()
        .filter(|name| !pair.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "tests/pair/guest.rs has no {missing:?}");
}
