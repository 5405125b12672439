//! The files of this repository, as the checks beside this file read them.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crates of the house: their names and where their sources are.
pub(crate) fn crates() -> Vec<(String, PathBuf)> {
    let mut crates = vec![("stream-agent".to_owned(), root().join("src"))];
    for entry in std::fs::read_dir(root().join("actors")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        crates.push((name, path.join("src")));
    }
    crates.sort();
    crates
}

/// All files below `folder` with this extension, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let skipped = path.ends_with("target") || path.ends_with("node_modules");
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// All Rust files of the repository.
pub(crate) fn rust() -> Vec<PathBuf> {
    ["src", "actors", "tests"].iter().flat_map(|folder| files(&root().join(folder), "rs")).collect()
}

/// `text` without its line comments, documentation included.
pub(crate) fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The path of a file of the repository as a person writes it.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
