//! Reconciliation: what AMS runs against what the store says should run. Pure, because what it
//! decides cannot be undone.
//!
//! An instance is only ever judged when it carries the tags of this deployment *and* this cluster,
//! which we put on what we launch, and only condemned when two sightings, some time apart, agree.
//! What AMS launched by itself carries neither: it is known by its id in the document of its
//! session, which ends with it, and is never condemned. What is held against ours matters:
//!
//! - Its session has ended, or is served by another instance: the store says so itself, and the
//!   deletion only finishes what was decided before.
//! - The store knows no such session. That may as well mean that the store is not the one it was, so
//!   it counts for nothing while the store is new, never for an instance older than the store, and
//!   when it would hit more than a fifth of all instances at once, nothing is deleted and an
//!   operator is asked instead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use stream_ams::{Instance, InstanceStatus};
use stream_protocol::{AgentId, Origin, SessionDocument, SessionId, Status};

use crate::known::{Known, Record};
use crate::session;

/// When instances that no session is known of are more than one in this many, none is deleted.
const BRAKE: usize = 5;

/// Whose instances are judged, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) agent: AgentId,
    pub(crate) deployment: String,
    /// Id of the cluster that AMS says it manages.
    pub(crate) cluster: String,
    /// The time between the sightings that condemn.
    pub(crate) gap: Duration,
}

impl Rules {
    /// The tags of an instance that serves `session`.
    pub(crate) fn tags(&self, session: &SessionId) -> Vec<String> {
        vec![format!("{SESSION}{session}"), self.deployment_tag(), self.cluster_tag()]
    }

    pub(crate) fn deployment_tag(&self) -> String {
        format!("deployment={}", self.deployment)
    }

    fn cluster_tag(&self) -> String {
        format!("cluster={}", self.cluster)
    }

    fn is_ours(&self, instance: &Instance) -> bool {
        let has = |tag: String| instance.tags.contains(&tag);
        has(self.deployment_tag()) && has(self.cluster_tag())
    }
}

/// The tag that names an instance's session begins with this.
const SESSION: &str = "session=";

/// One look at both sides. The instances are listed before the store is read: a session is
/// always written down before its instance is launched.
pub(crate) struct Look<'a> {
    pub(crate) instances: &'a [Instance],
    pub(crate) sessions: &'a Known,
    /// When the store was made, in Unix seconds.
    pub(crate) store_born: u64,
    /// The time of the look, in Unix seconds and as what cannot be set back.
    pub(crate) now: u64,
    pub(crate) at: Instant,
}

/// What is to be done now.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) delete: Vec<Stray>,
    pub(crate) end: Vec<Loss>,
    /// What only an operator can settle.
    pub(crate) alert: Option<String>,
}

/// An instance that is to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stray {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) why: &'static str,
}

/// A session of this agent whose instance is not what it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Loss {
    pub(crate) session: SessionId,
    pub(crate) cause: String,
    pub(crate) failed: bool,
}

/// What was seen so far; forgotten by a restart of the process, which only delays.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// The store that all this was seen beside.
    store_born: u64,
    strays: BTreeMap<String, Instant>,
    losses: BTreeMap<SessionId, Instant>,
}

/// What speaks against an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Ended,
    Twin,
    Unknown,
    /// The store knows nothing of it, and is too young to.
    Older,
}

impl Sightings {
    /// Forgets everything: after the store was away, the next look is a first one.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a look in and returns what follows.
    pub(crate) fn take(&mut self, look: &Look<'_>, rules: &Rules) -> Plan {
        if self.store_born != look.store_born {
            *self = Self { store_born: look.store_born, ..Self::default() };
        }
        let age = Duration::from_secs(look.now.saturating_sub(look.store_born));
        if age < rules.gap {
            return Plan::default();
        }
        let mut plan = Plan { end: self.losses(look, rules), ..Plan::default() };
        self.judge(look, rules, &mut plan);
        plan
    }

    fn judge(&mut self, look: &Look<'_>, rules: &Rules, plan: &mut Plan) {
        let ours: Vec<_> = look.instances.iter().filter(|one| rules.is_ours(one)).collect();
        let judged = ours.iter().filter_map(|one| {
            let verdict = verdict(one, look, rules)?;
            Some((*one, verdict))
        });
        let judged: Vec<_> = judged.collect();
        let ids: BTreeSet<_> = judged.iter().map(|(one, _)| one.id.as_str()).collect();
        self.strays.retain(|id, _| ids.contains(id.as_str()));

        let (mut unknown, mut doubtful, mut older, mut settled) = (Vec::new(), 0, 0, false);
        for (one, verdict) in judged {
            let confirmed = seen_twice(&mut self.strays, one.id.clone(), look.at, rules.gap);
            let stray = |why| Stray { id: one.id.clone(), name: one.name.clone(), why };
            match verdict {
                Verdict::Ended if confirmed => plan.delete.push(stray("its session has ended")),
                Verdict::Twin if confirmed => {
                    plan.delete.push(stray("its session has another instance"));
                }
                Verdict::Ended | Verdict::Twin => {}
                Verdict::Unknown => {
                    doubtful += 1;
                    unknown.extend(confirmed.then(|| stray("no session is known of it")));
                }
                Verdict::Older => {
                    older += 1;
                    settled |= confirmed;
                }
            }
        }
        // Those seen for the first time count too: a store is not lost in one moment. One alone is
        // always below the brake: of few instances, one is already many.
        if doubtful <= 1.max(ours.len() / BRAKE) {
            plan.delete.append(&mut unknown);
            doubtful = 0;
        }
        if settled || !unknown.is_empty() {
            plan.alert = Some(format!(
                "{} of {} instances of this deployment belong to no session that the store \
                 knows ({older} are older than the store): none of them is deleted, check whether \
                 the store is the right one",
                doubtful + older,
                ours.len()
            ));
        }
    }

    fn losses(&mut self, look: &Look<'_>, rules: &Rules) -> Vec<Loss> {
        let names = look.instances.iter().map(|one| (one.name.as_str(), one));
        let by_name: HashMap<&str, &Instance> = names.collect();
        let ids = look.instances.iter().map(|one| (one.id.as_str(), one));
        let by_id: HashMap<&str, &Instance> = ids.collect();
        let mut missing = BTreeSet::new();
        let mut losses = Vec::new();
        for document in look.sessions.live().filter(|document| is_served(document, rules)) {
            let Some(instance) = session::instance(document) else { continue };
            // A name is what somebody chose; the id of a stranger is nobody's choice.
            let listed =
                if is_amss(document) { by_id.get(instance) } else { by_name.get(instance) };
            let listed = listed.copied();
            if listed.is_none() {
                missing.insert(document.id.clone());
                if !seen_twice(&mut self.losses, document.id.clone(), look.at, rules.gap) {
                    continue;
                }
            }
            losses.extend(loss(document, listed));
        }
        self.losses.retain(|id, _| missing.contains(id));
        losses
    }
}

/// What it means for a session that AMS says this of its instance, or knows none.
pub(crate) fn loss(document: &SessionDocument, instance: Option<&Instance>) -> Option<Loss> {
    let session = document.id.clone();
    let Some(instance) = instance else {
        return Some(match is_amss(document) {
            true => Loss { session, cause: "the instance was deleted".to_owned(), failed: false },
            false => {
                Loss { session, cause: "the instance has disappeared".to_owned(), failed: true }
            }
        });
    };
    match instance.status {
        InstanceStatus::Error => {
            let cause = format!("the instance failed: {}", instance.message);
            Some(Loss { session, cause, failed: true })
        }
        InstanceStatus::Stopped | InstanceStatus::Deleted => {
            let cause = "the instance stopped".to_owned();
            Some(Loss { session, cause, failed: false })
        }
        _ => None,
    }
}

/// Whether AMS launched the instance of the session by itself.
pub(crate) fn is_amss(document: &SessionDocument) -> bool {
    document.origin == Origin::Ams
}

/// Whether it was first seen long enough ago; the first sighting is noted.
fn seen_twice<K: Ord>(seen: &mut BTreeMap<K, Instant>, key: K, at: Instant, gap: Duration) -> bool {
    let first = *seen.entry(key).or_insert(at);
    first < at && at.duration_since(first) >= gap
}

/// Whether this agent answers for the instance of the session: launched, here, and not ending.
pub(crate) fn is_served(document: &SessionDocument, rules: &Rules) -> bool {
    let mine = document.owner.as_ref() == Some(&rules.agent);
    let lives = matches!(document.status, Status::Created | Status::Active);
    mine && lives && document.instance_id.is_some() && document.cluster == rules.cluster
}

fn verdict(instance: &Instance, look: &Look<'_>, rules: &Rules) -> Option<Verdict> {
    let session = instance.tags.iter().find_map(|tag| tag.strip_prefix(SESSION));
    let session = session.and_then(|session| look.sessions.find(&session.parse().ok()?));
    let document = match session {
        Some(Record::Live(document)) if is_amss(document) => return None,
        Some(Record::Live(document)) => document,
        Some(Record::Ended(Origin::Ams)) => return None,
        Some(Record::Ended(Origin::Client)) => return Some(Verdict::Ended),
        None => {
            // The clocks of AMS and NATS may differ by as much as we wait anyhow.
            let known_since = look.store_born.saturating_add(rules.gap.as_secs());
            let older = instance.created_at < known_since;
            return Some(if older { Verdict::Older } else { Verdict::Unknown });
        }
    };
    let same_name =
        document.instance_name.as_ref().is_none_or(|name| name.as_str() == instance.name);
    let same_id = document.instance_id.as_ref().is_some_and(|id| *id == instance.id);
    if same_name || same_id || document.cluster != rules.cluster {
        return None;
    }
    Some(Verdict::Twin)
}

#[cfg(test)]
mod tests;
