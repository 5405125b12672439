//! The sweep: looks at all sessions and instances now and then and does what is due. It finishes
//! the work of an agent that died, and does what no message announces.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use stream_ams::{AmsError, Instance};
use stream_protocol::subjects::{self, SessionOp};
use stream_protocol::{Empty, SessionDocument};
use tokio::time::Instant;

use crate::SessionsError;
use crate::context::AgentContext;
use crate::failure_detector::FailureDetector;
use crate::handover::Handover;
use crate::lost_instances::LostInstances;
use crate::processing::{MAX_CONCURRENT, Processor, for_each_concurrent};
use crate::reconcile::{self, LostInstance, OrphanInstance, Scope, Snapshot};
use crate::reconciler::Reconciler;
use crate::session;
use crate::session_cache::{CachedSession, SessionCache};

/// The pause while the store is not reached, and the shortest time from one sweep to the next: an
/// actor that restarts again and again does not read the whole store each time.
pub(crate) const SWEEP_RETRY: Duration = Duration::from_millis(500);

/// How long AMS may take to list what it runs.
const AMS_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the owner of a session may take to look for its instance.
const OWNER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose turn it is to sweep. A sweep outlives the failure of the actor that began it, so a restart
/// keeps this.
#[derive(Default)]
pub(crate) struct SweepTurn {
    running: tokio::sync::Mutex<()>,
    /// When the last sweep began.
    last: Mutex<Option<Instant>>,
}

impl SweepTurn {
    /// Returns the turn, unless a sweep runs or began less than [`SWEEP_RETRY`] before `now`.
    fn take(&self, now: Instant) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let turn = self.running.try_lock().ok()?;
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.duration_since(last) < SWEEP_RETRY) {
            return None;
        }
        *last = Some(now);
        Some(turn)
    }
}

/// Looks at everything and does what is due.
pub(crate) struct Sweep {
    pub(crate) context: Arc<AgentContext>,
    pub(crate) turn: Arc<SweepTurn>,
    pub(crate) cache: Rc<SessionCache>,
    pub(crate) failure_detector: Rc<RefCell<FailureDetector>>,
    pub(crate) reconciler: Rc<Reconciler>,
    pub(crate) handover: Handover,
    pub(crate) processor: Processor,
    pub(crate) lost_instances: LostInstances,
}

impl Sweep {
    /// Sweeps, unless a sweep runs or has just run. Returns how long to wait until the next one.
    pub(crate) async fn try_sweep(&self) -> Duration {
        let Some(_turn) = self.turn.take(Instant::now()) else { return SWEEP_RETRY };
        match self.sweep().await {
            Ok(()) => Duration::from_secs(self.context.config.sweep_s.clamp(1, 3600)),
            Err(error) => {
                log::debug!(error:%; "no sweep");
                self.reconciler.forget_sightings();
                SWEEP_RETRY
            }
        }
    }

    async fn sweep(&self) -> Result<(), SessionsError> {
        let live = self.cache.live_and_kept(&self.context.deps.bridge).await?;
        let owners = live.iter().filter_map(|document| document.owner.as_ref());
        owners.for_each(|owner| self.failure_detector.borrow_mut().add_owner(owner));
        self.reconciler.next_round();
        self.reconciler.set_clock_skew(self.context.deps.bridge.clock_skew());
        self.handover.release_lost_sessions(&live).await?;
        let label = |document: &Arc<SessionDocument>| format!("session {}", document.id);
        for_each_concurrent(&live, label, |one| self.processor.process_session(one)).await;
        let left_behind = self.cache.left_behind().await;
        for_each_concurrent(&left_behind, label, |one| self.clear_left_behind(one)).await;
        if let Err(error) = self.processor.terminator.delete_surplus().await {
            log::debug!(cause:% = error.sentence(); "kept instances are left to the next sweep");
        }
        match tokio::time::timeout(AMS_TIMEOUT, self.instances(&live)).await {
            Ok(Ok((scope, instances))) => self.reconcile(&scope, &instances).await,
            Ok(Err(error)) => {
                self.reconciler.failed(&error);
                Ok(())
            }
            Err(_) => {
                self.reconciler.failed(&AmsError::TimedOut.into());
                Ok(())
            }
        }
    }

    /// Lists the instances that carry our tag, if this agent does so for its cluster, and the
    /// AMS-initiated ones that our sessions name.
    async fn instances(
        &self,
        live: &[Arc<SessionDocument>],
    ) -> Result<(Scope, Vec<Instance>), SessionsError> {
        let ams = &self.context.deps.ams;
        let cluster = self.context.cluster().await?;
        let leads = self.context.present_agents().await?.leads(self.context.agent(), &cluster);
        let scope = Scope { leads, ..self.context.scope(&cluster) };
        let mut instances = match leads {
            true => ams.instances(&scope.deployment_tag()).await?,
            false => Vec::new(),
        };
        let initiated = live.iter().filter(|document| reconcile::is_ams_initiated(document));
        let served = initiated.filter(|document| {
            reconcile::is_served(document, &scope) || reconcile::is_kept(document, &scope)
        });
        let found: Vec<_> = stream::iter(served.filter_map(|document| session::instance(document)))
            .map(|id| ams.instance(id))
            .buffer_unordered(MAX_CONCURRENT)
            .try_collect()
            .await?;
        instances.extend(found.into_iter().flatten());
        Ok((scope, instances))
    }

    async fn reconcile(&self, scope: &Scope, instances: &[Instance]) -> Result<(), SessionsError> {
        // The store is read after the instances were listed: what is launched meanwhile is not
        // listed, and what is listed is written down.
        let (plan, of_others) = {
            let sessions = &*self.cache.refresh(&self.context.deps.bridge).await?;
            self.reconciler.set_unreadable(sessions.unreadable());
            let (store_born, now, at) =
                (sessions.store_born(), self.context.now().as_unix(), Instant::now());
            let snapshot = Snapshot { instances, sessions, store_born, now, at };
            let mut plan = self.reconciler.observe(&snapshot, scope);
            let is_own = |lost: &LostInstance| match sessions.find(&lost.session) {
                Some(CachedSession::Live(document) | CachedSession::KeepsInstance(document)) => {
                    document.owner.as_ref() == Some(self.context.agent())
                }
                _ => false,
            };
            let of_others: Vec<_> = plan.end.extract_if(.., |lost| !is_own(lost)).collect();
            (plan, of_others)
        };
        if let Some(alert) = &plan.alert {
            log::error!(cause:% = alert; "reconciliation needs an operator");
        }
        let label = |orphan: &OrphanInstance| format!("instance {} ({})", orphan.id, orphan.name);
        for_each_concurrent(&plan.delete, label, |orphan| self.delete_orphan(orphan)).await;
        self.lost_instances.end_all(&plan.end).await;
        let label = |lost: &LostInstance| format!("session {}", lost.session);
        for_each_concurrent(&of_others, label, |lost| self.tell_owner(lost)).await;
        Ok(())
    }

    /// Has the owner of a session look for its instance.
    async fn tell_owner(&self, lost: &LostInstance) -> Result<(), SessionsError> {
        let subject = subjects::session(&lost.session, SessionOp::Instance);
        let Empty {} = self.context.deps.bridge.ask(subject, &Empty {}, OWNER_TIMEOUT).await?;
        Ok(())
    }

    /// Deletes the instance of a session that was ended by force while its agent was away.
    async fn clear_left_behind(&self, document: &SessionDocument) -> Result<(), SessionsError> {
        if document.cluster != self.context.cluster().await? {
            return Ok(());
        }
        self.processor.terminator.delete_instance(document).await?;
        let cleared = self.context.change(&document.id, |document| {
            document.instance_left_behind = false;
            Ok(())
        });
        cleared.await?;
        log::info!(session:% = document.id; "the instance that a forced end left behind is gone");
        Ok(())
    }

    async fn delete_orphan(&self, orphan: &OrphanInstance) -> Result<(), SessionsError> {
        let OrphanInstance { id, name, why } = orphan;
        self.processor.terminator.delete(id).await?;
        log::warn!(instance:% = id, name:%, cause:% = why; "an instance is deleted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sweep_runs_at_a_time_and_not_right_after_another() {
        let (turn, start) = (SweepTurn::default(), Instant::now());
        let first = turn.take(start);
        assert!(first.is_some());
        assert!(turn.take(start + 2 * SWEEP_RETRY).is_none(), "one runs");
        drop(first);
        assert!(turn.take(start + SWEEP_RETRY / 2).is_none(), "one has just begun");
        assert!(turn.take(start + SWEEP_RETRY).is_some());
    }
}
