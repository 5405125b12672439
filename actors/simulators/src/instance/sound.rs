//! The sound of a stream: a tone of 500 Hz, which can be told from silence and from noise.

use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{Frequency, MediaTime, Mid};

use crate::media::{Connection, MediaError, payload_type, sent};

/// Half a second of the tone in Opus, 24 kbit/s at a constant rate, out of the middle of what
/// `opusenc --music --bitrate 24 --hard-cbr --framesize 20` makes of it: ten periods a packet, so
/// that the end leads to the beginning.
static TONE: &[u8] = include_bytes!("../media/tone.bin");

/// Bytes of a packet, and what it lasts.
const PACKET: usize = 60;
pub(super) const INTERVAL: Duration = Duration::from_millis(20);
const SAMPLES: u64 = 48_000 / 50;

pub(super) struct Sound {
    mid: Mid,
    sent: u64,
}

impl Sound {
    pub(super) fn new(mid: Mid) -> Self {
        Self { mid, sent: 0 }
    }

    /// Sends the next twenty milliseconds.
    pub(super) fn send(&mut self, connection: &mut Connection) -> Result<(), MediaError> {
        let time = MediaTime::new(self.sent * SAMPLES, Frequency::FORTY_EIGHT_KHZ);
        let packets = (TONE.len() / PACKET) as u64;
        let at = (self.sent % packets) as usize * PACKET;
        self.sent += 1;
        let Some(writer) = connection.rtc().writer(self.mid) else { return Ok(()) };
        let Some(payload) = payload_type(&writer, Codec::Opus) else { return Ok(()) };
        sent(writer.write(payload, Instant::now(), time, &TONE[at..at + PACKET]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_whole_packets_of_one_configuration() {
        assert_eq!(TONE.len() % PACKET, 0);
        // RFC 6716, section 3.1: wide band, coded by CELT, 20 ms; mono; one frame.
        assert!(TONE.chunks(PACKET).all(|packet| packet[0] == 0b1011_1000), "{:#b}", TONE[0]);
    }
}
