//! What the gateway tells a client over its socket, beside the signals of the instance. A client
//! ignores a `type` that it does not know.

use serde::Serialize;
use stream_protocol::{IceServer, Timestamp};

/// Servers that the client uses from now on.
#[derive(Serialize)]
pub(crate) struct IceServersMessage {
    r#type: &'static str,
    ice_renewal: u64,
    ice_servers: Vec<IceServer>,
}

impl IceServersMessage {
    pub(crate) fn new(ice_renewal: u64, ice_servers: Vec<IceServer>) -> Self {
        Self { r#type: "ice_servers", ice_renewal, ice_servers }
    }
}

/// A token with which the client can open the socket again.
#[derive(Serialize)]
pub(crate) struct ReconnectTokenMessage<'a> {
    r#type: &'static str,
    token: &'a str,
    expires_at: Timestamp,
}

impl<'a> ReconnectTokenMessage<'a> {
    pub(crate) fn new(token: &'a str, expires_at: Timestamp) -> Self {
        Self { r#type: "ticket", token, expires_at }
    }
}

/// Returns the text of a message's frame.
pub(crate) fn text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("numbers and texts serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_form_that_clients_know() {
        let ticket = text(&ReconnectTokenMessage::new("t", 9.into()));
        assert_eq!(ticket, r#"{"type":"ticket","token":"t","expires_at":9}"#);
        let servers = text(&IceServersMessage::new(3, Vec::new()));
        assert_eq!(servers, r#"{"type":"ice_servers","ice_renewal":3,"ice_servers":[]}"#);
    }
}
