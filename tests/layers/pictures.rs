//! The pictures in README: the walk through the console makes them.

use std::fs;
use std::path::Path;

/// The most that all of them weigh, in bytes: everybody who clones the repository has them.
const MOST: u64 = 400_000;

#[test]
fn readme_shows_what_the_walk_through_the_console_looks_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let steps = fs::read_dir(root.join("tests/browser/console")).unwrap();
    let walk: String =
        steps.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let mut shown: Vec<_> = readme
        .split("](.github/pictures/")
        .skip(1)
        .map(|rest| rest.split_once(')').unwrap().0.to_owned())
        .collect();
    shown.sort();
    for name in &shown {
        let view = name.strip_suffix("-wide-light.png").unwrap_or_else(|| panic!("{name}"));
        assert!(walk.contains(&format!("look(\"{view}\"")), "the walk does not look at {view}");
    }
    let files = fs::read_dir(root.join(".github/pictures")).unwrap().map(Result::unwrap);
    let (mut there, mut weight) = (Vec::new(), 0);
    for file in files {
        there.push(file.file_name().into_string().unwrap());
        weight += file.metadata().unwrap().len();
    }
    there.sort();
    assert_eq!(shown, there, "shown in README, and lying there");
    assert!(!there.is_empty() && weight <= MOST, "{weight} bytes");
}
