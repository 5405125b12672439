//! The bridge's end of the connection with the instance: signals, and a data channel for each
//! connection of an `adb` server.

use std::future;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::channel::ChannelConfig;
use str0m::{Event, IceConnectionState};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time;

use super::AdbError;
use super::link::Link;
use crate::instance::ADB;
use crate::media::{Connection, MediaError, Paths, PollResult, parse_candidate};
use crate::signaling::{
    API_VERSION, Base64, ClientMessage, InstanceMessage, Settings, TrickledCandidate,
};

/// An instance that is told to cut somebody off may do so before the gateway has said why.
const CAUSE_TIMEOUT: Duration = Duration::from_secs(3);

/// More candidates than an instance has.
const MAX_EARLY_CANDIDATES: usize = 64;

pub(super) struct Peer {
    connection: Connection,
    inbox: mpsc::Receiver<String>,
    to_instance: mpsc::Sender<String>,
    is_answered: bool,
    early_candidates: Vec<TrickledCandidate>,
    is_connected: bool,
    has_ended: bool,
    link: Option<Link>,
}

/// What a peer waited for.
enum Arrival {
    Accepted(TcpStream),
    /// Bytes of `adb`, or its end.
    Moved {
        is_alive: bool,
    },
    Signal(Option<String>),
    Waited,
}

impl Peer {
    pub(super) async fn open(
        inbox: mpsc::Receiver<String>,
        to_instance: mpsc::Sender<String>,
    ) -> Result<Self, AdbError> {
        Ok(Self {
            connection: Connection::open(&[], &Paths::default()).await?,
            inbox,
            to_instance,
            is_answered: false,
            early_candidates: Vec::new(),
            is_connected: false,
            has_ended: false,
            link: None,
        })
    }

    /// Returns once the instance is connected.
    pub(super) async fn connected(&mut self) -> Result<(), AdbError> {
        self.send(&ClientMessage::Discover {});
        while !self.is_connected {
            self.step(None).await?;
        }
        Ok(())
    }

    /// Serves one connection to `listener` after the other until the end.
    pub(super) async fn serve(&mut self, listener: &TcpListener) -> Result<(), AdbError> {
        loop {
            match self.step(Some(listener)).await {
                Err(AdbError::Ended) => return Err(self.cause_of_end().await),
                stepped => stepped?,
            }
        }
    }

    /// Returns why the instance has ended the connection, as far as the gateway says so.
    async fn cause_of_end(&mut self) -> AdbError {
        while let Ok(Some(text)) = time::timeout(CAUSE_TIMEOUT, self.inbox.recv()).await {
            if let Ok(InstanceMessage::Error { message, .. }) = serde_json::from_str(&text) {
                return AdbError::Refused(message);
            }
        }
        AdbError::Ended
    }

    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    /// Settles the last change, waits for the next one and makes it.
    async fn step(&mut self, listener: Option<&TcpListener>) -> Result<(), AdbError> {
        let wake = self.settle().await?;
        let listener = listener.filter(|_| self.link.is_none());
        let arrival = tokio::select! {
            text = self.inbox.recv() => Arrival::Signal(text),
            waited = self.connection.wait(wake) => waited.map(|()| Arrival::Waited)?,
            stream = accept(listener) => Arrival::Accepted(stream),
            is_alive = move_bytes(&mut self.link) => Arrival::Moved { is_alive },
        };
        match arrival {
            Arrival::Signal(Some(text)) => self.on_signal(&text).await?,
            Arrival::Signal(None) => return Err(AdbError::Closed),
            Arrival::Accepted(stream) => self.begin(stream),
            Arrival::Moved { is_alive: true } | Arrival::Waited => {}
            Arrival::Moved { is_alive: false } => self.end_link(),
        }
        Ok(())
    }

    /// Handles everything that the last change caused. Returns when to look again.
    async fn settle(&mut self) -> Result<Instant, AdbError> {
        if let Some(link) = &mut self.link {
            link.flush(self.connection.rtc())?;
        }
        loop {
            match self.connection.poll().await? {
                PollResult::Event(event) => self.on_event(*event),
                PollResult::Idle(wake) => {
                    let is_over = self.has_ended || !self.connection.rtc().is_alive();
                    return if is_over { Err(AdbError::Ended) } else { Ok(wake) };
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let label = ADB.to_owned();
        let config = ChannelConfig { label, ..ChannelConfig::default() };
        let channel = self.connection.rtc().direct_api().create_data_channel(config);
        match Link::new(stream, channel) {
            Ok(link) => self.link = Some(link),
            Err(error) => {
                log::warn!(error:%; "a connection of adb is of no use");
                self.connection.rtc().direct_api().close_data_channel(channel);
            }
        }
    }

    fn end_link(&mut self) {
        if let Some(link) = self.link.take() {
            self.connection.rtc().direct_api().close_data_channel(link.channel);
        }
    }

    fn on_event(&mut self, event: Event) {
        let link = self.link.as_mut();
        match event {
            Event::Connected => self.is_connected = true,
            Event::Closed => self.has_ended = true,
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                log::warn!("the instance is not heard any more");
            }
            Event::ChannelOpen(id, _) => match link.filter(|link| link.channel == id) {
                Some(link) => link.on_open(self.connection.rtc()),
                // Its `adb` has left meanwhile.
                None => self.connection.rtc().direct_api().close_data_channel(id),
            },
            Event::ChannelData(data) => {
                let reads = link.filter(|link| link.channel == data.id);
                if reads.is_some_and(|link| !link.receive(&data.data)) {
                    log::warn!("adb does not read what it is sent");
                    self.end_link();
                }
            }
            Event::ChannelClose(id) => {
                if let Some(link) = link.filter(|link| link.channel == id) {
                    link.on_close();
                }
            }
            _ => {}
        }
    }

    async fn on_signal(&mut self, text: &str) -> Result<(), AdbError> {
        match serde_json::from_str(text) {
            Ok(InstanceMessage::Discovered { max_api_version, .. }) => {
                if max_api_version < API_VERSION {
                    return Err(MediaError::Peer("an old protocol version".into()).into());
                }
                self.send(&ClientMessage::Settings(Settings {
                    api_version: API_VERSION,
                    data_channels: vec![ADB.to_owned()],
                    ..Settings::default()
                }));
            }
            // The offer of an ICE restart is answered like the first.
            Ok(InstanceMessage::Offer { sdp, .. }) => self.answer(&sdp.0).await?,
            Ok(InstanceMessage::Candidate(candidate)) => self.candidate(candidate),
            Ok(InstanceMessage::Error { message, .. }) => {
                return Err(AdbError::Refused(message));
            }
            Ok(InstanceMessage::Answer { .. } | InstanceMessage::Unknown) => {}
            Err(error) => log::debug!(error:%; "signal ignored"),
        }
        Ok(())
    }

    async fn answer(&mut self, sdp: &str) -> Result<(), AdbError> {
        let offer =
            SdpOffer::from_sdp_string(sdp).map_err(|error| MediaError::Peer(error.to_string()))?;
        let answer = self.connection.rtc().sdp_api().accept_offer(offer);
        let answer = answer.map_err(MediaError::from)?;
        self.is_answered = true;
        self.settle().await?;
        self.send(&ClientMessage::Answer { sdp: Base64(answer.to_sdp_string()) });
        for candidate in self.connection.candidates("0")? {
            self.send(&ClientMessage::Candidate(candidate));
        }
        for early in std::mem::take(&mut self.early_candidates) {
            self.settle().await?;
            self.candidate(early);
        }
        Ok(())
    }

    fn candidate(&mut self, message: TrickledCandidate) {
        if !self.is_answered {
            if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
                self.early_candidates.push(message);
            }
        } else if let Some(candidate) = parse_candidate(&message) {
            self.connection.rtc().add_remote_candidate(candidate);
        }
    }

    fn send(&self, message: &ClientMessage) {
        let text = serde_json::to_string(message).expect("messages serialize");
        if let Err(error) = self.to_instance.try_send(text) {
            log::warn!(error:%; "signal dropped");
        }
    }
}

/// Returns the next connection to `listener`; without one, waits for ever.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // It was gone before it was taken.
            Err(error) => log::warn!(error:%; "no connection of adb"),
        }
    }
}

async fn move_bytes(link: &mut Option<Link>) -> bool {
    match link {
        Some(link) => link.step().await,
        None => future::pending().await,
    }
}
