//! One client's socket: signals both ways until somebody ends it.

use std::future::pending;
use std::time::Duration;

use serde::Serialize;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::Bucket;
use stream_protocol::{Client, IceServer, SessionDocument, SessionId, ShareId, SignalQuota};
use stream_socket::{
    CloseCause, CloseCode, FrameFormat, SignalRelay, SocketReceiver, SocketSender, close,
    keep_alive, retry_while,
};
use stream_supervisor::Drain;
use stream_tokens::{Claims, Tokens};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::admission::close_cause;
use crate::config::ReconnectTokens;
use crate::document_watch::DocumentWatch;
use crate::{client_lease, clock, owner, shares};

/// How often a share is looked at that is not due: its end may have been brought forward.
const SHARE_POLL: Duration = Duration::from_secs(10);

/// The same while the store does not answer.
const SHARE_RETRY: Duration = Duration::from_secs(2);

/// The clients of a gateway that drains are sent away within this time.
const DRAIN_SPREAD: Duration = Duration::from_secs(10);

pub(crate) struct ClientSocket {
    pub(crate) bridge: Bridge,
    /// Of the one client that this socket is for.
    pub(crate) signal_relay: SignalRelay,
    /// The last renewal of ICE servers that it knows of.
    pub(crate) ice_renewal: u64,
    /// The fresh tokens that it wants.
    pub(crate) reconnect_tokens: Option<ReconnectTokens>,
    /// The share that it came through.
    pub(crate) share: Option<ShareId>,
    pub(crate) tokens: Tokens,
    /// Of the token that opened the socket.
    pub(crate) claims: Claims,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether it is about to.
    pub(crate) drain: Drain,
    /// Whether a client that joins has to wait until this one has left.
    pub(crate) keeps_lease: bool,
    /// What is to be streamed, in case that the client was taken for gone.
    pub(crate) client: Client,
}

impl ClientSocket {
    /// Relays until the end, and returns whether that was the client's; with a `close_cause` it is
    /// over before it began.
    pub(crate) async fn run(
        &self,
        sender: SocketSender,
        mut receiver: SocketReceiver,
        close_cause: Option<CloseCause>,
    ) -> bool {
        let (session, generation) = (self.session().clone(), self.signal_relay.generation);
        log::info!("client socket opened, session {session}, client {generation}");
        let mut quota = SignalQuota::new(Instant::now().into_std());
        let admits = |bytes| quota.take(1, bytes, Instant::now().into_std());
        let relay = &self.signal_relay;
        let end = match close_cause {
            Some(end) => end,
            None => tokio::select! {
                biased;
                end = self.watch_stop() => end,
                end = self.watch_drain() => end,
                end = self.watch_revocation() => end,
                end = self.watch_share() => end,
                end = self.watch_session(sender.clone()) => end,
                end = relay.receive_from_peer(&mut receiver, sender.clone(), admits) => end,
                end = relay.send_to_peer(sender.clone()) => end,
                end = self.send_reconnect_tokens(sender.clone()) => end,
                end = self.keep_lease() => end,
                end = keep_alive(sender.clone()) => end,
            },
        };
        match &end {
            // The ordinary end: clients close it when their stream is connected.
            CloseCause::PeerClosed => {
                log::info!("client socket closed by the client, session {session}")
            }
            CloseCause::PeerTimedOut => log::info!("client socket lost, session {session}"),
            CloseCause::ByUs { message, .. } => {
                log::info!("client socket closed, session {session}: {message}");
            }
        }
        match end {
            CloseCause::PeerClosed if self.keeps_lease => {
                client_lease::release_after_handover(&self.bridge, &session, generation).await
            }
            CloseCause::PeerTimedOut if self.keeps_lease => {
                client_lease::release(&self.bridge, &session, generation).await
            }
            _ => {}
        }
        let has_left = matches!(end, CloseCause::PeerClosed | CloseCause::PeerTimedOut);
        close(sender, receiver, end).await;
        has_left
    }

    /// Holds the client's slot, where another client would have to wait for it.
    async fn keep_lease(&self) -> CloseCause {
        if self.keeps_lease {
            client_lease::keep(&self.bridge, self.session(), self.signal_relay.generation).await;
        }
        pending().await
    }

    /// Waits for as long as a client without a socket may take to return, and has its instance told
    /// that it has left, unless it is connected or was replaced. One that returns later says so.
    pub(crate) async fn report_departure(&self, grace: Duration) {
        sleep(grace).await;
        let cleared =
            client_lease::remove_client(&self.bridge, self.session(), self.signal_relay.generation)
                .await;
        if let Err(error) = cleared {
            log::debug!("client of session {} is not reported as gone: {error}", self.session());
        }
    }

    fn session(&self) -> &SessionId {
        &self.signal_relay.session
    }

    /// Ends when the gateway stops.
    async fn watch_stop(&self) -> CloseCause {
        let mut closing = self.closing.clone();
        // Without a sender there is no gateway any more.
        let _ = closing.wait_for(|closing| *closing).await;
        CloseCause::restarting("the gateway is restarting")
    }

    /// Ends, some time after the gateway was told to drain, when the client can go on elsewhere: it
    /// has a cursor. One that knows no cursor is left alone as long as possible, since it closes the
    /// socket itself when its stream is connected.
    async fn watch_drain(&self) -> CloseCause {
        if self.signal_relay.frames == FrameFormat::Bare {
            return pending().await;
        }
        let mut orders = self.drain.watch();
        loop {
            let given = orders.wait_for(Option::is_some).await.ok().and_then(|until| *until);
            let Some(until) = given else { return pending().await };
            // Not all at once, and all before the end.
            let [chance] = *stream_pki::random_bytes::<1>();
            let spread = until.saturating_duration_since(Instant::now()) / 2;
            let pause = spread.min(DRAIN_SPREAD).mul_f64(f64::from(chance) / 256.0);
            tokio::select! {
                () = sleep(pause) => return CloseCause::restarting("the gateway is restarting"),
                // Another order, or none.
                _ = orders.changed() => {}
            }
        }
    }

    /// Ends when the token that opened the socket is revoked.
    async fn watch_revocation(&self) -> CloseCause {
        self.tokens.revoked(&self.claims).await;
        CloseCause::client_error(CloseCode::Policy, "token revoked")
    }

    /// Ends when the share that the client came through is over. That may be put off meanwhile.
    async fn watch_share(&self) -> CloseCause {
        let Some(share) = &self.share else { return pending().await };
        loop {
            let pause = match shares::find(&self.bridge, share.as_str()).await {
                Ok(Some(found)) => {
                    let left = found.expiry_at.saturating_sub(clock::now());
                    Duration::from_secs(left).min(SHARE_POLL)
                }
                Ok(None) => {
                    return CloseCause::client_error(CloseCode::Policy, "the share has ended");
                }
                Err(_) => SHARE_RETRY,
            };
            sleep(pause).await;
        }
    }

    /// Hands the client a reconnect token at once and then one now and then: it can open the socket
    /// again with any that is not older than a token in an address may be, as the same client and
    /// with no other right.
    async fn send_reconnect_tokens(&self, mut sender: SocketSender) -> CloseCause {
        let Some(tokens) = &self.reconnect_tokens else { return pending().await };
        let mut ticks = interval(tokens.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let expires = tokens.expiry();
            let minted = match self.tokens.renew(&self.claims, expires).await {
                Ok(minted) => minted,
                Err(error) => {
                    log::debug!(
                        "client of session {} gets no reconnect token yet: {error}",
                        self.session()
                    );
                    continue;
                }
            };
            let (token, expires_at) = (minted.token.as_str(), clock::seconds(expires));
            let message = ReconnectTokenMessage { r#type: "ticket", token, expires_at };
            let text = serde_json::to_string(&message).expect("numbers and texts serialize");
            if let Err(end) = sender.send(text).await {
                return end;
            }
        }
    }

    /// Ends when the session is over or another client has taken the place; until then tells the
    /// client its new ICE servers whenever they are renewed.
    async fn watch_session(&self, mut sender: SocketSender) -> CloseCause {
        let mut ice_renewal = self.ice_renewal;
        let start = async || DocumentWatch::start(&self.bridge, self.session()).await;
        let mut watch = match retry_while(Duration::MAX, BridgeError::is_transient, start).await {
            Ok(watch) => watch,
            Err(error) => return CloseCause::rejected(error.refusal()),
        };
        loop {
            let key = self.session().as_str();
            let read = async || self.bridge.read::<SessionDocument>(Bucket::Sessions, key).await;
            let entry = match retry_while(Duration::MAX, BridgeError::is_transient, read).await {
                Ok(entry) => entry,
                Err(error) => return CloseCause::rejected(error.refusal()),
            };
            let document = entry.map(|entry| entry.value);
            let generation = self.signal_relay.generation;
            if let Some(end) = close_cause(document.as_ref(), generation) {
                return end;
            }
            if document.as_ref().is_some_and(|document| document.desired.client.is_none()) {
                let claimed = client_lease::restore_client(
                    &self.bridge,
                    self.session(),
                    generation,
                    self.client,
                )
                .await;
                if let Err(error) = claimed {
                    log::debug!("session {} still has no client: {error}", self.session());
                }
            }
            let renewal = document.map_or(0, |document| document.ice_renewal);
            let mut renewed = false;
            if renewal > ice_renewal {
                renewed = match self.renew_ice(renewal, &mut sender).await {
                    Ok(renewed) => renewed,
                    Err(end) => return end,
                };
                if renewed {
                    ice_renewal = renewal;
                }
            }
            watch.next(renewed).await;
        }
    }

    /// Tells the client its new ICE servers; they come from the owner of the session, and pass
    /// through no log. Returns whether that was possible now.
    async fn renew_ice(&self, renewal: u64, sender: &mut SocketSender) -> Result<bool, CloseCause> {
        let session = self.session();
        let ice_servers = match owner::ice_servers(&self.bridge, session).await {
            Ok(ice_servers) => ice_servers,
            Err(error) => {
                log::warn!("client of session {session} gets no new ice servers yet: {error}");
                return Ok(false);
            }
        };
        let message =
            IceServersMessage { r#type: "ice_servers", ice_renewal: renewal, ice_servers };
        sender.send(serde_json::to_string(&message).expect("numbers and texts serialize")).await?;
        Ok(true)
    }
}

/// A fresh token, for those who have asked.
#[derive(Serialize)]
struct ReconnectTokenMessage<'a> {
    r#type: &'static str,
    token: &'a str,
    /// Unix seconds.
    expires_at: u64,
}

/// Tells a client that knows the type to use these servers from now on; others ignore it.
#[derive(Serialize)]
struct IceServersMessage {
    r#type: &'static str,
    ice_renewal: u64,
    ice_servers: Vec<IceServer>,
}
