//! One WebRTC connection of the instance: makes the offer, sends pictures and sound, takes taps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelData, ChannelId};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::{Event, IceConnectionState};
use stream_protocol::Role;
use tokio::time::{self, Interval, MissedTickBehavior};

use crate::media::{
    Connection, Encoder, FPS, HEIGHT, MediaError, Picture, PollResult, Scene, WIDTH,
    parse_candidate, payload_type,
};
use crate::signaling::{
    Base64, CONTROL, ControlMessage, InstanceMessage, Settings, TrickledCandidate,
};

/// How long clients try to connect, and longer than a lost connection takes to come back.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that streams says something every second or so.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// Twenty milliseconds of silence, in Opus.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
const SOUND_INTERVAL: Duration = Duration::from_millis(20);
const SAMPLES: u64 = 48_000 / 50;

/// More candidates than any client has.
const MAX_EARLY_CANDIDATES: usize = 64;

pub(super) struct Stream {
    connection: Connection,
    pending: Option<SdpPendingOffer>,
    /// Candidates that came before the answer.
    early_candidates: Vec<TrickledCandidate>,
    video: Option<Mid>,
    audio: Option<Mid>,
    control: Option<ChannelId>,
    /// Whether what comes over it is done.
    accepts_input: bool,
    scene: Scene,
    picture: Picture,
    encoder: Encoder,
    key_frame_wanted: bool,
    clock: Option<MediaClock>,
    /// When to give up, unless the connection is up.
    expires: Option<Instant>,
    wake: Instant,
    ended: bool,
}

/// Runs while the client is connected.
struct MediaClock {
    pictures: Interval,
    sounds: Interval,
    since: Instant,
    sounds_sent: u64,
}

/// What is to be done next.
pub(super) enum NextAction {
    /// Nothing that concerns anybody else.
    None,
    Picture,
    Sound,
}

impl Stream {
    /// Opens a stream as the client's settings want it, and returns what to tell the client.
    pub(super) async fn offer(
        settings: &Settings,
        role: Role,
    ) -> Result<(Self, Vec<InstanceMessage>), MediaError> {
        let mut connection = Connection::open().await?;
        let mut sdp = connection.rtc().sdp_api();
        let direction = |back| if back { Direction::SendRecv } else { Direction::SendOnly };
        // Clients tell sound and picture apart by their stream ids.
        let mut media = |wanted: bool, kind, back: bool, name: &str| {
            let id = Some(name.to_owned());
            wanted.then(|| sdp.add_media(kind, direction(back), id.clone(), id, None))
        };
        let video = media(settings.enable_video, MediaKind::Video, settings.enable_camera, "video");
        let audio =
            media(settings.enable_speaker, MediaKind::Audio, settings.enable_microphone, "audio");
        // Channels are the client's to open; one agreed on elsewhere makes the section for them
        // and is announced to nobody.
        sdp.add_channel_with_config(ChannelConfig {
            label: "section".to_owned(),
            negotiated: Some(1023),
            ..ChannelConfig::default()
        });
        let (offer, pending) = sdp.apply().ok_or_else(|| MediaError::Peer("no section".into()))?;

        let first = video.or(audio).map_or_else(|| "0".to_owned(), |mid| mid.to_string());
        let messages = vec![
            InstanceMessage::Offer { sdp: Base64(offer.to_sdp_string()), ice_renewal: None },
            InstanceMessage::Candidate(connection.candidate(&first)?),
        ];
        let now = Instant::now();
        let stream = Self {
            connection,
            pending: Some(pending),
            early_candidates: Vec::new(),
            video,
            audio,
            control: None,
            accepts_input: role == Role::Control,
            scene: Scene::default(),
            picture: Picture::black(WIDTH, HEIGHT),
            encoder: Encoder::new()?,
            key_frame_wanted: true,
            clock: None,
            expires: Some(now + CONNECT_TIMEOUT),
            wake: now,
            ended: false,
        };
        Ok((stream, messages))
    }

    /// Begins an ICE restart, for new ways to the client; media goes on over the old ones until it
    /// answers. Returns what to tell the client: nothing, while it is not connected yet.
    pub(super) fn restart(&mut self, renewal: u64) -> Result<Vec<InstanceMessage>, MediaError> {
        if self.clock.is_none() {
            return Ok(Vec::new());
        }
        let mut sdp = self.connection.rtc().sdp_api();
        sdp.ice_restart(true);
        let (offer, pending) = sdp.apply().ok_or_else(|| MediaError::Peer("no restart".into()))?;
        // An offer that was not answered so far is none any more.
        self.pending = Some(pending);
        self.early_candidates.clear();
        let mid = self.video.or(self.audio).map_or_else(|| "0".to_owned(), |mid| mid.to_string());
        Ok(vec![
            InstanceMessage::Offer {
                sdp: Base64(offer.to_sdp_string()),
                ice_renewal: Some(renewal),
            },
            InstanceMessage::Candidate(self.connection.candidate(&mid)?),
        ])
    }

    /// Takes the client's answer, and the candidates that came before it. A second answer is
    /// ignored.
    pub(super) async fn answer(&mut self, sdp: &str) -> Result<(), MediaError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let answer =
            SdpAnswer::from_sdp_string(sdp).map_err(|error| MediaError::Peer(error.to_string()))?;
        self.connection.rtc().sdp_api().accept_answer(pending, answer)?;
        for early in std::mem::take(&mut self.early_candidates) {
            self.settle().await?;
            self.candidate(early);
        }
        Ok(())
    }

    pub(super) fn candidate(&mut self, message: TrickledCandidate) {
        if self.pending.is_some() {
            if self.early_candidates.len() < MAX_EARLY_CANDIDATES {
                self.early_candidates.push(message);
            }
        } else if let Some(candidate) = parse_candidate(&message) {
            self.connection.rtc().add_remote_candidate(candidate);
        }
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.clock.is_some()
    }

    /// Whether the client was connected and is not heard any more.
    pub(super) fn is_lost(&self) -> bool {
        self.clock.is_some() && self.connection.last_received().elapsed() > LOST_AFTER
    }

    /// Handles everything that the last change caused. Returns false when the stream is over.
    pub(super) async fn settle(&mut self) -> Result<bool, MediaError> {
        loop {
            match self.connection.poll().await? {
                PollResult::Event(event) => self.on_event(*event)?,
                PollResult::Idle(until) => {
                    self.wake = until;
                    break;
                }
            }
        }
        let expired = self.expires.is_some_and(|at| at <= Instant::now());
        Ok(!self.ended && !expired && self.connection.rtc().is_alive())
    }

    /// Waits until there is something to do. Loses nothing when the wait is given up.
    pub(super) async fn next_action(&mut self) -> Result<NextAction, MediaError> {
        let wake = self.expires.map_or(self.wake, |at| at.min(self.wake));
        let Some(clock) = &mut self.clock else {
            self.connection.wait(wake).await?;
            return Ok(NextAction::None);
        };
        tokio::select! {
            waited = self.connection.wait(wake) => waited.map(|()| NextAction::None),
            _ = clock.pictures.tick(), if self.video.is_some() => Ok(NextAction::Picture),
            _ = clock.sounds.tick(), if self.audio.is_some() => Ok(NextAction::Sound),
        }
    }

    /// Draws, encodes and sends the picture of this moment.
    pub(super) fn send_picture(&mut self) -> Result<(), MediaError> {
        let (Some(mid), Some(clock)) = (self.video, &self.clock) else { return Ok(()) };
        let now = Instant::now();
        let Some(writer) = self.connection.rtc().writer(mid) else { return Ok(()) };
        // A client without H.264 gets no picture, and keeps the rest.
        let Some(payload) = payload_type(&writer, Codec::H264) else { return Ok(()) };
        self.scene.draw(&mut self.picture, time_of_day(), now);
        let unit =
            self.encoder.encode(&self.picture, std::mem::take(&mut self.key_frame_wanted))?;
        if unit.is_empty() {
            return Ok(());
        }
        let ticks = (now - clock.since).as_micros() as u64 * 9 / 100;
        Ok(writer.write(payload, now, MediaTime::from_90khz(ticks), unit)?)
    }

    pub(super) fn send_sound(&mut self) -> Result<(), MediaError> {
        let (Some(mid), Some(clock)) = (self.audio, &mut self.clock) else { return Ok(()) };
        let time = MediaTime::new(clock.sounds_sent * SAMPLES, Frequency::FORTY_EIGHT_KHZ);
        clock.sounds_sent += 1;
        let Some(writer) = self.connection.rtc().writer(mid) else { return Ok(()) };
        let Some(payload) = payload_type(&writer, Codec::Opus) else { return Ok(()) };
        Ok(writer.write(payload, Instant::now(), time, SILENCE.as_slice())?)
    }

    /// Tells the client that this is the end.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    fn on_event(&mut self, event: Event) -> Result<(), MediaError> {
        match event {
            Event::Connected => {
                self.key_frame_wanted = true;
                self.expires = None;
                self.clock = Some(MediaClock::start());
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.expires = Some(Instant::now() + RECONNECT_TIMEOUT);
            }
            Event::IceConnectionStateChange(state)
                if state.is_connected() && self.clock.is_some() =>
            {
                self.expires = None;
            }
            Event::KeyframeRequest(_) => self.key_frame_wanted = true,
            Event::ChannelOpen(id, label) if label == CONTROL => self.control = Some(id),
            Event::ChannelData(data) if Some(data.id) == self.control => self.on_control(&data),
            Event::ChannelData(data) => self.echo(&data)?,
            Event::Closed => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn on_control(&mut self, data: &ChannelData) {
        match serde_json::from_slice(&data.data) {
            Ok(ControlMessage::Disconnect {}) => self.ended = true,
            Ok(_) if !self.accepts_input => {}
            Ok(input) => self.scene.act(&input, Instant::now()),
            Err(error) => log::debug!(error:%; "control message ignored"),
        }
    }

    /// Channels with other names end in a service of the real instance; here they echo.
    fn echo(&mut self, data: &ChannelData) -> Result<(), MediaError> {
        if let Some(mut channel) = self.connection.rtc().channel(data.id)
            && !channel.write(data.binary, &data.data)?
        {
            log::debug!("echo dropped: the client does not read");
        }
        Ok(())
    }
}

impl MediaClock {
    fn start() -> Self {
        let mut pictures = time::interval(Duration::from_secs(1) / FPS);
        // What could not be drawn in time is not drawn later; sound is continuous.
        pictures.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let sounds = time::interval(SOUND_INTERVAL);
        Self { pictures, sounds, since: Instant::now(), sounds_sent: 0 }
    }
}

/// Time since midnight, UTC.
fn time_of_day() -> Duration {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::new(since_1970.as_secs() % 86_400, since_1970.subsec_nanos())
}
