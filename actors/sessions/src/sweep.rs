//! The sweep: looks at all sessions now and then and does what is due. It is what finishes the work
//! of a unit that died, and what no message tells.

use std::time::Duration;

use stream_ams::InstanceStatus;
use stream_bridge::{Entry, Inbound};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Owner, SessionDocument};
use stream_supervisor::Recipient;

use crate::SessionsError;
use crate::session::{self, Due, LEASE_S};
use crate::unit::{Unit, now};

/// The pause while the store is not reached yet.
const AWAY: Duration = Duration::from_millis(500);

impl Unit {
    pub(crate) async fn sweep_for_ever(&self, requests: Recipient<Inbound>) {
        loop {
            let pause = match self.sweep(&requests).await {
                Ok(()) => Duration::from_secs(self.config.sweep_s.max(1)),
                Err(error) => {
                    log::debug!("no sweep: {error}");
                    AWAY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn sweep(&self, requests: &Recipient<Inbound>) -> Result<(), SessionsError> {
        let documents = self.neighbours.bridge.list::<SessionDocument>(Bucket::Sessions).await?;
        for (_, Entry { value: document, .. }) in documents {
            // One session that cannot be helped now must not keep the others waiting.
            if let Err(error) = self.attend(&document, requests).await {
                log::warn!("session {} is left to the next sweep: {error}", document.id);
            }
        }
        Ok(())
    }

    async fn attend(
        &self,
        document: &SessionDocument,
        requests: &Recipient<Inbound>,
    ) -> Result<(), SessionsError> {
        let id = &document.id;
        let mine = document.owner.as_ref().is_some_and(|owner| owner.agent == *self.agent());
        if mine && !document.status.is_final() {
            self.serve(id, requests.clone()).await?;
        }
        match session::due(document, self.agent(), now()) {
            Due::Nothing => {}
            Due::End { cause, failed } => {
                self.begin_end(id, &cause, failed).await?;
                self.finish_end(id).await;
                return Ok(());
            }
            Due::FinishEnd => {
                self.finish_end(id).await;
                return Ok(());
            }
            Due::GiveUp => {
                log::error!("the instance of session {id} could not be deleted and is given up");
                return self.close(id).await;
            }
            Due::RenewLease => self.renew_lease(document).await?,
        }
        if mine && document.instance_id.is_some() {
            self.check_instance(document).await?;
        }
        Ok(())
    }

    async fn renew_lease(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let renewed =
            self.neighbours.bridge.change_session::<SessionsError>(&document.id, |document| {
                let owner = Owner { agent: self.agent().clone(), lease_until: now() + LEASE_S };
                if document.owner.as_ref().is_some_and(|present| present.agent == owner.agent) {
                    document.owner = Some(owner);
                }
                Ok(())
            });
        renewed.await.map(drop)
    }

    /// Ends a session whose instance is gone without having said so.
    async fn check_instance(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        let Some(name) = &document.instance_name else { return Ok(()) };
        let (cause, failed) = match self.neighbours.ams.instance(name.as_str()).await? {
            None => ("the instance has disappeared".to_owned(), true),
            Some(instance) => match instance.status {
                InstanceStatus::Error => {
                    (format!("the instance failed: {}", instance.message), true)
                }
                InstanceStatus::Stopped | InstanceStatus::Deleted => {
                    ("the instance stopped".to_owned(), false)
                }
                _ => return Ok(()),
            },
        };
        self.begin_end(&document.id, &cause, failed).await?;
        self.finish_end(&document.id).await;
        Ok(())
    }
}
