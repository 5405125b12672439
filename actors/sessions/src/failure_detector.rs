//! Which agents have left their sessions to others: those that give no sign of life any more, and
//! those that drain. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use stream_protocol::{AgentId, Presence};

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

    /// Takes a look at who is `present`, and returns who has left. To be missed at one look means
    /// little: the store may have come back empty, and everybody is about to announce themselves.
    /// So whoever drains has left at once, and who is missed has after a `gap`.
    pub(crate) fn observe(
        &mut self,
        present: &[Presence],
        now: Instant,
        gap: Duration,
    ) -> BTreeSet<AgentId> {
        self.known.extend(present.iter().map(|presence| presence.agent.clone()));
        let here: BTreeSet<_> = present.iter().map(|presence| &presence.agent).collect();
        self.missed.retain(|agent, _| !here.contains(agent));
        for agent in self.known.iter().filter(|agent| !here.contains(agent)) {
            self.missed.entry(agent.clone()).or_insert(now);
        }
        let gone = self.missed.iter().filter(|(_, since)| now.duration_since(**since) >= gap);
        let gone = gone.map(|(agent, _)| agent.clone());
        let draining = present.iter().filter(|presence| presence.draining);
        gone.chain(draining.map(|presence| presence.agent.clone())).collect()
    }

    /// Nothing could be seen for a while: who is missed is missed from the next look on.
    pub(crate) fn reset(&mut self) {
        self.missed.clear();
    }

    /// Forgets those of `left` who own nothing any more, that is, are not among `owners`.
    pub(crate) fn forget(&mut self, left: &BTreeSet<AgentId>, owners: &BTreeSet<AgentId>) {
        let over = |agent: &AgentId| left.contains(agent) && !owners.contains(agent);
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

    fn present(names: &[&str]) -> Vec<Presence> {
        let presence = |name: &&str| Presence {
            agent: agent(name),
            region: String::new(),
            cluster: "c".to_owned(),
            applications: Vec::new(),
            images: Vec::new(),
            capacity: 1,
            draining: false,
            unavailable: None,
            version: "1".to_owned(),
        };
        names.iter().map(presence).collect()
    }

    fn names(left: BTreeSet<AgentId>) -> Vec<String> {
        left.into_iter().map(|agent| agent.to_string()).collect()
    }

    #[test]
    fn who_does_not_show_for_a_while_has_left() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        failure_detector.add_owner(&agent("c"));
        assert!(failure_detector.observe(&present(&["a", "b"]), start, GAP).is_empty());
        assert!(failure_detector.observe(&present(&["a"]), start + GAP / 2, GAP).is_empty());
        assert_eq!(names(failure_detector.observe(&present(&["a"]), start + GAP, GAP)), ["c"]);
        assert_eq!(
            names(failure_detector.observe(&present(&["a"]), start + GAP * 2, GAP)),
            ["b", "c"]
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a", "b"]), start + GAP * 3, GAP)),
            ["c"]
        );
        assert_eq!(
            names(failure_detector.observe(&present(&["a"]), start + GAP * 4, GAP)),
            ["c"],
            "b was back"
        );
    }

    #[test]
    fn after_a_time_without_sight_everybody_gets_the_whole_gap() {
        let (mut failure_detector, start) = (FailureDetector::default(), Instant::now());
        assert!(failure_detector.observe(&present(&["a"]), start, GAP).is_empty());
        assert!(
            failure_detector.observe(&[], start + GAP, GAP).is_empty(),
            "the store came back empty"
        );
        failure_detector.reset();
        assert!(failure_detector.observe(&[], start + GAP * 3, GAP).is_empty());
        assert!(failure_detector.observe(&present(&["a"]), start + GAP * 9 / 2, GAP).is_empty());
    }

    #[test]
    fn who_drains_has_left_at_once_until_it_thinks_better_of_it() {
        let (mut failure_detector, now) = (FailureDetector::default(), Instant::now());
        let mut all = present(&["a", "b"]);
        all[1].draining = true;
        assert_eq!(names(failure_detector.observe(&all, now, GAP)), ["b"]);
        all[1].draining = false;
        assert!(failure_detector.observe(&all, now, GAP).is_empty());
    }

    #[test]
    fn who_left_nothing_behind_is_forgotten() {
        let (mut failure_detector, now) = (FailureDetector::default(), Instant::now());
        failure_detector.add_owner(&agent("a"));
        failure_detector.add_owner(&agent("b"));
        let left = failure_detector.observe(&[], now, Duration::ZERO);
        failure_detector.forget(&left, &BTreeSet::from([agent("b")]));
        assert_eq!(names(failure_detector.observe(&[], now, Duration::ZERO)), ["b"]);
    }
}
