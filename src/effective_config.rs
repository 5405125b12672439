//! The configuration that holds, as a file would have it, with where each value comes from.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config_source::ConfigSource;

/// Longer values stand before their origin without being aligned.
const MAX_ALIGNED: usize = 60;

/// Returns `config`, which was read from `source`, as TOML: a comment behind each value says where
/// it comes from. What has no value is a comment of its own.
///
/// # Errors
///
/// A value has no form in TOML.
pub fn effective_config<C: Serialize>(config: &C, source: &ConfigSource) -> anyhow::Result<String> {
    let sections: Map<String, Value> = serde_json::from_value(serde_json::to_value(config)?)?;
    let mut rows = Vec::new();
    for (section, keys) in &sections {
        let Value::Object(keys) = keys else { continue };
        rows.push((format!("[{section}]"), None));
        for (key, value) in keys {
            let origin = source.origin(section, key).to_string();
            rows.push(match value {
                Value::Null => (format!("#{key}"), Some("not set".to_owned())),
                value => (format!("{key} = {}", toml_text(value)?), Some(origin)),
            });
        }
    }
    let lengths = rows.iter().map(|(text, _)| text.chars().count());
    let width = lengths.filter(|length| *length <= MAX_ALIGNED).max().unwrap_or(0);
    let lines = rows.into_iter().enumerate().map(|(number, (text, origin))| match origin {
        Some(origin) => format!("{text:width$}  # {origin}\n"),
        None if number == 0 => format!("{text}\n"),
        None => format!("\n{text}\n"),
    });
    Ok(lines.collect())
}

/// Returns a value in one line.
fn toml_text(value: &Value) -> anyhow::Result<String> {
    Ok(toml::Value::try_from(without_nulls(value.clone()))?.to_string())
}

/// TOML has no null: what has no value is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}
