//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stream_protocol::Signal;
use stream_supervisor::RequestId;

use crate::BridgeError;
use crate::batch::{Part, read};
use crate::signal_writer::rejects_video;

/// The headers of a message, as they stand on the wire behind `NATS/1.0`: what is read as a stored
/// message has the number and the subject that they name, no status is taken for a message, and the
/// id of a request is a word.
pub fn headers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.split("\r\n").flat_map(|line| line.split('\n'));
    let status = lines.next().and_then(|first| first.strip_prefix("NATS/1.0"));
    let status = status.unwrap_or_default().trim();
    let (status, description) = status.split_once(' ').unwrap_or((status, ""));
    let status = status.parse().ok();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), value.trim().parse::<HeaderValue>())
        {
            headers.append(name, value);
        }
    }
    let value = |name: &str| headers.get(name).map(HeaderValue::as_str);
    let (sequence, subject) = (value("Nats-Sequence"), value("Nats-Subject"));
    if let Some(id) = RequestId::of_sender(value(RequestId::HEADER), value(RequestId::TRACEPARENT))
    {
        assert!((1..=64).contains(&id.as_str().len()) && !id.as_str().contains([' ', '\n', '"']));
        let sent: Vec<_> = id.headers().map(|(_, value)| value).collect();
        assert_eq!(RequestId::of_sender(Some(sent[0]), sent.get(1).copied()).as_ref(), Some(&id));
    }
    let message = Message {
        subject: "_INBOX.agent".into(),
        reply: None,
        payload: Default::default(),
        headers: Some(headers.clone()),
        status,
        description: Some(description.to_owned()).filter(|text| !text.is_empty()),
        length: 0,
    };
    match read(message, "signals") {
        Ok(Part::Message(message)) => {
            assert!(status.is_none());
            assert_eq!(sequence.and_then(|text| text.parse().ok()), Some(message.sequence));
            assert_eq!(subject, Some(message.subject.as_str()));
        }
        Ok(Part::End { complete }) => {
            assert!(status.is_some() && (complete || value("Nats-Num-Pending").is_some()));
        }
        Err(BridgeError::Disconnected(why)) => assert!(status.is_some() && why.contains("signals")),
        Err(BridgeError::Malformed(_)) => assert!(status.is_none()),
        Err(error) => panic!("{error}"),
    }
}

/// A description of a session (RFC 8866), as an answer carries it: it takes no video when it has
/// such a section and the port of each is 0.
pub fn description(bytes: &[u8]) {
    let text = format!(r#"{{"type":"answer","sdp":"{}"}}"#, STANDARD.encode(bytes));
    let answer = Signal::parse(text).expect("a signal");
    assert!(answer.is_answer());
    let sections = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=video "));
    let rejected: Vec<_> = sections.map(|line| line[8..].starts_with(b"0 ")).collect();
    assert_eq!(rejects_video(&answer), !rejected.is_empty() && !rejected.contains(&false));
}
