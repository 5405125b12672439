//! Carries one generation's signals between the agent and the peer that serves its client, or who
//! uses ADB.

use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use stream_protocol::{
    ClientReport, ClientState, Cursor, IceServer, LoggedSignal, NewSignal, ShareId, Signal,
    SignalId, error_chain,
};
use tokio::sync::{mpsc, watch};
use tokio::time;

use super::agent::Agent;
use super::peer::{Peer, PeerOptions, PeerState};
use super::retry::{self, Retry};
use crate::device::SharedDevice;
use crate::media::MediaError;

/// Signals under way to or from the peer, which takes them at once.
const QUEUE_LENGTH: usize = 64;

/// Signals that are written in one request.
const BATCH: usize = 16;

/// Between two renewals of the ways to a client that stays lost.
const RENEW_INTERVAL: Duration = Duration::from_secs(4);

/// The answer to a reader whose position is no longer kept.
const HISTORY_GONE: u16 = 409;

/// Carries signals while [`work`] is polled; dropping it ends the stream.
pub(super) struct Relay {
    generation: u64,
    open: watch::Sender<bool>,
    renewals: watch::Sender<u64>,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    _peer: Peer,
}

impl Relay {
    /// Starts a peer that shows `device` to the client of `generation`, and relays its signals; or
    /// one for who uses ADB through `share`, of which nothing is reported.
    pub(super) fn start(
        agent: Arc<Agent>,
        share: Option<ShareId>,
        generation: u64,
        device: SharedDevice,
        options: PeerOptions,
    ) -> Result<Self, MediaError> {
        let (to_peer, from_client) = mpsc::channel(QUEUE_LENGTH);
        let (to_client, from_peer) = mpsc::channel(QUEUE_LENGTH);
        let peer = Peer::start_on(device, options, from_client, to_client)?;
        let (open, opened) = watch::channel(true);
        let (renewals, renewed) = watch::channel(0);
        let reported = report_client_state(Arc::clone(&agent), peer.state(), generation);
        let is_client = share.is_none();
        let fetched = fetch_ice(Arc::clone(&agent), renewed, peer.restarts(), peer.ice_servers());
        let recovered = renew_while_lost(Arc::clone(&agent), peer.state());
        let written = write(Arc::clone(&agent), share.clone(), generation, from_peer);
        let read = Reader::new(agent, share, generation, opened, to_peer).run();
        let work = Box::pin(async move {
            let of_client = async {
                if is_client {
                    tokio::join!(reported, recovered);
                }
            };
            tokio::join!(of_client, fetched, written, read);
        });
        Ok(Self { generation, open, renewals, work, _peer: peer })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Reads signals while `open`; media does not depend on it.
    pub(super) fn set_open(&self, open: bool) {
        self.open.send_if_modified(|known| std::mem::replace(known, open) != open);
    }

    /// Fetches the ICE servers of `renewal` and connects to the client anew.
    pub(super) fn renew_ice(&self, renewal: u64) {
        self.renewals.send_replace(renewal);
    }
}

/// Does the work of `relays`; with none, or when all is done, waits for ever.
pub(super) async fn work<'a>(relays: impl Iterator<Item = &'a mut Relay>) {
    let mut relays: Vec<_> = relays.collect();
    future::poll_fn(|context| {
        for relay in &mut relays {
            if relay.work.as_mut().poll(context).is_ready() {
                relay.work = Box::pin(future::pending());
            }
        }
        Poll::Pending
    })
    .await
}

/// Says when the client comes and goes; one of which nothing is heard any more is not there.
async fn report_client_state(
    agent: Arc<Agent>,
    mut state: watch::Receiver<PeerState>,
    generation: u64,
) {
    let mut streaming = false;
    while state.changed().await.is_ok() {
        let now = *state.borrow_and_update() == PeerState::Streaming;
        if std::mem::replace(&mut streaming, now) != now {
            let what = if now { "connected" } else { "disconnected" };
            log::info!(generation; "client {what}");
            let client = if now { ClientState::Connected } else { ClientState::Disconnected };
            let report = ClientReport { client, generation };
            retry::until_answered("client report", || agent.report_client(&report)).await;
        }
    }
}

/// Asks for new ways to the client whenever it is lost, until it is back or gone.
async fn renew_while_lost(agent: Arc<Agent>, mut state: watch::Receiver<PeerState>) {
    while state.wait_for(|state| *state == PeerState::Lost).await.is_ok() {
        log::info!("the client is not heard any more, its ways are renewed");
        if let Err(error) = agent.renew_ice().await {
            log::warn!(error:% = error_chain(&error); "the ways to the client are not renewed");
        }
        let back = state.wait_for(|state| *state != PeerState::Lost);
        // Whichever it is: if it is still lost, it is tried again.
        let _ = time::timeout(RENEW_INTERVAL, back).await.map(drop);
    }
}

/// Fetches ICE servers now and at every renewal, which then has the peer connect anew. Only an
/// instance that has media relayed uses them: others are reached at their own address.
async fn fetch_ice(
    agent: Arc<Agent>,
    mut renewals: watch::Receiver<u64>,
    restarts: watch::Sender<u64>,
    ice_servers: watch::Sender<Option<Vec<IceServer>>>,
) {
    loop {
        match agent.ice_servers().await {
            Ok(servers) => {
                log::info!(count = servers.len(); "got ICE servers");
                ice_servers.send_replace(Some(servers));
            }
            Err(error) => log::warn!(error:% = error_chain(&error); "got no ICE servers"),
        }
        // What is renewed is made anew even if nothing could be fetched: the client has its own.
        let renewal = *renewals.borrow_and_update();
        if renewal > 0 {
            restarts.send_replace(renewal);
        }
        if renewals.changed().await.is_err() {
            return;
        }
    }
}

/// Writes what the peer says, in order, each until it is acknowledged or refused for good.
async fn write(
    agent: Arc<Agent>,
    share: Option<ShareId>,
    generation: u64,
    mut from_peer: mpsc::Receiver<String>,
) {
    let mut texts = Vec::with_capacity(BATCH);
    while from_peer.recv_many(&mut texts, BATCH).await > 0 {
        let signals = texts.drain(..).filter_map(|text| match Signal::parse(text) {
            // The id is given once: a repeated write is recognised by it.
            Ok(signal) => Some(NewSignal { id: SignalId::random(), generation, signal }),
            Err(error) => {
                log::error!(error:%; "signal not sent");
                None
            }
        });
        let signals: Vec<_> = signals.collect();
        retry::until_answered("signal write", || agent.post(share.as_ref(), &signals)).await;
    }
}

struct Reader {
    agent: Arc<Agent>,
    share: Option<ShareId>,
    position: ReadPosition,
    open: watch::Receiver<bool>,
    to_peer: mpsc::Sender<String>,
}

impl Reader {
    fn new(
        agent: Arc<Agent>,
        share: Option<ShareId>,
        generation: u64,
        open: watch::Receiver<bool>,
        to_peer: mpsc::Sender<String>,
    ) -> Self {
        Self {
            agent,
            share,
            position: ReadPosition { generation, after: None, last_accepted: None },
            open,
            to_peer,
        }
    }

    /// Reads until the peer has ended.
    async fn run(mut self) {
        let mut retry = Retry::default();
        while self.open.wait_for(|open| *open).await.is_ok() {
            match self.agent.signals(self.share.as_ref(), self.position.after).await {
                Ok(page) => {
                    retry.reset();
                    for signal in page.signals {
                        let Some(text) = self.position.accept(signal) else { continue };
                        if self.to_peer.send(text).await.is_err() {
                            return;
                        }
                    }
                    self.position.after = Some(page.cursor);
                }
                Err(error) => {
                    if error.status() == Some(HISTORY_GONE) {
                        self.position.after = None;
                    }
                    retry.wait_after("signal read", &error).await;
                }
            }
        }
    }
}

/// Where a reader is in the log.
struct ReadPosition {
    generation: u64,
    after: Option<Cursor>,
    /// The last signal that went to the peer: reading from the start again repeats none.
    last_accepted: Option<Cursor>,
}

impl ReadPosition {
    /// Returns the text of a signal that is for this generation and new.
    fn accept(&mut self, signal: LoggedSignal) -> Option<String> {
        let LoggedSignal { cursor, generation, signal } = signal;
        let known = self
            .last_accepted
            .is_some_and(|last| last.epoch == cursor.epoch && cursor.sequence <= last.sequence);
        if known || generation != self.generation {
            return None;
        }
        self.last_accepted = Some(cursor);
        Some(signal.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(epoch: u64, sequence: u64, generation: u64) -> LoggedSignal {
        let signal = Signal::parse(r#"{"type":"discover"}"#.to_owned()).unwrap();
        LoggedSignal { cursor: Cursor { epoch, sequence }, generation, signal }
    }

    #[test]
    fn signals_of_other_generations_and_repeated_ones_are_dropped() {
        let mut position = ReadPosition { generation: 2, after: None, last_accepted: None };
        assert!(position.accept(logged(7, 4, 1)).is_none(), "of the client before");
        assert!(position.accept(logged(7, 5, 2)).is_some());
        assert!(position.accept(logged(7, 6, 3)).is_none(), "of the client after");
        assert!(position.accept(logged(7, 5, 2)).is_none(), "read again after a gap");
        assert!(position.accept(logged(7, 8, 2)).is_some());
        assert!(position.accept(logged(8, 1, 2)).is_some(), "a new log counts anew");
    }
}
