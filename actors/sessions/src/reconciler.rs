//! What reconciliation has seen so far, and the alerts that follow from it.

use std::cell::RefCell;

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
        self.alerts.borrow_mut().set_unknown_instances(plan.alert.clone());
        plan
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

    /// Notes that `instance` has gone.
    pub(crate) fn deleted(&self, instance: &str) {
        self.alerts.borrow_mut().deleted(instance);
    }

    /// Returns the alerts that are active.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.alerts.borrow().active()
    }
}
