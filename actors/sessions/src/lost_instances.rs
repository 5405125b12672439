//! Sessions of this agent whose instance is not what it should be.

use std::rc::Rc;
use std::sync::Arc;

use stream_ams::{Action, InstanceEvent};
use stream_protocol::{SessionId, Status, Timestamp};

use crate::SessionsError;
use crate::context::AgentContext;
use crate::processing::for_each_concurrent;
use crate::reconcile::{self, LostInstance};
use crate::served_sessions::ServedSessions;
use crate::session;
use crate::termination::Terminator;

/// Ends sessions whose instance is lost.
#[derive(Clone)]
pub(crate) struct LostInstances {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) served: ServedSessions,
    pub(crate) terminator: Rc<Terminator>,
}

impl LostInstances {
    /// Ends those of the sessions whose instance AMS calls lost when it is asked for it alone.
    pub(crate) async fn end_all(&self, lost: &[LostInstance]) {
        let label = |lost: &LostInstance| format!("session {}", lost.session);
        for_each_concurrent(lost, label, async |LostInstance { session: id, .. }| {
            match self.end_if_lost(id).await? {
                true => self.terminator.finish_end(id).await,
                false => {
                    log::warn!(session:% = id; "an instance is there, yet AMS did not list it so");
                }
            }
            Ok(())
        })
        .await;
    }

    /// Acts on the events of AMS about our instances. The sweep finds what AMS does not announce.
    /// `finish` has the end of a session finished, however long AMS takes to delete its instance:
    /// the next event does not wait for that.
    pub(crate) async fn follow_events(&self, finish: impl Fn(SessionId)) {
        let mut changes = self.context.deps.ams.changes();
        while let Some(InstanceEvent { instance, action }) = changes.next().await {
            if !matches!(action, Action::Failed | Action::Removed | Action::Stopped) {
                continue;
            }
            let Some(session) = self.served.session_of(&instance) else { continue };
            match self.end_if_lost(&session).await {
                Ok(true) => finish(session),
                Ok(false) => {}
                Err(error) => {
                    let cause = error.sentence();
                    log::debug!(session:%, cause:%; "what happened is left to the sweep");
                }
            }
        }
    }

    /// Ends the session if its instance is lost, and returns whether it is.
    async fn end_if_lost(&self, id: &SessionId) -> Result<bool, SessionsError> {
        let document = self.context.read(id).await?.value;
        let scope = self.context.scope(&self.context.cluster().await?);
        if !reconcile::is_served(&document, &scope) {
            return Ok(false);
        }
        let Some(instance) = session::instance(&document) else { return Ok(false) };
        // A list may lack what has lost its tags, so AMS is asked for the one instance.
        let found = self.context.deps.ams.instance(instance).await?;
        let Some(lost) = reconcile::lost_instance(&document, found.as_ref()) else {
            return Ok(false);
        };
        let ended = self.context.change(id, |document| {
            // It may be another's by now, or served by another instance.
            let is_meant = reconcile::is_served(document, &scope)
                && session::instance(document) == Some(instance);
            if is_meant {
                session::end(document, lost.cause.clone(), lost.failed, Timestamp::now());
            }
            Ok(())
        });
        Ok(ended.await?.status == Status::Terminating)
    }
}
