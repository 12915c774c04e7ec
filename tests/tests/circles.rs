//! No import circles between the files of a crate: a file can be read after those that it names, and never needs to
//! be read before one of them.
//!
//! An arrow leads from a file to each file whose items its code names, whatever modules the path runs through: what a
//! module hands on with `pub use` belongs to the file that defines it. Between a module and those below it there are no
//! arrows: a registry names what it lists, and what it lists has the registry's shape. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Item, UseTree, Visibility};

/// Where a name of a module leads.
#[derive(Clone, Debug)]
enum Name {
    /// An item that the module defines.
    Here,
    /// A path that `use` brought in.
    Path(Vec<String>),
}

/// A module, inline ones included.
#[derive(Default)]
struct Module {
    /// The file that holds it.
    file: PathBuf,
    names: BTreeMap<String, Name>,
    /// Paths of `use …::*`.
    globs: Vec<Vec<String>>,
    /// Paths that code and private `use` name.
    named: Vec<Vec<String>>,
}

/// Where a path leads within its crate.
enum End {
    Module(Vec<String>),
    /// An item of the module at this path.
    Item(Vec<String>),
}

/// The modules of one crate, by their path from its root.
#[derive(Default)]
struct Crate(BTreeMap<Vec<String>, Module>);

fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        let text = match &a.meta {
            syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string(),
            _ => return false,
        };
        text == "test" || text.contains("(test")
    })
}

/// Collects the paths of code, those within the tokens of macros included.
struct Paths<'a>(&'a mut Vec<Vec<String>>);

impl Paths<'_> {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.0.extend((!path.is_empty()).then(|| path.clone()));
                        path.clear();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
        self.0.extend((!path.is_empty()).then_some(path));
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0
            .push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        self.visit_path(&makro.path);
        self.tokens(makro.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Of a function's body.
        flatten(&item.tree, &mut Vec::new(), &mut |path, _| {
            self.0.push(path);
        });
    }
}

/// The paths of a `use`, each with the name it gets; `*` is the name of a glob.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut impl FnMut(Vec<String>, String)) {
    let whole = |before: &[String], last: &syn::Ident| {
        let mut path = before.to_vec();
        if last != "self" {
            path.push(last.to_string());
        }
        path
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => {
            let path = whole(before, &name.ident);
            let last = path.last().cloned().unwrap_or_default();
            found(path, last);
        }
        UseTree::Rename(rename) => {
            found(whole(before, &rename.ident), rename.rename.to_string());
        }
        UseTree::Glob(_) => found(before.clone(), "*".to_owned()),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, found);
            }
        }
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(i) => i.ident.to_string(),
        Item::Enum(i) => i.ident.to_string(),
        Item::Fn(i) => i.sig.ident.to_string(),
        Item::Macro(i) => i.ident.as_ref()?.to_string(),
        Item::Static(i) => i.ident.to_string(),
        Item::Struct(i) => i.ident.to_string(),
        Item::Trait(i) => i.ident.to_string(),
        Item::Type(i) => i.ident.to_string(),
        Item::Union(i) => i.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

impl Crate {
    /// Reads a crate from its root file on. `read` gives the text of a file that exists.
    fn read(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut all = Self::default();
        let folder = root.parent().unwrap_or(Path::new(""));
        all.file(Vec::new(), root, folder, read);
        all
    }

    fn file(
        &mut self,
        path: Vec<String>,
        file: &Path,
        folder: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) {
        let text = read(file).unwrap_or_else(|| panic!("no {}", file.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.module(path, &syntax.items, file, folder, read);
    }

    fn module(
        &mut self,
        path: Vec<String>,
        items: &[Item],
        file: &Path,
        folder: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items.iter().filter(|i| !for_tests(attributes(i))) {
            if let Some(name) = name_of(item) {
                module.names.insert(name, Name::Here);
            }
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let mut below = path.clone();
                    below.push(name.clone());
                    let inner = folder.join(&name);
                    if let Some((_, items)) = &child.content {
                        self.module(below, items, file, &inner, read);
                        continue;
                    }
                    let flat = folder.join(format!("{name}.rs"));
                    let file = match read(&flat) {
                        Some(_) => flat,
                        None => inner.join("mod.rs"),
                    };
                    self.file(below, &file, &inner, read);
                }
                Item::Use(item) => {
                    let private = matches!(item.vis, Visibility::Inherited);
                    flatten(&item.tree, &mut Vec::new(), &mut |target, name| {
                        if private {
                            module.named.push(target.clone());
                        }
                        match name.as_str() {
                            "*" => module.globs.push(target),
                            _ => {
                                module.names.insert(name, Name::Path(target));
                            }
                        }
                    });
                }
                item => Paths(&mut module.named).visit_item(item),
            }
        }
        self.0.insert(path, module);
    }

    /// What a path leads to, if it is of this crate.
    fn definition(&self, from: &[String], path: &[String], depth: usize) -> Option<End> {
        let (first, rest) = path.split_first()?;
        let mut at = from.to_vec();
        let mut rest = rest;
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop()?;
                while rest.first().is_some_and(|s| s == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            _ => rest = path,
        }
        let Some((name, rest)) = rest.split_first() else {
            return Some(End::Module(at));
        };
        self.member(&at, name, rest, depth)
    }

    fn member(&self, at: &[String], name: &str, rest: &[String], depth: usize) -> Option<End> {
        if depth > 16 {
            return None;
        }
        let mut below = at.to_vec();
        below.push(name.to_owned());
        // A function may have the name of its module.
        let item = rest.is_empty() && self.0.get(at).is_some_and(|m| m.names.contains_key(name));
        if self.0.contains_key(&below) && !item {
            return match rest.split_first() {
                Some((name, rest)) => self.member(&below, name, rest, depth + 1),
                None => Some(End::Module(below)),
            };
        }
        let module = self.0.get(at)?;
        match module.names.get(name) {
            Some(Name::Here) => Some(End::Item(at.to_vec())),
            Some(Name::Path(target)) => {
                let mut whole = target.clone();
                // `use x::x` of another crate would lead back to itself.
                if whole.first().is_some_and(|f| f == name) {
                    return None;
                }
                whole.extend_from_slice(rest);
                self.definition(at, &whole, depth + 1)
            }
            None => module.globs.iter().find_map(|glob| {
                match self.definition(at, glob, depth + 1)? {
                    End::Module(at) => self.member(&at, name, rest, depth + 1),
                    // The variants of an enumeration.
                    End::Item(_) => None,
                }
            }),
        }
    }

    /// For each file, the files whose items it names, each with one path that does.
    fn arrows(&self) -> BTreeMap<PathBuf, BTreeMap<PathBuf, String>> {
        let mut found: BTreeMap<PathBuf, BTreeMap<PathBuf, String>> = BTreeMap::new();
        for (from, module) in &self.0 {
            let arrows = found.entry(module.file.clone()).or_default();
            for path in &module.named {
                // A module alone is only the beginning of the paths that lead through it.
                let Some(End::Item(to)) = self.definition(from, path, 0) else {
                    continue;
                };
                if to.starts_with(from) || from.starts_with(&to) {
                    continue;
                }
                let to = &self.0[&to];
                if to.file != module.file {
                    arrows.entry(to.file.clone()).or_insert(path.join("::"));
                }
            }
        }
        found
    }

    /// Sets of files of which each leads to each other.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let reach: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = arrows
            .keys()
            .map(|file| {
                let mut seen = BTreeSet::new();
                let mut todo = vec![file];
                while let Some(at) = todo.pop() {
                    for to in arrows.get(at).into_iter().flat_map(BTreeMap::keys) {
                        if seen.insert(to) {
                            todo.push(to);
                        }
                    }
                }
                (file, seen)
            })
            .collect();
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for (file, seen) in &reach {
            if !seen.contains(file) || told.contains(file) {
                continue;
            }
            let circle: BTreeSet<&PathBuf> = seen
                .iter()
                .copied()
                .filter(|to| reach[to].contains(file))
                .collect();
            let mut text = String::from("a circle of imports:");
            for from in &circle {
                for (to, path) in arrows[*from].iter().filter(|(to, _)| circle.contains(to)) {
                    let (from, to) = (from.display(), to.display());
                    text.push_str(&format!("\n  {from} → {to} ({path})"));
                }
            }
            told.extend(circle);
            circles.push(text);
        }
        circles
    }
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root.join("crates"))
        .expect("the folder of crates")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.push(root.join("xtask"));
    folders.sort();
    let mut found = Vec::new();
    let mut files = 0;
    for folder in folders {
        let source = folder.join("src");
        for start in ["lib.rs", "main.rs"] {
            if !source.join(start).is_file() {
                continue;
            }
            let read = |path: &Path| std::fs::read_to_string(source.join(path)).ok();
            let all = Crate::read(Path::new(start), &read);
            files += all.0.len();
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            found.extend(all.circles().iter().map(|c| format!("{name}: {c}")));
        }
    }
    assert!(files > 200, "{files} modules are too few to be all");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The circles of a crate of made-up files.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let read = |path: &Path| {
        let found = files.iter().find(|f| Path::new(f.0) == path);
        found.map(|f| f.1.to_owned())
    };
    Crate::read(Path::new("lib.rs"), &read).circles()
}

#[test]
fn a_circle_is_seen_and_named() {
    let a = "use crate::b::Low;\npub struct High(Low);";
    let cases = [
        (
            "mod a;\nmod b;",
            "use super::a::High;\npub struct Low(High);",
        ),
        (
            "mod a;\nmod b;",
            "pub struct Low;\nfn f() { let _ = crate::a::High(todo!()); }",
        ),
        (
            "mod a;\nmod b;",
            "pub struct Low;\nfn f() { println!(\"{}\", crate::a::High::X); }",
        ),
        // Handed on by the parent: the name leads to the file that defines it.
        (
            "mod a;\nmod b;\npub use a::High;",
            "use crate::High;\npub struct Low(High);",
        ),
        (
            "mod a;\nmod b;\npub use a::*;",
            "use crate::*;\npub struct Low(High);",
        ),
    ];
    for (lib, b) in cases {
        let found = circles(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]);
        assert_eq!(found.len(), 1, "{b}");
        for arrow in ["a.rs → b.rs", "b.rs → a.rs"] {
            assert!(found[0].contains(arrow), "{}", found[0]);
        }
    }
}

#[test]
fn handing_on_and_children_and_tests_make_no_circle() {
    let lib = "mod a;\nmod b;\npub use a::High;\npub struct Own;\nfn f() { b::low(); }";
    let a =
        "use crate::{b, Own};\npub struct High(Own);\n#[cfg(test)] mod tests { use crate::High; }";
    let b = "use crate::Own;\npub fn low() -> Own { Own }\n#[cfg(test)] mod tests { use crate::a::High; }";
    let found = circles(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]);
    assert!(found.is_empty(), "{found:?}");
}
