//! Sessions of this agent whose instance is not what it should be.

use std::rc::Rc;
use std::sync::Arc;

use stream_ams::{Action, InstanceEvent};
use stream_protocol::{SessionId, Status};

use crate::SessionsError;
use crate::context::AgentContext;
use crate::launch::Launcher;
use crate::processing::for_each_concurrent;
use crate::reconcile::{self, Judgement, Loss, LostInstance};
use crate::served_sessions::ServedSessions;
use crate::session;
use crate::termination::Terminator;

/// Ends sessions whose instance is lost.
#[derive(Clone)]
pub(crate) struct LostInstances {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) served: ServedSessions,
    pub(crate) launcher: Launcher,
    pub(crate) terminator: Rc<Terminator>,
}

/// What is to be done next about a session whose instance is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FollowUp {
    /// Finish its end.
    FinishEnd,
    /// Launch it again, in the place of instances that are kept.
    LaunchAgain,
}

impl LostInstances {
    /// Ends those of the sessions whose instance AMS calls lost when it is asked for it alone.
    pub(crate) async fn end_all(&self, lost: &[LostInstance]) {
        let label = |lost: &LostInstance| format!("session {}", lost.session);
        for_each_concurrent(lost, label, async |LostInstance { session: id, .. }| {
            match self.end_if_lost(id).await? {
                Some(follow_up) => self.follow_up(id, follow_up).await?,
                None => {
                    log::warn!(session:% = id; "an instance is there, yet AMS did not list it so");
                }
            }
            Ok(())
        })
        .await;
    }

    /// Acts on the events of AMS about our instances. The sweep finds what AMS does not announce.
    /// `follow_up` has done what is to be done next, however long AMS takes: the next event does
    /// not wait for that.
    pub(crate) async fn follow_events(&self, follow_up: impl Fn(SessionId, FollowUp)) {
        let mut changes = self.context.deps.ams.changes();
        while let Some(InstanceEvent { instance, action }) = changes.next().await {
            if !matches!(action, Action::Failed | Action::Removed | Action::Stopped) {
                continue;
            }
            let Some(session) = self.served.session_of(&instance) else { continue };
            match self.end_if_lost(&session).await {
                Ok(Some(next)) => follow_up(session, next),
                Ok(None) => {}
                Err(error) => {
                    let cause = error.sentence();
                    log::debug!(session:%, cause:%; "what happened is left to the sweep");
                }
            }
        }
    }

    /// Does what is to be done next.
    pub(crate) async fn follow_up(
        &self,
        id: &SessionId,
        follow_up: FollowUp,
    ) -> Result<(), SessionsError> {
        match follow_up {
            FollowUp::FinishEnd => self.terminator.finish_end(id).await,
            FollowUp::LaunchAgain => self.launch_again(id).await?,
        }
        Ok(())
    }

    /// Ends the session if its instance is lost, and returns what is to be done next then.
    pub(crate) async fn end_if_lost(
        &self,
        id: &SessionId,
    ) -> Result<Option<FollowUp>, SessionsError> {
        let asked = self.context.now();
        let document = self.context.read(id).await?.value;
        let scope = self.context.scope(&self.context.cluster().await?);
        if !reconcile::is_served(&document, &scope) && !reconcile::is_kept(&document, &scope) {
            return Ok(None);
        }
        let Some(instance) = session::instance(&document) else { return Ok(None) };
        // A list may lack what has lost its tags, so AMS is asked for the one instance.
        let found = self.context.deps.ams.instance(instance).await?;
        // Another one may have taken the name of what is gone.
        let is_meant = |id: &String| document.instance_id.as_ref().is_none_or(|own| own == id);
        let found = found.filter(|found| is_meant(&found.id));
        let Some(lost) = reconcile::lost_instance(&document, found.as_ref()) else {
            return Ok(None);
        };
        if lost.loss == Loss::NoRoom && self.terminator.keeps_instances().await? {
            return Ok(Some(FollowUp::LaunchAgain));
        }
        let judgement = Judgement { lost, instance: instance.to_owned(), asked };
        let retention = self.context.config.retention();
        let ended = self.context.change(id, |document| {
            judgement.apply(document, &scope, retention, self.context.now());
            Ok(())
        });
        let ended = ended.await?;
        let is_ending = ended.status == Status::Terminating || ended.kept_instance.is_some();
        Ok(is_ending.then_some(FollowUp::FinishEnd))
    }

    /// Launches the session again, whose instance found no room: those that are kept give way.
    async fn launch_again(&self, id: &SessionId) -> Result<(), SessionsError> {
        let failed = self.context.read(id).await?.value.instance_id;
        if self.terminator.make_room().await? == 0 {
            // Nobody has given way, so that it fails.
            return match self.end_if_lost(id).await? {
                Some(FollowUp::FinishEnd) => {
                    self.terminator.finish_end(id).await;
                    Ok(())
                }
                Some(FollowUp::LaunchAgain) | None => Ok(()),
            };
        }
        let Some(failed) = failed else { return Ok(()) };
        let begun = self.context.change(id, |document| {
            let now = self.context.now();
            let deadline = now.plus_secs(self.context.config.boot_timeout_s);
            session::launch_again(document, self.context.agent(), &failed, (now, deadline))
        });
        let document = begun.await?;
        self.terminator.delete(&failed).await?;
        self.launcher.resume_launch(&document).await
    }
}
