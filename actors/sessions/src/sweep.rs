//! The sweep: looks at all sessions and instances now and then and does what is due. It is what
//! finishes the work of a unit that died, and what no message tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use stream_ams::{Action, Instance, InstanceEvent};
use stream_bridge::{BridgeError, IncomingRequest};
use stream_protocol::{SessionDocument, SessionId, Timestamp};
use stream_supervisor::Recipient;

use crate::SessionsError;
use crate::context::{AgentContext, locked};
use crate::idle;
use crate::reconcile::{self, LostInstance, OrphanInstance, Scope, Snapshot};
use crate::session::{self, NextAction};

/// The pause while the store is not reached yet, and from one sweep to the next at least: a unit that
/// is rebuilt again and again does not read the whole store each time.
pub(crate) const SWEEP_RETRY: Duration = Duration::from_millis(500);

/// How many sessions are attended to at the same time, so that a slow AMS holds up few.
const MAX_CONCURRENT: usize = 32;

/// How long AMS may take to tell what it runs.
const AMS_TIMEOUT: Duration = Duration::from_secs(15);

impl AgentContext {
    /// Sweeps, unless that is being done or was just done, and returns how long to wait until the
    /// next time.
    pub(crate) async fn try_sweep(&self, requests: &Recipient<IncomingRequest>) -> Duration {
        // Of a state that failed meanwhile: it finishes what it has begun.
        let Ok(_turn) = self.sweep_lock.try_lock() else { return SWEEP_RETRY };
        let began = locked(&self.last_sweep).replace(Instant::now());
        if began.is_some_and(|began| began.elapsed() < SWEEP_RETRY) {
            *locked(&self.last_sweep) = began;
            return SWEEP_RETRY;
        }
        match self.sweep(requests).await {
            Ok(()) => Duration::from_secs(self.config.sweep_s.clamp(1, 3600)),
            Err(error) => {
                log::debug!("no sweep: {error}");
                locked(&self.sighting_history).clear();
                SWEEP_RETRY
            }
        }
    }

    async fn sweep(&self, requests: &Recipient<IncomingRequest>) -> Result<(), SessionsError> {
        let live = self.live().await?;
        let owners = live.iter().filter_map(|document| document.owner.as_ref());
        owners.for_each(|owner| locked(&self.failure_detector).add_owner(owner));
        locked(&self.alerts).next_round();
        self.release_lost_sessions(&live).await?;
        for_each_concurrent(&live, |document| self.process_session(document, requests)).await;
        match tokio::time::timeout(AMS_TIMEOUT, self.instances(&live)).await {
            Ok(Ok((scope, instances))) => self.reconcile(&scope, &instances).await,
            Ok(Err(error)) => {
                log::debug!("no reconciliation: {}", error.sentence());
                Ok(())
            }
            Err(_) => {
                log::debug!("no reconciliation: AMS takes too long");
                Ok(())
            }
        }
    }

    /// Returns the instances that carry our tag, and of those that AMS launched by itself the ones
    /// that our sessions name.
    async fn instances(
        &self,
        live: &[Arc<SessionDocument>],
    ) -> Result<(Scope, Vec<Instance>), SessionsError> {
        let ams = &self.dependencies.ams;
        let scope = self.scope(&ams.cluster().await?.id);
        let mut instances = ams.instances(&scope.deployment_tag()).await?;
        let amss = live.iter().filter(|document| reconcile::is_ams_initiated(document));
        let served = amss.filter(|document| reconcile::is_served(document, &scope));
        let found: Vec<_> = stream::iter(served.filter_map(|document| session::instance(document)))
            .map(|id| ams.instance(id))
            .buffer_unordered(MAX_CONCURRENT)
            .try_collect()
            .await?;
        instances.extend(found.into_iter().flatten());
        Ok((scope, instances))
    }

    pub(crate) async fn process_session(
        &self,
        document: &SessionDocument,
        requests: &Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        let id = &document.id;
        if self.answers_for(document) {
            self.serve(id, requests.clone()).await?;
        }
        match session::next_action(document, self.agent(), Timestamp::now()) {
            NextAction::BeginEnd { cause, failed } => {
                self.begin_termination(id, &cause, failed).await?;
                self.finish_end(id).await;
            }
            NextAction::RestartIdleTimer => {
                let counted = self.dependencies.bridge.change_session(id, |document| {
                    idle::restart(document, Timestamp::now());
                    Ok::<_, SessionsError>(())
                });
                counted.await?;
            }
            NextAction::FinishEnd => self.finish_end(id).await,
            NextAction::Abandon => {
                // From here on its instance is a stray, and deleted as often as it is seen.
                log::error!("the instance of session {id} could not be deleted in time");
                self.close(document).await?;
            }
            NextAction::None if session::needs_relaunch(document, self.agent()) => {
                self.resume_launch(document, requests.clone()).await?;
            }
            NextAction::None => {}
        }
        Ok(())
    }

    fn remember_instances(&self, live: &[Arc<SessionDocument>]) {
        let mine = live.iter().filter(|document| self.answers_for(document));
        let served = mine.filter_map(|one| Some((one.instance_id.clone()?, one.id.clone())));
        *locked(&self.instances) = served.collect();
    }

    pub(crate) fn answers_for(&self, document: &SessionDocument) -> bool {
        session::is_owned_by(document, self.agent()) && !document.status.is_final()
    }

    /// Takes no more requests for sessions that are another unit's by now, or gone.
    pub(crate) async fn release_lost_sessions(
        &self,
        live: &[Arc<SessionDocument>],
    ) -> Result<(), SessionsError> {
        let mine = live.iter().filter(|document| self.answers_for(document));
        let mine: BTreeSet<&SessionId> = mine.map(|document| &document.id).collect();
        self.remember_instances(live);
        let lost: Vec<_> = self.serving().iter().filter(|id| !mine.contains(id)).cloned().collect();
        for id in lost {
            // A session claimed since the documents were read is not in the list yet.
            let document = match self.read(&id).await {
                Ok(entry) => Some(entry.value),
                Err(SessionsError::Bridge(BridgeError::NotFound)) => None,
                Err(error) => return Err(error),
            };
            if document.is_none_or(|document| !self.answers_for(&document)) {
                self.stop_serving(&id).await?;
            }
        }
        Ok(())
    }

    async fn reconcile(&self, scope: &Scope, instances: &[Instance]) -> Result<(), SessionsError> {
        // Known after the instances: what is launched meanwhile is not listed, and what is listed is
        // written down.
        let plan = {
            let sessions = &*self.refreshed_cache().await?;
            let (store_born, now, at) =
                (sessions.store_born(), Timestamp::now().as_unix(), Instant::now());
            let snapshot = Snapshot { instances, sessions, store_born, now, at };
            locked(&self.sighting_history).observe(&snapshot, scope)
        };
        if let Some(alert) = &plan.alert {
            log::error!("reconciliation needs an operator: {alert}");
        }
        locked(&self.alerts).set_unknown_instances(plan.alert.clone());
        for_each_concurrent(&plan.delete, |stray| self.remove(stray)).await;
        for_each_concurrent(&plan.end, |loss| self.end_lost(loss)).await;
        Ok(())
    }

    async fn remove(
        &self,
        OrphanInstance { id, name, why }: &OrphanInstance,
    ) -> Result<(), SessionsError> {
        self.delete(id).await?;
        log::warn!("instance {id} ({name}) is deleted: {why}");
        Ok(())
    }

    async fn end_lost(&self, loss: &LostInstance) -> Result<(), SessionsError> {
        match self.loss_of(&loss.session).await? {
            Some(loss) => self.end_for(&loss).await,
            None => {
                let id = &loss.session;
                log::warn!("the instance of session {id} is there, yet AMS did not list it so");
                Ok(())
            }
        }
    }

    async fn end_for(&self, loss: &LostInstance) -> Result<(), SessionsError> {
        let LostInstance { session: id, cause, failed } = loss;
        self.begin_termination(id, cause, *failed).await?;
        self.finish_end(id).await;
        Ok(())
    }

    /// Asks for one instance alone: a list may lack what has lost its tags.
    async fn loss_of(&self, id: &SessionId) -> Result<Option<LostInstance>, SessionsError> {
        let document = self.read(id).await?.value;
        let cluster = self.dependencies.ams.cluster().await?.id;
        let Some(instance) = session::instance(&document) else { return Ok(None) };
        if !reconcile::is_served(&document, &self.scope(&cluster)) {
            return Ok(None);
        }
        let found = self.dependencies.ams.instance(instance).await?;
        Ok(reconcile::lost_instance(&document, found.as_ref()))
    }

    /// Acts on what AMS tells of our instances by itself. What it does not tell, the sweep finds.
    pub(crate) async fn follow_instances(&self) {
        let mut changes = self.dependencies.ams.changes();
        while let Some(InstanceEvent { instance, action }) = changes.next().await {
            if !matches!(action, Action::Failed | Action::Removed | Action::Stopped) {
                continue;
            }
            let Some(session) = locked(&self.instances).get(&instance).cloned() else { continue };
            let looked = async {
                match self.loss_of(&session).await? {
                    Some(loss) => self.end_for(&loss).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = looked.await {
                let why = error.sentence();
                log::debug!("what happened to session {session} is left to the sweep: {why}");
            }
        }
    }
}

/// Does `work` on each of `items`, several at a time. One that cannot be helped now is left to the
/// next sweep and does not keep the others waiting.
pub(crate) async fn for_each_concurrent<'a, T: 'a + Named, F>(
    items: &'a [T],
    work: impl Fn(&'a T) -> F,
) where
    F: Future<Output = Result<(), SessionsError>>,
{
    let work = &work;
    stream::iter(items)
        .for_each_concurrent(MAX_CONCURRENT, |item| async move {
            if let Err(error) = work(item).await {
                log::warn!("{} is left to the next sweep: {}", item.what(), error.sentence());
            }
        })
        .await;
}

/// What a log line calls it.
pub(crate) trait Named {
    fn what(&self) -> String;
}

impl Named for Arc<SessionDocument> {
    fn what(&self) -> String {
        self.id.what()
    }
}

impl Named for SessionId {
    fn what(&self) -> String {
        format!("session {self}")
    }
}

impl Named for LostInstance {
    fn what(&self) -> String {
        self.session.what()
    }
}

impl Named for OrphanInstance {
    fn what(&self) -> String {
        format!("instance {} ({})", self.id, self.name)
    }
}
