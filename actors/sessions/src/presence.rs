//! Presence: what this unit says of itself every few seconds, and what the gateways go by.

use std::time::Duration;

use stream_protocol::subjects::Bucket;
use stream_protocol::{Application, Presence};

use crate::unit::Unit;

/// A third of the time after which a silent agent counts as away.
const PERIOD: Duration = Duration::from_secs(5);

/// The pause while NATS or AMS are not reached yet.
const AWAY: Duration = Duration::from_millis(500);

impl Unit {
    pub(crate) async fn announce_for_ever(&self) {
        loop {
            let pause = match self.announce().await {
                Ok(()) => PERIOD,
                Err(why) => {
                    log::debug!("no presence: {why}");
                    AWAY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// An agent that has no keys yet or does not reach its AMS stays silent: it could launch nothing.
    async fn announce(&self) -> Result<(), String> {
        self.neighbours.tokens.ready().await.map_err(|error| error.to_string())?;
        self.neighbours.turn.ready().await.map_err(|error| error.to_string())?;
        let ams = &self.neighbours.ams;
        let cluster = ams.cluster().await.map_err(|error| error.to_string())?;
        let applications = ams.applications().await.map_err(|error| error.to_string())?;
        let names =
            applications.into_iter().map(|application| Application { name: application.name });
        let presence = Presence {
            agent: self.agent().clone(),
            region: self.config.region.clone(),
            cluster: cluster.id,
            applications: names.collect(),
            capacity: self.free(),
            draining: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let put = self.neighbours.bridge.put(Bucket::Agents, self.agent().as_str(), &presence);
        put.await.map(drop).map_err(|error| error.to_string())
    }
}
