//! How far the store can be believed: since when it exists, and for how long it has been reached
//! without a break. Whoever concludes from what is *not* there has to know.

use std::time::{Duration, Instant};

use actix::Message;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Reply};

use crate::BridgeError;
use crate::actor::Actor;
use crate::link::chain;
use crate::store::in_time;

/// How far the store can be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// When the bucket was made, in Unix seconds by the clock of NATS.
    pub born: u64,
    /// Since when NATS has been reached without a break.
    pub reached: Instant,
}

impl Standing {
    /// For how long NATS has been reached without a break.
    pub fn reached_for(&self) -> Duration {
        self.reached.elapsed()
    }
}

/// Asks for the [`Standing`] of a bucket.
#[derive(Message)]
#[rtype(result = "Result<Standing, BridgeError>")]
pub(crate) struct AskStanding(pub(crate) Bucket);

impl Handler<AskStanding> for Actor {
    fn handle(
        &mut self,
        AskStanding(bucket): &AskStanding,
        _: &Context<Self>,
    ) -> Reply<Result<Standing, BridgeError>> {
        // Since when it is reached is known only then.
        if let Err(why) = self.link() {
            return Err(BridgeError::Away(why.clone())).into();
        }
        let (bucket, reached) = (*bucket, self.reached);
        self.with_store(async move |nats| {
            let info = in_time(nats.stores[&bucket].stream.get_info()).await?;
            let created = info.map_err(|error| BridgeError::Away(chain(&error)))?.created;
            Ok(Standing { born: u64::try_from(created.unix_timestamp()).unwrap_or(0), reached })
        })
    }
}
