//! A headless client: asks the gateway for sessions and watches their streams.
//!
//! Used by the smoke run, the tests and the benches in place of a browser. It speaks protocol
//! version 2 as published clients do: discover, settings, answer to the instance's offer, control
//! channel, and a signaling socket that is closed once media flows. Unlike them it says before that
//! how long its first picture took, as the player of the gateway does. Its bridge to ADB holds the
//! socket, and ends with it.

mod adb;
mod gateway;
mod peer;
mod report;
mod signaler;
mod socket;
mod viewer;

pub use crate::https::CallError;
pub use crate::media::{MediaError, Picture, Relaying};
pub use crate::websocket::SocketError;
pub use adb::{AdbError, serve_adb};
pub use gateway::{ClientConfig, Gateway, JoinedSession, Session};
pub use report::{Milestone, ViewerEvent};
pub use signaler::{Signaler, SignalerError};
pub use viewer::{Viewer, ViewerError};
