//! The bridge and the ways of a real nats-server: who it lets in, how it goes, and the loss of one
//! of three.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{STEP_TIMEOUT, eventually, run_flow};
use anyhow::{Context, ensure};
use async_nats::jetstream;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_bridge::{
    Bridge, BridgeError, Config, ConnectionStatus, RecordChange, SignalConnection, SignalWriter,
};
use stream_dev::keys::KeyStore;
use stream_dev::nats::{ClientAuth, Nats};
use stream_pki::{Authority, KeyPairPem, Trust, client_config};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Cursor, Direction, NewSignal, SessionId, Signal};
use stream_supervisor::Supervisor;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Record {
    n: u64,
}

/// A bridge, and what keeps it going.
pub(crate) struct Unit {
    pub(crate) bridge: Bridge,
    supervisor: Supervisor,
}

impl Unit {
    pub(crate) fn start(config: Config) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let bridge = Bridge::start(config, "test", &supervisor)?;
        Ok(Self { bridge, supervisor })
    }

    pub(crate) async fn connected(config: Config) -> anyhow::Result<Self> {
        let unit = Self::start(config)?;
        unit.until("connected", |status| status.connected).await?;
        Ok(unit)
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        there: impl Fn(&ConnectionStatus) -> bool,
    ) -> anyhow::Result<ConnectionStatus> {
        let look = async || {
            let status = self.bridge.status().await;
            Ok(there(&status).then_some(status))
        };
        eventually(what, look).await
    }

    /// Stores a record and reads it, as proof of being let in.
    pub(crate) async fn works(&self) -> anyhow::Result<()> {
        self.bridge.put(Bucket::Sessions, "proof", &Record { n: 1 }).await?;
        let read = self.bridge.read::<Record>(Bucket::Sessions, "proof").await?;
        ensure!(read.is_some_and(|entry| entry.value.n == 1));
        Ok(())
    }
}

/// Connects to the store as an operator does.
pub(crate) async fn operator(nats: &Nats) -> anyhow::Result<jetstream::Context> {
    let tls = client_config(&Trust::from_ca_file(nats.ca())?, None)?;
    let token = std::fs::read_to_string(nats.token())?;
    let options = async_nats::ConnectOptions::with_token(token);
    let options = options.require_tls(true).tls_first().tls_client_config(tls);
    Ok(jetstream::new(options.connect(nats.url()).await?))
}

/// Has the server keep the log of signals otherwise, as an operator may.
pub(crate) async fn change_signals(
    nats: &Nats,
    change: impl FnOnce(&mut jetstream::stream::Config),
) -> anyhow::Result<()> {
    let jetstream = operator(nats).await?;
    let mut config = jetstream.get_stream("signals").await?.cached_info().config.clone();
    change(&mut config);
    jetstream.update_stream(config).await?;
    Ok(())
}

fn posted(n: usize, last: bool) -> NewSignal {
    NewSignal {
        id: format!("s{n}").parse().expect("an id"),
        generation: 0,
        signal: Signal::parse(format!(r#"{{"type":"candidate","last":{last}}}"#))
            .expect("a signal"),
    }
}

#[test]
fn a_token_that_is_replaced_counts_at_the_next_connect() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let mut nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
        let unit = Unit::connected(nats.bridge()).await?;
        nats.kill();
        unit.until("away", |status| !status.connected).await?;
        nats.change_token()?;
        nats.restart()?;
        unit.until("back", |status| status.connected).await?;
        unit.works().await?;
        // The actor is the one of before.
        assert_eq!(unit.supervisor.status()[0].restarts, 0);
        Ok(())
    });
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let client = keys.signed("nats-client")?;
        let auth = ClientAuth { clients: Some(client.authority), ..ClientAuth::default() };
        let nats = Nats::start_with(&dir.path().join("nats"), &keys, &auth)?;
        let (certificate, key) = (Some(client.pair.certificate), Some(client.pair.key));
        Unit::connected(Config { certificate, key, ..nats.bridge() }).await?.works().await?;

        let without = Unit::start(nats.bridge())?;
        let refused = |status: &ConnectionStatus| {
            status.error.as_ref().is_some_and(|why| why.contains("ertific"))
        };
        without.until("refused", refused).await?;
        let stranger = keys.pair("ams-client")?;
        let (certificate, key) = (Some(stranger.certificate), Some(stranger.key));
        let stranger = Unit::start(Config { certificate, key, ..nats.bridge() })?;
        let refused = stranger.until("refused", |status| {
            status.error.as_ref().is_some_and(|why| why != "not connected yet")
        });
        assert!(!refused.await?.connected);
        Ok(())
    });
}

#[test]
fn the_authority_of_the_servers_is_replaced_without_a_restart_and_the_old_one_trusted_no_more() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let mut nats = Nats::start(&dir.path().join("nats"), &keys)?;
        let unit = Unit::connected(nats.bridge()).await?;
        let signed = keys.signed("nats")?;
        let old = KeyPairPem {
            certificate: std::fs::read_to_string(signed.pair.certificate)?,
            key: std::fs::read_to_string(signed.pair.key)?.into(),
        };
        let old_ca = std::fs::read_to_string(signed.authority)?;
        let authority = Authority::generate("another CA")?;
        let new = authority.issue("stream-nats", &["127.0.0.1".to_owned()])?;
        let new_ca = authority.certificate_pem();
        let refused = |status: &ConnectionStatus| {
            status.error.as_ref().is_some_and(|why| why.contains("check nats.ca"))
        };

        for (pair, ca) in [(&new, &new_ca), (&old, &old_ca), (&new, &new_ca)] {
            nats.change_certificate(pair)?;
            nats.restart()?;
            // Of an authority that is trusted no more, or not yet.
            unit.until("refused", refused).await?;
            std::fs::write(nats.ca(), &ca[..ca.len() / 2])?;
            unit.until("still refused", refused).await?;
            std::fs::write(nats.ca(), ca)?;
            unit.until("back", |status| status.connected).await?;
            unit.works().await?;
        }
        assert_eq!(unit.supervisor.status()[0].restarts, 0, "the actor is the one of before");
        Ok(())
    });
}

/// Writes the credentials of a user of `account`, as the tools of NATS do.
fn write_credentials(path: &Path, account: &KeyPair) -> anyhow::Result<()> {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
        "pub": {}, "sub": {} });
    let (jwt, seed) = (signed(account, &user.public_key(), claims)?, user.seed()?);
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    stream_dev::keys::write_secret(path, text)
}

/// A JWT in which `issuer` says something about `subject`.
fn signed(issuer: &KeyPair, subject: &str, claims: Value) -> anyhow::Result<String> {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({ "jti": subject, "iat": 1, "iss": issuer.public_key(), "name": "test",
        "sub": subject, "nats": claims });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let text = format!("{}.{}", encode(&header), encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// What a server is told of an operator with one account for us and one for the server itself.
fn operated(operator: &KeyPair, account: &KeyPair, system: &KeyPair) -> anyhow::Result<String> {
    let limits = |storage: i64| {
        json!({ "type": "account", "version": 2, "limits": { "subs": -1, "data": -1,
            "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": storage, "disk_storage": storage, "streams": storage,
            "consumer": storage } })
    };
    let itself = json!({ "type": "operator", "version": 2 });
    let itself = signed(operator, &operator.public_key(), itself)?;
    let ours = signed(operator, &account.public_key(), limits(-1))?;
    let servers = signed(operator, &system.public_key(), limits(0))?;
    let (account, system) = (account.public_key(), system.public_key());
    Ok(format!(
        "operator: {itself}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {account}: {ours}\n {system}: {servers} }}"
    ))
}

/// Starts a server that knows credentials of these accounts only; the second is its own.
fn start_operated(
    dir: &Path,
    keys: &KeyStore,
    account: &KeyPair,
    system: &KeyPair,
) -> anyhow::Result<Nats> {
    let operated = operated(&KeyPair::new_operator(), account, system)?;
    Nats::start_with(
        dir,
        keys,
        &ClientAuth { instead_of_token: Some(operated), ..ClientAuth::default() },
    )
}

#[test]
fn credentials_are_an_alternative_to_the_token_and_replaced_ones_count() {
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let mut nats = start_operated(&dir.path().join("nats"), &keys, &account, &system)?;
        let file = dir.path().join("user.creds");
        let config = Config { token: None, credentials: Some(file.clone()), ..nats.bridge() };

        // Of an account that the operator does not know.
        write_credentials(&file, &KeyPair::new_account())?;
        let unit = Unit::start(config)?;
        let refused = |status: &ConnectionStatus| {
            status.error.as_ref().is_some_and(|why| why.contains("check nats.token or nats.cred"))
        };
        unit.until("refused", refused).await?;
        write_credentials(&file, &account)?;
        unit.until("connected", |status| status.connected).await?;
        unit.works().await?;

        nats.kill();
        unit.until("away", |status| !status.connected).await?;
        std::fs::write(&file, "half of a file")?;
        nats.restart()?;
        write_credentials(&file, &account)?;
        unit.until("back", |status| status.connected).await?;
        unit.works().await
    });
}

/// Somebody who may see and cut the connections of a server.
struct Overseer(async_nats::Client);

/// A connection as its server sees it.
#[derive(Deserialize)]
struct Seen {
    cid: u64,
    #[serde(default)]
    name: String,
    /// Messages that it brought.
    in_msgs: usize,
}

impl Overseer {
    async fn of(nats: &Nats, credentials: &Path) -> anyhow::Result<Self> {
        let tls = client_config(&Trust::from_ca_file(nats.ca())?, None)?;
        let options = async_nats::ConnectOptions::with_credentials_file(credentials).await?;
        let options = options.require_tls(true).tls_first().tls_client_config(tls);
        Ok(Self(options.connect(nats.url()).await?))
    }

    /// Returns the connection called `name`, and the server.
    async fn find(&self, name: &str) -> anyhow::Result<Option<(Seen, String)>> {
        let answer = self.0.request("$SYS.REQ.SERVER.PING.CONNZ", "".into()).await?;
        let mut answer: Value = serde_json::from_slice(&answer.payload)?;
        let server = answer["server"]["id"].as_str().context("a server")?.to_owned();
        let seen: Vec<Seen> = serde_json::from_value(answer["data"]["connections"].take())?;
        Ok(seen.into_iter().find(|seen| seen.name == name).map(|seen| (seen, server)))
    }

    async fn cut(&self, seen: &Seen, server: &str) -> anyhow::Result<()> {
        let order = json!({ "cid": seen.cid }).to_string();
        self.0.request(format!("$SYS.REQ.SERVER.{server}.KICK"), order.into()).await?;
        Ok(())
    }
}

#[test]
fn a_thread_has_a_connection_of_its_own_for_signals_and_loses_none_with_it() {
    const EACH: usize = 200;
    const CUTS: usize = 3;
    run_flow(async || {
        let (dir, keys) = (tempfile::tempdir()?, KeyStore::shared()?);
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let nats = start_operated(&dir.path().join("nats"), &keys, &account, &system)?;
        let (ours, overseers) = (dir.path().join("user.creds"), dir.path().join("system.creds"));
        write_credentials(&ours, &account)?;
        write_credentials(&overseers, &system)?;
        let config = Config { token: None, credentials: Some(ours), ..nats.bridge() };
        let unit = Unit::connected(config).await?;
        let overseer = Overseer::of(&nats, &overseers).await?;

        let connection = SignalConnection::start(&unit.bridge);
        let own = async || overseer.find("test, signals").await;
        let (session, to) = (SessionId::random(), Direction::ToClient);
        let number = Cell::new(0);
        let write = async |writer: &mut SignalWriter| {
            let signal = posted(number.replace(number.get() + 1), false);
            passing(async || writer.append(&signal).await).await
        };
        // Nobody has to wait for it.
        let mut last = write(&mut connection.writer(&session, to)).await?;
        for _ in 0..CUTS {
            let (seen, server) = eventually("a connection of its own", own).await?;
            let (mut writer, mut reader) =
                (connection.writer(&session, to), connection.reader(&session, to, Some(last), 0));
            assert!(reader.next().await?.signals.is_empty());
            let mut written = Vec::new();
            for n in 0..EACH {
                if n == EACH / 2 {
                    overseer.cut(&seen, &server).await?;
                }
                written.push(write(&mut writer).await?);
            }
            let mut read = Vec::new();
            while read.len() < EACH {
                match reader.next().await {
                    Ok(page) => read.extend(page.signals.into_iter().map(|signal| signal.cursor)),
                    Err(error) if error.is_transient() => tokio::task::yield_now().await,
                    Err(error) => return Err(error.into()),
                }
            }
            assert_eq!(read, written);
            last = *written.last().context("the last one")?;
            let again = async || Ok(own().await?.filter(|(after, _)| after.cid != seen.cid));
            eventually("another connection", again).await?;
        }
        // Signals do take it, as soon as it is there.
        eventually("its own way", async || {
            let Some((before, _)) = own().await? else { return Ok(None) };
            let mut writer = connection.writer(&session, to);
            for _ in 0..EACH {
                write(&mut writer).await?;
            }
            let after = own().await?.filter(|(after, _)| after.in_msgs >= before.in_msgs + EACH);
            Ok(after.map(drop))
        })
        .await
    });
}

#[test]
fn the_end_does_not_wait_for_a_server_that_hangs_or_has_gone() {
    // What is left for answers in progress.
    const END: Duration = Duration::from_secs(2);
    let dir = tempfile::tempdir().expect("a directory");
    let keys = KeyStore::shared().expect("keys");
    let mut nats = Nats::start(&dir.path().join("nats"), &keys).expect("a server");
    for gone in [false, true] {
        let begun = flow_for(async || {
            let unit = Unit::connected(nats.bridge()).await?;
            if gone {
                nats.kill();
                unit.until("away", |status| !status.connected).await?;
            } else {
                nats.process().suspend()?;
                // It hangs when it does not answer what it was asked.
                let (session, to) = (SessionId::random(), Direction::ToClient);
                let signal = posted(0, false);
                let ask = async || {
                    let mut writer = unit.bridge.signals().writer(&session, to);
                    let answer = writer.append(&signal);
                    tokio::time::timeout(Duration::from_millis(200), answer).await.err()
                };
                eventually("hanging", async || Ok(ask().await)).await?;
            }
            let begun = Instant::now();
            unit.supervisor.shut_down(END).await;
            Ok(begun)
        });
        // With all that was still running in it.
        let took = begun.elapsed();
        println!("the end took {} ms (the server gone: {gone})", took.as_millis());
        let limit = if gone { END / 2 } else { END + Duration::from_secs(1) };
        assert!(took < limit, "{took:?}");
        if !gone {
            nats.process().wake().expect("it goes on");
        }
    }
}

/// Runs a flow that returns something.
fn flow_for<T>(test: impl AsyncFnOnce() -> anyhow::Result<T>) -> T {
    let mut result = None;
    run_flow(async || {
        result = Some(test().await?);
        Ok(())
    });
    result.expect("it completed")
}

/// Three servers, a unit that writes and one that reads.
struct Three {
    nats: Vec<Nats>,
    writer: Unit,
    reader: Unit,
    _dir: tempfile::TempDir,
}

impl Three {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let nats = Nats::cluster(&dir.path().join("nats"), &KeyStore::shared()?, 3)?;
        let writer = Unit::connected(Nats::bridge_to(&nats)).await?;
        let reader = Unit::connected(Nats::bridge_to(&nats)).await?;
        Ok(Self { nats, writer, reader, _dir: dir })
    }

    /// The server with this name, of those that run.
    fn position(name: &str) -> anyhow::Result<usize> {
        let number = name.strip_prefix("nats-").context("a name of ours")?;
        Ok(number.parse()?)
    }

    /// Who leads the log of signals, once all three have it.
    async fn leader(&self) -> anyhow::Result<usize> {
        let tls = client_config(&Trust::from_ca_file(self.nats[0].ca())?, None)?;
        let token = std::fs::read_to_string(self.nats[0].token())?;
        let urls: Vec<_> = self.nats.iter().map(Nats::url).collect();
        let options = async_nats::ConnectOptions::with_token(token).require_tls(true).tls_first();
        let client = options.tls_client_config(tls).connect(urls).await?;
        let jetstream = jetstream::new(client);
        eventually("in agreement", async || {
            let Ok(stream) = jetstream.get_stream("signals").await else { return Ok(None) };
            let Some(cluster) = stream.cached_info().cluster.clone() else { return Ok(None) };
            let current = cluster.replicas.len() == 2 && cluster.replicas.iter().all(|r| r.current);
            match cluster.leader.filter(|_| current) {
                Some(leader) => Ok(Some(Self::position(&leader)?)),
                None => Ok(None),
            }
        })
        .await
    }
}

/// The load, and what was seen of it.
#[derive(Default)]
struct Load {
    /// Signals written so far.
    written: Cell<usize>,
    over: Cell<bool>,
    /// The longest times between two acknowledged writes: of signals, and of records.
    signals: Cell<Duration>,
    records: Cell<Duration>,
}

impl Load {
    /// Writes signals until the load is over; repeats what was not acknowledged, as callers do.
    async fn write(&self, unit: &Unit, session: &SessionId) -> anyhow::Result<Vec<Cursor>> {
        let (mut cursors, mut before) = (Vec::new(), Instant::now());
        loop {
            let last = self.over.get();
            let next = posted(self.written.get(), last);
            let append = async || {
                unit.bridge.signals().writer(session, Direction::ToClient).append(&next).await
            };
            cursors.push(passing(append).await?);
            self.written.set(cursors.len());
            self.signals.set(self.signals.get().max(before.elapsed()));
            before = Instant::now();
            if last {
                return Ok(cursors);
            }
        }
    }

    /// Says again and again that somebody is there, as agents do, in a bucket in memory.
    async fn put(&self, unit: &Unit) -> anyhow::Result<()> {
        let mut before = Instant::now();
        while !self.over.get() {
            let put = async || unit.bridge.put(Bucket::Agents, "one", &Record { n: 1 }).await;
            passing(put).await?;
            self.records.set(self.records.get().max(before.elapsed()));
            before = Instant::now();
        }
        Ok(())
    }

    /// Returns when `count` more signals have been written.
    async fn more(&self, count: usize) -> anyhow::Result<()> {
        let enough = self.written.get() + count;
        eventually("written", async || Ok((self.written.get() >= enough).then_some(()))).await
    }
}

/// Repeats what may succeed later.
async fn passing<T>(mut ask: impl AsyncFnMut() -> Result<T, BridgeError>) -> anyhow::Result<T> {
    let repeat = async {
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    tokio::time::timeout(STEP_TIMEOUT * 2, repeat).await.context("never answered")?
}

/// Reads to the last signal of a load.
async fn read(unit: &Unit, session: &SessionId) -> anyhow::Result<Vec<Cursor>> {
    let mut reader = unit.bridge.signals().reader(session, Direction::ToClient, None, 0);
    let mut cursors = Vec::new();
    loop {
        match tokio::time::timeout(STEP_TIMEOUT * 2, reader.next()).await.context("a silent log")? {
            Ok(page) => {
                for signal in page.signals {
                    cursors.push(signal.cursor);
                    if serde_json::to_value(&signal.signal)?["last"] == true {
                        return Ok(cursors);
                    }
                }
            }
            Err(error) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn one_of_three_servers_is_killed_under_load_and_nothing_is_lost() {
    run_flow(async || {
        let mut three = Three::start().await?;
        for leads in [false, true] {
            let leader = three.leader().await?;
            let ours = three.writer.until("connected", |status| status.connected).await?;
            let ours = Three::position(&ours.server.context("a server")?)?;
            let victim = match leads {
                true => leader,
                // The one that the writer has to leave, if it can be.
                false if ours != leader => ours,
                false => (leader + 1) % 3,
            };
            let (session, load) = (SessionId::random(), Load::default());
            let (nats, writer, reader) = (&mut three.nats, &three.writer, &three.reader);
            let losing = async {
                load.more(100).await?;
                nats[victim].kill();
                load.more(500).await?;
                load.over.set(true);
                anyhow::Ok(())
            };
            let (written, (), read, ()) = tokio::try_join!(
                load.write(writer, &session),
                load.put(reader),
                read(reader, &session),
                losing,
            )?;
            println!(
                "killed: leads the log: {leads}, serves the writer: {}; {} signals, longest pause \
                 {} ms for signals, {} ms for records",
                victim == ours,
                written.len(),
                load.signals.get().as_millis(),
                load.records.get().as_millis(),
            );
            assert_eq!(read, written, "once each, in the order of the log");
            // Another leader is elected after 4 to 9 seconds, which is the servers' to decide.
            assert!(leads || load.signals.get() < Duration::from_secs(3));
            three.nats[victim].restart()?;
        }
        Ok(())
    });
}

#[test]
fn what_is_acknowledged_is_read_at_once_whichever_server_answers() {
    run_flow(async || {
        let three = Three::start().await?;
        three.leader().await?;
        let (writer, reader) = (&three.writer.bridge, &three.reader.bridge);
        for n in 0..300 {
            let put = async || writer.put(Bucket::Sessions, "one", &Record { n }).await;
            let revision = passing(put).await?;
            let read = async || reader.read::<Record>(Bucket::Sessions, "one").await;
            let entry = passing(read).await?.context("a record")?;
            assert_eq!((entry.value.n, entry.revision), (n, revision));
            let list = async || reader.list::<Record>(Bucket::Sessions).await;
            let listed = passing(list).await?;
            let found: Vec<_> = listed.iter().map(|(_, entry)| entry.value.n).collect();
            assert_eq!(found, [n]);
            let found = Cell::new(None);
            let changes = async || {
                let take = |_, change: RecordChange<Record>| {
                    if let RecordChange::Stored(entry) = change {
                        found.set(Some(entry.value.n));
                    }
                };
                reader.changes(Bucket::Sessions, revision - 1, take).await
            };
            assert_eq!((passing(changes).await?, found.get()), (revision, Some(n)));
        }
        passing(async || writer.remove(Bucket::Sessions, "one").await).await?;
        let read = async || reader.read::<Record>(Bucket::Sessions, "one").await;
        assert!(passing(read).await?.is_none(), "removed");
        Ok(())
    });
}

#[test]
fn a_server_that_retires_is_left_at_once_for_another() {
    run_flow(async || {
        let three = Three::start().await?;
        three.leader().await?;
        let status = three.writer.until("connected", |status| status.connected).await?;
        let left = status.server.context("a server")?;
        let (session, load) = (SessionId::random(), Load::default());
        let leaving = async {
            load.more(100).await?;
            three.nats[Three::position(&left)?].retire()?;
            let begun = Instant::now();
            let elsewhere = |status: &ConnectionStatus| {
                status.server.as_ref().is_some_and(|server| *server != left)
            };
            three.writer.until("elsewhere", elsewhere).await?;
            let took = begun.elapsed();
            load.more(100).await?;
            load.over.set(true);
            Ok(took)
        };
        let (written, read, took) = tokio::try_join!(
            load.write(&three.writer, &session),
            read(&three.reader, &session),
            leaving,
        )?;
        let pause = load.signals.get().as_millis();
        println!("moved after {} ms, longest pause {pause} ms", took.as_millis());
        assert_eq!(read, written);
        // The server waits for ten seconds before it closes a connection.
        assert!(took < Duration::from_secs(5), "{took:?}");
        Ok(())
    });
}
