//! Import circles: no two files of a crate use each other, directly or by way of others.
//!
//! A module that uses its own children is no circle, and neither is a child that uses what its
//! parents hold: a folder is one room. The crate's `lib.rs` only names modules and is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::sources::{self, without_comments};

/// Circles that stay, each with its reason: the crate, and the files of the circle.
const INHERENT: &[(&str, &[&str], &str)] = &[(
    "supervisor",
    &["cell", "mailbox", "worker"],
    "a worker is handed its mailbox, whose address is that of the actor that runs the worker",
)];

/// A file of a crate as the path of its module: `["socket", "relay"]`.
type Module = Vec<String>;

#[test]
fn no_two_files_of_a_crate_use_each_other() {
    let mut found = Vec::new();
    let mut files = 0;
    for (name, src) in sources::crates() {
        let modules = modules(&src);
        files += modules.len();
        for circle in circles(&modules) {
            let inherent = INHERENT.iter().any(|(of, files, _)| *of == name && circle == *files);
            if !inherent {
                found.push(format!("{name}: {}", circle.join(", ")));
            }
        }
    }
    assert!(files > 150, "the sources were not found: {files} files");
    assert!(found.is_empty(), "files that use each other:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_seen_and_a_folder_is_none() {
    let module = |path: &str, text: &str| {
        (path.split('/').map(str::to_owned).collect::<Module>(), text.to_owned())
    };
    let modules = BTreeMap::from([
        module("a", "use crate::b::{self, C};"),
        module("b", "use std::fmt; fn f() { crate::c::d::go() }"),
        module("c", "mod d; use d::go;"),
        module("c/d", "use super::X; use crate::{a::Y, b as z};"),
        module("e", "mod f; use f::G;"),
        module("e/f", "use super::H; use crate::a;"),
    ]);
    assert_eq!(circles(&modules), [vec!["a", "b", "c/d"]]);
}

/// The text of each file of a crate but the root, without comments and unit tests.
fn modules(src: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in sources::files(src, "rs") {
        let module = file.strip_prefix(src).unwrap().with_extension("");
        let module: Module = module.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let root = matches!(module[0].as_str(), "bin" | "lib" | "main");
        if !root {
            let text = std::fs::read_to_string(file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            modules.insert(module, without_comments(text));
        }
    }
    modules
}

/// The circles among `modules`, each as the sorted paths of its files.
fn circles(modules: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let uses: BTreeMap<&Module, BTreeSet<&Module>> =
        modules.iter().map(|(module, text)| (module, used(module, text, modules))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        uses.keys().map(|module| (*module, reach(module, &uses))).collect();
    let mut circles = BTreeSet::new();
    for (module, reachable) in &reached {
        if reachable.contains(module) {
            let circle = reachable.iter().filter(|other| reached[*other].contains(module));
            circles.insert(circle.map(|module| module.join("/")).collect());
        }
    }
    circles.into_iter().collect()
}

fn reach<'a>(
    from: &'a Module,
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = uses[from].iter().copied().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(&uses[module]);
        }
    }
    reached
}

/// The files of the same crate that `text`, which is the file of `module`, names.
fn used<'a>(
    module: &Module,
    text: &str,
    modules: &'a BTreeMap<Module, String>,
) -> BTreeSet<&'a Module> {
    let mut used = BTreeSet::new();
    for path in paths(text) {
        let Some(target) = resolve(module, &path, modules) else { continue };
        let is_parent = module.starts_with(target);
        if !is_parent {
            used.insert(target);
        }
    }
    used
}

/// The file that holds what `path`, written in the file of `module`, names; if it is one of ours.
fn resolve<'a>(
    module: &Module,
    path: &[String],
    modules: &'a BTreeMap<Module, String>,
) -> Option<&'a Module> {
    let mut base = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Module::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child => {
            base.push(child.to_owned());
            modules.get(&base)?;
            rest = &path[1..];
        }
    }
    base.extend_from_slice(rest);
    // What is left over at the end is an item of the file.
    while !base.is_empty() {
        if let Some((target, _)) = modules.get_key_value(&base) {
            return Some(target);
        }
        base.pop();
    }
    None
}

/// Every path that `text` writes, with the trees of `use` spread out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("::") {
        let before = &rest[..at];
        let start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |at| at + before[at..].chars().next().unwrap().len_utf8());
        let (end, written) = spread(&rest[start..]);
        paths.extend(written);
        rest = &rest[start + end..];
    }
    paths
}

/// Reads one path at the beginning of `text`; returns where it ends, and what it spreads out to.
fn spread(text: &str) -> (usize, Vec<Vec<String>>) {
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let first = text[..word].to_owned();
    let Some(rest) = text[word..].strip_prefix("::") else { return (word, vec![vec![first]]) };
    let after = word + 2;
    let (end, tails) = match rest.strip_prefix('{') {
        None => {
            let (end, tails) = spread(rest);
            (after + end, tails)
        }
        Some(mut inner) => {
            let mut tails = Vec::new();
            let whole = inner.len();
            loop {
                inner = inner.trim_start_matches([' ', '\n', ',']);
                if inner.is_empty() || inner.starts_with('}') {
                    break;
                }
                let (end, more) = spread(inner);
                tails.extend(more);
                // Over ` as name`, and whatever else is not ours to read.
                let next = inner[end..].find([',', '}']).unwrap_or(inner.len() - end);
                inner = &inner[end + next..];
            }
            (after + 1 + whole - inner.len(), tails)
        }
    };
    let paths = tails.into_iter().map(|tail| {
        let mut path = vec![first.clone()];
        path.extend(tail.into_iter().filter(|part| !part.is_empty() && part != "self"));
        path
    });
    (end.max(after), paths.collect())
}
