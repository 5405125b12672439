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
#[rtype(result = "Result<ChangeHints, BridgeError>")]
pub(crate) struct SubscribeChanges {
    pub(crate) subject: String,
}

/// How often the hints of a connection that is gone for good have their holder look.
const CLOSED_POLL: Duration = Duration::from_secs(1);

/// Tells when there may be something new. Subscribe first, then read, then wait: so nothing falls
/// into the gap between. A hint may come for nothing; none is left out.
pub struct ChangeHints {
    pub(crate) messages: Subscriber,
    pub(crate) reconnects: watch::Receiver<u64>,
}

impl ChangeHints {
    /// Returns when something may have changed since the last call; several changes count as one.
    /// Hints that outlive their bridge tell so once a second: subscribe anew when convenient.
    pub async fn changed(&mut self) {
        let alive = tokio::select! {
            message = self.messages.next() => message.is_some(),
            // After a loss of the connection nobody knows what was missed.
            reconnect = self.reconnects.changed() => reconnect.is_ok(),
        };
        if !alive {
            tokio::time::sleep(CLOSED_POLL).await;
        }
        while let Some(Some(_)) = self.messages.next().now_or_never() {}
    }
}

impl Handler<SubscribeChanges> for Actor {
    fn handle(
        &mut self,
        subscribe: &SubscribeChanges,
        _: &Context<Self>,
    ) -> Reply<Result<ChangeHints, BridgeError>> {
        let subject = subscribe.subject.clone();
        self.with(async move |nats| {
            let (messages, reconnects) = nats.log.subscribe(subject).await?;
            Ok(ChangeHints { messages, reconnects })
        })
    }
}
