//! Instances that outlive the end of their session: one that failed may be started again, and its
//! logs read. Pure.
//!
//! ```text
//! active ──the instance fails──► error ──it says that it runs──► active, a generation later
//!                                  │
//!                                  └──its time is up, or it has to give way──► error, deleted
//! ```
//!
//! One that AMS launched by itself is kept by whoever's it is: its session waits for it until AMS
//! knows it no more.

use stream_protocol::{
    AgentId, DesiredState, KeptInstance, Origin, SessionDocument, Status, Timestamp,
};

use crate::idle;
use crate::transition::{InvalidTransition, NextAction};

/// The part of a cause that is kept before what is said of a start.
const MAX_CAUSE_CHARS: usize = 300;

/// How long the instances of clients' sessions that failed are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Seconds in which a start brings the session back.
    pub(crate) restart_grace_s: u64,
    /// Seconds for which the instance stays after that.
    pub(crate) failed_instance_s: u64,
}

impl Retention {
    /// Nothing is kept.
    pub(crate) const NONE: Self = Self { restart_grace_s: 0, failed_instance_s: 0 };

    pub(crate) fn keeps(self) -> bool {
        self.restart_grace_s > 0 || self.failed_instance_s > 0
    }
}

/// Ends a client's session whose instance failed, and keeps the instance.
pub(crate) fn keep(
    document: &mut SessionDocument,
    cause: &str,
    retention: Retention,
    now: Timestamp,
) {
    let restart_until = now.plus_secs(retention.restart_grace_s);
    document.status = Status::Error;
    document.failed = true;
    document.deadline = None;
    document.idle = None;
    document.kept_instance = Some(KeptInstance {
        since: now,
        restart_until: Some(restart_until),
        delete_at: Some(restart_until.plus_secs(retention.failed_instance_s)),
    });
    let cause: String = cause.chars().take(MAX_CAUSE_CHARS).collect();
    document.push_cause(
        now,
        match retention.restart_grace_s {
            0 => cause,
            _ => format!("{cause}, may be started again until {restart_until}"),
        },
    );
}

/// Keeps the instance of a session that has just ended and is of AMS's own.
pub(crate) fn keep_for_ams(document: &mut SessionDocument, now: Timestamp) {
    document.idle = None;
    document.kept_instance =
        Some(KeptInstance { since: now, restart_until: None, delete_at: None });
}

/// Brings the session back: its instance says that it runs. The client of before is over.
pub(crate) fn revive(
    document: &mut SessionDocument,
    cause: String,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    begin_again(document, Status::Active, now)?;
    idle::restart(document, now);
    document.push_cause(now, cause);
    Ok(())
}

/// Has the session wait for its instance until `deadline`, since AMS starts it again.
pub(crate) fn await_start(
    document: &mut SessionDocument,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    begin_again(document, Status::Created, now)?;
    document.deadline = Some(deadline);
    document.push_cause(now, "ams starts the instance again");
    Ok(())
}

fn begin_again(
    document: &mut SessionDocument,
    status: Status,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if !document.may_restart(now) {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    document.status = status;
    document.failed = false;
    document.launch_refused = false;
    document.kept_instance = None;
    // Nobody has a token for it: whoever wants to go on joins.
    document.generation += 1;
    document.desired.client = None;
    document.adb.end_all();
    Ok(())
}

/// What is due with the kept instance of a session that has ended.
pub(crate) fn next_action(
    document: &SessionDocument,
    agent: &AgentId,
    now: Timestamp,
) -> NextAction {
    let mine = document.owner.as_ref() == Some(agent);
    match &document.kept_instance {
        Some(_) if mine && document.desired.state == DesiredState::Terminated => {
            NextAction::BeginEnd { cause: "ended on request".to_owned(), failed: false }
        }
        Some(kept) if mine && kept.is_due(now) => NextAction::DeleteKept,
        _ => NextAction::None,
    }
}

/// Has a kept instance go: from here on it brings nothing back.
pub(crate) fn condemn(document: &mut SessionDocument, now: Timestamp) {
    if let Some(kept) = &mut document.kept_instance {
        kept.condemn(now);
    }
}

/// Has a kept instance go that was `seen` kept. It may be back since, have failed again or be
/// another agent's.
pub(crate) fn give_way(
    document: &mut SessionDocument,
    seen: &SessionDocument,
    agent: &AgentId,
    now: Timestamp,
) {
    let is_meant = is_failed_instance(document, agent, &seen.cluster);
    if is_meant && document.kept_instance == seen.kept_instance {
        condemn(document, now);
    }
}

/// Notes that a condemned instance is gone.
pub(crate) fn on_gone(document: &mut SessionDocument) {
    if document.kept_instance.as_ref().is_some_and(KeptInstance::is_condemned) {
        document.kept_instance = None;
    }
}

/// Returns those of the kept instances of `agent` in `cluster` that have to give way so that `most`
/// are left, the oldest first. Those of AMS's own do not count.
pub(crate) fn surplus<'a>(
    kept: impl Iterator<Item = &'a SessionDocument>,
    agent: &AgentId,
    cluster: &str,
    most: usize,
) -> Vec<&'a SessionDocument> {
    let mut ours: Vec<_> = kept
        .filter(|document| is_failed_instance(document, agent, cluster))
        .filter_map(|document| Some((document.kept_instance.as_ref()?.since, document)))
        .collect();
    ours.sort_by(|(a, one), (b, other)| (a, &one.id).cmp(&(b, &other.id)));
    ours.truncate(ours.len().saturating_sub(most));
    ours.into_iter().map(|(_, document)| document).collect()
}

/// Whether the session has ended and `agent` keeps its instance, which a client had launched.
pub(crate) fn is_failed_instance(
    document: &SessionDocument,
    agent: &AgentId,
    cluster: &str,
) -> bool {
    document.kept_instance.is_some()
        && document.origin == Origin::Client
        && document.owner.as_ref() == Some(agent)
        && document.cluster == cluster
}

#[cfg(test)]
mod tests;
