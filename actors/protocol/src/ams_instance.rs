use serde::{Deserialize, Serialize};

use crate::{JsonText, Screen};

/// An instance that AMS launched by itself, as far as its session has to know it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AmsInstance {
    /// The id that AMS gave it.
    pub id: String,
    /// Name of the application; empty for an instance of a bare image.
    pub app: String,
    pub app_version: Option<u64>,
    pub screen: Screen,
    /// Passed to the instance unchanged.
    pub extra_data: JsonText,
}

impl AmsInstance {
    /// What [`id`](Self::id) looks like, as a regular expression without anchors.
    pub const ID_PATTERN: &'static str = "[A-Za-z0-9_-]{1,64}";

    /// Returns whether `text` can be the id of an instance: 1 to 64 characters of `A-Za-z0-9_-`.
    /// The ids of AMS have 20.
    pub fn is_id(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=64).contains(&text.len()) && text.bytes().all(plain)
    }
}
