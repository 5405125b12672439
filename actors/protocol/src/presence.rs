use serde::{Deserialize, Serialize};

use crate::AgentId;

/// What an agent says of itself every few seconds; it counts as away when it stops saying so.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Presence {
    pub agent: AgentId,
    pub region: String,
    /// The AMS cluster; empty while AMS has not been reached.
    pub cluster: String,
    pub applications: Vec<Application>,
    /// Names of the images that can be launched without an application.
    #[serde(default)]
    pub images: Vec<String>,
    /// How many more sessions this agent would take.
    pub capacity: u32,
    pub draining: bool,
    /// Why it can launch nothing at the moment, if it cannot.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Version of the program.
    pub version: String,
}

/// An application that can be streamed.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Application {
    pub name: String,
}
