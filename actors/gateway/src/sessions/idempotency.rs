//! Idempotency keys: a creation that is repeated with its key finds the first session.

use stream_pki::hmac_sha256;
use stream_protocol::SessionId;

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
}
