//! What earlier versions wrote is read by this one: messages on NATS, bodies of the API, records in
//! the store, sealed keys and tokens.
//!
//! `tests/wire/VERSION` holds what that version wrote. `STREAM_RECORD_WIRE=1` writes it for the
//! present version, once, when the version is new; what is recorded stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::nats::operator;
use crate::support::{Http, ScriptedStack, eventually, run_flow};
use anyhow::{Context, ensure};
use async_nats::jetstream::kv;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stream_bridge::Bridge;
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_gateway::Views;
use stream_gateway::admin::{AdminService, Request};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    AdbPeer, AgentEndpoint, AmsInstance, AmsSessionCreated, ClientIce, ClientReport, ClientState,
    Commands, CreateAmsSession, Cursor, DesiredState, Empty, Hop, IceServer, IceTerms, JsonText,
    Launch, LoggedSignal, NewSignal, Op, Presence, Refusal, RefusalCode, Reply, Report,
    ReportedStatus, SessionDocument, SessionId, Signal, SignalPage, StoredSignal, Terminate,
    TimelineEntry, Userdata, Versioned,
};
use stream_supervisor::Supervisor;
use stream_tokens::{Config, Service, Tokens};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// In which records are kept that others read; presence and clients do not outlive a moment.
const KEPT: [Bucket; 7] = [
    Bucket::Accounts,
    Bucket::KeysAgent,
    Bucket::KeysGateway,
    Bucket::Revoked,
    Bucket::Sessions,
    Bucket::Settings,
    Bucket::Shares,
];

fn records() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// The versions of which there are records.
fn versions() -> anyhow::Result<Vec<PathBuf>> {
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(records())? {
        versions.push(entry?.path());
    }
    ensure!(!versions.is_empty(), "nothing is recorded");
    Ok(versions)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// What passes between units and their peers, by name: one of each kind.
fn messages() -> BTreeMap<&'static str, Value> {
    fn written(body: impl Serialize) -> Value {
        serde_json::from_slice(&Versioned::encode(body)).expect("json")
    }
    fn bare(body: impl Serialize) -> Value {
        serde_json::to_value(body).expect("json")
    }
    fn answered<T: Serialize>(answer: Result<T, Refusal>) -> Value {
        serde_json::from_slice(&Reply::encode(answer)).expect("json")
    }
    let session: SessionId = "bvpg7vbmend4td6moir0".parse().expect("an id");
    let signal = || Signal::parse(r#"{"type":"offer","sdp":"djA="}"#.to_owned()).expect("a signal");
    let cursor = Cursor { epoch: 1_700_000_000_000_000_000, sequence: 42 };
    let ice = IceServer {
        urls: vec!["stun:a.example:3478".to_owned(), "turn:a.example:3478".to_owned()],
        username: Some("1700000000:s".to_owned()),
        password: Some("p".to_owned()),
    };
    let terms = IceTerms { renew: true, until: Some(1_700_000_000.into()) };
    let instance = AmsInstance {
        id: "i".to_owned(),
        app: "clock".to_owned(),
        app_version: Some(1),
        screen: Default::default(),
        extra_data: json!({ "a": [1, null] }).into(),
    };
    let endpoint = AgentEndpoint {
        url: "https://a.example:9033".to_owned(),
        fingerprints: vec!["00".repeat(32)],
    };
    let userdata = Userdata {
        session_id: session.clone(),
        agent_url: "https://a.example:9033".to_owned(),
        token: "t".to_owned(),
        fingerprints: vec!["00".repeat(32)],
        agents: vec![endpoint.clone()],
        display_width: 1280,
        display_height: 720,
        display_density: 240,
        fps: 60,
        extra_data: JsonText::null(),
    };
    let commands = Commands {
        revision: 7,
        generation: 1,
        signaling: stream_protocol::Signaling::Open,
        client: None,
        ice_renewal: 2,
        desired: DesiredState::Running,
        adb: vec![AdbPeer { share: "0123456789abcdefghij".parse().expect("an id"), generation: 3 }],
        agents: vec![endpoint],
        agents_version: "0011223344556677".to_owned(),
    };
    let initiate = CreateAmsSession {
        cluster: "c".to_owned(),
        region: "r".to_owned(),
        instance: instance.clone(),
    };
    let initiated = AmsSessionCreated { session: session.clone(), userdata: userdata.clone() };
    let presence: Presence = serde_json::from_value(json!({
        "agent": "a", "region": "r", "cluster": "c", "catalogue": "v1", "capacity": 9, "draining": true, "unavailable": "ams is away",
        "version": VERSION,
    }))
    .expect("a presence");
    let logged = LoggedSignal { cursor, generation: 1, signal: signal() };
    let posted = NewSignal { id: "o-1".parse().expect("an id"), generation: 1, signal: signal() };
    let client = ClientReport { client: ClientState::Connected, generation: 1 };
    let can = [stream_protocol::Capability::Adb, stream_protocol::Capability::Roles];
    let capabilities = Some(can.into_iter().collect());
    let message = "up".to_owned();
    let report = Report { status: ReportedStatus::Running, message, capabilities };
    let refusal = Refusal::new(RefusalCode::Draining, "this agent is draining");
    let step = TimelineEntry {
        unit: "agent-1".to_owned(),
        took_ms: Some(12),
        until: Some(1_700_000_000.into()),
        failed: true,
        count: 2,
        request: Some("r-1".to_owned()),
        ..TimelineEntry::new(Hop::Launch, "AMS is full")
    };
    let first_frame = TimelineEntry {
        unit: "gateway-1".to_owned(),
        took_ms: Some(812),
        ..TimelineEntry::new(Hop::Frame, "client 0: first frame after 812 ms")
    };
    BTreeMap::from([
        ("ask", written(Empty {})),
        ("client_ice", answered(Ok(ClientIce { ice_servers: vec![ice] }))),
        ("client_report", bare(client)),
        ("commands", bare(commands)),
        ("initiate", written(initiate)),
        ("initiated", answered(Ok(initiated))),
        ("ice_terms", written(terms)),
        ("launch", written(Launch { session, placement: "the roomier of two".to_owned(), terms })),
        ("page", bare(SignalPage { cursor, signals: vec![logged] })),
        ("posted", bare(posted)),
        ("presence", written(presence)),
        ("refused", answered::<Empty>(Err(refusal))),
        ("report", bare(report)),
        (
            "stored_signal",
            written(StoredSignal { generation: 1, signal: signal(), previous: Some(6) }),
        ),
        ("terminate", written(Terminate { cause: "asked".to_owned() })),
        ("timeline_entry", written(step)),
        ("timeline_first_frame", written(first_frame)),
        ("userdata", bare(userdata)),
    ])
}

/// Reads a recorded message as this version does, and writes it again.
fn read_message(name: &str, message: &Value) -> anyhow::Result<Value> {
    fn versioned<T: DeserializeOwned + Serialize>(text: &[u8]) -> anyhow::Result<Value> {
        let body: T = Versioned::decode(text)?;
        Ok(serde_json::from_slice(&Versioned::encode(body))?)
    }
    fn bare<T: DeserializeOwned + Serialize>(text: &[u8]) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(serde_json::from_slice::<T>(text)?)?)
    }
    fn answer<T: DeserializeOwned + Serialize>(text: &[u8]) -> anyhow::Result<Value> {
        let answer = Reply::<T>::decode(text);
        if let Err(refusal) = &answer {
            ensure!(refusal.code != RefusalCode::UnknownVersion, "{refusal}");
        }
        Ok(serde_json::from_slice(&Reply::encode(answer))?)
    }
    let text = serde_json::to_vec(message)?;
    match name {
        "ask" => versioned::<Empty>(&text),
        "client_ice" => answer::<ClientIce>(&text),
        "client_report" => bare::<ClientReport>(&text),
        "commands" => bare::<Commands>(&text),
        "initiate" => versioned::<CreateAmsSession>(&text),
        "initiated" => answer::<AmsSessionCreated>(&text),
        "ice_terms" => versioned::<IceTerms>(&text),
        "launch" => versioned::<Launch>(&text),
        "page" => bare::<SignalPage>(&text),
        "posted" => bare::<NewSignal>(&text),
        "presence" => versioned::<Presence>(&text),
        "refused" => answer::<Empty>(&text),
        "report" => bare::<Report>(&text),
        "stored_signal" => versioned::<StoredSignal>(&text),
        "terminate" => versioned::<Terminate>(&text),
        "timeline_entry" | "timeline_first_frame" => versioned::<TimelineEntry>(&text),
        "userdata" => bare::<Userdata>(&text),
        _ => anyhow::bail!("a message of a kind that this version does not know"),
    }
}

/// Whether `now` says all that was said `then`; it may say more.
fn keeps(then: &Value, now: &Value) -> bool {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            then.iter().all(|(name, value)| now.get(name).is_some_and(|now| keeps(value, now)))
        }
        (Value::Array(then), Value::Array(now)) => {
            then.len() == now.len() && then.iter().zip(now).all(|(then, now)| keeps(then, now))
        }
        (then, now) => then == now,
    }
}

#[test]
fn messages_of_every_version_are_read_and_nothing_they_say_is_dropped() -> anyhow::Result<()> {
    for version in versions()? {
        let recorded: BTreeMap<String, Value> = read_json(&version.join("messages.json"))?;
        ensure!(recorded.len() >= 15, "{}: {} messages", version.display(), recorded.len());
        for (name, message) in &recorded {
            let place = || format!("{}: {name}", version.display());
            let mut message = message.clone();
            if name == "presence" {
                // Of 0.1; a record of its own since. No presence outlives the stop of its agent.
                for moved in ["applications", "images"] {
                    message.as_object_mut().map(|members| members.remove(moved));
                }
            }
            let again = read_message(name, &message).with_context(place)?;
            ensure!(keeps(&message, &again), "{}: {message} became {again}", place());
            // What a later version may add is no reason to refuse.
            let mut later = message.clone();
            later["of a later version"] = json!({ "colour": "blue" });
            read_message(name, &later).with_context(place)?;
            if later.get("v").is_some() {
                later["v"] = json!(2);
                ensure!(read_message(name, &later).is_err(), "{}: version 2 was read", place());
            }
        }
    }
    Ok(())
}

#[test]
fn what_this_version_writes_is_what_was_recorded_of_it() -> anyhow::Result<()> {
    let recorded: BTreeMap<String, Value> =
        read_json(&records().join(VERSION).join("messages.json"))?;
    for (name, message) in messages() {
        let recorded = recorded.get(name).with_context(|| format!("{name} is not recorded"))?;
        ensure!(*recorded == message, "{name} was {recorded}, and is {message}: a new version?");
    }
    Ok(())
}

/// What else is recorded of a version: a store, and what opens it.
#[derive(serde::Deserialize, Serialize)]
struct Stored {
    /// Of test keys alone.
    sealing_keys: BTreeMap<String, String>,
    buckets: BTreeMap<String, BTreeMap<String, Value>>,
    session: SessionId,
    account_token: String,
    revoked_token: String,
    instance_token: String,
}

#[test]
fn a_store_of_every_version_is_read_and_its_tokens_are_good() {
    run_flow(async || {
        for version in versions()? {
            let stored: Stored = read_json(&version.join("store.json"))?;
            read_store(&stored).await.with_context(|| version.display().to_string())?;
        }
        Ok(())
    });
}

/// Makes the bucket in which 0.1 kept the keys of both services.
async fn former_keys(nats: &Nats) -> anyhow::Result<kv::Store> {
    let bucket = subjects::FORMER_KEYS.to_owned();
    let config = kv::Config { bucket, history: 1, ..kv::Config::default() };
    Ok(operator(nats).await?.create_key_value(config).await?)
}

async fn read_store(stored: &Stored) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
    let supervisor = Supervisor::default();
    let bridge = Bridge::start(nats.bridge(), "test", &supervisor)?;
    for bucket in KEPT {
        for (key, value) in stored.buckets.get(bucket.name()).into_iter().flatten() {
            let put = async || Ok(bridge.put(bucket, key, value).await.ok());
            eventually("stored", put).await?;
        }
    }
    if let Some(keys) = stored.buckets.get(subjects::FORMER_KEYS) {
        let former = former_keys(&nats).await?;
        for (key, value) in keys {
            former.put(key, Versioned::encode(value).into()).await?;
        }
    }
    let tokens = |name: &str, side| {
        let sealing_key = dir.path().join(format!("{name}.key"));
        stream_dev::keys::write_secret(&sealing_key, &stored.sealing_keys[name])?;
        let first_root_key = dir.path().join("none");
        let config = Config { sealing_key, first_root_key, state: dir.path().join(name) };
        anyhow::Ok(Tokens::start(config, side, bridge.clone(), &supervisor)?)
    };
    let (agent, gateway) = (tokens("agent", Service::Agent)?, tokens("gateway", Service::Gateway)?);
    for tokens in [&agent, &gateway] {
        eventually("keys", async || Ok(tokens.ready().await.ok())).await?;
    }
    gateway.verify(&stored.account_token, Op::SessionRead, None).await?;
    let revoked = gateway.verify(&stored.revoked_token, Op::SessionRead, None).await;
    ensure!(revoked.is_err(), "a revoked token is good");
    let session = Some(&stored.session);
    agent.verify(&stored.instance_token, Op::SignalWrite, session).await?;

    let settings = stream_gateway::Config::default().settings();
    let views = Views::start(&bridge, settings, &supervisor);
    let service = AdminService { views, tokens: gateway, page_base: None };
    let ask = async |request| anyhow::Ok(service.clone().handle(request).await?);
    let accounts = ask(Request::ListAccounts).await?;
    let names = accounts["accounts"].as_array().context("accounts")?.iter();
    ensure!(names.clone().any(|account| account["name"] == "test"), "{accounts}");
    let sessions = ask(Request::ListSessions).await?;
    ensure!(sessions["sessions"][0]["status"] == "active", "{sessions}");
    let shares = ask(Request::ListShares { session: None }).await?;
    ensure!(shares["shares"][0]["description"] == "recorded", "{shares}");
    let id = stored.session.to_string();
    let story = ask(Request::ExplainSession { id: id.clone() }).await?;
    let written = &stored.buckets["sessions"][&id];
    let document: SessionDocument = serde_json::from_value(story["document"].clone())?;
    ensure!(keeps(written, &serde_json::to_value(document)?), "{written} became {story}");
    Ok(())
}

/// Writes what the present version writes, unless it is there.
#[test]
fn the_present_version_is_recorded() {
    run_flow(async || {
        let place = records().join(VERSION);
        if std::env::var_os("STREAM_RECORD_WIRE").is_some() {
            std::fs::create_dir_all(&place)?;
            record(&place.join("messages.json"), &messages())?;
            record(&place.join("store.json"), &live_store().await?)?;
        }
        for file in ["messages.json", "store.json"] {
            let path = place.join(file);
            ensure!(path.is_file(), "{} is missing: STREAM_RECORD_WIRE=1", path.display());
        }
        Ok(())
    });
}

fn record(path: &Path, what: &impl Serialize) -> anyhow::Result<()> {
    ensure!(!path.exists(), "{} is there, and stays as it is", path.display());
    Ok(std::fs::write(path, serde_json::to_string_pretty(what)? + "\n")?)
}

/// The store of a stack in which something has happened.
async fn live_store() -> anyhow::Result<Stored> {
    let mut scripted = ScriptedStack::start().await?;
    let (created, instance) = scripted.create().await?;
    instance.report("running").await?.success()?;
    let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
    let http = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
    let share = json!({ "type": "view", "description": "recorded" });
    let path = format!("/1.0/sessions/{}/share", created.id);
    http.send(Method::POST, &path, Some(share)).await?.success()?;
    let operator = stream_gateway::admin::Client::new(nodes.admin_socket());
    let revoked_token = operator.create_account("gone", None, Default::default()).await?;
    operator.delete_account("gone", false).await?;
    let token = operator.create_operator("operator", None, Default::default()).await?;
    let change = Some(json!({ "name": "share.per_session", "value": "1" }));
    http.with(Some(&token)).send(Method::PATCH, "/1.0/config", change).await?.success()?;

    let bridge = Bridge::start(scripted.stack.nats.bridge(), "test", &Supervisor::default())?;
    let mut buckets = BTreeMap::new();
    for bucket in KEPT {
        let list = async || Ok(bridge.list::<Value>(bucket).await.ok());
        let all = eventually("listed", list).await?.into_iter().map(|(key, entry)| {
            let mut value = entry.value;
            if let Some(members) = value.as_object_mut() {
                members.remove("v");
            }
            (key, value)
        });
        buckets.insert(bucket.name().to_owned(), all.collect::<BTreeMap<_, _>>());
    }
    // It is read long after.
    for share in buckets.get_mut("shares").into_iter().flat_map(BTreeMap::values_mut) {
        share["expiry_at"] = json!(4_102_444_800_u64);
    }
    let key = |dir: PathBuf| std::fs::read_to_string(dir.join("sealing.key"));
    Ok(Stored {
        sealing_keys: BTreeMap::from([
            ("agent".to_owned(), key(nodes.agent_dir())?),
            ("gateway".to_owned(), key(nodes.gateway_dir())?),
        ]),
        buckets,
        session: created.id.parse()?,
        account_token: token.clone(),
        revoked_token,
        instance_token: instance.userdata.token.clone(),
    })
}
