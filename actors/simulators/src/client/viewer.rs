use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_pki::Fingerprint;
use stream_protocol::error_chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time;

use super::JoinedSession;
use super::peer::{Command, Peer};
use super::report::{Milestone, Progress, Reporter, ViewerEvent};
use super::socket::{self, RelayChannels};
use crate::media::{self, MediaError, Paths, Picture, Relaying};
use crate::websocket::SocketError;

/// About half a minute of events.
const EVENTS: usize = 2048;

/// Signals and commands under way; more means that somebody has stopped reading.
const QUEUE_LENGTH: usize = 64;

/// Why a viewer has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    #[error("waited in vain for {0}")]
    Late(&'static str),
    #[error("the stream is closed: {0}")]
    Closed(String),
    #[error("media failed")]
    Media(#[from] MediaError),
    #[error("the signaling socket failed")]
    Socket(#[from] SocketError),
}

/// Watches one stream, as a browser would: signaling first, then media on a thread of its own.
/// Dropping it disconnects.
pub struct Viewer {
    commands: mpsc::Sender<Command>,
    progress: watch::Receiver<Progress>,
    events: mpsc::Receiver<(Instant, ViewerEvent)>,
}

impl Viewer {
    /// Opens the signaling socket of a session and starts to watch.
    ///
    /// # Errors
    ///
    /// The socket does not open, or its server shows none of the certificates in `pins`.
    pub async fn connect(
        created: &JoinedSession,
        pins: Vec<Fingerprint>,
    ) -> Result<Self, ViewerError> {
        Self::connect_over(created, pins, Relaying::Never).await
    }

    /// Watches as [`Viewer::connect`] does, through the relay of the session as `relaying` says.
    ///
    /// # Errors
    ///
    /// The socket does not open, or its server shows none of the certificates in `pins`.
    pub async fn connect_over(
        created: &JoinedSession,
        pins: Vec<Fingerprint>,
        relaying: Relaying,
    ) -> Result<Self, ViewerError> {
        let url = created.url.clone();
        let servers = created.stun_servers.clone();
        let asked = Some(created.asked);
        let paths = Paths { relaying, servers, ..Paths::default() };
        let (opened_tx, opened) = oneshot::channel();
        let viewer = Self::start(move |peer_channels, relay_channels| async move {
            // Opened where it is used, since a socket belongs to the loop that opened it.
            match socket::open(&url, pins).await {
                Ok(socket) => {
                    let _ = opened_tx.send(Ok(()));
                    tokio::join!(
                        PeerChannels { asked, ..peer_channels }.run(paths),
                        socket::relay_signals(socket, relay_channels)
                    );
                }
                Err(error) => drop(opened_tx.send(Err(error))),
            }
        })?;
        match opened.await {
            Ok(opened) => opened.map(|()| viewer).map_err(ViewerError::Socket),
            Err(_) => Err(ViewerError::Closed("its thread ended".into())),
        }
    }

    /// Watches a stream whose signals come and go as JSON texts on channels.
    ///
    /// # Errors
    ///
    /// The system has no thread or socket for it.
    pub fn over(
        from_instance: mpsc::Receiver<String>,
        to_instance: mpsc::Sender<String>,
    ) -> Result<Self, ViewerError> {
        Self::start(move |peer_channels, _| {
            let channels =
                PeerChannels { inbox: from_instance, outbox: to_instance, ..peer_channels };
            channels.run(Paths::default())
        })
    }

    /// Returns the next event and when it was; `None` after the last. Whoever does not read loses
    /// the latest.
    pub async fn next_event(&mut self) -> Option<(Instant, ViewerEvent)> {
        self.events.recv().await
    }

    /// Waits for `milestone` and returns when it was reached first.
    ///
    /// # Errors
    ///
    /// The stream ends without it, or `within` runs out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a milestone stays reached.
    pub async fn wait_event(
        &self,
        milestone: Milestone,
        within: Duration,
    ) -> Result<Instant, ViewerError> {
        let name = match milestone {
            Milestone::OfferReceived => "the offer",
            Milestone::AnswerSent => "the answer",
            Milestone::IceConnected => "the connection",
            Milestone::ControlOpen => "the control channel",
            Milestone::Audio => "sound",
            Milestone::FirstFrame => "the first picture",
            Milestone::Closed => "the end",
        };
        let reached = |progress: &Progress| progress.reached.get(&milestone).copied();
        self.wait(name, within, reached).await
    }

    /// Waits until `n` pictures were decoded, counted from the start; returns how many there are.
    ///
    /// # Errors
    ///
    /// Those of [`wait_event`](Self::wait_event).
    pub async fn wait_frames(&self, n: u64, within: Duration) -> Result<u64, ViewerError> {
        let enough = |progress: &Progress| (progress.frames >= n).then_some(progress.frames);
        self.wait("pictures", within, enough).await
    }

    /// Taps at (`x`, `y`), in pixels of the stream, as soon as the control channel is open.
    ///
    /// # Errors
    ///
    /// Those of [`wait_event`](Self::wait_event).
    pub async fn tap(&self, x: f64, y: f64, within: Duration) -> Result<(), ViewerError> {
        self.wait_event(Milestone::ControlOpen, within).await?;
        let sent = self.commands.send(Command::Tap { x, y }).await;
        sent.map_err(|_| ViewerError::Closed(self.reason()))
    }

    /// Waits for a picture with the mark of a tap at (`x`, `y`).
    ///
    /// # Errors
    ///
    /// Those of [`wait_event`](Self::wait_event).
    pub async fn wait_mark(&self, x: usize, y: usize, within: Duration) -> Result<(), ViewerError> {
        let marked = |progress: &Progress| {
            progress.picture.as_ref().filter(|picture| picture.is_marked(x, y)).map(|_| ())
        };
        self.wait("the mark", within, marked).await
    }

    /// Returns the last decoded picture.
    pub fn frame(&self) -> Option<Arc<Picture>> {
        self.progress.borrow().picture.clone()
    }

    /// Returns how many pictures were decoded so far.
    pub fn frames(&self) -> u64 {
        self.progress.borrow().frames
    }

    /// Tells the instance goodbye, and returns when the stream is closed.
    pub async fn disconnect(self) {
        if self.commands.send(Command::Disconnect).await.is_ok() {
            let mut progress = self.progress.clone();
            // The peer may end for a reason of its own at the same moment: then it is closed too.
            let _ = progress.wait_for(|progress| progress.closed.is_some()).await;
        }
    }

    fn start<F, W>(work: F) -> Result<Self, ViewerError>
    where
        F: FnOnce(PeerChannels, RelayChannels) -> W + Send + 'static,
        W: Future<Output = ()>,
    {
        let (progress_tx, progress) = watch::channel(Progress::default());
        let (events_tx, events) = mpsc::channel(EVENTS);
        let (commands, commands_rx) = mpsc::channel(QUEUE_LENGTH);
        let (to_peer, inbox) = mpsc::channel(QUEUE_LENGTH);
        let (outbox, from_peer) = mpsc::channel(QUEUE_LENGTH);
        let reporter = Reporter::new(progress_tx, events_tx);
        let peer_channels =
            PeerChannels { inbox, outbox, commands: commands_rx, reporter, asked: None };
        let relay_channels = RelayChannels { to_peer, from_peer };
        media::on_own_thread("viewer-media", move || work(peer_channels, relay_channels))
            .map_err(MediaError::Socket)?;
        Ok(Self { commands, progress, events })
    }

    async fn wait<T>(
        &self,
        name: &'static str,
        within: Duration,
        mut seen: impl FnMut(&Progress) -> Option<T>,
    ) -> Result<T, ViewerError> {
        let mut progress = self.progress.clone();
        let wait = async {
            loop {
                {
                    let now = progress.borrow_and_update();
                    if let Some(found) = seen(&now) {
                        return Ok(found);
                    }
                    if let Some(reason) = &now.closed {
                        return Err(ViewerError::Closed(reason.clone()));
                    }
                }
                if progress.changed().await.is_err() {
                    return Err(ViewerError::Closed(self.reason()));
                }
            }
        };
        time::timeout(within, wait).await.unwrap_or(Err(ViewerError::Late(name)))
    }

    fn reason(&self) -> String {
        self.progress.borrow().closed.clone().unwrap_or_else(|| "its thread ended".into())
    }
}

/// What the peer holds of its channels.
struct PeerChannels {
    inbox: mpsc::Receiver<String>,
    outbox: mpsc::Sender<String>,
    commands: mpsc::Receiver<Command>,
    reporter: Reporter,
    /// When the stream was asked for, if there is a gateway that is told of its first picture.
    asked: Option<Instant>,
}

impl PeerChannels {
    async fn run(self, paths: Paths) {
        let Self { inbox, outbox, commands, reporter, asked } = self;
        let reporter = Rc::new(reporter);
        match Peer::new(inbox, outbox, commands, Rc::clone(&reporter), &paths).await {
            Ok(peer) => peer.asked_at(asked).run().await,
            Err(error) => reporter.report(ViewerEvent::Closed(error_chain(&error))),
        }
    }
}
