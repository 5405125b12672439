//! What is asked of instances. Go clients send a zero value for what they do not give.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::applications::has_all;
use super::super::envelope::nullable;
use super::Instance;

/// The body of `POST /1.0/instances`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NewInstance {
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) app_id: String,
    pub(super) app_version: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(super) image_id: String,
    pub(super) image_version: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(super) node: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) user_data: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) services: Vec<Value>,
    #[serde(deserialize_with = "nullable")]
    pub(super) resources: Resources,
    #[serde(deserialize_with = "nullable")]
    pub(super) tags: Vec<String>,
    pub(super) config: Value,
    pub(super) source: Option<Source>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) no_start: bool,
}

impl NewInstance {
    pub(crate) fn of(name: &str, application: &str, tags: Vec<String>) -> Self {
        let (name, app_id) = (name.to_owned(), application.to_owned());
        Self { name, app_id, tags, ..Self::default() }
    }
}

/// What an instance may use. Requests and answers spell the size of the disk differently.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Resources {
    #[serde(deserialize_with = "nullable")]
    cpus: u64,
    #[serde(deserialize_with = "nullable")]
    memory: u64,
    #[serde(rename = "disk-size", alias = "disk_size", deserialize_with = "nullable")]
    disk_size: u64,
    #[serde(rename = "gpu-slots", deserialize_with = "nullable")]
    gpu_slots: u64,
    #[serde(rename = "gpu-type", deserialize_with = "nullable")]
    gpu_type: String,
    #[serde(rename = "vpu-slots", deserialize_with = "nullable")]
    vpu_slots: u64,
    #[serde(deserialize_with = "nullable")]
    no_disk_reserve: bool,
}

/// What to make a copy of.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    /// `instance`, of which alone copies are made.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) id: String,
}

/// Which instances a list is to hold; what is empty or missing does not filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    node: String,
    app_id: String,
    app_name: String,
    image_id: String,
    base: Option<bool>,
    app_version: Option<u64>,
    image_version: Option<i64>,
    /// Separated by commas; an instance must have all of them.
    tags: String,
}

impl Filter {
    pub(crate) fn admits(&self, instance: &Instance) -> bool {
        let same = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        same(&self.id, &instance.id)
            && same(&self.name, &instance.name)
            && same(&self.kind, &instance.kind)
            && same(&self.status, &instance.status.to_string())
            && same(&self.node, &instance.node)
            && same(&self.app_id, &instance.app_id)
            && same(&self.app_name, &instance.app_name)
            && same(&self.image_id, &instance.image_id)
            && self.base.is_none_or(|base| base == instance.base)
            && self.app_version.is_none_or(|version| version == instance.app_version)
            && self.image_version.is_none_or(|version| version == instance.image_version)
            && has_all(&self.tags, &instance.tags)
    }
}
