//! Clients that come back to the services: to another unit, to one that was restarted, many at
//! once.

use std::sync::{Arc, Mutex};

use crate::support::{Http, eventually, run_flow};
use anyhow::{Context, ensure};
use rustls::client::{ClientSessionMemoryCache, Tls13ClientSessionValue};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::{HandshakeKind, NamedGroup, ServerConfig};
use serde_json::Value;
use stream_agent::agent::Agent;
use stream_bridge::{SealedError, SealedRecord};
use stream_dev::in_process::{Options, Stack};
use stream_dev::node_files::NodeFiles;
use stream_pki::{
    ClientCertificates, Identity, Seal, SecretError, ServerIdentity, SessionTicketer, TicketKey,
    Trust, client_config, server_config,
};
use stream_protocol::TokenKind;
use stream_protocol::subjects::Bucket;
use stream_tokens::Mint;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// A client of whoever is served at a port of this machine.
struct Client(TlsConnector);

impl Client {
    /// A client as any other: takes each ticket once.
    fn ordinary(nodes: &NodeFiles) -> anyhow::Result<Self> {
        Self::new(nodes, Arc::new(ClientSessionMemoryCache::new(8)))
    }

    /// A client that comes back with the two tickets of its first visit and takes no others.
    fn stubborn(nodes: &NodeFiles) -> anyhow::Result<Self> {
        Self::new(nodes, Arc::new(FirstTickets::default()))
    }

    fn new(nodes: &NodeFiles, tickets: Arc<dyn ClientSessionStore>) -> anyhow::Result<Self> {
        let trust = Trust::Pins(vec![nodes.agent_pin()?, nodes.gateway_pin()?]);
        let mut config = client_config(&trust, None)?;
        config.resumption = Resumption::store(tickets);
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Connects, is answered a request, and returns whether the session was resumed.
    async fn resumes(&self, port: u16) -> anyhow::Result<bool> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let mut stream = self.0.connect(name, stream).await?;
        stream.write_all(REQUEST).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        // The tickets come first.
        stream.read_to_end(&mut answer).await?;
        // It has no token.
        ensure!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
        Ok(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

#[derive(Debug, Default)]
struct FirstTickets(Mutex<Pocket>);

#[derive(Debug, Default)]
struct Pocket {
    left: Vec<Tls13ClientSessionValue>,
    /// Whether one was used already.
    spending: bool,
}

impl ClientSessionStore for FirstTickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().expect("no panic");
        if !tickets.spending {
            tickets.left.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut tickets = self.0.lock().expect("no panic");
        let ticket = tickets.left.pop();
        tickets.spending |= ticket.is_some();
        ticket
    }
}

/// Returns when two units of a service know the keys they share.
async fn share(nodes: &NodeFiles, one: u16, two: u16) -> anyhow::Result<()> {
    eventually("shared", async || {
        let client = Client::stubborn(nodes)?;
        client.resumes(one).await?;
        Ok(client.resumes(two).await?.then_some(()))
    })
    .await
}

/// Handshakes that a service has counted.
#[derive(Debug, PartialEq)]
struct Counted {
    full: u64,
    resumed: u64,
}

impl Counted {
    async fn by(http: &Http, service: &str) -> anyhow::Result<Self> {
        let answer = http.get("/metrics").await?;
        let text = answer.body.as_str().context("a page")?;
        let count = |kind: &str| {
            let name = format!("anbox_stream_{service}_tls_handshakes_total{{kind=\"{kind}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            anyhow::Ok(line.with_context(|| format!("no {name}in\n{text}"))?.parse()?)
        };
        Ok(Self { full: count("full")?, resumed: count("resumed")? })
    }
}

/// Somebody who may read the metrics of an agent.
async fn watcher(nodes: &NodeFiles, agent: &Agent) -> anyhow::Result<Http> {
    let watcher = Mint::new(TokenKind::Monitor, "watcher");
    let minted = eventually("minted", async || Ok(agent.tokens.mint(watcher.clone()).await.ok()));
    Http::new(&nodes.agent_url(), Some(&minted.await?.token), nodes.agent_pin()?)
}

#[test]
fn a_client_of_one_unit_resumes_on_another_and_on_one_that_was_restarted() {
    run_flow(async || {
        let mut stack = Stack::start(Options::default()).await?;
        let (another, _agent) = stack.another_agent("two")?;
        let (one, two) = (stack.nodes.agent_port, another.agent_port);
        share(&stack.nodes, one, two).await?;
        let client = Client::stubborn(&stack.nodes)?;
        assert!(!client.resumes(one).await?, "its first visit");
        assert!(client.resumes(two).await?);
        stack.restart_agent().await?;
        share(&stack.nodes, two, one).await?;
        assert!(client.resumes(one).await?, "with a ticket of before");

        let (another, gateway) = stack.another_gateway("gateway-two")?;
        share(&stack.nodes, stack.nodes.gateway_port, another.gateway_port).await?;
        let counting =
            Http::new(&another.gateway_url(), Some(&stack.token), another.gateway_pin()?)?;
        let counted =
            eventually("counted", async || Ok(Counted::by(&counting, "gateway").await.ok()));
        let before = counted.await?;
        let client = Client::stubborn(&stack.nodes)?;
        client.resumes(stack.nodes.gateway_port).await?;
        assert!(client.resumes(another.gateway_port).await?);
        let after = Counted::by(&counting, "gateway").await?;
        assert_eq!(after, Counted { resumed: before.resumed + 1, ..before });
        gateway.stop().await;
        Ok(())
    });
}

#[test]
fn many_clients_whose_agent_has_gone_resume_on_the_other() {
    const CLIENTS: usize = 100;
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let (another, agent) = stack.another_agent("two")?;
        let (one, two) = (stack.nodes.agent_port, another.agent_port);
        share(&stack.nodes, one, two).await?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = Client::ordinary(&stack.nodes)?;
            assert!(!client.resumes(one).await?, "its first visit");
            clients.push(client);
        }
        let watcher = watcher(&another, &agent).await?;
        let before = Counted::by(&watcher, "agent").await?;
        stack.agent.stop().await;

        let returning = clients.iter().map(|client| client.resumes(two));
        let resumed = futures_util::future::try_join_all(returning).await?;
        let resumed = resumed.into_iter().filter(|resumed| *resumed).count();
        println!("{resumed} of {CLIENTS} clients resumed on the other agent");
        let after = Counted::by(&watcher, "agent").await?;
        assert_eq!(resumed, CLIENTS);
        assert_eq!(after, Counted { resumed: before.resumed + CLIENTS as u64, ..before });
        Ok(())
    });
}

/// The keys of tickets of a service, as one of its units would read them.
struct Vault<'a> {
    stack: &'a Stack,
    record: SealedRecord<Value>,
    _state: tempfile::TempDir,
    _supervisor: stream_supervisor::Supervisor,
}

impl<'a> Vault<'a> {
    async fn open(stack: &'a Stack, record: &'static str) -> anyhow::Result<Self> {
        let seal = Arc::new(Seal::load(stack.nodes.agent_dir().join("sealing.key"))?);
        let supervisor = stream_supervisor::Supervisor::default();
        let bridge = stream_bridge::Bridge::start(stack.nats.bridge(), "test", &supervisor)?;
        let connected = async || Ok(bridge.status().await.connected.then_some(()));
        eventually("connected", connected).await?;
        let state = tempfile::tempdir()?;
        let record = SealedRecord::new(bridge, seal, Bucket::KeysAgent, record, state.path());
        Ok(Self { stack, record, _state: state, _supervisor: supervisor })
    }

    async fn read(&self) -> anyhow::Result<Vec<Value>> {
        let none = || {
            let path = self.stack.nodes.dir.clone();
            Err(SecretError::Missing { path })
        };
        let keys = self.record.load(none).await?;
        Ok(keys["keys"].as_array().context("a list of keys")?.clone())
    }

    /// Makes the keys as old as time itself.
    async fn age(&self) -> Result<(), SealedError> {
        let age = |keys: &mut Value| {
            for key in keys["keys"].as_array_mut().into_iter().flatten() {
                key["created_at"] = 0.into();
            }
            Ok::<_, SealedError>(())
        };
        self.record.update(age).await.map(drop)
    }
}

#[test]
fn an_old_key_is_replaced_once_and_its_tickets_are_still_good() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let (another, _agent) = stack.another_agent("two")?;
        let (one, two) = (stack.nodes.agent_port, another.agent_port);
        share(&stack.nodes, one, two).await?;
        let vault = Vault::open(&stack, "agent.tickets").await?;
        let first = vault.read().await?;
        let client = Client::stubborn(&stack.nodes)?;
        client.resumes(one).await?;

        vault.age().await?;
        let keys = eventually("rotated", async || {
            let keys = vault.read().await?;
            Ok(keys.last().is_some_and(|key| key["created_at"] != 0).then_some(keys))
        })
        .await?;
        assert_eq!(keys.len(), 2, "of both agents one has added a key");
        assert_eq!((&keys[0]["name"], &keys[0]["key"]), (&first[0]["name"], &first[0]["key"]));
        // With the ticket of before, on both; and with one of the new key.
        assert!(client.resumes(one).await? && client.resumes(two).await?);
        share(&stack.nodes, two, one).await?;
        assert_eq!(vault.read().await?.len(), 2);
        Ok(())
    });
}

/// Makes tickets under the keys of the agents, in which one bit is wrong.
#[derive(Debug)]
struct Tampered(SessionTicketer);

impl ProducesTickets for Tampered {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = self.0.encrypt(session)?;
        *ticket.last_mut()? ^= 1;
        Some(ticket)
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Has `client` visit a server with `tls`, which answers one request.
async fn visit(client: &Client, tls: ServerConfig) -> anyhow::Result<()> {
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
        stream.read_exact(&mut [0; REQUEST.len()]).await?;
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").await?;
        Ok(stream.shutdown().await?)
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let serve = async {
        let (stream, _) = listener.accept().await?;
        answer(TlsAcceptor::from(Arc::new(tls)).accept(stream).await?).await
    };
    let (resumed, ()) = tokio::try_join!(client.resumes(port), serve)?;
    ensure!(!resumed, "its first visit");
    Ok(())
}

#[test]
fn a_ticket_of_a_gateway_or_a_tampered_one_costs_a_full_handshake_and_nothing_else() {
    run_flow(async || {
        let stack = Stack::start(Options::default()).await?;
        let (another, _agent) = stack.another_agent("two")?;
        let one = stack.nodes.agent_port;
        share(&stack.nodes, one, another.agent_port).await?;
        let client = Client::stubborn(&stack.nodes)?;
        client.resumes(stack.nodes.gateway_port).await?;
        assert!(!client.resumes(one).await?);
        assert!(client.resumes(stack.nodes.gateway_port).await?, "there it is good");

        // A server that knows the keys of the agents, as only a test does.
        let (certificate, key) = ("server.crt", "server.key");
        let dir = stack.nodes.agent_dir();
        let served = ServerIdentity::new(Identity::load(dir.join(certificate), dir.join(key))?);
        let vault = Vault::open(&stack, "agent.tickets").await?;
        for key in vault.read().await? {
            let secret = base64(key["key"].as_str().context("a key")?)?;
            let name = key["name"].as_str().context("a name")?.as_bytes().try_into()?;
            served.ticketer().set_shared_keys(vec![TicketKey::new(name, &secret)]);
        }
        let honest = ServerConfig::clone(&server_config(&served, ClientCertificates::Ignored));
        let mut tampering = honest.clone();
        tampering.ticketer = Arc::new(Tampered(served.ticketer().clone()));
        for (tls, good) in [(honest, true), (tampering, false)] {
            let client = Client::stubborn(&stack.nodes)?;
            visit(&client, tls).await?;
            assert_eq!(client.resumes(one).await?, good);
        }
        Ok(())
    });
}

fn base64(text: &str) -> anyhow::Result<[u8; 32]> {
    use ::base64::Engine;
    let bytes = ::base64::engine::general_purpose::STANDARD.decode(text)?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("not 32 bytes"))
}
