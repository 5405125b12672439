//! ADB over data channels: each that is called `adb` carries the bytes of one connection of an
//! `adb` server, as a cable would.

use std::collections::HashMap;

use str0m::Rtc;
use str0m::channel::{ChannelData, ChannelId};

use super::adbd::Adbd;
use crate::media::MediaError;

/// What the data channels are called that carry ADB.
pub(crate) const ADB: &str = "adb";

/// More than a bridge has: one that is in use, and one that has not closed yet.
const MAX_CHANNELS: usize = 4;

/// The largest message on a channel, in bytes. Any peer takes so much.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// What is served to one peer. Holds nothing for whoever does not read: such a connection ends.
#[derive(Default)]
pub(super) struct AdbService(HashMap<ChannelId, Adbd>);

impl AdbService {
    /// Begins with the daemon of a channel that was opened. One too many is closed.
    pub(super) fn on_open(&mut self, rtc: &mut Rtc, id: ChannelId) {
        if self.0.len() >= MAX_CHANNELS {
            log::warn!("a channel for adb is closed: there are too many");
            return rtc.direct_api().close_data_channel(id);
        }
        self.0.insert(id, Adbd::default());
    }

    /// Answers what came. A channel whose bytes are no ADB, or that does not read, is closed; other
    /// channels are nobody's.
    pub(super) fn on_data(&mut self, rtc: &mut Rtc, data: &ChannelData) -> Result<(), MediaError> {
        let Some(adbd) = self.0.get_mut(&data.id) else { return Ok(()) };
        let is_answered = match adbd.receive(&data.data) {
            Ok(answer) => write(rtc, data.id, &answer)?,
            Err(error) => {
                log::warn!(error:%; "a connection of adb ends");
                false
            }
        };
        if !is_answered {
            self.on_close(data.id);
            rtc.direct_api().close_data_channel(data.id);
        }
        Ok(())
    }

    pub(super) fn on_close(&mut self, id: ChannelId) {
        self.0.remove(&id);
    }
}

/// Writes `bytes`; returns whether the channel took all of them.
fn write(rtc: &mut Rtc, id: ChannelId, bytes: &[u8]) -> Result<bool, MediaError> {
    let Some(mut channel) = rtc.channel(id) else { return Ok(false) };
    for message in bytes.chunks(MAX_MESSAGE) {
        if !channel.write(true, message)? {
            return Ok(false);
        }
    }
    Ok(true)
}
