//! What instance and viewer share: pictures, their coding, and the connection that carries them.

mod allocation;
mod codecs;
mod connection;
pub(crate) mod h264;
mod paths;
mod picture;
mod turn_message;
pub(crate) mod vp8;

use std::future::Future;
use std::io;
use std::thread;

pub use codecs::has_vp8;
pub(crate) use codecs::{VideoCodec, common, offered};
pub(crate) use connection::{Connection, PollResult, parse_candidate, payload_type, sent};
pub(crate) use paths::Paths;
pub use paths::Relaying;
pub use picture::Picture;
pub(crate) use picture::{Area, Colour, MAGENTA, even};
use stream_protocol::Screen;

/// A screen that costs little: for whoever asks for none.
pub const SMALL_SCREEN: Screen = Screen { width: 640, height: 360, fps: 30, density: 240 };

#[cfg(test)]
pub(crate) const WIDTH: usize = SMALL_SCREEN.width as usize;
#[cfg(test)]
pub(crate) const HEIGHT: usize = SMALL_SCREEN.height as usize;

/// Media could not be made, sent or read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("the codec failed")]
    Codec(#[from] openh264::Error),
    /// What the other side is to be told.
    #[error("{0}")]
    NoCodec(String),
    #[error("the other side sent what cannot be used: {0}")]
    Peer(String),
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("the stream failed")]
    Stream(#[from] str0m::RtcError),
    #[error("there is no relay, and nothing but a relay may be used")]
    NoRelay,
}

/// Runs `work` on a thread with a loop of its own: coding a picture takes milliseconds that the
/// caller's loop does not have.
pub(crate) fn on_own_thread<F, W>(name: &str, work: F) -> io::Result<()>
where
    F: FnOnce() -> W + Send + 'static,
    W: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(move || runtime.block_on(work()))?;
    Ok(())
}
