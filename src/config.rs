//! Reads one TOML file, and the environment, into a struct of the actors' configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use crate::config_error::ConfigError;
use crate::config_source::ConfigSource;

/// Reads and checks the file at `path`, with the values of the environment in place of its own;
/// `check` looks at what they name.
///
/// # Errors
///
/// The file cannot be read, a line of it or a variable is not understood, or `check` refuses.
pub fn read<C: DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&C) -> anyhow::Result<()>,
) -> Result<C, ConfigError> {
    read_from(&ConfigSource::read(path)?, check)
}

/// Reads and checks what `source` has, as [`read`] does.
///
/// # Errors
///
/// Those of [`read`].
pub fn read_from<C: DeserializeOwned>(
    source: &ConfigSource,
    check: impl FnOnce(&C) -> anyhow::Result<()>,
) -> Result<C, ConfigError> {
    let config = source.parse()?;
    check(&config).map_err(|error| {
        let problem = format!("{error:#}");
        ConfigError::Refused { place: source.place_of(&problem), problem }
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
