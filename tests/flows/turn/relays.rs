//! Real relays, and the actor that issues credentials for them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use stream_bridge::{Bridge, SealedError, SealedRecord};
use stream_dev::coturn::Coturn;
use stream_dev::keys::{KeyStore, Pair};
use stream_dev::nats::Nats;
use stream_pki::{Seal, random_text};
use stream_protocol::subjects::Bucket;
use stream_protocol::{IceServer, SessionId, Timestamp};
use stream_supervisor::Supervisor;
use stream_turn::{Config, Peer, Server, Turn};
use tokio::process::Command;

use crate::support::{STEP_TIMEOUT, eventually};

/// The pool of the relays that are in no other.
pub(crate) const POOL: &str = "default";

/// Between two probes of a relay.
pub(crate) const PROBE: Duration = Duration::from_secs(2);

/// Real relays, and the actor that issues credentials for them.
pub(crate) struct Relays {
    pub(crate) turn: Turn,
    pub(crate) relays: Vec<Coturn>,
    pub(crate) secret: String,
    pub(crate) shared: Shared,
    pub(crate) config: Config,
    supervisor: Supervisor,
    _nats: Nats,
    _dir: tempfile::TempDir,
}

impl Relays {
    /// Starts `number` relays, and returns once credentials are issued.
    pub(crate) async fn start(number: usize, lifetime_s: u64) -> anyhow::Result<Self> {
        let (dir, secret) = (tempfile::tempdir()?, random_text(64));
        let start = |n| Coturn::start(&dir.path().join(format!("coturn{n}")), &secret);
        let relays = (0..number).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        Self::over(dir, &secret, relays, None, lifetime_s).await
    }

    /// Starts one relay that is reached inside TLS too, as whom the authority `ca` knows.
    pub(crate) async fn start_with_tls(pair: Pair, ca: PathBuf) -> anyhow::Result<Self> {
        let (dir, secret) = (tempfile::tempdir()?, random_text(64));
        let relay = Coturn::start_with_tls(&dir.path().join("coturn"), &secret, pair)?;
        Self::over(dir, &secret, vec![relay], Some(ca), 3600).await
    }

    async fn over(
        dir: tempfile::TempDir,
        secret: &str,
        relays: Vec<Coturn>,
        ca: Option<PathBuf>,
        lifetime_s: u64,
    ) -> anyhow::Result<Self> {
        let at = |name: &str| dir.path().join(name);
        let nats = Nats::start(&at("nats"), &KeyStore::shared()?)?;
        stream_dev::keys::write_secret(at("sealing.key"), "s".repeat(32))?;
        stream_dev::keys::write_secret(at("turn.secret"), secret)?;
        let supervisor = Supervisor::default();
        let bridge = bridge(&nats, &supervisor)?;
        let shared = Shared { bridge: bridge.clone(), sealing_key: at("sealing.key") };
        let server = |relay: &Coturn| {
            let urls = [relay.url()].into_iter().chain(relay.tls_url()).collect();
            Server { urls, ca: ca.clone() }
        };
        let config = Config {
            servers: relays.iter().map(server).collect(),
            pools: Vec::new(),
            stun: Vec::new(),
            lifetime_s,
            lifetime_without_renewal_s: None,
            probe_s: PROBE.as_secs(),
            sealing_key: at("sealing.key"),
            first_secret: at("turn.secret"),
            state: at("state"),
        };
        let turn = Turn::start(config.clone(), bridge, &supervisor)?;
        eventually("ready", async || Ok(turn.ready().await.ok())).await?;
        let secret = secret.to_owned();
        Ok(Self { turn, relays, secret, shared, config, supervisor, _nats: nats, _dir: dir })
    }

    pub(crate) async fn issue(&self) -> anyhow::Result<Vec<IceServer>> {
        Ok(self.turn.issue(&SessionId::random(), Peer::Client, "").await?)
    }

    /// The numbers of the relays in a new list.
    pub(crate) async fn handed_out(&self) -> anyhow::Result<BTreeSet<usize>> {
        let servers = self.issue().await?;
        let number = |server: &IceServer| {
            let known = |relay: &Coturn| server.urls[0] == relay.url();
            self.relays.iter().position(known).context("a stranger")
        };
        servers.iter().map(number).collect()
    }

    /// Makes the actor fail.
    pub(crate) fn crash(&self) {
        assert!(self.supervisor.crash("turn"));
    }

    /// Returns how long it takes until `relay` is in new lists, or no longer is; the `others` are
    /// in all of them.
    pub(crate) async fn until(
        &self,
        relay: usize,
        present: bool,
        others: &[usize],
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        eventually("so", async || {
            let handed_out = self.handed_out().await?;
            anyhow::ensure!(others.iter().all(|other| handed_out.contains(other)));
            Ok((handed_out.contains(&relay) == present).then_some(()))
        })
        .await?;
        Ok(begun.elapsed())
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

/// Connects to NATS as whoever may do everything.
pub(crate) fn bridge(nats: &Nats, supervisor: &Supervisor) -> anyhow::Result<Bridge> {
    Ok(Bridge::start(nats.bridge(), "test", supervisor)?)
}

/// What the agents share about the default pool.
pub(crate) struct Shared {
    pub(crate) bridge: Bridge,
    pub(crate) sealing_key: PathBuf,
}

impl Shared {
    /// Puts the end of the last credential of the old secret into the past, as if that time had
    /// gone by.
    pub(crate) async fn age_old_secret(&self) -> anyhow::Result<()> {
        let (seal, state) = (Arc::new(Seal::load(&self.sealing_key)?), tempfile::tempdir()?);
        let record = SealedRecord::new(
            self.bridge.clone(),
            seal,
            Bucket::KeysAgent,
            "agent.turn",
            state.path(),
        );
        let age = |shared: &mut Value| {
            shared["previous"]["until"] = (now() - 1).into();
            Ok::<_, SealedError>(())
        };
        let aged = async || Ok(record.update(age).await.ok());
        eventually("old", aged).await.map(drop)
    }
}

/// Whether the relay's own client can relay as this user.
pub(crate) async fn can_relay(
    relay: &Coturn,
    username: &str,
    password: &str,
) -> anyhow::Result<bool> {
    let mut client = Command::new("turnutils_uclient");
    client.args(["-n", "1", "-m", "1", "-c", "-y", "-u", username, "-w", password]);
    client.args(["-p", &relay.port().to_string(), "127.0.0.1"]);
    let output = client.kill_on_drop(true).output();
    Ok(tokio::time::timeout(STEP_TIMEOUT, output).await??.status.success())
}

pub(crate) fn credential(server: &IceServer) -> anyhow::Result<(String, String)> {
    let both = server.username.clone().zip(server.password.clone());
    both.context("a relay without a credential")
}

pub(crate) fn now() -> u64 {
    Timestamp::now().as_unix()
}

/// The lines in which a relay refuses somebody who said who they are.
pub(crate) fn refusals(log: &str) -> Vec<&str> {
    let refusal = |line: &&str| {
        let codes = ["error 437", "error 438", "error 441"];
        let named = line.contains("error 401") && !line.contains("user <>");
        named || codes.iter().any(|code| line.contains(code))
    };
    log.lines().filter(refusal).collect()
}
