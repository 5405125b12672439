//! The operator's side of a running service: the command line reads the status of the actors from a
//! UNIX socket and orders there what no client may.
//!
//! Operators ask through [`Client`]. A connection carries one request, a line of JSON, and its
//! answer, another line. The directory of the socket is closed to others (mode 0700), and the peer
//! must run as the same user or as root. Every service answers `status`, `drain`, `draining`,
//! `cancel_drain` and `crash`; the handler given to [`Admin::start`] answers the others. The actor
//! asks the supervisor, and whoever that handler asks.
//!
//! | part | on restart | why |
//! |---|---|---|
//! | listening socket | kept | operators that connect meanwhile wait in its queue |
//! | requests in hand | kept | their answers own all they need |
//! | task that accepts connections | rebuilt | it is all the state there is |

mod actor;
mod builtin;
mod client;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
mod status_table;
mod table;
mod wire;
mod witness;

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
pub use table::table;
pub use witness::{Order, Witness};

use builtin::Dependencies;
use listener::AdminSocket;

/// Where operators find the service.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The path of the UNIX socket. Its directory is made when it is missing and must be closed to
    /// others (mode 0700).
    pub socket: PathBuf,
    /// How long a drain may take, in seconds, when it is ordered by a signal or without a deadline
    /// of its own. Default 60.
    #[serde(default = "drain_s")]
    pub drain_s: u64,
}

fn drain_s() -> u64 {
    60
}

impl Config {
    /// Returns [`drain_s`](Self::drain_s) as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
}

/// What only a service under test allows.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// Whether `crash`, which makes an actor fail, is allowed. By default it is refused.
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
    /// Binds the socket and starts the actor that answers on it. An order to drain goes to `drain`.
    /// A request that not every service takes is read as an `R`, by its member `op`, and goes to
    /// `handler`. The `witness` hears of each of them. Needs a running actix system.
    ///
    /// # Errors
    ///
    /// [`AdminError::InUse`] if a service answers on the socket already; [`AdminError::Socket`] if
    /// the directory is open to others or the socket cannot be made.
    pub fn start<R, F>(
        config: Config,
        debug: Debug,
        supervisor: &Supervisor,
        drain: &Drain,
        witness: impl Witness,
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
        actor::start(socket.clone(), deps, witness, handler);
        Ok(Self(socket))
    }

    /// Removes the socket from the file system: no operator finds the service any more.
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
