//! Taking over the sessions of agents that have died or drain.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use stream_protocol::SessionDocument;
use stream_protocol::subjects::Bucket;
use tokio::time::Instant;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::failure_detector::{Departed, FailureDetector};
use crate::processing::{Processor, for_each_concurrent};
use crate::session;
use crate::session_cache::SessionCache;
use crate::transition::InvalidTransition;

/// Watches the other agents and adopts what they abandon.
pub(crate) struct Takeover {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) cache: Rc<SessionCache>,
    pub(crate) failure_detector: Rc<RefCell<FailureDetector>>,
    pub(crate) processor: Processor,
}

impl Takeover {
    /// Looks at the other agents eight times per lease and takes over what they abandon.
    pub(crate) async fn run(&self) {
        loop {
            tokio::time::sleep(self.context.lease() / 8).await;
            if let Err(error) = self.take_over_abandoned().await {
                log::debug!(cause:% = error; "no look at the other agents");
                self.failure_detector.borrow_mut().reset();
            }
        }
    }

    async fn take_over_abandoned(&self) -> Result<(), SessionsError> {
        let (context, lease) = (&self.context, self.context.lease());
        // A restart of NATS silences everybody: only who is missed long after has left.
        let continuity = context.deps.bridge.continuity(Bucket::Agents).await?;
        if continuity.connected_for() < lease * 3 / 2 {
            self.failure_detector.borrow_mut().reset();
        }
        let cluster = context.last_cluster().await?;
        let looked = Instant::now();
        let present = context.present_agents().await?;
        let mut departed = self.failure_detector.borrow_mut().observe(
            &present,
            &cluster,
            (looked, Instant::now()),
            lease / 2,
        );
        // What it owned before it was restarted is its own.
        departed.remove(context.agent());
        // Whom others do not see either takes nothing over: they would take it back.
        let is_seen = present.contains(context.agent());
        if departed.is_empty() || context.drain.is_draining() || !is_seen {
            return Ok(());
        }
        let live = self.cache.live_and_kept(&context.deps.bridge).await?;
        let owners = live.iter().filter_map(|document| document.owner.clone()).collect();
        // Those that still own something are looked at again when it is taken over.
        self.failure_detector.borrow_mut().forget(&departed, &owners);
        self.take_over(live, &departed, (&cluster, looked)).await
    }

    /// Takes over those of the sessions `live` that are of agents that had `departed` when this
    /// agent `looked`.
    async fn take_over(
        &self,
        live: Vec<Arc<SessionDocument>>,
        departed: &Departed,
        (cluster, looked): (&str, Instant),
    ) -> Result<(), SessionsError> {
        let context = &self.context;
        let mut abandoned: Vec<_> =
            live.into_iter().filter(|one| session::is_abandoned(one, departed, cluster)).collect();
        // Several agents share them best when each begins elsewhere.
        let begin = u64::from_le_bytes(*stream_pki::random_bytes::<8>());
        let begin = begin.checked_rem(abandoned.len() as u64).unwrap_or(0) as usize;
        abandoned.rotate_left(begin);
        let label = |document: &Arc<SessionDocument>| format!("session {}", document.id);
        for_each_concurrent(&abandoned, label, async |document| {
            let adopted = context.change(&document.id, |document| {
                // Whoever was missed may be back by now: this agent was held up since.
                if looked.elapsed() >= context.lease() / 2 {
                    return Err(InvalidTransition("the look at its owner is old".to_owned()));
                }
                session::adopt(document, context.agent(), departed, cluster, context.now())
            });
            let adopted = match adopted.await {
                // Another agent was faster, or the next look decides.
                Err(SessionsError::Conflict(_)) => return Ok(()),
                adopted => adopted?,
            };
            log::info!(session:% = adopted.id; "a session is taken over");
            self.processor.process_session(&adopted).await
        })
        .await;
        Ok(())
    }
}
