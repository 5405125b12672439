//! Somebody else, who wants to be served: some addresses, each with a full handshake and a request
//! now and then, as often as any address may do that.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use super::super::report::Samples;
use super::super::sources::{address, connect_tls};
use super::super::tls_client::{client, x25519};

/// Addresses, and how often one of them comes.
const ADDRESSES: u32 = 4;
const VISITS: u32 = 200;
const EACH: Duration = Duration::from_millis(26);

/// A visit that takes longer has failed.
const VISIT_TIMEOUT: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /1.0/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// What became of all visits.
#[derive(Default)]
pub(super) struct Visits {
    times: Samples,
    failed: u32,
}

impl Visits {
    pub(super) fn p99(&self) -> f64 {
        self.times.percentile(0.99)
    }

    /// The share of visits that was answered.
    pub(super) fn answered(&self) -> f64 {
        1.0 - f64::from(self.failed) / f64::from(VISITS)
    }
}

/// Visits the server again and again, whatever became of the visits before; sets `over` at the end.
pub(super) async fn visit(port: u16, over: &Cell<bool>) -> anyhow::Result<Visits> {
    let tls = Arc::new(client(x25519(), false));
    let started = tokio::time::Instant::now();
    let visits = (0..VISITS).map(async |n| {
        sleep_until(started + EACH * n).await;
        let begun = Instant::now();
        let from = address(7, (n % ADDRESSES) as usize);
        let done = timeout(VISIT_TIMEOUT, one(from, port, &tls)).await;
        (begun.elapsed(), done.map_err(anyhow::Error::from).flatten())
    });
    let mut all = Visits::default();
    for (took, done) in join_all(visits).await {
        all.times.push(took);
        if let Err(error) = done {
            all.failed += 1;
            eprintln!("a neighbour was not served: {error:#}");
        }
    }
    over.set(true);
    Ok(all)
}

async fn one(from: Ipv4Addr, port: u16, tls: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let mut stream = connect_tls(from, port, tls).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await?;
    // It has no token, and needs none to be served.
    anyhow::ensure!(answer[..read].starts_with(b"HTTP/1.1 "), "no answer");
    Ok(())
}
