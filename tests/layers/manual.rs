//! What the manual replaces: pages outside of the repository that a reader does not have.

use std::fs;
use std::path::{Path, PathBuf};

/// Where people write. Built things and records are left out.
const WRITTEN: [&str; 7] = ["README.md", ".github", "actors", "config", "scripts", "src", "tests"];

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    let built = path.ends_with("target") || path.ends_with("node_modules");
    if built || path.is_symlink() || !path.exists() {
        return;
    }
    if path.is_file() {
        found.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        files(&entry.unwrap().path(), found);
    }
}

#[test]
fn every_page_that_is_named_is_in_the_repository() {
    // Put together here, so that this file does not name them.
    let pages = ["contract", "DESIGN"].map(|name| format!("{name}.md"));
    let mut found = Vec::new();
    for path in WRITTEN {
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &mut found);
    }
    assert!(found.len() > 200, "the repository was not found");
    for file in found {
        let text = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text);
        let named = pages.iter().find(|page| text.contains(page.as_str()));
        assert_eq!(named, None, "{} names it: use stream_protocol::manual", file.display());
    }
}
