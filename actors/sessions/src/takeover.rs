//! Taking over what other agents leave, and leaving to them what this one has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_bridge::{Entry, IncomingRequest};
use stream_protocol::subjects::Bucket;
use stream_protocol::{AgentId, Presence, SessionDocument, Timestamp};
use stream_supervisor::Recipient;

use crate::SessionsError;
use crate::context::{AgentContext, locked};
use crate::session::{self, InvalidTransition};
use crate::sweep::for_each_concurrent;

/// How often a unit that drains looks what others have taken.
const DRAIN_POLL: Duration = Duration::from_millis(200);

impl AgentContext {
    /// Looks at the other agents again and again and takes over what they leave.
    pub(crate) async fn run_takeover(&self, requests: Recipient<IncomingRequest>) {
        loop {
            tokio::time::sleep(self.lease() / 8).await;
            if let Err(error) = self.take_over_abandoned(&requests).await {
                log::debug!("no look at the other agents: {error}");
                locked(&self.failure_detector).reset();
            }
        }
    }

    async fn take_over_abandoned(
        &self,
        requests: &Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        // A restart of NATS silences everybody: only who is missed long after has left.
        let continuity = self.dependencies.bridge.continuity(Bucket::Agents).await?;
        if continuity.connected_for() < self.lease() * 3 / 2 {
            locked(&self.failure_detector).reset();
        }
        let present = self.present().await?;
        let mut departed =
            locked(&self.failure_detector).observe(&present, Instant::now(), self.lease() / 2);
        // What it owned before it was restarted is its own.
        departed.remove(self.agent());
        if departed.is_empty() || self.drain.is_draining() {
            return Ok(());
        }
        let live = self.live().await?;
        let owners = live.iter().filter_map(|document| document.owner.clone()).collect();
        // Those that still own something are looked at again when it is taken over.
        locked(&self.failure_detector).forget(&departed, &owners);
        self.take_over(live, &departed, requests).await
    }

    /// Takes over those of the sessions `live` that are of agents that have `departed`.
    async fn take_over(
        &self,
        live: Vec<Arc<SessionDocument>>,
        departed: &BTreeSet<AgentId>,
        requests: &Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        let bridge = &self.dependencies.bridge;
        let cluster = &self.dependencies.ams.cluster().await?.id;
        let mut abandoned: Vec<_> =
            live.into_iter().filter(|one| session::is_abandoned(one, departed, cluster)).collect();
        // Several agents share them best when each begins elsewhere.
        let begin = u64::from_le_bytes(*stream_pki::random_bytes::<8>());
        let begin = begin.checked_rem(abandoned.len() as u64).unwrap_or(0) as usize;
        abandoned.rotate_left(begin);
        for_each_concurrent(&abandoned, |document| async move {
            let adopted = bridge.change_session(&document.id, |document| {
                session::adopt(document, self.agent(), departed, cluster, Timestamp::now())
                    .map_err(|InvalidTransition(why)| SessionsError::Conflict(why))
            });
            let adopted = match adopted.await {
                // Another agent was faster.
                Err(SessionsError::Conflict(_)) => return Ok(()),
                adopted => adopted?.value,
            };
            log::info!("session {} is taken over", adopted.id);
            self.process_session(&adopted, requests).await
        })
        .await;
        Ok(())
    }

    /// Returns when this unit, which drains, has nothing that another one could take: its sessions
    /// are theirs, or there is nobody.
    pub(crate) async fn drained(&self) {
        loop {
            match self.hand_over().await {
                Ok(0) => return,
                Ok(left) => self.drain.set_remaining(left),
                Err(error) => log::debug!("what is left to others is not known: {error}"),
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Lets go of what others have taken, and returns how many sessions they are still to take.
    async fn hand_over(&self) -> Result<usize, SessionsError> {
        let live = self.live().await?;
        self.release_lost_sessions(&live).await?;
        let launching = self.launching();
        let left = live.iter().filter(|document| self.answers_for(document)).count();
        if left == 0 || launching > 0 {
            return Ok(launching);
        }
        let cluster = self.dependencies.ams.cluster().await?.id;
        let new_owner = |presence: &Presence| {
            let able = !presence.draining && presence.unavailable.is_none();
            able && presence.agent != *self.agent() && presence.cluster == cluster
        };
        Ok(if self.present().await?.iter().any(new_owner) { left } else { 0 })
    }

    async fn present(&self) -> Result<Vec<Presence>, SessionsError> {
        let present = self.dependencies.bridge.list::<Presence>(Bucket::Agents).await?;
        Ok(present.into_iter().map(|(_, Entry { value, .. })| value).collect())
    }
}
