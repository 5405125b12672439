//! A TURN credential as coturn's `use-auth-secret` takes it. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use stream_protocol::SessionId;

use crate::Side;

/// User name and password for one side of `session`, good until `expiry` in Unix seconds.
///
/// The relay itself knows no users: it reads the expiry from the name and checks the password with
/// the secret that it shares with us.
pub(crate) fn sign(secret: &str, session: &SessionId, side: Side, expiry: u64) -> (String, String) {
    let side = match side {
        Side::Client => "client",
        Side::Instance => "instance",
    };
    let username = format!("{expiry}:{session}-{side}");
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(username.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    (username, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        "abcdefghij0123456789".parse().unwrap()
    }

    #[test]
    fn a_password_is_what_the_relay_computes_from_the_name() {
        // printf '1700003600:abcdefghij0123456789-client' |
        //   openssl dgst -sha1 -hmac "$(printf '0123456789abcdef%.0s' 1 2 3 4)" -binary | base64
        let secret = "0123456789abcdef".repeat(4);
        let (username, password) = sign(&secret, &session(), Side::Client, 1_700_003_600);
        assert_eq!(username, "1700003600:abcdefghij0123456789-client");
        assert_eq!(password, "y5/47A/7LzZNZMVNfJPZy+iMsSo=");
    }

    #[test]
    fn no_two_sides_times_or_secrets_share_a_password() {
        let credential = |secret: &str, side, expiry| sign(secret, &session(), side, expiry);
        let one = credential("a", Side::Client, 1);
        assert_ne!(one, credential("a", Side::Instance, 1));
        assert_ne!(one, credential("a", Side::Client, 2));
        assert_ne!(one.1, credential("b", Side::Client, 1).1);
        assert_eq!(one, credential("a", Side::Client, 1));
    }
}
