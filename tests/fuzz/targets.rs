//! What is fuzzed: every function takes any bytes and panics when a promise is broken.
//!
//! JSON is tried twice: the bytes as they are, and a sample of ours in which the bytes change a few
//! members, since few bytes are JSON by chance.

mod config;
mod documents;
mod edited;
mod packets;
mod tokens;

use stream_protocol::{Cursor, Signal};

pub(crate) use config::config;
pub(crate) use documents::{documents, subject};
use edited::edited;
pub(crate) use packets::{proxy_header, stun};
pub(crate) use stream_bridge::fuzzing::{description, headers as nats_headers};
pub(crate) use stream_http::fuzzing::headers as http_headers;
pub(crate) use stream_pki::fuzzing::{fingerprint, pem};
pub(crate) use tokens::{caveats, identifier, macaroon_bytes, macaroon_text};

/// A target and its name, which is that of its corpus.
pub(crate) type Target = (&'static str, fn(&[u8]));

pub(crate) const ALL: [Target; 24] = [
    ("admin_line", admin_line),
    ("agent_body", agent_body),
    ("ams_answer", ams_answer),
    ("ams_event", ams_event),
    ("caveats", caveats),
    ("config", config),
    ("cursor", cursor),
    ("description", description),
    ("documents", documents),
    ("fingerprint", fingerprint),
    ("frame", frame),
    ("http_headers", http_headers),
    ("identifier", identifier),
    ("macaroon_bytes", macaroon_bytes),
    ("macaroon_text", macaroon_text),
    ("nats_headers", nats_headers),
    ("pem", pem),
    ("proxy_header", proxy_header),
    ("query", query),
    ("session_body", session_body),
    ("share_body", share_body),
    ("signal", signal),
    ("stun", stun),
    ("subject", subject),
];

/// What an operator asks of a service that runs.
pub(crate) fn admin_line(data: &[u8]) {
    stream_admin::fuzzing::line(data);
    documents::orders(data);
    let line = edited(data, edited::ORDERS);
    stream_admin::fuzzing::line(&line);
    documents::orders(&line);
}

/// What instances and AMS send to an agent.
pub(crate) fn agent_body(data: &[u8]) {
    stream_api::fuzzing::body(data);
    stream_api::fuzzing::body(&edited(data, edited::AGENT_BODIES));
}

/// What AMS answers.
pub(crate) fn ams_answer(data: &[u8]) {
    stream_ams::fuzzing::answer(data);
    stream_ams::fuzzing::answer(&edited(data, edited::AMS_ANSWERS));
}

/// What AMS tells by itself.
pub(crate) fn ams_event(data: &[u8]) {
    stream_ams::fuzzing::event(data);
    stream_ams::fuzzing::event(&edited(data, edited::AMS_EVENTS));
}

/// A cursor that is read is written as the same cursor.
pub(crate) fn cursor(data: &[u8]) {
    stream_socket::fuzzing::after(data);
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(cursor) = text.parse::<Cursor>() else { return };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
}

/// What the peers of a socket send.
pub(crate) fn frame(data: &[u8]) {
    stream_socket::fuzzing::frame(data);
    stream_socket::fuzzing::frame(&edited(data, edited::FRAMES));
}

/// What follows the path of a request, and URLs of relays.
pub(crate) fn query(data: &[u8]) {
    stream_api::fuzzing::query(data);
    stream_gateway::fuzzing::query(data);
    stream_turn::fuzzing::relay_url(data);
}

/// What clients ask of sessions.
pub(crate) fn session_body(data: &[u8]) {
    stream_gateway::fuzzing::session_body(data);
    stream_gateway::fuzzing::session_body(&edited(data, edited::SESSION_BODIES));
}

/// What clients ask of shares, and operators of the configuration.
pub(crate) fn share_body(data: &[u8]) {
    stream_gateway::fuzzing::share_body(data);
    stream_gateway::fuzzing::share_body(&edited(data, edited::SHARE_BODIES));
}

/// A signal keeps its text, but for white space around it.
pub(crate) fn signal(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(signal) = Signal::parse(text.to_owned()) else { return };
    assert_eq!(signal.as_str(), text.trim_matches([' ', '\t', '\r', '\n']));
    assert_eq!(signal.is_answer(), signal.kind().as_deref() == Some("answer"));
    assert!(signal.error().is_none() || signal.kind().as_deref() == Some("error"));
}
