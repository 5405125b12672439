//! The pictures of a stream: what the device shows, coded for the client.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::media::{MediaTime, Mid};

use crate::device::SharedDevice;
use crate::media::{Connection, MediaError, Picture, VideoCodec, h264, payload_type, sent, vp8};

/// The smallest picture that is coded; a smaller screen is its corner.
const MIN_EDGE: usize = 16;

pub(super) struct Video {
    mid: Mid,
    device: SharedDevice,
    views: bool,
    picture: Picture,
    fps: u32,
    /// Made for the codec that both sides have, once that is known.
    encoder: Option<Encoder>,
    key_frame_wanted: bool,
}

enum Encoder {
    H264(Box<h264::Encoder>),
    Vp8(Box<vp8::Encoder>),
}

impl Video {
    /// Returns pictures of what `device` shows now, at its present size, for a client that `views`
    /// only or may do more.
    pub(super) fn new(mid: Mid, device: SharedDevice, views: bool) -> Self {
        let screen = device.lock().screen();
        let edge = |n: u32| (n as usize).max(MIN_EDGE);
        Self {
            mid,
            device,
            views,
            picture: Picture::black(edge(screen.width), edge(screen.height)),
            fps: screen.fps.max(1),
            encoder: None,
            key_frame_wanted: true,
        }
    }

    /// Takes the codec that both sides have.
    pub(super) fn code_as(&mut self, codec: VideoCodec) -> Result<(), MediaError> {
        let (width, height) = (self.picture.width(), self.picture.height());
        self.encoder = Some(match codec {
            VideoCodec::H264 => Encoder::H264(Box::new(h264::Encoder::new(self.fps)?)),
            VideoCodec::Vp8 => Encoder::Vp8(Box::new(vp8::Encoder::new(width, height, self.fps)?)),
        });
        Ok(())
    }

    /// Has the next picture be one that a client can begin with. VP8 has one every second anyway.
    pub(super) fn want_key_frame(&mut self) {
        self.key_frame_wanted = true;
    }

    pub(super) fn mid(&self) -> Mid {
        self.mid
    }

    /// Between two pictures.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.fps
    }

    /// Draws, encodes and sends the picture of this moment; the client is connected `since`.
    pub(super) async fn send(
        &mut self,
        connection: &mut Connection,
        since: Instant,
    ) -> Result<(), MediaError> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let now = Instant::now();
        let about =
            format!("{}{}", encoder.codec().name(), if self.views { " view only" } else { "" });
        self.device.lock().draw(&mut self.picture, time_of_day(), now, &about);
        let key = std::mem::take(&mut self.key_frame_wanted);
        let unit = match encoder {
            Encoder::H264(encoder) => encoder.encode(&self.picture, key)?,
            Encoder::Vp8(encoder) => encoder.encode(&self.picture).await?,
        };
        let codec = encoder.codec();
        let Some(writer) = connection.rtc().writer(self.mid) else { return Ok(()) };
        let Some(payload) = payload_type(&writer, codec.rtp()).filter(|_| !unit.is_empty()) else {
            return Ok(());
        };
        let ticks = (now - since).as_micros() as u64 * 9 / 100;
        sent(writer.write(payload, now, MediaTime::from_90khz(ticks), unit))
    }
}

impl Encoder {
    fn codec(&self) -> VideoCodec {
        match self {
            Self::H264(_) => VideoCodec::H264,
            Self::Vp8(_) => VideoCodec::Vp8,
        }
    }
}

/// Time since midnight, UTC.
fn time_of_day() -> Duration {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::new(since_1970.as_secs() % 86_400, since_1970.subsec_nanos())
}
