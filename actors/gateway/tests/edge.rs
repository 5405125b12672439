//! The edge of the gateway over real TLS, while NATS is away: what needs no store is served, what
//! needs one says so, and a crash of either actor turns nobody away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use stream_admin::Admin;
use stream_bridge::Bridge;
use stream_gateway::admin::{AdminError, AdminService, Client};
use stream_gateway::{Config, Gateway, GatewayError, Views};
use stream_http::HttpConfig;
use stream_metrics::Collectors;
use stream_pki::{Identity, ServerIdentity, Trust, client_config, random_text, self_signed};
use stream_protocol::RefusalCode;
use stream_supervisor::{ActorState, Drain, Supervisor};
use stream_tokens::{Service, Tokens};
use tempfile::TempDir;

const ORIGIN: &str = "https://app.example";

/// A gateway whose NATS server is nowhere.
struct Edge {
    gateway: Gateway,
    admin: Admin,
    served: ServerIdentity,
    views: Views,
    tokens: Tokens,
    supervisor: Supervisor,
    client: reqwest::Client,
    folder: TempDir,
}

impl Edge {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            stream_pki::write_new(&path, text.as_bytes(), 0o600).unwrap();
            path
        };
        let pair = self_signed("gateway", &["127.0.0.1".to_owned()]).unwrap();
        let identity =
            Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap();
        let trust = Trust::Pins(vec![identity.fingerprint()]);

        let supervisor = Supervisor::default();
        let nats = stream_bridge::Config {
            servers: vec!["tls://127.0.0.1:1".to_owned()],
            ca: file("ca.pem", &pair.certificate),
            token: None,
            credentials: None,
            nkey: None,
            certificate: None,
            key: None,
            replicas: 1,
        };
        let bridge = Bridge::start(nats, "test", &supervisor).unwrap();
        let keys = stream_tokens::Config {
            sealing_key: file("sealing.key", &random_text(64)),
            first_root_key: file("root.key", &random_text(64)),
            state: folder.path().to_owned(),
        };
        let tokens = Tokens::start(keys, Service::Gateway, bridge.clone(), &supervisor).unwrap();
        let served = ServerIdentity::new(identity);
        let socket = folder.path().join("operator/socket");
        let socket = stream_admin::Config { socket, drain_s: 60 };
        let drain = Drain::default();
        let views = Views::start(&bridge, Self::config().settings(), &supervisor);
        let service =
            AdminService { views: views.clone(), tokens: tokens.clone(), page_base: None };
        let handler = move |request| service.clone().handle(request);
        let admin =
            Admin::start(socket, Default::default(), &supervisor, &drain, (), handler).unwrap();
        let gateway = Gateway::start(
            Self::config(),
            (HttpConfig::default(), None),
            (served.clone(), Collectors::default()),
            views.clone(),
            (tokens.clone(), Default::default()),
            &drain,
            &supervisor,
        )
        .unwrap();

        let tls = client_config(&trust, None).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(20));
        let client = client.build().unwrap();
        Self { gateway, admin, served, views, tokens, supervisor, client, folder }
    }

    fn config() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 1,
            allowed_origins: vec![ORIGIN.to_owned()],
            ..Config::default()
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("https://{}{path}", self.gateway.address()))
    }

    fn operator(&self) -> Client {
        Client::new(self.folder.path().join("operator/socket"))
    }

    fn restarts(&self, actor: &str) -> u64 {
        let status = self.supervisor.status();
        let actor = status.iter().find(|status| status.name == actor).unwrap();
        if actor.state == ActorState::Running { actor.restarts } else { 0 }
    }

    /// Makes an actor fail; returns when it is back.
    async fn crash(&self, actor: &str) {
        assert!(self.supervisor.crash(actor));
        while self.restarts(actor) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[actix_web::test]
async fn while_nats_is_away_the_edge_stands_and_says_what_it_cannot_do() {
    let edge = Edge::start();

    let page = edge.get("/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src"));
    assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(page.text().await.unwrap().contains("main.js"));
    assert_eq!(edge.get("/main.js").await.status(), StatusCode::OK);

    // A missing token is known without the store; whether one is good is not.
    for path in ["/1.0/sessions", "/1.0/sessions/", "/1.0/applications", "/1.0/sessions/x"] {
        let response = edge.get(path).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["type"], &body["status_code"]), (&"error".into(), &401.into()));
    }
    let create = edge.request(Method::POST, "/1.0/sessions/");
    let response = create.header("Authorization", "macaroon root=abc").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let socket = format!("/1.0/session/{}/sockets/slave", "a".repeat(20));
    assert_eq!(edge.get(&socket).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(edge.get("/1.0/status").await.status(), StatusCode::SERVICE_UNAVAILABLE);

    assert_eq!(edge.get("/1.0/nothing").await.status(), StatusCode::NOT_FOUND);
    let wrong = edge.request(Method::PUT, "/1.0/sessions").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.json::<Value>().await.unwrap()["status"], "failed");
    edge.gateway.stop().await;
}

#[actix_web::test]
async fn a_preflight_needs_no_token_and_names_only_allowed_origins() {
    let edge = Edge::start();
    let preflight = async |origin: &str| {
        let request = edge.request(Method::OPTIONS, "/1.0/sessions/");
        let request = request.header("Origin", origin);
        request.header("Access-Control-Request-Method", "POST").send().await.unwrap()
    };
    let allowed = preflight(ORIGIN).await;
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    assert_eq!(allowed.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    let other = preflight("https://evil.example").await;
    assert!(!other.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));

    // A page must be able to read why it was refused.
    let refused = edge.request(Method::GET, "/1.0/sessions").header("Origin", ORIGIN);
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    edge.gateway.stop().await;
}

#[actix_web::test]
async fn a_crash_of_either_actor_turns_nobody_away() {
    let edge = Edge::start();
    let kept_alive = edge.get("/").await;
    assert_eq!(kept_alive.status(), StatusCode::OK);

    edge.crash("gateway").await;
    for _ in 0..5 {
        assert_eq!(edge.get("/style.css").await.status(), StatusCode::OK);
    }
    edge.crash("admin").await;
    let refused =
        edge.operator().create_account("anna", None, Default::default()).await.unwrap_err();
    assert!(
        matches!(refused, AdminError::Refused(refusal) if refusal.code == RefusalCode::Unavailable)
    );
    edge.gateway.stop().await;
}

#[actix_web::test]
async fn a_stopped_gateway_leaves_nothing_behind() {
    let edge = Edge::start();
    let bad_name =
        edge.operator().create_account("a b", None, Default::default()).await.unwrap_err();
    assert!(
        matches!(bad_name, AdminError::Refused(refusal) if refusal.code == RefusalCode::Malformed)
    );

    edge.gateway.stop().await;
    edge.admin.remove();
    assert!(edge.request(Method::GET, "/").send().await.is_err());
    assert!(!edge.folder.path().join("operator/socket").exists());
    assert!(matches!(edge.operator().accounts().await, Err(AdminError::Unreachable { .. })));
}

#[actix_web::test]
async fn a_configuration_that_makes_no_sense_does_not_start() {
    let edge = Edge::start();
    let start = |config| {
        let (views, tokens) = (edge.views.clone(), edge.tokens.clone());
        let drain = Drain::default();
        Gateway::start(
            config,
            (HttpConfig::default(), None),
            (edge.served.clone(), Collectors::default()),
            views,
            (tokens, Default::default()),
            &drain,
            &edge.supervisor,
        )
        .map(drop)
    };
    let wrong = Config { public_url: Some("http://a.example".into()), ..Edge::config() };
    assert!(matches!(start(wrong), Err(GatewayError::Config(_))));
    let taken = Config { listen: edge.gateway.address(), ..Edge::config() };
    assert!(matches!(start(taken), Err(GatewayError::Bind { .. })));
    edge.gateway.stop().await;
}
