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
//! An instance that AMS launched by itself is whoever's had AMS do so: it is deleted when somebody
//! wants its session to end, and for no other reason. Where it stopped, failed or never came, the
//! session is over at once.

use stream_protocol::{
    AgentId, DesiredState, InstanceName, Origin, Report, ReportedStatus, SessionDocument, Status,
    Timestamp,
};

use crate::failure_detector::{Departed, Departure};
use crate::idle;
use crate::transition::{InvalidTransition, NextAction};

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
    if let Some(owner) = &document.owner
        && owner != claimant
    {
        return Err(InvalidTransition(format!("session is owned by agent {owner}")));
    }
    document.owner = Some(claimant.clone());
    document.cluster = cluster.to_owned();
    if document.origin == Origin::Client {
        document.instance_name.get_or_insert_with(|| InstanceName::of(&document.id, 1));
    }
    document.deadline = Some(deadline);
    Ok(())
}

/// Makes `claimant` the owner of the session of an instance that AMS launched, unless an agent has
/// it already: any of them may answer AMS. Refuses a session that ends, or of another cluster.
pub(crate) fn claim_ams_initiated(
    document: &mut SessionDocument,
    claimant: &AgentId,
    cluster: &str,
    deadline: Timestamp,
) -> Result<(), InvalidTransition> {
    if document.cluster != cluster {
        return Err(InvalidTransition(format!("session is of cluster {}", document.cluster)));
    }
    let lives = matches!(document.status, Status::Created | Status::Active)
        && document.desired.state == DesiredState::Running;
    match document.owner {
        Some(_) if lives => Ok(()),
        Some(_) => Err(InvalidTransition(format!("session is {}", document.status))),
        None => claim(document, claimant, cluster, deadline),
    }
}

/// What AMS knows the instance by: the name of our launch, which is known before the id and ours
/// alone, or the id of what AMS launched by itself.
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
    is_left && !document.status.is_final() && document.cluster == cluster
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
    let before = document.owner.replace(new_owner.clone());
    if let Some(before) = before {
        document.push_cause(now, format!("taken over from agent {before}"));
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
    if document.status.is_final() {
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
    let lives = matches!(document.status, Status::Created | Status::Active);
    is_owned_by(document, agent) && lives && wanted && document.instance_id.is_none()
}

/// Takes what the instance says of itself.
pub(crate) fn on_report(
    document: &mut SessionDocument,
    report: &Report,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    if document.status.is_final() {
        return Err(InvalidTransition(format!("session is {}", document.status)));
    }
    let said = |what: &str| match report.message.as_str() {
        "" => what.to_owned(),
        // The instance is not ours: its words are bounded.
        message => format!("{what}: {}", message.chars().take(200).collect::<String>()),
    };
    match report.status {
        ReportedStatus::Running if document.status == Status::Created => {
            document.status = Status::Active;
            document.deadline = None;
            idle::restart(document, now);
            document.push_cause(now, said("the instance is running"));
        }
        ReportedStatus::Running => {}
        ReportedStatus::Stopped => end(document, said("the instance stopped"), false, now),
        ReportedStatus::Error => end(document, said("the instance failed"), true, now),
    }
    Ok(())
}

/// Begins the end that somebody wants: whose-ever the instance is, it is to go.
pub(crate) fn end_on_request(document: &mut SessionDocument, cause: String, now: Timestamp) {
    if !document.status.is_final() {
        document.desired.state = DesiredState::Terminated;
        end(document, cause, false, now);
    }
}

/// Begins the end: from here on our instance is to go. The first cause stays the cause.
pub(crate) fn end(document: &mut SessionDocument, cause: String, failed: bool, now: Timestamp) {
    if document.status.is_final() || document.status == Status::Terminating {
        return;
    }
    let wanted = document.desired.state == DesiredState::Terminated;
    document.status = Status::Terminating;
    document.failed = failed;
    document.deadline = Some(now.plus_secs(TERMINATING_S));
    document.push_cause(now, cause);
    if document.origin == Origin::Ams && !wanted {
        return on_instance_gone(document);
    }
    document.desired.state = DesiredState::Terminated;
}

/// The instance is gone, or given up.
pub(crate) fn on_instance_gone(document: &mut SessionDocument) {
    if document.status == Status::Terminating {
        document.status = if document.failed { Status::Error } else { Status::Terminated };
        document.deadline = None;
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
        (Status::Terminated | Status::Error, _) => NextAction::None,
        (_, None) if document.owner.is_some() => NextAction::None,
        (Status::Terminating, _) => NextAction::FinishEnd,
        (_, None) if overdue => {
            NextAction::BeginEnd { cause: "no agent took the session".to_owned(), failed: true }
        }
        (_, None) => NextAction::None,
        (_, Some(_)) if document.desired.state == DesiredState::Terminated => {
            NextAction::BeginEnd { cause: "ended on request".to_owned(), failed: false }
        }
        (_, Some(_)) if overdue => NextAction::BeginEnd {
            cause: "the instance did not get ready in time".to_owned(),
            failed: true,
        },
        (_, Some(_)) => idle::next_action(document, now),
    }
}

/// Makes the change that is due in `document`, if one is. What was due in an earlier state of it
/// does not count: a client may have come back, an instance may have got ready, another agent may
/// have taken over.
pub(crate) fn apply_due_change(document: &mut SessionDocument, agent: &AgentId, now: Timestamp) {
    match next_action(document, agent, now) {
        NextAction::BeginEnd { cause, failed } => end(document, cause, failed, now),
        NextAction::RestartIdleTimer => idle::restart(document, now),
        NextAction::CheckFirstClient | NextAction::FinishEnd | NextAction::None => {}
    }
}

/// Ends the session if no client has come in time.
pub(crate) fn end_without_client(document: &mut SessionDocument, now: Timestamp) {
    if idle::next_action(document, now) == NextAction::CheckFirstClient {
        let seconds = document.request.first_client_s;
        let cause = format!("no client came within {seconds} seconds");
        end(document, cause, false, now);
    }
}

/// Whether the session may end although AMS says that its instance stays. What AMS launched by
/// itself carries no tag of ours: once given up, nothing would find it again.
pub(crate) fn may_give_up_instance(document: &SessionDocument, now: Timestamp) -> bool {
    document.status == Status::Terminating
        && document.origin == Origin::Client
        && is_overdue(document, now)
}

fn is_overdue(document: &SessionDocument, now: Timestamp) -> bool {
    document.deadline.is_some_and(|deadline| now >= deadline)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stream_protocol::{ClientReport, ClientState, Request, SessionId};

    use super::*;

    fn created() -> SessionDocument {
        let request = Request::for_app("clock");
        SessionDocument::new(SessionId::random(), request, 1000.into(), 1030.into())
    }

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    fn claimed() -> SessionDocument {
        let mut document = created();
        claim(&mut document, &agent("a"), "cluster", 1300.into()).unwrap();
        document
    }

    fn report(status: ReportedStatus) -> Report {
        Report { status, message: String::new() }
    }

    #[test]
    fn a_claim_names_the_launch_and_repeats_harmlessly() {
        let mut document = claimed();
        let name = document.instance_name.clone();
        assert_eq!(name, Some(InstanceName::of(&document.id, 1)));
        claim(&mut document, &agent("a"), "cluster", 1310.into()).unwrap();
        assert_eq!(document.instance_name, name);
    }

    #[test]
    fn what_another_agent_owns_or_what_is_ending_is_not_claimed() {
        let refused = claim(&mut claimed(), &agent("b"), "cluster", 1300.into());
        assert_eq!(refused, Err(InvalidTransition("session is owned by agent a".into())));
        let mut unwanted = created();
        unwanted.desired.state = DesiredState::Terminated;
        assert!(claim(&mut unwanted, &agent("a"), "cluster", 1300.into()).is_err());
        assert_eq!(unwanted.owner, None);
    }

    /// Of an instance that AMS launched by itself.
    fn received() -> SessionDocument {
        let request = created().request;
        let instance = ("cluster".to_owned(), "i".to_owned());
        let mut document = SessionDocument::of_instance(
            SessionId::random(),
            instance,
            request,
            1000.into(),
            1030.into(),
        );
        claim_ams_initiated(&mut document, &agent("a"), "cluster", 1300.into()).unwrap();
        document
    }

    #[test]
    fn what_ams_launched_is_received_by_one_agent_and_answered_by_all() {
        let mut document = received();
        assert_eq!((document.instance_name.as_ref(), instance(&document)), (None, Some("i")));
        assert!(!needs_relaunch(&document, &agent("a")), "it is not launched by us");
        let before = document.clone();
        claim_ams_initiated(&mut document, &agent("b"), "cluster", 1310.into()).unwrap();
        assert_eq!(document, before, "it has its owner");
        assert!(claim_ams_initiated(&mut document, &agent("b"), "elsewhere", 1310.into()).is_err());
        end_on_request(&mut document, "asked".into(), 1020.into());
        assert!(
            claim_ams_initiated(&mut document, &agent("a"), "cluster", 1310.into()).is_err(),
            "it ends"
        );
    }

    #[test]
    fn what_ams_launched_goes_only_when_somebody_wants_the_end() {
        let ends: [fn(&mut SessionDocument); 3] = [
            |document| end(document, "overdue".into(), true, 1300.into()),
            |document| on_report(document, &report(ReportedStatus::Error), 1010.into()).unwrap(),
            |document| on_report(document, &report(ReportedStatus::Stopped), 1010.into()).unwrap(),
        ];
        for (end, status) in
            ends.into_iter().zip([Status::Error, Status::Error, Status::Terminated])
        {
            let mut document = received();
            end(&mut document);
            assert_eq!((document.status, document.deadline), (status, None));
            end_on_request(&mut document, "too late".into(), 1400.into());
            assert_eq!(document.desired.state, DesiredState::Running, "nobody wanted it");
        }
        let mut document = received();
        end_on_request(&mut document, "asked".into(), 1010.into());
        assert_eq!(document.status, Status::Terminating);
        on_report(&mut document, &report(ReportedStatus::Stopped), 1020.into()).unwrap();
        assert_eq!(document.status, Status::Terminating, "it is still to go");
        let me = agent("a");
        let late = Timestamp::from_unix(1010 + TERMINATING_S);
        assert_eq!(next_action(&document, &me, late), NextAction::FinishEnd);
        assert!(!may_give_up_instance(&document, late), "never given up");
    }

    #[test]
    fn a_session_is_taken_over_only_from_who_has_left_and_only_in_its_cluster() {
        let departed = gone(&["a", "z"]);
        assert!(is_abandoned(&claimed(), &departed, "cluster"));
        assert!(!is_abandoned(&claimed(), &gone(&["z"]), "cluster"));
        assert!(!is_abandoned(&claimed(), &departed, "elsewhere"), "its instance is not here");
        assert!(!is_abandoned(&created(), &departed, "cluster"), "nobody had it");
        let mut document = claimed();
        adopt(&mut document, &agent("b"), &departed, "cluster", 1066.into()).unwrap();
        let new_owner = Some(agent("b"));
        assert_eq!(
            (document.last_cause(), &document.owner),
            ("taken over from agent a", &new_owner)
        );
        assert!(
            adopt(&mut document, &agent("c"), &departed, "cluster", 1067.into()).is_err(),
            "one new owner"
        );
        assert!(
            on_launched(&mut document, &agent("a"), "i").is_err(),
            "who comes back is too late"
        );
        assert!(on_launched(&mut document, &agent("b"), "i").is_ok());
    }

    fn gone(agents: &[&str]) -> Departed {
        agents.iter().map(|name| (agent(name), Departure::Gone)).collect()
    }

    #[test]
    fn an_agent_that_drains_finishes_the_launches_it_has_begun() {
        let drains: Departed = [(agent("a"), Departure::Draining)].into_iter().collect();
        let mut document = claimed();
        assert!(!is_abandoned(&document, &drains, "cluster"), "it is being launched");
        assert!(is_abandoned(&document, &gone(&["a"]), "cluster"), "nobody launches it");
        on_launched(&mut document, &agent("a"), "i").unwrap();
        assert!(is_abandoned(&document, &drains, "cluster"));
        let mut ending = claimed();
        end(&mut ending, "asked".into(), false, 1010.into());
        assert!(is_abandoned(&ending, &drains, "cluster"));
    }

    #[test]
    fn a_launch_that_was_cut_off_is_made_again_and_no_other() {
        let me = agent("a");
        let mut document = claimed();
        assert!(needs_relaunch(&document, &me));
        assert!(!needs_relaunch(&document, &agent("b")));
        assert!(!needs_relaunch(&created(), &me));
        on_launched(&mut document, &me, "i").unwrap();
        assert!(!needs_relaunch(&document, &me));
        let mut unwanted = claimed();
        unwanted.desired.state = DesiredState::Terminated;
        assert!(!needs_relaunch(&unwanted, &me));
        let mut unknown = claimed();
        on_report(&mut unknown, &report(ReportedStatus::Running), 1010.into()).unwrap();
        assert!(needs_relaunch(&unknown, &me), "which instance it is, nobody has noted");
    }

    #[test]
    fn only_the_instance_itself_makes_a_session_active() {
        let mut document = claimed();
        assert_eq!(document.status, Status::Created);
        on_report(&mut document, &report(ReportedStatus::Running), 1010.into()).unwrap();
        assert_eq!((document.status, document.deadline), (Status::Active, None));
    }

    #[test]
    fn a_stopped_instance_terminates_and_a_failed_one_is_an_error() {
        for (status, expected) in
            [(ReportedStatus::Stopped, Status::Terminated), (ReportedStatus::Error, Status::Error)]
        {
            let mut document = claimed();
            on_report(&mut document, &report(status), 1010.into()).unwrap();
            assert_eq!(document.status, Status::Terminating);
            on_instance_gone(&mut document);
            assert_eq!(document.status, expected);
            assert!(
                on_report(&mut document, &report(ReportedStatus::Running), 1020.into()).is_err()
            );
        }
    }

    #[test]
    fn the_first_cause_of_an_end_stays() {
        let mut document = claimed();
        end(&mut document, "first".into(), true, 1010.into());
        end(&mut document, "second".into(), false, 1020.into());
        assert_eq!((document.last_cause(), document.failed), ("first", true));
    }

    #[test]
    fn what_is_due_depends_on_owner_and_time() {
        let me = agent("a");
        assert_eq!(next_action(&claimed(), &me, 1001.into()), NextAction::None);
        assert_eq!(next_action(&claimed(), &agent("b"), 9999.into()), NextAction::None, "not ours");
        assert!(matches!(
            next_action(&claimed(), &me, 1300.into()),
            NextAction::BeginEnd { failed: true, .. }
        ));
        assert_eq!(next_action(&created(), &me, 1029.into()), NextAction::None);
        assert!(matches!(
            next_action(&created(), &me, 1030.into()),
            NextAction::BeginEnd { failed: true, .. }
        ));
        let mut unwanted = claimed();
        unwanted.desired.state = DesiredState::Terminated;
        assert!(matches!(
            next_action(&unwanted, &me, 1001.into()),
            NextAction::BeginEnd { failed: false, .. }
        ));
        end(&mut unwanted, "x".into(), false, 1001.into());
        assert_eq!(next_action(&unwanted, &me, 1002.into()), NextAction::FinishEnd);
        let late = Timestamp::from_unix(1001 + TERMINATING_S);
        assert_eq!(next_action(&unwanted, &me, late), NextAction::FinishEnd);
        assert!(may_give_up_instance(&unwanted, late), "if AMS says that it stays");
        assert!(!may_give_up_instance(&unwanted, Timestamp::from_unix(1000 + TERMINATING_S)));
        on_instance_gone(&mut unwanted);
        assert_eq!(next_action(&unwanted, &me, 9999.into()), NextAction::None);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Claim,
        Report(ReportedStatus),
        Client(ClientState),
        Join,
        TakeOver,
        End(bool),
        EndOnRequest,
        Ended,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Claim),
            Just(Event::Report(ReportedStatus::Running)),
            Just(Event::Report(ReportedStatus::Stopped)),
            Just(Event::Report(ReportedStatus::Error)),
            Just(Event::Client(ClientState::Connected)),
            Just(Event::Client(ClientState::Disconnected)),
            Just(Event::Join),
            Just(Event::TakeOver),
            any::<bool>().prop_map(Event::End),
            Just(Event::EndOnRequest),
            Just(Event::Ended),
        ]
    }

    /// A document after `events`, one a second.
    fn after(events: Vec<Event>, by_ams: bool) -> SessionDocument {
        let mut document = if by_ams { received() } else { created() };
        for (n, event) in events.into_iter().enumerate() {
            apply(&mut document, event, Timestamp::from_unix(1000 + n as u64));
        }
        document
    }

    fn apply(document: &mut SessionDocument, event: Event, now: Timestamp) {
        match event {
            Event::Claim => drop(claim(document, &agent("a"), "c", now.plus_secs(300))),
            Event::Report(status) => drop(on_report(document, &report(status), now)),
            Event::Client(client) => {
                let generation = document.generation;
                drop(idle::on_report(document, &ClientReport { client, generation }, now));
            }
            Event::Join => document.generation += 1,
            Event::TakeOver => {
                drop(adopt(document, &agent("b"), &gone(&["a"]), "c", now));
            }
            Event::End(failed) => end(document, "due".into(), failed, now),
            Event::EndOnRequest => end_on_request(document, "asked".into(), now),
            Event::Ended => on_instance_gone(document),
        }
    }

    proptest! {
        /// Whoever looks acts on what is stored when it writes, however old its look is.
        #[test]
        fn a_change_is_made_only_where_it_is_due(
            events in prop::collection::vec(event(), 0..12),
            by_ams: bool,
            at in 1000..2000_u64,
        ) {
            let (me, now) = (agent("a"), Timestamp::from_unix(at));
            let mut document = after(events, by_ams);
            let before = document.clone();
            let due = next_action(&document, &me, now);
            apply_due_change(&mut document, &me, now);
            let next = next_action(&document, &me, now);
            match due {
                NextAction::None | NextAction::FinishEnd | NextAction::CheckFirstClient => {
                    prop_assert_eq!(&document, &before);
                }
                NextAction::RestartIdleTimer => {
                    prop_assert_eq!(document.status, Status::Active);
                    prop_assert!(document.idle.is_some());
                }
                NextAction::BeginEnd { .. } => {
                    prop_assert!(document.status.is_final() || next == NextAction::FinishEnd);
                }
            }
            let others = document.owner.as_ref().is_some_and(|owner| *owner != me);
            prop_assert!(!others || document == before, "it is another agent's");
        }

        #[test]
        fn no_order_of_events_leaves_a_state_without_exit_or_revives_the_dead(
            events in prop::collection::vec(event(), 0..20),
            by_ams: bool,
        ) {
            let mut document = if by_ams { received() } else { created() };
            for (n, event) in events.into_iter().enumerate() {
                let (now, before) = (Timestamp::from_unix(1000 + n as u64), document.status);
                apply(&mut document, event, now);
                prop_assert!(!before.is_final() || document.status == before);
                let may_rest = document.status.is_final() || document.status == Status::Active;
                prop_assert!(may_rest || document.deadline.is_some(), "{document:?}");
            }
        }
    }
}
