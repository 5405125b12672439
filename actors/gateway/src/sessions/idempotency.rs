//! Idempotency keys: a creation that is repeated with its key finds the first session.

use actix_web::HttpRequest;
use stream_pki::hmac_sha256;
use stream_protocol::{Refusal, SessionId};

use crate::error::bad_request;

const MAX_KEY: usize = 128;

/// Returns the key that a request brings, if any. Refuses one that is no plain text of 1 to 128
/// characters.
pub(crate) fn key(request: &HttpRequest) -> Result<Option<String>, Refusal> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(bad_request(format!("Idempotency-Key has 1 to {MAX_KEY} plain characters"))),
    }
}

/// Returns the session id that belongs to `key` of `account`: the first 100 bits of an HMAC-SHA-256
/// keyed with the account. No key of one account leads to a session of another.
pub(crate) fn id(account: &str, key: &str) -> SessionId {
    let code = hmac_sha256(account.as_bytes(), key.as_bytes());
    let mut bytes = [0; 13];
    bytes.copy_from_slice(&code[..13]);
    SessionId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_id_belongs_to_one_key_of_one_account() {
        assert_eq!(id("anna", "k1"), id("anna", "k1"));
        assert_ne!(id("anna", "k1"), id("anna", "k2"));
        assert_ne!(id("anna", "k1"), id("bert", "k1"));
        assert_ne!(id("ann", "ak1"), id("anna", "k1"));
    }

    #[test]
    fn an_id_is_stable_across_versions() {
        // printf %s key-1 | openssl dgst -sha256 -hmac anna, the first 100 bits in base32hex
        assert_eq!(id("anna", "key-1").as_str(), "ojg7f6j7t56jq0c1bg0v");
    }

    #[test]
    fn a_wild_key_is_refused() {
        let with = |value: &str| {
            let request = TestRequest::default().insert_header(("Idempotency-Key", value));
            key(&request.to_http_request())
        };
        assert_eq!(key(&TestRequest::default().to_http_request()).unwrap(), None);
        assert_eq!(with("a b").unwrap().as_deref(), Some("a b"));
        assert!(with("").is_err());
        assert!(with(&"k".repeat(129)).is_err());
        assert!(with("é").is_err());
    }
}
