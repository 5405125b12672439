//! The configuration of this crate.

use serde::{Deserialize, Serialize};
use stream_protocol::AgentId;

use crate::SessionsError;
use crate::kept_instance::Retention;

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
    /// Whether accounts of operators may have this unit drain through a gateway.
    #[serde(default)]
    pub remote_drain: bool,
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
    /// Seconds in which a client's session that has failed comes back when its instance is started
    /// again, at most 3600; 0 is never.
    #[serde(default = "restart_grace_s")]
    pub restart_grace_s: u64,
    /// Seconds for which the instance of such a session is kept after that, so that its logs can be
    /// read, at most 604800; 0 deletes it at once.
    #[serde(default = "failed_instance_s")]
    pub failed_instance_s: u64,
    /// Such instances that this unit keeps at most, 0 to 1000: the oldest gives way to the next
    /// one, and all to a launch for which AMS has no room. They do not count as sessions.
    #[serde(default = "failed_instances")]
    pub failed_instances: usize,
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`SessionsError::Malformed`] names the key.
    pub fn check(&self) -> Result<(), SessionsError> {
        let bounds = [
            ("restart_grace_s", self.restart_grace_s, 3600),
            ("failed_instance_s", self.failed_instance_s, 7 * 24 * 3600),
            ("failed_instances", self.failed_instances as u64, 1000),
        ];
        match bounds.into_iter().find(|(_, value, most)| value > most) {
            Some((key, value, most)) => {
                Err(SessionsError::Malformed(format!("{key} is {value}, and at most {most}")))
            }
            None => Ok(()),
        }
    }

    /// How long the instances of sessions that failed are kept.
    pub(crate) fn retention(&self) -> Retention {
        match self.failed_instances {
            0 => Retention::NONE,
            _ => Retention {
                restart_grace_s: self.restart_grace_s,
                failed_instance_s: self.failed_instance_s,
            },
        }
    }
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

fn restart_grace_s() -> u64 {
    120
}

fn failed_instance_s() -> u64 {
    3600
}

fn failed_instances() -> usize {
    10
}
