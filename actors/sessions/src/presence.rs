//! Presence: what this unit says of itself every few seconds, and what the gateways go by.

use std::time::{Duration, Instant};

use stream_protocol::subjects::Bucket;
use stream_protocol::{Application, Presence};

use crate::unit::Unit;

/// A third of the time after which a silent agent counts as away.
const PERIOD: Duration = Duration::from_secs(5);

/// What fails for so long is more than a bad moment. What was said before still counts then.
const MOMENT: Duration = Duration::from_secs(10);

/// The pause while NATS or AMS are not reached yet.
const AWAY: Duration = Duration::from_millis(500);

impl Unit {
    /// A unit that never could launch anything stays silent. One that cannot any more says why: so
    /// clients learn the cause, and not that there is no such application.
    pub(crate) async fn announce_for_ever(&self) {
        let mut able: Option<(Presence, Instant)> = None;
        let mut catalogue = self.neighbours.ams.catalogue();
        loop {
            let now = match self.presence().await {
                Ok(presence) => Some(presence),
                Err(why) => {
                    log::debug!("this agent can launch nothing: {why}");
                    let long = able.as_ref().filter(|(_, since)| since.elapsed() >= MOMENT);
                    long.map(|(last, _)| Presence { unavailable: Some(why), ..last.clone() })
                }
            };
            let ready = now.as_ref().is_some_and(|presence| presence.unavailable.is_none());
            let told = match &now {
                Some(presence) => self.announce(presence).await,
                None => false,
            };
            if ready {
                able = now.map(|presence| (presence, Instant::now()));
            }
            let pause = if ready && told { PERIOD } else { AWAY };
            // Earlier when there is something new to launch.
            let _ = tokio::time::timeout(pause, catalogue.changed()).await;
        }
    }

    async fn announce(&self, presence: &Presence) -> bool {
        let put = self.neighbours.bridge.put(Bucket::Agents, self.agent().as_str(), presence);
        let put = put.await.inspect_err(|error| log::debug!("no presence: {error}"));
        put.is_ok()
    }

    /// What there is to say, or why this unit can launch nothing.
    async fn presence(&self) -> Result<Presence, String> {
        self.neighbours.tokens.ready().await.map_err(|error| error.to_string())?;
        self.neighbours.turn.ready().await.map_err(|error| error.to_string())?;
        let ams = &self.neighbours.ams;
        let cluster = ams.cluster().await.map_err(|error| error.to_string())?;
        let applications = ams.applications().await.map_err(|error| error.to_string())?;
        let names =
            applications.into_iter().map(|application| Application { name: application.name });
        Ok(Presence {
            agent: self.agent().clone(),
            region: self.config.region.clone(),
            cluster: cluster.id,
            applications: names.collect(),
            images: ams.images().await.map_err(|error| error.to_string())?,
            capacity: self.free(),
            draining: false,
            unavailable: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}
