//! For each guard, a case in which reconciliation without it would destroy what is not ours.

use stream_protocol::{DesiredState, InstanceName, KeptInstance, Request};

use super::*;
use crate::transition::NextAction;

const GAP: Duration = Duration::from_secs(60);
const BORN: u64 = 1_000;
/// An instance of a store that has been there for long.
const CREATED: u64 = 5_000;

fn scope() -> Scope {
    Scope {
        agent: "a".parse().unwrap(),
        deployment: "blue".to_owned(),
        cluster: "c1".to_owned(),
        store: Some("7".to_owned()),
        gap: GAP,
        leads: true,
    }
}

fn instance(session: &SessionId) -> Instance {
    Instance {
        id: format!("i-{session}"),
        name: InstanceName::of(session, 1).to_string(),
        status: InstanceStatus::Running,
        message: String::new(),
        tags: scope().tags(session),
        created_at: CREATED,
    }
}

fn document(session: &SessionId, status: Status) -> SessionDocument {
    let request = Request::for_app("clock");
    SessionDocument {
        status,
        owner: Some(scope().agent),
        cluster: scope().cluster,
        instance_name: Some(InstanceName::of(session, 1)),
        instance_id: Some(format!("i-{session}")),
        ..SessionDocument::new(session.clone(), request, CREATED.into(), CREATED.into())
    }
}

/// Looks at the same again and again; a look every 30 s.
struct Watch {
    sightings: SightingHistory,
    at: Instant,
    now: u64,
    store_born: u64,
    leads: bool,
}

impl Watch {
    fn new() -> Self {
        let (sightings, at) = (SightingHistory::default(), Instant::now());
        Self { sightings, at, now: CREATED + 600, store_born: BORN, leads: true }
    }

    fn look(&mut self, instances: &[Instance], documents: &[SessionDocument]) -> Plan {
        let (store_born, now, at) = (self.store_born, self.now, self.at);
        let sessions = &documents.iter().cloned().collect();
        let snapshot = Snapshot { instances, sessions, store_born, now, at };
        let scope = Scope { leads: self.leads, ..scope() };
        let plan = self.sightings.observe(&snapshot, &scope);
        self.at += Duration::from_secs(30);
        self.now += 30;
        plan
    }

    /// What three looks in a row lead to: sightings at 0, 30 and 60 s.
    fn settle(&mut self, instances: &[Instance], documents: &[SessionDocument]) -> Plan {
        assert_eq!(self.look(instances, documents), Plan::default(), "the first sighting");
        assert_eq!(self.look(instances, documents), Plan::default(), "too soon after the first");
        self.look(instances, documents)
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().map(|stray| stray.name.as_str()).collect()
}

/// Sessions that live, with their instances.
fn live(count: usize) -> (Vec<Instance>, Vec<SessionDocument>) {
    let sessions: Vec<_> = (0..count).map(|_| SessionId::random()).collect();
    let documents = sessions.iter().map(|session| document(session, Status::Active)).collect();
    (sessions.iter().map(instance).collect(), documents)
}

#[test]
fn one_agent_looks_for_the_instances_of_all() {
    let (_, mut documents) = live(3);
    documents[0].owner = Some("b".parse().unwrap());
    documents[1].origin = Origin::Ams;
    documents[2].origin = Origin::Ams;
    documents[2].owner = Some("b".parse().unwrap());
    let missed = |leads| {
        let plan = Watch { leads, ..Watch::new() }.settle(&[], &documents);
        let ids = documents.iter().map(|document| &document.id);
        ids.map(|id| plan.end.iter().any(|lost| lost.session == *id)).collect::<Vec<_>>()
    };
    // Those of AMS are asked for by their owners.
    assert_eq!(missed(true), [true, true, false]);
    assert_eq!(missed(false), [false, true, false]);
}

#[test]
fn what_fits_stays() {
    let (instances, documents) = live(10);
    assert_eq!(Watch::new().settle(&instances, &documents), Plan::default());
}

#[test]
fn an_instance_of_no_session_goes_after_two_sightings_a_minute_apart() {
    let (mut instances, documents) = live(9);
    let stray = instance(&SessionId::random());
    instances.push(stray.clone());
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!(names(&plan), [stray.name.as_str()]);
    assert_eq!((plan.end, plan.alert), (Vec::new(), None));
}

#[test]
fn an_instance_of_another_deployment_is_never_ours_to_delete() {
    let mut stranger = instance(&SessionId::random());
    stranger.tags[1] = "deployment=green".to_owned();
    assert_eq!(Watch::new().settle(&[stranger], &[]), Plan::default());
}

#[test]
fn an_instance_of_another_cluster_is_never_ours_to_delete() {
    let mut stranger = instance(&SessionId::random());
    stranger.tags[2] = "cluster=c2".to_owned();
    let mut untagged = instance(&SessionId::random());
    untagged.tags.truncate(2);
    assert_eq!(Watch::new().settle(&[stranger, untagged], &[]), Plan::default());
}

#[test]
fn what_a_session_launched_says_so_by_its_tags() {
    let session = SessionId::random();
    let own = instance(&session);
    let named = format!("session={session}");
    assert_eq!(own.tags, [named.as_str(), "deployment=blue", "cluster=c1", "store=7"]);
    assert!(scope().launched(&own, &session));
    assert!(!scope().launched(&own, &SessionId::random()));
    // What 0.1 launched names no store.
    let mut older = own.clone();
    older.tags.truncate(3);
    assert!(scope().launched(&older, &session));
    let tags = ["session=other", "deployment=green", "cluster=c2", "store=8"];
    for (at, tag) in tags.into_iter().enumerate() {
        let mut stranger = own.clone();
        stranger.tags[at] = tag.to_owned();
        assert!(!scope().launched(&stranger, &session), "{tag}");
    }
}

#[test]
fn a_tag_that_names_an_ended_session_of_ours_makes_no_instance_ours() {
    let session = SessionId::random();
    let mut stranger = instance(&session);
    stranger.tags.truncate(1);
    let ended = document(&session, Status::Terminated);
    assert_eq!(Watch::new().settle(&[stranger], &[ended]), Plan::default());
}

/// The session of an instance that AMS launched by itself.
fn of_ams(session: &SessionId, status: Status) -> SessionDocument {
    let origin = Origin::Ams;
    SessionDocument { origin, instance_name: None, ..document(session, status) }
}

#[test]
fn what_ams_launched_is_never_condemned_whatever_became_of_its_session() {
    let session = SessionId::random();
    let tagged = instance(&session);
    let mut plain = tagged.clone();
    plain.tags.truncate(1);
    for status in [Status::Active, Status::Terminating, Status::Terminated, Status::Error] {
        for instance in [&tagged, &plain] {
            let look = ([instance.clone()], [of_ams(&session, status)]);
            assert_eq!(Watch::new().settle(&look.0, &look.1), Plan::default(), "{status}");
        }
    }
    assert_eq!(Watch::new().settle(&[plain], &[]), Plan::default(), "of no session at all");
}

#[test]
fn what_ams_launched_is_known_by_its_id_and_ends_its_session_when_it_is_gone() {
    let session = SessionId::random();
    let document = of_ams(&session, Status::Active);
    let mut named_alike = instance(&session);
    named_alike.id = "another".to_owned();
    let plan = Watch::new().settle(&[named_alike], std::slice::from_ref(&document));
    assert!(plan.delete.is_empty(), "{plan:?}");
    let [LostInstance { cause, failed: false, .. }] = plan.end.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(cause, "the instance was deleted");

    let mut stopped = instance(&session);
    stopped.name = "chosen by its owner".to_owned();
    stopped.status = InstanceStatus::Stopped;
    let plan = Watch::new().look(&[stopped], &[document]);
    assert_eq!(plan.end[0].cause, "the instance stopped");
}

#[test]
fn an_instance_whose_session_comes_to_light_between_two_sightings_stays() {
    let session = SessionId::random();
    let (instances, documents) = ([instance(&session)], [document(&session, Status::Created)]);
    let mut watch = Watch::new();
    watch.look(&instances, &[]);
    watch.look(&instances, &documents);
    assert_eq!(watch.look(&instances, &[]), Plan::default(), "it counts anew");
    assert_eq!(watch.look(&instances, &[]), Plan::default());
    assert_eq!(watch.look(&instances, &[]).delete.len(), 1);
}

#[test]
fn a_store_that_is_new_condemns_nobody() {
    let (instances, _) = live(1);
    let mut watch = Watch::new();
    watch.now = BORN + 5;
    assert_eq!(watch.look(&instances, &[]), Plan::default());
    assert_eq!(watch.look(&instances, &[]), Plan::default());
}

#[test]
fn a_store_is_new_for_as_long_as_sightings_are_apart() {
    let (instances, _) = live(1);
    let mut watch = Watch::new();
    watch.now = BORN + 60;
    assert_eq!(watch.settle(&instances, &[]).delete.len(), 1);
    // The clocks of AMS and of the store may differ by as much.
    let (mut instances, documents) = live(9);
    let mut stray = instance(&SessionId::random());
    stray.created_at = BORN + 60;
    instances.push(stray);
    assert_eq!(Watch::new().settle(&instances, &documents).delete.len(), 1);
    instances[9].created_at = BORN + 59;
    assert_eq!(Watch::new().settle(&instances, &documents).delete, []);
}

#[test]
fn one_sighting_is_not_two_however_short_the_time_between_them() {
    let (mut seen, at) = (BTreeMap::new(), Instant::now());
    assert!(!seen_long_enough(&mut seen, "i", at, Duration::ZERO));
    assert!(!seen_long_enough(&mut seen, "i", at, Duration::ZERO));
    assert!(seen_long_enough(&mut seen, "i", at + Duration::from_nanos(1), Duration::ZERO));
}

#[test]
fn a_store_that_was_replaced_between_two_sightings_condemns_nobody() {
    let (instances, _) = live(1);
    let mut watch = Watch::new();
    watch.look(&instances, &[]);
    watch.look(&instances, &[]);
    watch.store_born = BORN + 1;
    assert_eq!(watch.look(&instances, &[]), Plan::default());
}

#[test]
fn after_the_store_was_away_the_sightings_begin_anew() {
    let (instances, _) = live(1);
    let mut watch = Watch::new();
    watch.look(&instances, &[]);
    watch.look(&instances, &[]);
    watch.sightings.clear();
    assert_eq!(watch.settle(&instances, &[]).delete.len(), 1);
}

#[test]
fn instances_older_than_the_store_are_left_to_an_operator() {
    let (instances, _) = live(3);
    let mut watch = Watch::new();
    // The store was lost and made anew after they were launched.
    watch.store_born = CREATED + 60;
    let plan = watch.settle(&instances, &[]);
    assert_eq!(plan.delete, []);
    let alert = plan.alert.expect("an alert");
    assert!(alert.contains("3 are of another store or older"), "{alert}");
    // With those that are merely unknown, and however many they are.
    let mut watch = Watch::new();
    watch.store_born = CREATED + 60;
    let (mut instances, _) = live(4);
    for unknown in &mut instances[..2] {
        unknown.created_at = CREATED + 120;
    }
    let alert = watch.settle(&instances, &[]).alert.expect("an alert");
    assert!(alert.starts_with("4 of 4 instances"), "{alert}");
    assert!(alert.contains("2 are of another store or older"), "{alert}");
    let mut watch = Watch::new();
    watch.store_born = CREATED + 60;
    assert!(watch.settle(&instances[2..], &[]).alert.is_some(), "two of them");
}

#[test]
fn instances_of_another_store_are_left_to_its_own_agents() {
    let (mut instances, mut documents) = live(12);
    // A second deployment with the name of this one, on the same cluster.
    documents.remove(0);
    instances[0].tags[3] = "store=8".to_owned();
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!(plan.delete, []);
    assert!(plan.alert.is_some_and(|alert| alert.contains("1 are of another store")));
    // What an older version launched names no store, and is judged as ours.
    instances[0].tags.truncate(3);
    assert_eq!(Watch::new().settle(&instances, &documents).delete.len(), 1);
    // A session that the store knows is ours, whatever store it was once in.
    let (mut instances, documents) = live(3);
    instances[0].tags[3] = "store=8".to_owned();
    assert_eq!(Watch::new().settle(&instances, &documents), Plan::default());
}

#[test]
fn more_than_a_fifth_at_once_stops_it() {
    let (mut instances, documents) = live(8);
    let strays: Vec<_> = (0..2).map(|_| instance(&SessionId::random())).collect();
    instances.extend(strays);
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!((plan.delete.len(), plan.alert), (2, None), "2 of 10");

    instances.push(instance(&SessionId::random()));
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!(plan.delete, [], "3 of 11");
    let alert = plan.alert.expect("an alert");
    assert!(alert.starts_with("3 of 11 instances"), "{alert}");
}

#[test]
fn what_is_new_among_the_unknown_stops_it_too() {
    let (instances, _) = live(3);
    let mut watch = Watch::new();
    watch.look(&instances[..1], &[]);
    watch.look(&instances, &[]);
    let plan = watch.look(&instances, &[]);
    assert_eq!(plan.delete, [], "one is known for a minute, two for half of it");
    let alert = plan.alert.expect("an alert");
    assert!(alert.starts_with("3 of 3 instances"), "{alert}");
}

#[test]
fn a_store_that_lost_its_documents_costs_no_instance() {
    let (instances, _) = live(40);
    let plan = Watch::new().settle(&instances, &[]);
    assert_eq!(plan.delete, []);
    assert!(plan.alert.is_some());
}

#[test]
fn what_the_store_itself_calls_ended_goes_however_many_they_are() {
    let (instances, documents) = live(10);
    let ended = |mut document: SessionDocument| {
        document.status = Status::Error;
        document
    };
    let documents: Vec<_> = documents.into_iter().map(ended).collect();
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!((plan.delete.len(), plan.alert), (10, None));
}

#[test]
fn of_twins_the_one_that_the_session_does_not_name_goes() {
    let session = SessionId::random();
    let mut twin = instance(&session);
    twin.id = "twin".to_owned();
    twin.name = InstanceName::of(&session, 2).to_string();
    let instances = [instance(&session), twin.clone()];
    let plan = Watch::new().settle(&instances, &[document(&session, Status::Active)]);
    assert_eq!(names(&plan), [twin.name.as_str()]);
    // One that the session names in either way is no twin, and another cluster's is not ours.
    let document = document(&session, Status::Active);
    let renamed = Instance { name: "chosen".to_owned(), ..instance(&session) };
    let unnamed = SessionDocument { instance_name: None, ..document.clone() };
    let elsewhere = SessionDocument { cluster: "c2".to_owned(), ..document.clone() };
    for (listed, document) in [(&renamed, &document), (&twin, &unnamed), (&twin, &elsewhere)] {
        let plan = Watch::new()
            .settle(&[instance(&session), listed.clone()], std::slice::from_ref(document));
        assert_eq!(plan.delete, []);
    }
}

#[test]
fn what_was_left_behind_by_an_end_goes_unless_ams_launched_it() {
    let session = SessionId::random();
    let left = |document: SessionDocument| {
        let document = SessionDocument { instance_left_behind: true, ..document };
        Watch::new().settle(&[instance(&session)], &[document])
    };
    assert_eq!(names(&left(document(&session, Status::Terminated))).len(), 1);
    assert_eq!(left(of_ams(&session, Status::Terminated)), Plan::default());
}

#[test]
fn a_session_whose_instance_is_gone_ends_after_two_sightings() {
    let session = SessionId::random();
    let plan = Watch::new().settle(&[], &[document(&session, Status::Active)]);
    let [LostInstance { session: ended, cause, failed: true, loss: Loss::Gone }] =
        plan.end.as_slice()
    else {
        panic!("{plan:?}")
    };
    assert_eq!((ended, cause.as_str()), (&session, "the instance has disappeared"));
}

#[test]
fn an_instance_missing_from_one_list_alone_ends_nothing() {
    let session = SessionId::random();
    let (instances, documents) = ([instance(&session)], [document(&session, Status::Active)]);
    let mut watch = Watch::new();
    for listed in [true, false, true, false, false, true] {
        let instances = if listed { &instances[..] } else { &[] };
        assert_eq!(watch.look(instances, &documents), Plan::default());
    }
}

#[test]
fn a_session_ends_at_once_when_ams_says_that_its_instance_failed() {
    let session = SessionId::random();
    let mut failed = instance(&session);
    failed.status = InstanceStatus::Error;
    failed.message = "no boot".to_owned();
    let plan = Watch::new().look(&[failed], &[document(&session, Status::Created)]);
    assert_eq!(plan.end[0].cause, "the instance failed: no boot");
    let lost = |status| {
        let listed = Instance { status, ..instance(&session) };
        lost_instance(&document(&session, Status::Active), Some(&listed))
            .map(|lost| (lost.cause, lost.failed, lost.loss))
    };
    let stopped = || "the instance stopped".to_owned();
    assert_eq!(lost(InstanceStatus::Stopped), Some((stopped(), false, Loss::Down)));
    assert_eq!(lost(InstanceStatus::Deleted), Some((stopped(), false, Loss::Gone)));
    assert_eq!(lost(InstanceStatus::Started), None);
}

#[test]
fn sessions_of_other_clusters_and_those_that_launch_or_end_are_left_alone() {
    let session = SessionId::random();
    let whole = document(&session, Status::Active);
    let cases = [
        SessionDocument { cluster: "c2".to_owned(), ..whole.clone() },
        SessionDocument { instance_id: None, ..whole.clone() },
        SessionDocument { status: Status::Terminating, ..whole.clone() },
        SessionDocument { status: Status::Terminated, ..whole },
        SessionDocument { cluster: "c2".to_owned(), ..kept(&session) },
    ];
    for document in cases {
        assert_eq!(Watch::new().settle(&[], &[document]), Plan::default());
    }
}

/// The session of `document`, which has failed and whose instance is kept.
fn kept(session: &SessionId) -> SessionDocument {
    let since = CREATED.into();
    let delete_at = Some(Timestamp::from_unix(CREATED + 3600));
    let kept_instance = Some(KeptInstance { since, restart_until: None, delete_at });
    SessionDocument { kept_instance, ..document(session, Status::Error) }
}

#[test]
fn an_instance_that_is_kept_is_no_stray_whatever_its_status_and_a_twin_of_it_is() {
    let session = SessionId::random();
    for status in [InstanceStatus::Error, InstanceStatus::Stopped, InstanceStatus::Running] {
        let instance = Instance { status, ..instance(&session) };
        assert_eq!(Watch::new().settle(&[instance], &[kept(&session)]), Plan::default());
    }
    let mut twin = instance(&session);
    twin.id = "twin".to_owned();
    twin.name = InstanceName::of(&session, 2).to_string();
    let plan = Watch::new().settle(&[instance(&session), twin.clone()], &[kept(&session)]);
    assert_eq!(names(&plan), [twin.name.as_str()]);
    assert_eq!(plan.end, []);
}

#[test]
fn instances_that_are_kept_do_not_stop_the_deletion_of_strays() {
    let sessions: Vec<_> = (0..3).map(|_| SessionId::random()).collect();
    let mut instances: Vec<_> = sessions.iter().map(instance).collect();
    let documents: Vec<_> = sessions.iter().map(kept).collect();
    let stray = instance(&SessionId::random());
    instances.push(stray.clone());
    let plan = Watch::new().settle(&instances, &documents);
    assert_eq!(names(&plan), [stray.name.as_str()]);
    assert_eq!(plan.alert, None);
}

#[test]
fn a_kept_instance_that_is_gone_is_noticed_after_two_sightings() {
    let session = SessionId::random();
    let plan = Watch::new().settle(&[], &[kept(&session)]);
    assert_eq!(plan.end.iter().map(|lost| lost.loss).collect::<Vec<_>>(), [Loss::Gone]);
    let others = SessionDocument { owner: Some("b".parse().unwrap()), ..kept(&session) };
    assert_eq!(Watch::new().settle(&[], &[others]).end.len(), 1, "its owner is told");
    let of_ams = SessionDocument { origin: Origin::Ams, instance_name: None, ..kept(&session) };
    let mut stopped = instance(&session);
    stopped.status = InstanceStatus::Stopped;
    let look = ([stopped], [of_ams]);
    assert_eq!(Watch::new().settle(&look.0, &look.1), Plan::default(), "it may be started again");
    assert_eq!(Watch::new().settle(&[], &look.1).end.len(), 1);
}

const RETENTION: Retention = Retention { restart_grace_s: 120, failed_instance_s: 3600 };

/// What AMS says at 6000 of an instance in `status`, or that it knows none.
fn judgement(document: &SessionDocument, status: Option<InstanceStatus>) -> Judgement {
    let found = status.map(|status| Instance { status, ..instance(&document.id) });
    let lost = lost_instance(document, found.as_ref()).expect("a loss");
    let instance = session::instance(document).expect("an instance").to_owned();
    Judgement { lost, instance, asked: 6000.into() }
}

#[test]
fn what_ams_said_before_the_instance_ran_again_ends_nothing() {
    let document = document(&SessionId::random(), Status::Active);
    let judgement = judgement(&document, Some(InstanceStatus::Stopped));
    let applied = |document: &SessionDocument| {
        let mut applied = document.clone();
        judgement.apply(&mut applied, &scope(), RETENTION, 6001.into());
        applied
    };
    assert_eq!(applied(&document).status, Status::Error);
    let asked_for: [fn(&mut SessionDocument); 5] = [
        |document| document.running_since = 6000.into(),
        |document| document.owner = Some("b".parse().unwrap()),
        |document| document.instance_name = Some(InstanceName::of(&document.id, 2)),
        |document| document.status = Status::Terminating,
        |document| {
            *document =
                SessionDocument { running_since: document.running_since, ..kept(&document.id) };
        },
    ];
    for since in asked_for {
        let mut present = document.clone();
        since(&mut present);
        assert_eq!(applied(&present), present);
    }
    let mut unwanted = document.clone();
    unwanted.desired.state = DesiredState::Terminated;
    assert_eq!(applied(&unwanted).status, Status::Terminating, "nobody waits for it");
}

#[test]
fn a_kept_instance_that_is_gone_is_noted_by_the_agent_that_keeps_it_and_by_no_other() {
    let document = kept(&SessionId::random());
    let applied = |document: &SessionDocument| {
        let mut applied = document.clone();
        let gone = judgement(document, None);
        gone.apply(&mut applied, &scope(), RETENTION, 6001.into());
        applied
    };
    let due = |document| session::next_action(&document, &scope().agent, 6001.into());
    assert_eq!(due(document.clone()), NextAction::None);
    assert_eq!(due(applied(&document)), NextAction::DeleteKept);
    let others = SessionDocument { owner: Some("b".parse().unwrap()), ..document.clone() };
    let elsewhere = SessionDocument { cluster: "c2".to_owned(), ..document };
    for document in [others, elsewhere] {
        assert_eq!(applied(&document), document);
    }
}

#[test]
fn an_instance_that_is_gone_or_found_no_room_is_not_kept() {
    let mut document = document(&SessionId::random(), Status::Created);
    let mut gone = document.clone();
    let now = 6001.into();
    judgement(&document, None).apply(&mut gone, &scope(), RETENTION, now);
    assert_eq!((gone.status, gone.kept_instance), (Status::Terminating, None));

    let mut refused = instance(&document.id);
    refused.status = InstanceStatus::Error;
    refused.message = "no suitable node found: not enough resources".to_owned();
    let lost = lost_instance(&document, Some(&refused)).unwrap();
    assert_eq!(lost.loss, Loss::NoRoom);
    assert!(lost.cause.starts_with(NO_ROOM), "{}", lost.cause);
    let name = refused.name.clone();
    Judgement { lost, instance: name, asked: now }.apply(&mut document, &scope(), RETENTION, now);
    assert_eq!((document.status, document.failed), (Status::Terminating, true));
    document.status = Status::Active;
    let lost = lost_instance(&document, Some(&refused)).unwrap();
    assert_eq!(lost.loss, Loss::Down, "it ran");
    assert!(lost.cause.starts_with("the instance failed: no suitable"), "{}", lost.cause);
    let of_ams = of_ams(&document.id, Status::Created);
    assert_eq!(lost_instance(&of_ams, Some(&refused)).unwrap().loss, Loss::Down, "not ours");
}
