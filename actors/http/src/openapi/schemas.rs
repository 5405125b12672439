//! Schemas of types, as JSON Schema 2020-12 <https://json-schema.org/draft/2020-12>.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

use super::description::MakeSchema;

/// Makes the schemas of one document. What is read may look different from what is written: a
/// member with a default need not be sent, but is always answered.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|it| it.definitions_path = "/components/schemas".into())
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    /// Returns the schema of what clients send.
    pub(super) fn read(&mut self, make: MakeSchema) -> Value {
        tidied(make(&mut self.read).into())
    }

    /// Returns the schema of what they are answered.
    pub(super) fn written(&mut self, make: MakeSchema) -> Value {
        tidied(make(&mut self.written).into())
    }

    /// Returns the schemas that others refer to, by name.
    ///
    /// # Panics
    ///
    /// A name means one thing in what clients send and another one in what they are answered.
    pub(super) fn named(mut self) -> Map<String, Value> {
        let mut named = self.read.take_definitions(true);
        for (name, schema) in self.written.take_definitions(true) {
            if let Some(read) = named.insert(name.clone(), schema.clone()) {
                assert_eq!(read, schema, "{name} is read and written: give one another name");
            }
        }
        named.into_iter().map(|(name, schema)| (name, tidied(schema))).collect()
    }
}

/// Removes what is of no use beside Rust: links to items, all paragraphs of a description but the
/// first, and formats that OpenAPI does not know.
fn tidied(schema: Value) -> Value {
    match schema {
        Value::Object(members) => {
            let known = members.into_iter().filter(|(name, value)| {
                name != "format" || !value.as_str().is_some_and(|format| format.starts_with("uint"))
            });
            let tidied = known.map(|(name, value)| match value {
                Value::String(text) if name == "description" => (name, plain(&text).into()),
                value => (name, tidied(value)),
            });
            Value::Object(tidied.collect())
        }
        Value::Array(parts) => parts.into_iter().map(tidied).collect(),
        value => value,
    }
}

/// Returns the first paragraph of a doc on one line, with the texts of links in their place.
fn plain(doc: &str) -> String {
    let first = doc.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    let mut rest = line.as_str();
    while let Some((before, (label, after))) =
        rest.split_once('[').and_then(|(before, link)| Some((before, link.split_once(']')?)))
    {
        text.push_str(before);
        text.push_str(label);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema, Serialize)]
    struct Volume {
        /// How loud, see [`Level`] and [the scale](crate::scale).
        ///
        /// More for developers.
        #[serde(default)]
        level: u64,
    }

    #[test]
    fn a_schema_says_nothing_that_only_rust_knows() {
        let make = SchemaGenerator::subschema_for::<Volume>;
        let mut schemas = Schemas::new();
        assert_eq!(schemas.read(make), json!({"$ref": "#/components/schemas/Volume"}));
        let level = &schemas.named()["Volume"]["properties"]["level"];
        let expected = json!({
            "description": "How loud, see `Level` and the scale.",
            "type": "integer", "minimum": 0, "default": 0,
        });
        assert_eq!(level, &expected);
    }

    #[test]
    #[should_panic(expected = "Volume is read and written")]
    fn a_name_that_means_two_things_is_refused() {
        let mut schemas = Schemas::new();
        schemas.read(SchemaGenerator::subschema_for::<Volume>);
        schemas.written(SchemaGenerator::subschema_for::<Volume>);
        schemas.named();
    }
}
