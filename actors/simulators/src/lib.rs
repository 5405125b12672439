//! Stand-ins for what cannot be had on a developer's machine: the management service and the
//! Android instance; and the headless client that watches them.
//!
//! Seen by tests and `stream-dev` only; nothing of it enters the two services.

pub mod ams;
pub mod client;
mod control;
mod device;
mod https;
pub mod instance;
mod media;
mod signaling;
mod websocket;

pub use media::{SMALL_SCREEN, has_vp8};
