//! Many readers of the signal log in one process, each of a session that is silent.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use stream_bridge::{Bridge, SignalReader};
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_protocol::{Direction, NewSignal, SessionId, Signal};
use stream_supervisor::Supervisor;
use tokio::time::{interval, sleep};

const READERS: usize = 10_000;

/// The questions to NATS that all of them may cost together, a second.
pub(super) const QUESTIONS: f64 = 200.0;

/// Readers that open at the same time.
const OPENING: usize = 64;

/// How long is counted, and how often another session writes meanwhile: the log does not stand
/// still, though no reader has anything to read.
const COUNTED: Duration = Duration::from_secs(20);
const WRITING: Duration = Duration::from_millis(100);

const CONNECT_POLL: Duration = Duration::from_millis(20);

/// Returns how many questions a second the server is asked while all readers wait; what is written
/// beside them is none.
pub(super) async fn questions() -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let nats = Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?;
    let supervisor = Supervisor::default();
    let bridge = Bridge::start(nats.bridge(), "readers", &supervisor)?;
    while !bridge.status().await.connected {
        sleep(CONNECT_POLL).await;
    }
    let readers: Vec<_> = stream::iter(0..READERS)
        .map(|_| open(&bridge))
        .buffer_unordered(OPENING)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    eprintln!("{READERS} readers wait");
    let waiting = readers.into_iter().map(async |mut reader| -> anyhow::Result<()> {
        loop {
            let page = reader.next().await?;
            anyhow::ensure!(page.signals.is_empty(), "a reader found what nobody wrote");
        }
    });
    tokio::select! {
        failed = try_join_all(waiting) => Err(failed.err().context("readers have ended")?),
        counted = count(&nats, &bridge) => counted,
    }
}

async fn open(bridge: &Bridge) -> anyhow::Result<SignalReader> {
    let session = SessionId::random();
    let mut reader = bridge.signals().reader(&session, Direction::ToInstance, None, 0);
    reader.next().await?;
    Ok(reader)
}

async fn count(nats: &Nats, bridge: &Bridge) -> anyhow::Result<f64> {
    let messages = || anyhow::Ok(nats.statistics("varz")?["in_msgs"].as_u64().context("a number")?);
    let mut writer = bridge.signals().writer(&SessionId::random(), Direction::ToInstance);
    let signal = Signal::parse(r#"{"type":"candidate"}"#.to_owned())?;
    let (before, begun) = (messages()?, Instant::now());
    let (mut ticks, mut written) = (interval(WRITING), 0);
    while begun.elapsed() < COUNTED {
        ticks.tick().await;
        let id = format!("s{written}").parse()?;
        writer.append(&NewSignal { id, generation: 0, signal: signal.clone() }).await?;
        written += 1;
    }
    let asked = messages()?.saturating_sub(before).saturating_sub(written);
    Ok(asked as f64 / begun.elapsed().as_secs_f64())
}
