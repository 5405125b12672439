//! The sweep: looks at all sessions and instances now and then and does what is due. It is what
//! finishes the work of a unit that died, and what no message tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use stream_ams::{Action, Change, Instance};
use stream_bridge::{BridgeError, IncomingRequest};
use stream_protocol::{SessionDocument, SessionId};
use stream_supervisor::Recipient;

use crate::SessionsError;
use crate::idle;
use crate::reconcile::{self, Look, Loss, Rules, Stray};
use crate::session::{self, Due};
use crate::unit::{Unit, locked, now};

/// The pause while the store is not reached yet, and from one sweep to the next at least: a unit that
/// is rebuilt again and again does not read the whole store each time.
pub(crate) const AWAY: Duration = Duration::from_millis(500);

/// How many sessions are attended to at the same time, so that a slow AMS holds up few.
const AT_ONCE: usize = 32;

/// How long AMS may take to tell what it runs.
const AMS_PATIENCE: Duration = Duration::from_secs(15);

impl Unit {
    /// Sweeps, unless that is being done or was just done, and returns how long to wait until the
    /// next time.
    pub(crate) async fn sweep_in_turn(&self, requests: &Recipient<IncomingRequest>) -> Duration {
        // Of a state that failed meanwhile: it finishes what it has begun.
        let Ok(_turn) = self.sweeping.try_lock() else { return AWAY };
        let began = locked(&self.swept).replace(Instant::now());
        if began.is_some_and(|began| began.elapsed() < AWAY) {
            *locked(&self.swept) = began;
            return AWAY;
        }
        match self.sweep(requests).await {
            Ok(()) => Duration::from_secs(self.config.sweep_s.clamp(1, 3600)),
            Err(error) => {
                log::debug!("no sweep: {error}");
                locked(&self.sightings).clear();
                AWAY
            }
        }
    }

    async fn sweep(&self, requests: &Recipient<IncomingRequest>) -> Result<(), SessionsError> {
        let live = self.live().await?;
        let owners = live.iter().filter_map(|document| document.owner.as_ref());
        owners.for_each(|owner| locked(&self.peers).know(owner));
        locked(&self.alerts).next_round();
        self.let_go(&live).await?;
        each(&live, |document| self.attend(document, requests)).await;
        match tokio::time::timeout(AMS_PATIENCE, self.instances(&live)).await {
            Ok(Ok((rules, instances))) => self.reconcile(&rules, &instances).await,
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
    ) -> Result<(Rules, Vec<Instance>), SessionsError> {
        let ams = &self.neighbours.ams;
        let rules = self.rules(&ams.cluster().await?.id);
        let mut instances = ams.instances(&rules.deployment_tag()).await?;
        let amss = live.iter().filter(|document| reconcile::is_amss(document));
        let served = amss.filter(|document| reconcile::is_served(document, &rules));
        let found: Vec<_> = stream::iter(served.filter_map(|document| session::instance(document)))
            .map(|id| ams.instance(id))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        instances.extend(found.into_iter().flatten());
        Ok((rules, instances))
    }

    pub(crate) async fn attend(
        &self,
        document: &SessionDocument,
        requests: &Recipient<IncomingRequest>,
    ) -> Result<(), SessionsError> {
        let id = &document.id;
        if self.answers_for(document) {
            self.serve(id, requests.clone()).await?;
        }
        match session::due(document, self.agent(), now()) {
            Due::End { cause, failed } => {
                self.begin_end(id, &cause, failed).await?;
                self.finish_end(id).await;
            }
            Due::CountAnew => {
                let counted = self.neighbours.bridge.change_session(id, |document| {
                    idle::begin(document, now());
                    Ok::<_, SessionsError>(())
                });
                counted.await?;
            }
            Due::FinishEnd => self.finish_end(id).await,
            Due::GiveUp => {
                // From here on its instance is a stray, and deleted as often as it is seen.
                log::error!("the instance of session {id} could not be deleted in time");
                self.close(document).await?;
            }
            Due::Nothing if session::is_half_launched(document, self.agent()) => {
                self.resume_launch(document, requests.clone()).await?;
            }
            Due::Nothing => {}
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
    pub(crate) async fn let_go(&self, live: &[Arc<SessionDocument>]) -> Result<(), SessionsError> {
        let mine = live.iter().filter(|document| self.answers_for(document));
        let mine: BTreeSet<&SessionId> = mine.map(|document| &document.id).collect();
        self.remember_instances(live);
        let lost: Vec<_> = self.open().iter().filter(|id| !mine.contains(id)).cloned().collect();
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

    async fn reconcile(&self, rules: &Rules, instances: &[Instance]) -> Result<(), SessionsError> {
        // Known after the instances: what is launched meanwhile is not listed, and what is listed is
        // written down.
        let plan = {
            let sessions = &*self.known().await?;
            let (store_born, now, at) = (sessions.store_born(), now(), Instant::now());
            let look = Look { instances, sessions, store_born, now, at };
            locked(&self.sightings).take(&look, rules)
        };
        if let Some(alert) = &plan.alert {
            log::error!("reconciliation needs an operator: {alert}");
        }
        locked(&self.alerts).doubt(plan.alert.clone());
        each(&plan.delete, |stray| self.remove(stray)).await;
        each(&plan.end, |loss| self.end_lost(loss)).await;
        Ok(())
    }

    async fn remove(&self, Stray { id, name, why }: &Stray) -> Result<(), SessionsError> {
        self.delete(id).await?;
        log::warn!("instance {id} ({name}) is deleted: {why}");
        Ok(())
    }

    async fn end_lost(&self, loss: &Loss) -> Result<(), SessionsError> {
        match self.loss_of(&loss.session).await? {
            Some(loss) => self.end_for(&loss).await,
            None => {
                let id = &loss.session;
                log::warn!("the instance of session {id} is there, yet AMS did not list it so");
                Ok(())
            }
        }
    }

    async fn end_for(&self, loss: &Loss) -> Result<(), SessionsError> {
        let Loss { session: id, cause, failed } = loss;
        self.begin_end(id, cause, *failed).await?;
        self.finish_end(id).await;
        Ok(())
    }

    /// Asks for one instance alone: a list may lack what has lost its tags.
    async fn loss_of(&self, id: &SessionId) -> Result<Option<Loss>, SessionsError> {
        let document = self.read(id).await?.value;
        let cluster = self.neighbours.ams.cluster().await?.id;
        let Some(instance) = session::instance(&document) else { return Ok(None) };
        if !reconcile::is_served(&document, &self.rules(&cluster)) {
            return Ok(None);
        }
        let found = self.neighbours.ams.instance(instance).await?;
        Ok(reconcile::loss(&document, found.as_ref()))
    }

    /// Acts on what AMS tells of our instances by itself. What it does not tell, the sweep finds.
    pub(crate) async fn follow_instances(&self) {
        let mut changes = self.neighbours.ams.changes();
        while let Some(Change { instance, action }) = changes.next().await {
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
pub(crate) async fn each<'a, T: 'a + Named, F>(items: &'a [T], work: impl Fn(&'a T) -> F)
where
    F: Future<Output = Result<(), SessionsError>>,
{
    let work = &work;
    stream::iter(items)
        .for_each_concurrent(AT_ONCE, |item| async move {
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

impl Named for Loss {
    fn what(&self) -> String {
        self.session.what()
    }
}

impl Named for Stray {
    fn what(&self) -> String {
        format!("instance {} ({})", self.id, self.name)
    }
}
