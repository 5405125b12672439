//! What instance and viewer share: pictures, their coding, and the connection that carries them.

mod connection;
mod h264;
mod picture;
mod scene;

use std::future::Future;
use std::io;
use std::thread;

pub(crate) use connection::{Connection, PollResult, parse_candidate, payload_type};
pub(crate) use h264::{Decoder, Encoder};
pub use picture::Picture;
pub(crate) use scene::Scene;

/// Size of the stream, in pixels.
pub(crate) const WIDTH: usize = 640;
pub(crate) const HEIGHT: usize = 360;

/// Pictures a second.
pub(crate) const FPS: u32 = 30;

/// Media could not be made, sent or read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("the codec failed")]
    Codec(#[from] openh264::Error),
    #[error("the other side sent what cannot be used: {0}")]
    Peer(String),
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("the stream failed")]
    Stream(#[from] str0m::RtcError),
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
