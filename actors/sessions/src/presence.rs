//! Presence: what this unit says of itself every few seconds, and what the gateways go by.

use std::time::{Duration, Instant};

use stream_protocol::subjects::Bucket;
use stream_protocol::{Application, Presence};
use tokio::time::timeout;

use crate::context::AgentContext;

/// What fails for so long is more than a bad moment. What was said before still counts then.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(10);

/// The pause while NATS or AMS are not reached yet.
const RETRY: Duration = Duration::from_millis(500);

impl AgentContext {
    /// A unit that never could launch anything stays silent. One that cannot any more says why: so
    /// clients learn the cause, and not that there is no such application; and its sessions stay
    /// its own.
    pub(crate) async fn run_presence(&self) {
        let mut last_good: Option<(Presence, Instant)> = None;
        let mut last_published: Option<Instant> = None;
        let mut catalogue = self.dependencies.ams.catalogue();
        let mut orders = self.drain.watch();
        loop {
            orders.borrow_and_update();
            // However long AMS takes: a unit that stays silent loses its sessions.
            let presence = timeout(self.lease() / 4, self.presence()).await;
            let slow = |_| Err("its parts take too long to answer".to_owned());
            let (now, ready) = match presence.unwrap_or_else(slow) {
                Ok(presence) => {
                    last_good = Some((presence.clone(), Instant::now()));
                    (Some(presence), true)
                }
                Err(why) => {
                    log::debug!("this agent can launch nothing: {why}");
                    let last = last_good.as_ref().map(|(last, since)| {
                        let unavailable = (since.elapsed() >= UNAVAILABLE_AFTER).then_some(why);
                        let draining = self.drain.is_draining();
                        Presence { unavailable, draining, ..last.clone() }
                    });
                    (last, false)
                }
            };
            let published = match &now {
                Some(presence) => self.announce(presence).await,
                None => false,
            };
            if published
                && last_published
                    .replace(Instant::now())
                    .is_some_and(|last| last.elapsed() >= self.lease())
            {
                self.lease_expired.notify_one();
            }
            let pause = if ready && published { self.lease() / 4 } else { RETRY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Earlier when there is something new to say.
                _ = catalogue.changed() => {}
                Ok(()) = orders.changed() => {}
            }
        }
    }

    async fn announce(&self, presence: &Presence) -> bool {
        let (bucket, key) = (Bucket::Agents, self.agent().as_str());
        let put = self.dependencies.bridge.put_with_ttl(bucket, key, presence, self.lease());
        put.await.inspect_err(|error| log::debug!("no presence: {error}")).is_ok()
    }

    /// Says that this unit is gone, as far as that can be said now.
    pub(crate) async fn withdraw_presence(&self) {
        let left = self.dependencies.bridge.remove(Bucket::Agents, self.agent().as_str());
        if let Err(error) = left.await {
            log::debug!("others notice by themselves that this unit is gone: {error}");
        }
    }

    /// What there is to say, or why this unit can launch nothing.
    async fn presence(&self) -> Result<Presence, String> {
        self.dependencies.tokens.ready().await.map_err(|error| error.to_string())?;
        self.dependencies.turn.ready().await.map_err(|error| error.to_string())?;
        let ams = &self.dependencies.ams;
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
            capacity: self.free_capacity(),
            draining: self.drain.is_draining(),
            unavailable: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}
