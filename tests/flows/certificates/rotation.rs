//! Leaf and authority are replaced on every surface while clients come and go: none fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::{KeyStore, Pair};
use stream_pki::{Authority, Fingerprint, Identity, KeyPairPem, Trust, client_config, write_new};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind};
use toml::toml;

use crate::support::{STEP_TIMEOUT, eventually, light_instances, run_flow};

/// Clients, each of which connects once per [`TICK`]: 50 handshakes a second together.
const CLIENTS: usize = 10;
const TICK: Duration = Duration::from_millis(200);

/// Handshakes that are waited for after each step, so that each is put to the test.
const AFTER_EACH_STEP: u32 = 25;

const REQUEST: &[u8] = b"GET /1.0/version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// Whether the client speaks first, or the server does.
#[derive(Clone, Copy)]
enum Speaks {
    Client,
    Server,
}

/// What the clients of one server have seen.
#[derive(Default)]
struct Seen {
    full: Cell<u32>,
    resumed: Cell<u32>,
    certificates: RefCell<BTreeSet<Fingerprint>>,
    failures: RefCell<Vec<String>>,
}

impl Seen {
    fn all(&self) -> u32 {
        self.full.get() + self.resumed.get()
    }
}

/// One server under load.
struct Surface<'a> {
    port: u16,
    speaks: Speaks,
    /// The authorities that its clients trust, read at each full handshake.
    bundle: &'a Path,
    seen: Seen,
}

impl Surface<'_> {
    /// Connects for as long as it is polled, every second time with what the last one left.
    async fn load(&self) -> anyhow::Result<()> {
        let clients = (0..CLIENTS).map(async |_| {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut kept: Option<Arc<ClientConfig>> = None;
            loop {
                ticks.tick().await;
                let config = match kept.take() {
                    Some(config) => config,
                    None => {
                        let fresh =
                            Arc::new(client_config(&Trust::from_ca_file(self.bundle)?, None)?);
                        kept = Some(Arc::clone(&fresh));
                        fresh
                    }
                };
                let visited = timeout(Duration::from_secs(20), self.visit(config)).await;
                if let Err(error) = visited.context("no answer").and_then(|visited| visited) {
                    self.seen.failures.borrow_mut().push(format!("{error:#}"));
                }
            }
        });
        let ended: Vec<anyhow::Result<()>> = join_all(clients).await;
        ended.into_iter().collect()
    }

    async fn visit(&self, config: Arc<ClientConfig>) -> anyhow::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        if matches!(self.speaks, Speaks::Client) {
            stream.write_all(REQUEST).await?;
        }
        // With the answer comes the ticket.
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        ensure!(word == *b"HTTP" || word == *b"INFO", "{word:?}");
        let (_, connection) = stream.get_ref();
        let counted = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.seen.resumed,
            _ => &self.seen.full,
        };
        counted.set(counted.get() + 1);
        if let Some(leaf) = connection.peer_certificates().and_then(<[_]>::first) {
            self.seen.certificates.borrow_mut().insert(Fingerprint::of(leaf));
        }
        Ok(())
    }

    /// Waits until clients have come after a step, and have seen the certificate of `shown`.
    async fn is_visited(&self, shown: &KeyPairPem) -> anyhow::Result<()> {
        let identity = identity(shown)?.fingerprint();
        let before = self.seen.all();
        eventually("visited", async || {
            let enough = self.seen.all() >= before + AFTER_EACH_STEP;
            Ok((enough && self.seen.certificates.borrow().contains(&identity)).then_some(()))
        })
        .await
        .with_context(|| format!("{:?}", self.seen.failures.borrow()))
    }
}

fn identity(pair: &KeyPairPem) -> anyhow::Result<Identity> {
    Ok(Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes())?)
}

/// Two authorities, and what they have signed: leaf, next leaf, leaf of the next authority.
struct Site {
    authorities: [String; 2],
    leaves: [KeyPairPem; 3],
}

impl Site {
    fn make(keys: &KeyStore) -> anyhow::Result<Self> {
        let first = Authority::generate("first")?;
        let names = ["127.0.0.1".to_owned()];
        let second = keys.signed("nats-client")?;
        let read = |path: &Path| fs::read_to_string(path);
        let last = KeyPairPem {
            certificate: read(&second.pair.certificate)?,
            key: read(&second.pair.key)?.into(),
        };
        let leaves = [first.issue("leaf", &names)?, first.issue("leaf", &names)?, last];
        Ok(Self { authorities: [first.certificate_pem(), read(&second.authority)?], leaves })
    }

    /// Replaces leaf and authority of one server, as the manual has it, under load.
    async fn rotate(
        &self,
        surface: &Surface<'_>,
        show: impl Fn(&KeyPairPem) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let [old, new] = &self.authorities;
        let [first, second, last] = &self.leaves;
        let trust = |authorities: &str| write_whole(surface.bundle, authorities);
        let steps = async {
            show(second)?;
            surface.is_visited(second).await?;
            trust(&format!("{old}{new}"))?;
            surface.is_visited(second).await?;
            show(last)?;
            surface.is_visited(last).await?;
            trust(new)?;
            surface.is_visited(last).await
        };
        trust(old)?;
        show(first)?;
        // What a service shows it reads again within seconds.
        eventually("shown", async || {
            let trust = Trust::from_ca_file(surface.bundle)?;
            let visited = surface.visit(Arc::new(client_config(&trust, None)?)).await;
            Ok(visited.ok())
        })
        .await?;
        tokio::select! {
            done = steps => done?,
            ended = surface.load() => return ended,
        }
        let Seen { full, resumed, failures, .. } = &surface.seen;
        let failures = failures.borrow();
        ensure!(failures.is_empty(), "{} of {}: {failures:?}", failures.len(), surface.seen.all());
        log::warn!("{} full, {} resumed, 0 failures", full.get(), resumed.get());
        Ok(())
    }
}

/// Replaces a file at once.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    write_new(&beside, text.as_bytes(), 0o644)?;
    Ok(fs::rename(&beside, path)?)
}

/// Writes a pair over another: first the key, so that for a moment they do not fit.
fn replace(pair: &Pair, with: &KeyPairPem) -> anyhow::Result<()> {
    stream_dev::keys::write_secret(&pair.key, with.key.as_bytes())?;
    Ok(fs::write(&pair.certificate, &with.certificate)?)
}

#[test]
fn leaf_and_authority_are_replaced_on_every_surface_under_load_and_no_handshake_fails() {
    run_flow(async || {
        let (keys, dir) = (KeyStore::shared()?, tempfile::tempdir()?);
        let site = Site::make(&keys)?;
        let bundle = |name: &str| -> PathBuf { dir.path().join(name) };
        let ams_ca = bundle("ams");
        let both = site.authorities.concat();
        write_whole(&ams_ca, &both)?;
        let ca = ams_ca.display().to_string();
        let options = Options {
            launcher: light_instances(),
            agent: toml! {
                tls.reload_s = 1
                ams.reload_s = 1
            },
            gateway: toml! { tls.reload_s = 1 },
            ..Options::default()
        };
        let mut stack = Stack::start(options).await?;
        let surface =
            |port, speaks, bundle| Surface { port, speaks, bundle, seen: Seen::default() };
        let nodes = stack.nodes.clone();

        let own = bundle("gateway");
        let gateway = surface(nodes.gateway_port, Speaks::Client, &own);
        site.rotate(&gateway, |leaf| replace(&nodes.gateway_pair(), leaf)).await?;
        let own = bundle("agent");
        let agent = surface(nodes.agent_port, Speaks::Client, &own);
        site.rotate(&agent, |leaf| replace(&nodes.agent_pair(), leaf)).await?;

        // Both services are connected to NATS and stay so; what they trust is the file under load.
        let bridge = stack.nats.ca();
        let nats = surface(stack.nats.port(), Speaks::Server, &bridge);
        site.rotate(&nats, |leaf| {
            stack.nats.change_certificate(leaf)?;
            stack.nats.reload()
        })
        .await?;
        // And connect anew by what they trust now.
        stack.nats.restart()?;
        let gateway_pin = identity(&site.leaves[2])?.fingerprint();
        let http =
            crate::support::Http::new(&nodes.gateway_url(), Some(&stack.token), gateway_pin)?;
        let ready = async || Ok((http.get("/1.0/health/ready").await?.status == 200).then_some(()));
        eventually("connected again", ready).await?;

        let own = bundle("ams-clients");
        let ams = surface(nodes.ams_port, Speaks::Client, &own);
        // Meanwhile a client of ours asks it, by the authorities of a file.
        let config: stream_ams::Config = serde_json::from_value(serde_json::json!({
            "url": nodes.ams_url(),
            "certificate": nodes.ams_client().certificate,
            "key": nodes.ams_client().key,
            "ca": ca,
            "reload_s": 1,
        }))?;
        stack.ams.show(identity(&site.leaves[0])?);
        let supervisor = stream_supervisor::Supervisor::default();
        let asking = stream_ams::Ams::start(config, &supervisor)?;
        let reached = async || Ok(asking.status().await.connected.then_some(()));
        eventually("reached", reached).await?;
        let next = keys.pair("agent-2")?;
        stack.ams.trust(next.identity()?.fingerprint());
        let asked = async {
            let mut ticks = interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                timeout(STEP_TIMEOUT, asking.applications()).await??;
            }
        };
        let rotated = site.rotate(&ams, |leaf| {
            // Our own certificate changes with it, which AMS trusts already.
            let pem = |path: &Path| fs::read_to_string(path);
            let certificate = pem(&next.certificate)?;
            replace(&nodes.ams_client(), &KeyPairPem { certificate, key: pem(&next.key)?.into() })?;
            stack.ams.show(identity(leaf)?);
            Ok(())
        });
        let failed: anyhow::Result<()> = tokio::select! {
            rotated = rotated => rotated,
            failed = asked => failed,
        };
        failed?;
        supervisor.stop();
        Ok(())
    });
}
