//! What each event may do to a document, and what it may not.

use proptest::prelude::*;
use stream_protocol::{Capability, ClientReport, ClientState, Request, SessionId, ShareId};

use super::*;
use crate::reconcile::Loss;

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

/// Takes a report where nothing is kept.
fn reported(
    document: &mut SessionDocument,
    status: ReportedStatus,
    now: Timestamp,
) -> Result<(), InvalidTransition> {
    let report = Report { status, message: String::new(), capabilities: None };
    on_report(document, &report, Retention::NONE, now)
}

#[test]
fn the_latest_program_of_an_instance_says_what_it_can_do() {
    let says = |document: &mut SessionDocument, capabilities: Option<Capabilities>| {
        let status = ReportedStatus::Running;
        let report = Report { status, message: String::new(), capabilities };
        on_report(document, &report, Retention::NONE, 1010.into()).unwrap();
    };
    let roles: Capabilities = [Capability::Roles].into_iter().collect();
    let mut document = claimed();
    assert!(!document.has_roles());
    says(&mut document, Some(roles.clone()));
    says(&mut document, None);
    assert!(document.has_roles(), "said again, it changes nothing");
    let client = document.desired.client.as_mut().unwrap();
    client.role = Role::View;
    says(&mut document, Some(roles));
    assert!(document.desired.client.is_some());
    document.status = Status::Created;
    says(&mut document, None);
    assert!(!document.has_roles(), "started anew, it may be another program");
    assert_eq!(document.desired.client, None, "which would let its viewer control it");
    document.desired.client = created().desired.client;
    says(&mut document, None);
    assert!(document.desired.client.is_some(), "a client that controls is served by each");
}

#[test]
fn a_connection_to_adb_ends_with_its_share_and_holds_off_no_end() {
    let says = |document: &mut SessionDocument, capabilities: &[Capability]| {
        let capabilities = Some(capabilities.iter().copied().collect());
        let (status, message) = (ReportedStatus::Running, String::new());
        on_report(document, &Report { status, message, capabilities }, Retention::NONE, 1010.into())
    };
    let mut document = claimed();
    says(&mut document, &[Capability::Adb]).unwrap();
    let (share, me) = (ShareId::random(), agent("a"));
    document.adb.connect(&share, 1100.into(), 1020.into());
    let idle = document.idle.clone();
    assert_eq!(next_action(&document, &me, 1099.into()), NextAction::None);
    assert_eq!(next_action(&document, &me, 1100.into()), NextAction::EndAdb);
    assert_eq!(next_action(&document, &agent("b"), 1100.into()), NextAction::None, "its owner's");
    let mut ended = document.clone();
    apply_due_change(&mut ended, &me, 1100.into());
    assert_eq!((ended.adb.peers(), &ended.idle), (Vec::new(), &idle));
    assert_eq!(next_action(&ended, &me, 1100.into()), NextAction::None);
    document.request.idle_time_min = 1;
    let due = next_action(&document, &me, 1100.into());
    assert!(matches!(due, NextAction::BeginEnd { .. }), "{due:?}");
    says(&mut document, &[]).unwrap();
    assert_eq!(document.adb.peers(), [], "whoever it is now does not serve it");
}

fn initiate(
    document: &mut SessionDocument,
    claimant: &str,
    cluster: &str,
    now: u64,
) -> Result<(), InvalidTransition> {
    let times = (now.into(), Timestamp::from_unix(now + 300));
    claim_ams_initiated(document, (&agent(claimant), "i"), cluster, "token", times)
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
fn a_launch_whose_name_is_taken_gets_one_that_nobody_foresees() {
    let mut document = claimed();
    let taken = document.instance_name.clone().unwrap();
    let other = InstanceName::of(&document.id, 9);
    assert!(rename_launch(&mut document, &agent("a"), &other, 1305.into()).is_err());
    assert!(rename_launch(&mut document, &agent("b"), &taken, 1305.into()).is_err());
    rename_launch(&mut document, &agent("a"), &taken, 1305.into()).unwrap();
    let name = document.instance_name.clone().unwrap();
    assert!(name != taken && name.as_str().starts_with(&format!("s-{}-", document.id)));
    assert!(document.last_cause().contains(taken.as_str()), "{}", document.last_cause());
    on_launched(&mut document, &agent("a"), "i").unwrap();
    assert!(rename_launch(&mut document, &agent("a"), &name, 1305.into()).is_err());
}

#[test]
fn what_another_agent_owns_or_what_is_ending_is_not_claimed() {
    let refused = claim(&mut claimed(), &agent("b"), "cluster", 1300.into());
    assert_eq!(refused, Err(InvalidTransition("session has another agent".into())));
    let mut unwanted = created();
    unwanted.desired.state = DesiredState::Terminated;
    assert!(claim(&mut unwanted, &agent("a"), "cluster", 1300.into()).is_err());
    assert_eq!(unwanted.owner, None);
    let mut running = claimed();
    reported(&mut running, ReportedStatus::Running, 1010.into()).unwrap();
    assert!(claim(&mut running, &agent("a"), "cluster", 1300.into()).is_err());
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
    initiate(&mut document, "a", "cluster", 1000).unwrap();
    document
}

#[test]
fn what_ams_launched_is_received_by_one_agent_and_answered_by_all() {
    let mut document = received();
    assert_eq!((document.instance_name.as_ref(), instance(&document)), (None, Some("i")));
    assert!(!needs_relaunch(&document, &agent("a")), "it is not launched by us");
    let before = document.clone();
    initiate(&mut document, "b", "cluster", 1010).unwrap();
    assert_eq!(document, before, "it has its owner");
    assert!(initiate(&mut document, "b", "elsewhere", 1010).is_err());
    // A gateway that names the session of another must not give an instance its token.
    let (b, times) = (agent("b"), (1010.into(), 1310.into()));
    let foreign = claim_ams_initiated(&mut document, (&b, "other"), "cluster", "token", times);
    assert!(foreign.is_err());
    let of_client = &mut created();
    assert!(claim_ams_initiated(of_client, (&b, "i"), "cluster", "token", times).is_err());
    end_on_request(&mut document, "asked".into(), 1020.into());
    assert!(initiate(&mut document, "a", "cluster", 1030).is_err(), "it ends");
    let answered = |status, state| {
        let mut document = received();
        assert_eq!(document.instance_token.as_deref(), Some("token"));
        (document.status, document.desired.state) = (status, state);
        initiate(&mut document, "a", "cluster", 1030).is_ok()
    };
    assert!(answered(Status::Active, DesiredState::Running));
    assert!(!answered(Status::Active, DesiredState::Terminated), "its end is wanted");
    assert!(!answered(Status::Terminating, DesiredState::Running), "its end has begun");
}

#[test]
fn what_ams_launched_goes_only_when_somebody_wants_the_end() {
    let ends: [fn(&mut SessionDocument); 3] = [
        |document| end(document, "overdue".into(), true, 1300.into()),
        |document| reported(document, ReportedStatus::Error, 1010.into()).unwrap(),
        |document| reported(document, ReportedStatus::Stopped, 1010.into()).unwrap(),
    ];
    for (end, status) in ends.into_iter().zip([Status::Error, Status::Error, Status::Terminated]) {
        let mut document = received();
        end(&mut document);
        assert_eq!((document.status, document.deadline), (status, None));
        end_on_request(&mut document, "too late".into(), 1400.into());
        assert_eq!(document.desired.state, DesiredState::Running, "nobody wanted it");
    }
    let mut document = received();
    end_on_request(&mut document, "asked".into(), 1010.into());
    assert_eq!(document.status, Status::Terminating);
    reported(&mut document, ReportedStatus::Stopped, 1020.into()).unwrap();
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
        ("taken over from agent a, which gives no sign of life", &new_owner)
    );
    assert!(
        adopt(&mut document, &agent("c"), &departed, "cluster", 1067.into()).is_err(),
        "one new owner"
    );
    assert!(on_launched(&mut document, &agent("a"), "i").is_err(), "who comes back is too late");
    assert!(on_launched(&mut document, &agent("b"), "i").is_ok());
}

#[test]
fn why_a_session_was_taken_over_is_told_while_it_lives() {
    for (departure, why) in [
        (Departure::Draining, "which is draining"),
        (Departure::Moved, "which is in another cluster now"),
    ] {
        let departed: Departed = [(agent("a"), departure)].into_iter().collect();
        let mut document = claimed();
        on_launched(&mut document, &agent("a"), "i").unwrap();
        adopt(&mut document, &agent("b"), &departed, "cluster", 1066.into()).unwrap();
        assert_eq!(document.last_cause(), format!("taken over from agent a, {why}"));
    }
    let mut kept = claimed();
    fail(&mut kept, "it died".into(), true, RETENTION, 1010.into());
    let said = kept.last_cause().to_owned();
    adopt(&mut kept, &agent("b"), &gone(&["a"]), "cluster", 1066.into()).unwrap();
    assert_eq!((kept.last_cause(), kept.owner.clone()), (said.as_str(), Some(agent("b"))));
    let mut over = claimed();
    end(&mut over, "asked".into(), false, 1010.into());
    on_instance_gone(&mut over);
    assert!(!is_abandoned(&over, &gone(&["a"]), "cluster"), "nobody has to do anything");
    assert!(on_launched(&mut over, &agent("a"), "i").is_err());
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
    reported(&mut unknown, ReportedStatus::Running, 1010.into()).unwrap();
    assert!(needs_relaunch(&unknown, &me), "which instance it is, nobody has noted");
}

#[test]
fn only_the_instance_itself_makes_a_session_active() {
    let mut document = claimed();
    assert_eq!(document.status, Status::Created);
    reported(&mut document, ReportedStatus::Running, 1010.into()).unwrap();
    assert_eq!((document.status, document.deadline), (Status::Active, None));
}

#[test]
fn what_an_instance_says_of_itself_is_told_in_part_and_once() {
    let report =
        |status, message: &str| Report { status, message: message.to_owned(), capabilities: None };
    let said = |message: &str| {
        let mut document = claimed();
        let report = report(ReportedStatus::Running, message);
        on_report(&mut document, &report, Retention::NONE, 1010.into()).unwrap();
        document
    };
    assert_eq!(said("").last_cause(), "the instance is running");
    assert_eq!(said("up").last_cause(), "the instance is running: up");
    assert_eq!(said(&"x".repeat(900)).last_cause().matches('x').count(), 200);

    let first = said("up");
    let mut running = first.clone();
    reported(&mut running, ReportedStatus::Running, 1020.into()).unwrap();
    assert_eq!(running, SessionDocument { running_since: 1020.into(), ..first });
    reported(&mut running, ReportedStatus::Stopped, 1030.into()).unwrap();
    assert_eq!(running.running_since, 1020.into(), "it does not run any more");
}

#[test]
fn what_is_kept_and_wanted_no_more_is_not_ended_by_its_own_last_words() {
    let mut kept = claimed();
    fail(&mut kept, "it died".into(), true, RETENTION, 1010.into());
    kept.desired.state = DesiredState::Terminated;
    let before = kept.clone();
    for status in [ReportedStatus::Stopped, ReportedStatus::Error] {
        reported(&mut kept, status, 1020.into()).unwrap();
        assert_eq!(kept, before);
    }
    end(&mut kept, "asked".into(), false, 1030.into());
    assert_eq!((kept.status, kept.deadline), (Status::Terminating, Some(1630.into())));
}

#[test]
fn why_an_instance_did_not_get_ready_is_added_to_that_cause_alone() {
    let mut document = claimed();
    apply_due_change(&mut document, &agent("a"), 1300.into());
    let explained = |document: &mut SessionDocument, why| {
        explain_not_ready(document, why);
        document.last_cause().to_owned()
    };
    assert_eq!(explained(&mut document, ""), NOT_READY);
    let whole = format!("{NOT_READY}: it starts");
    assert_eq!(explained(&mut document, "it starts"), whole);
    assert_eq!(explained(&mut document, "again"), whole);
    let mut asked = claimed();
    end(&mut asked, "asked".into(), false, 1010.into());
    assert_eq!(explained(&mut asked, "it starts"), "asked");
}

#[test]
fn a_stopped_instance_terminates_and_a_failed_one_is_an_error() {
    for (status, expected) in
        [(ReportedStatus::Stopped, Status::Terminated), (ReportedStatus::Error, Status::Error)]
    {
        let mut document = claimed();
        reported(&mut document, status, 1010.into()).unwrap();
        assert_eq!(document.status, Status::Terminating);
        on_instance_gone(&mut document);
        assert_eq!(document.status, expected);
        assert!(reported(&mut document, ReportedStatus::Running, 1020.into()).is_err());
    }
}

#[test]
fn the_first_cause_of_an_end_stays() {
    let mut document = claimed();
    end(&mut document, "first".into(), true, 1010.into());
    end(&mut document, "second".into(), false, 1020.into());
    assert_eq!((document.last_cause(), document.failed), ("first", true));
    on_instance_gone(&mut document);
    let over = document.clone();
    end(&mut document, "third".into(), false, 1030.into());
    assert_eq!(document, over);
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
    assert!(!may_give_up_instance(&claimed(), 9999.into()), "its end has not begun");
    assert_eq!(next_action(&unwanted, &agent("b"), late), NextAction::None, "not ours");
    on_instance_gone(&mut unwanted);
    assert_eq!(next_action(&unwanted, &me, 9999.into()), NextAction::None);
    let mut unclaimed = created();
    end_on_request(&mut unclaimed, "asked".into(), 1001.into());
    assert_eq!(next_action(&unclaimed, &me, 1002.into()), NextAction::FinishEnd, "anybody's");
}

#[derive(Clone, Debug)]
enum Event {
    Claim,
    Report(ReportedStatus),
    Client(ClientState),
    Join,
    TakeOver,
    Lost(Loss),
    AskAgain,
    LaunchAgain,
    GiveWay,
    KeptGone,
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
        Just(Event::Lost(Loss::Down)),
        Just(Event::Lost(Loss::Gone)),
        Just(Event::AskAgain),
        Just(Event::LaunchAgain),
        Just(Event::GiveWay),
        Just(Event::KeptGone),
        any::<bool>().prop_map(Event::End),
        Just(Event::EndOnRequest),
        Just(Event::Ended),
    ]
}

/// Short enough for a grace to run out within the events of a case.
const RETENTION: Retention = Retention { restart_grace_s: 3, failed_instance_s: 4 };

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
        Event::Report(status) => {
            let report = Report { status, message: String::new(), capabilities: None };
            drop(on_report(document, &report, RETENTION, now));
        }
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
        Event::Lost(Loss::Gone) => on_instance_lost(document, "gone".into(), true, now),
        Event::Lost(_) => fail(document, "down".into(), true, RETENTION, now),
        Event::AskAgain => drop(initiate(document, "b", "cluster", now.as_unix())),
        Event::LaunchAgain => {
            drop(launch_again(document, &agent("a"), "i", (now, now.plus_secs(300))));
        }
        Event::GiveWay => {
            let seen = document.clone();
            kept_instance::give_way(document, &seen, &agent("a"), now);
        }
        Event::KeptGone => kept_instance::on_gone(document),
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
            NextAction::None | NextAction::FinishEnd | NextAction::CheckClient => {
                prop_assert_eq!(&document, &before);
            }
            NextAction::DeleteKept => {
                let mut condemned = before.clone();
                kept_instance::condemn(&mut condemned, now);
                prop_assert_eq!(&document, &condemned);
                prop_assert_eq!(next, NextAction::DeleteKept);
            }
            NextAction::EndAdb => prop_assert!(!document.adb.is_any_overdue(now)),
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
            let (now, before) = (Timestamp::from_unix(1000 + n as u64), document.clone());
            apply(&mut document, event, now);
            prop_assert!(!before.is_over() || document.status == before.status);
            let is_back = before.status.is_final() && !document.status.is_final();
            let is_wanted = document.desired.state == DesiredState::Running;
            prop_assert!(!is_back || !is_wanted || before.may_restart(now), "{before:?}");
            prop_assert!(!is_back || !is_wanted || document.generation > before.generation);
            let kept = document.kept_instance.as_ref();
            prop_assert!(kept.is_none() || document.status.is_final());
            let goes = kept.is_none_or(|kept| kept.delete_at.is_some());
            prop_assert!(goes || document.origin == Origin::Ams, "{document:?}");
            let may_rest = document.status.is_final() || document.status == Status::Active;
            prop_assert!(may_rest || document.deadline.is_some(), "{document:?}");
        }
    }
}
