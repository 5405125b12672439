//! Clients that connect anew for each request, as often as is asked of them.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::report::Samples;
use super::super::sources::{address, connect_tls};
use super::super::tls_client::{client, hybrid};

/// Clients, and how often each of them comes: a hundred requests a second.
const CLIENTS: u32 = 20;
const EACH: Duration = Duration::from_millis(200);

/// Begun one after the other.
const STAGGER: Duration = Duration::from_millis(10);

const VISIT_TIMEOUT: Duration = Duration::from_secs(20);

const REQUEST: &[u8] =
    b"GET /1.0/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// What became of all requests.
#[derive(Default)]
pub(super) struct Visits {
    pub(super) times: Samples,
    /// Those whose connection was refused.
    pub(super) refused: u32,
    /// Others that were not answered.
    pub(super) failed: u32,
}

/// Asks again and again until `over`.
pub(super) async fn visit(port: u16, over: &Cell<bool>) -> Visits {
    let clients = (0..CLIENTS).map(async |n| {
        tokio::time::sleep(STAGGER * n).await;
        let (from, tls) = (address(8, n as usize), Arc::new(client(hybrid(), true)));
        let mut seen = Visits::default();
        let mut ticks = interval(EACH);
        // Who had to wait comes again at once: the rate stays.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !over.get() {
            ticks.tick().await;
            let begun = Instant::now();
            let done = timeout(VISIT_TIMEOUT, one(from, port, &tls)).await;
            match done.map_err(anyhow::Error::from).flatten() {
                Ok(()) => seen.times.push(begun.elapsed()),
                Err(error) if is_refused(&error) => seen.refused += 1,
                Err(error) => {
                    seen.failed += 1;
                    eprintln!("a request was not answered: {error:#}");
                }
            }
        }
        seen
    });
    let mut all = Visits::default();
    for Visits { times, refused, failed } in join_all(clients).await {
        all.times.append(times);
        all.refused += refused;
        all.failed += failed;
    }
    all
}

fn is_refused(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

async fn one(from: Ipv4Addr, port: u16, tls: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let mut stream = connect_tls(from, port, tls).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await?;
    anyhow::ensure!(answer[..read].starts_with(b"HTTP/1.1 200"), "no good answer");
    Ok(())
}
