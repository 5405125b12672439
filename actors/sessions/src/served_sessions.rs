//! The sessions that this agent serves: their requests are subscribed, their instances indexed,
//! their launches marked while they run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use stream_bridge::{Bridge, IncomingRequest};
use stream_protocol::{SessionDocument, SessionId, subjects};
use stream_supervisor::Recipient;

use crate::SessionsError;

/// What this agent serves. Clones share it.
///
/// Subscriptions are kept by the bridge and launches run on when the actor fails, so a restart
/// keeps this record of both. It calls [`ServedSessions::distrust`]: every subscription is then
/// made again the next time its session is seen.
#[derive(Clone, Default)]
pub(crate) struct ServedSessions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: BTreeMap<SessionId, Subscription>,
    launching: BTreeSet<SessionId>,
    /// Session by instance id.
    instances: HashMap<String, SessionId>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subscription {
    /// Made since the last restart of the actor.
    Confirmed,
    /// Noted before the last restart of the actor.
    Inherited,
}

impl ServedSessions {
    /// Takes no subscription for granted any more, and forgets the instances until the next sweep.
    pub(crate) fn distrust(&self) {
        let state = &mut *self.0.lock();
        state.open.values_mut().for_each(|subscription| *subscription = Subscription::Inherited);
        state.instances.clear();
    }

    /// Subscribes to the requests for a session, unless that is done.
    pub(crate) async fn serve(
        &self,
        id: &SessionId,
        bridge: &Bridge,
        requests: Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        let before = self.0.lock().open.insert(id.clone(), Subscription::Confirmed);
        if before == Some(Subscription::Confirmed) {
            return Ok(());
        }
        let subscribed = bridge.serve(subjects::session_requests(id), requests).await;
        if subscribed.is_err() {
            let open = &mut self.0.lock().open;
            match before {
                Some(inherited) => open.insert(id.clone(), inherited),
                None => open.remove(id),
            };
        }
        Ok(subscribed?)
    }

    /// Ends the subscription to the requests for a session. After a failure the session stays
    /// served, and the next sweep tries again.
    pub(crate) async fn stop_serving(
        &self,
        id: &SessionId,
        bridge: &Bridge,
    ) -> Result<(), SessionsError> {
        if self.0.lock().open.contains_key(id) {
            bridge.stop_serving(&subjects::session_requests(id)).await?;
            self.0.lock().open.remove(id);
        }
        Ok(())
    }

    /// Returns how many sessions are served.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Returns how many more sessions an agent of `capacity` takes.
    pub(crate) fn free_capacity(&self, capacity: u32) -> u32 {
        capacity.saturating_sub(u32::try_from(self.count()).unwrap_or(u32::MAX))
    }

    /// Returns the served sessions that are not among `mine`.
    pub(crate) fn others_than(&self, mine: &BTreeSet<&SessionId>) -> Vec<SessionId> {
        self.0.lock().open.keys().filter(|id| !mine.contains(id)).cloned().collect()
    }

    /// Marks a launch as under way until the guard is dropped. Returns `None` when one is.
    pub(crate) fn begin_launch(&self, id: &SessionId) -> Option<LaunchGuard> {
        let new = self.0.lock().launching.insert(id.clone());
        new.then(|| LaunchGuard { served: self.clone(), id: id.clone() })
    }

    /// Returns how many launches are under way.
    pub(crate) fn launching(&self) -> usize {
        self.0.lock().launching.len()
    }

    /// Notes that `instance` serves `session`.
    pub(crate) fn add_instance(&self, instance: String, session: SessionId) {
        self.0.lock().instances.insert(instance, session);
    }

    /// Replaces the index of instances by those that `mine` name.
    pub(crate) fn index_instances<'a>(&self, mine: impl Iterator<Item = &'a SessionDocument>) {
        let named = mine.filter_map(|one| Some((one.instance_id.clone()?, one.id.clone())));
        self.0.lock().instances = named.collect();
    }

    /// Returns the session that `instance` serves.
    pub(crate) fn session_of(&self, instance: &str) -> Option<SessionId> {
        self.0.lock().instances.get(instance).cloned()
    }

    /// Notes a subscription that was never made.
    #[cfg(test)]
    pub(crate) fn pretend_to_serve(&self, id: &SessionId) {
        self.0.lock().open.insert(id.clone(), Subscription::Confirmed);
    }

    /// Whether the session counts as subscribed, so that nobody subscribes it again.
    #[cfg(test)]
    pub(crate) fn trusts_subscription(&self, id: &SessionId) -> bool {
        self.0.lock().open.get(id) == Some(&Subscription::Confirmed)
    }
}

/// A launch that is under way.
pub(crate) struct LaunchGuard {
    served: ServedSessions,
    id: SessionId,
}

impl Drop for LaunchGuard {
    fn drop(&mut self) {
        self.served.0.lock().launching.remove(&self.id);
    }
}
