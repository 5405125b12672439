//! The configuration of this crate.

use serde::{Deserialize, Serialize};
use stream_protocol::AgentId;

/// Who this unit is and how much it takes on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this unit, unique among the agents of one NATS; keep it across restarts.
    pub name: AgentId,
    /// Region that clients may ask for.
    #[serde(default = "region")]
    pub region: String,
    /// Name of the deployment, put on every instance as a tag: only instances that carry it are
    /// ours to delete.
    #[serde(default = "deployment")]
    pub deployment: String,
    /// URL under which instances reach this unit, or the balancer before it.
    pub url: String,
    /// Whether instances get the fingerprint of our certificate to check. Switch it off when a
    /// balancer with a certificate of its own stands in front.
    #[serde(default = "pin")]
    pub pin: bool,
    /// Sessions this unit takes at most.
    #[serde(default = "capacity")]
    pub capacity: u32,
    /// Seconds an instance may take from its launch until it says that it runs.
    #[serde(default = "boot_timeout_s")]
    pub boot_timeout_s: u64,
    /// Seconds between two sweeps over sessions and instances, 1 to 3600.
    #[serde(default = "sweep_s")]
    pub sweep_s: u64,
    /// Seconds between the two sightings of an instance without a session, or of a session without
    /// an instance, that condemn it.
    #[serde(default = "sighting_s")]
    pub sighting_s: u64,
    /// Seconds after which a unit that gives no sign of life counts as gone, 2 to 60. Half as long
    /// after that its sessions are taken over by other units of its cluster. The same for all
    /// units.
    #[serde(default = "lease_s")]
    pub lease_s: u64,
}

fn region() -> String {
    "cloud-0".to_owned()
}

fn deployment() -> String {
    "default".to_owned()
}

fn pin() -> bool {
    true
}

fn capacity() -> u32 {
    100
}

fn boot_timeout_s() -> u64 {
    300
}

fn sweep_s() -> u64 {
    30
}

fn sighting_s() -> u64 {
    60
}

fn lease_s() -> u64 {
    10
}
