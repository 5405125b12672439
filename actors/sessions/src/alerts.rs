//! What only an operator can settle, for as long as it lasts. Pure; a restart forgets it, and finds
//! it again.

use std::collections::BTreeMap;
use std::time::Duration;

use stream_protocol::SessionId;
use tokio::time::Instant;

/// Clocks of machines that are set by NTP are much closer.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How often in a row the deletion of an instance fails until an operator is told.
const DELETIONS_UNTIL_ALERT: u32 = 3;

/// Something that an operator has to look at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// What kind of thing: one of [`Alert::NAMES`].
    pub name: &'static str,
    /// The sentence for the operator.
    pub text: String,
}

impl Alert {
    /// Instances are left that the store should know of and does not.
    const UNKNOWN_INSTANCES: &str = "doubtful_instances";
    /// An instance does not go, however often it is deleted.
    const STUCK_INSTANCE: &str = "lingering_instance";
    /// AMS is there, and what it runs cannot be compared with the sessions.
    const BLIND: &str = "no_reconciliation";
    /// Sessions have documents that this version cannot read.
    const UNREADABLE_SESSIONS: &str = "unreadable_sessions";
    /// The clock of this system is not that of the store.
    const CLOCK_DIFFERS: &str = "clock_differs";
    /// All names there are.
    pub const NAMES: [&str; 5] = [
        Self::UNKNOWN_INSTANCES,
        Self::STUCK_INSTANCE,
        Self::BLIND,
        Self::UNREADABLE_SESSIONS,
        Self::CLOCK_DIFFERS,
    ];
}

/// The alerts of this unit.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    unknown_instances: Option<String>,
    /// Why the instances cannot be looked at.
    blind: Option<String>,
    /// What is to be told of the documents that cannot be read.
    unreadable: Option<String>,
    /// What is to be told of the clock of this system.
    clock: Option<String>,
    /// The instances that did not go when they were deleted, by what AMS knows them by.
    stuck: BTreeMap<String, StuckInstance>,
    round: u64,
}

#[derive(Debug)]
struct StuckInstance {
    since: Instant,
    deletions: u32,
    why: String,
    /// When it was tried last.
    round: u64,
}

impl Alerts {
    /// Begins a round in which everything that is to go is deleted again. What was not tried in the
    /// last one is no matter of ours any more.
    pub(crate) fn next_round(&mut self) {
        let last = self.round;
        self.stuck.retain(|_, stuck| stuck.round == last);
        self.round += 1;
    }

    /// Takes what reconciliation doubts; `None` once it does not any more.
    pub(crate) fn set_unknown_instances(&mut self, text: Option<String>) {
        self.unknown_instances = text;
    }

    /// Takes why the instances cannot be looked at; `None` once they were.
    pub(crate) fn set_blind(&mut self, why: Option<String>) {
        self.blind = why;
    }

    /// Takes which sessions have documents that cannot be read. They are left alone, and so are
    /// their instances.
    pub(crate) fn set_unreadable<'a>(&mut self, mut sessions: impl Iterator<Item = &'a SessionId>) {
        self.unreadable = sessions.next().map(|first| {
            let others = sessions.count();
            format!(
                "this version cannot read the record of session {first} and of {others} others; \
                 they and their instances are left alone: upgrade this unit, or delete them \
                 (stream-gateway session delete --unreadable)"
            )
        });
    }

    /// Takes by how much the clock of this system differs from that of the store. Sessions, tokens
    /// and what is signed for relays go by the store; certificates are judged by the clock of
    /// whoever looks at them. Returns the alert if it is a new one.
    pub(crate) fn set_clock_skew(&mut self, skew: Duration) -> Option<&str> {
        let was_told = self.clock.is_some();
        self.clock = (skew > MAX_CLOCK_SKEW).then(|| {
            format!(
                "the clock of this system and that of NATS differ by {} s: \
                 certificates may be refused, set both by NTP",
                skew.as_secs()
            )
        });
        self.clock.as_deref().filter(|_| !was_told)
    }

    /// Counts a deletion after which the instance is still there.
    pub(crate) fn deletion_failed(&mut self, instance: &str, why: String) {
        let round = self.round;
        let since = Instant::now();
        let fresh = StuckInstance { since, deletions: 0, why: String::new(), round };
        let stuck = self.stuck.entry(instance.to_owned()).or_insert(fresh);
        (stuck.deletions, stuck.why, stuck.round) = (stuck.deletions + 1, why, round);
    }

    /// Returns when the deletion of an instance failed first that is still there.
    pub(crate) fn failing_since(&self, instance: &str) -> Option<Instant> {
        self.stuck.get(instance).map(|stuck| stuck.since)
    }

    /// The instance has gone.
    pub(crate) fn deleted(&mut self, instance: &str) {
        self.stuck.remove(instance);
    }

    pub(crate) fn active(&self) -> Vec<Alert> {
        let unknown = self.unknown_instances.iter().cloned();
        let unknown = unknown.map(|text| Alert { name: Alert::UNKNOWN_INSTANCES, text });
        let stuck = self.stuck.iter().filter(|(_, one)| one.deletions >= DELETIONS_UNTIL_ALERT);
        let stuck = stuck.map(|(instance, StuckInstance { deletions, why, .. })| {
            let text =
                format!("instance {instance} is still there after {deletions} deletions: {why}");
            Alert { name: Alert::STUCK_INSTANCE, text }
        });
        let blind = self.blind.iter().map(|why| {
            let text = format!("the instances cannot be compared with the sessions: {why}");
            Alert { name: Alert::BLIND, text }
        });
        let unreadable = self.unreadable.iter().cloned();
        let unreadable = unreadable.map(|text| Alert { name: Alert::UNREADABLE_SESSIONS, text });
        let clock = self.clock.iter().cloned();
        let clock = clock.map(|text| Alert { name: Alert::CLOCK_DIFFERS, text });
        unknown.chain(stuck).chain(blind).chain(unreadable).chain(clock).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_is_told_once_for_as_long_as_it_does() {
        let mut alerts = Alerts::default();
        assert!(alerts.set_clock_skew(MAX_CLOCK_SKEW).is_none() && alerts.active().is_empty());
        let skew = Duration::from_secs(120);
        assert!(alerts.set_clock_skew(skew).is_some_and(|text| text.contains("120 s")));
        assert!(alerts.set_clock_skew(skew).is_none(), "it was told");
        assert_eq!(alerts.active()[0].name, Alert::CLOCK_DIFFERS);
        assert!(alerts.set_clock_skew(Duration::ZERO).is_none() && alerts.active().is_empty());
    }

    fn names(alerts: &Alerts) -> Vec<&str> {
        alerts.active().into_iter().map(|alert| alert.name).collect()
    }

    #[test]
    fn an_instance_that_does_not_go_is_reported_after_three_rounds_until_it_goes() {
        let mut alerts = Alerts::default();
        for expected in [0, 0, 1, 1] {
            alerts.next_round();
            alerts.deletion_failed("i", "node is offline".to_owned());
            assert_eq!(alerts.active().len(), expected);
        }
        let active = &alerts.active()[0];
        assert_eq!(active.text, "instance i is still there after 4 deletions: node is offline");
        alerts.deleted("i");
        assert_eq!(alerts.active(), []);
    }

    #[test]
    fn what_nobody_tries_to_delete_any_more_is_forgotten() {
        let mut alerts = Alerts::default();
        (0..DELETIONS_UNTIL_ALERT).for_each(|_| alerts.deletion_failed("i", String::new()));
        alerts.next_round();
        assert_eq!(names(&alerts), [Alert::STUCK_INSTANCE], "its round is just beginning");
        alerts.next_round();
        assert_eq!(alerts.active(), []);
    }

    #[test]
    fn a_list_that_cannot_be_used_is_reported_until_one_can() {
        let mut alerts = Alerts::default();
        alerts.set_blind(Some("an answer that cannot be read".to_owned()));
        alerts.next_round();
        assert_eq!(names(&alerts), [Alert::BLIND]);
        alerts.set_blind(None);
        assert_eq!(alerts.active(), []);
    }

    #[test]
    fn records_that_cannot_be_read_are_reported_with_an_example() {
        let (mut alerts, ids) = (Alerts::default(), [SessionId::random(), SessionId::random()]);
        alerts.set_unreadable(ids.iter());
        assert_eq!(names(&alerts), [Alert::UNREADABLE_SESSIONS]);
        let text =
            format!("this version cannot read the record of session {} and of 1 other", ids[0]);
        assert!(alerts.active()[0].text.starts_with(&text));
        alerts.set_unreadable([].iter());
        assert_eq!(alerts.active(), []);
    }

    #[test]
    fn a_doubt_lasts_as_long_as_reconciliation_has_it() {
        let mut alerts = Alerts::default();
        alerts.set_unknown_instances(Some("3 of 3".to_owned()));
        alerts.next_round();
        assert_eq!(names(&alerts), [Alert::UNKNOWN_INSTANCES]);
        alerts.set_unknown_instances(None);
        assert_eq!(alerts.active(), []);
    }
}
