//! The viewer's end: answers the instance's offer, decodes its pictures, sends taps.

use std::future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::format::Codec;
use str0m::media::MediaData;
use str0m::{Event, IceConnectionState};
use stream_protocol::error_chain;
use tokio::sync::mpsc;

use super::report::{Reporter, ViewerEvent};
use crate::control::{CONTROL, ControlMessage};
use crate::media::h264::Decoder;
use crate::media::{Connection, MediaError, Paths, PollResult, VideoCodec, parse_candidate};
use crate::signaling::{
    API_VERSION, Base64, ClientMessage, InstanceMessage, Settings, TrickledCandidate,
};

/// More candidates than an instance has.
const MAX_EARLY_CANDIDATES: usize = 64;

pub(super) enum Command {
    /// Says goodbye and ends.
    Disconnect,
    Tap {
        x: f64,
        y: f64,
    },
}

pub(super) struct Peer {
    connection: Connection,
    decoder: Decoder,
    reporter: Rc<Reporter>,
    inbox: Option<mpsc::Receiver<String>>,
    /// Dropped once signaling has done its work, which closes the socket behind it, unless there
    /// is a gateway that waits for the first picture.
    to_instance: Option<mpsc::Sender<String>>,
    /// When the stream was asked for, if there is a gateway to be told of its first picture.
    asked: Option<Instant>,
    /// The way to the gateway behind the signals: it alone is told of the first picture.
    to_gateway: Option<mpsc::Sender<String>>,
    commands: mpsc::Receiver<Command>,
    answered: bool,
    early_candidates: Vec<TrickledCandidate>,
    control: Option<ChannelId>,
}

impl Peer {
    pub(super) async fn new(
        inbox: mpsc::Receiver<String>,
        to_instance: mpsc::Sender<String>,
        commands: mpsc::Receiver<Command>,
        reporter: Rc<Reporter>,
        paths: &Paths,
    ) -> Result<Self, MediaError> {
        Ok(Self {
            connection: Connection::open(&[VideoCodec::H264], paths).await?,
            decoder: Decoder::new()?,
            reporter,
            inbox: Some(inbox),
            to_instance: Some(to_instance),
            asked: None,
            to_gateway: None,
            commands,
            answered: false,
            early_candidates: Vec::new(),
            control: None,
        })
    }

    /// Has the gateway know how long after `asked` the first picture is there.
    pub(super) fn asked_at(self, asked: Option<Instant>) -> Self {
        Self { asked, ..self }
    }

    /// Watches until either side ends it; says why it ended.
    pub(super) async fn run(mut self) {
        let reason = match self.watch().await {
            Ok(reason) => reason.to_owned(),
            Err(error) => error_chain(&error),
        };
        self.connection.close().await;
        self.reporter.report(ViewerEvent::Closed(reason));
    }

    async fn watch(&mut self) -> Result<&'static str, MediaError> {
        self.send(&ClientMessage::Discover {});
        loop {
            let Some(wake) = self.settle().await? else { return Ok("the instance ended it") };
            tokio::select! {
                text = receive(&mut self.inbox) => self.on_signal(&text).await?,
                waited = self.connection.wait(wake) => waited?,
                command = self.commands.recv() => match command {
                    Some(Command::Tap { x, y }) => self.tap(x, y)?,
                    Some(Command::Disconnect) | None => {
                        self.control(&ControlMessage::Disconnect {})?;
                        self.settle().await?;
                        return Ok("disconnected");
                    }
                }
            }
        }
    }

    /// Handles everything that the last change caused. Returns when to look again, or `None`
    /// when the stream is over.
    async fn settle(&mut self) -> Result<Option<Instant>, MediaError> {
        loop {
            match self.connection.poll().await? {
                PollResult::Event(event) if matches!(*event, Event::Closed) => return Ok(None),
                PollResult::Event(event) => self.on_event(*event),
                PollResult::Idle(wake) => {
                    return Ok(self.connection.rtc().is_alive().then_some(wake));
                }
            }
        }
    }

    async fn on_signal(&mut self, text: &str) -> Result<(), MediaError> {
        match serde_json::from_str(text) {
            Ok(InstanceMessage::Discovered { max_api_version, .. }) => {
                if max_api_version < API_VERSION {
                    return Err(MediaError::Peer("an old protocol version".into()));
                }
                self.send(&ClientMessage::Settings(Settings {
                    api_version: API_VERSION,
                    enable_speaker: true,
                    enable_video: true,
                    ..Settings::default()
                }));
            }
            Ok(InstanceMessage::Offer { sdp, .. }) if !self.answered => self.answer(&sdp.0).await?,
            Ok(InstanceMessage::Candidate(candidate)) => self.candidate(candidate),
            Ok(InstanceMessage::Error { message, code }) => {
                return Err(MediaError::Peer(format!("error {code}: {message}")));
            }
            Ok(
                InstanceMessage::Answer { .. }
                | InstanceMessage::Offer { .. }
                | InstanceMessage::Unknown,
            ) => {}
            Err(error) => log::debug!(error:%; "signal ignored"),
        }
        Ok(())
    }

    async fn answer(&mut self, sdp: &str) -> Result<(), MediaError> {
        self.reporter.report(ViewerEvent::OfferReceived);
        let offer =
            SdpOffer::from_sdp_string(sdp).map_err(|error| MediaError::Peer(error.to_string()))?;
        let answer = self.connection.rtc().sdp_api().accept_offer(offer)?;
        self.answered = true;
        self.settle().await?;
        self.connection.rtc().direct_api().create_data_channel(ChannelConfig {
            label: CONTROL.to_owned(),
            ..ChannelConfig::default()
        });
        self.send(&ClientMessage::Answer { sdp: Base64(answer.to_sdp_string()) });
        self.reporter.report(ViewerEvent::AnswerSent);
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
        if !self.answered {
            if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
                self.early_candidates.push(message);
            }
        } else if let Some(candidate) = parse_candidate(&message) {
            self.connection.rtc().add_remote_candidate(candidate);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                log::info!("viewer lost its connection");
            }
            Event::IceConnectionStateChange(state) if state.is_connected() => {
                self.close_signaling()
            }
            Event::ChannelOpen(id, label) if label == CONTROL => {
                self.control = Some(id);
                self.reporter.report(ViewerEvent::ControlOpen);
            }
            Event::MediaData(data) => self.on_media(&data),
            _ => {}
        }
    }

    /// Published clients close the signaling socket once they are connected.
    fn close_signaling(&mut self) {
        if let Some(to_instance) = self.to_instance.take() {
            self.to_gateway = self.asked.map(|_| to_instance);
            self.inbox = None;
            self.reporter.report(ViewerEvent::IceConnected);
        }
    }

    /// Tells the gateway of the first picture, and closes the socket.
    fn tell_first_frame(&mut self) {
        if let (Some(asked), Some(to_gateway)) = (self.asked, self.to_gateway.take()) {
            let text = first_frame(asked.elapsed());
            if let Err(error) = to_gateway.try_send(text) {
                log::warn!(error:%; "the gateway is not told of the first picture");
            }
        }
    }

    fn on_media(&mut self, data: &MediaData) {
        match data.params.spec().codec {
            Codec::Opus => self.reporter.report(ViewerEvent::AudioPacket),
            Codec::H264 => match self.decoder.decode(&data.data) {
                Ok(Some(picture)) if data.contiguous => {
                    self.reporter.picture(Arc::new(picture));
                    self.tell_first_frame();
                }
                Ok(None) if data.contiguous => {}
                // Something was lost: what follows is damaged up to the next key frame.
                _ => self.connection.ask_for_key_frame(data.mid),
            },
            _ => {}
        }
    }

    fn tap(&mut self, x: f64, y: f64) -> Result<(), MediaError> {
        self.control(&ControlMessage::TouchStart { id: 0, x, y })?;
        self.control(&ControlMessage::TouchEnd { id: 0, last: true })
    }

    fn control(&mut self, message: &ControlMessage) -> Result<(), MediaError> {
        let Some(id) = self.control else { return Ok(()) };
        let text = serde_json::to_vec(message).expect("messages serialize");
        if let Some(mut channel) = self.connection.rtc().channel(id)
            && !channel.write(false, &text)?
        {
            log::debug!("control message dropped: the instance does not read");
        }
        Ok(())
    }

    fn send(&self, message: &ClientMessage) {
        let text = serde_json::to_string(message).expect("messages serialize");
        if let Some(to_instance) = &self.to_instance
            && let Err(error) = to_instance.try_send(text)
        {
            log::warn!(error:%; "signal dropped");
        }
    }
}

/// Returns what a gateway is told of a first picture; it knows it by how it begins.
fn first_frame(after: Duration) -> String {
    format!(r#"{{"type":"first_frame","after_ms":{}}}"#, after.as_millis())
}

async fn receive(inbox: &mut Option<mpsc::Receiver<String>>) -> String {
    if let Some(channel) = inbox
        && let Some(text) = channel.recv().await
    {
        return text;
    }
    // Published clients have no close handler: a lost socket alone ends nothing.
    *inbox = None;
    future::pending().await
}
