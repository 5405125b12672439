//! What reconciliation has seen so far, and the alerts that follow from it.

use std::cell::RefCell;
use std::time::Duration;

use stream_protocol::SessionId;
use tokio::time::Instant;

use crate::SessionsError;
use crate::alerts::{Alert, Alerts};
use crate::reconcile::{Plan, Scope, SightingHistory, Snapshot};

/// The memory of reconciliation. All its users run on the thread of the actor and none of its
/// methods waits, so no two of them ever borrow it at the same time.
#[derive(Default)]
pub(crate) struct Reconciler {
    history: RefCell<SightingHistory>,
    alerts: RefCell<Alerts>,
}

impl Reconciler {
    /// Takes in a snapshot and returns what is to be done.
    pub(crate) fn observe(&self, snapshot: &Snapshot<'_>, scope: &Scope) -> Plan {
        let plan = self.history.borrow_mut().observe(snapshot, scope);
        let mut alerts = self.alerts.borrow_mut();
        alerts.set_unknown_instances(plan.alert.clone());
        alerts.set_blind(None);
        plan
    }

    /// Notes that the instances could not be looked at. While AMS is away that is no news; when AMS
    /// is there and its list cannot be used, no stray is found and no lost session noticed.
    pub(crate) fn failed(&self, error: &SessionsError) {
        let cause = error.sentence();
        let is_away = match error {
            SessionsError::Ams(error) => error.is_transient(),
            error => error.is_transient(),
        };
        if is_away {
            return log::debug!(cause:%; "no reconciliation");
        }
        log::error!(cause:%; "no reconciliation");
        self.alerts.borrow_mut().set_blind(Some(cause));
    }

    /// Takes which sessions have documents that cannot be read.
    pub(crate) fn set_unreadable<'a>(&self, sessions: impl Iterator<Item = &'a SessionId>) {
        self.alerts.borrow_mut().set_unreadable(sessions);
    }

    /// Takes by how much the clock of this system differs from that of the store.
    pub(crate) fn set_clock_skew(&self, skew: Duration) {
        if let Some(alert) = self.alerts.borrow_mut().set_clock_skew(skew) {
            log::error!(cause:% = alert; "the clock is wrong");
        }
    }

    /// Forgets the sightings: after an outage of the store the next one counts as the first.
    pub(crate) fn forget_sightings(&self) {
        self.history.borrow_mut().clear();
    }

    /// Begins a round of deletions.
    pub(crate) fn next_round(&self) {
        self.alerts.borrow_mut().next_round();
    }

    /// Counts a deletion after which `instance` is still there.
    pub(crate) fn deletion_failed(&self, instance: &str, why: String) {
        self.alerts.borrow_mut().deletion_failed(instance, why);
    }

    /// Returns when the deletion of an instance failed first that is still there.
    pub(crate) fn failing_since(&self, instance: &str) -> Option<Instant> {
        self.alerts.borrow().failing_since(instance)
    }

    /// Notes that `instance` has gone.
    pub(crate) fn deleted(&self, instance: &str) {
        self.alerts.borrow_mut().deleted(instance);
    }

    /// Notes a sighting of an instance that was never seen.
    #[cfg(test)]
    pub(crate) fn pretend_sighting(&self, instance: &str) {
        self.history.borrow_mut().pretend(instance);
    }

    /// Whether `instance` was seen without a session.
    #[cfg(test)]
    pub(crate) fn has_sighting(&self, instance: &str) -> bool {
        self.history.borrow().has(instance)
    }

    /// Returns the alerts that are active.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.alerts.borrow().active()
    }
}
