//! Learning that a record may have changed, without being told what: the one way to wait for it.

use std::time::Duration;

use actix::Message;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Backoff, Context, Handler, Reply};
use tokio::time::{sleep, timeout};

use crate::actor::Actor;
use crate::buckets::live_subject;
use crate::connection::{Heard, Subscription};
use crate::{Bridge, BridgeError};

/// How often to read, and to try to subscribe, while NATS cannot be subscribed to.
const UNSUBSCRIBED_POLL: Duration = Duration::from_secs(1);

/// How long a change may stay unnoticed by [`Bridge::watch`] when its hint is lost.
const REFRESH: Duration = Duration::from_secs(20);

/// The pauses of [`Bridge::watch`] after failed reads.
const READ_AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Tells when a record may have changed. A hint may come for nothing; none is left out as long as
/// the holder reads the record after each [`ChangeHints::changed`].
///
/// Only the buckets of sessions, of keys and of what is revoked are published live.
pub struct ChangeHints {
    bridge: Bridge,
    subject: String,
    subscription: Option<Subscription>,
}

impl Bridge {
    /// Returns hints for the record under `key`, or with the key `>` for all of the bucket. Nothing
    /// is subscribed to before the first [`ChangeHints::changed`].
    pub fn change_hints(&self, bucket: Bucket, key: &str) -> ChangeHints {
        let subject = live_subject(bucket, key);
        ChangeHints { bridge: self.clone(), subject, subscription: None }
    }

    /// Returns hints that are subscribed already: a record that is read after this and before
    /// [`ChangeHints::changed`] cannot change unnoticed.
    ///
    /// # Errors
    ///
    /// [`BridgeError::Disconnected`] while NATS is away.
    pub async fn subscribe_changes(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<ChangeHints, BridgeError> {
        let mut hints = self.change_hints(bucket, key);
        hints.subscribe().await?;
        Ok(hints)
    }

    /// Calls `refresh` at once, again whenever the record under `key` may have changed (with the
    /// key `>`, any record of the bucket), and every 20 s at the latest. When it answers false, for
    /// a read that failed, the next call follows a short pause. Never ends.
    pub async fn watch(&self, bucket: Bucket, key: &str, mut refresh: impl AsyncFnMut() -> bool) {
        let mut hints = self.change_hints(bucket, key);
        let mut failures = 0;
        loop {
            // Before the read, which would miss otherwise what changes right after it. Without a
            // subscription it is the read itself that is frequent.
            let _ = hints.subscribe().await;
            if refresh().await {
                failures = 0;
                hints.changed(REFRESH).await;
            } else {
                hints.subscription = None;
                failures += 1;
                self.reached_within(READ_AGAIN.after(failures)).await;
            }
        }
    }
}

impl ChangeHints {
    /// Returns when the record may have changed since the last call, after `at_most` otherwise.
    /// Several changes count as one. Returns at once when it has only now subscribed: the first
    /// time, and after a silence, since the subscription may be of a connection that is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no hint.
    pub async fn changed(&mut self, at_most: Duration) {
        let Some(subscription) = &mut self.subscription else {
            if self.subscribe().await.is_err() {
                sleep(at_most.min(UNSUBSCRIBED_POLL)).await;
            }
            return;
        };
        match timeout(at_most, subscription.next()).await {
            Ok(Heard::Message(_) | Heard::Reconnected) => {
                while subscription.try_next().is_some() {}
            }
            Ok(Heard::Closed) | Err(_) => self.subscription = None,
        }
    }

    async fn subscribe(&mut self) -> Result<(), BridgeError> {
        if self.subscription.is_none() {
            let ask = SubscribeChanges { subject: self.subject.clone() };
            self.subscription = Some(self.bridge.0.ask(ask).await??);
        }
        Ok(())
    }
}

/// Subscribes to what is published live on a subject.
#[derive(Message)]
#[rtype(result = "Result<Subscription, BridgeError>")]
pub(crate) struct SubscribeChanges {
    pub(crate) subject: String,
}

impl Handler<SubscribeChanges> for Actor {
    fn handle(
        &mut self,
        subscribe: &SubscribeChanges,
        _: &Context<Self>,
    ) -> Reply<Result<Subscription, BridgeError>> {
        let subject = subscribe.subject.clone();
        self.with("subscribe", async move |store| store.connection().subscribe(subject).await)
    }
}
