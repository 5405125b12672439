//! Hearing that something may have changed, without being told what.

use std::time::Duration;

use actix::Message;
use async_nats::Subscriber;
use futures_util::{FutureExt, StreamExt};
use stream_supervisor::{Context, Handler, Reply};
use tokio::sync::watch;

use crate::BridgeError;
use crate::actor::Actor;

/// Subscribes to what is published live on a subject.
#[derive(Message)]
#[rtype(result = "Result<Feed, BridgeError>")]
pub(crate) struct Follow {
    pub(crate) subject: String,
}

/// How often a feed whose connection is gone for good has its holder look.
const POLL: Duration = Duration::from_secs(1);

/// Tells when there may be something new. Follow first, then read, then wait: so nothing falls
/// into the gap between. A hint may come for nothing; none is left out.
pub struct Feed {
    pub(crate) hints: Subscriber,
    pub(crate) gaps: watch::Receiver<u64>,
}

impl Feed {
    /// Returns when something may have changed since the last call; several changes count as one.
    /// A feed that outlives its bridge tells so once a second: follow anew when convenient.
    pub async fn changed(&mut self) {
        let alive = tokio::select! {
            hint = self.hints.next() => hint.is_some(),
            // After a loss of the connection nobody knows what was missed.
            gap = self.gaps.changed() => gap.is_ok(),
        };
        if !alive {
            tokio::time::sleep(POLL).await;
        }
        while let Some(Some(_)) = self.hints.next().now_or_never() {}
    }
}

impl Handler<Follow> for Actor {
    fn handle(&mut self, follow: &Follow, _: &Context<Self>) -> Reply<Result<Feed, BridgeError>> {
        let subject = follow.subject.clone();
        self.with(async move |nats| {
            let (hints, gaps) = nats.log.subscribe(subject).await?;
            Ok(Feed { hints, gaps })
        })
    }
}
