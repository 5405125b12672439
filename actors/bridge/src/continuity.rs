//! How long the store exists and NATS is connected. Whoever concludes something from a *missing*
//! record has to know.

use std::time::Duration;

use actix::Message;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};
use tokio::time::Instant;

use crate::BridgeError;
use crate::actor::Actor;
use crate::buckets::Store;

/// How long a bucket exists, and NATS is connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Continuity {
    /// When the bucket was created, in Unix seconds by the clock of NATS.
    pub created_at: u64,
    /// Since when NATS is connected without a break.
    pub connected_since: Instant,
}

impl Continuity {
    /// Returns for how long NATS is connected without a break.
    pub fn connected_for(&self) -> Duration {
        self.connected_since.elapsed()
    }
}

/// What is known of a bucket without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketState {
    pub(crate) continuity: Continuity,
    /// The latest revision that the server knows which leads.
    pub(crate) last_revision: u64,
}

/// Asks for the [`BucketState`] of a bucket.
#[derive(Message)]
#[rtype(result = "Result<BucketState, BridgeError>")]
pub(crate) struct GetBucketState(pub(crate) Bucket);

impl Handler<GetBucketState> for Actor {
    fn handle(
        &mut self,
        GetBucketState(bucket): &GetBucketState,
        _: &Context<Self>,
    ) -> Reply<Result<BucketState, BridgeError>> {
        // A store that is not checked again yet may have been lost and come back since.
        let connected_since = match self.ready() {
            Ok(ready) => ready.since,
            Err(cause) => return Err(BridgeError::Disconnected(cause)).into(),
        };
        let bucket = *bucket;
        self.with_store("look", async move |store: &Store| {
            let info = store.info(bucket).await?;
            let created_at = u64::try_from(info.created.unix_timestamp()).unwrap_or(0);
            let continuity = Continuity { created_at, connected_since };
            Ok(BucketState { continuity, last_revision: info.state.last_sequence })
        })
    }
}
