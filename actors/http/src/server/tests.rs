use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use stream_metrics::HttpMetrics;
use stream_pki::{
    ClientCertificates, Identity, KeyPairPem, ServerIdentity, Trust, client_config, self_signed,
    server_config,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::limits::HttpConfig;
use crate::route::note_route;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(20);

crate::endpoints! {
    GET "/ping" None => ping as "get_ping": crate::openapi::EndpointDoc::new("ping", "Answers"),
    GET without HEAD "/act" None => ping as "act":
        crate::openapi::EndpointDoc::new("act", "Acts"),
}

async fn ping() -> HttpResponse {
    HttpResponse::Ok().body("pong")
}

/// In no table.
async fn apart(request: HttpRequest) -> HttpResponse {
    note_route(&request, "/apart", "apart");
    HttpResponse::Ok().finish()
}

/// What a request for `/slow` waits for.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

async fn slow(slow: Data<Slow>) -> HttpResponse {
    slow.begun.notify_one();
    slow.go_on.notified().await;
    HttpResponse::Ok().body("done")
}

struct Fixture {
    server: Server,
    supervisor: Supervisor,
    metrics: HttpMetrics,
    slow: Slow,
    drain: Drain,
}

impl Fixture {
    fn start(limits: Limits) -> Self {
        let (supervisor, slow, drain) = (Supervisor::default(), Slow::default(), Drain::default());
        let metrics = HttpMetrics::default();
        let server = start(address(0), limits, &metrics, &slow, (&drain, &supervisor));
        Self { server: server.expect("started"), supervisor, metrics, slow, drain }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.address())
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> reqwest::Result<String> {
        client.get(self.url(path)).send().await?.text().await
    }

    /// Makes the actor fail; returns when it has been rebuilt.
    async fn crash(&self) {
        let restarts = || self.supervisor.status()[0].restarts;
        let before = restarts();
        assert!(self.supervisor.crash("test"));
        self.rebuilt(before).await;
    }

    async fn rebuilt(&self, before: u64) {
        let rebuilt = async {
            while self.supervisor.status()[0].restarts == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, rebuilt).await.expect("rebuilt in time");
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn served() -> ServerIdentity {
    static PAIR: OnceLock<KeyPairPem> = OnceLock::new();
    let pair = PAIR.get_or_init(|| self_signed("http", &[]).expect("a key pair"));
    let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
    ServerIdentity::new(identity.expect("our own key pair"))
}

fn start(
    listen: SocketAddr,
    limits: Limits,
    metrics: &HttpMetrics,
    slow: &Slow,
    (drain, supervisor): (&Drain, &Supervisor),
) -> io::Result<Server> {
    let data = Data::new(slow.clone());
    let routes = move |app: &mut ServiceConfig| {
        add_endpoints(app);
        app.app_data(data.clone()).route("/slow", web::get().to(self::slow));
        app.route("/large", web::get().to(async || "x".repeat(64 << 20)));
        app.route("/apart", web::get().to(apart));
    };
    let service = Service {
        name: "test",
        refusals: Refusals::new(metrics),
        host: "localhost".to_owned(),
        drain: drain.clone(),
        routes,
    };
    let tls = server_config(&served(), ClientCertificates::Ignored);
    Server::start(Config { listen, inherited: None, workers: 1, limits }, tls, service, supervisor)
}

fn tls() -> rustls::ClientConfig {
    let trust = Trust::Pins(vec![served().current().fingerprint()]);
    client_config(&trust, None).expect("a configuration")
}

/// Without a pool, so that every request connects anew.
fn client() -> reqwest::Client {
    build_client(|client| client.pool_max_idle_per_host(0))
}

fn pooled() -> reqwest::Client {
    build_client(|client| client)
}

fn build_client(
    pool: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Client {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls()).no_proxy();
    pool(client).timeout(TIMEOUT).build().expect("a client")
}

#[actix_web::test]
async fn a_restart_refuses_nobody() {
    let fixture = Fixture::start(Limits::default());
    let client = client();
    while fixture.supervisor.status()[0].restarts < 3 {
        assert_eq!(fixture.get(&client, "/ping").await.expect("an answer"), "pong");
        assert!(fixture.supervisor.crash("test"));
    }
    assert!(fixture.get(&client, "/ping").await.is_ok(), "after the last restart");
}

#[actix_web::test]
async fn a_restart_leaves_requests_in_hand_and_connections_alone() {
    let fixture = Fixture::start(Limits::default());
    let client = pooled();
    assert!(fixture.get(&client, "/ping").await.is_ok());
    let crash = async {
        fixture.slow.begun.notified().await;
        fixture.crash().await;
        fixture.slow.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(fixture.get(&client, "/slow"), crash);
    assert_eq!(answer.expect("an answer"), "done");
    assert!(fixture.get(&client, "/ping").await.is_ok());
    assert_eq!(fixture.metrics.handshakes(), 1, "the connection was kept");
}

#[actix_web::test]
async fn a_server_that_ends_by_itself_is_replaced_behind_the_same_socket() {
    let fixture = Fixture::start(Limits::default());
    assert!(fixture.get(&client(), "/ping").await.is_ok());
    let handle = fixture.server.state.lock().server.as_ref().map(|s| s.handle.clone());
    handle.expect("a server").stop(false).await;
    fixture.rebuilt(0).await;
    assert_eq!(fixture.get(&client(), "/ping").await.expect("an answer"), "pong");
}

#[actix_web::test]
async fn a_server_that_accepts_no_more_serves_those_who_are_connected() {
    let fixture = Fixture::start(Limits::default());
    let connected = pooled();
    assert!(fixture.get(&connected, "/ping").await.is_ok());
    fixture.server.stop_accepting().await;
    let error = fixture.get(&client(), "/ping").await.expect_err("it accepts nobody");
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(fixture.get(&connected, "/ping").await.expect("an answer"), "pong");
}

#[actix_web::test]
async fn who_is_connected_when_the_service_is_to_end_is_told_with_the_next_answer() {
    let fixture = Fixture::start(Limits::default());
    let mut connected = fixture.raw(fixture.tcp().await).await.expect("TLS");
    assert!(pinged(&mut connected).await);
    // One that drains and stays serves all requests of a connection.
    fixture.drain.begin_to_stay();
    assert!(pinged(&mut connected).await && pinged(&mut connected).await);
    fixture.drain.begin(TIMEOUT);
    fixture.server.connections_closed(Duration::ZERO).await;
    let last_request = async {
        let mut answer = String::new();
        connected.write_all(PING).await.expect("it is still served");
        let read = tokio::time::timeout(TIMEOUT, connected.read_to_string(&mut answer)).await;
        read.expect("closed in time").expect("closed in order");
        answer
    };
    let all_closed = tokio::time::timeout(TIMEOUT, fixture.server.connections_closed(2 * TIMEOUT));
    let (answer, all_closed) = tokio::join!(last_request, all_closed);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("pong"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    all_closed.expect("nobody is left");
}

#[actix_web::test]
async fn after_a_stop_nobody_is_served_even_if_the_actor_crashes_then() {
    let fixture = Fixture::start(Limits::default());
    let client = client();
    assert!(fixture.get(&client, "/ping").await.is_ok());
    fixture.server.stop().await;
    fixture.crash().await;
    fixture.server.stop().await;
    let error = fixture.get(&client, "/ping").await.expect_err("it is closed");
    assert!(error.is_connect(), "{error:?}");
}

#[actix_web::test]
async fn a_stop_waits_for_requests_in_hand() {
    let fixture = Fixture::start(Limits::default());
    let client = client();
    let stop = async {
        fixture.slow.begun.notified().await;
        let go_on = async { fixture.slow.go_on.notify_one() };
        tokio::join!(fixture.server.stop(), go_on);
    };
    let (answer, ()) = tokio::join!(fixture.get(&client, "/slow"), stop);
    assert_eq!(answer.expect("an answer"), "done");
}

#[actix_web::test]
async fn a_trailing_slash_is_equal_and_what_is_not_served_is_told_in_the_envelope() {
    let fixture = Fixture::start(Limits::default());
    let client = client();
    assert_eq!(fixture.get(&client, "/ping/").await.expect("an answer"), "pong");
    for (answer, status) in [
        (client.get(fixture.url("/nothing?token=secret")).send().await, 404),
        (client.put(fixture.url("/ping")).send().await, 405),
    ] {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        let body: serde_json::Value = answer.json().await.expect("json");
        assert_eq!((&body["type"], &body["status_code"]), (&"error".into(), &status.into()));
    }
}

#[actix_web::test]
async fn requests_are_counted_by_what_has_answered_them() {
    let fixture = Fixture::start(Limits::default());
    let client = pooled();
    for path in ["/ping", "/ping/", "/apart", "/nothing"] {
        assert!(fixture.get(&client, path).await.is_ok());
    }
    for request in [client.head(fixture.url("/ping")), client.put(fixture.url("/ping"))] {
        assert!(request.send().await.is_ok());
    }
    let mut page = stream_metrics::Exposition::new("p");
    page.requests(&fixture.metrics);
    let text = page.text(stream_metrics::Format::Text);
    for (handler, method, code, count) in [
        ("get_ping", "GET", "2xx", 2),
        ("get_ping", "HEAD", "2xx", 1),
        ("apart", "GET", "2xx", 1),
        ("other", "GET", "4xx", 1),
        ("other", "PUT", "4xx", 1),
    ] {
        let labels = format!(r#"handler="{handler}",host="other",method="{method}",code="{code}""#);
        let line = format!("p_http_requests_total{{{labels}}} {count}");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[actix_web::test]
async fn head_is_answered_as_get_without_a_body_and_other_methods_learn_what_there_is() {
    let fixture = Fixture::start(Limits::default());
    let client = client();
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers()[name].to_str().expect("text").to_owned()
    };
    let head = client.head(fixture.url("/ping")).send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "4".to_owned()));
    assert_eq!(head.text().await.expect("a body"), "");
    for (path, allow) in [("/ping", "GET, HEAD"), ("/act", "GET")] {
        let refused = client.put(fixture.url(path)).send().await.expect("an answer");
        assert_eq!((refused.status().as_u16(), header(&refused, "allow").as_str()), (405, allow));
    }
    let refused = client.head(fixture.url("/act")).send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 405, "it must be harmless");
}

/// Limits with these keys of `[http]`, and deadlines of a second.
fn strict(http: &str) -> Limits {
    let second = Duration::from_secs(1);
    Limits {
        first_byte_timeout: second,
        head_timeout: second,
        answer_timeout: second,
        http: toml::from_str::<HttpConfig>(http).expect("the section"),
        ..Limits::default()
    }
}

/// A connection that speaks as the test wants it to.
type Raw = client::TlsStream<tokio::net::TcpStream>;

impl Fixture {
    async fn tcp(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(self.server.address()).await.expect("a connection")
    }

    async fn raw(&self, tcp: tokio::net::TcpStream) -> io::Result<Raw> {
        let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
        TlsConnector::from(Arc::new(tls())).connect(name, tcp).await
    }

    /// Waits until a connection is counted as refused for `cause`.
    async fn has_refused(&self, cause: &str) {
        let counted = async {
            while !self.refused(cause) {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(TIMEOUT, counted).await.expect(cause);
    }

    fn refused(&self, cause: &str) -> bool {
        let mut exposition = stream_metrics::Exposition::new("p");
        exposition.requests(&self.metrics);
        let line = format!("p_http_refused_connections_total{{cause=\"{cause}\"}}");
        exposition.text(stream_metrics::Format::Text).lines().any(|l| l.starts_with(&line))
    }
}

const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";

async fn pinged(stream: &mut Raw) -> bool {
    let mut answer = [0; 4096];
    let asked = stream.write_all(PING).await;
    let read = stream.read(&mut answer).await;
    asked.is_ok() && read.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200"))
}

/// Waits until the other end is gone.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut rest)).await;
    // Whether in order or not.
    let _ = end.expect("closed in time");
}

#[actix_web::test]
async fn whoever_says_nothing_gives_way_to_whoever_does() {
    let fixture = Fixture::start(strict("handshakes_per_address = 2"));
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(fixture.tcp().await);
    }
    assert_eq!(fixture.get(&client(), "/ping").await.expect("an answer"), "pong");
    closed(&mut silent[0]).await;
    fixture.has_refused("gave_way").await;
    closed(&mut silent[4]).await;
    fixture.has_refused("silent").await;
}

#[actix_web::test]
async fn more_connections_than_an_address_may_have_are_refused_until_one_is_given_up() {
    let fixture = Fixture::start(strict("connections_per_address = 2"));
    // Each keeps its connection.
    let clients = [(); 2].map(|()| pooled());
    for client in &clients {
        assert!(fixture.get(client, "/ping").await.is_ok());
    }
    let late = client();
    assert!(fixture.get(&late, "/ping").await.is_err());
    fixture.has_refused("address_limit").await;
    assert!(fixture.get(&clients[0], "/ping").await.is_ok(), "who is connected goes on");
    drop(clients);
    let again = async { while fixture.get(&late, "/ping").await.is_err() {} };
    tokio::time::timeout(TIMEOUT, again).await.expect("there is a place");
}

#[actix_web::test]
async fn a_connection_with_a_request_in_hand_gives_way_to_nobody() {
    let fixture = Fixture::start(strict("connections_per_address = 2"));
    let (slow, others) = (client(), client());
    let others_come = async {
        fixture.slow.begun.notified().await;
        let mut silent = fixture.tcp().await;
        assert_eq!(fixture.get(&others, "/ping").await.expect("an answer"), "pong");
        closed(&mut silent).await;
        fixture.slow.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(fixture.get(&slow, "/slow"), others_come);
    assert_eq!(answer.expect("its own answer"), "done");
}

#[actix_web::test]
async fn each_step_of_a_connection_has_a_deadline() {
    let fixture = Fixture::start(strict(""));
    let mut silent = fixture.raw(fixture.tcp().await).await.expect("TLS");
    closed(&mut silent).await;
    let mut second = fixture.raw(fixture.tcp().await).await.expect("TLS");
    assert!(pinged(&mut second).await);
    second.write_all(&PING[..1]).await.expect("written");
    closed(&mut second).await;
    fixture.has_refused("slow_head").await;
    let mut deaf = fixture.raw(fixture.tcp().await).await.expect("TLS");
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    fixture.has_refused("unread_answer").await;
}

#[actix_web::test]
async fn an_address_that_has_made_too_many_full_handshakes_can_still_resume() {
    let fixture = Fixture::start(strict("full_handshakes_per_second = 1"));
    let returning = client();
    assert!(fixture.get(&returning, "/ping").await.is_ok());
    let refused = async { while fixture.get(&client(), "/ping").await.is_ok() {} };
    tokio::time::timeout(TIMEOUT, refused).await.expect("it is refused at last");
    fixture.has_refused("handshake_rate").await;
    assert!(fixture.get(&returning, "/ping").await.is_ok(), "its ticket is good");
}

#[actix_web::test]
async fn a_trusted_proxy_tells_whose_connection_it_hands_on() {
    let fixture = Fixture::start(strict(
        r#"trusted_proxies = ["127.0.0.0/8"]
        proxy_protocol = true
        connections_per_address = 1"#,
    ));
    let from = async |host: u8| {
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        let mut tcp = fixture.tcp().await;
        let rest = [192, 0, 2, host, 127, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        tcp.write_all(&[&header[..], &rest].concat()).await.expect("written");
        fixture.raw(tcp).await
    };
    let mut first = from(1).await.expect("TLS");
    assert!(pinged(&mut first).await);
    assert!(from(1).await.is_err(), "one that it has is used");
    assert!(pinged(&mut from(2).await.expect("TLS")).await, "another client");
    assert!(fixture.raw(fixture.tcp().await).await.is_err(), "no header");
    fixture.has_refused("proxy_header").await;
    fixture.has_refused("address_limit").await;
}

#[actix_web::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_back() {
    let fixture = Fixture::start(strict("requests_per_address = 1"));
    let client = pooled();
    let ask = async || client.get(fixture.url("/ping")).send().await.expect("an answer");
    let refused = async {
        loop {
            let answer = ask().await;
            if answer.status() != 200 {
                break answer;
            }
        }
    };
    let refused = tokio::time::timeout(TIMEOUT, refused).await.expect("refused at last");
    assert_eq!(refused.status().as_u16(), 429);
    assert!(refused.headers().contains_key("retry-after"));
}

#[actix_web::test]
async fn an_address_in_use_is_refused() {
    let fixture = Fixture::start(Limits::default());
    let taken = fixture.server.address();
    let (metrics, slow) = (HttpMetrics::default(), Slow::default());
    let surroundings = (&fixture.drain, &fixture.supervisor);
    let error = start(taken, Limits::default(), &metrics, &slow, surroundings).err();
    assert_eq!(error.expect("refused").kind(), io::ErrorKind::AddrInUse);
}

#[actix_web::test]
async fn http_2_is_not_offered() {
    let fixture = Fixture::start(Limits::default());
    let mut tls = tls();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(fixture.server.address()).await;
    let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    let connector = TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream.expect("a connection")).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
