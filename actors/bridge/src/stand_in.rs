//! What answers in the place of the actor where NATS, and the time, are simulated.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply, Worker};
use time::OffsetDateTime;

use crate::BridgeError;
use crate::batch::{Batch, StoredMessage};
use crate::buckets::record_subject;
use crate::change_hints::SubscribeChanges;
use crate::changes::{BucketSource, EntryPage, ReadPage, read_page};
use crate::connect::ConnectConfig;
use crate::connection::Subscription;
use crate::continuity::{BucketState, GetBucketState};
use crate::former_keys::ReadFormerKey;
use crate::log_streams::LogStreams;
use crate::log_watch::LogWatch;
use crate::reached::Reached;
use crate::records::{RawEntry, Read, Remove, Write, WriteMode};
use crate::requests::{SendRequest, Subscribe, Unsubscribe};
use crate::signal_connection::{GetConnectConfig, GetConnection};
use crate::signal_log::SignalLog;
use crate::simulated_log::{SimulatedStreams, follow, message};
use crate::simulated_server::{Expected, SimulatedServer, Stored};
use crate::status::{ConnectionStatus, GetStatus};
use crate::store_clock::StoreClock;
use crate::timeline::{PastEntry, ReadTimeline, Tell};

/// How often the server is asked for its time, as the actor does.
const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// The worker that answers what [`Actor`](crate::actor::Actor) does otherwise.
pub(crate) struct StandIn {
    pub(crate) server: Arc<dyn SimulatedServer>,
    pub(crate) clock: StoreClock,
    pub(crate) log_watch: LogWatch,
    pub(crate) reached: Reached,
}

impl StandIn {
    fn read_clock(server: &dyn SimulatedServer, clock: &StoreClock) {
        let time = server.time();
        clock.set(OffsetDateTime::from(time.created), OffsetDateTime::from(time.now));
    }
}

impl Worker for StandIn {
    fn started(&mut self, ctx: &Context<Self>) {
        let (server, clock) = (Arc::clone(&self.server), self.clock.clone());
        // Nobody stores anything before the time of the store is known.
        Self::read_clock(&*server, &clock);
        let (mut connects, reached) = (server.connects(), self.reached.clone());
        ctx.spawn(async move {
            while connects.changed().await.is_ok() {
                reached.tell();
            }
        });
        ctx.spawn(async move {
            loop {
                tokio::time::sleep(CLOCK_LOOK).await;
                if server.is_connected() {
                    Self::read_clock(&*server, &clock);
                }
            }
        });
    }
}

impl Handler<Read> for StandIn {
    fn handle(
        &mut self,
        read: &Read,
        _: &Context<Self>,
    ) -> Reply<Result<Option<RawEntry>, BridgeError>> {
        Reply::Later(self.server.read(read.bucket, read.key.clone()))
    }
}

impl Handler<ReadFormerKey> for StandIn {
    /// There is no store of 0.1.
    fn handle(
        &mut self,
        _: &ReadFormerKey,
        _: &Context<Self>,
    ) -> Reply<Result<Option<RawEntry>, BridgeError>> {
        Ok(None).into()
    }
}

impl Handler<Write> for StandIn {
    fn handle(&mut self, write: &Write, _: &Context<Self>) -> Reply<Result<u64, BridgeError>> {
        let (expected, ttl) = match write.mode {
            WriteMode::Create => (Expected::Nothing, None),
            WriteMode::Put { ttl } => (Expected::Anything, ttl),
            WriteMode::Update { revision, ttl } => (Expected::Revision(revision), ttl),
        };
        let (key, value) = (write.key.clone(), write.value.clone());
        Reply::Later(self.server.write(write.bucket, key, value, expected, ttl))
    }
}

impl Handler<Remove> for StandIn {
    fn handle(&mut self, remove: &Remove, _: &Context<Self>) -> Reply<Result<(), BridgeError>> {
        Reply::Later(self.server.remove(remove.bucket, remove.key.clone(), remove.revision))
    }
}

impl Handler<ReadPage> for StandIn {
    fn handle(
        &mut self,
        read: &ReadPage,
        _: &Context<Self>,
    ) -> Reply<Result<EntryPage, BridgeError>> {
        let (read, server) = (*read, Arc::clone(&self.server));
        Reply::later(async move {
            read_page(&SimulatedBucket { server, bucket: read.bucket }, read).await
        })
    }
}

/// A bucket of a simulated server.
struct SimulatedBucket {
    server: Arc<dyn SimulatedServer>,
    bucket: Bucket,
}

impl SimulatedBucket {
    fn message(&self, (key, revision, value): Stored) -> StoredMessage {
        message(record_subject(self.bucket, &key), (revision, value))
    }
}

impl BucketSource for SimulatedBucket {
    fn is_replicated(&self) -> bool {
        self.server.is_replicated()
    }

    async fn end(&self) -> Result<u64, BridgeError> {
        Ok(self.server.look(self.bucket).await?.1)
    }

    async fn next(&self, after: u64) -> Result<Option<StoredMessage>, BridgeError> {
        let next = self.server.next_written(self.bucket, after).await?;
        Ok(next.map(|stored| self.message(stored)))
    }

    async fn batch(&self, after: u64) -> Result<Batch, BridgeError> {
        let (written, complete) = self.server.written(self.bucket, after).await?;
        let messages = written.into_iter().map(|stored| self.message(stored)).collect();
        Ok(Batch { messages, complete })
    }
}

impl Handler<GetBucketState> for StandIn {
    fn handle(
        &mut self,
        GetBucketState(bucket): &GetBucketState,
        _: &Context<Self>,
    ) -> Reply<Result<BucketState, BridgeError>> {
        let looked = self.server.look(*bucket);
        Reply::later(async move {
            let (continuity, last_revision) = looked.await?;
            Ok(BucketState { continuity, last_revision })
        })
    }
}

impl Handler<SendRequest> for StandIn {
    fn handle(
        &mut self,
        send: &SendRequest,
        _: &Context<Self>,
    ) -> Reply<Result<Bytes, BridgeError>> {
        let SendRequest { subject, body, deadline } = send;
        Reply::Later(self.server.request(subject.clone(), body.clone().into(), *deadline))
    }
}

impl Handler<Subscribe> for StandIn {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, subscribe: &Subscribe, _: &Context<Self>) -> Reply<()> {
        let Subscribe { subject, route } = subscribe;
        self.server.serve(subject.clone(), route.group, route.to.clone());
        ().into()
    }
}

impl Handler<Unsubscribe> for StandIn {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, unsubscribe: &Unsubscribe, _: &Context<Self>) -> Reply<()> {
        self.server.stop_serving(&unsubscribe.subject);
        ().into()
    }
}

impl Handler<SubscribeChanges> for StandIn {
    fn handle(
        &mut self,
        subscribe: &SubscribeChanges,
        _: &Context<Self>,
    ) -> Reply<Result<Subscription, BridgeError>> {
        let (server, subject) = (Arc::clone(&self.server), subscribe.subject.clone());
        Reply::later(async move { follow(&*server, subject).await })
    }
}

impl Handler<GetConnection> for StandIn {
    fn handle(
        &mut self,
        _: &GetConnection,
        _: &Context<Self>,
    ) -> Reply<Result<SignalLog, BridgeError>> {
        if !self.server.is_connected() {
            return Err(away()).into();
        }
        let (server, watch) = (Arc::clone(&self.server), self.log_watch.clone());
        Ok(SignalLog::of(LogStreams::Simulated(SimulatedStreams { server, watch }))).into()
    }
}

impl Handler<GetConnectConfig> for StandIn {
    /// No thread has a connection of its own.
    fn handle(
        &mut self,
        _: &GetConnectConfig,
        _: &Context<Self>,
    ) -> Reply<Result<ConnectConfig, BridgeError>> {
        Err(away()).into()
    }
}

impl Handler<GetStatus> for StandIn {
    fn handle(&mut self, _: &GetStatus, _: &Context<Self>) -> Reply<ConnectionStatus> {
        let connected = self.server.is_connected();
        let error = (!connected).then(|| away().to_string());
        ConnectionStatus { connected, server: None, servers: connected.into(), error }.into()
    }
}

impl Handler<Tell> for StandIn {
    /// Nothing is decided by it.
    fn handle(&mut self, _: &Tell, _: &Context<Self>) -> Reply<Result<(), BridgeError>> {
        Ok(()).into()
    }
}

impl Handler<ReadTimeline> for StandIn {
    fn handle(
        &mut self,
        _: &ReadTimeline,
        _: &Context<Self>,
    ) -> Reply<Result<Vec<PastEntry>, BridgeError>> {
        Ok(Vec::new()).into()
    }
}

fn away() -> BridgeError {
    BridgeError::Disconnected("the simulated server is away".to_owned())
}
