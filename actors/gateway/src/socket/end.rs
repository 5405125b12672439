//! Why a client's socket ends, and what the client is told. Pure.

use actix_ws::{CloseCode, CloseReason, ProtocolError};
use serde::Serialize;
use stream_protocol::{DesiredState, MAX_SIGNAL_BYTES, Refusal, SessionDocument};

/// Error codes as clients know them.
const BAD_REQUEST: u8 = 5;
const INTERNAL: u8 = 6;

/// Why a socket ends.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// The client closed it or is gone: the ordinary end, since clients close it when their stream
    /// is connected.
    Left,
    /// The client is told in an `error` message, then the socket is closed.
    Told { close: CloseCode, code: u8, message: String },
}

#[derive(Serialize)]
struct ErrorSignal<'a> {
    r#type: &'static str,
    code: u8,
    message: &'a str,
}

impl End {
    pub(crate) fn bad(close: CloseCode, message: impl Into<String>) -> Self {
        Self::Told { close, code: BAD_REQUEST, message: message.into() }
    }

    pub(crate) fn ours(close: CloseCode, message: impl Into<String>) -> Self {
        Self::Told { close, code: INTERNAL, message: message.into() }
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::ours(CloseCode::Error, refusal.message)
    }

    /// What a broken frame leads to.
    pub(crate) fn broken(error: &ProtocolError) -> Self {
        match error {
            ProtocolError::Overflow => {
                let sentence = format!("a signal has at most {MAX_SIGNAL_BYTES} bytes");
                Self::bad(CloseCode::Size, sentence)
            }
            // Mostly a connection that broke off; then nobody reads it.
            _ => Self::bad(CloseCode::Protocol, "the frame is broken"),
        }
    }

    /// The text of the last message and the closing frame, if there is a client to tell.
    pub(crate) fn farewell(self) -> (Option<String>, CloseReason) {
        match self {
            Self::Left => (None, CloseCode::Normal.into()),
            Self::Told { close, code, message } => {
                let signal = ErrorSignal { r#type: "error", code, message: &message };
                let text = serde_json::to_string(&signal).expect("numbers and texts serialize");
                (Some(text), close.into())
            }
        }
    }
}

/// Returns why a socket of `generation` has no place in the session, if it has none; without a
/// document the session is long over.
pub(crate) fn verdict(document: Option<&SessionDocument>, generation: u64) -> Option<End> {
    let Some(document) = document else {
        return Some(End::ours(CloseCode::Normal, "session has ended"));
    };
    if document.status.is_final() {
        let message = match document.message() {
            "" => "session has ended".to_owned(),
            cause => format!("session has ended: {cause}"),
        };
        return Some(End::ours(CloseCode::Normal, message));
    }
    if document.desired.state == DesiredState::Terminated {
        return Some(End::ours(CloseCode::Normal, "session is ending"));
    }
    if document.generation != generation {
        return Some(End::ours(CloseCode::Policy, "another client has joined the session"));
    }
    None
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Request, SessionId, Status};

    use super::*;

    fn document() -> SessionDocument {
        let request: Request = serde_json::from_str(
            r#"{"app":"a","app_version":null,"region":"","screen":{},"joinable":false,
                "ephemeral":true,"idle_time_min":0,"extra_data":null}"#,
        )
        .unwrap();
        SessionDocument {
            generation: 2,
            ..SessionDocument::new(SessionId::random(), request, 0, 9)
        }
    }

    fn told(end: Option<End>) -> String {
        end.expect("an end").farewell().0.expect("a message")
    }

    #[test]
    fn the_client_of_the_present_generation_stays() {
        assert_eq!(verdict(Some(&document()), 2), None);
    }

    #[test]
    fn a_replaced_client_is_told() {
        let text = told(verdict(Some(&document()), 1));
        let expected =
            r#"{"type":"error","code":6,"message":"another client has joined the session"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_end_of_the_session_is_told_with_its_cause() {
        let mut ended = SessionDocument { status: Status::Error, ..document() };
        ended.note(1, "the instance \"x\" failed");
        assert!(told(verdict(Some(&ended), 2)).contains(r#"ended: the instance \"x\" failed"#));
        assert!(told(verdict(None, 2)).contains("session has ended"));
        let mut ending = document();
        ending.desired.state = DesiredState::Terminated;
        assert!(told(verdict(Some(&ending), 2)).contains("session is ending"));
    }

    #[test]
    fn a_client_that_left_is_told_nothing() {
        assert_eq!(End::Left.farewell(), (None, CloseCode::Normal.into()));
    }
}
