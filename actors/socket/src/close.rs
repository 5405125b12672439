//! Why a socket ends, and what its peer is told. Pure.

use std::time::Duration;

use actix_ws::{CloseCode, CloseReason, ProtocolError};
use serde::Serialize;
use stream_protocol::Refusal;

/// Error codes as published clients know them, see [sockets].
///
/// [sockets]: stream_protocol::manual::wire#sockets
const BAD_REQUEST: u8 = 5;
const INTERNAL: u8 = 6;

/// The latest that the peers of a unit that ends are told to return: a handshake each.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(3);

/// Why a socket ends.
#[derive(Debug, PartialEq)]
pub enum CloseCause {
    /// The peer closed it, or its connection broke.
    PeerClosed,
    /// The peer does not answer any more.
    PeerTimedOut,
    /// The peer is told in an `error` message, then the socket is closed.
    ByUs { close: CloseCode, code: u8, message: String, return_after: Option<Duration> },
}

#[derive(Serialize)]
struct ErrorSignal<'a> {
    r#type: &'static str,
    code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
}

impl CloseCause {
    /// The peer has done something wrong.
    pub fn client_error(close: CloseCode, message: impl Into<String>) -> Self {
        Self::ByUs { close, code: BAD_REQUEST, message: message.into(), return_after: None }
    }

    /// The peer could not help it.
    pub fn server_error(close: CloseCode, message: impl Into<String>) -> Self {
        Self::ByUs { close, code: INTERNAL, message: message.into(), return_after: None }
    }

    /// This unit ends, and another one is there: the peer is told when to go there. All peers are
    /// told different times, since they lose their sockets together.
    pub fn restarting(message: impl Into<String>) -> Self {
        let [chance] = *stream_pki::random_bytes::<1>();
        let return_after = Some(MAX_RECONNECT_DELAY.mul_f64(f64::from(chance) / 256.0));
        let message = message.into();
        Self::ByUs { close: CloseCode::Restart, code: INTERNAL, message, return_after }
    }

    pub fn rejected(refusal: Refusal) -> Self {
        Self::server_error(CloseCode::Error, refusal.message)
    }

    /// What a broken frame leads to, where one of more than `limit` bytes is broken too.
    pub(crate) fn broken_frame(error: &ProtocolError, limit: usize) -> Self {
        match error {
            ProtocolError::Overflow => {
                Self::client_error(CloseCode::Size, format!("a message has at most {limit} bytes"))
            }
            // The connection broke off.
            ProtocolError::Io(_) => Self::PeerClosed,
            _ => Self::client_error(CloseCode::Protocol, "the frame is broken"),
        }
    }

    /// The text of the last message and the closing frame, if there is a peer to tell.
    pub fn close_frame(self) -> (Option<String>, CloseReason) {
        match self {
            Self::PeerClosed | Self::PeerTimedOut => (None, CloseCode::Normal.into()),
            Self::ByUs { close, code, message, return_after } => {
                let retry_after_ms = return_after.map(|after| after.as_millis());
                let message = message.as_str();
                let signal = ErrorSignal { r#type: "error", code, message, retry_after_ms };
                let text = serde_json::to_string(&signal).expect("numbers and texts serialize");
                (Some(text), close.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_left_is_told_nothing_and_another_why() {
        assert_eq!(CloseCause::PeerClosed.close_frame(), (None, CloseCode::Normal.into()));
        let (text, reason) =
            CloseCause::client_error(CloseCode::Policy, "say \"please\"").close_frame();
        let expected = r#"{"type":"error","code":5,"message":"say \"please\""}"#;
        assert_eq!((text.as_deref(), reason), (Some(expected), CloseCode::Policy.into()));
    }

    #[test]
    fn a_peer_of_a_restarting_unit_is_told_when_to_return() {
        let (text, reason) = CloseCause::restarting("bye").close_frame();
        let told: serde_json::Value =
            serde_json::from_str(&text.expect("a message")).expect("json");
        let after = told["retry_after_ms"].as_u64().expect("a time");
        assert!(u128::from(after) < MAX_RECONNECT_DELAY.as_millis());
        assert_eq!(reason, CloseCode::Restart.into());
    }
}
