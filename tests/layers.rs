//! Who knows whom in the code, drawn from its imports: nobody knows what is above him, and nobody himself by way of others.
//!
//! `cargo test --test layers -- --nocapture` prints the map of the module.

#[path = "layers/map.rs"]
mod map;

use map::{Arrow, Map};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::{Item, UseTree, Visibility};

/// The layers of the module, the lowest first, and the files in each. A file may know those of its own layer and of those below.
/// `arch` is all that is behind the fence.
const LAYERS: &[(&str, &[&str])] = &[
    ("words", &["abi", "addr", "entry", "kill", "regs"]),
    ("the fence", &["arch"]),
    (
        "the parts of a Guest",
        &[
            "bell",
            "bound",
            "catalog",
            "clock",
            "counts",
            "decode",
            "keys",
            "listeners",
            "memory",
            "paging",
            "parcel",
            "port",
            "sections",
            "shadow",
            "traps",
            "walk",
        ],
    ),
    (
        "what the CPUs of a Guest share, and what each has",
        &["deliver", "dma", "exchange", "machine", "receive", "vcpu"],
    ),
    (
        "what they may ask for",
        &["emulate", "hypercalls", "interrupts"],
    ),
    (
        "a Guest, and the way to it",
        &["guest", "run", "snapshot", "device", "crate"],
    ),
];

/// Arrows that should not be, until they are gone: those that lead up, and one of each circle.
const KNOWN: &[(&str, &str)] = &[];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn module() -> Map {
    map::read(&top().join("generated/module/lguest.rs"))
}

/// The number of the layer that a file is in.
fn layer(file: &str) -> Option<usize> {
    let name = file.split("::").next()?;
    LAYERS.iter().position(|(_, files)| files.contains(&name))
}

/// A file without a layer is the matter of another test.
fn leads_up(arrow: &Arrow) -> bool {
    let layers = layer(&arrow.from).zip(layer(&arrow.to));
    layers.is_some_and(|(from, to)| from < to)
}

fn is_known(arrow: &Arrow) -> bool {
    KNOWN.contains(&(arrow.from.as_str(), arrow.to.as_str()))
}

fn told(arrow: &Arrow) -> String {
    let Arrow { from, to, place } = arrow;
    format!("{from} -> {to} ({place})")
}

/// Files each of which knows the next, and the last the first.
fn circle(arrows: &[&Arrow]) -> Option<Vec<String>> {
    // Whoever knows nobody is in no circle, and then those who know nobody else.
    let mut left = arrows.to_vec();
    loop {
        let before = left.len();
        let from: BTreeSet<String> = left.iter().map(|arrow| arrow.from.clone()).collect();
        left.retain(|arrow| from.contains(&arrow.to));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![left.first()?.from.clone()];
    loop {
        let here = way.last().expect("it has a first");
        let next = &left.iter().find(|arrow| arrow.from == *here)?.to;
        if let Some(begin) = way.iter().position(|one| one == next) {
            return Some(way.split_off(begin));
        }
        way.push(next.clone());
    }
}

#[test]
fn every_file_of_the_module_has_a_layer() {
    let files = module().files;
    let without: Vec<&String> = files.iter().filter(|file| layer(file).is_none()).collect();
    assert!(
        without.is_empty(),
        "in no layer of this test's table: {without:?}"
    );
    for name in LAYERS.iter().flat_map(|(_, files)| files.iter()) {
        assert!(files.contains(*name), "{name} has a layer and is no file");
    }
}

/// The layers in the table of a chapter, the lowest first, with their files as it calls them.
fn told_layers(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let table = text.lines().skip_while(|line| *line != "| Layer | Files |");
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split(" | ");
        let name = cells.next().expect("a first cell").trim().to_owned();
        let files = cells.next().expect("a second cell").split('`');
        (name, files.skip(1).step_by(2).map(str::to_owned).collect())
    };
    let mut layers: Vec<_> = rows.map(row).collect();
    layers.reverse();
    layers
}

#[test]
fn the_book_shows_the_layers() {
    let text = fs::read_to_string(top().join("chapters/P010-players.md")).expect("a chapter");
    let in_the_book = |file: &str| if file == "crate" { "lguest" } else { file }.to_owned();
    let layers = LAYERS.iter().map(|(name, files)| {
        let files = files.iter().map(|file| in_the_book(file)).collect();
        ((*name).to_owned(), files)
    });
    assert_eq!(told_layers(&text), layers.collect::<Vec<_>>());
}

/// The map as text: under each layer its files, and whom each of them knows.
fn drawn(map: &Map) -> String {
    let mut text = String::new();
    for (number, (name, _)) in LAYERS.iter().enumerate().rev() {
        text += &format!("{name}\n");
        for file in map.files.iter().filter(|file| layer(file) == Some(number)) {
            let arrows = map.arrows.iter().filter(|arrow| arrow.from == *file);
            let known: Vec<&str> = arrows.map(|arrow| arrow.to.as_str()).collect();
            text += format!("    {file:18} {}", known.join(" ")).trim_end();
            text += "\n";
        }
    }
    text
}

#[test]
fn no_arrow_of_the_module_leads_up() {
    let map = module();
    println!("{}", drawn(&map));
    let up: Vec<String> = map
        .arrows
        .iter()
        .filter(|arrow| leads_up(arrow) && !is_known(arrow))
        .map(told)
        .collect();
    assert!(up.is_empty(), "up: {}", up.join("\nup: "));
}

#[test]
fn the_module_has_no_circle() {
    let map = module();
    let arrows: Vec<&Arrow> = map.arrows.iter().filter(|arrow| !is_known(arrow)).collect();
    assert_eq!(circle(&arrows), None);
}

#[test]
fn the_launcher_has_no_circle() {
    let map = map::read(&top().join("generated/launcher/main.rs"));
    assert!(!map.arrows.is_empty());
    assert_eq!(circle(&map.arrows.iter().collect::<Vec<_>>()), None);
}

#[test]
fn what_should_not_be_is_still_there() {
    let arrows = module().arrows;
    for (from, to) in KNOWN {
        assert!(
            arrows
                .iter()
                .any(|arrow| arrow.from == *from && arrow.to == *to),
            "{from} does not know {to} any more: take it out of the list"
        );
    }
}

/// The files of the module that are not behind the fence.
fn outside() -> Vec<PathBuf> {
    let files = fs::read_dir(top().join("generated/module")).expect("tangled");
    files
        .map(|file| file.expect("a file").path())
        .filter(|file| file.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

#[test]
fn nobody_outside_the_fence_is_excused_from_it() {
    let mut denied = false;
    for file in outside() {
        let text = fs::read_to_string(&file).expect("a file of ours");
        for line in text.lines().filter(|line| line.contains("unsafe_code")) {
            assert_eq!(line, "#![deny(unsafe_code)]", "{}", file.display());
            denied = true;
        }
        let raw = text.lines().find(|line| line.contains("bindings"));
        assert_eq!(
            raw,
            None,
            "{} uses what the kernel crate has no words for",
            file.display()
        );
    }
    assert!(denied, "unsafe code is not denied");
}

#[test]
fn a_file_behind_the_fence_that_needs_no_excuse_has_none() {
    let within = files_of_the_module()
        .into_iter()
        .filter(|file| file.parent().is_some_and(|at| at.ends_with("arch")));
    for file in within.filter(|file| !file.ends_with("mod.rs")) {
        let text = fs::read_to_string(&file).expect("a file of ours");
        let excused = !text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        // The kernel's macro for a pinned thing that is dropped has some inside.
        let words = ["unsafe ", "#[pinned_drop]"];
        let unsafe_code = words.iter().any(|word| text.contains(word));
        assert_eq!(excused, unsafe_code, "{}", file.display());
    }
}

/// The files of the module, also those behind the fence.
fn files_of_the_module() -> Vec<PathBuf> {
    let fence = fs::read_dir(top().join("generated/module/arch")).expect("tangled");
    let behind = fence.map(|file| file.expect("a file").path());
    let rust = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "rs");
    outside().into_iter().chain(behind.filter(rust)).collect()
}

/// What is strewn about the imports of a file. Names that are passed on to others (`pub use`) may stand anywhere.
fn strewn(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("Rust");
    let mut wrong = Vec::new();
    let mut roots = BTreeSet::new();
    let mut end = None;
    let mut other = false;
    for item in &file.items {
        match item {
            Item::Use(item) if matches!(item.vis, Visibility::Inherited) => {
                let UseTree::Path(path) = &item.tree else {
                    continue;
                };
                let (begin, last) = (item.span().start().line, item.span().end().line);
                if other || end.is_some_and(|end| end + 1 != begin) {
                    wrong.push(format!("line {begin}: away from the others"));
                }
                if !roots.insert(path.ident.to_string()) {
                    wrong.push(format!("line {begin}: `{}` once more", path.ident));
                }
                end = Some(last);
            }
            Item::Use(_) | Item::Mod(_) if end.is_none() => (),
            _ => other = true,
        }
    }
    wrong
}

#[test]
fn each_file_of_the_module_has_its_imports_in_one_place() {
    for file in files_of_the_module() {
        let wrong = strewn(&fs::read_to_string(&file).expect("a file of ours"));
        assert!(
            wrong.is_empty(),
            "{}: {} (make fmt joins them)",
            file.display(),
            wrong.join(", ")
        );
    }
}

#[test]
fn strewn_imports_are_seen() {
    for text in [
        "use a::b;\nuse c::{d, e};\nfn f() {}",
        "mod x;\nuse a::b;\npub use x::y;",
        "pub use a::b;\nuse a::{\n    c,\n};\nuse d::e;",
    ] {
        assert_eq!(strewn(text), Vec::<String>::new(), "{text}");
    }
    for text in [
        "use a::b;\n\nuse c::d;",
        "use a::b;\nuse a::c;",
        "use a::b;\nfn f() {}\nuse c::d;",
        "fn f() {}\nuse c::d;",
    ] {
        assert_eq!(strewn(text).len(), 1, "{text}");
    }
}

/// A crate in which everything occurs that the map has to understand.
const CRATE: &[(&str, &str)] = &[
    (
        "lib.rs",
        "mod low; mod high; mod room; mod beside; mod caller; #[path = \"far/away.rs\"] mod other;
         fn run() { say!(high::NAME); }",
    ),
    (
        "low.rs",
        "pub struct Word; #[cfg(test)] mod tests { use crate::high::NAME; }",
    ),
    (
        "high.rs",
        "use crate::room::{self, Chair}; pub const NAME: u8 = 0; fn sit() { room::table::LEGS; Vec::<u8>::new(); }",
    ),
    (
        "room/mod.rs",
        "mod chair; pub mod table; pub use chair::Chair; pub struct Wall;",
    ),
    (
        "room/chair.rs",
        "use super::Wall; pub struct Chair; mod inner { use super::super::super::low; fn f(_: low::Word) {} }",
    ),
    (
        "room/table.rs",
        "pub const LEGS: u8 = 4; fn f() { std::mem::drop(0); }",
    ),
    (
        "far/away.rs",
        "use super::{low::Word as Term, room as place}; fn f(_: Term, _: place::Chair) {}",
    ),
    (
        "beside.rs",
        "use crate::low::Word; impl Word { fn weigh(&self) {} fn twice(&self) {} } trait Twice { fn twice(&self); }",
    ),
    (
        "caller.rs",
        "fn f(it: &Own) { it.weigh(); it.twice(); it.rest(); } struct Own; impl Own { fn rest(&self) {} }",
    ),
];

#[test]
fn every_way_to_know_another_file_is_an_arrow() {
    let dir = top().join("target/test/layers");
    let _ = fs::remove_dir_all(&dir);
    for (name, text) in CRATE {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, text).expect("a file");
    }
    let map = map::read(&dir.join("lib.rs"));
    let arrows: Vec<(&str, &str)> = map
        .arrows
        .iter()
        .map(|arrow| (arrow.from.as_str(), arrow.to.as_str()))
        .collect();
    let expected = [
        ("beside", "low"),
        ("caller", "beside"),
        ("crate", "high"),
        ("high", "room::chair"),
        ("high", "room::table"),
        ("other", "low"),
        ("other", "room::chair"),
        ("room::chair", "low"),
        ("room::chair", "room"),
    ];
    assert_eq!(arrows, expected);
}

#[test]
fn a_circle_is_found_and_a_diamond_is_none() {
    let arrow = |(from, to): (&str, &str)| Arrow {
        from: from.to_owned(),
        to: to.to_owned(),
        place: String::new(),
    };
    let mut arrows: Vec<Arrow> = [
        ("top", "left"),
        ("top", "right"),
        ("left", "low"),
        ("right", "low"),
    ]
    .map(arrow)
    .into();
    assert_eq!(circle(&arrows.iter().collect::<Vec<_>>()), None);
    arrows.push(arrow(("low", "right")));
    let found = circle(&arrows.iter().collect::<Vec<_>>()).expect("a circle");
    assert_eq!(
        found.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"low".to_owned(), &"right".to_owned()])
    );
}
