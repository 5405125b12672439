//! A stack whose store has so many sessions, and 50 agents.

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use stream_bridge::Bridge;
use stream_dev::in_process::{Options, Stack};
use stream_pki::{Trust, client_config};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    AgentId, CataloguePage, JsonText, OnConflict, Presence, Request, Screen, SessionDocument,
    SessionId, Status, Timestamp,
};
use stream_simulators::ams::idle_instances;
use stream_simulators::client::Gateway;
use stream_supervisor::{Supervisor, spawn_detached};
use tokio::time::{interval, sleep};
use toml::toml;

/// Agents beside the one that launches.
const OTHERS: usize = 49;

/// Applications that each of them has.
const APPLICATIONS: usize = 100;

/// Another cluster than that of the agent that launches, which leaves it alone.
const ELSEWHERE: &str = "elsewhere";

/// How often agents say that they are there, and for how long that is good.
const PRESENCE: Duration = Duration::from_millis(2500);
const LEASE: Duration = Duration::from_secs(15);

/// Documents that are written at the same time.
const WRITING: usize = 64;

const CONNECT_POLL: Duration = Duration::from_millis(20);

const STOP_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Stored {
    pub(super) client: Gateway,
    stack: Stack,
    http: reqwest::Client,
    supervisor: Supervisor,
}

impl Stored {
    /// Starts a stack and stores `count` sessions, of which half have ended.
    pub(super) async fn start(count: usize) -> anyhow::Result<Self> {
        let agent = toml! {
            agent.capacity = 10_000
            agent.sweep_s = 30
        };
        let launcher = idle_instances();
        let stack = Stack::start(Options { launcher, agent, ..Options::default() }).await?;
        let supervisor = Supervisor::default();
        let bridge = Bridge::start(stack.nats.bridge(), "bench", &supervisor)?;
        while !bridge.status().await.connected {
            sleep(CONNECT_POLL).await;
        }
        let others = (0..OTHERS).map(name).collect::<anyhow::Result<Vec<_>>>()?;
        announce(&bridge, &others).await?;
        let (announcing, there) = (bridge.clone(), others.clone());
        spawn_detached("the other agents of the bench", async move {
            let mut ticks = interval(PRESENCE);
            loop {
                ticks.tick().await;
                // Its end is the end of the bench.
                let _ = announce(&announcing, &there).await;
            }
        });
        stream::iter(0..count)
            .map(|n| store(&bridge, n, &others[n % OTHERS]))
            .buffer_unordered(WRITING)
            .try_collect::<Vec<_>>()
            .await?;
        let tls = client_config(&Trust::Pins(vec![stack.nodes.gateway_pin()?]), None)?;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Self { client: stack.client()?, stack, http, supervisor })
    }

    pub(super) fn gateway_url(&self) -> String {
        self.stack.nodes.gateway_url()
    }

    /// Makes an operator and returns their token.
    pub(super) async fn operator(&self) -> anyhow::Result<String> {
        let admin = stream_gateway::admin::Client::new(self.stack.nodes.admin_socket());
        Ok(admin.create_operator("operator", None, Default::default()).await?)
    }

    /// Returns what the gateway answers under `path`.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.stack.nodes.gateway_url());
        let token = format!("Macaroon root={}", self.stack.token);
        let answer = self.http.get(url).header("Authorization", token).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Returns how many bytes NATS has sent to all.
    pub(super) fn sent_bytes(&self) -> anyhow::Result<u64> {
        self.stack.nats.statistics("varz")?["out_bytes"].as_u64().context("a number")
    }

    /// Returns how many bytes the agent and NATS have sent each other.
    pub(super) fn agent_bytes(&self) -> anyhow::Result<u64> {
        let connections = self.stack.nats.statistics("connz?limit=1024")?;
        let connections = connections["connections"].as_array().context("connections")?;
        let of_agent = connections.iter().filter(|connection| {
            connection["name"].as_str().is_some_and(|name| name.starts_with("stream-agent"))
        });
        let bytes = |connection: &serde_json::Value| {
            connection["in_bytes"].as_u64().zip(connection["out_bytes"].as_u64())
        };
        let bytes: Option<Vec<_>> = of_agent.map(bytes).collect();
        Ok(bytes.context("bytes")?.into_iter().map(|(to, from)| to + from).sum())
    }

    pub(super) async fn stop(self) {
        self.supervisor.shut_down(STOP_TIMEOUT).await;
        self.stack.stop().await;
    }
}

fn name(n: usize) -> anyhow::Result<AgentId> {
    Ok(format!("elsewhere-{n}").parse()?)
}

async fn announce(bridge: &Bridge, agents: &[AgentId]) -> anyhow::Result<()> {
    for agent in agents {
        let application = |n| format!("application-{n}-of-a-catalog");
        let applications: Vec<_> = (0..APPLICATIONS).map(application).collect();
        let version = agent.to_string();
        for (n, page) in CataloguePage::split(&version, &applications, &[]).iter().enumerate() {
            bridge.put(Bucket::Catalogues, &CataloguePage::key(agent, n), page).await?;
        }
        let presence = Presence {
            agent: agent.clone(),
            region: ELSEWHERE.to_owned(),
            cluster: ELSEWHERE.to_owned(),
            catalogue: version,
            capacity: 0,
            draining: false,
            unavailable: None,
            version: "0.2.0".to_owned(),
            stun_servers: Vec::new(),
        };
        bridge.put_with_ttl(Bucket::Agents, agent.as_str(), &presence, LEASE).await?;
    }
    Ok(())
}

/// Stores session number `n`: one that runs, or one that has ended.
async fn store(bridge: &Bridge, n: usize, owner: &AgentId) -> anyhow::Result<()> {
    let created_at = Timestamp::from_unix(1_700_000_000 + n as u64);
    let mut document = SessionDocument {
        owner: Some(owner.clone()),
        cluster: ELSEWHERE.to_owned(),
        placement: format!("{owner} in region {ELSEWHERE} had 7 free places; no other did"),
        status: if n.is_multiple_of(2) { Status::Active } else { Status::Terminated },
        instance_id: Some(format!("instance-{n}")),
        deadline: None,
        ..SessionDocument::new(SessionId::random(), request(), created_at, created_at)
    };
    for cause in ["the agent has claimed it", "AMS has accepted the launch", "the instance runs"] {
        document.push_cause(created_at, cause);
    }
    bridge.create(Bucket::Sessions, document.id.as_str(), &document).await?;
    Ok(())
}

fn request() -> Request {
    Request {
        app: "application-7-of-a-catalog".to_owned(),
        app_version: None,
        region: ELSEWHERE.to_owned(),
        screen: Screen::default(),
        joinable: false,
        ephemeral: true,
        idle_time_min: 0,
        on_conflict: OnConflict::default(),
        first_client_s: 0,
        extra_data: JsonText::null(),
    }
}
