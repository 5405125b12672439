//! A TURN credential as coturn's `use-auth-secret` takes it. Pure.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use stream_protocol::{SessionId, Timestamp};

use crate::Peer;

/// A user name and its password, for one relay pool.
#[derive(Clone, Eq, PartialEq)]
pub struct Credential {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .finish()
    }
}

/// Makes credentials with one relay secret. Half the work of every signature is done once, when the
/// secret is taken in.
#[derive(Clone)]
pub struct Signer(Hmac<Sha1>);

impl Signer {
    pub fn new(secret: &str) -> Self {
        let keyed = Hmac::new_from_slice(secret.as_bytes());
        Self(keyed.expect("HMAC takes keys of any length"))
    }

    /// Makes the credential of one side of `session`, valid until `expiry`.
    pub fn session(
        &self,
        session: &SessionId,
        peer: Peer,
        expiry: impl Into<Timestamp>,
    ) -> Credential {
        let peer = match peer {
            Peer::Client => "-client",
            Peer::Instance => "-instance",
        };
        self.sign(expiry.into(), session.as_str(), peer)
    }

    /// Makes the credential of a probe, valid until `expiry`.
    pub(crate) fn probe(&self, expiry: Timestamp) -> Credential {
        self.sign(expiry, "probe", "")
    }

    /// Signs a user name. The relay knows no users: it reads the expiry from the name and checks
    /// the password with the secret that it shares with us.
    fn sign(&self, expiry: Timestamp, id: &str, side: &str) -> Credential {
        let username = [itoa::Buffer::new().format(expiry.as_unix()), ":", id, side].concat();
        let mut mac = self.0.clone();
        mac.update(username.as_bytes());
        Credential { password: STANDARD.encode(mac.finalize().into_bytes()), username }
    }
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
        let signer = Signer::new(&"0123456789abcdef".repeat(4));
        let credential = signer.session(&session(), Peer::Client, 1_700_003_600);
        assert_eq!(credential.username, "1700003600:abcdefghij0123456789-client");
        assert_eq!(credential.password, "y5/47A/7LzZNZMVNfJPZy+iMsSo=");
        assert!(!format!("{credential:?}").contains("y5/47"));
    }

    #[test]
    fn no_two_sides_times_or_secrets_share_a_password() {
        let credential =
            |secret: &str, peer, expiry: u64| Signer::new(secret).session(&session(), peer, expiry);
        let one = credential("a", Peer::Client, 1);
        assert_ne!(one, credential("a", Peer::Instance, 1));
        assert_ne!(one, credential("a", Peer::Client, 2));
        assert_ne!(one.password, credential("b", Peer::Client, 1).password);
        assert_eq!(one, credential("a", Peer::Client, 1));
    }
}
