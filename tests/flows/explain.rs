//! The catalogue of faults: each is made on real parts, and `session explain` names it and the hop
//! where it came about. Faults that spoil nothing for others share a stack.

mod agents;
mod boots;
mod clients;
mod launches;
mod relays;
mod store;

use anyhow::{Context, ensure};
use futures_util::future::LocalBoxFuture;
use reqwest::Method;
use serde_json::{Value, json};
use stream_agent::cli::explain;
use stream_dev::in_process::Options;
use stream_gateway::admin::{Client, SessionExplanation};
use stream_simulators::client::JoinedSession;

use crate::support::{APP, Http, Instance, ScriptedStack, becomes, eventually, run_flow};

/// A fault that is made, and what is to be said of it.
pub(crate) struct Row {
    /// What goes wrong, for people.
    what: &'static str,
    hop: &'static str,
    fault: &'static str,
    /// Makes it go wrong, and returns the session to ask about.
    make: Make,
}

type Make = for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, anyhow::Result<String>>;

const fn row(what: &'static str, hop: &'static str, fault: &'static str, make: Make) -> Row {
    Row { what, hop, fault, make }
}

/// All rows, by the stack that they share.
const CATALOGUE: [&[Row]; 7] = [
    launches::ROWS,
    launches::FULL,
    boots::ROWS,
    boots::SLOW,
    clients::ROWS,
    relays::ROWS,
    store::ROWS,
];

/// A stack whose instances the test plays, with its account and its operator.
pub(crate) struct Stage {
    scripted: ScriptedStack,
    account: Http,
    operator: Client,
    /// What a row keeps open until the stack ends.
    kept: Vec<Box<dyn std::any::Any>>,
}

impl Stage {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let scripted = ScriptedStack::start_with(options).await?;
        let (nodes, token) = (&scripted.stack.nodes, &scripted.stack.token);
        let account = Http::new(&nodes.gateway_url(), Some(token), nodes.gateway_pin()?)?;
        let operator = Client::new(nodes.admin_socket());
        Ok(Self { scripted, account, operator, kept: Vec::new() })
    }

    /// Creates a session whose instance runs.
    async fn running(&mut self) -> anyhow::Result<(JoinedSession, Instance)> {
        let (session, instance) = self.scripted.create().await?;
        instance.report("running").await?.success()?;
        becomes(&self.scripted.client, &session.id, "active").await?;
        Ok((session, instance))
    }

    /// Asks for a session that cannot be launched, and returns its id once it has failed.
    async fn refused(&self, key: &str, more: Value) -> anyhow::Result<String> {
        let known = self.ids().await?;
        let mut body = json!({ "app": APP });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let answer =
            self.account.keyed(key).send(Method::POST, "/1.0/sessions", Some(body)).await?;
        ensure!(!answer.status.is_success(), "{answer:?}");
        eventually("the session that failed", async || {
            Ok(self.ids().await?.into_iter().find(|id| !known.contains(id)))
        })
        .await
    }

    async fn ids(&self) -> anyhow::Result<Vec<String>> {
        let sessions = self.operator.sessions().await?;
        Ok(sessions.into_iter().map(|session| session.id.to_string()).collect())
    }
}

/// Makes every fault of `rows` on one stack.
fn play(options: Options, rows: &'static [Row]) {
    run_flow(async move || {
        let mut stage = Stage::start(options).await?;
        for row in rows {
            let made = (row.make)(&mut stage).await;
            let session = made.with_context(|| format!("{} cannot be made", row.what))?;
            is_named(&stage.operator, &session, (row.what, row.hop, row.fault)).await?;
        }
        Ok(())
    });
}

/// Waits until `session explain` names the fault at its hop, and says what to do.
pub(crate) async fn is_named(
    operator: &Client,
    session: &str,
    (what, hop, fault): (&str, &str, &str),
) -> anyhow::Result<()> {
    let mut last = String::new();
    let expected = format!("verdict     {fault} at {hop}, ");
    let named = eventually("named", async || {
        let story: SessionExplanation = operator.explain_session(session).await?;
        last = explain::tell(&story);
        Ok(last.starts_with(&expected).then_some(story))
    });
    let story = named.await.with_context(|| format!("{what}: {expected:?}\n{last}"))?;
    println!("--- {what}\n{last}");
    ensure!(!story.verdict.remedy.is_empty(), "{last}");
    let at_hop = story
        .timeline
        .iter()
        .any(|step| step.hop == story.verdict.hop && step.text == story.verdict.text);
    ensure!(
        story.verdict.at_ms.is_none() || at_hop || hop == "ice",
        "not on the time line: {last}"
    );
    Ok(())
}

#[test]
fn the_catalogue_has_every_fault_once() {
    let of_agents = agents::ROWS.iter().map(|(what, ..)| *what);
    let rows = CATALOGUE.iter().flat_map(|rows| rows.iter().map(|row| row.what));
    let mut whats: Vec<_> = rows.chain(of_agents).collect();
    whats.sort_unstable();
    let count = whats.len();
    whats.dedup();
    assert_eq!((whats.len(), count), (27, 27), "{whats:?}");
}
