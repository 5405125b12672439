//! The client's end of a socket within the process: frames over the payload of a request, and over
//! the body of its answer.

use std::future::poll_fn;
use std::pin::Pin;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// An open socket. When it is dropped, its connection breaks.
pub struct ClientSocket {
    frames: mpsc::UnboundedSender<Bytes>,
    body: Pin<Box<BoxBody>>,
    read: BytesMut,
}

/// What the gateway says over a socket.
#[derive(Debug, Eq, PartialEq)]
pub enum Heard {
    Text(String),
    /// It closes the socket, or the connection broke.
    Closed,
}

/// What a client says before it has a socket.
pub(super) fn payload() -> (mpsc::UnboundedSender<Bytes>, dev::Payload) {
    let (frames, said) = mpsc::unbounded_channel();
    let next = async |mut said: mpsc::UnboundedReceiver<Bytes>| {
        let frame = said.recv().await?;
        Some((Ok::<_, PayloadError>(frame), said))
    };
    let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(stream::unfold(said, next));
    (frames, dev::Payload::Stream { payload })
}

impl ClientSocket {
    pub(super) fn new(frames: mpsc::UnboundedSender<Bytes>, body: BoxBody) -> Self {
        Self { frames, body: Box::pin(body), read: BytesMut::new() }
    }

    pub fn send(&self, text: &str) {
        self.say(TEXT, text.as_bytes());
    }

    /// Closes the socket, as a client does that needs it no more. The gateway closes it then.
    pub fn close(&self) {
        self.say(CLOSE, &[]);
    }

    /// Returns what comes next, and answers pings on the way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Heard {
        loop {
            while let Some((kind, payload)) = self.take_frame() {
                match kind {
                    TEXT => return Heard::Text(String::from_utf8_lossy(&payload).into_owned()),
                    PING => self.say(PONG, &payload),
                    CLOSE => return Heard::Closed,
                    _ => {}
                }
            }
            match poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
                Some(Ok(more)) => self.read.extend_from_slice(&more),
                Some(Err(_)) | None => return Heard::Closed,
            }
        }
    }

    /// Says a frame; its mask of zeros leaves it as it is.
    fn say(&self, kind: u8, payload: &[u8]) {
        let mut frame = vec![FINAL | kind];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(MASKED | length),
            _ => {
                frame.push(MASKED | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        // The gateway may have gone.
        let _ = self.frames.send(frame.into());
    }

    /// Takes a frame that has come as a whole.
    fn take_frame(&mut self) -> Option<(u8, BytesMut)> {
        let (kind, short) = (self.read.first()? & 0xF, *self.read.get(1)?);
        let (begin, length) = match short {
            126 => (4, u64::from(u16::from_be_bytes(self.read.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.read.get(2..10)?.try_into().ok()?)),
            length => (2, u64::from(length)),
        };
        let end = begin + usize::try_from(length).ok()?;
        if self.read.len() < end {
            return None;
        }
        let mut frame = self.read.split_to(end);
        Some((kind, frame.split_off(begin)))
    }
}
