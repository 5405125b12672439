//! The life of one session, as functions on its document. Pure: time comes in, nothing goes out.
//!
//! ```text
//! created ──claim, launch──► created ──instance says running──► active
//!    │                          │                                 │
//!    └───────────── asked, stopped, failed or overdue ────────────┘
//!                               ▼
//!                          terminating ──instance gone──► terminated, or error if it failed
//! ```
//!
//! A client's instance that failed by itself is kept for a while, and may bring its session back.
//!
//! An instance that AMS launched by itself is whoever's had AMS do so: it is deleted when somebody
//! wants its session to end, and for no other reason. Where it stopped, failed or never came, the
//! session has ended at once, and comes back with the instance.

use stream_protocol::{
    AgentId, Capabilities, DesiredState, InstanceName, Origin, Report, ReportedStatus, Role,
    SessionDocument, Status, Timestamp,
};

use crate::failure_detector::{Departed, Departure};
use crate::idle::{self, Absence};
use crate::kept_instance::{self, Retention};
use crate::transition::{InvalidTransition, NextAction};

/// Why a session ends whose instance never said that it runs.
const NOT_READY: &str = "the instance did not get ready in time";

/// How long the deletion of an instance may take until the session is given up.
const TERMINATING_S: u64 = 600;

/// Makes `claimant` the owner and notes the name of the launch that follows. Only a session that
/// nobody has launched can be claimed; by its owner again, so that a repeated request is harmless.
pub(crate) fn claim(
    document: &mut SessionDocument,
    claimant: &AgentId,
    cluster: &str,
    deadline: Timestamp,
) -> Result<(), InvalidTransition> {
    if document.status != Status::Created || document.desired.state == DesiredState::Terminated {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    if document.owner.as_ref().is_some_and(|owner| owner != claimant) {
        return Err(InvalidTransition("session has another agent".to_owned()));
    }
    document.owner = Some(claimant.clone());
    document.cluster = cluster.to_owned();
    if document.origin == Origin::Client {
        document.instance_name.get_or_insert_with(|| InstanceName::of(&document.id, 1));
    }
    document.deadline = Some(deadline);
    Ok(())
}

/// Makes `claimant` the owner of the session of the instance `instance`, which AMS launched, unless
/// an agent has it already: any of them may answer AMS. Refuses a session that ends, or of another
/// cluster or instance: a gateway says which session it is, and must not open that of another.
///
/// A session that has ended waits for its instance again. The tokens of before end, since those of
/// the instance have the id `fresh_token` from then on.
pub(crate) fn claim_ams_initiated(
    document: &mut SessionDocument,
    (claimant, instance): (&AgentId, &str),
    cluster: &str,
    fresh_token: &str,
    (now, deadline): (Timestamp, Timestamp),
) -> Result<(), InvalidTransition> {
    if document.cluster != cluster {
        return Err(InvalidTransition("session is of another cluster".to_owned()));
    }
    if document.origin != Origin::Ams || document.instance_id.as_deref() != Some(instance) {
        return Err(InvalidTransition("session is of another instance".to_owned()));
    }
    if document.kept_instance.is_some() {
        kept_instance::await_start(document, deadline, now)?;
        document.owner = Some(claimant.clone());
        document.instance_token = Some(fresh_token.to_owned());
        return Ok(());
    }
    let wanted = document.desired.state == DesiredState::Running;
    match document.owner {
        Some(_) if lives(document) && wanted => Ok(()),
        Some(_) => Err(InvalidTransition(format!("session is {}", document.status))),
        None => {
            claim(document, claimant, cluster, deadline)?;
            document.instance_token = Some(fresh_token.to_owned());
            Ok(())
        }
    }
}

/// What AMS knows the instance by: the name of our launch, which is known before the id, or the id
/// of what AMS launched by itself. Another instance may have the name.
pub(crate) fn instance(document: &SessionDocument) -> Option<&str> {
    match &document.instance_name {
        Some(name) => Some(name.as_str()),
        None => document.instance_id.as_deref(),
    }
}

/// Whether `agent` answers for the session.
pub(crate) fn is_owned_by(document: &SessionDocument, agent: &AgentId) -> bool {
    document.owner.as_ref() == Some(agent)
}

/// Whether the session is one of `cluster` whose owner is among those that have `departed`. An
/// owner that drains finishes the launches that it has begun, so those stay its own.
pub(crate) fn is_abandoned(document: &SessionDocument, departed: &Departed, cluster: &str) -> bool {
    let Some(owner) = &document.owner else { return false };
    let is_left = match departed.reason(owner) {
        Some(Departure::Gone | Departure::Moved) => true,
        Some(Departure::Draining) => !needs_relaunch(document, owner),
        None => false,
    };
    is_left && !document.is_over() && document.cluster == cluster
}

/// Makes `new_owner` the owner of an abandoned session. Refuses when it is none any more.
pub(crate) fn adopt(
    document: &mut SessionDocument,
    new_owner: &AgentId,
    departed: &Departed,
    cluster: &str,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if !is_abandoned(document, departed, cluster) {
        return Err(InvalidTransition("session has an owner".to_owned()));
    }
    let why = match document.owner.as_ref().and_then(|owner| departed.reason(owner)) {
        Some(Departure::Draining) => "which is draining",
        Some(Departure::Moved) => "which is in another cluster now",
        Some(Departure::Gone) | None => "which gives no sign of life",
    };
    let before = document.owner.replace(new_owner.clone());
    // Why a session has ended is said for as long as it is ended.
    if let Some(before) = before
        && !document.status.is_final()
    {
        document.push_cause(now, format!("taken over from agent {before}, {why}"));
    }
    Ok(())
}

/// Notes which instance serves the session. Refuses when `agent` has no say in it any more: the
/// session has ended meanwhile, or is another agent's.
pub(crate) fn on_launched(
    document: &mut SessionDocument,
    agent: &AgentId,
    instance: &str,
) -> Result<(), InvalidTransition> {
    if document.is_over() {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    if !is_owned_by(document, agent) {
        return Err(InvalidTransition("session was taken over by another agent".to_owned()));
    }
    document.instance_id = Some(instance.to_owned());
    Ok(())
}

/// Whether the owner was stopped between its claim and the answer of AMS: the launch is to be made
/// again, under the same name. Its instance may be there and say that it runs, all the same.
pub(crate) fn needs_relaunch(document: &SessionDocument, agent: &AgentId) -> bool {
    let wanted = document.desired.state == DesiredState::Running;
    is_owned_by(document, agent) && lives(document) && wanted && document.instance_id.is_none()
}

/// Has an instance launched in place of `failed`, for which AMS had no room. Refuses when `failed`
/// does not serve the session any more, or has run.
pub(crate) fn launch_again(
    document: &mut SessionDocument,
    agent: &AgentId,
    failed: &str,
    (now, deadline): (Timestamp, Timestamp),
) -> Result<(), InvalidTransition> {
    let is_meant = is_owned_by(document, agent) && document.instance_id.as_deref() == Some(failed);
    let waits =
        document.status == Status::Created && document.desired.state == DesiredState::Running;
    let (true, true, Some(name)) = (is_meant, waits, &document.instance_name) else {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    };
    document.instance_name = Some(name.next(&document.id));
    document.instance_id = None;
    document.deadline = Some(deadline);
    document.push_cause(now, "launched again: ams had no room until kept instances were deleted");
    Ok(())
}

/// Has the launch take another name than `taken`, which an instance has that is none of ours.
/// Refuses when that is not the name any more, or the session waits for no launch.
pub(crate) fn rename_launch(
    document: &mut SessionDocument,
    agent: &AgentId,
    taken: &InstanceName,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if !needs_relaunch(document, agent) || document.instance_name.as_ref() != Some(taken) {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    document.instance_name = Some(InstanceName::unforeseeable(&document.id));
    document.push_cause(now, format!("an instance that is none of ours has the name {taken}"));
    Ok(())
}

/// Takes what the instance says of itself.
pub(crate) fn on_report(
    document: &mut SessionDocument,
    report: &Report,
    retention: Retention,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if document.is_over() {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    if report.status == ReportedStatus::Running {
        document.running_since = now;
        learn_capabilities(document, report);
    }
    let said = |what: &str| match report.message.as_str() {
        "" => what.to_owned(),
        // The instance is not ours: its words are bounded.
        message => format!("{what}: {}", message.chars().take(200).collect::<String>()),
    };
    match report.status {
        ReportedStatus::Running if document.status.is_final() => {
            return kept_instance::revive(document, said("the instance is running again"), now);
        }
        // The first word counts: an instance that has failed stops, too.
        ReportedStatus::Stopped | ReportedStatus::Error if document.status.is_final() => {}
        ReportedStatus::Running if document.status == Status::Created => {
            document.status = Status::Active;
            document.deadline = None;
            idle::restart(document, now);
            document.push_cause(now, said("the instance is running"));
        }
        ReportedStatus::Running => {}
        ReportedStatus::Stopped => end(document, said("the instance stopped"), false, now),
        ReportedStatus::Error => fail(document, said("the instance failed"), true, retention, now),
    }
    Ok(())
}

/// Notes what the instance can do. A viewer that it would let control the device is its client no
/// more, and who it does not serve ADB is not connected: started again, it may be another program.
fn learn_capabilities(document: &mut SessionDocument, report: &Report) {
    let begins = document.status != Status::Active;
    match &report.capabilities {
        Some(capabilities) => document.capabilities = capabilities.clone(),
        None if begins => document.capabilities = Capabilities::default(),
        None => {}
    }
    let views = document.desired.client.is_some_and(|client| client.role == Role::View);
    if views && !document.has_roles() {
        document.desired.client = None;
    }
    if !document.has_adb() {
        document.adb.end_all();
    }
}

/// Begins the end that somebody wants: whose-ever the instance is, it is to go. One that AMS
/// launched stays where its session has ended before, and brings it back no more.
pub(crate) fn end_on_request(document: &mut SessionDocument, cause: String, now: Timestamp) {
    if document.origin == Origin::Ams && document.status.is_final() {
        kept_instance::condemn(document, now);
    } else if !document.is_over() {
        document.desired.state = DesiredState::Terminated;
        end(document, cause, false, now);
    }
}

/// Begins the end: from here on our instance is to go, also one that was kept. The first cause
/// stays the cause.
pub(crate) fn end(document: &mut SessionDocument, cause: String, failed: bool, now: Timestamp) {
    let wanted = document.desired.state == DesiredState::Terminated;
    let is_kept = document.status.is_final() && document.kept_instance.is_some();
    let is_to_go = lives(document) || is_kept && wanted;
    if !is_to_go {
        return;
    }
    document.kept_instance = None;
    document.status = Status::Terminating;
    document.failed = failed;
    document.deadline = Some(now.plus_secs(TERMINATING_S));
    document.push_cause(now, cause);
    if document.origin == Origin::Ams && !wanted {
        on_instance_gone(document);
        return kept_instance::keep_for_ams(document, now);
    }
    document.desired.state = DesiredState::Terminated;
}

/// Ends the session because its instance, which is there, works no more. A client's is kept if
/// `retention` says so. Without it, `failed` tells what the end counts as.
pub(crate) fn fail(
    document: &mut SessionDocument,
    cause: String,
    failed: bool,
    retention: Retention,
    now: Timestamp,
) {
    let is_ours = document.origin == Origin::Client;
    if lives(document)
        && is_ours
        && retention.keeps()
        && document.desired.state == DesiredState::Running
    {
        return kept_instance::keep(document, &cause, retention, now);
    }
    end(document, cause, failed, now);
}

/// Ends the session because AMS knows its instance no more.
pub(crate) fn on_instance_lost(
    document: &mut SessionDocument,
    cause: String,
    failed: bool,
    now: Timestamp,
) {
    end(document, cause, failed, now);
    kept_instance::condemn(document, now);
}

/// The instance is gone, or given up.
pub(crate) fn on_instance_gone(document: &mut SessionDocument) {
    if document.status == Status::Terminating {
        document.status = if document.failed { Status::Error } else { Status::Terminated };
        document.deadline = None;
    }
}

/// Adds to the cause of an end why the instance did not get ready, if that is what has just ended
/// the session.
pub(crate) fn explain_not_ready(document: &mut SessionDocument, why: &str) {
    if let Some(cause) = document.causes.pop_if(|cause| cause.text == NOT_READY && !why.is_empty())
    {
        document.push_cause(cause.at, format!("{}: {why}", cause.text));
    }
}

/// Looks at a document that `agent` may have to act on.
pub(crate) fn next_action(
    document: &SessionDocument,
    agent: &AgentId,
    now: Timestamp,
) -> NextAction {
    let overdue = is_overdue(document, now);
    let mine = document.owner.as_ref().filter(|owner| *owner == agent);
    match (document.status, mine) {
        (Status::Terminated | Status::Error, _) => kept_instance::next_action(document, agent, now),
        (_, None) if document.owner.is_some() => NextAction::None,
        (Status::Terminating, _) => NextAction::FinishEnd,
        (_, None) if overdue => {
            NextAction::BeginEnd { cause: "no agent took the session".to_owned(), failed: true }
        }
        (_, None) => NextAction::None,
        (_, Some(_)) if document.desired.state == DesiredState::Terminated => {
            NextAction::BeginEnd { cause: "ended on request".to_owned(), failed: false }
        }
        (_, Some(_)) if overdue => {
            NextAction::BeginEnd { cause: NOT_READY.to_owned(), failed: true }
        }
        (_, Some(_)) => match idle::next_action(document, now) {
            NextAction::None if document.adb.is_any_overdue(now) => NextAction::EndAdb,
            action => action,
        },
    }
}

/// Makes the change that is due in `document`, if one is. What was due in an earlier state of it
/// does not count: a client may have come back, an instance may have got ready, another agent may
/// have taken over.
pub(crate) fn apply_due_change(document: &mut SessionDocument, agent: &AgentId, now: Timestamp) {
    match next_action(document, agent, now) {
        NextAction::BeginEnd { cause, failed } => end(document, cause, failed, now),
        NextAction::EndAdb => document.adb.end_overdue(now),
        NextAction::RestartIdleTimer => idle::restart(document, now),
        NextAction::DeleteKept => kept_instance::condemn(document, now),
        NextAction::CheckClient | NextAction::FinishEnd | NextAction::None => {}
    }
}

/// Ends the session if its first client has not come in time, and names a client no more that has
/// not.
pub(crate) fn end_without_client(document: &mut SessionDocument, now: Timestamp) {
    match idle::absence(document, now) {
        Absence::None => {}
        Absence::End => {
            let seconds = document.request.first_client_s;
            let cause = format!("no client came within {seconds} seconds");
            end(document, cause, false, now);
        }
        Absence::Dismiss => idle::dismiss(document),
    }
}

/// Whether the session may end although AMS says that its instance stays. What AMS launched by
/// itself carries no tag of ours: once given up, nothing would find it again.
pub(crate) fn may_give_up_instance(document: &SessionDocument, now: Timestamp) -> bool {
    document.status == Status::Terminating
        && document.origin == Origin::Client
        && is_overdue(document, now)
}

/// Whether the session has neither ended nor begun to.
fn lives(document: &SessionDocument) -> bool {
    matches!(document.status, Status::Created | Status::Active)
}

fn is_overdue(document: &SessionDocument, now: Timestamp) -> bool {
    document.deadline.is_some_and(|deadline| now >= deadline)
}

#[cfg(test)]
mod tests;
