//! The end of a session: the document says so first, then the instance is deleted, then the
//! document gets its final status. An instance that is kept is deleted later, in the same order.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stream_ams::{AmsError, Deletion};
use stream_protocol::{Origin, SessionDocument, SessionId, Status};
use tokio::time::Instant;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::kept_instance;
use crate::reconciler::Reconciler;
use crate::served_sessions::ServedSessions;
use crate::session;
use crate::session_cache::SessionCache;
use crate::transition::NextAction;

/// How long one try to delete an instance may take; the sweep tries again.
const DELETION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the hooks of an instance may keep it from being deleted. An instance whose deletion
/// failed first so long ago is deleted by force.
const HOOKS_TIMEOUT: Duration = Duration::from_secs(60);

fn deletion(failing_since: Option<Instant>, now: Instant) -> Deletion {
    let waited = |since| now.saturating_duration_since(since) >= HOOKS_TIMEOUT;
    if failing_since.is_some_and(waited) { Deletion::Forced } else { Deletion::Graceful }
}

/// Ends sessions and deletes their instances.
pub(crate) struct Terminator {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) cache: Rc<SessionCache>,
    pub(crate) served: ServedSessions,
    /// Counts the deletions that fail.
    pub(crate) reconciler: Rc<Reconciler>,
}

impl Terminator {
    /// Writes down that somebody wants the session to end. The end is certain from then on,
    /// whichever agent dies.
    pub(crate) async fn request_termination(
        &self,
        id: &SessionId,
        cause: &str,
    ) -> Result<(), SessionsError> {
        let begun = self.context.change(id, |document| {
            session::end_on_request(document, cause.to_owned(), self.context.now());
            Ok(())
        });
        begun.await.map(drop)
    }

    /// Deletes the instance of a terminating session and closes its document. A failure is logged
    /// and left to the next sweep.
    pub(crate) async fn finish_end(&self, id: &SessionId) {
        if let Err(error) = self.try_finish_end(id).await {
            log::warn!(session:% = id, cause:% = error.sentence(); "a session has not ended yet");
        }
    }

    async fn try_finish_end(&self, id: &SessionId) -> Result<(), SessionsError> {
        let document = self.context.read(id).await?.value;
        match document.status {
            Status::Created | Status::Active => return Ok(()),
            Status::Terminating => {
                if let Err(error) = self.delete_instance(&document).await {
                    // Only AMS can tell that there is no use in trying: while it is away nothing
                    // is given up, however long that takes.
                    let may_give_up = session::may_give_up_instance(&document, self.context.now());
                    if !may_give_up || !self.is_answer_of_ams(&error).await {
                        return Err(error);
                    }
                    // An orphan from here on, deleted as often as it is seen.
                    let cause = error.sentence();
                    log::error!(session:% = id, cause:%; "an instance could not be deleted in time");
                }
            }
            Status::Terminated | Status::Error if document.kept_instance.is_some() => {
                self.served.set_kept(id, true);
                self.delete_kept(id).await?;
                return self.delete_surplus().await;
            }
            Status::Terminated | Status::Error => {}
        }
        self.close(&document).await
    }

    /// Whether AMS was there when the deletion of an instance failed.
    async fn is_answer_of_ams(&self, error: &SessionsError) -> bool {
        match error {
            SessionsError::Ams(AmsError::TimedOut) => {
                self.context.deps.ams.status().await.connected
            }
            SessionsError::Ams(AmsError::Unreachable(_) | AmsError::Unavailable(_)) => false,
            SessionsError::Ams(_) => true,
            _ => false,
        }
    }

    /// Deletes the instance of a session, if it has one. One that only has the name is left alone:
    /// AMS must have named its id to us, or its tags must name the session.
    ///
    /// # Errors
    /// Refuses an instance of another cluster than the one that AMS manages.
    pub(crate) async fn delete_instance(
        &self,
        document: &SessionDocument,
    ) -> Result<(), SessionsError> {
        let Some(instance) = session::instance(document) else { return Ok(()) };
        let cluster = self.context.cluster().await?;
        if cluster != document.cluster {
            // This AMS knows no such name, which would pass for a deletion.
            let elsewhere =
                format!("its instance is in cluster {}, not {cluster}", document.cluster);
            return Err(SessionsError::Conflict(elsewhere));
        }
        let found = self.context.deps.ams.instance(instance).await?;
        let Some(found) = found else {
            // Whoever removed it, it is stuck no more.
            document.instance_id.iter().for_each(|id| self.reconciler.deleted(id));
            return Ok(());
        };
        let scope = self.context.scope(&cluster);
        let is_known = document.instance_id.as_ref() == Some(&found.id);
        if !is_known && !scope.launched(&found, &document.id) {
            log::warn!(
                session:% = document.id, instance:% = found.id, name:% = found.name;
                "an instance that is none of ours has the name, and stays"
            );
            return Ok(());
        }
        Ok(self.delete(&found.id).await?)
    }

    /// Deletes an instance by its id or name. Counts the failure when AMS was there and the
    /// instance stays.
    pub(crate) async fn delete(&self, instance: &str) -> Result<(), AmsError> {
        let how = deletion(self.reconciler.failing_since(instance), Instant::now());
        let deletion = self.context.deps.ams.delete(instance, how);
        let deleted = tokio::time::timeout(DELETION_TIMEOUT, deletion).await;
        let deleted = deleted.unwrap_or(Err(AmsError::TimedOut));
        match &deleted {
            Ok(()) => self.reconciler.deleted(instance),
            Err(AmsError::Unreachable(_) | AmsError::Unavailable(_)) => {}
            Err(error) => self.reconciler.deletion_failed(instance, error.to_string()),
        }
        deleted
    }

    /// Revokes the tokens of the session, writes its final status and stops serving it.
    pub(crate) async fn close(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let id = &document.id;
        // Before the status, so that no end leaves a token behind. A session that nobody claimed,
        // or that AMS did not take, has given none away and may be begun again under its id.
        if document.owner.is_some() && !document.never_launched() {
            self.context.deps.tokens.session_ended(id, document.outlives_its_end()).await?;
        }
        let closed = self.context.change(id, |document| {
            session::on_instance_gone(document);
            kept_instance::on_gone(document);
            Ok(())
        });
        let document = closed.await?;
        self.context.arrivals.forget(id);
        let (status, cause) = (document.status, document.last_cause());
        log::info!(session:% = id, status:%, cause:%; "a session has ended");
        self.served.stop_serving(id, &self.context.deps.bridge).await
    }
    /// Deletes the instance of a session that has ended if its time is up. One that AMS launched by
    /// itself is never deleted: it has gone, or its session is wanted no more.
    pub(crate) async fn delete_kept(&self, id: &SessionId) -> Result<(), SessionsError> {
        let agent = self.context.agent();
        let condemned = self.context.change(id, |document| {
            if session::next_action(document, agent, self.context.now()) == NextAction::DeleteKept {
                session::apply_due_change(document, agent, self.context.now());
            }
            Ok(())
        });
        let document = condemned.await?;
        if session::next_action(&document, agent, self.context.now()) != NextAction::DeleteKept {
            return Ok(());
        }
        if document.origin == Origin::Client {
            self.delete_instance(&document).await?;
        }
        self.close(&document).await
    }

    /// Deletes the kept instances that are more than this agent keeps, the oldest first.
    pub(crate) async fn delete_surplus(&self) -> Result<(), SessionsError> {
        self.give_way(self.context.config.failed_instances).await.map(drop)
    }

    /// Deletes all kept instances, since AMS has no room. Returns how many have gone.
    pub(crate) async fn make_room(&self) -> Result<usize, SessionsError> {
        let gone = self.give_way(0).await?;
        if gone > 0 {
            log::info!(gone; "kept instances were deleted: ams has no room");
        }
        Ok(gone)
    }

    /// Whether there are kept instances that can make room.
    pub(crate) async fn keeps_instances(&self) -> Result<bool, SessionsError> {
        let cluster = self.context.cluster().await?;
        let kept = self.cache.kept(&self.context.deps.bridge).await?;
        let agent = self.context.agent();
        Ok(kept.iter().any(|one| kept_instance::is_failed_instance(one, agent, &cluster)))
    }

    /// Deletes kept instances until `most` are left. One that does not go holds up no other.
    async fn give_way(&self, most: usize) -> Result<usize, SessionsError> {
        let (agent, cluster) = (self.context.agent(), self.context.cluster().await?);
        let kept = self.cache.kept(&self.context.deps.bridge).await?;
        let mut gone = 0;
        for one in kept_instance::surplus(kept.iter().map(|one| &**one), agent, &cluster, most) {
            match self.delete_now(one).await {
                Ok(()) => gone += 1,
                Err(error) => {
                    let cause = error.sentence();
                    log::warn!(session:% = one.id, cause:%; "a kept instance has not gone yet");
                }
            }
        }
        Ok(gone)
    }

    /// Deletes the instance that is kept since `seen`.
    async fn delete_now(&self, seen: &SessionDocument) -> Result<(), SessionsError> {
        let agent = self.context.agent();
        let condemned = self.context.change(&seen.id, |document| {
            kept_instance::give_way(document, seen, agent, self.context.now());
            Ok(())
        });
        condemned.await?;
        self.delete_kept(&seen.id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_have_their_time_before_an_instance_is_deleted_by_force() {
        let first = Instant::now();
        assert_eq!(deletion(None, first), Deletion::Graceful);
        assert_eq!(deletion(Some(first), first + HOOKS_TIMEOUT / 2), Deletion::Graceful);
        assert_eq!(deletion(Some(first), first + HOOKS_TIMEOUT), Deletion::Forced);
    }
}
