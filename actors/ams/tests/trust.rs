//! Whom the client speaks to, as whom, and over which connections: seen from a server that writes
//! down what reaches it.

mod harness;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use harness::{DEADLINE, Files, connected, eventually, identity, kept_certificate, run};
use stream_ams::{Ams, AmsError, Config, register};
use stream_metrics::{Collect, Exposition, Format};
use stream_pki::{Authority, ClientCertificates, Fingerprint, Identity, ServerIdentity};
use stream_pki::{KeyPairPem, server_config};
use stream_supervisor::Supervisor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What reached the server.
#[derive(Debug, PartialEq)]
enum Seen {
    /// A handshake that did not come to its end.
    Broken,
    /// A connection of the client with this certificate.
    Opened(Fingerprint),
    /// Bytes of a request.
    Asked(Fingerprint),
    Closed(Fingerprint),
}

/// Whether connections serve many requests or one, which is a handshake for each then.
#[derive(Clone, Copy, PartialEq)]
enum Connections {
    Persistent,
    SingleUse,
}

/// A server that trusts everybody, has no instances and answers `GET /1.0` whatever else it is
/// asked.
struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Server {
    async fn start(identity: Identity) -> Self {
        Self::start_at("127.0.0.1:0", identity).await
    }

    async fn start_at(address: &str, identity: Identity) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let tls = server_config(&ServerIdentity::new(identity), ClientCertificates::AnyOrNone);
        Self::run(listener, address, tls, Connections::Persistent)
    }

    /// Starts a server with which every request begins with a full handshake.
    async fn shaking_hands(identity: &ServerIdentity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut tls = (*server_config(identity, ClientCertificates::AnyOrNone)).clone();
        tls.send_tls13_tickets = 0;
        Self::run(listener, address, Arc::new(tls), Connections::SingleUse)
    }

    fn run(
        listener: TcpListener,
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        connections: Connections,
    ) -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = TlsAcceptor::from(tls.clone());
                spawn(serve(tls, stream, connections, tell.clone()));
            }
        });
        Self { address, seen }
    }

    async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(DEADLINE, self.seen.recv()).await;
        next.expect("something reaches the server").expect("it runs")
    }

    /// Returns what came until `wanted`, which is the last.
    async fn until(&mut self, wanted: &Seen) -> Vec<Seen> {
        let mut all = Vec::new();
        while all.last() != Some(wanted) {
            all.push(self.next().await);
        }
        all
    }
}

#[expect(clippy::disallowed_methods, reason = "what fails here fails the test that waits for it")]
fn spawn(work: impl Future<Output = ()> + 'static) {
    drop(actix_rt::spawn(work));
}

async fn serve(
    tls: TlsAcceptor,
    stream: TcpStream,
    connections: Connections,
    tell: mpsc::UnboundedSender<Seen>,
) {
    // The test may be over.
    let tell = |seen| drop(tell.send(seen));
    let Ok(mut stream) = tls.accept(stream).await else { return tell(Seen::Broken) };
    let certificates = stream.get_ref().1.peer_certificates().expect("a client certificate");
    let client = Fingerprint::of(&certificates[0]);
    tell(Seen::Opened(client));
    let is_last = connections == Connections::SingleUse;
    let mut bytes = [0; 4096];
    while let Ok(1..) = stream.read(&mut bytes).await {
        tell(Seen::Asked(client));
        let metadata = match bytes.starts_with(b"GET /1.0/instances") {
            true => "[]",
            false => r#"{"auth":"trusted","cluster_id":"c"}"#,
        };
        let body = format!(r#"{{"type":"sync","metadata":{metadata}}}"#);
        let close = if is_last { "connection: close\r\n" } else { "" };
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\n{close}content-length: {length}\r\n\r\n{body}");
        let is_answered = stream.write_all(answer.as_bytes()).await.is_ok();
        if is_last || !is_answered {
            // Whoever has gone waits for no end.
            let _ = stream.shutdown().await;
            break;
        }
    }
    tell(Seen::Closed(client));
}

fn start(config: Config) -> Ams {
    Ams::start(config, &Supervisor::default()).expect("a client")
}

#[test]
fn a_server_with_another_certificate_gets_no_byte_of_a_request() {
    run(async {
        let (mut server, files) =
            (Server::start(identity("ams-server")).await, Files::new("ams-client"));
        let config = files.config(server.address, vec![identity("ams-client").fingerprint()]);
        // A trust password would be worth having.
        let refused = register(&config, "sesame").await;
        let Err(AmsError::Unreachable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("none of the configured fingerprints"), "{why}");
        assert_eq!(server.next().await, Seen::Broken);
        let ams = start(config);
        assert_eq!(server.next().await, Seen::Broken);
        assert!(ams.instances("any").await.is_err());
        server.seen.close();
        while let Some(seen) = server.seen.recv().await {
            assert_eq!(seen, Seen::Broken);
        }
    });
}

#[test]
fn a_failure_of_tls_says_which_it_is() {
    run(async {
        let files = Files::new("ams-client");
        let says = async |address: SocketAddr, ca: &str, expected: &str| {
            let ca = files.replace("ca.pem", &kept_certificate(ca));
            let ams = start(Config { ca: Some(ca), ..files.config(address, Vec::new()) });
            let told = async || ams.status().await.error.is_some_and(|why| why.contains(expected));
            eventually(expected, told).await;
        };
        let server = Server::start(identity("ams-server")).await;
        says(server.address, "ams-client", "not among the trusted ones, check ams.ca").await;
        // The certificate has 127.0.0.1 and localhost.
        let elsewhere = Server::start_at("127.0.0.2:0", identity("ams-server")).await;
        says(elsewhere.address, "ams-server", "is for localhost, 127.0.0.1, not for 127.0.0.2")
            .await;

        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = plain.local_addr().expect("bound");
        spawn(async move {
            while let Ok((mut stream, _)) = plain.accept().await {
                // Whoever has gone does not hear it.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        says(address, "ams-server", "plain text where TLS is expected").await;
    });
}

#[test]
fn present_and_next_fingerprint_are_both_good() {
    run(async {
        let (server, files) =
            (Server::start(identity("ams-server")).await, Files::new("ams-client"));
        let pins = ["ams-client", "ams-server"].map(|name| identity(name).fingerprint());
        connected(&start(files.config(server.address, pins.to_vec()))).await;
    });
}

#[test]
fn pins_are_followed_while_the_client_runs() {
    run(async {
        let (server, files) =
            (Server::start(identity("ams-server")).await, Files::new("ams-client"));
        let pins = files.replace_pins(identity("ams-client").fingerprint());
        let ams = start(Config { pins: Some(pins), ..files.config(server.address, Vec::new()) });
        let refuses = async || {
            let status = ams.status().await;
            status.error.is_some_and(|why| why.contains("none of the configured fingerprints"))
        };
        eventually("refused", refuses).await;
        files.replace_pins(identity("ams-server").fingerprint());
        connected(&ams).await;
        files.replace_pins(identity("ams-client").fingerprint());
        eventually("refused again", refuses).await;
    });
}

/// Clients that ask under way of a change, each once per tick.
const CLIENTS: usize = 4;
const TICK: Duration = Duration::from_millis(50);

/// Requests that are waited for after each step, so that each is put to the test.
const AFTER_EACH_STEP: u32 = 20;

#[test]
fn the_authority_of_ams_is_replaced_under_load_with_an_overlap_and_no_call_fails() {
    run(async {
        let made = |name: &str| {
            let authority = Authority::generate(name).expect("an authority");
            let leaf = authority.issue("ams", &["127.0.0.1".to_owned()]).expect("a leaf");
            (authority.certificate_pem(), leaf)
        };
        let [(old, old_leaf), (new, new_leaf)] = ["old", "new"].map(made);
        let both = format!("{old}{new}");
        let shown = ServerIdentity::new(read(&old_leaf));
        let server = Server::shaking_hands(&shown).await;
        let files = Files::new("ams-client");
        let trust = |authorities: &str| files.replace("ca.pem", authorities.as_bytes());
        let ca = Some(trust(&old));
        let ams = start(Config { ca, ..files.config(server.address, Vec::new()) });
        connected(&ams).await;

        let (asked, failures) = (Cell::new(0), RefCell::new(Vec::new()));
        let load = async || {
            let clients = (0..CLIENTS).map(async |_| {
                let mut ticks = interval(TICK);
                loop {
                    ticks.tick().await;
                    match ams.instances("any").await {
                        Ok(_) => asked.set(asked.get() + 1),
                        Err(error) => failures.borrow_mut().push(error.to_string()),
                    }
                }
            });
            join_all(clients).await;
        };
        let is_asked = async || {
            let enough = asked.get() + AFTER_EACH_STEP;
            eventually("asked", async || asked.get() >= enough).await;
        };
        // First half of the file, as a replacement looks half way: once that is told, and told no
        // more, the whole has been read.
        let replace = async |authorities: &str| {
            trust(&authorities[..authorities.len() - new.len() / 2]);
            eventually("refused half of it", async || refuses_files(&ams)).await;
            is_asked().await;
            trust(authorities);
            eventually("taken up", async || !refuses_files(&ams)).await;
            is_asked().await;
        };
        let steps = async {
            is_asked().await;
            replace(&both).await;
            shown.swap(read(&new_leaf));
            is_asked().await;
            replace(&new).await;
            assert_eq!(*failures.borrow(), [""; 0], "{} were answered", asked.get());

            // The authority of before is out.
            shown.swap(read(&old_leaf));
            let is_refused =
                async || failures.borrow().iter().any(|why| why.contains("among the trusted ones"));
            eventually("refused", is_refused).await;
        };
        tokio::select! {
            () = steps => {}
            () = load() => panic!("they ask for ever"),
        }
    });
}

fn read(pair: &KeyPairPem) -> Identity {
    Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("a pair")
}

/// Whether the client says that its files cannot be used.
fn refuses_files(ams: &Ams) -> bool {
    let mut exposition = Exposition::new("p");
    ams.collect(&mut exposition);
    exposition.text(Format::Text).contains(r#"p_certificate_files_refused{use="ams"} 1"#)
}

#[test]
fn connections_end_with_the_certificate_they_were_made_with() {
    run(async {
        let [old, new] = ["ams-client", "ams-next"].map(|name| identity(name).fingerprint());
        let (mut server, files) =
            (Server::start(identity("ams-server")).await, Files::new("ams-client"));
        let pins = vec![identity("ams-server").fingerprint()];
        let ams = start(files.config(server.address, pins));
        connected(&ams).await;
        let mut seen = server.until(&Seen::Asked(old)).await;

        files.replace_identity("ams-next");
        seen.extend(server.until(&Seen::Asked(new)).await);
        // Every connection of the old certificate is closed, also one that a call under way was
        // just opening.
        let open = |seen: &[Seen]| {
            let count = |wanted| seen.iter().filter(|one| **one == wanted).count();
            count(Seen::Opened(old)) - count(Seen::Closed(old))
        };
        while open(&seen) > 0 {
            seen.push(server.next().await);
        }
    });
}
