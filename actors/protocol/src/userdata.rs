use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SessionId;

/// The most that AMS hands to an instance, in bytes (`contract.md` 1.6).
pub const MAX_USERDATA_BYTES: usize = 10 * 1024;

/// What an instance finds when it boots: where its agent is, and what it may say there.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct Userdata {
    pub session_id: SessionId,
    pub agent_url: String,
    pub token: String,
    /// SHA-256 of the DER certificates the agent may show, in hex: the present one and the next.
    /// Empty when a balancer with a certificate of its own stands in front.
    pub fingerprints: Vec<String>,
    pub display_width: u32,
    pub display_height: u32,
    pub display_density: u32,
    pub fps: u32,
    pub extra_data: serde_json::Value,
}

impl fmt::Debug for Userdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userdata")
            .field("session_id", &self.session_id)
            .field("agent_url", &self.agent_url)
            .field("token", &"[redacted]")
            .finish_non_exhaustive()
    }
}
