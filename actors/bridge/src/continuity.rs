//! How far the store can be believed: since when it exists, and for how long it has been reached
//! without a break. Whoever concludes from what is *not* there has to know.

use std::time::{Duration, Instant};

use actix::Message;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};

use crate::BridgeError;
use crate::actor::Actor;
use crate::connect::error_chain;
use crate::store::with_timeout;

/// How far the store can be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Continuity {
    /// When the bucket was made, in Unix seconds by the clock of NATS.
    pub created_at: u64,
    /// Since when NATS has been reached without a break.
    pub connected_since: Instant,
}

impl Continuity {
    /// For how long NATS has been reached without a break.
    pub fn connected_for(&self) -> Duration {
        self.connected_since.elapsed()
    }
}

/// Asks for the [`Continuity`] of a bucket.
#[derive(Message)]
#[rtype(result = "Result<Continuity, BridgeError>")]
pub(crate) struct GetContinuity(pub(crate) Bucket);

impl Handler<GetContinuity> for Actor {
    fn handle(
        &mut self,
        GetContinuity(bucket): &GetContinuity,
        _: &Context<Self>,
    ) -> Reply<Result<Continuity, BridgeError>> {
        // Since when it is reached is known only then.
        if let Err(why) = self.checked_connection() {
            return Err(BridgeError::Disconnected(why.clone())).into();
        }
        let (bucket, connected_since) = (*bucket, self.connected_since);
        self.with_store(async move |nats| {
            let info = with_timeout(nats.stores[&bucket].stream.get_info()).await?;
            let created =
                info.map_err(|error| BridgeError::Disconnected(error_chain(&error)))?.created;
            Ok(Continuity {
                created_at: u64::try_from(created.unix_timestamp()).unwrap_or(0),
                connected_since,
            })
        })
    }
}
