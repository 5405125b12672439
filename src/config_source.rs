//! A configuration file, what the environment puts over it, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::config_error::ConfigError;

/// `STREAM__SECTION__KEY` is the value of `key` in `[section]`.
const PREFIX: &str = "STREAM__";

const WHOLE: &str = "expected a whole number";

/// Where a value comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    Default,
    /// The variable of the environment with this name.
    Environment(String),
    /// The line of this number in the file.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// What a configuration is read from.
pub struct ConfigSource {
    path: PathBuf,
    text: String,
    overrides: Vec<Override>,
}

/// A value of the environment.
struct Override {
    name: String,
    section: String,
    key: String,
    text: String,
}

impl ConfigSource {
    /// Reads the file at `path`, and the environment of this process.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a variable names no key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        // What is no text is no name of ours, or no value.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::new(path, text, variables)
    }

    /// Takes `text` for what the file at `path` holds, and `variables` for the environment.
    ///
    /// # Errors
    ///
    /// A variable names no key.
    pub fn new(
        path: &Path,
        text: String,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let of_ours = |(name, value): (String, String)| {
            let rest = name.strip_prefix(PREFIX)?.to_lowercase();
            let words: Vec<_> = rest.split("__").filter(|word| !word.is_empty()).collect();
            Some(match words[..] {
                [section, key] => {
                    let (section, key) = (section.to_owned(), key.to_owned());
                    Ok(Override { name, section, key, text: value })
                }
                _ => Err(ConfigError::Malformed {
                    place: name,
                    problem: format!("name a section and a key of it, {PREFIX}SECTION__KEY"),
                }),
            })
        };
        let overrides = variables.into_iter().filter_map(of_ours).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), text, overrides })
    }

    /// Returns what is configured.
    ///
    /// # Errors
    ///
    /// Names the line or the variable that is not understood.
    pub fn parse<C: DeserializeOwned>(&self) -> Result<C, ConfigError> {
        let read =
            self.document().and_then(|document| C::deserialize(Deserializer::from(document)));
        read.map_err(|error| {
            let problem = error.message().replace('\n', " ");
            // As the parser calls them.
            let problem = ["usize", "u16", "u32", "u64"]
                .iter()
                .fold(problem, |text, kind| text.replace(&format!("expected {kind}"), WHOLE));
            let place = error.span().map(|span| self.place(span.start));
            let (place, problem) = match (place, error.span()) {
                (Some(place @ Origin::File(..)), Some(span)) => {
                    let key = self.key_at(span.start).map(|key| format!("{key}: "));
                    (place.to_string(), key.unwrap_or_default() + &problem)
                }
                (Some(place), _) => (place.to_string(), problem),
                (None, _) => (self.path.display().to_string(), problem),
            };
            ConfigError::Malformed { place, problem }
        })
    }

    /// The key whose value stands at `start` in the file, with its section.
    fn key_at(&self, start: usize) -> Option<String> {
        let document = DeTable::parse(&self.text).ok()?;
        document.get_ref().iter().find_map(|(section, keys)| {
            let mut keys = keys.get_ref().as_table()?.iter();
            let (key, _) = keys.find(|(_, value)| value.span().contains(&start))?;
            Some(format!("{}.{}", section.get_ref(), key.get_ref()))
        })
    }

    /// The file with the values of the environment in it. These stand behind the end of the text,
    /// so that a place tells which one it is.
    fn document(&self) -> Result<Spanned<DeTable<'_>>, toml::de::Error> {
        let mut document = DeTable::parse(&self.text)?;
        for (number, Override { section, key, text, .. }) in self.overrides.iter().enumerate() {
            let place = self.text.len() + 1 + number;
            let at = |value| Spanned::new(place..place, value);
            // What is no value of TOML is text: a path, a word.
            let value = DeValue::parse(text).map(Spanned::into_inner);
            let value = value.unwrap_or_else(|_| DeValue::String(text.as_str().into()));
            let table = document
                .get_mut()
                .entry(Spanned::new(place..place, section.as_str().into()))
                .or_insert_with(|| at(DeValue::Table(DeTable::new())));
            let DeValue::Table(table) = table.get_mut() else {
                return Err(toml::de::Error::custom(format!("{section} is no section")));
            };
            table.remove(key.as_str());
            table.insert(Spanned::new(place..place, key.as_str().into()), at(value));
        }
        Ok(document)
    }

    fn place(&self, start: usize) -> Origin {
        let variable = start.checked_sub(self.text.len() + 1);
        match variable.and_then(|number| self.overrides.get(number)) {
            Some(variable) => Origin::Environment(variable.name.clone()),
            None => {
                let before = &self.text.as_bytes()[..start.min(self.text.len())];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                Origin::File(self.path.clone(), line)
            }
        }
    }

    /// Where the value of `key` in `section` comes from.
    pub fn origin(&self, section: &str, key: &str) -> Origin {
        let found = self.keys(section).remove(key);
        found.map_or(Origin::Default, |(origin, _)| origin)
    }

    /// The keys that are set in a section: where, and to which text if it is one.
    fn keys(&self, section: &str) -> BTreeMap<String, (Origin, Option<String>)> {
        let Ok(document) = self.document() else { return BTreeMap::new() };
        let Some(table) = document.get_ref().get(section) else { return BTreeMap::new() };
        let Some(table) = table.get_ref().as_table() else { return BTreeMap::new() };
        let keys = table.iter().map(|(key, value)| {
            let text = value.get_ref().as_str().map(str::to_owned);
            (key.get_ref().to_string(), (self.place(key.span().start), text))
        });
        keys.collect()
    }

    /// Where to look for what `problem` tells of a section in brackets: at the key that it names,
    /// or whose value it tells. In doubt this is the file.
    pub fn place_of(&self, problem: &str) -> String {
        let file = || self.path.display().to_string();
        let Some((section, rest)) = problem.strip_prefix('[').and_then(|it| it.split_once(']'))
        else {
            return file();
        };
        let keys = self.keys(section);
        let mut words = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named = words.find_map(|word| keys.get(word));
        let told = || {
            // The longest: one path may begin as another one does.
            let told = keys.values().filter(|(_, text)| {
                text.as_deref().is_some_and(|text| text.len() > 2 && rest.contains(text))
            });
            told.max_by_key(|(_, text)| text.as_deref().map_or(0, str::len))
        };
        // A word such as `key` is in many sentences, and a value in one.
        told().or(named).map_or_else(file, |(origin, _)| origin.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        nats: Nats,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Nats {
        token: String,
        #[serde(default)]
        replicas: u32,
        #[serde(default)]
        servers: Vec<String>,
    }

    const FILE: &str = "[nats]\n# a comment\ntoken = \"/tok\"\nreplicas = 3\n";

    fn source(variables: &[(&str, &str)]) -> Result<ConfigSource, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        ConfigSource::new(Path::new("FILE"), FILE.to_owned(), variables)
    }

    fn read(variables: &[(&str, &str)]) -> Result<Nats, String> {
        let read = source(variables).and_then(|source| source.parse::<Sample>());
        read.map(|sample| sample.nats).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_holds_over_the_file_and_is_read_as_toml_or_as_text() {
        let nats = read(&[
            ("STREAM__NATS__TOKEN", "/run/secrets/nats"),
            ("STREAM__NATS__REPLICAS", "5"),
            ("STREAM__NATS__SERVERS", r#"["tls://a:1", "tls://b:2"]"#),
            ("STREAM_OTHER", "x"),
        ]);
        let servers = vec!["tls://a:1".to_owned(), "tls://b:2".to_owned()];
        let token = "/run/secrets/nats".to_owned();
        assert_eq!(nats, Ok(Nats { token, replicas: 5, servers }));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_or_its_variable() {
        let error = read(&[("STREAM__NATS__REPLICAS", "many")]).expect_err("no number");
        assert!(error.starts_with("STREAM__NATS__REPLICAS: invalid type"), "{error}");
        let error = read(&[("STREAM__NATS__TOKENS", "x")]).expect_err("no key");
        assert!(error.starts_with("STREAM__NATS__TOKENS: unknown field `tokens`"), "{error}");
        let error = read(&[("STREAM__AMS__URL", "x")]).expect_err("no section");
        assert!(error.starts_with("STREAM__AMS__URL: unknown field `ams`"), "{error}");
        let error = read(&[("STREAM__NATS", "x")]).expect_err("no key");
        assert!(error.contains("STREAM__SECTION__KEY"), "{error}");
    }

    #[test]
    fn a_value_of_another_kind_is_named_by_its_key() {
        let text = FILE.replace("= 3", "= \"three\"");
        let source = ConfigSource::new(Path::new("FILE"), text, []).expect("read");
        let error = source.parse::<Sample>().expect_err("no number").to_string();
        let sentence =
            "FILE:4: nats.replicas: invalid type: string \"three\", expected a whole number";
        assert_eq!(error, sentence);
    }

    #[test]
    fn each_value_has_an_origin() {
        let source = source(&[("STREAM__NATS__REPLICAS", "5")]).expect("read");
        let line = Origin::File(PathBuf::from("FILE"), 3);
        assert_eq!(source.origin("nats", "token"), line);
        let variable = Origin::Environment("STREAM__NATS__REPLICAS".to_owned());
        assert_eq!(source.origin("nats", "replicas"), variable);
        assert_eq!(source.origin("nats", "servers"), Origin::Default);
        assert_eq!(source.origin("turn", "stun"), Origin::Default);
    }

    #[test]
    fn a_refused_value_is_found_by_its_key_or_by_what_it_is() {
        let source = source(&[]).expect("read");
        assert_eq!(source.place_of("[nats]: replicas is 1 to 5"), "FILE:4");
        assert_eq!(source.place_of("[nats]: nats.replicas is 1 to 5"), "FILE:4");
        assert_eq!(source.place_of("[nats]: file /tok: no such file"), "FILE:3");
        assert_eq!(source.place_of("[ams]: url is missing"), "FILE");
        assert_eq!(source.place_of("too small"), "FILE");
    }
}
