//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use actix_web::ResponseError;
use stream_http::{HttpError, ScreenRequest, without_byte_order_mark};
use stream_protocol::{Refusal, Request, Screen, SessionId, Timestamp, Userdata, Versioned};

use crate::sessions::request::{self, ClientQuery, Defaults, MAX_EXTRA_DATA};
use crate::sessions::{deletion, listing};
use crate::settings::Change;
use crate::shares::{self, NewShare, SharePatch};

/// The most that an agent adds to the userdata of an instance, in bytes: addresses and a token.
const ADDED_BY_AGENT: usize = 1024;

/// The body of a request about sessions: what is read is within its bounds, survives the store, and
/// leaves room in the userdata; a refusal is one line that repeats nothing of the body.
pub fn session_body(bytes: &[u8]) {
    let defaults = Defaults { first_client_s: 300, idle_time_min: 30 };
    if let Some(new) = read(bytes, |body| Ok(request::session(body, defaults)?)) {
        let request = new.request;
        assert!((1..=256).contains(&request.app.len()) && request.region.len() <= 256);
        assert_eq!(request.screen.checked().ok(), Some(request.screen));
        assert!(request.extra_data.as_str().len() <= MAX_EXTRA_DATA);
        let stored = Versioned::<Request>::decode(&Versioned::encode(&request));
        assert_eq!(stored.as_ref(), Ok(&request));
        let draft = Userdata::draft(SessionId::from_bytes([0; 13]), &request);
        let written = serde_json::to_vec(&draft).expect("userdata is JSON");
        assert!(written.len() + ADDED_BY_AGENT <= stream_protocol::MAX_USERDATA_BYTES);
    }
    let joined = read(bytes, |body| Ok(request::join(body)?));
    if let Some(Ok(screen)) = joined.map(|asked: ScreenRequest| asked.over(Screen::default())) {
        assert_eq!(screen.checked().ok(), Some(screen));
    }
    if let Some(ids) = read(bytes, deletion::session_ids) {
        assert!((1..=1000).contains(&ids.len()));
    }
}

/// The body of a request about shares, or about the configuration: as for sessions.
pub fn share_body(bytes: &[u8]) {
    let is_description =
        |text: &String| text.chars().count() <= 256 && !text.contains(char::is_control);
    let now = Timestamp::from_unix(1_000_000);
    if let Some(new) = read(bytes, |body| Ok(NewShare::parse(body, now)?)) {
        assert!(is_description(&new.description));
    }
    if let Some(patch) = read(bytes, |body| Ok(SharePatch::parse(body)?)) {
        assert!(patch.description.as_ref().is_none_or(is_description));
    }
    // It repeats the name of what cannot be changed, if that is a plain one.
    if let Ok(Change { item, value }) = Change::parse(bytes).inspect_err(is_one_line) {
        assert!(value.is_none_or(|value| item.range().contains(&value)));
    }
}

/// The query of a request: what it refuses, it does not repeat but for the id of a session.
pub fn query(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = ClientQuery::renew(text).inspect_err(is_refused);
    let _ = deletion::Wanted::parse(text).inspect_err(is_refused);
    let _ = listing::Listing::parse(text).inspect_err(is_refused);
    if let Ok(listing) = shares::Listing::parse(text).inspect_err(is_one_line) {
        assert!(listing.part(vec![(); 3]).len() <= 3);
    }
}

/// Reads a body, and once more with the mark of UTF-8 before it, which changes nothing.
fn read<T>(bytes: &[u8], parse: impl Fn(&[u8]) -> Result<T, HttpError>) -> Option<T> {
    let read = parse(bytes).inspect_err(is_told);
    if without_byte_order_mark(bytes) == bytes {
        let marked = parse(&[&b"\xef\xbb\xbf"[..], bytes].concat());
        let told = |read: &Result<T, HttpError>| read.as_ref().err().map(ToString::to_string);
        assert_eq!(told(&marked), told(&read));
    }
    read.ok()
}

fn is_told(error: &HttpError) {
    assert!(error.status_code().is_client_error());
    is_silent(&error.to_string());
}

fn is_refused(refusal: &Refusal) {
    is_silent(&refusal.message);
}

fn is_one_line(Refusal { message, .. }: &Refusal) {
    assert!(message.len() < 600 && !message.contains(char::is_control), "{message:?}");
}

fn is_silent(text: &str) {
    assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
    assert!(!text.contains("s3cret"), "{text}");
}
