//! Sessions of this agent whose instance is not what it should be.

use std::rc::Rc;
use std::sync::Arc;

use stream_ams::{Action, InstanceEvent};
use stream_protocol::SessionId;

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
            if !self.end_if_lost(id).await? {
                log::warn!("the instance of session {id} is there, yet AMS did not list it so");
            }
            Ok(())
        })
        .await;
    }

    /// Acts on the events of AMS about our instances. The sweep finds what AMS does not announce.
    pub(crate) async fn follow_events(&self) {
        let mut changes = self.context.deps.ams.changes();
        while let Some(InstanceEvent { instance, action }) = changes.next().await {
            if !matches!(action, Action::Failed | Action::Removed | Action::Stopped) {
                continue;
            }
            let Some(session) = self.served.session_of(&instance) else { continue };
            if let Err(error) = self.end_if_lost(&session).await {
                let why = error.sentence();
                log::debug!("what happened to session {session} is left to the sweep: {why}");
            }
        }
    }

    /// Ends the session if its instance is lost, and returns whether it is.
    async fn end_if_lost(&self, id: &SessionId) -> Result<bool, SessionsError> {
        let Some(LostInstance { session, cause, failed }) = self.check(id).await? else {
            return Ok(false);
        };
        self.terminator.begin_termination(&session, &cause, failed).await?;
        self.terminator.finish_end(&session).await;
        Ok(true)
    }

    /// Asks AMS for the one instance: a list may lack what has lost its tags.
    async fn check(&self, id: &SessionId) -> Result<Option<LostInstance>, SessionsError> {
        let document = self.context.read(id).await?.value;
        let cluster = self.context.cluster().await?;
        let Some(instance) = session::instance(&document) else { return Ok(None) };
        if !reconcile::is_served(&document, &self.context.scope(&cluster)) {
            return Ok(None);
        }
        let found = self.context.deps.ams.instance(instance).await?;
        Ok(reconcile::lost_instance(&document, found.as_ref()))
    }
}
