//! The configuration of both services, from a file and the environment.

use std::path::Path;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stream_agent::agent::AgentConfig;
use stream_agent::config_source::ConfigSource;
use stream_agent::effective_config::effective_config;
use stream_agent::gateway::GatewayConfig;

/// Stands between the file and the variables, one a line.
const ENVIRONMENT: &str = "# environment\n";

/// What the reference of a service holds.
struct Reference {
    /// The keys that are required, and nothing else.
    file: String,
    /// Every key as a variable, with its value there.
    keys: Vec<(String, &'static str)>,
}

static REFERENCES: LazyLock<[Reference; 2]> = LazyLock::new(|| {
    let agent = include_str!("../../config/agent.toml");
    let gateway = include_str!("../../config/gateway.toml");
    [agent, gateway].map(Reference::of)
});

/// Texts that are no value of most keys.
const VALUES: [&str; 12] = [
    "",
    "0",
    "-1",
    "18446744073709551616",
    "1.5",
    "true",
    "\"\"",
    "[]",
    "[\"a\", 1]",
    "{ a = 1 }",
    "two\tlines",
    "'''",
];

/// A configuration: what holds is written as a file that means the same, and a fault is told in one
/// line which begins with its place. The bytes are tried as they are, and as a choice of keys.
pub(crate) fn config(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let (file, variables) = text.split_once(ENVIRONMENT).unwrap_or((text, ""));
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        read(file, &variables.collect::<Vec<_>>());
    }
    for Reference { file, keys } in REFERENCES.iter() {
        let variables = variables(&mut Unstructured::new(data), keys).unwrap_or_default();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&name[..], *value)).collect();
        read(file, &variables);
    }
}

impl Reference {
    fn of(text: &'static str) -> Self {
        let (mut section, mut keys) = ("", Vec::new());
        for line in text.lines() {
            let line = line.strip_prefix('#').unwrap_or(line).trim();
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            } else if let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| is_key(key))
            {
                keys.push((format!("STREAM__{section}__{key}").to_uppercase(), value));
            }
        }
        let required = text.lines().filter(|line| !line.starts_with('#'));
        Self { file: required.flat_map(|line| [line, "\n"]).collect(), keys }
    }
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Chooses some of `keys`, as the environment has them.
fn variables<'a>(
    u: &mut Unstructured<'a>,
    keys: &[(String, &'a str)],
) -> Result<Vec<(String, &'a str)>> {
    let mut variables = Vec::new();
    while !u.is_empty() && variables.len() < 8 {
        let (name, value) = u.choose(keys)?;
        let value = match u.int_in_range(0..=3)? {
            0 => *value,
            1 => u.arbitrary()?,
            _ => *u.choose(&VALUES)?,
        };
        variables.push((name.clone(), value));
    }
    Ok(variables)
}

fn read(file: &str, variables: &[(&str, &str)]) {
    survives::<AgentConfig>(file, variables);
    survives::<GatewayConfig>(file, variables);
}

fn survives<C: DeserializeOwned + Serialize>(file: &str, variables: &[(&str, &str)]) {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = ConfigSource::new(Path::new("FILE"), file.to_owned(), owned);
    let config = source.and_then(|source| Ok((source.parse::<C>()?, source)));
    let (config, source) = match config {
        Ok(read) => read,
        Err(error) => {
            let text = error.to_string();
            let places = variables.iter().map(|(name, _)| *name).chain(["FILE"]);
            assert!(places.into_iter().any(|place| text.starts_with(place)), "{text}");
            return assert!(!text.contains('\n'), "{text}");
        }
    };
    let written = effective_config(&config, &source).expect("it has a form");
    let source = ConfigSource::new(Path::new("FILE"), written, []).expect("there is no variable");
    let again: C = source.parse().expect("what is written is read");
    let shown = |config: &C| serde_json::to_value(config).expect("it has a form");
    assert_eq!(shown(&again), shown(&config));
}
