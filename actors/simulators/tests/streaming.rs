//! Instances that stream: AMS asks the agent for a session, and the launch stands or falls with it.

mod ams_client;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use ams_client::{Client, DEADLINE, assert_refused, config, identity};
use reqwest::Method;
use serde_json::{Value, json};
use stream_pki::{ClientCertificates, ServerIdentity, server_config};
use stream_simulators::ams::{Ams, Config, Launcher, Status};

const SESSION: &str = "abcdefghij0123456789";

/// What the agent was asked: token, idempotency key, body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// An agent that answers everything with `code`.
fn agent(code: u16) -> (String, Asked) {
    let asked = Asked::default();
    let (state, tls) = (Data::new(Arc::clone(&asked)), ServerIdentity::new(identity("ams-server")));
    let server = HttpServer::new(move || {
        let create = move |request: HttpRequest, asked: Data<Asked>, body: Bytes| async move {
            let header = |name: &str| {
                let value = request.headers().get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let body = serde_json::from_slice(&body).expect("JSON");
            let told = (header("authorization"), header("idempotency-key"), body);
            asked.lock().expect("no panic").push(told);
            let code = StatusCode::from_u16(code).expect("a code");
            HttpResponse::build(code).json(match code.is_success() {
                true => json!({"type": "sync", "metadata": {"id": SESSION, "userdata": "luggage"}}),
                false => json!({"type": "error", "error": "no gateway answers"}),
            })
        };
        App::new().app_data(state.clone()).route("/1.0/sessions", web::post().to(create))
    })
    .workers(1)
    .disable_signals()
    .bind_rustls_0_23("127.0.0.1:0", (*server_config(&tls, ClientCertificates::Ignored)).clone())
    .expect("a port");
    let url = format!("https://{}", server.addrs()[0]);
    spawn(server.run());
    (url, asked)
}

#[expect(clippy::disallowed_methods, reason = "what fails here fails the test that waits for it")]
fn spawn<T: 'static>(work: impl Future<Output = T> + 'static) {
    drop(actix_web::rt::spawn(work));
}

/// An AMS that knows the agent at `url`, a client, and what its instances booted with.
async fn harness(url: &str, pin: &str) -> (Ams, Client, Arc<Mutex<Vec<[String; 2]>>>) {
    let boots = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&boots);
    let launcher: Launcher = Arc::new(move |boot| {
        log.lock().expect("no panic").push([boot.user_data, boot.launch_user_data]);
        Box::pin(std::future::pending())
    });
    let ams = Ams::start(Config { boot: Duration::ZERO, ..config() }, launcher).expect("an AMS");
    let client = Client::of(&ams, Some(&identity("ams-client")));
    for (name, value) in
        [("agent.api.url", url), ("agent.api.token", "secret"), ("agent.api.fingerprint", pin)]
    {
        let body = json!({ "name": name, "value": value });
        let set = client.ask(Method::PATCH, "/1.0/config", Some(body)).await;
        assert_eq!(client.finished(set).await["status_code"], json!(200));
    }
    (ams, client, boots)
}

fn launch() -> Value {
    json!({
        "app_id": "phone", "app_version": -1, "user_data": "own", "no_start": false,
        "config": {
            "display": {"width": 720, "height": 1280, "fps": 60, "density": 240},
            "enable_streaming": true, "platform": "webrtc",
        },
    })
}

fn pin() -> String {
    identity("ams-server").fingerprint().to_string()
}

#[actix_web::test]
async fn an_instance_that_streams_gets_the_session_the_agent_made() {
    let (url, asked) = agent(201);
    let (ams, client, boots) = harness(&url, &pin()).await;
    assert_eq!(client.launched(launch()).await["status"], json!("Success"));

    let instance = ams.instances().remove(0);
    assert_eq!(instance.tags, [format!("session={SESSION}")]);
    let [(token, key, body)] = asked.lock().expect("no panic").clone().try_into().expect("one ask");
    assert_eq!((token.as_str(), &key), ("Macaroon root=secret", &instance.id));
    let expected = json!({
        "instance_id": instance.id, "app": "phone", "app_version": 1,
        "screen": {"width": 720, "height": 1280, "fps": 60, "density": 240},
    });
    assert_eq!(body, expected);
    // What the user passed is not lost.
    assert_eq!(*boots.lock().expect("no panic"), [["luggage".to_owned(), "own".to_owned()]]);
}

#[actix_web::test]
async fn a_stopped_instance_keeps_its_session_when_it_is_started_again() {
    let (url, asked) = agent(200);
    let (ams, client, boots) = harness(&url, &pin()).await;
    client.launched(launch()).await;
    let path = format!("/1.0/instances/{}", ams.instances()[0].id);
    for desired in ["stopped", "running"] {
        let body = json!({ "desired_status": desired });
        let asked = client.ask(Method::PATCH, &path, Some(body)).await;
        assert_eq!(client.finished(asked).await["status"], json!("Success"), "{desired}");
    }
    assert_eq!(asked.lock().expect("no panic").len(), 1);
    assert_eq!(boots.lock().expect("no panic").len(), 2);
}

#[actix_web::test]
async fn a_refusal_of_the_agent_fails_the_launch_with_its_cause() {
    let (url, _) = agent(503);
    let (ams, client, boots) = harness(&url, &pin()).await;
    let operation = client.launched(launch()).await;
    let cause = "stream agent: refused with code 503: no gateway answers";
    assert_eq!((&operation["status_code"], &operation["err"]), (&json!(400), &json!(cause)));
    let instance = ams.instances().remove(0);
    assert_eq!((instance.status, instance.error_message.as_str()), (Status::Error, cause));
    assert!(boots.lock().expect("no panic").is_empty(), "it booted all the same");
}

#[actix_web::test]
async fn an_agent_with_another_certificate_is_told_nothing() {
    let (url, asked) = agent(201);
    let (_ams, client, _) = harness(&url, &"ab".repeat(32)).await;
    let operation = client.launched(launch()).await;
    let err = operation["err"].as_str().expect("a text");
    assert!(err.contains("not the pinned one"), "{err}");
    assert!(asked.lock().expect("no panic").is_empty());
}

#[actix_web::test]
async fn without_an_agent_nothing_streams_and_all_else_works() {
    let (ams, client, _) = harness("", "").await;
    let operation = client.launched(launch()).await;
    assert_eq!(operation["err"], json!("stream agent: agent.api.* is not configured"));
    assert_eq!(client.launched(json!({"app_id": "phone"})).await["status"], json!("Success"));
    let running = |all: &[stream_simulators::ams::Instance]| all[1].status == Status::Running;
    ams.wait_until(running, DEADLINE).await.expect("it runs");
}

#[actix_web::test]
async fn the_configuration_is_read_and_changed_by_name() {
    let (_ams, client, _) = harness("", "").await;
    let (code, body) = client.get("/1.0/config").await;
    let config = &body["metadata"]["config"];
    assert_eq!((code, &config["agent.api.token"]), (200, &json!("secret")));
    assert_eq!(config["application.auto_publish"], json!("true"));
    assert!(config.as_object().expect("an object").values().all(Value::is_string), "{config}");
    for (name, value, code, error) in [
        ("core.nonsense", "1", 404, "config item not found"),
        ("agent.api.url", "http://agent", 400, "argument value is invalid"),
    ] {
        let body = Some(json!({ "name": name, "value": value }));
        assert_refused(client.ask(Method::PATCH, "/1.0/config", body).await, code, error);
    }
}
