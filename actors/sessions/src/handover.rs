//! Leaving sessions to other agents: those of an agent that drains, and those that were taken over.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use stream_bridge::BridgeError;
use stream_protocol::{Presence, SessionDocument, SessionId};

use crate::SessionsError;
use crate::context::AgentContext;
use crate::served_sessions::ServedSessions;
use crate::session_cache::SessionCache;

/// Lets go of sessions that are another agent's.
#[derive(Clone)]
pub(crate) struct Handover {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) cache: Rc<SessionCache>,
    pub(crate) served: ServedSessions,
}

impl Handover {
    /// Lets go of what others have taken, and returns how many sessions they are still to take.
    /// Returns 0 when nobody is there to take them.
    pub(crate) async fn hand_over(&self) -> Result<usize, SessionsError> {
        let context = &self.context;
        let live = self.cache.live_and_kept(&context.deps.bridge).await?;
        self.release_lost_sessions(&live).await?;
        let launching = self.served.launching();
        let left = live.iter().filter(|document| context.answers_for(document)).count();
        if left == 0 || launching > 0 {
            return Ok(launching);
        }
        let cluster = context.last_cluster().await?;
        let new_owner = |presence: &Presence| {
            // Also one that can launch nothing now answers for what runs.
            !presence.draining && presence.agent != *context.agent() && presence.cluster == cluster
        };
        let present = context.present_agents().await?;
        Ok(if present.presences.iter().any(new_owner) { left } else { 0 })
    }

    /// Stops serving sessions that are another agent's by now, or gone.
    pub(crate) async fn release_lost_sessions(
        &self,
        live: &[Arc<SessionDocument>],
    ) -> Result<(), SessionsError> {
        let context = &self.context;
        let mine = || live.iter().filter(|document| context.answers_for(document));
        self.served.index_instances(mine().map(|document| &**document));
        let ids: BTreeSet<&SessionId> = mine().map(|document| &document.id).collect();
        for id in self.served.others_than(&ids) {
            // A session claimed since the documents were read is not in the list yet.
            let document = match context.read(&id).await {
                Ok(entry) => Some(entry.value),
                Err(SessionsError::Bridge(BridgeError::NotFound)) => None,
                // A newer version will know whose it is; the other sessions do not wait for that.
                Err(SessionsError::Bridge(BridgeError::Malformed(_))) => continue,
                Err(error) => return Err(error),
            };
            if document.is_none_or(|document| !context.answers_for(&document)) {
                self.served.stop_serving(&id, &context.deps.bridge).await?;
            }
        }
        Ok(())
    }
}
