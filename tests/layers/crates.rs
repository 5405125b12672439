//! The rule between crates: depend downward only; and what must not be in the house at all.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Table;

use crate::sources;

/// A crate may use crates of lower rows only, never of its own.
const ROWS: &[&[&str]] = &[
    &["protocol", "macaroon", "supervisor", "pki", "metrics"],
    &["bridge", "ams", "admin", "http"],
    &["audit", "socket", "tls", "tokens", "turn"],
    &["sessions"],
    &["api", "gateway", "overview"],
];

/// Crates that must not be built, by the advisories and the one TLS path.
const BANNED: &[&str] =
    &["nats", "native-tls", "openssl", "openssl-sys", "rustls-pemfile", "serde_yaml"];

fn manifest(path: impl AsRef<Path>) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap().parse().unwrap()
}

fn house_dependencies(manifest: &Table) -> Vec<String> {
    let sections = ["dependencies", "build-dependencies"].map(|section| manifest.get(section));
    let names =
        sections.into_iter().flatten().flat_map(|section| section.as_table().unwrap().keys());
    names.filter_map(|name| name.strip_prefix("stream-").map(str::to_owned)).collect()
}

#[test]
fn crates_depend_downward_only() {
    let rows: BTreeMap<&str, usize> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(row, crates)| crates.iter().map(move |name| (*name, row)))
        .collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("actors")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let used = house_dependencies(&manifest(format!("actors/{name}/Cargo.toml")));
        for dependency in used {
            seen += 1;
            let fine = match (name.as_str(), rows.get(name.as_str())) {
                // Stand-ins use the ground only; the stack on one machine is above all.
                ("simulators", _) => rows[dependency.as_str()] == 0,
                ("dev" | "simulation", _) => true,
                (_, Some(row)) => rows[dependency.as_str()] < *row,
                (_, None) => panic!("{name} has no row: give it one in tests/layers.rs"),
            };
            assert!(fine, "{name} must not depend on {dependency}");
        }
    }
    assert!(seen > 20, "the manifests were not understood");
}

#[test]
fn the_simulators_are_never_part_of_a_service() {
    // Whatever the two services are made of, without what their tests need.
    let mut parts = house_dependencies(&manifest("Cargo.toml"));
    let mut next = 0;
    while let Some(part) = parts.get(next).cloned() {
        for below in house_dependencies(&manifest(format!("actors/{part}/Cargo.toml"))) {
            if !parts.contains(&below) {
                parts.push(below);
            }
        }
        next += 1;
    }
    assert!(parts.len() > 12, "the manifests were not understood");
    for stand_in in ["dev", "simulation", "simulators"] {
        assert!(!parts.iter().any(|part| part == stand_in), "{stand_in} is part of a service");
    }
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("actors")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let manifest = manifest(format!("actors/{name}/Cargo.toml"));
        assert_eq!(manifest["package"]["name"].as_str(), Some(format!("stream-{name}").as_str()));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
        for section in ["dependencies", "dev-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(|table| table.as_table())
            else {
                continue;
            };
            for (dependency, source) in dependencies {
                let workspace = source.get("workspace").and_then(|value| value.as_bool());
                assert_eq!(workspace, Some(true), "{name} sets a version of {dependency}");
            }
        }
    }
}

#[test]
fn banned_crates_are_not_in_the_lock_file() {
    let lock = manifest("Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    assert!(packages.len() > 100, "the lock file was not understood");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is banned");
    }
}

#[test]
fn the_top_level_holds_what_it_should_and_nothing_else() {
    let known = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "actors",
        "config",
        "scripts",
        "src",
        "tests",
        "target",
    ];
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || known.contains(&name.as_str()), "{name} at the top level");
    }
}

/// Packages whose library has another name.
const CALLED: &[(&str, &str)] = &[("md-5", "md5")];

#[test]
fn every_dependency_is_used() {
    let mut found = Vec::new();
    let mut seen = 0;
    let root = sources::root();
    let packages = sources::crates().into_iter().map(|(_, src)| src.parent().unwrap().to_owned());
    for package in packages {
        let manifest = manifest(package.join("Cargo.toml"));
        let text = |folders: &[&str]| -> String {
            let folders = folders.iter().map(|folder| package.join(folder));
            let files = folders.filter(|folder| folder.is_dir());
            files
                .flat_map(|folder| sources::files(&folder, "rs"))
                .map(|file| std::fs::read_to_string(file).unwrap())
                .collect()
        };
        let (own, all) = (text(&["src"]), text(&["src", "tests", "examples"]));
        for (section, text) in [("dependencies", &own), ("dev-dependencies", &all)] {
            let Some(dependencies) = manifest.get(section).and_then(|table| table.as_table())
            else {
                continue;
            };
            for name in dependencies.keys() {
                seen += 1;
                let library = CALLED.iter().find(|(package, _)| package == name);
                let called = library.map_or(name.as_str(), |(_, library)| library);
                let called = called.replace('-', "_");
                let used = text
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == called);
                if !used {
                    let package = package.strip_prefix(root).unwrap().display();
                    found.push(format!("{package}: {name} among its {section}"));
                }
            }
        }
    }
    assert!(seen > 100, "the manifests were not understood");
    assert!(found.is_empty(), "never used:\n{}", found.join("\n"));
}
