//! The operator's side of a running service: a UNIX socket on which the command line asks how the
//! actors are and has done what no client may.
//!
//! Asked by operators through [`Client`]: one connection carries one request, a line of JSON, and
//! its answer, another line. The directory of the socket is closed to others, and the peer must run
//! as the same user or as root. Every service answers `status`, `drain` and `crash`; what else
//! there is, it says itself when it starts ([`Admin::start`]). Asks the supervisor, and whoever the
//! service asks on its part. A restart loses nothing: operators that connect meanwhile wait in the
//! queue of the socket, and what is in hand is answered.

mod actor;
mod builtin;
mod client;
mod error;
mod listener;
mod status_table;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stream_protocol::Refusal;
use stream_supervisor::{Drain, Supervisor};

pub use builtin::{DrainStatus, Fault, InjectFault};
pub use client::{Client, ClientError};
pub use error::AdminError;
pub use status_table::{ActorReport, FailureReport, StatusReport, moment};

use builtin::Dependencies;
use listener::AdminSocket;

/// Where operators find the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The UNIX socket. Its directory is made when it is missing and must be closed to others
    /// (mode 0700).
    pub socket: PathBuf,
    /// How long the service may take to end in order when it is told to, by a signal or with
    /// `drain` and no other deadline, in seconds. Default 60.
    #[serde(default = "drain_s")]
    pub drain_s: u64,
}

fn drain_s() -> u64 {
    60
}

impl Config {
    /// How long the service may take to end in order.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
}

/// What only a service under test does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// Whether `crash` is done, which makes an actor fail. Default: it is refused.
    pub fault_injection: Option<FaultInjection>,
}

/// The one value that allows it, spelled out so that nobody sets it by accident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FaultInjection {
    #[serde(rename = "yes_for_test_purposes_only")]
    YesForTestPurposesOnly,
}

/// The running socket; cheap to clone.
#[derive(Clone)]
pub struct Admin(AdminSocket);

impl Admin {
    /// Binds the socket and answers on it under `supervisor`. An order to drain is given to
    /// `drain`. A request that not every service takes is read as an `R`, by its member `op`, and
    /// answered by `handler`.
    ///
    /// Refuses a directory that is open to others and a socket on which somebody answers already.
    /// Needs a running actix system.
    pub fn start<R, F>(
        config: Config,
        debug: Debug,
        supervisor: &Supervisor,
        drain: &Drain,
        handler: impl Fn(R) -> F + Clone + Send + 'static,
    ) -> Result<Self, AdminError>
    where
        R: DeserializeOwned + 'static,
        F: Future<Output = Result<Value, Refusal>> + 'static,
    {
        let socket = AdminSocket::bind(&config.socket)?;
        let deps = Dependencies {
            debug,
            drain_timeout: config.drain(),
            supervisor: supervisor.clone(),
            drain: drain.clone(),
        };
        actor::start(socket.clone(), deps, handler);
        Ok(Self(socket))
    }

    /// Takes the socket out of the file system: nobody finds the service any more.
    pub fn remove(&self) {
        self.0.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_injected_only_where_that_is_spelled_out() {
        let parse = |text: &str| serde_json::from_str::<Debug>(text);
        assert_eq!(parse("{}").unwrap().fault_injection, None);
        let allowed = parse(r#"{"fault_injection":"yes_for_test_purposes_only"}"#).unwrap();
        assert_eq!(allowed.fault_injection, Some(FaultInjection::YesForTestPurposesOnly));
        for wrong in [r#"{"fault_injection":"yes"}"#, r#"{"fault_injection":true}"#, r#"{"x":1}"#] {
            assert!(parse(wrong).is_err(), "{wrong} passed");
        }
    }
}
