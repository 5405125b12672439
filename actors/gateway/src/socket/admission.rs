//! Whether a client's socket has a place in its session. Pure.

use stream_protocol::{DesiredState, SessionDocument};
use stream_socket::{CloseCause, CloseCode};

/// Returns why a socket of `generation` has no place in the session, if it has none; without a
/// document the session is long over.
pub(crate) fn close_cause(
    document: Option<&SessionDocument>,
    generation: u64,
) -> Option<CloseCause> {
    let Some(document) = document else {
        return Some(CloseCause::server_error(CloseCode::Normal, "session has ended"));
    };
    if document.status.is_final() {
        let message = match document.last_cause() {
            "" => "session has ended".to_owned(),
            cause => format!("session has ended: {cause}"),
        };
        return Some(CloseCause::server_error(CloseCode::Normal, message));
    }
    if document.desired.state == DesiredState::Terminated {
        return Some(CloseCause::server_error(CloseCode::Normal, "session is ending"));
    }
    if document.generation != generation {
        return Some(CloseCause::server_error(
            CloseCode::Policy,
            "another client has joined the session",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use stream_protocol::Status;

    use super::*;

    fn document() -> SessionDocument {
        SessionDocument { generation: 2, ..SessionDocument::sample() }
    }

    fn told(end: Option<CloseCause>) -> String {
        end.expect("an end").close_frame().0.expect("a message")
    }

    #[test]
    fn the_client_of_the_present_generation_stays() {
        assert_eq!(close_cause(Some(&document()), 2), None);
    }

    #[test]
    fn a_replaced_client_is_told() {
        let text = told(close_cause(Some(&document()), 1));
        let expected =
            r#"{"type":"error","code":6,"message":"another client has joined the session"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_end_of_the_session_is_told_with_its_cause() {
        let mut ended = SessionDocument { status: Status::Error, ..document() };
        ended.push_cause(1.into(), "the instance \"x\" failed");
        assert!(told(close_cause(Some(&ended), 2)).contains(r#"ended: the instance \"x\" failed"#));
        assert!(told(close_cause(None, 2)).contains("session has ended"));
        let mut ending = document();
        ending.desired.state = DesiredState::Terminated;
        assert!(told(close_cause(Some(&ending), 2)).contains("session is ending"));
    }
}
