//! Ids are newtypes: a string that did not pass the check of its kind never becomes one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::random::fill;

/// A text is not an id of the kind asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not {kind}")]
pub struct IdError {
    text: String,
    kind: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[cfg_attr(
            feature = "schema",
            derive(schemars::JsonSchema),
            schemars(extend("pattern" = format!("^{}$", Self::PATTERN)))
        )]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// What the whole text of one looks like, as a regular expression without anchors.
            pub const PATTERN: &'static str = $pattern;

            /// Returns whether `text` is one.
            pub fn is(text: &str) -> bool {
                let check: fn(&str) -> bool = $check;
                check(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if Self::is(&text) {
                    return Ok(Self(text));
                }
                // The text came from outside: enough of it to recognise it, not more.
                Err(IdError { text: text.chars().take(40).collect(), kind: $kind })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }
    };
}

id! {
    /// A session: 20 characters of `a-z0-9`, 100 bits.
    SessionId, "a session id: 20 characters of a-z and 0-9",
    "[a-z0-9]{20}",
    |text| text.len() == 20
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

id! {
    /// A share of a session: 20 characters of `a-z0-9`, 100 bits.
    ShareId, "a share id: 20 characters of a-z and 0-9",
    "[a-z0-9]{20}",
    SessionId::is
}

id! {
    /// One unit of the agent, as configured; part of NATS subjects.
    AgentId, "an agent name: 1 to 64 characters of a-z, 0-9 and '-'",
    "[a-z0-9-]{1,64}",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

id! {
    /// A signal, named by its writer, so that a repeated write is harmless.
    SignalId, "a signal id: 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'",
    "[A-Za-z0-9_-]{1,64}",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

id! {
    /// The unique name of an instance at AMS. A late or doubled launch collides on it.
    InstanceName, "an instance name: 1 to 64 characters of A-Z, a-z, 0-9 and '-'",
    "[A-Za-z0-9-]{1,64}",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl SessionId {
    /// Returns an id nobody else has.
    pub fn random() -> Self {
        let mut bytes = [0; 13];
        fill(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// Returns the first 100 bits of `bytes` in lower-case base32hex.
    pub fn from_bytes(bytes: [u8; 13]) -> Self {
        Self(base32hex(&bytes, 20))
    }
}

impl ShareId {
    /// Returns an id nobody else has.
    pub fn random() -> Self {
        Self(SessionId::random().0)
    }
}

impl SignalId {
    /// Returns an id nobody else has.
    pub fn random() -> Self {
        let mut bytes = [0; 13];
        fill(&mut bytes);
        Self(base32hex(&bytes, 20))
    }
}

impl InstanceName {
    /// Returns the name of the `attempt`-th launch for `session`: `s-<session>-<attempt>`.
    pub fn of(session: &SessionId, attempt: u32) -> Self {
        Self(format!("s-{session}-{attempt}"))
    }

    /// Returns a name for `session` that nobody can foresee, of the form of [`InstanceName::of`].
    pub fn unforeseeable(session: &SessionId) -> Self {
        let mut bytes = [0; 4];
        fill(&mut bytes);
        // Another launch may follow it.
        Self::of(session, u32::from_be_bytes(bytes) >> 1)
    }

    /// Returns the name of the launch after this one; the first one's for a name that is not ours.
    pub fn next(&self, session: &SessionId) -> Self {
        let attempt = self.0.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
        Self::of(session, attempt.unwrap_or(0).saturating_add(1))
    }
}

fn base32hex(bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let bit = |n: usize| usize::from(bytes[n / 8] >> (7 - n % 8) & 1);
    (0..length)
        .map(|i| (0..5).fold(0, |digit, n| digit << 1 | bit(i * 5 + n)))
        .map(|digit| char::from(ALPHABET[digit]))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::AmsInstance;

    #[test]
    fn random_session_ids_are_valid_and_differ() {
        let (one, two) = (SessionId::random(), SessionId::random());
        assert_eq!(one.as_str().parse::<SessionId>(), Ok(one.clone()));
        assert_ne!(one, two);
    }

    #[test]
    fn every_launch_of_a_session_has_a_name_of_its_own() {
        let session = SessionId::random();
        let second = InstanceName::of(&session, 1).next(&session);
        assert_eq!(second, InstanceName::of(&session, 2));
        let strange: InstanceName = "strange".parse().expect("a name");
        assert_eq!(strange.next(&session), InstanceName::of(&session, 1));
    }

    #[test]
    fn an_id_is_the_base32hex_of_its_first_hundred_bits() {
        let id = SessionId::from_bytes([0xff, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0]);
        assert_eq!(id.as_str(), "vs0fu00000000000000f");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "short", "ABCDEFGHIJKLMNOPQRST", "abcdefghij.lmnopqrst", "../etc/passwd"] {
            assert!(text.parse::<SessionId>().is_err(), "{text} passed");
        }
        assert!("a.b".parse::<AgentId>().is_err(), "a dot would open another subject");
        assert!("x*".parse::<SignalId>().is_err());
    }

    proptest! {
        #[test]
        fn what_looks_like_an_id_is_one(
            session in SessionId::PATTERN,
            agent in AgentId::PATTERN,
            signal in SignalId::PATTERN,
            name in InstanceName::PATTERN,
            instance in AmsInstance::ID_PATTERN,
        ) {
            prop_assert!(SessionId::is(&session) && ShareId::is(&session));
            prop_assert!(AgentId::is(&agent) && SignalId::is(&signal));
            prop_assert!(InstanceName::is(&name) && AmsInstance::is_id(&instance));
        }
    }
}
