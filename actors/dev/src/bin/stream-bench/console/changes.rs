//! How long it takes until two consoles show what has happened, for each kind of change, from the
//! answer to whoever made it on.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use stream_dev::ams::APPLICATION;
use stream_dev::consoles::Consoles;
use stream_dev::in_process::{Options, Stack};
use stream_pki::{Fingerprint, Trust, client_config};
use stream_protocol::Userdata;
use stream_simulators::ams::{Boot, scripted_instances};
use stream_simulators::client::Signaler;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use toml::toml;

use crate::report::Samples;

const ROUNDS: usize = 10;

/// Far more than anything here takes.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than a stream of events has to last for the console to count it as good; some more, since
/// what opens it again takes a moment.
const GOOD_AFTER: Duration = Duration::from_secs(12);

/// What is measured, in the order in which it happens.
pub(super) const CHANGES: [&str; 9] = [
    "created",
    "active",
    "joined",
    "shared",
    "drains",
    "serves",
    "failed",
    "terminated",
    "stream lost",
];

/// Somebody who asks the gateway or an agent with a token.
struct Asker {
    base: String,
    token: String,
    client: Client,
}

impl Asker {
    fn new(base: &str, token: &str, pin: Fingerprint) -> anyhow::Result<Self> {
        let tls = client_config(&Trust::Pins(vec![pin]), None)?;
        let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?;
        Ok(Self { base: base.to_owned(), token: token.to_owned(), client })
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let token = format!("Macaroon root={}", self.token);
        let request = request.header("Authorization", token).json(&body);
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.json::<Value>().await?["metadata"].take())
    }
}

/// Returns the times of each change, round by round.
pub(super) async fn measure() -> anyhow::Result<Vec<Samples>> {
    let (told, mut boots) = mpsc::unbounded_channel();
    let options = Options {
        launcher: scripted_instances(told),
        agent: toml! {
            agent.remote_drain = true
            agent.failed_instance_s = 0
            agent.restart_grace_s = 0
        },
        gateway: toml! { gateway.client_grace_s = 1 },
        ..Options::default()
    };
    let stack = Stack::start(options).await?;
    let admin = stream_gateway::admin::Client::new(stack.nodes.admin_socket());
    let operator = admin.create_operator("operator", None, Default::default()).await?;
    let measured = async {
        let mut consoles = Consoles::open(&stack.nodes.gateway_url(), &operator).await?;
        let mut streams_since = Instant::now();
        let mut times: Vec<_> = CHANGES.iter().map(|_| Samples::default()).collect();
        // The first of each pays for what later ones find warm.
        for number in 0..=ROUNDS {
            let seen =
                round(&stack, &operator, &mut boots, &mut consoles, &mut streams_since).await?;
            if number == 0 {
                continue;
            }
            for (times, seen) in times.iter_mut().zip(seen) {
                times.push(seen);
            }
            eprintln!("round {number} of {ROUNDS}: changes");
        }
        Ok(times)
    };
    let measured = measured.await;
    stack.stop().await;
    measured
}

async fn round(
    stack: &Stack,
    operator: &str,
    boots: &mut mpsc::UnboundedReceiver<Boot>,
    consoles: &mut Consoles,
    streams_since: &mut Instant,
) -> anyhow::Result<[Duration; CHANGES.len()]> {
    let (url, pin) = (stack.nodes.gateway_url(), stack.nodes.gateway_pin()?);
    let account = Asker::new(&url, &stack.token, pin)?;
    let operator = Asker::new(&url, operator, pin)?;
    let (post, delete) = (Method::POST, Method::DELETE);
    let nothing = || json!({});

    consoles.go("#/sessions").await?;
    consoles.see("console-sessions").await?;
    let session = Session::create(&account, boots, consoles).await?;
    let created = session.seen;
    session.report("running").await?;
    let active = consoles.see(&session.row("[data-status=active]")).await?;
    let path = format!("/1.0/sessions/{}", session.id);
    // Whoever closes the socket and does not return counts as gone after a moment.
    Signaler::open(&session.url, vec![pin]).await?.close().await;
    consoles.see(&session.row(" td.client[data-said=waiting]")).await?;
    account.ask(post.clone(), &format!("{path}/join"), nothing()).await?;
    let joined = consoles.see(&session.row(" td.client[data-said=watching]")).await?;

    consoles.go(&format!("#/sessions/{}", session.id)).await?;
    consoles.see("console-shares form").await?;
    account.ask(post.clone(), &format!("{path}/share"), json!({ "type": "control" })).await?;
    let shared = consoles.see("console-shares li").await?;

    consoles.go("#/agents").await?;
    consoles.see("tr[data-state=serving]").await?;
    let agents = operator.ask(Method::GET, "/1.0/agents", nothing()).await?;
    let drain = format!("/1.0/agents/{}/drain", agents[0]["name"].as_str().context("a name")?);
    operator.ask(post.clone(), &format!("{drain}?force=true"), nothing()).await?;
    let drains = consoles.see("tr:is([data-state=draining], [data-state=drained])").await?;
    operator.ask(delete.clone(), &drain, nothing()).await?;
    let serves = consoles.see("tr[data-state=serving]").await?;

    consoles.go("#/sessions").await?;
    consoles.see(&session.row("")).await?;
    session.report("error").await?;
    let failed = consoles.see(&session.row("[data-status=error]")).await?;
    account.ask(delete.clone(), &path, nothing()).await?;
    let terminated = consoles.see(&session.row("[data-status=terminated]")).await?;

    let again = Session::create(&account, boots, consoles).await?;
    // The stream that is cut has done well by then: one that ends sooner is opened again later.
    sleep_until(*streams_since + GOOD_AFTER).await;
    *streams_since = Instant::now();
    consoles.tell(json!({ "cut": true })).await?;
    again.report("running").await?;
    let lost = consoles.see(&again.row("[data-status=active]")).await?;
    account.ask(delete, &format!("/1.0/sessions/{}", again.id), nothing()).await?;
    Ok([created, active, joined, shared, drains, serves, failed, terminated, lost])
}

/// A session, with the instance that plays it.
struct Session {
    id: String,
    /// The socket of its client.
    url: String,
    /// How long after its creation both had it.
    seen: Duration,
    instance: Asker,
}

impl Session {
    async fn create(
        account: &Asker,
        boots: &mut mpsc::UnboundedReceiver<Boot>,
        consoles: &mut Consoles,
    ) -> anyhow::Result<Self> {
        let wanted = json!({ "app": APPLICATION, "joinable": true, "ephemeral": false });
        let created = account.ask(Method::POST, "/1.0/sessions", wanted).await?;
        let id = created["id"].as_str().context("an id")?.to_owned();
        let seen = consoles.see(&row(&id, "")).await?;
        let boot = timeout(BOOT_TIMEOUT, boots.recv()).await?.context("AMS is gone")?;
        let userdata: Userdata = serde_json::from_str(&boot.user_data)?;
        let pin = userdata.fingerprints.first().context("a fingerprint")?.parse()?;
        let instance = Asker::new(&userdata.agent_url, &userdata.token, pin)?;
        let url = created["url"].as_str().context("a socket")?.to_owned();
        Ok(Self { id, url, seen, instance })
    }

    async fn report(&self, status: &str) -> anyhow::Result<()> {
        let path = format!("/1.0/sessions/{}", self.id);
        self.instance.ask(Method::PATCH, &path, json!({ "status": status })).await.map(drop)
    }

    fn row(&self, more: &str) -> String {
        row(&self.id, more)
    }
}

fn row(id: &str, more: &str) -> String {
    format!("console-sessions tr[data-id=\"{id}\"]{more}")
}
