//! AMS on a bad day, and what it tells by itself, as its client meets both.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use stream_pki::{Identity, Trust};
use stream_simulators::ams::{Ams, Config, Faults, idle_instances};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

const DEADLINE: Duration = Duration::from_secs(10);

/// An identity made once and kept beside the test programs.
fn identity(name: &str) -> Identity {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let sans = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = stream_pki::self_signed(name, &sans).expect("a new identity");
        let pem = format!("{}{}", made.certificate, *made.key);
        // Another test may have been faster: then its identity counts.
        let _ = stream_pki::write_new(&path, pem.as_bytes(), 0o600);
    }
    let pem = std::fs::read(&path).expect("the identity was written");
    Identity::from_pem(&pem, &pem).expect("a kept identity")
}

struct Harness {
    ams: Ams,
    http: reqwest::Client,
    base: String,
}

impl Harness {
    fn start() -> Self {
        let client = identity("ams-client");
        let config = Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            identity: identity("ams-server"),
            trusted: vec![client.fingerprint()],
            trust_password: None,
            applications: vec!["phone".into()],
            boot: Duration::ZERO,
            capacity: 100,
            cluster_name: "test".to_owned(),
        };
        let ams = Ams::start(config, idle_instances()).expect("an AMS");
        let trust = Trust::Pins(vec![ams.fingerprint()]);
        let tls = stream_pki::client_config(&trust, Some(&client)).expect("a configuration");
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).http1_only();
        let http = http.no_proxy().build().expect("a client");
        let base = format!("https://{}/1.0", ams.address());
        Self { ams, http, base }
    }

    async fn launch(&self, name: &str) -> Option<(u16, Value)> {
        let body = json!({ "name": name, "app_id": "phone" }).to_string();
        let asked = self.http.post(format!("{}/instances", self.base)).body(body).send();
        let answer = tokio::time::timeout(DEADLINE / 10, asked).await.ok()?.expect("an answer");
        Some((answer.status().as_u16(), answer.json().await.expect("json")))
    }

    async fn code(&self) -> Option<u16> {
        let asked = self.http.get(format!("{}/instances", self.base)).send();
        let answer = tokio::time::timeout(DEADLINE / 10, asked).await.ok()?.expect("an answer");
        Some(answer.status().as_u16())
    }

    async fn events(&self, types: &str) -> WebSocketStream<reqwest::Upgraded> {
        let request = self.http.get(format!("{}/events{types}", self.base));
        let request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 101);
        let upgraded = response.upgrade().await.expect("a socket");
        WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await
    }
}

/// The actions of the next `count` events.
async fn actions(socket: &mut WebSocketStream<reqwest::Upgraded>, count: usize) -> Vec<String> {
    let mut actions = Vec::new();
    while actions.len() < count {
        let next = tokio::time::timeout(DEADLINE, socket.next()).await.expect("an event in time");
        let message = next.expect("a message").expect("a whole one");
        let Ok(text) = message.to_text() else { continue };
        let Ok(event) = serde_json::from_str::<Value>(text) else { continue };
        assert!(event["timestamp"].is_string(), "{event}");
        actions.push(event["metadata"]["action"].as_str().expect("an action").to_owned());
    }
    actions
}

#[actix_web::test]
async fn the_life_of_an_instance_is_told_in_order() {
    let harness = Harness::start();
    let mut socket = harness.events("?type=lifecycle").await;
    harness.launch("one").await.expect("an answer");
    let expected =
        ["created", "scheduled", "started", "running"].map(|what| format!("instance-{what}"));
    assert_eq!(actions(&mut socket, 4).await, expected);
    let gone = harness.http.delete(format!("{}/instances/one", harness.base)).send();
    assert_eq!(gone.await.expect("an answer").status(), 202);
    assert_eq!(actions(&mut socket, 1).await, ["instance-removed"]);
}

#[actix_web::test]
async fn events_get_lost_and_come_twice_when_they_are_to() {
    let harness = Harness::start();
    let mut socket = harness.events("?type=lifecycle").await;
    // Events are counted with those of operations, which this listener does not want.
    harness.ams.set_faults(Faults { doubled_event_every: 1, ..Faults::default() });
    harness.launch("one").await.expect("an answer");
    assert_eq!(actions(&mut socket, 2).await, ["instance-created", "instance-created"]);
    let settled = |all: &[stream_simulators::ams::Instance]| {
        all.iter().all(|one| one.status == stream_simulators::ams::Status::Running)
    };
    harness.ams.wait_until(settled, DEADLINE).await.expect("it runs");
    harness.ams.set_faults(Faults { lost_event_every: 1, ..Faults::default() });
    harness.launch("two").await.expect("an answer");
    harness.ams.wait_until(settled, DEADLINE).await.expect("it runs");
    harness.ams.set_faults(Faults::default());
    harness.launch("three").await.expect("an answer");
    // What is left of the first, nothing of the second, all of the third.
    let told = actions(&mut socket, 6 + 4).await;
    assert_eq!(told.iter().filter(|action| *action == "instance-created").count(), 1, "{told:?}");
}

#[actix_web::test]
async fn calls_fail_are_put_off_and_hang_as_often_as_they_are_to() {
    let harness = Harness::start();
    let faults = |error_every, busy_every, hang_every| Faults {
        error_every,
        busy_every,
        hang_every,
        ..Faults::default()
    };
    harness.ams.set_faults(faults(1, 0, 0));
    assert_eq!(harness.code().await, Some(500));
    harness.ams.set_faults(faults(0, 1, 0));
    let answer = harness.http.get(format!("{}/instances", harness.base)).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    harness.ams.set_faults(faults(0, 0, 1));
    assert_eq!(harness.code().await, None);
    harness.ams.set_faults(Faults::default());
    assert_eq!(harness.code().await, Some(200));
}

#[actix_web::test]
async fn a_launch_is_carried_out_although_its_asker_has_gone_and_only_once() {
    let harness = Harness::start();
    let late_launch = DEADLINE / 5;
    harness.ams.set_faults(Faults { late_launch, double_launch: true, ..Faults::default() });
    assert_eq!(harness.launch("late").await, None, "the asker does not wait so long");
    assert!(harness.ams.instances().is_empty());
    let launched = harness.ams.wait_until(|all| !all.is_empty(), DEADLINE).await.expect("it comes");
    assert_eq!(launched.len(), 1, "the name is taken for the second");
}
