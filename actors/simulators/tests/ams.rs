//! AMS as a client meets it: real TLS, real HTTP, port 0.

mod ams_client;

use std::sync::{Arc, Mutex};

use ams_client::{Client, DEADLINE, assert_refused, config, identity, started};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use stream_simulators::ams::{
    Ams, Config, Instance, Launcher, Status, idle_instances, simulated_instances,
};

#[actix_web::test]
async fn what_is_open_to_all_needs_no_certificate() {
    let (ams, _) = started(idle_instances());
    let nobody = Client::of(&ams, None);
    let (code, root) = nobody.get("/").await;
    assert_eq!((code, &root["type"]), (200, &json!("sync")));
    let (code, about) = nobody.get("/1.0/").await;
    assert_eq!((code, &about["metadata"]["auth"]), (200, &json!("untrusted")));
    assert_eq!(about["metadata"]["cluster_name"], json!("test"));
    let (code, version) = nobody.get("/1.0/version").await;
    assert_eq!((code, version["status_code"].as_u64()), (200, Some(200)));
    assert!(version["metadata"]["version"].is_string());
}

#[actix_web::test]
async fn whoever_is_not_trusted_is_refused() {
    let (ams, trusted) = started(idle_instances());
    let nobody = Client::of(&ams, None);
    let stranger = Client::of(&ams, Some(&identity("ams-stranger")));
    for client in [&nobody, &stranger] {
        for path in ["/1.0/instances", "/1.0/certificates", "/1.0/operations", "/1.0/nothing"] {
            assert_refused(client.get(path).await, 403, "not authorized");
        }
        let launch = json!({"app_id": "phone"});
        assert_refused(client.post("/1.0/instances", launch).await, 403, "not authorized");
    }
    assert!(ams.instances().is_empty());
    assert_eq!(trusted.get("/1.0").await.1["metadata"]["auth"], json!("trusted"));
    assert_refused(trusted.get("/1.0/nothing").await, 404, "page not found");

    ams.trust(identity("ams-stranger").fingerprint());
    assert_eq!(stranger.get("/1.0/instances").await.0, 200);
}

#[actix_web::test]
async fn the_trust_password_lets_a_client_add_itself() {
    let password = Some("sesame".to_owned());
    let config = Config { trusted: Vec::new(), trust_password: password, ..config() };
    let ams = Ams::start(config, idle_instances()).expect("an AMS");
    let identity = identity("ams-client");
    let client = Client::of(&ams, Some(&identity));
    let certificate = STANDARD.encode(&identity.chain()[0]);
    let with = |password| json!({"certificate": certificate, "trust-password": password});

    let wrong = client.post("/1.0/certificates", with("simsim")).await;
    assert_refused(wrong, 403, "not authorized");
    let without = client.post("/1.0/certificates", json!({"certificate": certificate})).await;
    assert_refused(without, 403, "not authorized");
    let added = client.finished(client.post("/1.0/certificates", with("sesame")).await).await;
    assert_eq!(added["status_code"], json!(200));
    let again = client.post("/1.0/certificates", with("sesame")).await;
    assert_refused(again, 409, "certificate already exists");

    let (_, list) = client.get("/1.0/certificates?recursion=1").await;
    let fingerprint = identity.fingerprint().to_string();
    let expected = json!([{"certificate": certificate, "fingerprint": fingerprint}]);
    assert_eq!(list["metadata"], expected);
    let path = format!("/1.0/certificates/{fingerprint}");
    assert_eq!(client.delete(&path).await.0, 202);
    assert_refused(client.get(&path).await, 403, "not authorized");
}

#[actix_web::test]
async fn an_instance_is_launched_runs_and_is_deleted() {
    let (ams, client) = started(idle_instances());
    let body = json!({"name": "s-1", "app_id": "phone", "app_version": -1, "tags": ["session=1"]});
    let operation = client.launched(body).await;
    assert_eq!((&operation["status"], &operation["err"]), (&json!("Success"), &json!("")));
    let url = operation["resources"]["instances"][0].as_str().expect("an instance").to_owned();

    let (_, by_id) = client.get(&url).await;
    let (_, by_name) = client.get("/1.0/instances/s-1").await;
    assert_eq!(by_id, by_name);
    assert_eq!(by_id["metadata"]["status"], json!("running"));
    assert_eq!(by_id["metadata"]["status_code"], json!(4));
    assert_eq!(by_id["metadata"]["tags"], json!(["session=1"]));
    let (_, list) = client.get("/1.0/instances?tags=session%3D1").await;
    assert_eq!(list["metadata"], json!([url]));
    let (_, list) = client.get("/1.0/instances?recursion=1&tags=session%3D2").await;
    assert_eq!(list["metadata"], json!([]));

    let force = Some(json!({"force": true}));
    let deleted = client.ask(Method::DELETE, &url, force).await;
    assert_eq!(client.finished(deleted).await["status_code"], json!(200));
    assert_refused(client.get(&url).await, 404, "instance not found");
    assert_refused(client.delete("/1.0/instances/s-1").await, 404, "instance not found");
    assert!(ams.instances().is_empty());
}

#[actix_web::test]
async fn an_answer_says_where_its_operation_is() {
    let (_ams, client) = started(idle_instances());
    let launch = client.http.post(format!("{}/1.0/instances?no_wait=true", client.base));
    let response = launch.body(r#"{"app_id":"phone"}"#).send().await.expect("an answer");
    let location = response.headers()["location"].to_str().expect("a URL").to_owned();
    let body: Value = response.json().await.expect("a JSON body");
    assert_eq!(body["operation"], json!(location));
    assert_eq!(body["metadata"]["description"], json!("Creating instance"));
    let (code, read) = client.get(&location).await;
    assert_eq!((code, &read["metadata"]["id"]), (200, &body["metadata"]["id"]));
}

#[actix_web::test]
async fn a_name_is_given_once() {
    let (_ams, client) = started(idle_instances());
    let body = json!({"name": "twin", "app_id": "phone"});
    assert_eq!(client.post("/1.0/instances", body.clone()).await.0, 202);
    assert_refused(client.post("/1.0/instances", body).await, 409, "instance already exists");
}

#[actix_web::test]
async fn what_cannot_be_done_is_refused_in_the_words_of_ams() {
    let (_ams, client) = started(idle_instances());
    let launch = |body| client.post("/1.0/instances", body);
    assert_refused(launch(json!({"app_id": "no"})).await, 404, "application not found");
    assert_refused(launch(json!({})).await, 400, "argument app_id is invalid");
    assert_refused(launch(json!([7])).await, 400, "argument body is invalid");
    let user_data = "x".repeat(10 * 1024 + 1);
    let large = json!({"app_id": "phone", "user_data": user_data});
    assert_refused(launch(large).await, 400, "argument user_data is invalid");
    let huge = json!({"app_id": "phone", "user_data": "x".repeat(1024 * 1024)});
    assert_refused(launch(huge).await, 413, "request too large");
    let list = client.get("/1.0/instances?recursion=yes").await;
    assert_refused(list, 400, "argument query is invalid");
    assert_refused(client.get("/1.0/operations/none").await, 404, "operation not found");
}

#[actix_web::test]
async fn what_a_simulator_lacks_is_refused_in_the_words_of_ams() {
    let (_ams, client) = started(idle_instances());
    client.launched(json!({"name": "s-1", "app_id": "phone"})).await;
    let execute = client.post("/1.0/instances/s-1/exec", json!({"command": ["id"]})).await;
    assert_refused(execute, 400, "running a command not supported");
    let share = client.post("/1.0/instances/s-1/shares", json!({"type": "adb"})).await;
    assert_refused(share, 400, "sharing an instance not supported");
    assert_eq!(client.get("/1.0/instances/s-1/logs").await.1["metadata"], json!([]));
    let log = client.get("/1.0/instances/s-1/logs/container.log").await;
    assert_refused(log, 404, "log not found");
}

#[actix_web::test]
async fn a_stopped_instance_is_copied_and_a_running_one_is_not() {
    let (ams, client) = started(idle_instances());
    let body = json!({"name": "s-1", "app_id": "phone", "tags": ["session=s"]});
    client.launched(body).await;
    let copy = json!({"name": "s-2", "source": {"type": "instance", "id": "s-1"}});
    let refused = client.post("/1.0/instances", copy.clone()).await;
    assert_refused(refused, 400, "copying an instance that is not stopped not allowed");
    let stop = Some(json!({"desired_status": "stopped"}));
    client.finished(client.ask(Method::PATCH, "/1.0/instances/s-1", stop).await).await;
    assert_eq!(client.launched(copy).await["status_code"], json!(200));
    let copied = ams.instances().into_iter().find(|one| one.name == "s-2").expect("a copy");
    assert_eq!((copied.app_name.as_str(), copied.status), ("phone", Status::Running));
    assert!(copied.tags.is_empty(), "{:?}", copied.tags);
}

#[actix_web::test]
async fn a_token_lets_a_listener_in_that_shows_no_certificate() {
    let (ams, client) = started(idle_instances());
    let nobody = Client::of(&ams, None);
    assert_refused(nobody.post("/1.0/events/auth", json!({})).await, 403, "not authorized");
    let (code, answer) = client.post("/1.0/events/auth", json!({})).await;
    assert_eq!(code, 200, "{answer}");
    let token = answer["metadata"]["token"].as_str().expect("a token");
    let listen = async |query: String| {
        let request = nobody.http.get(format!("{}/1.0/events{query}", nobody.base));
        let request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.send().await.expect("an answer").status().as_u16()
    };
    for query in [String::new(), "?token=".to_owned(), "?token=x".to_owned()] {
        assert_eq!(listen(query).await, 403);
    }
    assert_eq!(listen(format!("?type=operation&token={token}")).await, 101);
    let elsewhere = nobody.get(&format!("/1.0/instances?token={token}")).await;
    assert_refused(elsewhere, 403, "not authorized");
}

#[actix_web::test]
async fn applications_are_made_of_the_images_that_they_name() {
    let applications = vec![
        "phone".into(),
        "car=jammy:aaos15:amd64".parse().expect("an application"),
        "tablet=noble:android16:arm64".parse().expect("an application"),
    ];
    let ams = Ams::start(Config { applications, ..config() }, idle_instances()).expect("an AMS");
    let client = Client::of(&ams, Some(&identity("ams-client")));
    for (app, image, variant) in [
        ("phone", "jammy:android15:amd64", "android"),
        ("car", "jammy:aaos15:amd64", "aaos"),
        ("tablet", "noble:android16:arm64", "android"),
    ] {
        let (_, shown) = client.get(&format!("/1.0/applications/{app}")).await;
        assert_eq!(shown["metadata"]["parent_image_variant"], json!(variant), "{app}");
        let id = shown["metadata"]["parent_image_id"].as_str().expect("an image");
        let (_, parent) = client.get(&format!("/1.0/images/{id}")).await;
        assert_eq!(parent["metadata"]["name"], json!(image), "{app}");
        client.launched(json!({"name": app, "app_id": app})).await;
        let (_, instance) = client.get(&format!("/1.0/instances/{app}")).await;
        assert_eq!(instance["metadata"]["image_variant"], json!(variant), "{app}");
    }
    let (_, cars) = client.get("/1.0/applications?parent_image_variant=aaos&recursion=1").await;
    assert_eq!(cars["metadata"].as_array().expect("a list").len(), 1);
}

#[actix_web::test]
async fn applications_are_found_by_id_and_by_name() {
    let (_ams, client) = started(idle_instances());
    let (_, list) = client.get("/1.0/applications?recursion=1&published=true").await;
    let app = list["metadata"][0].clone();
    assert_eq!((&app["name"], &app["status"]), (&json!("phone"), &json!("ready")));
    assert_eq!(app["versions"][0]["published"], json!(true));
    let id = app["id"].as_str().expect("an id");
    assert_eq!(client.get(&format!("/1.0/applications/{id}")).await.1["metadata"], app);
    let (_, urls) = client.get("/1.0/applications?name=phone").await;
    assert_eq!(urls["metadata"], json!([format!("/1.0/applications/{id}")]));
    let (_, none) = client.get("/1.0/applications?published=false").await;
    assert_eq!(none["metadata"], json!([]));
    let (_, nodes) = client.get("/1.0/nodes?recursion=1").await;
    assert_eq!(nodes["metadata"][0]["status_code"], json!(4));
}

#[actix_web::test]
async fn the_program_gets_its_user_data_and_is_told_to_stop() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let launcher: Launcher = Arc::new(move |boot| {
        let log = Arc::clone(&log);
        Box::pin(async move {
            let mut stop = boot.stop;
            log.lock().unwrap().push(format!("{} boots with {}", boot.name, boot.user_data));
            stop.wait_for(|asked| *asked).await.map(drop).expect("AMS is there");
            log.lock().unwrap().push("stopped".to_owned());
            Ok(())
        })
    });
    let (_ams, client) = started(launcher);
    let body = json!({"name": "s-1", "app_id": "phone", "user_data": "luggage"});
    client.launched(body).await;
    client.finished(client.delete("/1.0/instances/s-1").await).await;
    assert_eq!(*seen.lock().unwrap(), ["s-1 boots with luggage", "stopped"]);
}

#[actix_web::test]
async fn a_program_that_fails_takes_its_instance_with_it() {
    let launcher: Launcher = Arc::new(|_| Box::pin(async { Err("no picture".to_owned()) }));
    let config = Config { boot: DEADLINE / 10, ..config() };
    let ams = Ams::start(config, launcher).expect("an AMS");
    let client = Client::of(&ams, Some(&identity("ams-client")));
    let body = json!({"name": "s-1", "app_id": "phone"});
    let operation = client.launched(body).await;
    assert_eq!((&operation["status_code"], &operation["err"]), (&json!(400), &json!("no picture")));
    let (_, instance) = client.get("/1.0/instances/s-1").await;
    assert_eq!(instance["metadata"]["status_code"], json!(-1));
    assert_eq!(instance["metadata"]["error_message"], json!("no picture"));
    assert_eq!(instance["metadata"]["stored_logs"], json!(["container.log"]));
    let log = client.http.get(format!("{}/1.0/instances/s-1/logs/container.log", client.base));
    let log = log.send().await.expect("an answer").text().await.expect("text");
    assert_eq!(log, "no picture\n");
}

#[actix_web::test]
async fn a_program_that_panics_ends_its_instance_and_nothing_else() {
    let (ams, client) = started(Arc::new(|_| panic!("a launcher of no use")));
    let operation = client.launched(json!({"name": "s-1", "app_id": "phone"})).await;
    assert_eq!(operation["err"], json!("the instance crashed"));
    client.finished(client.delete("/1.0/instances/s-1").await).await;
    assert!(ams.instances().is_empty());
}

#[actix_web::test]
async fn a_simulated_instance_that_cannot_read_its_user_data_fails() {
    let (ams, client) = started(simulated_instances());
    let body = json!({"app_id": "phone", "user_data": "no JSON"});
    client.finished(client.post("/1.0/instances?no_wait=true", body).await).await;
    let failed = |all: &[Instance]| all.iter().any(|one| one.status == Status::Error);
    let instances = ams.wait_until(failed, DEADLINE).await.expect("the instance fails");
    assert!(!instances[0].error_message.is_empty());
}

#[actix_web::test]
async fn an_instance_is_stopped_and_started_again() {
    let (ams, client) = started(idle_instances());
    let body = json!({"name": "s-1", "app_id": "phone"});
    client.launched(body).await;
    for (desired, status) in [("stopped", Status::Stopped), ("running", Status::Running)] {
        let body = Some(json!({"desired_status": desired}));
        let asked = client.ask(Method::PATCH, "/1.0/instances/s-1", body).await;
        assert_eq!(client.finished(asked).await["status"], json!("Success"));
        assert_eq!(ams.instances()[0].status, status);
    }
    let body = Some(json!({"desired_status": "asleep"}));
    let asked = client.ask(Method::PATCH, "/1.0/instances/s-1", body).await;
    assert_refused(asked, 400, "argument desired_status is invalid");
}

#[actix_web::test]
async fn a_cancelled_launch_stops_its_instance() {
    let config = Config { boot: 10 * DEADLINE, ..config() };
    let ams = Ams::start(config, idle_instances()).expect("an AMS");
    let client = Client::of(&ams, Some(&identity("ams-client")));
    let (_, launched) = client.post("/1.0/instances", json!({"app_id": "phone"})).await;
    let url = launched["operation"].as_str().expect("an operation");
    let (_, lists) = client.get("/1.0/operations").await;
    assert_eq!(lists["metadata"], json!({"running": [url]}));
    let (_, unfinished) = client.get(&format!("{url}/wait?timeout=0")).await;
    assert_eq!(unfinished["metadata"]["status_code"], json!(103));

    let (code, body) = client.delete(url).await;
    assert_eq!((code, &body["type"]), (202, &json!("sync")));
    let (_, cancelled) = client.get(url).await;
    assert_eq!(cancelled["metadata"]["status"], json!("Cancelled"));
    let stopped = |all: &[Instance]| all.iter().all(|one| one.status == Status::Stopped);
    ams.wait_until(stopped, DEADLINE).await.expect("the instance stops");
    let again = client.delete(url).await;
    assert_refused(again, 400, "cancelling this operation not allowed");
}

#[actix_web::test]
async fn stopping_ams_stops_its_instances() {
    let (ams, client) = started(idle_instances());
    client.launched(json!({"app_id": "phone"})).await;
    ams.stop().await;
    assert_eq!(ams.instances()[0].status, Status::Stopped);
    let refused = client.http.get(format!("{}/1.0", client.base)).send().await;
    assert!(refused.is_err(), "a stopped AMS answered");
}

#[actix_web::test]
async fn a_client_with_another_pin_does_not_speak_to_it() {
    let (ams, _) = started(idle_instances());
    let client = Client::pinned(&ams, identity("ams-client").fingerprint(), None);
    let error = client.http.get(&client.base).send().await.expect_err("a refusal");
    assert!(stream_pki::is_pin_mismatch(&error), "{error:?}");
}
