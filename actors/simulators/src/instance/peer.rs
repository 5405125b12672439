//! The instance's end of the signaling with one client, and the stream it leads to.

use std::convert::Infallible;
use std::future;
use std::net::IpAddr;
use std::time::Duration;

use stream_protocol::{IceServer, Role, error_chain};
use tokio::sync::{mpsc, watch};
use tokio::time;

use super::stream::{NextAction, Stream};
use crate::device::{Device, SharedDevice};
use crate::media::{self, MediaError, Paths, Relaying};
use crate::signaling::{API_VERSION, BAD_REQUEST, ClientMessage, InstanceMessage, Settings};

/// How long a client waits at most until the instance knows its relays.
const ICE_SERVERS_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one client: signals are JSON texts that come and go over channels, media has a socket
/// and a thread of its own and goes on when the channels are closed. Dropping it ends the stream.
pub struct Peer {
    state: watch::Receiver<PeerState>,
    restarts: watch::Sender<u64>,
    ice_servers: watch::Sender<Option<Vec<IceServer>>>,
    _alive: mpsc::Sender<Infallible>,
}

/// How a peer treats its client.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// What the client came for; a viewer's input has no effect, and who uses ADB gets nothing
    /// else.
    pub role: Role,
    /// The newest version of the protocol that is spoken. Before version 2 the client makes the
    /// offer, and version 0 knows neither `discover` nor `settings`.
    pub api_version: u32,
    /// Whether candidates come before the description they belong to.
    pub candidates_first: bool,
    /// An address of this machine where media is taken, beside the loopback.
    pub address: Option<IpAddr>,
    /// Whether media goes through a relay of the instance's own, one of the ICE servers that it
    /// gets.
    pub relaying: Relaying,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            role: Role::Control,
            api_version: API_VERSION,
            candidates_first: false,
            address: None,
            relaying: Relaying::Never,
        }
    }
}

/// How far a peer has come with its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerState {
    /// No client has asked for a stream yet, or the last stream has ended.
    Waiting,
    /// An offer was made.
    Connecting,
    /// Pictures and sound go out.
    Streaming,
    /// They do, but nothing has come back for some seconds.
    Lost,
}

impl Peer {
    /// Starts a peer of a small phone that reads `from_client` and writes `to_client`.
    ///
    /// # Errors
    ///
    /// Refuses when the system has no thread for it.
    pub fn start(
        options: PeerOptions,
        from_client: mpsc::Receiver<String>,
        to_client: mpsc::Sender<String>,
    ) -> Result<Self, MediaError> {
        let phone = SharedDevice::new(Device::new(media::SMALL_SCREEN, false));
        Self::start_on(phone, options, from_client, to_client)
    }

    /// Starts a peer that shows `device`.
    pub(super) fn start_on(
        device: SharedDevice,
        options: PeerOptions,
        from_client: mpsc::Receiver<String>,
        to_client: mpsc::Sender<String>,
    ) -> Result<Self, MediaError> {
        let (state_tx, state) = watch::channel(PeerState::Waiting);
        let (alive, dropped) = mpsc::channel(1);
        let (restarts, restart) = watch::channel(0);
        let (ice_servers, known_ice_servers) = watch::channel(None);
        media::on_own_thread("instance-media", move || {
            Loop {
                device,
                options,
                settings: Settings::default(),
                inbox: Some(from_client),
                to_client,
                dropped,
                restart,
                ice_servers: known_ice_servers,
                state: state_tx,
                stream: None,
            }
            .run()
        })?;
        Ok(Self { state, restarts, ice_servers, _alive: alive })
    }

    /// How far the peer has come, now and as it changes; closed once the peer has ended.
    pub fn state(&self) -> watch::Receiver<PeerState> {
        self.state.clone()
    }

    /// Where the peer is told the ICE servers of its next stream; one that is to use a relay waits
    /// for the first.
    pub fn ice_servers(&self) -> watch::Sender<Option<Vec<IceServer>>> {
        self.ice_servers.clone()
    }

    /// Has the peer offer an ICE restart to a connected client whenever the number of a renewal is
    /// sent.
    pub fn restarts(&self) -> watch::Sender<u64> {
        self.restarts.clone()
    }
}

struct Loop {
    device: SharedDevice,
    options: PeerOptions,
    /// Those of a client that is about to make an offer.
    settings: Settings,
    /// Gone when nobody signals any more.
    inbox: Option<mpsc::Receiver<String>>,
    to_client: mpsc::Sender<String>,
    dropped: mpsc::Receiver<Infallible>,
    restart: watch::Receiver<u64>,
    ice_servers: watch::Receiver<Option<Vec<IceServer>>>,
    state: watch::Sender<PeerState>,
    stream: Option<Stream>,
}

impl Loop {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.step().await {
                match error {
                    PeerEnd::Dropped => break,
                    // The next client may do better.
                    PeerEnd::Stream(error) => {
                        log::warn!(error:% = error_chain(&error); "stream ended");
                        self.stream = None;
                        self.refuse(&error);
                    }
                }
            }
        }
        if let Some(stream) = self.stream.take() {
            stream.close().await;
        }
    }

    /// Settles the last change, waits for the next one and makes it.
    async fn step(&mut self) -> Result<(), PeerEnd> {
        if let Some(stream) = &mut self.stream
            && !stream.settle().await?
            && let Some(ended) = self.stream.take()
        {
            ended.close().await;
        }
        self.publish();
        tokio::select! {
            text = receive(&mut self.inbox) => self.on_signal(&text).await?,
            action = next_action(&mut self.stream) => self.on_action(action?).await?,
            // A peer that nobody can have restart goes on as it is.
            Ok(()) = self.restart.changed() => self.on_restart()?,
            _ = self.dropped.recv() => return Err(PeerEnd::Dropped),
        }
        Ok(())
    }

    fn publish(&self) {
        let state = match &self.stream {
            None => PeerState::Waiting,
            Some(stream) if stream.is_lost() => PeerState::Lost,
            Some(stream) if stream.is_streaming() => PeerState::Streaming,
            Some(_) => PeerState::Connecting,
        };
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
    }

    fn on_restart(&mut self) -> Result<(), MediaError> {
        let renewal = *self.restart.borrow_and_update();
        if let Some(stream) = &mut self.stream {
            let messages = stream.restart(renewal)?;
            messages.iter().for_each(|message| self.send(message));
        }
        Ok(())
    }

    async fn on_action(&mut self, action: NextAction) -> Result<(), MediaError> {
        match (&mut self.stream, action) {
            (Some(stream), NextAction::Picture) => stream.send_picture().await,
            (Some(stream), NextAction::Sound) => stream.send_sound(),
            _ => Ok(()),
        }
    }

    async fn on_signal(&mut self, text: &str) -> Result<(), MediaError> {
        let message = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                log::debug!(error:%; "signal ignored");
                return Ok(());
            }
        };
        let version = self.options.api_version;
        match message {
            ClientMessage::Discover {} if version > 0 => self.discover(),
            ClientMessage::Settings(settings) if settings.api_version > version && version > 0 => {
                self.send(&InstanceMessage::Error {
                    message: format!("protocol version {version} is the newest spoken here"),
                    code: BAD_REQUEST,
                });
            }
            ClientMessage::Settings(settings)
                if version >= API_VERSION && settings.api_version >= API_VERSION =>
            {
                // A page that was loaded again starts from the beginning.
                self.end_stream().await;
                let settings = self.granted(settings);
                let (device, paths) = (self.device.clone(), self.paths().await);
                let (stream, messages) =
                    Stream::offer(&settings, device, self.options.role, &paths).await?;
                self.begin(stream, messages);
            }
            // The offer that follows is the client's.
            ClientMessage::Settings(settings) if version > 0 => {
                self.settings = self.granted(settings);
            }
            ClientMessage::Offer { sdp } => {
                self.end_stream().await;
                let (device, paths) = (self.device.clone(), self.paths().await);
                let role = self.options.role;
                let opened = Stream::answer_to(&sdp.0, &self.settings, device, role, &paths);
                let (stream, messages) = opened.await?;
                self.begin(stream, messages);
            }
            ClientMessage::Answer { sdp } => {
                if let Some(stream) = &mut self.stream {
                    stream.answer(&sdp.0).await?;
                }
            }
            ClientMessage::Candidate(candidate) => {
                if let Some(stream) = &mut self.stream {
                    stream.candidate(candidate);
                }
            }
            ClientMessage::Discover {} | ClientMessage::Settings(_) | ClientMessage::Unknown => {}
        }
        Ok(())
    }

    fn discover(&self) {
        let (fps, automotive) = {
            let device = self.device.lock();
            (device.screen().fps, device.is_automotive())
        };
        self.send(&InstanceMessage::Discovered {
            max_api_version: self.options.api_version,
            capabilities: automotive.then(|| "vhal".to_owned()).into_iter().collect(),
            fps,
        });
    }

    /// What a client of its role gets of what it wants.
    fn granted(&self, wanted: Settings) -> Settings {
        match self.options.role {
            Role::Adb => Settings { api_version: wanted.api_version, ..Settings::default() },
            Role::Control | Role::View => wanted,
        }
    }

    /// Returns the ways that media may take.
    async fn paths(&mut self) -> Paths {
        let PeerOptions { address, relaying, .. } = self.options;
        if relaying == Relaying::Never {
            return Paths { address, ..Paths::default() };
        }
        let known = self.ice_servers.wait_for(Option::is_some);
        let servers = match time::timeout(ICE_SERVERS_TIMEOUT, known).await {
            Ok(Ok(servers)) => servers.clone().unwrap_or_default(),
            // A stream without a relay may do as well.
            _ => Vec::new(),
        };
        Paths { address, relaying, servers }
    }

    async fn end_stream(&mut self) {
        if let Some(replaced) = self.stream.take() {
            replaced.close().await;
        }
    }

    /// Begins with a stream, about which the client is told a description and candidates.
    fn begin(&mut self, stream: Stream, mut messages: Vec<InstanceMessage>) {
        self.stream = Some(stream);
        if self.options.candidates_first {
            messages.reverse();
        }
        messages.iter().for_each(|message| self.send(message));
    }

    /// Tells the client why it gets no stream, if that is for something it said.
    fn refuse(&self, error: &MediaError) {
        let message = match error {
            MediaError::NoCodec(message) | MediaError::Peer(message) => message.clone(),
            MediaError::Stream(error) => error.to_string(),
            MediaError::NoRelay => error.to_string(),
            MediaError::Codec(_) | MediaError::Socket(_) => return,
        };
        self.send(&InstanceMessage::Error { message, code: BAD_REQUEST });
    }

    fn send(&self, message: &InstanceMessage) {
        let text = serde_json::to_string(message).expect("messages serialize");
        // A client that asks faster than it can be answered loses answers, not the stream.
        if let Err(error) = self.to_client.try_send(text) {
            log::warn!(error:%; "signal dropped");
        }
    }
}

enum PeerEnd {
    Dropped,
    Stream(MediaError),
}

impl From<MediaError> for PeerEnd {
    fn from(error: MediaError) -> Self {
        Self::Stream(error)
    }
}

async fn receive(inbox: &mut Option<mpsc::Receiver<String>>) -> String {
    if let Some(channel) = inbox
        && let Some(text) = channel.recv().await
    {
        return text;
    }
    *inbox = None;
    future::pending().await
}

async fn next_action(stream: &mut Option<Stream>) -> Result<NextAction, MediaError> {
    match stream {
        Some(stream) => stream.next_action().await,
        None => future::pending().await,
    }
}
