//! Why a socket ends, and what its peer is told. Pure.

use std::time::Duration;

use actix_ws::{CloseCode, CloseReason, ProtocolError};
use serde::Serialize;
use stream_protocol::Refusal;

/// Error codes as clients know them (`contract.md` 4.3).
const BAD_REQUEST: u8 = 5;
const INTERNAL: u8 = 6;

/// The latest that the peers of a unit that ends are told to return: a handshake each.
const RETURN_WITHIN: Duration = Duration::from_secs(3);

/// Why a socket ends.
#[derive(Debug, PartialEq)]
pub enum End {
    /// The peer closed it, or its connection broke.
    Left,
    /// The peer does not answer any more.
    Gone,
    /// The peer is told in an `error` message, then the socket is closed.
    Told { close: CloseCode, code: u8, message: String, return_after: Option<Duration> },
}

#[derive(Serialize)]
struct ErrorSignal<'a> {
    r#type: &'static str,
    code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
}

impl End {
    /// The peer has done something wrong.
    pub fn bad(close: CloseCode, message: impl Into<String>) -> Self {
        Self::Told { close, code: BAD_REQUEST, message: message.into(), return_after: None }
    }

    /// The peer could not help it.
    pub fn ours(close: CloseCode, message: impl Into<String>) -> Self {
        Self::Told { close, code: INTERNAL, message: message.into(), return_after: None }
    }

    /// This unit ends, and another one is there: the peer is told when to go there. All peers are
    /// told different times, since they lose their sockets together.
    pub fn moving(message: impl Into<String>) -> Self {
        let [chance] = *stream_pki::random_bytes::<1>();
        let return_after = Some(RETURN_WITHIN.mul_f64(f64::from(chance) / 256.0));
        let message = message.into();
        Self::Told { close: CloseCode::Restart, code: INTERNAL, message, return_after }
    }

    pub fn refused(refusal: Refusal) -> Self {
        Self::ours(CloseCode::Error, refusal.message)
    }

    /// What a broken frame leads to, where one of more than `limit` bytes is broken too.
    pub(crate) fn broken(error: &ProtocolError, limit: usize) -> Self {
        match error {
            ProtocolError::Overflow => {
                Self::bad(CloseCode::Size, format!("a message has at most {limit} bytes"))
            }
            // The connection broke off.
            ProtocolError::Io(_) => Self::Left,
            _ => Self::bad(CloseCode::Protocol, "the frame is broken"),
        }
    }

    /// The text of the last message and the closing frame, if there is a peer to tell.
    pub fn farewell(self) -> (Option<String>, CloseReason) {
        match self {
            Self::Left | Self::Gone => (None, CloseCode::Normal.into()),
            Self::Told { close, code, message, return_after } => {
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
        assert_eq!(End::Left.farewell(), (None, CloseCode::Normal.into()));
        let (text, reason) = End::bad(CloseCode::Policy, "say \"please\"").farewell();
        let expected = r#"{"type":"error","code":5,"message":"say \"please\""}"#;
        assert_eq!((text.as_deref(), reason), (Some(expected), CloseCode::Policy.into()));
    }

    #[test]
    fn a_peer_that_is_to_move_is_told_when() {
        let (text, reason) = End::moving("bye").farewell();
        let told: serde_json::Value =
            serde_json::from_str(&text.expect("a message")).expect("json");
        let after = told["retry_after_ms"].as_u64().expect("a time");
        assert!(u128::from(after) < RETURN_WITHIN.as_millis());
        assert_eq!(reason, CloseCode::Restart.into());
    }
}
