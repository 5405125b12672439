//! One client's socket: signals both ways until somebody ends it.

use std::future::Future;
use std::time::{Duration, Instant};

use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, Session as Socket};
use serde::Serialize;
use stream_bridge::{Bridge, BridgeError};
use stream_protocol::subjects::{self, Bucket};
use stream_protocol::{
    Ask, ClientIce, Code, Cursor, Direction, IceServer, Posted, Refusal, SessionDocument,
    SessionId, Signal, SignalId,
};
use stream_tokens::{Claims, Tokens};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use super::allowance::Allowance;
use super::end::{End, verdict};
use crate::hints::{Hints, Topic};
use crate::sessions::OWNER_DEADLINE;

const PING: Duration = Duration::from_secs(5);

/// A client that is silent for so long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a signal is kept while NATS is away, before the client is told that it is lost.
const APPEND_PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a client has to take the last message and to close its side.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Relay {
    pub(crate) bridge: Bridge,
    pub(crate) session: SessionId,
    /// Of the one client that this socket is for.
    pub(crate) generation: u64,
    /// The last renewal of ICE servers that it knows of.
    pub(crate) ice_renewal: u64,
    pub(crate) tokens: Tokens,
    /// Of the token that opened the socket.
    pub(crate) claims: Claims,
    /// Turns true when the gateway stops.
    pub(crate) closing: watch::Receiver<bool>,
}

impl Relay {
    /// Relays until the end; with a `verdict` it is over before it began.
    pub(crate) async fn run(
        self,
        socket: Socket,
        mut messages: AggregatedMessageStream,
        verdict: Option<End>,
    ) {
        log::info!("client socket opened, session {}, client {}", self.session, self.generation);
        let end = match verdict {
            Some(end) => end,
            None => tokio::select! {
                biased;
                end = self.stopped() => end,
                end = self.revoked() => end,
                end = self.outlive(socket.clone()) => end,
                end = self.hear_client(&mut messages, socket.clone()) => end,
                end = self.tell_client(socket.clone()) => end,
                end = ping(socket.clone()) => end,
            },
        };
        match &end {
            End::Left => log::info!("client socket closed by the client, session {}", self.session),
            End::Told { message, .. } => {
                log::info!("client socket closed, session {}: {message}", self.session);
            }
        }
        // A client that does not read cannot be told.
        let _ = timeout(FAREWELL, farewell(socket, messages, end)).await;
    }

    /// Ends when the gateway stops.
    async fn stopped(&self) -> End {
        let mut closing = self.closing.clone();
        // Without a sender there is no gateway any more.
        let _ = closing.wait_for(|closing| *closing).await;
        End::ours(CloseCode::Restart, "the gateway is restarting")
    }

    /// Ends when the token that opened the socket is revoked.
    async fn revoked(&self) -> End {
        self.tokens.revoked(&self.claims).await;
        End::bad(CloseCode::Policy, "token revoked")
    }

    /// Ends when the session is over or another client has taken the place; until then tells the
    /// client its new ICE servers whenever they are renewed.
    async fn outlive(&self, mut socket: Socket) -> End {
        let mut ice_renewal = self.ice_renewal;
        let topic = Topic::Document(&self.session);
        let followed = persist(Duration::MAX, || Hints::follow(&self.bridge, topic)).await;
        let mut hints = match followed {
            Ok(hints) => hints,
            Err(refusal) => return End::refused(refusal),
        };
        loop {
            let read =
                || self.bridge.read::<SessionDocument>(Bucket::Sessions, self.session.as_str());
            let entry = match persist(Duration::MAX, read).await {
                Ok(entry) => entry,
                Err(refusal) => return End::refused(refusal),
            };
            let document = entry.map(|entry| entry.value);
            if let Some(end) = verdict(document.as_ref(), self.generation) {
                return end;
            }
            let renewal = document.map_or(0, |document| document.ice_renewal);
            let mut renewed = false;
            if renewal > ice_renewal {
                renewed = self.renew_ice(renewal, &mut socket).await;
                if renewed {
                    ice_renewal = renewal;
                }
            }
            hints.next(renewed).await;
        }
    }

    /// Tells the client its new ICE servers; they come from the owner of the session, and pass
    /// through no log. Returns whether that was possible now.
    async fn renew_ice(&self, renewal: u64, socket: &mut Socket) -> bool {
        let ice = self.bridge.ask(subjects::ice(&self.session), &Ask {}, OWNER_DEADLINE);
        let ClientIce { ice_servers } = match ice.await {
            Ok(ice) => ice,
            Err(error) => {
                let session = &self.session;
                log::warn!("client of session {session} gets no new ice servers yet: {error}");
                return false;
            }
        };
        let message = IceSignal { r#type: "ice_servers", ice_renewal: renewal, ice_servers };
        let text = serde_json::to_string(&message).expect("numbers and texts serialize");
        socket.text(text).await.is_ok()
    }

    /// Writes what the client sends to the log, one signal after the other.
    async fn hear_client(&self, messages: &mut AggregatedMessageStream, mut socket: Socket) -> End {
        let mut allowance = Allowance::new(Instant::now());
        loop {
            let message = match timeout(SILENCE, messages.recv()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return End::broken(&error),
                Ok(None) | Err(_) => return End::Left,
            };
            match message {
                AggregatedMessage::Text(text) => {
                    if !allowance.take(text.len(), Instant::now()) {
                        return End::bad(CloseCode::Policy, "too many signals in a minute");
                    }
                    let signal = match Signal::parse(text.into()) {
                        Ok(signal) => signal,
                        Err(error) => return End::bad(CloseCode::Invalid, error.to_string()),
                    };
                    if let Err(refusal) = self.append(signal).await {
                        return End::refused(refusal);
                    }
                }
                AggregatedMessage::Binary(_) => {
                    return End::bad(CloseCode::Unsupported, "a signal is a text frame");
                }
                AggregatedMessage::Ping(payload) => {
                    if socket.pong(&payload).await.is_err() {
                        return End::Left;
                    }
                }
                AggregatedMessage::Pong(_) => {}
                AggregatedMessage::Close(_) => return End::Left,
            }
        }
    }

    /// Returns when the log has the signal. A repeat has the same id, so it is stored once.
    async fn append(&self, signal: Signal) -> Result<Cursor, Refusal> {
        let posted = Posted { id: SignalId::random(), generation: self.generation, signal };
        let append = || self.bridge.append(&self.session, Direction::ToInstance, &posted);
        persist(APPEND_PATIENCE, append).await
    }

    /// Sends the client what the log has for it, from the beginning of its generation.
    async fn tell_client(&self, mut socket: Socket) -> End {
        let topic = Topic::Signals(&self.session);
        let followed = persist(Duration::MAX, || Hints::follow(&self.bridge, topic)).await;
        let mut hints = match followed {
            Ok(hints) => hints,
            Err(refusal) => return End::refused(refusal),
        };
        let mut cursor = None;
        let mut fruitful = false;
        loop {
            let (session, generation) = (&self.session, self.generation);
            let read = || self.bridge.signals(session, Direction::ToClient, cursor, generation);
            let page = match persist(Duration::MAX, read).await {
                Ok(page) => page,
                Err(refusal) => return End::refused(refusal),
            };
            cursor = Some(page.cursor);
            if page.signals.is_empty() {
                hints.next(fruitful).await;
                fruitful = false;
                continue;
            }
            fruitful = true;
            // A client must never see the candidates of the one before it.
            for logged in page.signals.iter().filter(|logged| logged.generation == generation) {
                if socket.text(logged.signal.as_str().to_owned()).await.is_err() {
                    return unheard().await;
                }
            }
        }
    }
}

/// Tells a client that knows the type to use these servers from now on; others ignore it.
#[derive(Serialize)]
struct IceSignal {
    r#type: &'static str,
    ice_renewal: u64,
    ice_servers: Vec<IceServer>,
}

/// Keeps the client answering.
async fn ping(mut socket: Socket) -> End {
    let mut ticks = interval(PING);
    loop {
        ticks.tick().await;
        if socket.ping(b"").await.is_err() {
            return unheard().await;
        }
    }
}

/// A client that takes nothing more may have sent something before it left, and clients do: that it
/// has left is for [`Relay::hear_client`] to say, when it has read all.
async fn unheard() -> End {
    std::future::pending().await
}

/// Says why, closes, and reads on until the client closes too: unread data would have the system
/// cut the connection before the message is out.
async fn farewell(mut socket: Socket, mut messages: AggregatedMessageStream, end: End) {
    let (message, reason) = end.farewell();
    let Some(message) = message else {
        // The client has closed already: it only waits for the answer to that.
        let _ = socket.close(Some(reason)).await;
        return;
    };
    if socket.text(message).await.is_err() || socket.close(Some(reason)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = messages.recv().await {
        if matches!(message, AggregatedMessage::Close(_)) {
            return;
        }
    }
}

/// Repeats `attempt` with growing pauses as long as its failure is one that passes, and at most
/// for `patience`.
async fn persist<T, F>(patience: Duration, attempt: impl Fn() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, BridgeError>>,
{
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let refusal = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error.refusal(),
        };
        let passing = matches!(refusal.code, Code::Busy | Code::TooMany | Code::Unavailable);
        if !passing || started.elapsed() >= patience {
            return Err(refusal);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[actix_web::test]
    async fn a_passing_failure_is_tried_again_and_another_is_not() {
        let tries = Cell::new(0);
        let attempt = |last: Result<u8, BridgeError>| {
            tries.set(tries.get() + 1);
            let away = Err(BridgeError::Away("nobody there".into()));
            let result = if tries.get() == 1 { away } else { last };
            async move { result }
        };
        assert_eq!(persist(Duration::MAX, || attempt(Ok(7))).await, Ok(7));
        assert_eq!(tries.get(), 2);

        tries.set(1);
        let broken = persist(Duration::MAX, || attempt(Err(BridgeError::Conflict))).await;
        assert_eq!(broken.unwrap_err().code, Code::Conflict);
        assert_eq!(tries.get(), 2);
    }

    #[actix_web::test]
    async fn patience_ends() {
        let away = || async { Err::<(), _>(BridgeError::Away("nobody there".into())) };
        let refusal = persist(Duration::ZERO, away).await.unwrap_err();
        assert_eq!(refusal.code, Code::Unavailable);
    }
}
