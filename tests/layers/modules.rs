//! Every file is part of its crate: one that no other names is compiled by nobody.

use std::path::{Path, PathBuf};

use crate::sources::{self, shown, without_comments};

/// The files that may name `file`: what stands beside it as the root of its folder.
fn parents(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap();
    let roots = ["main.rs", "lib.rs", "mod.rs"].map(|root| folder.join(root));
    let found = roots.into_iter().chain([folder.with_extension("rs")]);
    found.filter(|parent| parent.is_file() && parent != file).collect()
}

#[test]
fn every_file_is_named_by_the_one_above_it() {
    let is_root = |file: &&PathBuf| {
        let stem = file.file_stem().unwrap();
        ["main", "lib", "mod", "build"].iter().any(|root| stem == *root)
    };
    let files = sources::rust();
    let mut checked = 0;
    let mut forgotten = Vec::new();
    for file in files.iter().filter(|file| !is_root(file)) {
        let parents = parents(file);
        if parents.is_empty() {
            // A program, or a program of tests.
            continue;
        }
        let name = format!("mod {};", file.file_stem().unwrap().to_str().unwrap());
        let text = |parent: &PathBuf| without_comments(&std::fs::read_to_string(parent).unwrap());
        checked += 1;
        if !parents.iter().any(|parent| text(parent).contains(&name)) {
            forgotten.push(shown(file));
        }
    }
    assert!(checked > 300, "{checked} files only");
    assert!(forgotten.is_empty(), "compiled by nobody:\n{}", forgotten.join("\n"));
}
