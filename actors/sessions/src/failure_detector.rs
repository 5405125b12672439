//! Which agents have left their sessions to others: those that give no sign of life any more, those
//! that drain, and those that manage another cluster by now. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stream_protocol::{AgentId, Presence};
use tokio::time::Instant;

/// Why an agent has left its sessions to others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Departure {
    /// It gives no sign of life.
    Gone,
    /// It hands its sessions over, and finishes what it has begun.
    Draining,
    /// It manages another cluster, where its sessions are not.
    Moved,
}

/// The agents that have left, and why.
#[derive(Debug, Default)]
pub(crate) struct Departed(BTreeMap<AgentId, Departure>);

impl Departed {
    /// Returns why `agent` has left; `None` when it has not.
    pub(crate) fn reason(&self, agent: &AgentId) -> Option<Departure> {
        self.0.get(agent).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `agent` off: what it owns is its own.
    pub(crate) fn remove(&mut self, agent: &AgentId) {
        self.0.remove(agent);
    }
}

impl FromIterator<(AgentId, Departure)> for Departed {
    fn from_iter<I: IntoIterator<Item = (AgentId, Departure)>>(agents: I) -> Self {
        Self(agents.into_iter().collect())
    }
}

/// The agents that give signs of life.
#[derive(Debug, Default)]
pub(crate) struct PresentAgents {
    /// What they say.
    pub(crate) presences: Vec<Presence>,
    /// Those whose words this version cannot read: they are there, and no more is known.
    pub(crate) unreadable: BTreeSet<AgentId>,
}

impl PresentAgents {
    /// Returns all that are there.
    fn agents(&self) -> BTreeSet<&AgentId> {
        let agents = self.presences.iter().map(|presence| &presence.agent);
        agents.chain(&self.unreadable).collect()
    }

    /// Whether `agent` lists the instances of `cluster` for all agents of it: no other one that can
    /// ask AMS comes before it. Two may for a moment, which does no harm.
    pub(crate) fn leads(&self, agent: &AgentId, cluster: &str) -> bool {
        !self.presences.iter().any(|other| {
            let can_ask = other.unavailable.is_none() && !other.draining;
            other.agent < *agent && other.cluster == cluster && can_ask
        })
    }

    pub(crate) fn contains(&self, agent: &AgentId) -> bool {
        self.agents().contains(agent)
    }
}

/// Collects presences by the names that their agents have in the store, `None` for what cannot be
/// read.
impl FromIterator<(String, Option<Presence>)> for PresentAgents {
    fn from_iter<I: IntoIterator<Item = (String, Option<Presence>)>>(found: I) -> Self {
        let mut present = Self::default();
        for (name, presence) in found {
            match presence {
                Some(presence) => present.presences.push(presence),
                None => present.unreadable.extend(name.parse::<AgentId>().ok()),
            }
        }
        present
    }
}

/// What was seen of the other agents.
#[derive(Default)]
pub(crate) struct FailureDetector {
    /// Who may own sessions.
    known: BTreeSet<AgentId>,
    /// Since when each of those is missed that did not show at the last look.
    missed: BTreeMap<AgentId, Instant>,
}

impl FailureDetector {
    /// Takes note of somebody who owns sessions.
    pub(crate) fn add_owner(&mut self, owner: &AgentId) {
        if !self.known.contains(owner) {
            self.known.insert(owner.clone());
        }
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, agent: &AgentId) -> bool {
        self.known.contains(agent)
    }

    /// Takes a look at who is `present`, which was asked for and answered at these times, and
    /// returns who has left the sessions of `cluster`. To be missed at one look means little: the
    /// store may have come back empty, and everybody is about to announce themselves. So whoever
    /// drains has left at once, and who is missed has after a `gap`: between the answer to the
    /// first look and the question of this one, since an answer may have been long under way.
    pub(crate) fn observe(
        &mut self,
        present: &PresentAgents,
        cluster: &str,
        (asked, answered): (Instant, Instant),
        gap: Duration,
    ) -> Departed {
        let here = present.agents();
        self.known.extend(here.iter().copied().cloned());
        self.missed.retain(|agent, _| !here.contains(agent));
        for agent in self.known.iter().filter(|agent| !here.contains(agent)) {
            self.missed.entry(agent.clone()).or_insert(answered);
        }
        let is_long = |since: &Instant| asked.saturating_duration_since(*since) >= gap;
        let gone = self.missed.iter().filter(|(_, since)| is_long(since));
        let gone = gone.map(|(agent, _)| (agent.clone(), Departure::Gone));
        let left = present.presences.iter().filter_map(|presence| {
            let why = match presence.cluster == cluster {
                true => presence.draining.then_some(Departure::Draining)?,
                false => Departure::Moved,
            };
            Some((presence.agent.clone(), why))
        });
        gone.chain(left).collect()
    }

    /// Nothing could be seen for a while: who is missed is missed from the next look on.
    pub(crate) fn reset(&mut self) {
        self.missed.clear();
    }

    /// Forgets those of `left` who own nothing any more, that is, are not among `owners`.
    pub(crate) fn forget(&mut self, left: &Departed, owners: &BTreeSet<AgentId>) {
        let over = |agent: &AgentId| left.reason(agent).is_some() && !owners.contains(agent);
        self.known.retain(|agent| !over(agent));
        self.missed.retain(|agent, _| !over(agent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(5);

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    /// A look that takes no time.
    fn at(time: Instant) -> (Instant, Instant) {
        (time, time)
    }

    fn nobody() -> PresentAgents {
        PresentAgents::default()
    }

    fn present(names: &[&str]) -> PresentAgents {
        let presence = |name: &&str| Presence {
            agent: agent(name),
            region: String::new(),
            cluster: "c".to_owned(),
            catalogue: String::new(),
            capacity: 1,
            draining: false,
            unavailable: None,
            version: "1".to_owned(),
            stun_servers: Vec::new(),
        };
        PresentAgents { presences: names.iter().map(presence).collect(), ..nobody() }
    }

    fn names(left: Departed) -> Vec<String> {
        left.0.into_keys().map(|agent| agent.to_string()).collect()
    }

    #[test]
    fn who_does_not_show_for_a_while_has_left() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        failure_detector.add_owner(&agent("c"));
        assert!(failure_detector.observe(&present(&["a", "b"]), "c", at(start), GAP).is_empty());
        assert!(
            failure_detector.observe(&present(&["a"]), "c", at(start + GAP / 2), GAP).is_empty()
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a"]), "c", at(start + GAP), GAP)),
            ["c"]
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a"]), "c", at(start + GAP * 2), GAP)),
            ["b", "c"]
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a", "b"]), "c", at(start + GAP * 3), GAP)),
            ["c"]
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a"]), "c", at(start + GAP * 4), GAP)),
            ["c"],
            "b was back"
        );
    }

    #[test]
    fn what_an_answer_took_counts_for_whom_it_misses() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        let mut look = |present, asked, answered| {
            let times = (start + GAP * asked / 4, start + GAP * answered / 4);
            failure_detector.observe(present, "c", times, GAP).is_empty()
        };
        let (both, one) = (present(&["a", "b"]), present(&["a"]));
        assert!(look(&both, 0, 0));
        assert!(look(&one, 1, 3), "missed from the answer on");
        assert!(look(&one, 6, 8), "and up to the question");
        assert!(!look(&one, 7, 7));
    }

    #[test]
    fn after_a_time_without_sight_everybody_gets_the_whole_gap() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        assert!(failure_detector.observe(&present(&["a"]), "c", at(start), GAP).is_empty());
        assert!(
            failure_detector.observe(&nobody(), "c", at(start + GAP), GAP).is_empty(),
            "the store came back empty"
        );
        failure_detector.reset();
        assert!(failure_detector.observe(&nobody(), "c", at(start + GAP * 3), GAP).is_empty());
        assert!(
            failure_detector
                .observe(&present(&["a"]), "c", at(start + GAP * 9 / 2), GAP)
                .is_empty()
        );
    }

    #[test]
    fn the_first_agent_that_can_ask_ams_leads_its_cluster() {
        let mut all = present(&["a", "b", "c"]);
        let leaders = |all: &PresentAgents, cluster: &str| -> Vec<&str> {
            let names = ["a", "b", "c"].into_iter();
            names.filter(|name| all.leads(&agent(name), cluster)).collect()
        };
        assert_eq!(leaders(&all, "c"), ["a"]);
        assert_eq!(leaders(&all, "elsewhere"), ["a", "b", "c"], "each is alone there");
        all.presences[0].draining = true;
        all.presences[1].unavailable = Some("AMS is away".to_owned());
        // It does not know yet that another takes its place.
        assert_eq!(leaders(&all, "c"), ["a", "b", "c"]);
    }

    #[test]
    fn who_says_what_this_version_cannot_read_is_there() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        let said = ["a", "b"].map(|name| (name.to_owned(), None));
        let unreadable = PresentAgents::from_iter(said);
        assert!(unreadable.contains(&agent("b")));
        failure_detector.observe(&present(&["a", "b"]), "c", at(start), GAP);
        for wait in [Duration::ZERO, GAP, 3 * GAP] {
            assert!(failure_detector.observe(&unreadable, "c", at(start + wait), GAP).is_empty());
        }
        let later = start + 3 * GAP;
        failure_detector.observe(&present(&["a"]), "c", at(later), GAP);
        let left = failure_detector.observe(&present(&["a"]), "c", at(later + GAP), GAP);
        assert_eq!(names(left), ["b"]);
    }

    #[test]
    fn who_drains_has_left_at_once_until_it_thinks_better_of_it() {
        let (mut failure_detector, now) = (FailureDetector::default(), Instant::now());
        let mut all = present(&["a", "b"]);
        all.presences[1].draining = true;
        assert_eq!(names(failure_detector.observe(&all, "c", at(now), GAP)), ["b"]);
        all.presences[1].draining = false;
        assert!(failure_detector.observe(&all, "c", at(now), GAP).is_empty());
    }

    #[test]
    fn who_manages_another_cluster_has_left_the_sessions_of_this_one() {
        let (mut failure_detector, now) = (FailureDetector::default(), Instant::now());
        let mut all = present(&["a", "b"]);
        all.presences[1].cluster = "elsewhere".to_owned();
        let left = failure_detector.observe(&all, "c", at(now), GAP);
        assert_eq!(left.reason(&agent("b")), Some(Departure::Moved));
        assert_eq!(left.reason(&agent("a")), None);
    }

    #[test]
    fn who_left_nothing_behind_is_forgotten() {
        let (mut failure_detector, now) = (FailureDetector::default(), Instant::now());
        failure_detector.add_owner(&agent("a"));
        failure_detector.add_owner(&agent("b"));
        let left = failure_detector.observe(&nobody(), "c", at(now), Duration::ZERO);
        failure_detector.forget(&left, &BTreeSet::from([agent("b")]));
        assert_eq!(names(failure_detector.observe(&nobody(), "c", at(now), Duration::ZERO)), ["b"]);
    }
}
