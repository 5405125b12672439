//! What a kept instance brings back, when it goes, and what does neither.

use stream_protocol::{InstanceName, Report, ReportedStatus, Request, SessionId};

use super::*;
use crate::session;

const RETENTION: Retention = Retention { restart_grace_s: 120, failed_instance_s: 3600 };

fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

/// The session of a client, which its instance serves since 1010.
fn active() -> SessionDocument {
    let (id, request) = (SessionId::random(), Request::for_app("clock"));
    let mut document = SessionDocument::new(id, request, 1000.into(), 1030.into());
    session::claim(&mut document, &agent("a"), "c", 1300.into()).unwrap();
    session::on_launched(&mut document, &agent("a"), "i").unwrap();
    says(&mut document, ReportedStatus::Running, 1010).unwrap();
    document
}

/// It failed at 2000.
fn failed() -> SessionDocument {
    let mut document = active();
    says(&mut document, ReportedStatus::Error, 2000).unwrap();
    document
}

/// The session of an instance that AMS launched by itself, which stopped at 2000.
fn of_ams() -> SessionDocument {
    let (id, request) = (SessionId::random(), Request::for_app("clock"));
    let instance = ("c".to_owned(), "i".to_owned());
    let mut document =
        SessionDocument::of_instance(id, instance, request, 1000.into(), 1030.into());
    let times = (1000.into(), 1300.into());
    session::claim_ams_initiated(&mut document, (&agent("a"), "i"), "c", "first", times).unwrap();
    says(&mut document, ReportedStatus::Running, 1010).unwrap();
    says(&mut document, ReportedStatus::Stopped, 2000).unwrap();
    document
}

fn says(
    document: &mut SessionDocument,
    status: ReportedStatus,
    now: u64,
) -> Result<(), InvalidTransition> {
    let report = Report { status, message: String::new(), capabilities: None };
    session::on_report(document, &report, RETENTION, now.into())
}

fn due(document: &SessionDocument, now: u64) -> NextAction {
    session::next_action(document, &agent("a"), now.into())
}

#[test]
fn a_session_that_failed_says_until_when_it_may_come_back() {
    let document = failed();
    assert_eq!(document.status, Status::Error);
    let expected = "the instance failed, may be started again until 1970-01-01T00:35:20Z";
    assert_eq!(document.last_cause(), expected);
    assert!(!document.is_over() && document.may_restart(2119.into()));
    assert_eq!((document.deadline, document.idle.clone()), (None, None));
    let mut talkative = active();
    let cause = "x".repeat(9_000);
    session::fail(&mut talkative, cause, true, RETENTION, 2000.into());
    assert!(talkative.last_cause().ends_with("until 1970-01-01T00:35:20Z"), "{talkative:?}");
}

#[test]
fn an_instance_that_runs_again_brings_its_session_back_a_generation_later() {
    let mut document = failed();
    says(&mut document, ReportedStatus::Running, 2119).unwrap();
    assert_eq!((document.status, document.failed), (Status::Active, false));
    assert_eq!((document.generation, document.desired.client), (1, None));
    assert_eq!(document.kept_instance, None);
    assert!(document.idle.is_some(), "it waits for a client");
    says(&mut document, ReportedStatus::Running, 2120).unwrap();
    assert_eq!(document.generation, 1, "said twice, it is no other start");
    says(&mut document, ReportedStatus::Error, 3000).unwrap();
    assert_eq!(document.kept_instance.unwrap().since, 3000.into(), "it may fail again");
}

#[test]
fn after_its_grace_it_stays_an_error_and_after_its_time_it_goes() {
    let mut document = failed();
    assert!(says(&mut document, ReportedStatus::Running, 2120).is_err());
    assert_eq!(due(&document, 5719), NextAction::None);
    assert_eq!(due(&document, 5720), NextAction::DeleteKept);
    let other = session::next_action(&document, &agent("b"), 9999.into());
    assert_eq!(other, NextAction::None, "it is not b's");
    session::apply_due_change(&mut document, &agent("a"), 5720.into());
    assert_eq!(due(&document, 0), NextAction::None, "clocks differ");
    assert!(says(&mut document, ReportedStatus::Running, 100).is_err(), "and yet it is condemned");
    on_gone(&mut document);
    assert!(document.is_over() && document.status == Status::Error);
}

#[test]
fn without_a_grace_it_is_kept_for_its_logs_and_without_either_not_at_all() {
    let cause = || "the instance stopped".to_owned();
    let mut document = active();
    let retention = Retention { restart_grace_s: 0, ..RETENTION };
    session::fail(&mut document, cause(), false, retention, 2000.into());
    assert_eq!((document.status, document.last_cause()), (Status::Error, "the instance stopped"));
    assert!(!document.may_restart(2000.into()) && due(&document, 5599) == NextAction::None);
    assert_eq!(due(&document, 5600), NextAction::DeleteKept);
    let mut document = active();
    session::fail(&mut document, cause(), false, Retention::NONE, 2000.into());
    assert_eq!(document.status, Status::Terminating);
}

#[test]
fn an_instance_that_says_it_stopped_or_is_gone_ends_its_session_at_once() {
    let mut stopped = active();
    says(&mut stopped, ReportedStatus::Stopped, 2000).unwrap();
    assert_eq!((stopped.status, stopped.failed), (Status::Terminating, false));
    let mut gone = active();
    session::on_instance_lost(&mut gone, "gone".into(), true, 2000.into());
    assert_eq!((gone.status, gone.kept_instance.is_some()), (Status::Terminating, false));
    let mut kept = failed();
    let before = kept.clone();
    says(&mut kept, ReportedStatus::Stopped, 2001).unwrap();
    assert_eq!(kept, before, "what failed stops, too");
    session::on_instance_lost(&mut kept, "gone".into(), true, 2010.into());
    assert_eq!((kept.status, due(&kept, 2010)), (Status::Error, NextAction::DeleteKept));
}

#[test]
fn whoever_deletes_the_session_has_the_instance_go_at_once() {
    let mut document = failed();
    session::end_on_request(&mut document, "asked".into(), 2010.into());
    assert_eq!(
        (document.status, due(&document, 2010)),
        (Status::Terminating, NextAction::FinishEnd)
    );
    session::on_instance_gone(&mut document);
    assert_eq!((document.status, document.is_over()), (Status::Terminated, true));
    let mut ordered = failed();
    ordered.desired.state = DesiredState::Terminated;
    assert!(says(&mut ordered, ReportedStatus::Running, 2010).is_err(), "nobody wants it");
    assert!(matches!(due(&ordered, 2010), NextAction::BeginEnd { failed: false, .. }));
    session::apply_due_change(&mut ordered, &agent("a"), 2010.into());
    assert_eq!(ordered.status, Status::Terminating);
}

#[test]
fn a_session_of_ams_waits_for_its_instance_for_as_long_as_ams_has_it() {
    let mut document = of_ams();
    assert_eq!((document.status, document.failed), (Status::Terminated, false));
    assert_eq!(due(&document, 1 << 40), NextAction::None);
    says(&mut document, ReportedStatus::Running, 1 << 40).unwrap();
    assert_eq!((document.status, document.generation), (Status::Active, 1));
    assert_eq!(document.instance_token.as_deref(), Some("first"), "it has the token it had");
    session::on_instance_lost(&mut document, "deleted".into(), false, 5000.into());
    assert_eq!(
        (document.status, due(&document, 5000)),
        (Status::Terminated, NextAction::DeleteKept)
    );
    on_gone(&mut document);
    assert!(document.is_over());
}

#[test]
fn ams_may_ask_again_at_any_agent_and_the_token_of_before_ends() {
    let (mut document, times) = (of_ams(), (3000.into(), 3300.into()));
    session::claim_ams_initiated(&mut document, (&agent("b"), "i"), "c", "second", times).unwrap();
    assert_eq!((document.status, document.deadline), (Status::Created, Some(3300.into())));
    assert_eq!((document.owner.clone(), document.generation), (Some(agent("b")), 1));
    assert_eq!(document.instance_token.as_deref(), Some("second"));
    session::claim_ams_initiated(&mut document, (&agent("a"), "i"), "c", "third", times).unwrap();
    assert_eq!(document.instance_token.as_deref(), Some("second"), "it has one, asked or not");
    says(&mut document, ReportedStatus::Running, 3010).unwrap();
    assert_eq!(document.status, Status::Active);

    let mut unwanted = of_ams();
    session::end_on_request(&mut unwanted, "asked".into(), 2500.into());
    assert_eq!(unwanted.status, Status::Terminated, "its instance stays with ams");
    let asked =
        session::claim_ams_initiated(&mut unwanted, (&agent("a"), "i"), "c", "second", times);
    assert!(asked.is_err() && due(&unwanted, 2500) == NextAction::DeleteKept);
}

#[test]
fn of_eleven_the_oldest_gives_way_and_those_of_others_do_not_count() {
    let mut all: Vec<_> = (0..11)
        .map(|n| {
            let mut document = active();
            says(&mut document, ReportedStatus::Error, 3000 - n).unwrap();
            document
        })
        .collect();
    let oldest = all[10].id.clone();
    let other = SessionDocument { owner: Some(agent("b")), ..failed() };
    let elsewhere = SessionDocument { cluster: "d".to_owned(), ..failed() };
    all.extend([other, elsewhere, of_ams(), active()]);
    let ids = |most| {
        let surplus = surplus(all.iter(), &agent("a"), "c", most);
        surplus.into_iter().map(|document| document.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(10), [oldest]);
    assert_eq!((ids(11).len(), ids(0).len()), (0, 11));
}

#[test]
fn what_came_back_since_it_was_seen_does_not_give_way() {
    let seen = failed();
    let mut back = seen.clone();
    says(&mut back, ReportedStatus::Running, 2010).unwrap();
    let mut again = back.clone();
    says(&mut again, ReportedStatus::Error, 2020).unwrap();
    let others = SessionDocument { owner: Some(agent("b")), ..seen.clone() };
    for document in [back, again, others] {
        let mut present = document.clone();
        give_way(&mut present, &seen, &agent("a"), 2030.into());
        assert_eq!(present, document);
    }
    let mut present = seen.clone();
    give_way(&mut present, &seen, &agent("a"), 2030.into());
    assert_eq!(due(&present, 2030), NextAction::DeleteKept);
    assert!(says(&mut present, ReportedStatus::Running, 2031).is_err());
}

#[test]
fn an_instance_without_room_is_replaced_under_another_name() {
    let mut document = active();
    let times = (1010.into(), 1400.into());
    let launch = |document: &mut SessionDocument, failed: &str| {
        session::launch_again(document, &agent("a"), failed, times)
    };
    assert!(launch(&mut document, "i").is_err(), "it has run");
    document.status = Status::Created;
    assert!(launch(&mut document, "j").is_err(), "it is not the one");
    launch(&mut document, "i").unwrap();
    assert_eq!(document.instance_name, Some(InstanceName::of(&document.id, 2)));
    assert!(session::needs_relaunch(&document, &agent("a")));
    assert_eq!(document.deadline, Some(1400.into()));
}

#[test]
fn a_kept_session_is_taken_over_and_still_says_why_it_ended() {
    let mut document = failed();
    let gone = [(agent("a"), crate::failure_detector::Departure::Gone)].into_iter().collect();
    assert!(session::is_abandoned(&document, &gone, "c"));
    let cause = document.last_cause().to_owned();
    session::adopt(&mut document, &agent("b"), &gone, "c", 2010.into()).unwrap();
    assert_eq!((document.owner.clone(), document.last_cause()), (Some(agent("b")), cause.as_str()));
    condemn(&mut document, 2020.into());
    on_gone(&mut document);
    assert!(!session::is_abandoned(&document, &gone, "c"), "nothing is left of it");
}
