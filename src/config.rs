//! Reads one TOML file into a struct of the actors' configurations.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

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
    fn a_failed_check_names_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "size = 1").expect("written");
        let refused = read::<Sample>(file.path(), |_| anyhow::bail!("too small: make it 2"));
        let sentence = refused.expect_err("refused").to_string();
        assert!(sentence.ends_with("too small: make it 2"), "{sentence}");
    }
}
