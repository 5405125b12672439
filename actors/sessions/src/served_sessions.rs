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
    /// Those of `open` that have ended: their instance is kept, and takes no place.
    kept: BTreeSet<SessionId>,
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

impl State {
    fn count(&self) -> usize {
        let new = self.launching.iter().filter(|id| !self.open.contains_key(id));
        let live = self.open.keys().filter(|id| !self.kept.contains(id));
        live.count() + new.count()
    }
}

/// Why a launch cannot begin here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LaunchRefusal {
    /// The session is being launched already.
    UnderWay,
    /// As many sessions are served or being launched as this agent takes.
    Full,
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
        // Forgotten first: whoever serves it again meanwhile asks the bridge after this, and stays.
        {
            let state = &mut *self.0.lock();
            state.kept.remove(id);
            if state.open.remove(id).is_none() {
                return Ok(());
            }
        }
        let stopped = bridge.stop_serving(&subjects::session_requests(id)).await;
        if stopped.is_err() {
            let open = &mut self.0.lock().open;
            open.entry(id.clone()).or_insert(Subscription::Inherited);
        }
        Ok(stopped?)
    }

    /// Notes whether a session that is served takes a place, or has ended and its instance is kept.
    pub(crate) fn set_kept(&self, id: &SessionId, is_kept: bool) {
        let state = &mut *self.0.lock();
        match is_kept && state.open.contains_key(id) {
            true => state.kept.insert(id.clone()),
            false => state.kept.remove(id),
        };
    }

    /// Returns how many sessions are served or being launched. Those that have ended and whose
    /// instance is kept do not count.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().count()
    }

    /// Returns how many more sessions an agent of `capacity` takes.
    pub(crate) fn free_capacity(&self, capacity: u32) -> u32 {
        capacity.saturating_sub(u32::try_from(self.count()).unwrap_or(u32::MAX))
    }

    /// Returns the served sessions that are not among `mine`.
    pub(crate) fn others_than(&self, mine: &BTreeSet<&SessionId>) -> Vec<SessionId> {
        self.0.lock().open.keys().filter(|id| !mine.contains(id)).cloned().collect()
    }

    /// Marks a launch as under way until the guard is dropped, in an agent that takes `capacity`
    /// sessions. The mark counts as one: however many launches begin at the same time, no more find
    /// a place than there are.
    ///
    /// # Errors
    ///
    /// Refuses a launch that is under way, and one beyond the capacity.
    pub(crate) fn begin_launch(
        &self,
        id: &SessionId,
        capacity: u32,
    ) -> Result<LaunchGuard, LaunchRefusal> {
        let mut state = self.0.lock();
        if state.launching.contains(id) {
            return Err(LaunchRefusal::UnderWay);
        }
        if !state.open.contains_key(id) && state.count() >= capacity as usize {
            return Err(LaunchRefusal::Full);
        }
        state.launching.insert(id.clone());
        Ok(LaunchGuard { served: self.clone(), id: id.clone() })
    }

    /// Whether a launch of the session is under way.
    pub(crate) fn is_launching(&self, id: &SessionId) -> bool {
        self.0.lock().launching.contains(id)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::random()
    }

    #[test]
    fn launches_that_begin_at_once_share_the_places_there_are() {
        let (served, first) = (ServedSessions::default(), id());
        served.pretend_to_serve(&id());
        let launch = served.begin_launch(&first, 2).expect("a place is free");
        assert!(served.is_launching(&first));
        assert_eq!(served.begin_launch(&first, 2).err(), Some(LaunchRefusal::UnderWay));
        assert_eq!(served.begin_launch(&id(), 2).err(), Some(LaunchRefusal::Full));
        assert_eq!((served.count(), served.free_capacity(2)), (2, 0));
        served.pretend_to_serve(&first);
        assert_eq!(served.count(), 2, "counted once");
        drop(launch);
        assert!(!served.is_launching(&first));
        served.set_kept(&first, true);
        assert_eq!((served.count(), served.free_capacity(2)), (1, 1), "it has ended");
        served.set_kept(&first, false);
        assert_eq!(served.count(), 2, "it is back");
        let again = served.begin_launch(&first, 2);
        assert!(again.is_ok(), "what is served has its place");
    }
}
