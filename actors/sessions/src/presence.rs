//! Presence: what this agent says of itself every few seconds, and what the gateways go by.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_protocol::Presence;
use stream_protocol::subjects::Bucket;
use stream_supervisor::Backoff;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout};

use crate::catalogue::Catalogue;
use crate::context::AgentContext;
use crate::served_sessions::ServedSessions;

/// How long this agent keeps publishing its last good presence while it can launch nothing. From
/// then on it publishes why it is unavailable.
const UNAVAILABLE_AFTER: Duration = Duration::from_secs(10);

/// The pauses while NATS or AMS are not reached. No gateway sees an agent that has just started
/// before they are.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// Decides what this agent publishes of itself. Pure: time comes in.
///
/// An agent that never could launch anything stays silent. One that cannot any more says why, so
/// that clients learn the cause and its sessions stay its own.
#[derive(Default)]
pub(crate) struct PresenceTracker {
    /// What was published when all was well, and when.
    last_good: Option<(Presence, Instant)>,
    last_published: Option<Instant>,
    /// Whether this agent has said that it is gone.
    withdrawn: bool,
}

impl PresenceTracker {
    /// Takes in what there is to say, or why this agent can launch nothing. Returns what to
    /// publish.
    fn observe(
        &mut self,
        checked: Result<Presence, String>,
        draining: bool,
        now: Instant,
    ) -> Option<Presence> {
        if self.withdrawn {
            return None;
        }
        let why = match checked {
            Ok(presence) => {
                self.last_good = Some((presence.clone(), now));
                return Some(presence);
            }
            Err(why) => why,
        };
        let (last, since) = self.last_good.as_ref()?;
        let unavailable = (now.duration_since(*since) >= UNAVAILABLE_AFTER).then_some(why);
        Some(Presence { unavailable, draining, ..last.clone() })
    }

    /// Notes that presence was published. Returns whether the one before was older than `lease`, so
    /// that others may have taken over.
    fn on_published(&mut self, lease: Duration, now: Instant) -> bool {
        let before = self.last_published.replace(now);
        before.is_some_and(|before| now.duration_since(before) >= lease)
    }
}

/// Publishes the presence of this agent.
pub(crate) struct PresencePublisher {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) served: ServedSessions,
    pub(crate) tracker: Arc<Mutex<PresenceTracker>>,
    /// Told when others may have taken over.
    pub(crate) lease_expired: Rc<Notify>,
}

impl PresencePublisher {
    /// Publishes four times per lease, and at once when the catalogue or a drain changes.
    pub(crate) async fn run(&self) {
        let lease = self.context.lease();
        let mut changes = self.context.deps.ams.catalogue();
        let mut catalogue = Catalogue::new(Arc::clone(&self.context));
        let mut orders = self.context.drain.watch();
        let mut failures = 0u32;
        loop {
            orders.borrow_and_update();
            // However long AMS takes: an agent that stays silent loses its sessions.
            let checked = timeout(lease / 4, self.check(&mut catalogue)).await;
            let checked =
                checked.unwrap_or_else(|_| Err("its parts take too long to answer".to_owned()));
            let published = self.publish(checked).await;
            failures = if published { 0 } else { failures.saturating_add(1) };
            let pause = if published { lease / 4 } else { RETRY.after(failures) };
            tokio::select! {
                biased;
                () = self.context.deps.bridge.reached_within(pause) => {}
                _ = changes.changed() => catalogue.invalidate(),
                Ok(()) = orders.changed() => {}
            }
        }
    }

    /// Returns whether a good presence was published.
    async fn publish(&self, checked: Result<Presence, String>) -> bool {
        let (context, lease) = (&self.context, self.context.lease());
        if let Err(why) = &checked {
            log::debug!(cause:% = why; "this agent can launch nothing");
        }
        let good = checked.is_ok();
        // Held until it is published, so that nothing is published after a withdrawal.
        let mut tracker = self.tracker.lock().await;
        let draining = context.drain.is_draining();
        let Some(presence) = tracker.observe(checked, draining, Instant::now()) else {
            return false;
        };
        let (bucket, key) = (Bucket::Agents, context.agent().as_str());
        let put = context.deps.bridge.put_with_ttl(bucket, key, &presence, lease);
        if let Err(error) = put.await {
            log::debug!(error:%; "no presence is published");
            return false;
        }
        if tracker.on_published(lease, Instant::now()) {
            self.lease_expired.notify_one();
        }
        good
    }

    /// Returns what there is to say, or why this agent can launch nothing.
    async fn check(&self, catalogue: &mut Catalogue) -> Result<Presence, String> {
        let (config, deps) = (&self.context.config, &self.context.deps);
        deps.tokens.ready().await.map_err(|error| error.to_string())?;
        deps.turn.ready().await.map_err(|error| error.to_string())?;
        let cluster = deps.ams.cluster().await.map_err(|error| error.to_string())?;
        Ok(Presence {
            agent: config.name.clone(),
            region: config.region.clone(),
            cluster: cluster.id,
            catalogue: catalogue.publish().await?,
            capacity: self.served.free_capacity(config.capacity),
            draining: self.context.drain.is_draining(),
            unavailable: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stun_servers: deps.turn.stun_servers(&config.region),
        })
    }
}

/// Says that this agent is gone, as far as that can be said now. Nothing is published after it.
pub(crate) async fn withdraw(context: &AgentContext, tracker: &Mutex<PresenceTracker>) {
    let mut tracker = tracker.lock().await;
    tracker.withdrawn = true;
    for bucket in [Bucket::Agents, Bucket::Endpoints] {
        let removed = context.deps.bridge.remove(bucket, context.agent().as_str());
        if let Err(error) = removed.await {
            log::debug!(error:%; "others notice by themselves that this agent is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn presence() -> Presence {
        Presence {
            agent: "a".parse().unwrap(),
            region: String::new(),
            cluster: "c".to_owned(),
            catalogue: String::new(),
            capacity: 3,
            draining: false,
            unavailable: None,
            version: "1".to_owned(),
            stun_servers: Vec::new(),
        }
    }

    fn failed() -> Result<Presence, String> {
        Err("AMS is away".to_owned())
    }

    #[test]
    fn an_agent_that_never_could_launch_stays_silent() {
        let (mut tracker, now) = (PresenceTracker::default(), Instant::now());
        assert!(tracker.observe(failed(), false, now).is_none());
        assert!(tracker.observe(failed(), false, now + 2 * UNAVAILABLE_AFTER).is_none());
    }

    #[test]
    fn the_last_good_presence_is_published_for_a_while_and_then_with_the_cause() {
        let (mut tracker, start) = (PresenceTracker::default(), Instant::now());
        tracker.observe(Ok(presence()), false, start);
        let soon = tracker.observe(failed(), true, start + UNAVAILABLE_AFTER / 2).unwrap();
        assert_eq!((soon.capacity, soon.unavailable, soon.draining), (3, None, true));
        let late = tracker.observe(failed(), false, start + UNAVAILABLE_AFTER).unwrap();
        assert_eq!(late.unavailable.as_deref(), Some("AMS is away"));
        let back = tracker.observe(Ok(presence()), false, start + 2 * UNAVAILABLE_AFTER).unwrap();
        assert_eq!(back.unavailable, None);
    }

    #[test]
    fn a_silence_of_a_lease_is_noticed_and_a_shorter_one_is_not() {
        let (mut tracker, start) = (PresenceTracker::default(), Instant::now());
        assert!(!tracker.on_published(LEASE, start), "the first one");
        assert!(!tracker.on_published(LEASE, start + LEASE / 2));
        assert!(tracker.on_published(LEASE, start + LEASE * 3 / 2));
    }

    #[test]
    fn nothing_is_published_after_a_withdrawal() {
        let (mut tracker, now) = (PresenceTracker::default(), Instant::now());
        tracker.withdrawn = true;
        assert!(tracker.observe(Ok(presence()), false, now).is_none());
    }
}
