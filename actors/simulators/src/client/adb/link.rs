//! One TCP connection of an `adb` server, and what is on its way between it and its data channel.

use std::io;

use bytes::{Buf, BytesMut};
use str0m::Rtc;
use str0m::channel::ChannelId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::instance::MAX_MESSAGE;
use crate::media::MediaError;

/// What may wait in the channel before nothing more is read from `adb`, in bytes.
const MAX_BUFFERED: usize = 64 * 1024;

/// What may wait for an `adb` that does not read, in bytes.
const MAX_UNREAD: usize = 4 * 1024 * 1024;

pub(super) struct Link {
    pub(super) channel: ChannelId,
    /// Whether the channel takes bytes.
    is_open: bool,
    /// Whether the channel is closed: `adb` gets the rest of what came.
    is_closing: bool,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    to_channel: BytesMut,
    to_adb: BytesMut,
}

impl Link {
    pub(super) fn new(stream: TcpStream, channel: ChannelId) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (to_channel, to_adb) = (BytesMut::new(), BytesMut::new());
        Ok(Self { channel, is_open: false, is_closing: false, reader, writer, to_channel, to_adb })
    }

    /// The channel takes bytes now.
    pub(super) fn on_open(&mut self, rtc: &mut Rtc) {
        self.is_open = true;
        if let Some(mut channel) = rtc.channel(self.channel) {
            channel.set_buffered_amount_low_threshold(MAX_BUFFERED / 2);
        }
    }

    /// The instance closed the channel.
    pub(super) fn on_close(&mut self) {
        self.is_open = false;
        self.is_closing = true;
    }

    /// Takes bytes for `adb`; returns whether it reads them fast enough.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> bool {
        self.to_adb.extend_from_slice(bytes);
        self.to_adb.len() <= MAX_UNREAD
    }

    /// Hands the channel what it takes of the bytes from `adb`.
    pub(super) fn flush(&mut self, rtc: &mut Rtc) -> Result<(), MediaError> {
        if !self.is_open || self.to_channel.is_empty() {
            return Ok(());
        }
        let Some(mut channel) = rtc.channel(self.channel) else { return Ok(()) };
        if channel.buffered_amount() < MAX_BUFFERED && channel.write(true, &self.to_channel)? {
            self.to_channel.clear();
        }
        Ok(())
    }

    /// Moves bytes from or to `adb`. Returns false when it has left, or has all that came before
    /// the end of the channel.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn step(&mut self) -> bool {
        if self.is_closing && self.to_adb.is_empty() {
            return false;
        }
        let Self { reader, writer, to_channel, to_adb, is_closing, .. } = self;
        let may_read = to_channel.is_empty() && !*is_closing;
        tokio::select! {
            read = read(reader, to_channel), if may_read => matches!(read, Ok(1..)),
            written = writer.write(to_adb), if !to_adb.is_empty() => match written {
                Ok(count) => {
                    to_adb.advance(count);
                    true
                }
                Err(_) => false,
            },
            else => std::future::pending().await,
        }
    }
}

/// Reads as much as fits into one message.
async fn read(reader: &mut OwnedReadHalf, to_channel: &mut BytesMut) -> io::Result<usize> {
    let mut bytes = [0; MAX_MESSAGE];
    let count = reader.read(&mut bytes).await?;
    to_channel.extend_from_slice(&bytes[..count]);
    Ok(count)
}
