//! The fuzz targets of `tests/fuzz`, over the corpora in the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/targets.rs"]
mod targets;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_target_keeps_its_promises_on_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in targets::ALL {
        let samples = files(&corpus.join(name));
        assert!(samples.len() >= 8, "{name} has few samples");
        for sample in samples {
            // A broken promise is a panic; its sample is the last that is named.
            println!("{}", sample.display());
            target(&fs::read(sample).expect("a sample"));
        }
    }
}

#[test]
fn every_corpus_and_every_program_belongs_to_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let named = |directory: &str| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        files(&fuzz.join(directory)).into_iter().filter_map(stem).collect()
    };
    let targets: BTreeSet<_> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named("corpus"), targets);
    assert_eq!(named("fuzz_targets"), targets);
}
