//! Who knows whom among the files of a crate, read from its code: every path that leads from one file to another, and every call
//! of a method that a file has written for the type of another.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::{
    Attribute, Expr, ImplItem, Item, ItemImpl, ItemMod, ItemUse, Lit, Meta, Type, UseTree,
    Visibility,
};

/// A module's path from the root of its crate, which is empty.
type Name = Vec<String>;

/// One file knows another, and this is where it says so first.
pub struct Arrow {
    /// The file that has the line, as the path of a module.
    pub from: String,
    /// The file that has what is named there.
    pub to: String,
    /// `file:line`.
    pub place: String,
}

/// The files of a crate, as the paths of their modules, and the arrows between them, in order.
pub struct Map {
    pub files: BTreeSet<String>,
    pub arrows: Vec<Arrow>,
}

/// A path in the code.
struct Mention {
    place: String,
    /// The module that it is in.
    module: Name,
    words: Vec<String>,
    /// It only gives something in there another name, for others.
    passes_on: bool,
}

/// A method that is called by its name alone.
struct Call {
    place: String,
    module: Name,
    name: String,
}

/// Methods that a module has written for a type.
struct Methods {
    module: Name,
    /// The type, as the module calls it.
    owner: String,
    names: Vec<String>,
}

/// The modules of a crate.
#[derive(Default)]
struct Crate {
    /// Each module, and the one that its file begins with.
    modules: BTreeMap<Name, Name>,
    /// What a name that was imported stands for in a module.
    imports: BTreeMap<(Name, String), Vec<String>>,
    mentions: Vec<Mention>,
    calls: Vec<Call>,
    methods: Vec<Methods>,
    /// How many functions have this name.
    functions: BTreeMap<String, usize>,
}

/// The map of the crate that begins with this file.
pub fn read(first: &Path) -> Map {
    let mut all = Crate::default();
    let directory = first.parent().expect("a file lies in a directory");
    all.read_file(first, Name::new(), directory);

    let mut arrows = BTreeMap::new();
    for mention in &all.mentions {
        let Some((found, is_item)) = all.find(&mention.module, &mention.words) else {
            continue;
        };
        // Whoever names a directory does not know all that lies in it; what is taken from there will be named, too.
        let is_directory = !is_item
            && all
                .modules
                .keys()
                .any(|it| it.len() > found.len() && it.starts_with(&found));
        let (from, to) = (&all.modules[&mention.module], &all.modules[&found]);
        if from != to && !is_directory && !(mention.passes_on && to.starts_with(from)) {
            arrows
                .entry((called(from), called(to)))
                .or_insert(&mention.place);
        }
    }
    let written_elsewhere = all.written_elsewhere();
    for Call {
        place,
        module,
        name,
    } in &all.calls
    {
        let Some(to) = written_elsewhere.get(name) else {
            continue;
        };
        let from = &all.modules[module];
        if from != to {
            arrows.entry((called(from), called(to))).or_insert(place);
        }
    }
    Map {
        files: all.modules.values().map(called).collect(),
        arrows: arrows
            .into_iter()
            .map(|((from, to), place)| Arrow {
                from,
                to,
                place: place.clone(),
            })
            .collect(),
    }
}

fn called(name: &Name) -> String {
    if name.is_empty() {
        "crate".to_owned()
    } else {
        name.join("::")
    }
}

impl Crate {
    /// `below` is the directory with the files of the module's own modules.
    fn read_file(&mut self, path: &Path, module: Name, below: &Path) {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.read(file.items, path, &module, &module, below);
    }

    fn read(&mut self, items: Vec<Item>, path: &Path, module: &Name, file: &Name, below: &Path) {
        self.modules.insert(module.clone(), file.clone());
        for item in items {
            match item {
                Item::Mod(item) if is_for_tests(&item.attrs) => (),
                Item::Mod(item) => self.read_module(item, path, module, file, below),
                Item::Use(item) => self.read_use(&item, path, module),
                item => {
                    if let Item::Impl(item) = &item {
                        self.read_methods(item, module);
                    }
                    self.read_tokens(item.into_token_stream(), path, module);
                }
            }
        }
    }

    fn read_module(
        &mut self,
        item: ItemMod,
        path: &Path,
        parent: &Name,
        file: &Name,
        below: &Path,
    ) {
        let name = item.ident.to_string();
        let module = [parent.as_slice(), std::slice::from_ref(&name)].concat();
        let below_it = below.join(&name);
        if let Some((_, items)) = item.content {
            self.read(items, path, &module, file, &below_it);
        } else if let Some(elsewhere) = other_path(&item.attrs) {
            self.read_file(
                &path.parent().expect("a directory").join(elsewhere),
                module,
                &below_it,
            );
        } else if below_it.join("mod.rs").exists() {
            self.read_file(&below_it.join("mod.rs"), module, &below_it);
        } else {
            self.read_file(&below_it.with_extension("rs"), module, &below_it);
        }
    }

    fn read_use(&mut self, item: &ItemUse, path: &Path, module: &Name) {
        let passes_on = !matches!(item.vis, Visibility::Inherited);
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        for Leaf {
            words,
            alias,
            place,
        } in leaves
        {
            // What has but one word is here already.
            if words.len() > 1 {
                self.imports.insert((module.clone(), alias), words.clone());
            }
            self.mention(place, path, module, words, passes_on);
        }
    }

    fn read_methods(&mut self, item: &ItemImpl, module: &Name) {
        let (None, Type::Path(owner)) = (&item.trait_, &*item.self_ty) else {
            return;
        };
        let names = item.items.iter().filter_map(|item| match item {
            ImplItem::Fn(function) => Some(function.sig.ident.to_string()),
            _ => None,
        });
        self.methods.push(Methods {
            module: module.clone(),
            owner: owner.path.segments[0].ident.to_string(),
            names: names.collect(),
        });
    }

    /// The methods that a file has written for the type of another, and the file. Only those whose names no other function has:
    /// whose the others are, a name does not tell.
    fn written_elsewhere(&self) -> BTreeMap<String, Name> {
        let mut found = BTreeMap::new();
        for methods in &self.methods {
            let owner = self.find(&methods.module, std::slice::from_ref(&methods.owner));
            let file = &self.modules[&methods.module];
            if owner.is_none_or(|(owner, _)| self.modules[&owner] == *file) {
                continue;
            }
            for name in &methods.names {
                if self.functions[name] == 1 {
                    found.insert(name.clone(), file.clone());
                }
            }
        }
        found
    }

    /// Everything that looks like a path with two words or more, also what is handed to macros.
    fn read_tokens(&mut self, tokens: TokenStream, path: &Path, module: &Name) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(one)) if one.as_char() == ':');
        let mut at = 0;
        let is_dot = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(one)) if one.as_char() == '.');
        let is_called = |at: usize| match tokens.get(at + 1) {
            Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
            // The types that it is called with.
            _ => is_colon(at + 1),
        };
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(word) if word == "fn" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        *self.functions.entry(name.to_string()).or_default() += 1;
                    }
                }
                TokenTree::Ident(name) if at > 0 && is_dot(at - 1) && is_called(at) => {
                    self.calls.push(Call {
                        place: format!("{}:{}", path.display(), name.span().start().line),
                        module: module.clone(),
                        name: name.to_string(),
                    })
                }
                TokenTree::Group(group) => self.read_tokens(group.stream(), path, module),
                TokenTree::Ident(first) if at < 2 || !(is_colon(at - 1) && is_colon(at - 2)) => {
                    let mut words = vec![first.to_string()];
                    while is_colon(at + 1)
                        && is_colon(at + 2)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        words.push(next.to_string());
                        at += 3;
                    }
                    if words.len() > 1 {
                        self.mention(first.span(), path, module, words, false);
                    }
                }
                _ => (),
            }
            at += 1;
        }
    }

    fn mention(
        &mut self,
        at: Span,
        path: &Path,
        module: &Name,
        words: Vec<String>,
        passes_on: bool,
    ) {
        self.mentions.push(Mention {
            place: format!("{}:{}", path.display(), at.start().line),
            module: module.clone(),
            words,
            passes_on,
        });
    }

    /// The module to which a path leads that stands in `module`, and whether it names something in there; `None` if it leads
    /// out of the crate.
    fn find(&self, module: &Name, words: &[String]) -> Option<(Name, bool)> {
        let is_here = |name: &String| {
            self.child(module, name).is_some()
                || self.imports.contains_key(&(module.clone(), name.clone()))
        };
        let up = words.iter().take_while(|word| *word == "super").count();
        let (mut at, words) = match words.first()? {
            first if first == "crate" => (Name::new(), &words[1..]),
            first if first == "self" => (module.clone(), &words[1..]),
            first if is_here(first) => (module.clone(), words),
            _ if up > 0 => (
                module[..module.len().checked_sub(up)?].to_vec(),
                &words[up..],
            ),
            _ => return None,
        };
        for word in words {
            if let Some(child) = self.child(&at, word) {
                at = child;
            } else if let Some(meant) = self.imports.get(&(at.clone(), word.clone())) {
                let is_item;
                (at, is_item) = self.find(&at, meant)?;
                if is_item {
                    return Some((at, true));
                }
            } else {
                return Some((at, true));
            }
        }
        Some((at, false))
    }

    fn child(&self, module: &Name, name: &str) -> Option<Name> {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        self.modules.contains_key(&child).then_some(child)
    }
}

/// One of the paths that a `use` stands for, and the name that it is known by then.
struct Leaf {
    words: Vec<String>,
    alias: String,
    place: Span,
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let mut leaf = |last: &str, alias: String, place: Span| {
        let mut words = before.clone();
        if last != "self" {
            words.push(last.to_owned());
        }
        leaves.push(Leaf {
            words,
            alias,
            place,
        });
    };
    match tree {
        UseTree::Name(name) if name.ident == "self" => {
            let alias = before.last().cloned().unwrap_or_default();
            leaf("self", alias, name.ident.span());
        }
        UseTree::Name(name) => leaf(
            &name.ident.to_string(),
            name.ident.to_string(),
            name.ident.span(),
        ),
        UseTree::Rename(rename) => {
            leaf(
                &rename.ident.to_string(),
                rename.rename.to_string(),
                rename.ident.span(),
            );
        }
        UseTree::Glob(glob) => leaf("*", "*".to_owned(), glob.star_token.spans[0]),
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, leaves);
            before.pop();
        }
        UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| flatten(tree, before, leaves)),
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| {
        one.path().is_ident("cfg") && one.parse_args::<Ident>().is_ok_and(|what| what == "test")
    })
}

/// `#[path = "elsewhere.rs"]`
fn other_path(attributes: &[Attribute]) -> Option<PathBuf> {
    attributes.iter().find_map(|one| match &one.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(path) => Some(path.value().into()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
