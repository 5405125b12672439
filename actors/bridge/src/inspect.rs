//! What an operator has to know of the store: whether all of it is there, and how full it is.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::Info;
use futures_util::future::join_all;
use stream_protocol::error_chain;
use stream_protocol::subjects::{self, NatsUser};
use tokio::time::Instant;

use crate::Config;
use crate::connect::connect_once;
use crate::connection::with_timeout;
use crate::store_clock::StoreClock;

/// A stream or a bucket, as its leading server tells of it.
#[derive(Clone, Debug)]
pub struct StreamReport {
    pub name: String,
    pub replicas: usize,
    /// Copies that are behind or cannot be reached.
    pub absent_replicas: usize,
    pub bytes: u64,
    /// `None` without a limit.
    pub max_bytes: Option<u64>,
}

/// What is stored in, of so much as may be; in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub used: u64,
    /// `None` without a limit.
    pub limit: Option<u64>,
}

/// The store as a unit finds it.
#[derive(Clone, Debug)]
pub struct StoreReport {
    pub server: String,
    pub version: String,
    /// By how much the clock of this system differs; `None` while no unit has made the store.
    pub clock_skew: Option<Duration>,
    /// Why JetStream cannot be used, or what of its files and memory is used.
    pub account: Result<[Space; 2], String>,
    /// Those that are there.
    pub streams: Vec<StreamReport>,
    /// Those that cannot be looked at, with the cause: most often they are not there.
    pub missing: Vec<(String, String)>,
}

/// Looks once at what a unit of `user` stores, and changes nothing.
///
/// # Errors
///
/// One sentence why NATS cannot be reached.
pub async fn inspect(user: NatsUser, config: Config) -> Result<StoreReport, String> {
    let connection = connect_once(user, config, "doctor").await?;
    let (server, jetstream) = (connection.client.server_info(), connection.jetstream());
    let account = match with_timeout(jetstream.query_account()).await {
        Err(_) => Err("JetStream does not answer".to_owned()),
        Ok(Err(error)) => Err(error_chain(&error)),
        Ok(Ok(account)) => {
            let space = |used, limit: Option<i64>| Space {
                used,
                limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            };
            Ok([
                space(account.storage, account.limits.max_storage),
                space(account.memory, account.limits.max_memory),
            ])
        }
    };
    let buckets = user.buckets().iter().map(|bucket| format!("KV_{}", bucket.name()));
    let streams = [subjects::SIGNALS, subjects::SIGNAL_ENDS, subjects::TIMELINE];
    let names = buckets.chain(streams.map(str::to_owned));
    let looked = join_all(names.map(async |name| {
        let found = match with_timeout(jetstream.get_stream(&name)).await {
            Ok(Ok(stream)) => Ok(StreamReport::of(stream.cached_info())),
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(error) => Err(error.to_string()),
        };
        (name, found)
    }));
    let (mut streams, mut missing) = (Vec::new(), Vec::new());
    for (name, found) in looked.await {
        match found {
            Ok(stream) => streams.push(stream),
            Err(why) => missing.push((name, why)),
        }
    }
    let clock = StoreClock::default();
    clock.read(&connection.client).await;
    let skew = || clock.skew(SystemTime::now(), Instant::now());
    let clock_skew = clock.store_id().map(|_| skew());
    let (server, version) = (server.server_name, server.version);
    Ok(StoreReport { server, version, clock_skew, account, streams, missing })
}

impl StreamReport {
    fn of(info: &Info) -> Self {
        let replicas = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
        Self {
            name: info.config.name.clone(),
            replicas: info.config.num_replicas,
            absent_replicas: replicas.filter(|peer| peer.offline || !peer.current).count(),
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|bytes| *bytes > 0),
        }
    }
}
