//! How signals look in the frames of a socket. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stream_protocol::{
    Cursor, CursorError, LoggedSignal, NewSignal, Signal, SignalError, SignalId,
};

use crate::{CloseCause, CloseCode};

/// The form of the frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrameFormat {
    /// A frame is a signal, as existing clients know it. Nobody learns a cursor.
    Bare,
    /// A frame is a signal in an envelope as over REST, and a reader may go on after a cursor.
    Enveloped { after: Option<Cursor> },
}

/// What a socket says of itself, and no signal: only envelopes come without a `type`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ControlFrame<'a> {
    /// The first frame: what is behind the cursor follows.
    Resumed { cursor: Cursor },
    /// The log does not reach back to the reader's cursor; what is behind this one follows.
    HistoryGone { cursor: Cursor },
    /// A signal of the peer is in the log.
    Stored { id: &'a SignalId, cursor: Cursor },
}

impl ControlFrame<'_> {
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts serialize")
    }
}

#[derive(Deserialize)]
struct Incoming {
    id: SignalId,
    generation: Option<u64>,
    signal: Box<RawValue>,
}

impl FrameFormat {
    /// What the peer asks for with `after` in the address: nothing for bare frames, an empty text
    /// for envelopes from the beginning, or a cursor. Refuses any other text.
    pub fn from_query(after: Option<&str>) -> Result<Self, CursorError> {
        Ok(match after {
            None => Self::Bare,
            Some("") => Self::Enveloped { after: None },
            Some(text) => Self::Enveloped { after: Some(text.parse()?) },
        })
    }

    /// The frame that carries `logged` to the peer.
    pub(crate) fn write(self, logged: &LoggedSignal) -> String {
        match self {
            Self::Bare => logged.signal.as_str().to_owned(),
            Self::Enveloped { .. } => serde_json::to_string(logged).expect("signals serialize"),
        }
    }

    /// Reads a frame of the peer, a signal of client `generation` unless it says of which. Returns
    /// how the socket ends when it is none.
    pub(crate) fn read(self, text: String, generation: u64) -> Result<NewSignal, CloseCause> {
        match self {
            Self::Bare => {
                let signal = Signal::parse(text).map_err(|error| refused(&error))?;
                Ok(NewSignal { id: SignalId::random(), generation, signal })
            }
            Self::Enveloped { .. } => {
                let incoming = serde_json::from_str::<Incoming>(&text).map_err(|_| {
                    let expected = r#"a message is {"id","generation","signal":{..}}"#;
                    CloseCause::client_error(CloseCode::Invalid, expected)
                })?;
                let Incoming { id, generation: said, signal } = incoming;
                let signal = Signal::parse(signal.get().to_owned());
                let signal = signal.map_err(|error| refused(&error))?;
                Ok(NewSignal { id, generation: said.unwrap_or(generation), signal })
            }
        }
    }
}

fn refused(error: &SignalError) -> CloseCause {
    let close = match error {
        SignalError::NotASignal(_) => CloseCode::Invalid,
        SignalError::TooLarge => CloseCode::Size,
    };
    CloseCause::client_error(close, error.to_string())
}

#[cfg(test)]
mod tests {
    use stream_protocol::MAX_SIGNAL_BYTES;

    use super::*;

    const ENVELOPED: FrameFormat = FrameFormat::Enveloped { after: None };
    const CURSOR: Cursor = Cursor { epoch: 35, sequence: 7 };

    fn closes(end: Result<NewSignal, CloseCause>) -> CloseCode {
        match end {
            Err(CloseCause::ByUs { close, .. }) => close,
            other => panic!("it should be refused: {other:?}"),
        }
    }

    #[test]
    fn a_bare_signal_keeps_its_bytes_both_ways() {
        let text = r#"{ "type":"offer",  "sdp":"djA=" }"#;
        let posted = FrameFormat::Bare.read(text.to_owned(), 3).expect("a signal");
        assert_eq!((posted.generation, posted.signal.as_str()), (3, text));
        let logged = LoggedSignal { cursor: CURSOR, generation: 3, signal: posted.signal };
        assert_eq!(FrameFormat::Bare.write(&logged), text);
        let enveloped =
            r#"{"cursor":"z-7","generation":3,"signal":{ "type":"offer",  "sdp":"djA=" }}"#;
        assert_eq!(ENVELOPED.write(&logged), enveloped);
    }

    #[test]
    fn an_envelope_brings_its_id_and_may_bring_its_generation() {
        let read = |text: &str| ENVELOPED.read(text.to_owned(), 3).expect("a signal");
        let posted = read(r#"{"id":"a-1","signal":{"type":"x"}}"#);
        assert_eq!((posted.id.as_str(), posted.generation), ("a-1", 3));
        assert_eq!(read(r#"{"id":"a","generation":2,"signal":{"type":"x"}}"#).generation, 2);
    }

    #[test]
    fn what_is_no_signal_closes_the_socket_with_the_reason() {
        let bare = |text: &str| closes(FrameFormat::Bare.read(text.to_owned(), 0));
        assert_eq!(bare("{}"), CloseCode::Invalid);
        let pad = "a".repeat(MAX_SIGNAL_BYTES);
        assert_eq!(bare(&format!(r#"{{"type":"x","p":"{pad}"}}"#)), CloseCode::Size);
        let enveloped = |text: &str| closes(ENVELOPED.read(text.to_owned(), 0));
        for text in [r#"{"type":"x"}"#, r#"{"id":"a.b","signal":{"type":"x"}}"#, "[]", "x"] {
            assert_eq!(enveloped(text), CloseCode::Invalid, "{text}");
        }
        assert_eq!(enveloped(r#"{"id":"a","signal":{}}"#), CloseCode::Invalid);
    }

    #[test]
    fn notices_have_the_form_that_is_promised() {
        let id = "a-1".parse().expect("an id");
        let stored = ControlFrame::Stored { id: &id, cursor: CURSOR };
        assert_eq!(stored.text(), r#"{"type":"stored","id":"a-1","cursor":"z-7"}"#);
        assert_eq!(
            ControlFrame::Resumed { cursor: CURSOR }.text(),
            r#"{"type":"resumed","cursor":"z-7"}"#
        );
        let gone = ControlFrame::HistoryGone { cursor: CURSOR };
        assert_eq!(gone.text(), r#"{"type":"history_gone","cursor":"z-7"}"#);
    }
}
