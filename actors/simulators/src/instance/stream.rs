//! One WebRTC connection of the instance: what the device shows and sounds like goes out, and what
//! the client does and sends of itself comes in.

use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelData, ChannelId};
use str0m::media::{Direction, MediaAdded, MediaData, MediaKind, Mid};
use str0m::{Event, IceConnectionState};
use stream_protocol::Role;
use tokio::time::{self, Interval, MissedTickBehavior};

use super::adb::{ADB, AdbService};
use super::camera::Camera;
use super::sound::{self, Sound};
use super::video::Video;
use crate::control::{CONTROL, ControlMessage, DeviceMessage};
use crate::device::{Offers, SharedDevice};
use crate::media::{
    Connection, MediaError, Paths, PollResult, VideoCodec, common, offered, parse_candidate,
};
use crate::signaling::{Base64, InstanceMessage, Settings, TrickledCandidate};

/// How long clients try to connect, and longer than a lost connection takes to come back.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that streams says something every second or so.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// More candidates than any client has.
const MAX_EARLY_CANDIDATES: usize = 64;

pub(super) struct Stream {
    connection: Connection,
    device: SharedDevice,
    /// What comes from who only views has no effect.
    views: bool,
    /// For who uses ADB, and nothing else.
    adb: Option<AdbService>,
    /// Those of ours, the client's favourites first.
    codecs: Vec<VideoCodec>,
    /// Whether the client made the offer itself, and the codec that was agreed on then.
    client_offered: bool,
    answered: Option<VideoCodec>,
    pending: Option<SdpPendingOffer>,
    /// Candidates that came before the answer.
    early_candidates: Vec<TrickledCandidate>,
    video: Option<Video>,
    sound: Option<Sound>,
    camera: Camera,
    control: Option<ChannelId>,
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
}

/// What is to be done next.
pub(super) enum NextAction {
    /// Nothing that concerns anybody else.
    None,
    Picture,
    Sound,
}

impl Stream {
    /// Opens a stream of `device` over `paths` as the client's settings want it, and returns what
    /// to tell the client: an offer, and candidates.
    pub(super) async fn offer(
        settings: &Settings,
        device: SharedDevice,
        role: Role,
        paths: &Paths,
    ) -> Result<(Self, Vec<InstanceMessage>), MediaError> {
        let mut stream = Self::open(settings, device, role, paths).await?;
        let mut sdp = stream.connection.rtc().sdp_api();
        // Clients tell sound and picture apart by their stream ids.
        let mut media = |sends: bool, receives: bool, kind, name: &str| {
            let id = Some(name.to_owned());
            let direction = match (sends, receives) {
                (true, true) => Direction::SendRecv,
                (true, false) => Direction::SendOnly,
                (false, true) => Direction::RecvOnly,
                (false, false) => return None,
            };
            Some(sdp.add_media(kind, direction, id.clone(), id, None))
        };
        let Settings { enable_video, enable_camera, enable_speaker, enable_microphone, .. } =
            *settings;
        let video = media(enable_video, enable_camera, MediaKind::Video, "video");
        let audio = media(enable_speaker, enable_microphone, MediaKind::Audio, "audio");
        // Channels are the client's to open; one agreed on elsewhere makes the section for them
        // and is announced to nobody.
        sdp.add_channel_with_config(ChannelConfig {
            label: "section".to_owned(),
            negotiated: Some(1023),
            ..ChannelConfig::default()
        });
        let (offer, pending) = sdp.apply().ok_or_else(|| MediaError::Peer("no section".into()))?;
        stream.pending = Some(pending);
        let first = video.or(audio).map_or_else(|| "0".to_owned(), |mid| mid.to_string());
        if let Some(mid) = video.filter(|_| enable_video) {
            stream.send_video(mid);
        }
        stream.sound = audio.filter(|_| enable_speaker).map(Sound::new);
        let sdp = Base64(offer.to_sdp_string());
        let offer = InstanceMessage::Offer { sdp, ice_renewal: None };
        let messages = stream.with_candidates(offer, &first)?;
        Ok((stream, messages))
    }

    /// Opens a stream as the client's offer wants it: before protocol version 2 it makes one.
    /// Returns what to tell the client: an answer, and candidates.
    pub(super) async fn answer_to(
        sdp: &str,
        settings: &Settings,
        device: SharedDevice,
        role: Role,
        paths: &Paths,
    ) -> Result<(Self, Vec<InstanceMessage>), MediaError> {
        let mut stream = Self::open(settings, device, role, paths).await?;
        let offer = SdpOffer::from_sdp_string(sdp).map_err(refused)?;
        stream.client_offered = true;
        stream.answered = common(&stream.codecs, sdp).transpose().map_err(MediaError::NoCodec)?;
        let answer = stream.connection.rtc().sdp_api().accept_offer(offer)?;
        let answer = InstanceMessage::Answer { sdp: Base64(answer.to_sdp_string()) };
        let messages = stream.with_candidates(answer, "0")?;
        Ok((stream, messages))
    }

    /// Returns `description` and behind it the candidates of the section `mid`.
    fn with_candidates(
        &self,
        description: InstanceMessage,
        mid: &str,
    ) -> Result<Vec<InstanceMessage>, MediaError> {
        let candidates = self.connection.candidates(mid)?.into_iter();
        Ok([description].into_iter().chain(candidates.map(InstanceMessage::Candidate)).collect())
    }

    async fn open(
        settings: &Settings,
        device: SharedDevice,
        role: Role,
        paths: &Paths,
    ) -> Result<Self, MediaError> {
        let views = role == Role::View;
        let codecs = offered(&settings.video.preferred_decoder_codecs);
        let connection = Connection::open(&codecs, paths).await?;
        let (camera, microphone) = (settings.enable_camera, settings.enable_microphone);
        device.lock().begin(Offers { camera: camera && !views, microphone: microphone && !views });
        let now = Instant::now();
        Ok(Self {
            connection,
            device,
            views,
            adb: (role == Role::Adb).then(AdbService::default),
            codecs,
            client_offered: false,
            answered: None,
            pending: None,
            early_candidates: Vec::new(),
            video: None,
            sound: None,
            camera: Camera::default(),
            control: None,
            clock: None,
            expires: Some(now + CONNECT_TIMEOUT),
            wake: now,
            ended: false,
        })
    }

    /// Begins an ICE restart, for new ways to the client; media goes on over the old ones until it
    /// answers. Returns what to tell the client: nothing, while it is not connected yet, and when
    /// it takes no offers.
    pub(super) fn restart(&mut self, renewal: u64) -> Result<Vec<InstanceMessage>, MediaError> {
        if self.clock.is_none() || self.client_offered {
            return Ok(Vec::new());
        }
        let mut sdp = self.connection.rtc().sdp_api();
        sdp.ice_restart(true);
        let (offer, pending) = sdp.apply().ok_or_else(|| MediaError::Peer("no restart".into()))?;
        // An offer that was not answered so far is none any more.
        self.pending = Some(pending);
        self.early_candidates.clear();
        let mid = self.video.as_ref().map_or_else(|| "0".to_owned(), |v| v.mid().to_string());
        let sdp = Base64(offer.to_sdp_string());
        self.with_candidates(InstanceMessage::Offer { sdp, ice_renewal: Some(renewal) }, &mid)
    }

    /// Takes the client's answer, and the candidates that came before it. A second answer is
    /// ignored.
    pub(super) async fn answer(&mut self, sdp: &str) -> Result<(), MediaError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(refused)?;
        if let Some(video) = &mut self.video
            && let Some(codec) = common(&self.codecs, sdp)
        {
            video.code_as(codec.map_err(MediaError::NoCodec)?)?;
        }
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
                PollResult::Event(event) => self.on_event(*event).await?,
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
            _ = clock.sounds.tick(), if self.sound.is_some() => Ok(NextAction::Sound),
        }
    }

    pub(super) async fn send_picture(&mut self) -> Result<(), MediaError> {
        if let Some(seen) = self.camera.take_picture() {
            self.device.lock().set_camera(&seen);
        }
        let (Some(video), Some(clock)) = (&mut self.video, &self.clock) else { return Ok(()) };
        video.send(&mut self.connection, clock.since).await
    }

    pub(super) fn send_sound(&mut self) -> Result<(), MediaError> {
        match (&mut self.sound, &self.clock) {
            (Some(sound), Some(_)) => sound.send(&mut self.connection),
            _ => Ok(()),
        }
    }

    /// Tells the client that this is the end.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    async fn on_event(&mut self, event: Event) -> Result<(), MediaError> {
        match event {
            Event::Connected => {
                self.expires = None;
                let interval = self.video.as_ref().map(Video::interval);
                self.clock = Some(MediaClock::start(interval.unwrap_or(sound::INTERVAL)));
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.expires = Some(Instant::now() + RECONNECT_TIMEOUT);
            }
            Event::IceConnectionStateChange(state)
                if state.is_connected() && self.clock.is_some() =>
            {
                self.expires = None;
            }
            Event::KeyframeRequest(_) => {
                self.video.iter_mut().for_each(Video::want_key_frame);
            }
            Event::MediaAdded(added) => self.on_media_added(&added)?,
            Event::MediaData(data) => self.on_media(&data).await?,
            Event::ChannelOpen(id, label) => self.on_channel(id, &label),
            Event::ChannelData(data) if Some(data.id) == self.control => self.on_control(&data)?,
            Event::ChannelData(data) => match &mut self.adb {
                Some(adb) => adb.on_data(self.connection.rtc(), &data)?,
                None => self.echo(&data)?,
            },
            Event::ChannelClose(id) => self.adb.iter_mut().for_each(|adb| adb.on_close(id)),
            Event::Closed => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    /// Sends on what a client's own offer has sections for.
    fn on_media_added(&mut self, added: &MediaAdded) -> Result<(), MediaError> {
        let sends = matches!(added.direction, Direction::SendOnly | Direction::SendRecv);
        match added.kind {
            _ if self.adb.is_some() => {}
            MediaKind::Video if sends && self.video.is_none() => {
                if let Some(codec) = self.answered {
                    self.send_video(added.mid).code_as(codec)?;
                }
            }
            MediaKind::Audio if sends && self.sound.is_none() => {
                self.sound = Some(Sound::new(added.mid));
            }
            _ => {}
        }
        Ok(())
    }

    fn send_video(&mut self, mid: Mid) -> &mut Video {
        self.video.insert(Video::new(mid, self.device.clone(), self.views))
    }

    /// Takes what the client's camera and microphone send.
    async fn on_media(&mut self, data: &MediaData) -> Result<(), MediaError> {
        if self.views {
            return Ok(());
        }
        if data.params.spec().codec.is_audio() {
            if let Some(level) = data.ext_vals.audio_level {
                self.device.lock().set_level(level.unsigned_abs());
            }
        } else if !self.camera.decode(data).await? {
            self.connection.ask_for_key_frame(data.mid);
        }
        Ok(())
    }

    fn on_channel(&mut self, id: ChannelId, label: &str) {
        match &mut self.adb {
            Some(adb) if label == ADB => adb.on_open(self.connection.rtc(), id),
            None if label == CONTROL => self.control = Some(id),
            _ => {}
        }
    }

    fn on_control(&mut self, data: &ChannelData) -> Result<(), MediaError> {
        match serde_json::from_slice(&data.data) {
            Ok(ControlMessage::Disconnect {}) => self.ended = true,
            Ok(message) => {
                let told = self.device.lock().act(&message, self.views, Instant::now());
                for message in &told {
                    self.tell(data.id, message)?;
                }
            }
            Err(error) => log::debug!(error:%; "control message ignored"),
        }
        Ok(())
    }

    fn tell(&mut self, control: ChannelId, message: &DeviceMessage) -> Result<(), MediaError> {
        if let Some(mut channel) = self.connection.rtc().channel(control)
            && !channel.write(false, message.to_text().as_bytes())?
        {
            log::debug!("control message dropped: the client does not read");
        }
        Ok(())
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
    fn start(picture: Duration) -> Self {
        let mut pictures = time::interval(picture);
        // What could not be drawn in time is not drawn later; sound is continuous.
        pictures.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { pictures, sounds: time::interval(sound::INTERVAL), since: Instant::now() }
    }
}

fn refused(error: impl std::fmt::Display) -> MediaError {
    MediaError::Peer(error.to_string())
}
