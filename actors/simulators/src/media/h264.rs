use openh264::OpenH264API;
use openh264::decoder::{self, DecoderConfig, Flush};
use openh264::encoder::{
    self, EncoderConfig, FrameRate, Profile, RateControlMode, UsageType, VuiConfig,
};

use super::Picture;

/// Encodes pictures to H.264 constrained baseline: access units in Annex B.
pub(crate) struct Encoder(encoder::Encoder);

impl Encoder {
    /// Returns an encoder of `fps` pictures a second whose first access unit is a key frame.
    pub(crate) fn new(fps: u32) -> Result<Self, openh264::Error> {
        // Flat areas need few bits at any quality; control would only leave pictures out.
        let config = EncoderConfig::new()
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .rate_control_mode(RateControlMode::Off)
            .profile(Profile::Baseline)
            .usage_type(UsageType::CameraVideoRealTime)
            .skip_frames(false)
            // Colours as `picture` has them; browsers would guess otherwise.
            .vui(VuiConfig::bt601())
            .num_threads(1);
        encoder::Encoder::with_api_config(OpenH264API::from_source(), config).map(Self)
    }

    /// Returns the next access unit; a key frame when `key` asks for one. Empty when the encoder
    /// left the picture out.
    pub(crate) fn encode(
        &mut self,
        picture: &Picture,
        key: bool,
    ) -> Result<Vec<u8>, openh264::Error> {
        if key {
            self.0.force_intra_frame();
        }
        Ok(self.0.encode(picture)?.to_vec())
    }
}

/// Decodes access units in Annex B.
pub(crate) struct Decoder(decoder::Decoder);

impl Decoder {
    pub(crate) fn new() -> Result<Self, openh264::Error> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        decoder::Decoder::with_api_config(OpenH264API::from_source(), config).map(Self)
    }

    /// Returns the picture of one access unit, if it completes one.
    pub(crate) fn decode(&mut self, unit: &[u8]) -> Result<Option<Picture>, openh264::Error> {
        Ok(self.0.decode(unit)?.map(|decoded| Picture::copied(&decoded)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::control::ControlMessage;
    use crate::device::Device;
    use crate::media::{HEIGHT, SMALL_SCREEN, WIDTH};

    /// NAL unit types of a sequence parameter set and of a slice of a key frame.
    const SPS: u8 = 7;
    const IDR: u8 = 5;

    fn units(bytes: &[u8]) -> Vec<&[u8]> {
        openh264::nal_units(bytes)
            .map(|unit| &unit[unit.iter().take_while(|b| **b == 0).count() + 1..])
            .collect()
    }

    fn has(bytes: &[u8], kind: u8) -> bool {
        units(bytes).iter().any(|unit| unit[0] & 0x1f == kind)
    }

    #[test]
    fn a_mark_survives_coding_and_pictures_follow_the_clock() {
        let (mut encoder, mut decoder) = (Encoder::new(30).unwrap(), Decoder::new().unwrap());
        let (mut device, now) = (Device::new(SMALL_SCREEN, false), Instant::now());
        let mut picture = Picture::black(WIDTH, HEIGHT);
        let mut digests = Vec::new();
        for n in 0..5 {
            if n == 2 {
                let tap = ControlMessage::TouchStart { id: 0, x: 100.0, y: 300.0 };
                device.act(&tap, false, now);
            }
            device.draw(&mut picture, Duration::from_millis(33 * n), now, "");
            let unit = encoder.encode(&picture, false).unwrap();
            let decoded = decoder.decode(&unit).unwrap().expect("every unit holds a picture");
            assert_eq!((decoded.width(), decoded.height()), (WIDTH, HEIGHT));
            assert_eq!(decoded.is_marked(100, 300), n >= 2, "picture {n}");
            digests.push(decoded.digest());
        }
        digests.dedup();
        assert_eq!(digests.len(), 5);
    }

    #[test]
    fn a_key_frame_comes_first_and_on_request() {
        let mut encoder = Encoder::new(30).unwrap();
        let picture = Picture::black(WIDTH, HEIGHT);
        let first = encoder.encode(&picture, false).unwrap();
        assert!(has(&first, IDR) && has(&first, SPS));
        assert!(!has(&encoder.encode(&picture, false).unwrap(), IDR));
        let asked = encoder.encode(&picture, true).unwrap();
        assert!(has(&asked, IDR) && has(&asked, SPS), "a decoder can begin here");
    }

    #[test]
    fn the_profile_is_constrained_baseline() {
        let picture = Picture::black(WIDTH, HEIGHT);
        let unit = Encoder::new(30).unwrap().encode(&picture, false).unwrap();
        let sps = units(&unit).into_iter().find(|unit| unit[0] & 0x1f == SPS).unwrap().to_vec();
        assert_eq!(sps[1], 66, "baseline");
        assert_ne!(sps[2] & 0x40, 0, "constraint set 1: what browsers negotiate as 42e0");
        assert!(sps[3] <= 31, "level 3.1, as negotiated: {}", sps[3]);
    }

    #[test]
    fn garbage_is_an_error_and_no_end() {
        let mut decoder = Decoder::new().unwrap();
        let garbage = [0, 0, 0, 1, 0x65, 0xff, 0x13, 0x77];
        assert!(!matches!(decoder.decode(&garbage), Ok(Some(_))));
        let unit = Encoder::new(30).unwrap().encode(&Picture::black(64, 64), false).unwrap();
        assert!(decoder.decode(&unit).unwrap().is_some());
    }
}
