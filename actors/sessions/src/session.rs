//! The life of one session, as functions on its document. Pure: time comes in, nothing goes out.
//!
//! ```text
//! created ──claim, launch──► created ──instance says running──► active
//!    │                          │                                 │
//!    └───────────── asked, stopped, failed or overdue ────────────┘
//!                               ▼
//!                          terminating ──instance gone──► terminated, or error if it failed
//! ```

use stream_protocol::{
    AgentId, DesiredState, InstanceName, Owner, Report, ReportedStatus, SessionDocument, Status,
};

/// How long nobody else may write a claimed document; the owner renews it.
pub(crate) const LEASE_S: u64 = 60;

/// How long the deletion of an instance may take until the session is given up.
const TERMINATING_S: u64 = 600;

/// Why a change does not fit the state of a session.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Misfit(pub(crate) String);

/// Makes `agent` the owner and notes the name of the launch that follows. Only a session that
/// nobody has launched can be claimed; by its owner again, so that a repeated request is harmless.
pub(crate) fn claim(
    document: &mut SessionDocument,
    agent: &AgentId,
    cluster: &str,
    now: u64,
    deadline: u64,
) -> Result<(), Misfit> {
    if document.status != Status::Created || document.desired.state == DesiredState::Terminated {
        return Err(Misfit(format!("session is {}", document.status)));
    }
    if let Some(owner) = &document.owner
        && owner.agent != *agent
    {
        return Err(Misfit(format!("session is owned by agent {}", owner.agent)));
    }
    document.owner = Some(Owner { agent: agent.clone(), lease_until: now + LEASE_S });
    document.cluster = cluster.to_owned();
    document.instance_name.get_or_insert_with(|| InstanceName::of(&document.id, 1));
    document.deadline = Some(deadline);
    Ok(())
}

/// What follows from a report of the instance.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Next {
    Continue,
    /// The instance is to be deleted.
    End,
}

/// Takes what the instance says of itself.
pub(crate) fn reported(
    document: &mut SessionDocument,
    report: &Report,
    now: u64,
) -> Result<Next, Misfit> {
    if document.status.is_final() {
        return Err(Misfit(format!("session is {}", document.status)));
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
            document.note(now, said("the instance is running"));
            Ok(Next::Continue)
        }
        ReportedStatus::Running => Ok(Next::Continue),
        ReportedStatus::Stopped => {
            end(document, said("the instance stopped"), false, now);
            Ok(Next::End)
        }
        ReportedStatus::Error => {
            end(document, said("the instance failed"), true, now);
            Ok(Next::End)
        }
    }
}

/// Begins the end: from here on the instance is to go. The first cause stays the cause.
pub(crate) fn end(document: &mut SessionDocument, cause: String, failed: bool, now: u64) {
    if document.status.is_final() || document.status == Status::Terminating {
        return;
    }
    document.status = Status::Terminating;
    document.desired.state = DesiredState::Terminated;
    document.failed = failed;
    document.deadline = Some(now + TERMINATING_S);
    document.note(now, cause);
}

/// The instance is gone, or given up.
pub(crate) fn ended(document: &mut SessionDocument) {
    if document.status == Status::Terminating {
        document.status = if document.failed { Status::Error } else { Status::Terminated };
        document.deadline = None;
    }
}

/// What the owner, or for an unclaimed session anybody, has to do about it now.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Begin the end, with this cause.
    End {
        cause: String,
        failed: bool,
    },
    /// Finish an end that has begun.
    FinishEnd,
    /// Its instance could not be deleted for so long that it is given up.
    GiveUp,
    /// The lease runs out soon.
    RenewLease,
    Nothing,
}

/// Looks at a document that `agent` may have to act on.
pub(crate) fn due(document: &SessionDocument, agent: &AgentId, now: u64) -> Due {
    let overdue = document.deadline.is_some_and(|deadline| now >= deadline);
    let mine = document.owner.as_ref().filter(|owner| owner.agent == *agent);
    match (document.status, mine) {
        (Status::Terminated | Status::Error, _) => Due::Nothing,
        (_, None) if document.owner.is_some() => Due::Nothing,
        (_, None) if overdue => {
            Due::End { cause: "no agent took the session".to_owned(), failed: true }
        }
        (_, None) => Due::Nothing,
        (Status::Terminating, Some(_)) if overdue => Due::GiveUp,
        (Status::Terminating, Some(_)) => Due::FinishEnd,
        (_, Some(_)) if document.desired.state == DesiredState::Terminated => {
            Due::End { cause: "ended on request".to_owned(), failed: false }
        }
        (_, Some(_)) if overdue => {
            Due::End { cause: "the instance did not get ready in time".to_owned(), failed: true }
        }
        (_, Some(owner)) if owner.lease_until < now + LEASE_S / 2 => Due::RenewLease,
        (_, Some(_)) => Due::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stream_protocol::{Request, Screen, SessionId};

    use super::*;

    fn created() -> SessionDocument {
        let request = Request {
            app: "clock".into(),
            app_version: None,
            region: String::new(),
            screen: Screen::default(),
            joinable: false,
            ephemeral: true,
            idle_time_min: 0,
            extra_data: serde_json::Value::Null,
        };
        SessionDocument::new(SessionId::random(), request, 1000, 1030)
    }

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    fn claimed() -> SessionDocument {
        let mut document = created();
        claim(&mut document, &agent("a"), "cluster", 1000, 1300).unwrap();
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
        claim(&mut document, &agent("a"), "cluster", 1010, 1310).unwrap();
        assert_eq!(document.instance_name, name);
    }

    #[test]
    fn what_another_agent_owns_or_what_is_ending_is_not_claimed() {
        let refused = claim(&mut claimed(), &agent("b"), "cluster", 1001, 1300);
        assert_eq!(refused, Err(Misfit("session is owned by agent a".into())));
        let mut unwanted = created();
        unwanted.desired.state = DesiredState::Terminated;
        assert!(claim(&mut unwanted, &agent("a"), "cluster", 1001, 1300).is_err());
        assert_eq!(unwanted.owner, None);
    }

    #[test]
    fn only_the_instance_itself_makes_a_session_active() {
        let mut document = claimed();
        assert_eq!(document.status, Status::Created);
        let next = reported(&mut document, &report(ReportedStatus::Running), 1010);
        assert_eq!(next, Ok(Next::Continue));
        assert_eq!((document.status, document.deadline), (Status::Active, None));
    }

    #[test]
    fn a_stopped_instance_terminates_and_a_failed_one_is_an_error() {
        for (status, expected) in
            [(ReportedStatus::Stopped, Status::Terminated), (ReportedStatus::Error, Status::Error)]
        {
            let mut document = claimed();
            assert_eq!(reported(&mut document, &report(status), 1010), Ok(Next::End));
            assert_eq!(document.status, Status::Terminating);
            ended(&mut document);
            assert_eq!(document.status, expected);
            assert!(reported(&mut document, &report(ReportedStatus::Running), 1020).is_err());
        }
    }

    #[test]
    fn the_first_cause_of_an_end_stays() {
        let mut document = claimed();
        end(&mut document, "first".into(), true, 1010);
        end(&mut document, "second".into(), false, 1020);
        assert_eq!((document.message(), document.failed), ("first", true));
    }

    #[test]
    fn what_is_due_depends_on_owner_and_time() {
        let me = agent("a");
        assert_eq!(due(&claimed(), &me, 1001), Due::Nothing);
        assert_eq!(due(&claimed(), &me, 1040), Due::RenewLease);
        assert_eq!(due(&claimed(), &agent("b"), 9999), Due::Nothing, "not ours");
        assert!(matches!(due(&claimed(), &me, 1300), Due::End { failed: true, .. }));
        assert_eq!(due(&created(), &me, 1029), Due::Nothing);
        assert!(matches!(due(&created(), &me, 1030), Due::End { failed: true, .. }));
        let mut unwanted = claimed();
        unwanted.desired.state = DesiredState::Terminated;
        assert!(matches!(due(&unwanted, &me, 1001), Due::End { failed: false, .. }));
        end(&mut unwanted, "x".into(), false, 1001);
        assert_eq!(due(&unwanted, &me, 1002), Due::FinishEnd);
        assert_eq!(due(&unwanted, &me, 1001 + TERMINATING_S), Due::GiveUp);
        ended(&mut unwanted);
        assert_eq!(due(&unwanted, &me, 9999), Due::Nothing);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Claim,
        Report(ReportedStatus),
        End(bool),
        Ended,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Claim),
            Just(Event::Report(ReportedStatus::Running)),
            Just(Event::Report(ReportedStatus::Stopped)),
            Just(Event::Report(ReportedStatus::Error)),
            any::<bool>().prop_map(Event::End),
            Just(Event::Ended),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_events_leaves_a_state_without_exit_or_revives_the_dead(
            events in prop::collection::vec(event(), 0..20)
        ) {
            let mut document = created();
            for (n, event) in events.into_iter().enumerate() {
                let (now, before) = (1000 + n as u64, document.status);
                match event {
                    Event::Claim => drop(claim(&mut document, &agent("a"), "c", now, now + 300)),
                    Event::Report(status) => drop(reported(&mut document, &report(status), now)),
                    Event::End(failed) => end(&mut document, "asked".into(), failed, now),
                    Event::Ended => ended(&mut document),
                }
                prop_assert!(!before.is_final() || document.status == before);
                let may_rest = document.status.is_final() || document.status == Status::Active;
                prop_assert!(may_rest || document.deadline.is_some(), "{document:?}");
            }
        }
    }
}
