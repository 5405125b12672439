//! A bridge to a simulated NATS server, where the time is simulated as well.

use std::sync::Arc;

use bytes::Bytes;
use stream_supervisor::{Limits, Mode, Recipient, RestartPolicy, Supervisor};

use crate::backend::Backend;
use crate::log_watch::LogWatch;
use crate::metrics::NatsMetrics;
use crate::reached::Reached;
use crate::stand_in::StandIn;
use crate::store_clock::StoreClock;
use crate::{Bridge, IncomingRequest, timeline};

pub use crate::simulated_server::{
    Answer, Expected, LogReach, Published, ServerTime, SimulatedServer, Stored,
};

impl Bridge {
    /// Starts a bridge to a simulated `server`, which needs no configuration.
    pub fn simulated(server: Arc<dyn SimulatedServer>, supervisor: &Supervisor) -> Self {
        let (clock, metrics) = (StoreClock::default(), NatsMetrics::default());
        let limits = Limits { mailbox_capacity: 8192, max_concurrent: 1024, ..Limits::default() };
        let (listener, reached) = (timeline::Listener::default(), Reached::default());
        let kept = (clock.clone(), LogWatch::default(), reached.clone());
        let factory = move || {
            let (server, (clock, log_watch, reached)) = (Arc::clone(&server), kept.clone());
            StandIn { server, clock, log_watch, reached }
        };
        let (mode, policy) = (Mode::KeepInFlight, RestartPolicy::default());
        let mailbox = supervisor.spawn("bridge", mode, policy, limits, factory);
        Self(Backend::Simulated(mailbox), clock, metrics, listener, reached)
    }
}

impl IncomingRequest {
    /// Makes a request of a simulated server, and tells it `to` somebody; the answer is given to
    /// `take`. Returns whether it was taken.
    pub fn tell(
        subject: String,
        body: Bytes,
        take: impl Fn(Vec<u8>) + Send + Sync + 'static,
        to: &Recipient<Self>,
    ) -> bool {
        to.tell(Self::simulated(subject, body, take)).is_ok()
    }
}
