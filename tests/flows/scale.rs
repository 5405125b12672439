//! What many sessions and many readers cost: no question reads the store through, and whoever waits
//! asks nothing alone.

use std::sync::Arc;

use crate::nats::change_signals;
use crate::support::{Http, eventually, run_flow};
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use stream_bridge::{Bridge, SignalReader};
use stream_dev::in_process::{Options, Stack};
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_gateway::admin::{AdminError, Client};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    Direction, NewSignal, RefusalCode, Request, SessionDocument, SessionId, Signal, Status,
    Timestamp,
};
use stream_supervisor::Supervisor;

/// Sessions in the store, and the least that the document of one has.
const SESSIONS: u64 = 300;
const DOCUMENT_BYTES: u64 = 2_000;

/// Readers that wait at the same time.
const READERS: usize = 300;

/// A stack, a bridge to its store, and the gateway as its account sees it.
struct Scaled {
    stack: Stack,
    bridge: Bridge,
    http: Http,
    _supervisor: Supervisor,
}

impl Scaled {
    async fn start() -> anyhow::Result<Self> {
        let stack = Stack::start(Options::default()).await?;
        let supervisor = Supervisor::default();
        let bridge = connect(&stack.nats, &supervisor).await?;
        let nodes = &stack.nodes;
        let http = Http::new(&nodes.gateway_url(), Some(&stack.token), nodes.gateway_pin()?)?;
        Ok(Self { stack, bridge, http, _supervisor: supervisor })
    }

    /// Stores a session that has ended and is listed until it is deleted.
    async fn store(&self, created_at: u64) -> anyhow::Result<SessionId> {
        let request = Request { ephemeral: false, ..Request::for_app("clock") };
        let (id, now) = (SessionId::random(), Timestamp::from_unix(created_at));
        let document = SessionDocument {
            status: Status::Terminated,
            deadline: None,
            placement: "x".repeat(usize::try_from(DOCUMENT_BYTES)?),
            ..SessionDocument::new(id, request, now, now)
        };
        self.bridge.create(Bucket::Sessions, document.id.as_str(), &document).await?;
        Ok(document.id)
    }

    /// Returns the ids of one page, and how many sessions there are.
    async fn list(&self, query: &str) -> anyhow::Result<(Vec<String>, u64)> {
        let answer = self.http.get(&format!("/1.0/sessions?{query}")).await?;
        let total = answer.body["total_size"].as_u64().context("how many")?;
        Ok((serde_json::from_value(answer.success()?)?, total))
    }

    async fn scrape(&self) -> anyhow::Result<String> {
        let answer = self.http.get("/metrics").await?;
        ensure!(answer.status.is_success(), "{answer:?}");
        Ok(answer.body.as_str().context("a text")?.to_owned())
    }
}

async fn connect(nats: &Nats, supervisor: &Supervisor) -> anyhow::Result<Bridge> {
    let bridge = Bridge::start(nats.bridge(), "test", supervisor)?;
    eventually("connected", async || Ok(bridge.status().await.connected.then_some(()))).await?;
    Ok(bridge)
}

/// What the server has counted of all its connections.
fn counted(nats: &Nats, what: &str) -> anyhow::Result<u64> {
    nats.statistics("varz")?[what].as_u64().context("a number")
}

#[test]
fn neither_a_list_nor_a_scrape_reads_the_store_through() {
    run_flow(async || {
        let scaled = Scaled::start().await?;
        let ids = try_join_all((1..=SESSIONS).map(|n| scaled.store(n))).await?;
        assert_eq!(scaled.list("limit=1").await?, (vec![ids[0].to_string()], SESSIONS));
        let before = counted(&scaled.stack.nats, "out_bytes")?;
        for _ in 0..20 {
            let (page, total) = scaled.list("limit=2&sort_order=desc&status=terminated").await?;
            assert_eq!((page.len(), total), (2, SESSIONS));
        }
        for _ in 0..5 {
            let line =
                format!("anbox_stream_gateway_sessions_total{{status=\"terminated\"}} {SESSIONS}");
            ensure!(scaled.scrape().await?.contains(&line), "{line} is missing");
        }
        let moved = counted(&scaled.stack.nats, "out_bytes")? - before;
        ensure!(moved < SESSIONS * DOCUMENT_BYTES, "{moved} bytes came from the store");

        let youngest = scaled.store(SESSIONS + 1).await?;
        let newest = scaled.list("limit=1&sort_order=desc").await?;
        assert_eq!(newest, (vec![youngest.to_string()], SESSIONS + 1), "whoever stored it");
        scaled.stack.stop().await;
        Ok(())
    });
}

#[test]
fn a_session_that_cannot_be_read_is_counted_and_hides_no_other() {
    run_flow(async || {
        let scaled = Scaled::start().await?;
        let id = scaled.store(1).await?;
        let other = SessionId::random();
        scaled.bridge.put(Bucket::Sessions, other.as_str(), &json!({ "status": "new" })).await?;
        assert_eq!(scaled.list("").await?, (vec![id.to_string()], 1));
        let text = scaled.scrape().await?;
        let line = "anbox_stream_gateway_sessions_unreadable 1";
        ensure!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        scaled.stack.stop().await;
        Ok(())
    });
}

#[test]
fn lists_are_answered_for_a_while_without_nats_and_then_refused() {
    run_flow(async || {
        let mut scaled = Scaled::start().await?;
        let id = scaled.store(1).await?;
        let operator = Client::new(scaled.stack.nodes.admin_socket());
        let list = async || Ok::<_, AdminError>(operator.sessions().await?);
        assert_eq!(list().await?[0].id, id);
        scaled.stack.nats.kill();
        assert_eq!(list().await?[0].id, id, "a moment ago it was so");
        eventually("refused", async || match list().await {
            Err(AdminError::Refused(refusal)) if refusal.code == RefusalCode::Unavailable => {
                Ok(Some(()))
            }
            answer => Ok(answer.map(|_| None)?),
        })
        .await?;
        scaled.stack.nats.restart()?;
        eventually("listed", async || Ok(list().await.ok())).await.map(drop)
    });
}

fn signal(id: &str) -> NewSignal {
    let signal = Signal::parse(r#"{"type":"candidate"}"#.to_owned()).expect("a signal");
    NewSignal { id: id.parse().expect("an id"), generation: 0, signal }
}

/// Readers that have read all there is, each of a session of its own.
async fn readers(bridge: &Bridge) -> anyhow::Result<Vec<(SessionId, SignalReader)>> {
    let connection = bridge.signals();
    try_join_all((0..READERS).map(async |_| {
        let session = SessionId::random();
        let mut reader = connection.reader(&session, Direction::ToInstance, None, 0);
        ensure!(reader.next().await?.signals.is_empty(), "nobody wrote anything");
        Ok((session, reader))
    }))
    .await
}

#[test]
fn readers_that_wait_ask_together() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
        let supervisor = Supervisor::default();
        let bridge = connect(&nats, &supervisor).await?;
        let mut waiting = readers(&bridge).await?;
        // Others write, so that the end of the log moves.
        let other = SessionId::random();
        let mut writer = bridge.signals().writer(&other, Direction::ToInstance);
        let before = counted(&nats, "in_msgs")?;
        for round in 0..2 {
            writer.append(&signal(&format!("s{round}"))).await?;
            let pages = waiting.iter_mut().map(|(_, reader)| reader.next());
            let pages = try_join_all(pages).await?;
            assert!(pages.iter().all(|page| page.signals.is_empty()));
        }
        let asked = counted(&nats, "in_msgs")? - before;
        ensure!(asked < READERS as u64, "{asked} questions in two rounds of {READERS} readers");
        Ok(())
    });
}

#[test]
fn signals_of_which_nobody_tells_are_found() {
    run_flow(async || {
        let dir = tempfile::tempdir()?;
        let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
        let supervisor = Supervisor::default();
        let bridge = connect(&nats, &supervisor).await?;
        let waiting = readers(&bridge).await?;
        publish_nothing(&nats).await?;
        let bridge = Arc::new(bridge);
        try_join_all(waiting.into_iter().enumerate().map(async |(n, (session, mut reader))| {
            // Every third has something to find.
            if n % 3 != 0 {
                let page = reader.next().await?;
                ensure!(page.signals.is_empty(), "{page:?}");
                return Ok(());
            }
            let mut writer = bridge.signals().writer(&session, Direction::ToInstance);
            writer.append(&signal("s1")).await?;
            eventually("found", async || {
                let page = reader.next().await?;
                Ok(page.signals.first().map(|signal| signal.cursor))
            })
            .await
            .map(drop)
        }))
        .await
        .map(drop)
    });
}

/// Has the server tell nobody what it stores in the log of signals.
async fn publish_nothing(nats: &Nats) -> anyhow::Result<()> {
    change_signals(nats, |config| config.republish = None).await
}
