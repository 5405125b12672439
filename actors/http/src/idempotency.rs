//! The `Idempotency-Key` header: a client that repeats a request marks it with the same key.

use actix_web::http::header::HeaderMap;
use stream_protocol::{Refusal, RefusalCode};

/// The longest `Idempotency-Key`, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;

/// Returns the key in a request's `headers`, if there is one.
///
/// # Errors
///
/// [`RefusalCode::Malformed`] when it is not 1 to [`MAX_IDEMPOTENCY_KEY`] visible ASCII characters
/// and spaces.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get("Idempotency-Key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => {
            let text = format!("Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} plain characters");
            Err(Refusal::new(RefusalCode::Malformed, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_wild_key_is_refused() {
        let with = |value: &str| {
            let request = TestRequest::default().insert_header(("Idempotency-Key", value));
            let request = request.to_http_request();
            idempotency_key(request.headers()).map(|key| key.map(str::to_owned))
        };
        let none = TestRequest::default().to_http_request();
        assert_eq!(idempotency_key(none.headers()), Ok(None));
        assert_eq!(with("a b").expect("a key").as_deref(), Some("a b"));
        for wild in ["", &"k".repeat(129), "é"] {
            assert!(with(wild).is_err(), "{wild}");
        }
    }
}
