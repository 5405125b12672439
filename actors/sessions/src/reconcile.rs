//! Reconciliation: what AMS runs against what the store says should run. Pure, because what it
//! decides cannot be undone.
//!
//! One agent of a cluster lists the instances for all, the first by name of those that can ask AMS.
//! What it finds about the sessions of others it tells their owners, who look for themselves.
//!
//! An instance is only ever judged when it carries the tags of this deployment *and* this cluster,
//! which we put on what we launch, and only condemned when two sightings, some time apart, agree.
//! What AMS launched by itself carries neither: it is known by its id in the document of its
//! session, which waits for it, and is never condemned. What is held against ours matters:
//!
//! - Its session has ended, or is served by another instance: the store says so itself, and the
//!   deletion only finishes what was decided before. One that is kept after the end of its session
//!   is not judged here: the document says when it goes.
//! - The store knows no such session. The store may be another than it was. So an instance is not
//!   deleted while the store is new, or when the instance is older than the store or tagged with
//!   another one. If it would hit more than a fifth of all instances at once, nothing is deleted
//!   and an operator is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use stream_ams::{Instance, InstanceStatus};
use stream_protocol::{AgentId, NO_ROOM, Origin, SessionDocument, SessionId, Status, Timestamp};
use tokio::time::Instant;

use crate::kept_instance::Retention;
use crate::session;
use crate::session_cache::{CachedSession, CachedSessions};

/// When instances that no session is known of are more than one in this many, none is deleted.
const MAX_UNKNOWN_RATIO: usize = 5;

/// Whose instances are judged, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) agent: AgentId,
    pub(crate) deployment: String,
    /// Id of the cluster that AMS says it manages.
    pub(crate) cluster: String,
    /// Id of the store, which another deployment of the same name does not have.
    pub(crate) store: Option<String>,
    /// The time between the sightings that condemn.
    pub(crate) gap: Duration,
    /// Whether this agent lists the instances of the cluster, for all agents of it.
    pub(crate) leads: bool,
}

impl Scope {
    /// The tags of an instance that serves `session`.
    pub(crate) fn tags(&self, session: &SessionId) -> Vec<String> {
        let store = self.store.iter().map(|store| format!("{STORE}{store}"));
        [format!("{SESSION}{session}"), self.deployment_tag(), self.cluster_tag()]
            .into_iter()
            .chain(store)
            .collect()
    }

    pub(crate) fn deployment_tag(&self) -> String {
        format!("deployment={}", self.deployment)
    }

    fn cluster_tag(&self) -> String {
        format!("cluster={}", self.cluster)
    }

    fn owns(&self, document: &SessionDocument) -> bool {
        document.owner.as_ref() == Some(&self.agent)
    }

    /// Whether the session of the instance lies in another store than ours.
    fn is_of_other_store(&self, instance: &Instance) -> bool {
        let store = instance.tags.iter().find_map(|tag| tag.strip_prefix(STORE));
        store.is_some_and(|store| self.store.as_deref() != Some(store))
    }

    /// Whether the tags of the instance say that `session` of our store launched it.
    pub(crate) fn launched(&self, instance: &Instance, session: &SessionId) -> bool {
        instance.tags.contains(&format!("{SESSION}{session}"))
            && self.is_ours(instance)
            && !self.is_of_other_store(instance)
    }

    fn is_ours(&self, instance: &Instance) -> bool {
        let has = |tag: String| instance.tags.contains(&tag);
        has(self.deployment_tag()) && has(self.cluster_tag())
    }
}

/// The tag that names an instance's session begins with this.
const SESSION: &str = "session=";

/// The tag that names the store of that session begins with this. What 0.1 launched has none.
const STORE: &str = "store=";

/// One look at both sides. The instances are listed before the store is read: a session is
/// always written down before its instance is launched.
pub(crate) struct Snapshot<'a> {
    pub(crate) instances: &'a [Instance],
    pub(crate) sessions: &'a CachedSessions,
    /// When the store was made, in Unix seconds.
    pub(crate) store_born: u64,
    /// The time of the look, in Unix seconds and as what cannot be set back.
    pub(crate) now: u64,
    pub(crate) at: Instant,
}

/// What is to be done now.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) delete: Vec<OrphanInstance>,
    pub(crate) end: Vec<LostInstance>,
    /// What only an operator can settle.
    pub(crate) alert: Option<String>,
}

/// An instance that is to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OrphanInstance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) why: &'static str,
}

/// A session whose instance is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LostInstance {
    pub(crate) session: SessionId,
    pub(crate) cause: String,
    pub(crate) failed: bool,
    pub(crate) loss: Loss,
}

/// What is left of an instance that is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// It failed or stopped, and is there.
    Down,
    /// AMS knows it no more.
    Gone,
    /// AMS had no room for it, so that it never ran.
    NoRoom,
}

/// What was seen so far; forgotten by a restart of the process, which only delays.
#[derive(Debug, Default)]
pub(crate) struct SightingHistory {
    /// The store that all this was seen beside.
    store_born: u64,
    orphans: BTreeMap<String, Instant>,
    missing: BTreeMap<SessionId, Instant>,
}

/// What speaks against an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OrphanReason {
    SessionEnded,
    Duplicate,
    UnknownSession,
    /// The store knows nothing of it, and is too young to, or another one.
    OtherStore,
}

impl SightingHistory {
    /// Forgets everything: after the store was away, the next look is a first one.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(crate) fn pretend(&mut self, instance: &str) {
        self.orphans.insert(instance.to_owned(), Instant::now());
    }

    #[cfg(test)]
    pub(crate) fn has(&self, instance: &str) -> bool {
        self.orphans.contains_key(instance)
    }

    /// Takes a look in and returns what follows.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot<'_>, scope: &Scope) -> Plan {
        if self.store_born != snapshot.store_born {
            *self = Self { store_born: snapshot.store_born, ..Self::default() };
        }
        let age = Duration::from_secs(snapshot.now.saturating_sub(snapshot.store_born));
        if age < scope.gap {
            return Plan::default();
        }
        let mut plan = Plan { end: self.lost_instances(snapshot, scope), ..Plan::default() };
        self.judge(snapshot, scope, &mut plan);
        plan
    }

    fn judge(&mut self, snapshot: &Snapshot<'_>, scope: &Scope, plan: &mut Plan) {
        let ours: Vec<_> = snapshot.instances.iter().filter(|one| scope.is_ours(one)).collect();
        let judged = ours.iter().filter_map(|one| {
            let reason = orphan_reason(one, snapshot, scope)?;
            Some((*one, reason))
        });
        let judged: Vec<_> = judged.collect();
        let ids: BTreeSet<_> = judged.iter().map(|(one, _)| one.id.as_str()).collect();
        self.orphans.retain(|id, _| ids.contains(id.as_str()));

        let (mut unknown, mut doubtful, mut older, mut settled) = (Vec::new(), 0, 0, false);
        for (one, reason) in judged {
            let confirmed =
                seen_long_enough(&mut self.orphans, one.id.clone(), snapshot.at, scope.gap);
            let orphan = |why| OrphanInstance { id: one.id.clone(), name: one.name.clone(), why };
            match reason {
                OrphanReason::SessionEnded if confirmed => {
                    plan.delete.push(orphan("its session has ended"))
                }
                OrphanReason::Duplicate if confirmed => {
                    plan.delete.push(orphan("its session has another instance"));
                }
                OrphanReason::SessionEnded | OrphanReason::Duplicate => {}
                OrphanReason::UnknownSession => {
                    doubtful += 1;
                    unknown.extend(confirmed.then(|| orphan("no session is known of it")));
                }
                OrphanReason::OtherStore => {
                    older += 1;
                    settled |= confirmed;
                }
            }
        }
        // Those seen for the first time count too: a store is not lost in one moment. One alone is
        // always below the brake: of few instances, one is already many.
        if doubtful <= 1.max(ours.len() / MAX_UNKNOWN_RATIO) {
            plan.delete.append(&mut unknown);
            doubtful = 0;
        }
        if settled || !unknown.is_empty() {
            plan.alert = Some(format!(
                "{} of {} instances of this deployment belong to no session that the store \
                 knows ({older} are of another store or older than this one): none of them is \
                 deleted, check whether the store is the right one, and whether another \
                 deployment on this cluster has the same name (agent.deployment)",
                doubtful + older,
                ours.len()
            ));
        }
    }

    fn lost_instances(&mut self, snapshot: &Snapshot<'_>, scope: &Scope) -> Vec<LostInstance> {
        let names = snapshot.instances.iter().map(|one| (one.name.as_str(), one));
        let by_name: HashMap<&str, &Instance> = names.collect();
        let ids = snapshot.instances.iter().map(|one| (one.id.as_str(), one));
        let by_id: HashMap<&str, &Instance> = ids.collect();
        let mut missing = BTreeSet::new();
        let mut lost = Vec::new();
        let live = snapshot.sessions.live().filter(|document| has_instance(document, scope));
        let kept = snapshot.sessions.kept().filter(|document| keeps_instance(document, scope));
        for document in live.chain(kept).filter(|document| is_looked_at(document, scope)) {
            let Some(instance) = session::instance(document) else { continue };
            // A name is what somebody chose; the id of a stranger is nobody's choice.
            let listed = if is_ams_initiated(document) {
                by_id.get(instance)
            } else {
                by_name.get(instance)
            };
            let listed = listed.copied();
            if listed.is_none() {
                missing.insert(document.id.clone());
                if !seen_long_enough(&mut self.missing, document.id.clone(), snapshot.at, scope.gap)
                {
                    continue;
                }
            }
            lost.extend(lost_instance(document, listed));
        }
        self.missing.retain(|id, _| missing.contains(id));
        lost
    }
}

/// What it means for a session that AMS says this of its instance, or knows none.
pub(crate) fn lost_instance(
    document: &SessionDocument,
    instance: Option<&Instance>,
) -> Option<LostInstance> {
    let lost = |cause: &str, failed, loss| {
        let (session, cause) = (document.id.clone(), cause.to_owned());
        Some(LostInstance { session, cause, failed, loss })
    };
    let Some(instance) = instance else {
        return match is_ams_initiated(document) {
            true => lost("the instance was deleted", false, Loss::Gone),
            false => lost("the instance has disappeared", true, Loss::Gone),
        };
    };
    if document.status.is_final() {
        return None;
    }
    match instance.status {
        InstanceStatus::Error => {
            // What AMS launches by itself is not ours to launch again.
            let waits = document.status == Status::Created && !is_ams_initiated(document);
            let loss = if waits && instance.found_no_room() { Loss::NoRoom } else { Loss::Down };
            // Placing an instance is part of its launch.
            let cause = match document.status == Status::Created && instance.found_no_room() {
                true => format!("{NO_ROOM}: {}", instance.message),
                false => format!("the instance failed: {}", instance.message),
            };
            lost(&cause, true, loss)
        }
        InstanceStatus::Stopped => lost("the instance stopped", false, Loss::Down),
        InstanceStatus::Deleted => lost("the instance stopped", false, Loss::Gone),
        _ => None,
    }
}

/// What AMS said of an instance when it was asked for it alone.
pub(crate) struct Judgement {
    pub(crate) lost: LostInstance,
    /// What AMS was asked for.
    pub(crate) instance: String,
    /// When it was asked.
    pub(crate) asked: Timestamp,
}

impl Judgement {
    /// Ends the session in `document` as far as that is still due: it may be another agent's by
    /// now, or served by another instance, or the instance may run again.
    pub(crate) fn apply(
        &self,
        document: &mut SessionDocument,
        scope: &Scope,
        retention: Retention,
        now: Timestamp,
    ) {
        let is_here = is_served(document, scope) || is_kept(document, scope);
        if !is_here || session::instance(document) != Some(self.instance.as_str()) {
            return;
        }
        let LostInstance { cause, failed, loss, .. } = &self.lost;
        let (cause, failed) = (cause.clone(), *failed);
        match loss {
            Loss::Gone => session::on_instance_lost(document, cause, failed, now),
            // Started since AMS was asked, it has said so.
            Loss::Down | Loss::NoRoom if document.running_since >= self.asked => {}
            Loss::Down => session::fail(document, cause, failed, retention, now),
            Loss::NoRoom => session::end(document, cause, failed, now),
        }
    }
}

/// Whether AMS launched the instance of the session by itself.
pub(crate) fn is_ams_initiated(document: &SessionDocument) -> bool {
    document.origin == Origin::Ams
}

/// Whether it was first seen long enough ago; the first sighting is noted.
fn seen_long_enough<K: Ord>(
    seen: &mut BTreeMap<K, Instant>,
    key: K,
    at: Instant,
    gap: Duration,
) -> bool {
    let first = *seen.entry(key).or_insert(at);
    first < at && at.duration_since(first) >= gap
}

/// Whether this agent answers for the instance of the session: launched, here, and not ending.
pub(crate) fn is_served(document: &SessionDocument, scope: &Scope) -> bool {
    scope.owns(document) && has_instance(document, scope)
}

/// Whether this agent answers for the instance of a session that has ended: it is kept, here.
pub(crate) fn is_kept(document: &SessionDocument, scope: &Scope) -> bool {
    scope.owns(document) && keeps_instance(document, scope)
}

/// Whether the session has an instance in this cluster, whichever agent answers for it.
fn has_instance(document: &SessionDocument, scope: &Scope) -> bool {
    let lives = matches!(document.status, Status::Created | Status::Active);
    lives && document.instance_id.is_some() && document.cluster == scope.cluster
}

/// Whether the session has ended, and an instance of this cluster is kept for it.
fn keeps_instance(document: &SessionDocument, scope: &Scope) -> bool {
    document.kept_instance.is_some() && document.cluster == scope.cluster
}

/// Whether this agent has looked for the instance of the session. Those of AMS carry no tags by
/// which they could be listed: each agent asks for those of its own sessions.
fn is_looked_at(document: &SessionDocument, scope: &Scope) -> bool {
    if is_ams_initiated(document) { scope.owns(document) } else { scope.leads }
}

fn orphan_reason(
    instance: &Instance,
    snapshot: &Snapshot<'_>,
    scope: &Scope,
) -> Option<OrphanReason> {
    let session = instance.tags.iter().find_map(|tag| tag.strip_prefix(SESSION));
    let session = session.and_then(|session| snapshot.sessions.find(&session.parse().ok()?));
    let document = match session {
        Some(CachedSession::LeftBehind(document)) => {
            return (!is_ams_initiated(document)).then_some(OrphanReason::SessionEnded);
        }
        Some(CachedSession::Live(document) | CachedSession::KeepsInstance(document)) => document,
        Some(CachedSession::Ended(Origin::Ams) | CachedSession::Unreadable) => return None,
        Some(CachedSession::Ended(Origin::Client)) => return Some(OrphanReason::SessionEnded),
        None => {
            // The clocks of AMS and NATS may differ by as much as we wait anyhow.
            let known_since = snapshot.store_born.saturating_add(scope.gap.as_secs());
            let older = instance.created_at < known_since;
            return Some(if older || scope.is_of_other_store(instance) {
                OrphanReason::OtherStore
            } else {
                OrphanReason::UnknownSession
            });
        }
    };
    if is_ams_initiated(document) {
        return None;
    }
    let same_name =
        document.instance_name.as_ref().is_none_or(|name| name.as_str() == instance.name);
    let same_id = document.instance_id.as_ref().is_some_and(|id| *id == instance.id);
    if same_name || same_id || document.cluster != scope.cluster {
        return None;
    }
    Some(OrphanReason::Duplicate)
}

#[cfg(test)]
mod tests;
