//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use serde_json::{Value, json};
use stream_protocol::{Cursor, LoggedSignal, MAX_SIGNAL_BYTES, Signal};

use crate::{CloseCause, CloseCode, FrameFormat};

/// A frame of a peer in either form: a signal keeps its bytes on its way to the other peer, and a
/// peer that sends anything else is told so without hearing it again.
pub fn frame(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for format in [FrameFormat::Bare, FrameFormat::Enveloped { after: None }] {
        let posted = match format.read(text.to_owned(), 3) {
            Ok(posted) => posted,
            Err(cause) => {
                is_told(cause);
                continue;
            }
        };
        let signal = posted.signal.as_str().to_owned();
        assert!(text.contains(&signal) && signal.len() <= MAX_SIGNAL_BYTES);
        if format == FrameFormat::Bare {
            assert_eq!((posted.generation, signal.as_str()), (3, text.trim_matches(SPACE)));
        }
        let cursor = Cursor { epoch: 35, sequence: 7 };
        let logged = LoggedSignal { cursor, generation: posted.generation, signal: posted.signal };
        assert_eq!(FrameFormat::Bare.write(&logged), signal);
        let written = FrameFormat::Enveloped { after: None }.write(&logged);
        let again: LoggedSignal = serde_json::from_str(&written).expect("an envelope is JSON");
        assert_eq!(again, logged);
    }
}

/// The query of a socket: a cursor is kept as it is.
pub fn after(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(FrameFormat::Enveloped { after: Some(cursor) }) = FrameFormat::from_query(Some(text))
    {
        let again = FrameFormat::from_query(Some(&cursor.to_string()));
        assert_eq!(again, Ok(FrameFormat::Enveloped { after: Some(cursor) }));
    }
}

/// White space of JSON.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_told(cause: CloseCause) {
    let (told, reason) = cause.close_frame();
    assert!(matches!(reason.code, CloseCode::Invalid | CloseCode::Size));
    let told = Signal::parse(told.expect("it is told")).expect("in a signal");
    let told: Value = serde_json::from_str(told.as_str()).expect("JSON");
    assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!(5)));
    assert!(told["message"].as_str().is_some_and(|text| (1..100).contains(&text.len())));
}
