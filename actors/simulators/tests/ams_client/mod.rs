//! A client of AMS as the tests need one: real TLS, real HTTP, port 0.

// Every test program uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stream_pki::{Fingerprint, Identity, Trust};
use stream_simulators::ams::{Ams, Config, Launcher};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Returns the identity `name`. Making an RSA-4096 key takes seconds, so each is made once and kept
/// beside the test programs.
pub(crate) fn identity(name: &str) -> Identity {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let sans = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = stream_pki::self_signed(name, &sans).expect("a new identity");
        let pem = format!("{}{}", made.certificate, *made.key);
        // Another test may have been faster: then its identity counts.
        let _ = stream_pki::write_new(&path, pem.as_bytes(), 0o600);
    }
    let pem = fs::read(&path).expect("the identity was written");
    Identity::from_pem(&pem, &pem).expect("a kept identity")
}

pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        identity: identity("ams-server"),
        trusted: vec![identity("ams-client").fingerprint()],
        trust_password: None,
        applications: vec!["phone".into()],
        boot: Duration::from_millis(30),
        capacity: 100,
        cluster_name: "test".to_owned(),
    }
}

/// Starts an AMS and a client that it trusts.
pub(crate) fn started(launcher: Launcher) -> (Ams, Client) {
    let ams = Ams::start(config(), launcher).expect("an AMS");
    let client = Client::of(&ams, Some(&identity("ams-client")));
    (ams, client)
}

pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
}

impl Client {
    pub(crate) fn of(ams: &Ams, identity: Option<&Identity>) -> Self {
        Self::pinned(ams, ams.fingerprint(), identity)
    }

    pub(crate) fn pinned(ams: &Ams, pin: Fingerprint, identity: Option<&Identity>) -> Self {
        let tls = stream_pki::client_config(&Trust::Pins(vec![pin]), identity).expect("a config");
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .expect("a client");
        Self { http, base: format!("https://{}", ams.address()) }
    }

    /// Asks without a content type, as the Go client does; returns the HTTP code and the body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let code = response.status().as_u16();
        (code, response.json().await.expect("a JSON body"))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.ask(Method::DELETE, path, None).await
    }

    /// Waits for the operation of an asynchronous answer and returns it, which is final.
    pub(crate) async fn finished(&self, (code, body): (u16, Value)) -> Value {
        assert_eq!((code, &body["type"]), (202, &json!("async")), "{body}");
        let url = body["operation"].as_str().expect("an operation");
        let (code, body) = self.get(&format!("{url}/wait?timeout=-1")).await;
        assert_eq!(code, 200, "{body}");
        body["metadata"].clone()
    }

    /// Launches an instance and returns the operation once it is final.
    pub(crate) async fn launched(&self, body: Value) -> Value {
        self.finished(self.post("/1.0/instances", body).await).await
    }
}

pub(crate) fn assert_refused((code, body): (u16, Value), expected: u16, error: &str) {
    assert_eq!((code, &body["type"]), (expected, &json!("error")), "{body}");
    assert_eq!((&body["error"], &body["error_code"]), (&json!(error), &json!(expected)));
}
