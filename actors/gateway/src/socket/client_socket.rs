//! One client's socket: signals both ways until somebody ends it. That of a user of ADB, too.

use std::future::pending;
use std::time::Duration;

use actix_web::web::Data;
use stream_bridge::{BridgeError, SignalConnection};
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    Direction, Hop, IceTerms, Refusal, SessionDocument, SessionId, SignalPeer, TimelineEntry,
    Timestamp,
};
use stream_socket::{
    CloseCause, CloseCode, FrameFormat, SignalRelay, SocketPlace, SocketReceiver, SocketSender,
    close, keep_alive,
};
use stream_supervisor::{DrainOrder, retry_while, spawn_detached};
use stream_tokens::Claims;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::admission::{Admission, close_cause, session_gone};
use super::first_frame;
use super::messages::{IceServersMessage, ReconnectTokenMessage, text};
use crate::session_summary::SessionSummary;
use crate::state::{ADB_SOCKET, CLIENT_SOCKET, State};
use crate::{adb_connections, client_lease, owner, shares};

/// What a client is told whose token was revoked.
const TOKEN_REVOKED: &str = "token revoked";

/// How often a share is looked at that is not due: its end may have been brought forward.
const SHARE_POLL: Duration = Duration::from_secs(10);

/// After how long what could not be done is done again.
const FOLLOW_AGAIN: Duration = Duration::from_secs(5);

/// How often a share is looked at while the store does not answer.
const SHARE_RETRY: Duration = Duration::from_secs(2);

/// How often the end of a token is looked at.
const END_POLL: Duration = Duration::from_secs(60);

/// The clients of a gateway that drains are sent away within this time, once it begins.
const DRAIN_SPREAD: Duration = Duration::from_secs(10);

/// The socket of one client of a session.
///
/// Most sockets wait, and there are thousands: what is done now and then is boxed, so that it takes
/// memory while it is done only.
pub(crate) struct ClientSocket {
    admission: Admission,
    /// Of the token that opened the socket.
    claims: Claims,
    relay: SignalRelay,
    state: Data<State>,
}

impl ClientSocket {
    /// `signal_connection` is the one of this thread.
    pub(crate) fn new(
        admission: Admission,
        claims: Claims,
        signal_connection: SignalConnection,
        state: Data<State>,
    ) -> Self {
        let relay = SignalRelay {
            signal_connection,
            peer: admission.peer.clone(),
            direction: Direction::ToInstance,
            frames: admission.frames,
            generation: admission.generation,
            own_generation_only: true,
            metrics: state.socket_metrics.clone(),
        };
        Self { admission, claims, relay, state }
    }

    /// Runs the socket in a task of its own until it is closed. If the client has left, the
    /// instance is told so when the client has not returned in time.
    pub(crate) fn start(mut self, sender: SocketSender, receiver: SocketReceiver) {
        let counted = (self.state.open_sockets.add(), self.state.socket_metrics.open(self.kind()));
        let Admission { peer, generation, .. } = &self.admission;
        let (limit, key) = (&self.state.socket_limit, (peer.clone(), *generation));
        let place = if self.is_client() { limit.enter(key) } else { limit.enter_alone(key) };
        spawn_detached("a client socket", async move {
            let has_left = self.run(sender, receiver, place).await && self.is_client();
            let _departing = has_left.then(|| self.state.departures.add());
            drop(counted);
            if has_left {
                self.report_departure().await;
            }
        });
    }

    /// Relays until the end, closes the socket and returns whether the client has left.
    async fn run(
        &mut self,
        sender: SocketSender,
        mut receiver: SocketReceiver,
        place: SocketPlace<(SignalPeer, u64)>,
    ) -> bool {
        let Admission { peer, generation, .. } = &self.admission;
        log::info!(session:% = peer, generation; "client socket opened");
        self.tell_timeline("the socket is open", self.claims.restrictions.until);
        let (cause, has_lost_right) = match self.admission.close_cause.take() {
            Some(cause) => (cause, false),
            None => self.serve(&sender, &mut receiver, &place).await,
        };
        let session = &self.admission.peer;
        match &cause {
            // The ordinary end: clients close it when their stream is connected.
            CloseCause::PeerClosed => {
                log::info!(session:%; "client socket closed by the client");
            }
            CloseCause::PeerTimedOut => log::info!(session:%; "client socket lost"),
            CloseCause::ByUs { message, .. } => {
                log::info!(session:%, cause = message.as_str(); "client socket closed");
            }
        }
        self.state.socket_metrics.closed(self.kind(), &cause);
        let why = match &cause {
            CloseCause::PeerClosed => "the client has closed the socket",
            CloseCause::PeerTimedOut => "the client is heard no more",
            // That is how a share ends which somebody deletes.
            CloseCause::ByUs { message, .. }
                if message == TOKEN_REVOKED && self.admission.share.is_some() =>
            {
                "the share has ended, its token is revoked"
            }
            CloseCause::ByUs { message, .. } => message,
        };
        self.tell_timeline(why, None);
        Box::pin(self.release_lease(&cause)).await;
        let has_left = matches!(cause, CloseCause::PeerClosed | CloseCause::PeerTimedOut);
        close(sender, receiver, cause).await;
        if has_lost_right {
            Box::pin(self.end_adb()).await;
        }
        has_left
    }

    /// Tells what becomes of the socket in the timeline of the session, and when what it was opened
    /// with ends.
    fn tell_timeline(&self, what: &str, until: Option<Timestamp>) {
        let who = match self.is_client() {
            true => format!("client {}", self.admission.generation),
            false => "a user of ADB".to_owned(),
        };
        let entry = TimelineEntry::new(Hop::Socket, format!("{who}: {what}"));
        let entry = TimelineEntry { until, ..entry };
        self.state.bridge.tell_timeline(self.session(), vec![entry]);
    }

    /// Notes after how long the client says that it has shown its first frame.
    fn tell_first_frame(&self, after_ms: u64) {
        self.state.first_frames.observe(&Vec::new(), Duration::from_millis(after_ms));
        let generation = self.admission.generation;
        let text = format!("client {generation}: first frame after {after_ms} ms");
        let entry = TimelineEntry::new(Hop::Frame, text);
        let entry = TimelineEntry { took_ms: Some(after_ms), ..entry };
        self.state.bridge.tell_timeline(self.session(), vec![entry]);
    }

    /// Serves the open socket; returns why it ends, and whether for a right that has. An order to
    /// leave comes before a signal.
    async fn serve(
        &self,
        sender: &SocketSender,
        receiver: &mut SocketReceiver,
        place: &SocketPlace<(SignalPeer, u64)>,
    ) -> (CloseCause, bool) {
        let cause = tokio::select! {
            biased;
            cause = self.watch_rights() => return (cause, true),
            cause = self.watch_unit() => cause,
            cause = superseded(place) => cause,
            cause = self.watch_session(sender.clone()) => cause,
            cause = self.relay_signals(sender, receiver) => cause,
            cause = self.maintain(sender) => cause,
        };
        (cause, false)
    }

    /// Returns when the client may not be here any more, whatever becomes of its session.
    async fn watch_rights(&self) -> CloseCause {
        tokio::select! {
            biased;
            cause = self.watch_revocation() => cause,
            cause = self.watch_share() => cause,
            cause = self.watch_end() => cause,
        }
    }

    /// Returns when the client has to go on at another gateway.
    async fn watch_unit(&self) -> CloseCause {
        tokio::select! {
            biased;
            cause = self.watch_stop() => cause,
            cause = self.watch_drain() => cause,
        }
    }

    /// Has the instance cut off a user of ADB that may not use it any more. What cannot be written
    /// now ends with the share.
    async fn end_adb(&self) {
        let Admission { peer, generation, .. } = &self.admission;
        let (Some(share), bridge) = (&peer.share, &self.state.bridge) else { return };
        let ended = adb_connections::end(bridge, &peer.session, share, Some(*generation));
        if let Err(error) = ended.await {
            log::debug!(session:% = peer, error:%; "a connection to adb is left to its end");
        }
    }

    /// Relays signals both ways. What the client sends counts against what the session may
    /// write through this gateway; its agent counts what the instance sends. What it says of its
    /// first frame is no signal, and counts once.
    async fn relay_signals(
        &self,
        sender: &SocketSender,
        receiver: &mut SocketReceiver,
    ) -> CloseCause {
        let writes = &self.state.writes;
        let admits =
            |bytes| writes.try_acquire(&self.admission.peer, 1, bytes, Instant::now().into_std());
        let mut is_told = false;
        let takes = |text: &str| {
            if !self.is_client() || !first_frame::is_report(text) {
                return false;
            }
            if !is_told && let Some(after_ms) = first_frame::read(text) {
                is_told = true;
                self.tell_first_frame(after_ms);
            }
            true
        };
        tokio::select! {
            biased;
            cause = self.relay.receive_from_peer(receiver, admits, takes) => cause,
            cause = self.relay.send_to_peer(sender.clone()) => cause,
        }
    }

    /// Does what an open socket needs now and then; returns when the client cannot be reached.
    async fn maintain(&self, sender: &SocketSender) -> CloseCause {
        tokio::select! {
            biased;
            cause = self.renew_tokens(sender) => cause,
            cause = self.keep_lease() => cause,
            cause = keep_alive(sender.clone()) => cause,
        }
    }

    /// Holds the client's lease, where another client would have to wait for it.
    async fn keep_lease(&self) -> CloseCause {
        if self.admission.keeps_lease {
            let (session, generation) = (self.session(), self.admission.generation);
            Box::pin(client_lease::keep(&self.state.bridge, session, generation)).await;
        }
        pending().await
    }

    /// Leaves the lease to the next client, or to the stream of this one.
    async fn release_lease(&self, cause: &CloseCause) {
        let (session, Admission { generation, keeps_lease, .. }) =
            (self.session(), &self.admission);
        let bridge = &self.state.bridge;
        match cause {
            _ if !keeps_lease => {}
            CloseCause::PeerClosed => {
                client_lease::release_after_handover(bridge, session, *generation).await;
            }
            CloseCause::PeerTimedOut => client_lease::release(bridge, session, *generation).await,
            CloseCause::ByUs { .. } => {}
        }
    }

    /// Waits for as long as a client without a socket may take to return, and has its instance told
    /// that it has left, unless it is connected or was replaced. A gateway that stops tells it at
    /// once, since nobody else knows. A client that returns later is named again by its socket.
    async fn report_departure(&self) {
        tokio::select! {
            biased;
            () = sleep(self.state.client_grace) => {}
            _ = self.watch_stop() => {}
        }
        let (session, generation) = (self.session(), self.admission.generation);
        let bridge = &self.state.bridge;
        let removal = Box::pin(client_lease::remove_client(bridge, session, generation));
        if let Err(error) = removal.await {
            log::debug!(session:%, error:%; "a client that left is not reported yet");
        }
    }

    fn session(&self) -> &SessionId {
        &self.admission.peer.session
    }

    /// Whether it is the client's, not that of a user of ADB.
    fn is_client(&self) -> bool {
        self.admission.peer.share.is_none()
    }

    /// What metrics call it.
    fn kind(&self) -> &'static str {
        if self.is_client() { CLIENT_SOCKET } else { ADB_SOCKET }
    }

    /// Returns when the gateway stops.
    async fn watch_stop(&self) -> CloseCause {
        let mut closing = self.state.closing.clone();
        // Without a sender there is no gateway any more.
        let _ = closing.wait_for(|closing| *closing).await;
        CloseCause::restarting("the gateway is restarting")
    }

    /// Returns, some time after the gateway was told to drain, when the client has to go on
    /// elsewhere.
    async fn watch_drain(&self) -> CloseCause {
        let mut orders = self.state.drain.watch();
        loop {
            let ends = |order: &Option<DrainOrder>| matches!(order, Some(DrainOrder::EndBy(_)));
            let given = orders.wait_for(ends).await.ok().and_then(|order| *order);
            let Some(DrainOrder::EndBy(until)) = given else { return pending().await };
            let [chance] = *stream_pki::random_bytes::<1>();
            let left = until.saturating_duration_since(Instant::now());
            let pause = drain_pause(self.admission.frames, left, f64::from(chance) / 256.0);
            tokio::select! {
                biased;
                () = sleep(pause) => return CloseCause::restarting("the gateway is restarting"),
                // Another order, or none.
                _ = orders.changed() => {}
            }
        }
    }

    /// Returns when the token that opened the socket is revoked.
    async fn watch_revocation(&self) -> CloseCause {
        self.state.tokens.revoked(&self.claims).await;
        CloseCause::client_error(CloseCode::Policy, TOKEN_REVOKED)
    }

    /// Returns when the share that the client came through is over, which may be put off meanwhile.
    async fn watch_share(&self) -> CloseCause {
        let Some(share) = &self.admission.share else { return pending().await };
        loop {
            let State { views, tokens, .. } = &**self.state;
            let pause = match Box::pin(shares::find(views, tokens, share.as_str())).await {
                Ok(Some(found)) => (found.expiry_at - self.state.bridge.now()).min(SHARE_POLL),
                Ok(None) => {
                    return CloseCause::client_error(CloseCode::Policy, "the share has ended");
                }
                Err(_) => SHARE_RETRY,
            };
            sleep(pause).await;
        }
    }

    /// Returns when the token has ended that the client came with.
    async fn watch_end(&self) -> CloseCause {
        let Some(until) = self.claims.restrictions.until else { return pending().await };
        loop {
            let left = until - self.state.bridge.now();
            if left.is_zero() {
                return CloseCause::client_error(CloseCode::Policy, "the token has ended");
            }
            // The clock may be set meanwhile.
            sleep(left.min(END_POLL)).await;
        }
    }

    /// Sends reconnect tokens to a client that wants them; returns when it cannot be reached.
    async fn renew_tokens(&self, sender: &SocketSender) -> CloseCause {
        match self.admission.wants_reconnect_tokens {
            true => Box::pin(self.send_reconnect_tokens(sender.clone())).await,
            false => pending().await,
        }
    }

    /// Sends the client a reconnect token at once and then one now and then: it can open the socket
    /// again with any that is not older than a token in a URL may be, as the same client and with
    /// no other right.
    async fn send_reconnect_tokens(&self, mut sender: SocketSender) -> CloseCause {
        let reconnect_tokens = &self.state.reconnect_tokens;
        let mut ticks = interval(reconnect_tokens.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let expires = reconnect_tokens.expiry(self.state.bridge.now());
            let renewal = Box::pin(self.state.tokens.renew(&self.claims, expires));
            let minted = match renewal.await {
                Ok(minted) => minted,
                Err(error) => {
                    let session = self.session();
                    log::debug!(session:%, error:%; "a client gets no reconnect token yet");
                    continue;
                }
            };
            let message = ReconnectTokenMessage::new(&minted.token, expires);
            if let Err(cause) = sender.send(text(&message)).await {
                return cause;
            }
        }
    }

    /// Returns when the session is over or another client has taken the place.
    async fn watch_session(&self, sender: SocketSender) -> CloseCause {
        let State { views, .. } = &**self.state;
        let start = async || Box::pin(views.watch_session(self.session())).await;
        let mut watch = match retry_while(Duration::MAX, BridgeError::is_transient, start).await {
            Ok(watch) => watch,
            Err(error) => return CloseCause::rejected(error.refusal()),
        };
        let (mut ice_renewal, mut session) = (self.admission.ice_renewal, watch.next().await);
        loop {
            let followed = Box::pin(self.follow(session.as_deref(), &mut ice_renewal, &sender));
            session = match followed.await {
                Ok(true) => watch.next().await,
                Ok(false) => timeout(FOLLOW_AGAIN, watch.next()).await.unwrap_or(session),
                Err(cause) => return cause,
            };
        }
    }

    /// Does what follows from how the session is now: names this client if nobody is named, and
    /// tells the client its new ICE servers if they were renewed. Returns whether all is done that
    /// is to be done, or why the socket closes.
    async fn follow(
        &self,
        session: Option<&SessionSummary>,
        ice_renewal: &mut u64,
        sender: &SocketSender,
    ) -> Result<bool, CloseCause> {
        let State { bridge, .. } = &**self.state;
        let (id, Admission { peer, generation, client, .. }) = (self.session(), &self.admission);
        let Some(session) = session else {
            // A document that this version cannot read is in no view, either.
            return match bridge.read::<SessionDocument>(Bucket::Sessions, id.as_str()).await {
                Ok(None) => Err(session_gone()),
                // The view is behind.
                Ok(Some(_)) => Ok(false),
                Err(error) if error.is_transient() => Ok(false),
                Err(error) => Err(CloseCause::rejected(error.refusal())),
            };
        };
        if let Some(cause) = close_cause(session, peer, *generation) {
            return Err(cause);
        }
        let mut is_done = true;
        if !session.has_client
            && let Some(client) = *client
            && let Err(error) = client_lease::restore_client(bridge, id, *generation, client).await
        {
            log::debug!(session:% = id, error:%; "a session still names no client");
            is_done = false;
        }
        if session.ice_renewal > *ice_renewal {
            match self.renew_ice(session.ice_renewal, sender.clone()).await? {
                true => *ice_renewal = session.ice_renewal,
                false => is_done = false,
            }
        }
        Ok(is_done)
    }

    /// Returns when everything ends that the client has, as far as is known now; `None` is never.
    async fn end(&self) -> Result<Option<Timestamp>, Refusal> {
        let State { views, tokens, .. } = &**self.state;
        let token = self.claims.restrictions.until;
        let Some(share) = &self.admission.share else { return Ok(token) };
        let share = shares::find(views, tokens, share.as_str()).await?;
        let share = share.ok_or_else(shares::not_found)?;
        Ok(token.into_iter().chain([share.expiry_at]).min())
    }

    /// Tells the client its new ICE servers; they come from the owner of the session, and pass
    /// through no log. Returns whether that was possible now.
    async fn renew_ice(&self, renewal: u64, mut sender: SocketSender) -> Result<bool, CloseCause> {
        let session = self.session();
        let Ok(until) = Box::pin(self.end()).await else { return Ok(false) };
        let terms = IceTerms { renew: true, until };
        let ice_servers = match owner::ice_servers(&self.state.bridge, session, terms).await {
            Ok(ice_servers) => ice_servers,
            Err(error) => {
                log::warn!(session:%, error:%; "a client gets no new ICE servers yet");
                return Ok(false);
            }
        };
        sender.send(text(&IceServersMessage::new(renewal, ice_servers))).await?;
        Ok(true)
    }
}

/// Returns when the client has opened too many sockets after this one.
async fn superseded(place: &SocketPlace<(SignalPeer, u64)>) -> CloseCause {
    place.taken().await;
    CloseCause::client_error(CloseCode::Policy, "the client has opened the socket again")
}

/// How long a client is left alone whose gateway ends in `left`. `chance`, between 0 and 1, spreads
/// clients, so that they do not return all at once.
///
/// A client with a cursor goes on elsewhere and hardly notices. One without has half of the time to
/// close the socket itself, as it does when its stream is connected.
fn drain_pause(frames: FrameFormat, left: Duration, chance: f64) -> Duration {
    let (alone, spread) = match frames {
        FrameFormat::Enveloped { .. } => (Duration::ZERO, left / 2),
        FrameFormat::Bare => (left / 2, left / 4),
    };
    alone + spread.min(DRAIN_SPREAD).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_told_well_before_its_gateway_ends() {
        let enveloped = FrameFormat::Enveloped { after: None };
        let seconds =
            |frames, left, chance| drain_pause(frames, Duration::from_secs(left), chance).as_secs();
        assert_eq!((seconds(enveloped, 60, 0.0), seconds(enveloped, 60, 1.0)), (0, 10));
        assert_eq!((seconds(enveloped, 4, 0.0), seconds(enveloped, 4, 1.0)), (0, 2));
        let bare = FrameFormat::Bare;
        assert_eq!((seconds(bare, 60, 0.0), seconds(bare, 60, 1.0)), (30, 40));
        assert_eq!((seconds(bare, 4, 0.0), seconds(bare, 4, 1.0)), (2, 3));
        assert_eq!(seconds(bare, 0, 1.0), 0);
    }
}
