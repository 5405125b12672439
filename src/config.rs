//! Reads one TOML file into a struct of the actors' configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: give the path of the configuration file with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Malformed { path: PathBuf, line: usize, problem: String },
    #[error("{}: {problem}", path.display())]
    Refused { path: PathBuf, problem: String },
}

/// Reads and checks the file at `path`; `check` looks at what its values name.
///
/// # Errors
///
/// The file cannot be read, a line of it is not understood, or `check` refuses.
pub fn read<C: DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&C) -> anyhow::Result<()>,
) -> Result<C, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let config = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start);
        let line = text[..before.min(text.len())].matches('\n').count() + 1;
        let problem = error.message().replace('\n', " ");
        ConfigError::Malformed { path: path.to_owned(), line, problem }
    })?;
    check(&config).map_err(|error| ConfigError::Refused {
        path: path.to_owned(),
        problem: format!("{error:#}"),
    })?;
    Ok(config)
}

/// Returns the keys in which two configurations differ, as `section.key`.
pub fn differing_keys<C: Serialize>(before: &C, after: &C) -> Vec<String> {
    let sections = [before, after].map(|config| members(serde_json::to_value(config).ok()));
    let [before, after] = sections.map(|sections| {
        let keys = sections.into_iter().flat_map(|(section, keys)| {
            let named = move |(key, value)| (format!("{section}.{key}"), value);
            members(Some(keys)).into_iter().map(named)
        });
        keys.collect::<BTreeMap<_, _>>()
    });
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn members(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "size")]
        _size: u32,
    }

    fn read_text(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let error = read::<Sample>(file.path(), |_| Ok(())).expect_err("refused");
        error.to_string().replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn a_mistake_is_reported_with_file_and_line() {
        let unknown = read_text("size = 1\n\nsise = 2\n");
        assert!(unknown.starts_with("FILE:3: unknown field `sise`"), "{unknown}");
        let wrong = read_text("# a comment\nsize = \"big\"\n");
        assert!(wrong.starts_with("FILE:2: invalid type"), "{wrong}");
    }

    #[test]
    fn keys_that_differ_are_named_with_their_section_and_never_their_values() {
        let config = serde_json::json!({ "a": { "b": 1, "c": ["x"], "d": null }, "e": { "f": 1 } });
        assert_eq!(differing_keys(&config, &config), Vec::<String>::new());
        let mut other = config.clone();
        other["a"]["c"] = serde_json::json!(["x", "y"]);
        other["a"]["d"] = serde_json::json!({ "s3cret": 1 });
        other["g"] = serde_json::json!({ "h": 1 });
        assert_eq!(differing_keys(&config, &other), ["a.c", "a.d", "g.h"]);
        assert_eq!(differing_keys(&other, &config), ["a.c", "a.d", "g.h"]);
    }

    #[test]
    fn a_failed_check_names_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "size = 1").expect("written");
        let refused = read::<Sample>(file.path(), |_| anyhow::bail!("too small: make it 2"));
        let sentence = refused.expect_err("refused").to_string();
        assert!(sentence.ends_with("too small: make it 2"), "{sentence}");
    }
}
