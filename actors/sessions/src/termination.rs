//! The end of a session: first it is written down, then the instance goes, then it is over. What
//! AMS launched by itself goes only when somebody wanted the end.

use std::time::Duration;

use stream_ams::AmsError;
use stream_protocol::{SessionDocument, SessionId, Status, Timestamp};

use crate::SessionsError;
use crate::context::{AgentContext, locked};
use crate::session;

/// How long one try to delete an instance may take; the sweep tries again.
const DELETION_TIMEOUT: Duration = Duration::from_secs(15);

impl AgentContext {
    /// Writes down that the session ends, because somebody wants it. From then on the end is
    /// certain, whoever dies.
    pub(crate) async fn request_termination(
        &self,
        id: &SessionId,
        cause: &str,
    ) -> Result<(), SessionsError> {
        let begun = self.dependencies.bridge.change_session::<SessionsError>(id, |document| {
            session::end_on_request(document, cause.to_owned(), Timestamp::now());
            Ok(())
        });
        begun.await.map(drop)
    }

    /// The same for what nobody wanted.
    pub(crate) async fn begin_termination(
        &self,
        id: &SessionId,
        cause: &str,
        failed: bool,
    ) -> Result<(), SessionsError> {
        let begun = self.dependencies.bridge.change_session::<SessionsError>(id, |document| {
            session::end(document, cause.to_owned(), failed, Timestamp::now());
            Ok(())
        });
        begun.await.map(drop)
    }

    /// Deletes the instance of a session that ends and closes its document. What fails is left to
    /// the next sweep.
    pub(crate) async fn finish_end(&self, id: &SessionId) {
        if let Err(error) = self.try_finish_end(id).await {
            log::warn!("session {id} has not ended yet: {}", error.sentence());
        }
    }

    async fn try_finish_end(&self, id: &SessionId) -> Result<(), SessionsError> {
        let document = self.read(id).await?.value;
        match document.status {
            Status::Created | Status::Active => return Ok(()),
            Status::Terminating => self.delete_instance(&document).await?,
            Status::Terminated | Status::Error => {}
        }
        self.close(&document).await
    }

    pub(crate) async fn delete_instance(
        &self,
        document: &SessionDocument,
    ) -> Result<(), SessionsError> {
        let Some(instance) = session::instance(document) else { return Ok(()) };
        let cluster = self.dependencies.ams.cluster().await?.id;
        if cluster != document.cluster {
            // This AMS knows no such name, which would pass for a deletion.
            let elsewhere =
                format!("its instance is in cluster {}, not {cluster}", document.cluster);
            return Err(SessionsError::Conflict(elsewhere));
        }
        Ok(self.delete(instance).await?)
    }

    /// Deletes an instance, by its id or name. One that stays although AMS was there is counted.
    pub(crate) async fn delete(&self, instance: &str) -> Result<(), AmsError> {
        let deletion =
            tokio::time::timeout(DELETION_TIMEOUT, self.dependencies.ams.delete(instance));
        let deleted = deletion.await.unwrap_or(Err(AmsError::TimedOut));
        match &deleted {
            Ok(()) => locked(&self.alerts).deleted(instance),
            Err(AmsError::Unreachable(_) | AmsError::Unavailable(_)) => {}
            Err(error) => locked(&self.alerts).deletion_failed(instance, error.to_string()),
        }
        deleted
    }

    /// Revokes the session's tokens, writes its last status and takes no more requests for it.
    pub(crate) async fn close(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let id = &document.id;
        // Before the status, so that no end leaves a token behind. A session that nobody claimed
        // has given none away, and may be begun again under its id.
        if document.owner.is_some() {
            self.dependencies.tokens.session_ended(id, document.outlives_its_end()).await?;
        }
        let closed = self.dependencies.bridge.change_session::<SessionsError>(id, |document| {
            session::on_instance_gone(document);
            Ok(())
        });
        let document = closed.await?.value;
        log::info!("session {id} is {}: {}", document.status, document.last_cause());
        self.stop_serving(id).await
    }
}
