//! What only an operator can settle, for as long as it lasts. Pure; a restart forgets it, and finds
//! it again.

use std::collections::BTreeMap;

/// How often in a row the deletion of an instance fails until an operator is told.
const TRIES: u32 = 3;

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
    const DOUBT: &str = "doubtful_instances";
    /// An instance does not go, however often it is deleted.
    const LINGERS: &str = "lingering_instance";
    /// All names there are.
    pub const NAMES: [&str; 2] = [Self::DOUBT, Self::LINGERS];
}

/// The alerts of this unit.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    doubt: Option<String>,
    /// The instances that did not go when they were deleted, by what AMS knows them by.
    lingering: BTreeMap<String, Lingering>,
    round: u64,
}

#[derive(Debug)]
struct Lingering {
    tries: u32,
    why: String,
    /// When it was tried last.
    round: u64,
}

impl Alerts {
    /// Begins a round in which everything that is to go is deleted again. What was not tried in the
    /// last one is no matter of ours any more.
    pub(crate) fn next_round(&mut self) {
        let last = self.round;
        self.lingering.retain(|_, lingering| lingering.round == last);
        self.round += 1;
    }

    /// Takes what reconciliation doubts; `None` once it does not any more.
    pub(crate) fn doubt(&mut self, doubt: Option<String>) {
        self.doubt = doubt;
    }

    /// Counts a deletion after which the instance is still there.
    pub(crate) fn lingers(&mut self, instance: &str, why: String) {
        let round = self.round;
        let fresh = Lingering { tries: 0, why: String::new(), round };
        let lingering = self.lingering.entry(instance.to_owned()).or_insert(fresh);
        *lingering = Lingering { tries: lingering.tries + 1, why, round };
    }

    /// The instance has gone.
    pub(crate) fn gone(&mut self, instance: &str) {
        self.lingering.remove(instance);
    }

    pub(crate) fn told(&self) -> Vec<Alert> {
        let doubt = self.doubt.iter().cloned();
        let doubt = doubt.map(|text| Alert { name: Alert::DOUBT, text });
        let lingering = self.lingering.iter().filter(|(_, one)| one.tries >= TRIES);
        let lingering = lingering.map(|(instance, Lingering { tries, why, .. })| {
            let text = format!("instance {instance} is still there after {tries} deletions: {why}");
            Alert { name: Alert::LINGERS, text }
        });
        doubt.chain(lingering).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(alerts: &Alerts) -> Vec<&str> {
        alerts.told().into_iter().map(|alert| alert.name).collect()
    }

    #[test]
    fn an_instance_that_does_not_go_is_reported_after_three_rounds_until_it_goes() {
        let mut alerts = Alerts::default();
        for expected in [0, 0, 1, 1] {
            alerts.next_round();
            alerts.lingers("i", "node is offline".to_owned());
            assert_eq!(alerts.told().len(), expected);
        }
        let told = &alerts.told()[0];
        assert_eq!(told.text, "instance i is still there after 4 deletions: node is offline");
        alerts.gone("i");
        assert_eq!(alerts.told(), []);
    }

    #[test]
    fn what_nobody_tries_to_delete_any_more_is_forgotten() {
        let mut alerts = Alerts::default();
        (0..TRIES).for_each(|_| alerts.lingers("i", String::new()));
        alerts.next_round();
        assert_eq!(names(&alerts), [Alert::LINGERS], "its round is just beginning");
        alerts.next_round();
        assert_eq!(alerts.told(), []);
    }

    #[test]
    fn a_doubt_lasts_as_long_as_reconciliation_has_it() {
        let mut alerts = Alerts::default();
        alerts.doubt(Some("3 of 3".to_owned()));
        alerts.next_round();
        assert_eq!(names(&alerts), [Alert::DOUBT]);
        alerts.doubt(None);
        assert_eq!(alerts.told(), []);
    }
}
