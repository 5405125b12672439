//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use std::time::Duration;

use actix_web::ResponseError;
use stream_http::without_byte_order_mark;
use stream_protocol::{AmsInstance, Cursor, SessionId};

use crate::error::ApiError;
use crate::routes::ams_sessions;
use crate::routes::session::{self, Reported};
use crate::routes::signals;

/// The body of a request: signals keep their bytes, what instances and AMS say may be shown, and a
/// refusal is one line that repeats nothing of the body.
pub fn body(bytes: &[u8]) {
    if let Some(signals) = read(bytes, signals::parse) {
        assert!((1..=100).contains(&signals.len()));
        let text = str::from_utf8(bytes).expect("JSON is UTF-8");
        assert!(signals.iter().all(|posted| text.contains(posted.signal.as_str())));
    }
    if let Some(Reported::Instance(report)) = read(bytes, session::parse_report) {
        assert!(report.message.chars().count() <= 1024);
        assert!(!report.message.contains(char::is_control));
    }
    if let Some(instance) = read(bytes, ams_sessions::parse) {
        assert!(AmsInstance::is_id(&instance.id) && !instance.app.contains(char::is_control));
        assert_eq!(instance.screen.checked().ok(), Some(instance.screen));
        assert!(instance.app_version != Some(0) && instance.extra_data.checked().is_ok());
    }
}

/// The query of a request: a poll waits for a minute at most.
pub fn query(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok((_, _, wait)) = session::poll::<Cursor>(text).inspect_err(is_told) {
        assert!(wait <= Duration::from_secs(60));
    }
    let id = SessionId::from_bytes([0; 13]);
    let _ = signals::peer(text, id).inspect_err(is_told);
}

/// Reads a body, and once more with the mark of UTF-8 before it, which changes nothing.
fn read<T>(bytes: &[u8], parse: fn(&[u8]) -> Result<T, ApiError>) -> Option<T> {
    let read = parse(bytes).inspect_err(is_told);
    if without_byte_order_mark(bytes) == bytes {
        let marked = parse(&[&b"\xef\xbb\xbf"[..], bytes].concat());
        let told = |read: &Result<T, ApiError>| read.as_ref().err().map(ToString::to_string);
        assert_eq!(told(&marked), told(&read));
    }
    read.ok()
}

fn is_told(error: &ApiError) {
    let text = error.to_string();
    assert!(error.status_code().is_client_error());
    assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
    assert!(!text.contains("s3cret"), "{text}");
}
