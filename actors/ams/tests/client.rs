//! The client against the simulated AMS, good days and bad ones.

mod harness;

use harness::{DEADLINE, Files, connected, eventually, identity, run};
use stream_ams::{Ams, AmsError, LaunchInstance, PinUpdate, Registered, agent_api, register};
use stream_pki::Fingerprint;
use stream_simulators::ams::{self as simulator, Faults, idle_instances};
use stream_supervisor::Supervisor;

fn simulator(trusts_us: bool) -> simulator::Ams {
    let trusted = trusts_us.then(|| identity("ams-client").fingerprint());
    let config = simulator::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        identity: identity("ams-server"),
        trusted: trusted.into_iter().collect(),
        trust_password: Some("sesame".to_owned()),
        applications: vec!["phone".into()],
        boot: std::time::Duration::ZERO,
        capacity: 10,
        cluster_name: "test".to_owned(),
    };
    simulator::Ams::start(config, idle_instances()).expect("a simulator")
}

fn launch(name: &str, app: &str) -> LaunchInstance {
    LaunchInstance {
        name: name.parse().expect("a name"),
        app: app.to_owned(),
        app_version: None,
        user_data: "{}".to_owned(),
        tags: vec!["deployment=test".to_owned()],
    }
}

/// The client of a simulator that trusts it.
async fn client(server: &simulator::Ams, files: &Files) -> Ams {
    let config = files.config(server.address(), vec![server.fingerprint()]);
    let ams = Ams::start(config, &Supervisor::default()).expect("a client");
    connected(&ams).await;
    ams
}

#[test]
fn a_trust_password_puts_the_certificate_into_the_trust_store_once() {
    run(async {
        let (server, files) = (simulator(false), Files::new("ams-client"));
        let config = files.config(server.address(), vec![server.fingerprint()]);
        let refused = register(&config, "simsim").await;
        assert!(matches!(refused, Err(AmsError::Refused { code: 403, .. })), "{refused:?}");
        assert_eq!(register(&config, "sesame").await.expect("registered"), Registered::Added);
        // Whatever the password is by now.
        assert_eq!(register(&config, "simsim").await.expect("already"), Registered::Already);
        client(&server, &files).await;
    });
}

#[test]
fn the_agent_that_ams_asks_sets_its_pin_and_no_other_touches_it() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let config = files.config(server.address(), vec![server.fingerprint()]);
        let ams = client(&server, &files).await;
        let [present, next] = [[7; 32], [8; 32]].map(Fingerprint);
        let (ours, other) = ("https://agent-1:9033", "https://agent-2:9033");
        let pin = async |url, pin| ams.pin_agent(url, pin).await.expect("an answer");
        let known = async || agent_api(&config).await.expect("an answer");

        assert_eq!(pin(ours, present).await, PinUpdate::NotNamed, "ams asks nobody");
        assert_eq!(known().await.fingerprint, None);
        server.configure("agent.api.url", "https://AGENT-1:9033/").expect("a URL");
        assert_eq!(pin(other, next).await, PinUpdate::NotNamed);
        assert_eq!(known().await.fingerprint, None);
        assert_eq!(pin(ours, present).await, PinUpdate::Set);
        assert_eq!(pin(ours, present).await, PinUpdate::Same);
        assert_eq!(pin(ours, next).await, PinUpdate::Set);
        let found = known().await;
        assert_eq!((found.fingerprint, found.has_token), (Some(next), false));

        server.distrust(identity("ams-client").fingerprint());
        let refused = ams.pin_agent(ours, present).await;
        assert!(matches!(refused, Err(AmsError::Unreachable(_))), "{refused:?}");
        server.trust(identity("ams-client").fingerprint());
        assert_eq!(known().await.fingerprint, Some(next));
    });
}

#[test]
fn what_is_no_application_is_launched_as_an_image() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        let images = ams.images().await.expect("images");
        assert_eq!(images, ["jammy:aaos15:amd64", "jammy:android15:amd64"]);
        ams.launch(launch("s-1", "phone")).await.expect("an application");
        let id = ams.launch(launch("s-2", &images[1])).await.expect("an image");
        let again = ams.launch(launch("s-2", &images[1])).await.expect("the same instance");
        assert_eq!(id, again);
        let apps: Vec<_> = server.instances().into_iter().map(|one| one.app_name).collect();
        assert_eq!(apps, ["phone", ""]);
        let nothing = ams.launch(launch("s-3", "nothing")).await;
        assert!(matches!(nothing, Err(AmsError::NotFound)), "{nothing:?}");
        let version = LaunchInstance { app_version: Some(7), ..launch("s-4", &images[1]) };
        assert!(matches!(ams.launch(version).await, Err(AmsError::NotFound)));
    });
}

#[test]
fn an_instance_is_not_adopted_for_its_name_alone() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        let tags = vec!["deployment=other".to_owned(), "\u{1b}[2J".to_owned()];
        server.plant("s-1", "phone", tags).expect("planted");
        let refused = ams.launch(launch("s-1", "phone")).await;
        let Err(AmsError::NameTaken(name)) = &refused else { panic!("{refused:?}") };
        assert_eq!(name.as_str(), "s-1");
        let id = ams.launch(launch("s-2", "phone")).await.expect("another name");
        let again = ams.launch(launch("s-2", "phone")).await.expect("the same instance");
        assert_eq!(id, again);
        assert_eq!(server.instances().len(), 2);
    });
}

#[test]
fn what_ams_says_of_an_instance_cannot_steer_a_terminal() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        let id = server.plant("s\u{1b}]0;title\u{7}\u{202e}x", "phone", Vec::new());
        let found = ams.instance(&id.expect("planted")).await.expect("an answer");
        assert_eq!(found.expect("an instance").name, "s]0;titlex");
    });
}

#[test]
fn an_instance_that_finds_no_room_fails_with_a_cause() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        for number in 0..11 {
            ams.launch(launch(&format!("s-{number}"), "phone")).await.expect("it is accepted");
        }
        let failed = |all: &[simulator::Instance]| {
            all.iter().filter(|one| one.status == simulator::Status::Running).count() == 10
                && all.iter().any(|one| one.status == simulator::Status::Error)
        };
        server.wait_until(failed, DEADLINE).await.expect("ten run");
        let all = ams.instances("deployment=test").await.expect("a list");
        let failed: Vec<_> = all.iter().filter(|one| !one.message.is_empty()).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].message, "no suitable node found: not enough resources");
    });
}

#[test]
fn what_was_asked_of_a_mute_ams_is_answered_when_it_speaks_again() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        let before = server.hung();
        server.set_faults(Faults { hang_every: 1, ..Faults::default() });
        let asking = ams.launch(launch("s-1", "phone"));
        let mute = server.wait_until_hung(before + 1, DEADLINE);
        let speak = async {
            mute.await.expect("the launch is not answered");
            server.set_faults(Faults::default());
        };
        // The first asking is never answered: alone it would run into its deadline.
        let (launched, ()) = futures_util::join!(asking, speak);
        launched.expect("it was asked again");
        assert_eq!(server.instances().len(), 1);
    });
}

#[test]
fn an_ams_that_stays_busy_is_busy_and_not_away() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        for faults in [
            Faults { busy_every: 1, ..Faults::default() },
            Faults { throttled_every: 1, ..Faults::default() },
        ] {
            server.set_faults(faults);
            let refused = ams.applications().await;
            assert!(matches!(refused, Err(AmsError::Busy(_))), "{refused:?}");
        }
        server.set_faults(Faults { throttled_every: 2, ..Faults::default() });
        ams.applications().await.expect("answered at the second attempt at the latest");
        server.set_faults(Faults { error_every: 1, ..Faults::default() });
        let broken = ams.applications().await;
        assert!(matches!(broken, Err(AmsError::Refused { code: 500, .. })), "{broken:?}");
    });
}

#[test]
fn the_catalogue_is_news_when_an_application_is_published() {
    run(async {
        let (server, files) = (simulator(true), Files::new("ams-client"));
        let ams = client(&server, &files).await;
        let mut catalogue = ams.catalogue();
        let names = async || -> Vec<String> {
            let all = ams.applications().await.expect("a list");
            all.into_iter().map(|application| application.name).collect()
        };
        assert_eq!(names().await, ["phone"]);
        // Events are heard soon after the first look; what comes before is for the poll.
        eventually("news", async || {
            server.publish("phone", 1, false).expect("there is one");
            tokio::time::timeout(DEADLINE / 40, catalogue.changed()).await.is_ok()
        })
        .await;
        assert!(names().await.is_empty());
    });
}
