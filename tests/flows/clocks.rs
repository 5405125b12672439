//! Clocks that are wrong: of units, of AMS and its instances, and of whoever has made the
//! certificate of NATS. (That of a relay: flow `turn`.)

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::certificates::signed_and_dated;
use crate::support::fleet::{Fleet, Unit};
use crate::support::socket::Socket;
use crate::support::{APP, Http, eventually, light_instances, run_flow, stream_dev};
use anyhow::{Context, ensure};
use reqwest::Method;
use stream_dev::faketime;
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_dev::ports;
use stream_dev::process::Process;
use stream_gateway::admin::Client;
use stream_pki::{Authority, KeyPairPem, Trust, client_config};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Request, SessionDocument, SessionId, Status, TokenKind};
use stream_tokens::Mint;
use toml::toml;

#[test]
fn an_agent_whose_clock_is_ahead_ends_nothing_before_its_time() {
    run_flow(async || {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        fleet.agents[0].replace_ahead("+120s").await?;
        fleet.all_present().await?;
        // Two sessions that no agent has claimed: for one it is too late, the other has its time.
        let store = async |deadline| {
            let id = SessionId::random();
            let now = fleet.bridge.now();
            let document = SessionDocument::new(id.clone(), Request::for_app("a"), now, deadline);
            fleet.bridge.create(Bucket::Sessions, id.as_str(), &document).await?;
            anyhow::Ok(id)
        };
        let now = fleet.bridge.now();
        let in_time = store(now + Duration::from_secs(60)).await?;
        let late = store(now - Duration::from_secs(1)).await?;
        let status = async |id: &SessionId| {
            let read = fleet.bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await?;
            anyhow::Ok(read.map(|entry| entry.value.status))
        };
        // A sweep looks at both.
        eventually("ended", async || {
            Ok((status(&late).await? == Some(Status::Error)).then_some(()))
        })
        .await?;
        assert_eq!(status(&in_time).await?, Some(Status::Created));

        // A session runs as it should, and the operator is told.
        let created = fleet.http.create_with_key(APP, "a").await?.success()?;
        let path = format!("/1.0/sessions/{}", created["id"].as_str().unwrap_or_default());
        eventually("active", async || {
            let view = fleet.http.send(Method::GET, &path, None).await?.success()?;
            Ok((view["status"] == "active").then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(fleet.agents[0].process.log())?;
        ensure!(log.contains("the clock is wrong"), "{log}");
        Ok(())
    });
}

/// Checks that what runs goes on, and that whoever comes gets in: a session that runs stays, with
/// its instance; another one is created, runs, and is joined by who has a token of a few minutes.
async fn serves(fleet: &Fleet, what: &str) -> anyhow::Result<()> {
    let instances = async || Ok(fleet.stack.ams.instances().len());
    serves_beside(fleet, instances, what).await
}

/// Checks the same where `instances` says how many there are.
async fn serves_beside(
    fleet: &Fleet,
    instances: impl AsyncFn() -> anyhow::Result<usize>,
    what: &str,
) -> anyhow::Result<()> {
    let before = instances().await?;
    let known = fleet.documents().await?;
    let key = format!("key of {what}").replace([' ', ','], "-").replace('+', "plus-");
    let created = fleet.http.create_with_key(APP, &key).await?;
    let created = created.success().with_context(|| format!("{what}: not created"))?;
    let path = format!("/1.0/sessions/{}", created["id"].as_str().unwrap_or_default());
    eventually("active", async || {
        let view = fleet.http.get(&path).await?.success()?;
        Ok((view["status"] == "active").then_some(()))
    })
    .await
    .with_context(|| what.to_owned())?;
    let joined = fleet.http.send(Method::POST, &format!("{path}/join"), None).await?;
    let joined = joined.success().with_context(|| format!("{what}: not joined"))?;
    let url = joined["url"].as_str().context("a socket")?;
    let socket = Socket::open_url(url, &fleet.stack).await;
    socket.with_context(|| format!("{what}: the socket is refused"))?.close().await?;
    for document in known {
        let now = fleet.documents().await?.into_iter().find(|one| one.id == document.id);
        let status = now.map(|one| (one.status, one.causes));
        ensure!(matches!(status, Some((Status::Active, _))), "{what}: {status:?}");
    }
    let after = instances().await?;
    ensure!(after == before + 1, "{what}: {before} instances before, {after} after");
    Ok(())
}

/// Waits until a unit that was killed takes sessions again.
async fn is_back(fleet: &Fleet, key: &str) -> anyhow::Result<()> {
    fleet.all_present().await?;
    let id = eventually("back", async || {
        let answer =
            fleet.http.create_with_key(APP, &format!("back{key}").replace('+', "plus-")).await?;
        ensure!(answer.status.is_success() || answer.status == 503, "{answer:?}");
        Ok(answer.body["metadata"]["id"].as_str().map(str::to_owned))
    })
    .await?;
    eventually("active", async || {
        let view = fleet.http.get(&format!("/1.0/sessions/{id}")).await?.success()?;
        Ok((view["status"] == "active").then_some(()))
    })
    .await
}

/// Has the clock of a unit jump an hour ahead and an hour back while it runs, and has it begin with
/// a clock that is wrong from the start, the one that measures pauses included.
async fn goes_on_with_any_clock(
    name: &str,
    unit: impl Fn(&mut Fleet) -> &mut Unit,
) -> anyhow::Result<()> {
    let options = Options { launcher: light_instances(), ..Options::default() };
    let mut fleet = Fleet::start(options, 1, 1).await?;
    // An account that has half an hour: with the clock of the unit it would have ended.
    let until = fleet.bridge.now() + Duration::from_secs(1800);
    let operator = Client::new(fleet.gateways[0].socket());
    let token = operator.create_account("brief", Some(until), Default::default()).await?;
    fleet.http = fleet.http.with(Some(&token));
    serves(&fleet, &format!("{name} in time")).await?;
    let clock = unit(&mut fleet).nodes.dir.join("clock");
    std::fs::write(&clock, "+0")?;
    unit(&mut fleet).replace_with_clock_of(&clock).await?;
    is_back(&fleet, "jumping").await?;
    for (number, now) in ["+3600", "+0", "-3600", "+0"].into_iter().enumerate() {
        std::fs::write(&clock, now)?;
        fleet.all_present().await?;
        serves(&fleet, &format!("{name} jumps, {number}, to {now}")).await?;
    }
    for ahead in ["+3600s", "-3600s"] {
        unit(&mut fleet).replace_all_ahead(ahead).await?;
        is_back(&fleet, ahead).await?;
        serves(&fleet, &format!("{name} begins at {ahead}")).await?;
    }
    Ok(())
}

#[test]
fn an_agent_whose_clock_jumps_ends_deletes_and_refuses_nothing() {
    run_flow(async || goes_on_with_any_clock("agent", |fleet| &mut fleet.agents[0]).await);
}

#[test]
fn a_gateway_whose_clock_jumps_ends_deletes_and_refuses_nothing() {
    run_flow(async || goes_on_with_any_clock("gateway", |fleet| &mut fleet.gateways[0]).await);
}

/// Units with an AMS in a process of its own, whose clock is another one.
struct BesideAms {
    fleet: Fleet,
    client: reqwest::Client,
    url: String,
    _ams: Process,
}

impl BesideAms {
    /// Has AMS run under the variables that `clocks` makes of the directory of its node.
    async fn start(clocks: impl Fn(&Path) -> Vec<String>) -> anyhow::Result<Self> {
        let options = Options { launcher: light_instances(), ..Options::default() };
        let mut fleet = Fleet::start(options, 1, 1).await?;
        let nodes = fleet.agents[0].nodes.clone();
        let port = ports::free();
        let variables = clocks(&nodes.dir);
        let (words, trust) = (port.to_string(), nodes.ams_client_pin()?.to_string());
        let program = stream_dev();
        let mut arguments: Vec<&OsStr> = variables.iter().map(OsStr::new).collect();
        arguments.extend([program.as_os_str(), "ams".as_ref(), "--port".as_ref()]);
        arguments.extend([OsStr::new(&words), "--trust".as_ref(), OsStr::new(&trust)]);
        arguments.extend(["--certificate".as_ref(), nodes.ams.certificate.as_os_str()]);
        arguments.extend(["--key".as_ref(), nodes.ams.key.as_os_str()]);
        let log = nodes.dir.join("ams.log");
        let mut ams = Process::start("ams", Path::new("env"), &arguments, &log)?;
        ams.wait_for_port(port, Duration::from_secs(10))?;
        let url = format!("https://127.0.0.1:{port}");
        fleet.stack.config.ams = url.clone();
        fleet.agents[0].nodes.write_agent(&fleet.stack.config)?;
        fleet.agents[0].replace().await?;
        is_back(&fleet, "other-ams").await?;

        let trust = Trust::Pins(vec![fleet.stack.config.ams_pin]);
        let tls = client_config(&trust, Some(&nodes.ams_client().identity()?))?;
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        Ok(Self { fleet, client: client.build()?, url, _ams: ams })
    }

    async fn serves(&self, what: &str) -> anyhow::Result<()> {
        serves_beside(&self.fleet, async || self.instances().await, what).await
    }

    async fn instances(&self) -> anyhow::Result<usize> {
        let answer = self.client.get(format!("{}/1.0/instances", self.url)).send().await?;
        let answer = answer.error_for_status()?.json::<serde_json::Value>().await?;
        Ok(answer["metadata"].as_array().context("a list")?.len())
    }

    /// Starts the agent again: whoever begins anew compares all that AMS has with all that is in
    /// the store.
    async fn agent_begins_anew(&mut self, key: &str) -> anyhow::Result<()> {
        self.fleet.agents[0].replace().await?;
        is_back(&self.fleet, key).await
    }
}

#[test]
fn an_ams_whose_clock_jumps_has_nothing_ended_deleted_or_refused() {
    run_flow(async || {
        let clock = |dir: &Path| dir.join("clock");
        let mut beside = BesideAms::start(|dir| {
            fs::write(clock(dir), "+0").expect("written");
            faketime::from_file(&clock(dir))
        })
        .await?;
        let clock = clock(&beside.fleet.agents[0].nodes.dir);
        for (number, now) in ["+0", "+3600", "+0", "-3600"].into_iter().enumerate() {
            fs::write(&clock, now)?;
            beside.serves(&format!("AMS jumps, {number}, to {now}")).await?;
            beside.agent_begins_anew(&format!("anew{number}")).await?;
            beside.serves(&format!("AMS, {number}, at {now}")).await?;
        }
        Ok(())
    });
}

#[test]
fn an_ams_all_of_whose_clocks_are_wrong_has_nothing_ended_deleted_or_refused() {
    run_flow(async || {
        for ahead in ["+3600s", "-3600s"] {
            let mut beside = BesideAms::start(|_| faketime::all_ahead(ahead)).await?;
            beside.serves(&format!("AMS begins at {ahead}")).await?;
            beside.agent_begins_anew("anew").await?;
            beside.serves(&format!("AMS at {ahead}, the agent anew")).await?;
        }
        Ok(())
    });
}

#[test]
fn a_nats_whose_certificate_has_expired_is_named_and_nothing_ends() {
    run_flow(async || {
        let (keys, dir) = (KeyStore::shared()?, tempfile::tempdir()?);
        let (authority, known) = (Authority::generate("test")?, keys.signed("nats")?);
        let ca = dir.path().join("nats-ca.crt");
        let first = fs::read_to_string(&known.authority)?;
        fs::write(&ca, format!("{first}\n{}", authority.certificate_pem()))?;
        let ca = ca.display().to_string();
        let trusts_both = toml! { nats.ca = ca };
        let options = Options {
            launcher: light_instances(),
            agent: trusts_both.clone(),
            gateway: trusts_both,
            ..Options::default()
        };
        let mut stack = Stack::start(options).await?;
        let (nodes, token) = (&stack.nodes, &stack.token);
        let account = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        let minted = stack.agent.tokens.mint(Mint::new(TokenKind::Monitor, "watcher")).await?;
        let watcher = Http::new(&nodes.agent_url(), Some(&minted.token), nodes.agent_pin()?)?;
        let created = account.create_with_key(APP, "stays").await?.success()?;
        let path = format!("/1.0/sessions/{}", created["id"].as_str().context("an id")?);
        let is_active = async || {
            let answer = account.get(&path).await?;
            Ok((answer.body["metadata"]["status"] == "active").then_some(()))
        };
        eventually("active", is_active).await?;

        let key = fs::read_to_string(&known.pair.key)?;
        let certificate = fs::read_to_string(&known.pair.certificate)?;
        let good = KeyPairPem { certificate, key: key.clone().into() };
        for (days, words) in [([-9, -1], "has expired"), ([1, 9], "is not valid yet")] {
            let certificate = signed_and_dated(&authority, &key, days)?;
            let bad = KeyPairPem { certificate, key: key.clone().into() };
            stack.nats.change_certificate(&bad)?;
            stack.nats.restart()?;
            for service in [&watcher, &account] {
                eventually(words, async || {
                    let why = service.get("/1.0/health/ready").await?.body.to_string();
                    Ok(why.contains(words).then_some(()))
                })
                .await?;
            }
            let refused = account.create_with_key(APP, "more").await?;
            ensure!(refused.status == 503, "{refused:?}");
            ensure!(stack.ams.instances().len() == 1, "its instance stays");
            stack.nats.change_certificate(&good)?;
            stack.nats.restart()?;
            eventually("active again", is_active).await?;
        }
        ensure!(stack.ams.instances().len() == 1, "its instance stays");
        Ok(())
    });
}
