//! What an instance can do beyond what every one does, as it says in its first report.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

/// One thing that an instance can do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It serves ADB to the peers in its commands.
    Adb,
    /// It lets a client do no more than the [`Role`](crate::Role) in its commands.
    Roles,
}

impl Capability {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "adb" => Some(Self::Adb),
            "roles" => Some(Self::Roles),
            _ => None,
        }
    }
}

/// What an instance can do. Words that this version does not know are left out when it is read, so
/// it never holds more than there are words.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Ok(words.iter().filter_map(|word| Capability::parse(word)).collect())
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Capabilities {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Capabilities".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Words; `roles`: the instance lets a client do no more than its role; \
                `adb`: it serves ADB to the peers in its commands. Others are ignored",
            "type": "array",
            "items": { "type": "string" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_capability() {
        let read = |text: &str| serde_json::from_str::<Capabilities>(text).unwrap();
        for capability in [Capability::Adb, Capability::Roles] {
            let alone: Capabilities = [capability].into_iter().collect();
            assert_eq!(read(&serde_json::to_string(&alone).unwrap()), alone);
        }
    }

    #[test]
    fn words_that_are_not_known_are_left_out_and_known_ones_survive_the_wire() {
        let read = |text: &str| serde_json::from_str::<Capabilities>(text);
        let both = read(r#"["teleport","roles","roles"]"#).unwrap();
        assert!(both.has(Capability::Roles));
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"["roles"]"#);
        assert!(!read("[]").unwrap().has(Capability::Roles));
        assert!(read("[1]").is_err() && read(r#""roles""#).is_err());
    }
}
