use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgentEndpoint, JsonText, Request, SessionId};

/// The most user data that AMS hands to an instance, in bytes.
pub const MAX_USERDATA_BYTES: usize = 10 * 1024;

/// What an instance finds when it boots: the address of its agent and its token.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct Userdata {
    pub session_id: SessionId,
    pub agent_url: String,
    pub token: String,
    /// SHA-256 of the DER certificates that may be shown at `agent_url`, in hex. Empty when a
    /// balancer with a certificate of its own stands in front.
    pub fingerprints: Vec<String>,
    /// Where agents of the cluster are reached, at most [`MAX_AGENTS`](Self::MAX_AGENTS) of them;
    /// the first one is that of `agent_url`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentEndpoint>,
    pub display_width: u32,
    pub display_height: u32,
    pub display_density: u32,
    pub fps: u32,
    /// What the client gave along, byte for byte.
    pub extra_data: JsonText,
}

impl Userdata {
    /// The most agents that are named; the instance learns the others when it asks one of them.
    pub const MAX_AGENTS: usize = 4;

    /// Returns what the request for a session says. The agent adds its address, its fingerprints
    /// and the token, which are empty here.
    pub fn draft(session_id: SessionId, request: &Request) -> Self {
        let Request { screen, extra_data, .. } = request;
        Self {
            session_id,
            agent_url: String::new(),
            token: String::new(),
            fingerprints: Vec::new(),
            agents: Vec::new(),
            display_width: screen.width,
            display_height: screen.height,
            display_density: screen.density,
            fps: screen.fps,
            extra_data: extra_data.clone(),
        }
    }
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
